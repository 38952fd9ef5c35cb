"""Models of SAELens, trained by SAELens' trainer. The environment needs sae-lens."""

import time

import torch


def train(name, batches, batch_size, n_samples, shape, k, seed, rate, *, dead_window, decay):
    """Train a model like the published models of SynthSAEBench, except for what a short run needs.

    Parameters
    ----------
    name : {"BatchTopK", "MatryoshkaBatchTopK"}
        Name of the model.

    batches : iterator of torch.Tensor
        Training samples.

    batch_size : int
        Number of samples in each batch.

    n_samples : int
        Number of samples to train on.

    shape : tuple of int
        Number of latents and number of features.

    k : int
        Number of active latents.

    seed : int
        Seed of the weights.

    rate : float
        Learning rate.

    dead_window : int
        Number of steps after which a silent latent is dead.

    decay : float
        Share of the steps at the end over which the rate falls to 0.

    Returns
    -------
    tuple
        CPU seconds, and a function from samples to codes and reconstructions.
    """
    import sae_lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(seed)
    n_latents, n_dimensions = shape
    config = getattr(sae_lens, f"{name}TrainingSAEConfig")
    widths = {"matryoshka_widths": nested(n_latents)} if "Matryoshka" in name else {}
    sae = getattr(sae_lens, f"{name}TrainingSAE")(
        config(d_in=n_dimensions, d_sae=n_latents, k=k, device="cpu", **widths)
    )
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            n_checkpoints=0,
            checkpoint_path=None,
            save_final_checkpoint=False,
            total_training_samples=n_samples,
            device="cpu",
            autocast=False,
            lr=rate,
            lr_end=rate,
            lr_scheduler_name="constant",
            lr_warm_up_steps=0,
            adam_beta1=0.9,
            adam_beta2=0.999,
            lr_decay_steps=int(decay * n_samples / batch_size),
            n_restart_cycles=1,
            train_batch_size_samples=batch_size,
            dead_feature_window=dead_window,
            feature_sampling_window=2000,
            logger=LoggingConfig(log_to_wandb=False, eval_every_n_wandb_logs=2**31 - 1),
            n_batches_for_norm_estimate=1000,
        ),
        sae=sae,
        data_provider=batches,
    )
    begin = time.process_time()
    trainer.fit()
    seconds = time.process_time() - begin
    sae.eval()

    @torch.no_grad()
    def coded(X):
        codes = sae.encode(torch.from_numpy(X))
        return codes.numpy(), sae.decode(codes).numpy()

    return seconds, coded


def nested(n_latents):
    """Return the default widths of our Matryoshka: all latents, and four times half as many."""
    return [n_latents >> i for i in (4, 3, 2, 1, 0)]
