"""Fits that are killed at random moments, and the cost of their checkpoints.

    python -m benchmarks checkpoints [--kills 10] [--seeds 5]

For each seed a process fits VAEase with a checkpoint after every epoch, and is killed by SIGKILL
at a random moment. The same fit is started and killed again until it was killed `--kills` times.
The last process runs to the end. The results are

* `kills` and `states_at_kill`: the number of kills, and of states written before each of them;
* `unreadable`: the number of files that `load` could not read after a kill, out of `files_read`;
* `equal`: whether the parameters equal those of an uninterrupted fit, bit for bit;
* `seconds_to_keep`: the median time to write a state, for this model and for a model with 2 million
  weights, beside the size of the file.
"""

import argparse
import os
import signal
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import RESULTS, make_parser, start
from benchmarks.common import save as save_results
from skvaeense import Checkpoint, SparseAutoencoder, VAEase, VAEenseTransformer, load, save
from skvaeense.datasets import make_linear_subspaces

# Each kill waits a random time after a new state. The waits of a seed take at most this long.
LONGEST = 6.0


def make(seed):
    X, *_ = make_linear_subspaces(4000, dims=(2, 4), n_features=20, random_state=seed)
    return X, VAEenseTransformer(12, model=VAEase(n_init=2, max_iter=60), random_state=seed)


def fit(seed, folder, kept):
    """Fit in this process, and save the estimator."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    X, vaease = make(seed)
    if kept:
        vaease.set_callbacks(Checkpoint(folder / "kept", interval=0))
    save(vaease.fit(X), folder / f"{'kept' if kept else 'unbroken'}.safetensors")


def start_fit(seed, folder, *flags):
    return start("benchmarks checkpoints", "--fit", folder, "--seed", seed, *flags)


def kill_and_go_on(seed, n_kills):
    """Kill and restart one fit several times, and return its row of results."""
    random = np.random.default_rng(seed)
    row = {"seed": seed, "states_at_kill": [], "files_read": 0, "unreadable": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unbroken = start_fit(seed, folder)
        checkpoint = Checkpoint(folder / "kept")
        n_states = 0
        while len(row["states_at_kill"]) < n_kills:
            process = start_fit(seed, folder, "--kept")
            # Wait for a new state: a kill before it could not lose anything new.
            while newest_number(checkpoint) <= n_states and process.poll() is None:
                time.sleep(0.005)
            time.sleep(random.uniform(0, LONGEST / n_kills))
            if process.poll() is not None:
                break
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            n_states = newest_number(checkpoint)
            row["states_at_kill"].append(n_states)
            for path in checkpoint.files():
                row["files_read"] += 1
                try:
                    load(path)
                except ValueError:
                    row["unreadable"] += 1
        codes = start_fit(seed, folder, "--kept").wait(), unbroken.wait()
        if any(codes):
            raise RuntimeError(f"a fit ended with {codes}")
        row["kills"] = len(row["states_at_kill"])
        states = [
            load(folder / f"{name}.safetensors").module_.state_dict()
            for name in ("kept", "unbroken")
        ]
        row["equal"] = all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    return row


def newest_number(checkpoint):
    files = checkpoint.files()
    return int(files[-1].stem.rpartition("-")[2]) if files else 0


class Timed(Checkpoint):
    """A checkpoint that records the seconds each state takes to write."""

    def keep(self, name, estimator):
        begin = time.perf_counter()
        super().keep(name, estimator)
        self.seconds.append(time.perf_counter() - begin)


def cost(estimator, X):
    """Return the size of a state of a fit, and the median seconds to write one."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Timed(folder, interval=0)
        checkpoint.seconds = []
        estimator.set_callbacks(checkpoint).fit(X)
        return {
            "weights": sum(p.numel() for p in estimator.module_.parameters()),
            "bytes": max(path.stat().st_size for path in checkpoint.files()),
            "seconds_to_keep": statistics.median(checkpoint.seconds),
            "states": len(checkpoint.seconds),
        }


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.seed, arguments.fit, arguments.kept)
        return
    warnings.simplefilter("ignore")
    rows = []
    for seed in range(arguments.seeds):
        rows.append(kill_and_go_on(seed, arguments.kills))
        print(rows[-1], flush=True)
    X, vaease = make(0)
    wide = np.random.default_rng(0).standard_normal((4096, 512), dtype=np.float32)
    sae = SparseAutoencoder(2048, penalty="topk", max_iter=8, random_state=0)
    costs = {
        "small": cost(vaease.set_params(model__max_iter=10), X),
        "2 million weights": cost(sae, wide),
    }
    print(costs)
    save_results(RESULTS / "checkpoints.json", "checkpoints", {"fits": rows, "costs": costs})
