"""Train a sparse autoencoder of dictionary-learning, for a comparison with SparseAutoencoder.

    python -m benchmarks.peers.sae JOB.json

Importing the peer can patch PyTorch, so every job runs in a separate process, in an environment
with the peer (`pip install dictionary-learning==0.1.0`). The job names:

* "data": an .npz file of float32 `X_train`, `X_valid` and `X_test`, centred and scaled;
* "k", "n_components", "n_steps", "batch_size", "learning_rate" and "seed";
* "decay": share of the steps at the end over which the rate falls to 0;
* "dead_steps": number of steps after which a silent latent is dead.

The last line of the output has the FVU, the L0 and the share of dead latents on `X_test`, the FVU
on `X_valid` as "valid", and the CPU seconds of the training, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from dictionary_learning import trainers


def make_trainer(job, n_features):
    """Return the package's BatchTopK trainer for a job, before training.

    The package's defaults suit runs of 100,000 steps and more: 1,000 steps of warmup of the
    learning rate, and no decay. Here the warmup takes at most a twentieth of the run.
    """
    n_steps = job["n_steps"]
    trainer = trainers.BatchTopKTrainer(
        steps=n_steps,
        activation_dim=n_features,
        dict_size=job["n_components"],
        k=job["k"],
        layer=0,  # a label
        lm_name="none",  # a label
        lr=job["learning_rate"],
        warmup_steps=min(1000, n_steps // 20),
        decay_start=round(n_steps * (1 - job["decay"])),
        seed=job["seed"],
        device="cpu",
    )
    # After this many samples without activity an atom counts as dead in the auxiliary loss. A short
    # run never reaches the default, 10 million.
    trainer.dead_feature_threshold = job["dead_steps"] * job["batch_size"]
    return trainer


def batches(X, n_steps, batch_size, seed):
    """Yield `n_steps` batches of the rows of a tensor, which are shuffled anew for every epoch."""
    generator = torch.Generator().manual_seed(seed)
    order, at = torch.randperm(len(X), generator=generator), 0
    for _ in range(n_steps):
        if at + batch_size > len(X):
            order, at = torch.randperm(len(X), generator=generator), 0
        yield X[order[at : at + batch_size]]
        at += batch_size


@torch.no_grad()
def evaluate(autoencoder, X):
    """Return the FVU, the L0 and the share of dead atoms, with the active latents of all rows."""
    codes = autoencoder.encode(X, use_threshold=False)
    residual = (X - autoencoder.decode(codes)).double().square().sum()
    is_active = codes != 0
    return {
        "fvu": float(residual / (X - X.mean(dim=0)).double().square().sum()),
        "l0": float(is_active.sum()) / len(X),
        "dead": float((~is_active.any(dim=0)).double().mean()),
    }


def train(job):
    """Train the peer's autoencoder of a job, and return its measures."""
    torch.set_num_threads(1)
    with np.load(job["data"]) as data:
        X, valid, test = (
            torch.from_numpy(data[f"X_{part}"]) for part in ("train", "valid", "test")
        )
    begin = time.process_time()
    trainer = make_trainer(job, X.shape[1])
    for step, batch in enumerate(batches(X, job["n_steps"], job["batch_size"], job["seed"])):
        trainer.update(step, batch)
    seconds = time.process_time() - begin
    found = evaluate(trainer.ae, test) | {"cpu_seconds": seconds}
    return found | {"valid": evaluate(trainer.ae, valid)["fvu"]}


if __name__ == "__main__":
    print(json.dumps(train(json.loads(Path(sys.argv[1]).read_text()))))
