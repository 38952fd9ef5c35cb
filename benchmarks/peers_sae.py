"""Train a sparse autoencoder with another package, for a comparison with SparseAutoencoder.

    python benchmarks/peers_sae.py JOB.json OUT.npz

Importing a peer can patch PyTorch, so every job runs in a process of its own, in an environment
that has the peer (`pip install dictionary-learning==0.1.0`). The job names:

* "package": "dictionary_learning"; "method": "l1", "l1_april", "topk", "batchtopk", "jumprelu" or
  "gated";
* "data": an .npz file of float32 `X_train` and `X_test`, centred and scaled by one number so that
  the rows of `X_train` have mean squared norm 1, as the peer's `normalize_activations` does;
* "n_components"; "k" for the two top-k methods, "alpha" for l1 and gated, "target_l0" for jumprelu;
* "n_steps", "batch_size", "learning_rate" (null: the peer's default) and "seed";
* if wanted, "trainer": arguments of the peer's trainer that replace the ones chosen here, among
  them "dead_feature_threshold", which is an attribute there.

OUT.npz gets the FVU, the L0 and the dead share on `X_test`, the CPU seconds of the training, and
the weights, such that codes = activation(X @ W_enc + b_enc) and X_hat = codes @ W_dec + b_dec.
"""

import argparse
import json
import time

import numpy as np
import torch

METHODS = ("l1", "l1_april", "topk", "batchtopk", "jumprelu", "gated")


def schedule(method, n_steps):
    """Return the trainer's arguments that are lengths in steps, fitted to a run of `n_steps`.

    The package's defaults suit runs of 100,000 steps and more: 1,000 steps to warm up the learning
    rate, 2,000 for the penalty, no decay. The first two are kept unless they exceed a twentieth and
    a fifth of the run, and the learning rate decays to 0 over the last fifth.
    """
    lengths = {"warmup_steps": min(1000, n_steps // 20), "decay_start": n_steps * 4 // 5}
    if method in ("topk", "batchtopk"):
        # The threshold that replaces the top k at inference is a moving average over 1 / (1 - beta)
        # steps: over a tenth of the run here, begun when the learning rate starts to decay.
        lengths["threshold_start_step"] = min(1000, n_steps * 4 // 5)
        lengths["threshold_beta"] = min(0.999, 1 - 10 / n_steps)
    else:
        lengths["sparsity_warmup_steps"] = min(2000, n_steps // 5)
    return lengths


def dead_after(n_steps, batch_size):
    """Return after how many samples without firing the auxiliary loss takes an atom as dead.

    By default this is 10 million, which a short run never reaches; a twentieth of the run's samples
    lets the auxiliary loss of the top-k methods work.
    """
    return min(10_000_000, n_steps * batch_size // 20)


def make_trainer(job, n_features):
    """Return the package's trainer for a job.

    Parameters
    ----------
    job : dict
        The job, as in the module's docstring.
    n_features : int
        Number of columns of the data.

    Returns
    -------
    dictionary_learning.trainers.trainer.SAETrainer
        The trainer, not yet trained.
    """
    from dictionary_learning import trainers
    from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate

    method, n_steps = job["method"], job["n_steps"]
    classes = {
        "l1": trainers.StandardTrainer,
        "l1_april": StandardTrainerAprilUpdate,
        "topk": trainers.TopKTrainer,
        "batchtopk": trainers.BatchTopKTrainer,
        "jumprelu": trainers.JumpReluTrainer,
        "gated": trainers.GatedSAETrainer,
    }
    arguments = {
        "steps": n_steps,
        "activation_dim": n_features,
        "dict_size": job["n_components"],
        "layer": 0,  # a label
        "lm_name": "none",  # another
        "seed": job["seed"],
        "device": "cpu",
    }
    if job["learning_rate"] is not None:
        arguments["lr"] = job["learning_rate"]
    if method in ("topk", "batchtopk"):
        arguments["k"] = job["k"]
    elif method == "jumprelu":
        arguments["target_l0"] = job["target_l0"]
    else:
        arguments["l1_penalty"] = job["alpha"]
    arguments |= schedule(method, n_steps) | job.get("trainer", {})
    threshold = arguments.pop("dead_feature_threshold", dead_after(n_steps, job["batch_size"]))
    torch.manual_seed(job["seed"])  # JumpReluTrainer does not seed by itself
    trainer = classes[method](**arguments)
    if method in ("topk", "batchtopk"):
        trainer.dead_feature_threshold = threshold
    return trainer


def batches(X, n_steps, batch_size, seed):
    """Yield `n_steps` batches of a tensor's rows, which are shuffled anew for every epoch."""
    generator = torch.Generator().manual_seed(seed)
    order, at = torch.randperm(len(X), generator=generator), 0
    for _ in range(n_steps):
        if at + batch_size > len(X):
            order, at = torch.randperm(len(X), generator=generator), 0
        yield X[order[at : at + batch_size]]
        at += batch_size


def encode(method, autoencoder, X):
    """Return the codes as the package means them at inference, but an exact top k for top-k."""
    if method == "topk":
        return autoencoder.encode(X, use_threshold=False)
    return autoencoder.encode(X)


@torch.no_grad()
def evaluate(method, autoencoder, X, batch_size=1024):
    """Return the FVU, the L0 and the share of dead atoms on held-out rows."""
    residual, active = 0.0, torch.zeros(autoencoder.dict_size, dtype=torch.long)
    for batch in X.split(batch_size):
        codes = encode(method, autoencoder, batch)
        residual += float((batch - autoencoder.decode(codes)).double().square().sum())
        active += (codes != 0).sum(dim=0)
    total = float((X - X.mean(dim=0)).double().square().sum())
    return {
        "fvu": residual / total,
        "l0": float(active.sum()) / len(X),
        "dead": float((active == 0).double().mean()),
    }


def weights(method, autoencoder):
    """Return the weights as arrays, with the subtraction of b_dec from the input put into b_enc."""
    if method == "jumprelu":
        tensors = {
            "W_enc": autoencoder.W_enc,
            "b_enc": autoencoder.b_enc,
            "W_dec": autoencoder.W_dec,
            "b_dec": autoencoder.b_dec,
            "threshold": autoencoder.threshold,
        }
    else:
        W_enc = autoencoder.encoder.weight.T
        b_dec = {"gated": "decoder_bias", "l1": "bias", "l1_april": "bias"}.get(method, "b_dec")
        b_dec = getattr(autoencoder, b_dec)
        tensors = {"W_enc": W_enc, "W_dec": autoencoder.decoder.weight.T, "b_dec": b_dec}
        if method == "gated":
            # code = (z > threshold) * relu(exp(r_mag) * z + mag_bias) with z = X @ W_enc + b_enc
            tensors["b_enc"] = -b_dec @ W_enc
            tensors["threshold"] = -autoencoder.gate_bias
            tensors["r_mag"] = autoencoder.r_mag
            tensors["mag_bias"] = autoencoder.mag_bias
        else:
            tensors["b_enc"] = autoencoder.encoder.bias - b_dec @ W_enc
        if method == "batchtopk":
            tensors["threshold"] = autoencoder.threshold
    return {name: np.ascontiguousarray(t.detach().numpy()) for name, t in tensors.items()}


def train(job, X_train, X_test):
    """Train the peer's autoencoder as a job says and measure it.

    Parameters
    ----------
    job : dict
        The job, as in the module's docstring, but "data" is not read.
    X_train, X_test : ndarray of shape (n_samples, n_features)
        Centred and scaled data of type float32.

    Returns
    -------
    dict
        Numbers and weights, as in the module's docstring.
    """
    if job["package"] != "dictionary_learning" or job["method"] not in METHODS:
        raise ValueError(f"Unknown peer: {job['package']}, {job['method']}.")
    torch.set_num_threads(1)
    X_train, X_test = torch.from_numpy(X_train), torch.from_numpy(X_test)
    begin = time.process_time()
    trainer = make_trainer(job, X_train.shape[1])
    for step, batch in enumerate(batches(X_train, job["n_steps"], job["batch_size"], job["seed"])):
        trainer.update(step, batch)
    seconds = time.process_time() - begin
    result = evaluate(job["method"], trainer.ae, X_test) | {"cpu_seconds": seconds}
    result["learning_rate"] = trainer.lr
    return result | weights(job["method"], trainer.ae)


def main():
    """Run the job of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job")
    parser.add_argument("out")
    arguments = parser.parse_args()
    with open(arguments.job) as file:
        job = json.load(file)
    with np.load(job["data"]) as data:
        result = train(job, data["X_train"], data["X_test"])
    np.savez(arguments.out, **result)
    print(
        f"{job['method']}: FVU {result['fvu']:.4f}, L0 {result['l0']:.2f}, dead "
        f"{result['dead']:.1%}, {result['cpu_seconds']:.0f} CPU s, lr {result['learning_rate']:.1e}"
    )


if __name__ == "__main__":
    main()
