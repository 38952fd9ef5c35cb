"""Train a sparse autoencoder with dictionary-learning, for a comparison with SparseAutoencoder.

    python -m benchmarks.peers.sae JOB.json

Importing the peer can patch PyTorch, so every job runs in a separate process, in an environment
with the peer (`pip install dictionary-learning==0.1.0`). The job names:

* "method": "l1" or "topk", with its "alpha" or "k";
* "data": an .npz file of float32 `X_train` and `X_test`, centred and scaled by one number so that
  the rows of `X_train` have mean squared norm 1, as the peer's `normalize_activations` does;
* "n_components", "n_steps", "batch_size", "learning_rate" and "seed".

The last line of the output has the FVU, the L0 and the share of dead latents on `X_test`, and the
CPU seconds of the training, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from dictionary_learning import trainers


def make_trainer(job, n_features):
    """Return the package's trainer for a job, before training.

    The package's defaults suit runs of 100,000 steps and more: 1,000 steps of warmup of the
    learning rate, 2,000 steps of warmup of the penalty, and no decay. Here the two warmups take at
    most a twentieth and a fifth of the run, and the learning rate decays to 0 over the last fifth.
    """
    n_steps = job["n_steps"]
    arguments = {
        "steps": n_steps,
        "activation_dim": n_features,
        "dict_size": job["n_components"],
        "layer": 0,  # a label
        "lm_name": "none",  # a label
        "seed": job["seed"],
        "device": "cpu",
        "lr": job["learning_rate"],
        "warmup_steps": min(1000, n_steps // 20),
        "decay_start": n_steps * 4 // 5,
    }
    if job["method"] == "l1":
        length = min(2000, n_steps // 5)
        return trainers.StandardTrainer(
            l1_penalty=job["alpha"], sparsity_warmup_steps=length, **arguments
        )
    # The threshold that replaces the top k at inference is a moving average over 1 / (1 - beta)
    # steps. Here this is a tenth of the run, and starts no later than the decay.
    trainer = trainers.TopKTrainer(
        k=job["k"],
        threshold_start_step=min(1000, n_steps * 4 // 5),
        threshold_beta=min(0.999, 1 - 10 / n_steps),
        **arguments,
    )
    # After this many samples without activity an atom counts as dead in the auxiliary loss. A short
    # run never reaches the default, 10 million. A twentieth of its samples lets the loss work.
    trainer.dead_feature_threshold = min(10_000_000, n_steps * job["batch_size"] // 20)
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
def evaluate(encode, autoencoder, X):
    """Return the FVU, the L0 and the share of dead atoms on held-out rows."""
    residual, active = 0.0, torch.zeros(autoencoder.dict_size, dtype=torch.long)
    for batch in X.split(1024):
        codes = encode(batch)
        residual += float((batch - autoencoder.decode(codes)).double().square().sum())
        active += (codes != 0).sum(dim=0)
    total = float((X - X.mean(dim=0)).double().square().sum())
    return {
        "fvu": residual / total,
        "l0": float(active.sum()) / len(X),
        "dead": float((active == 0).double().mean()),
    }


def train(job):
    """Train the peer's autoencoder of a job, and return its measures."""
    torch.set_num_threads(1)
    with np.load(job["data"]) as data:
        X_train, X_test = (torch.from_numpy(data[name]) for name in ("X_train", "X_test"))
    begin = time.process_time()
    trainer = make_trainer(job, X_train.shape[1])
    for step, batch in enumerate(batches(X_train, job["n_steps"], job["batch_size"], job["seed"])):
        trainer.update(step, batch)
    seconds = time.process_time() - begin
    # Use the exact top k, and not the threshold that replaces them.
    exact = {"use_threshold": False} if job["method"] == "topk" else {}
    result = evaluate(lambda X: trainer.ae.encode(X, **exact), trainer.ae, X_test)
    return result | {"cpu_seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(train(json.loads(Path(sys.argv[1]).read_text()))))
