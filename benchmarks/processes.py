"""Training of one model in two processes and in one: samples per second, and the loss.

    python -m benchmarks processes [--rounds 5]

The two trainings are timed in turn, with the same batches and one thread in each process. Samples
per second are measured in the median epoch of a fit. The results are medians over rounds:

* `ratio`: samples per second of two processes, divided by those of one process in the same round;
* `alone_beside`: the share of its speed that one process keeps while another, unrelated process
  trains at the same time. Twice this share is the most that two processes can reach on this
  machine;
* `loss`: the relative difference of the last training loss between two processes and one.
"""

import argparse
import json
import os
import socket
import statistics
import warnings

import numpy as np
import torch

from benchmarks.common import RESULTS, Clock, answer, make_parser, save, start
from skvaeense import SparseAutoencoder, VAEase, VAEenseTransformer
from skvaeense.nets.penalties import L1

N_SAMPLES, N_FEATURES, N_LATENTS, BATCH_SIZE = 16_384, 512, 1024, 2048
ESTIMATORS = {
    "sparse autoencoder": SparseAutoencoder(
        N_LATENTS, penalty=L1(0.1), batch_size=BATCH_SIZE, max_iter=4, random_state=0
    ),
    "VAEase": VAEenseTransformer(
        N_LATENTS, model=VAEase(n_init=1, batch_size=BATCH_SIZE, max_iter=4), random_state=0
    ),
}


def fit(name):
    """Fit in this process, alone or with others, and print samples per second and the last loss."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((2048, N_FEATURES), dtype=np.float32)
    X = np.zeros((N_SAMPLES, N_FEATURES), dtype=np.float32)
    for _ in range(8):
        X += (
            rng.exponential(size=(N_SAMPLES, 1)).astype(np.float32)
            * atoms[rng.integers(len(atoms), size=N_SAMPLES)]
        )
    clock = Clock()
    estimator = ESTIMATORS[name].set_callbacks(clock).fit(X)
    if len(clock.epochs):
        steps = int(0.9 * N_SAMPLES) // BATCH_SIZE
        pace = steps * BATCH_SIZE / statistics.median(clock.epochs)
        print(json.dumps({"pace": pace, "loss": estimator.loss_curve_[-1]}))


def start_fit(name, world_size=1, rank=0, port=0):
    """Start a separate process for a fit, or for one rank of a fit in several processes."""
    variables = {"OMP_NUM_THREADS": 1}
    if world_size > 1:
        variables |= {"RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": rank}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = os.environ | {key: str(value) for key, value in variables.items()}
    return start("benchmarks processes", "--fit", name, env=environment)


def first_answer(processes):
    """Wait for all processes, and return the answer that the first one prints."""
    first, *others = processes
    result = answer(first)
    if any(process.wait() for process in others):
        raise RuntimeError("a process failed")
    return result


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def compare(name, n_rounds):
    """Return the measures of one estimator in each round, and their medians."""
    rounds = []
    for _ in range(n_rounds):
        one = first_answer([start_fit(name)])
        port = free_port()
        two = first_answer([start_fit(name, 2, rank, port) for rank in range(2)])
        beside = first_answer([start_fit(name) for _ in range(2)])
        rounds.append(
            {
                "one": one["pace"],
                "two": two["pace"],
                "ratio": two["pace"] / one["pace"],
                "alone_beside": beside["pace"] / one["pace"],
                "loss": abs(two["loss"] / one["loss"] - 1),
            }
        )
        print(name, rounds[-1], flush=True)
    names = ("one", "two", "ratio", "alone_beside", "loss")
    return {key: statistics.median(r[key] for r in rounds) for key in names} | {"rounds": rounds}


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit)
        return
    results = {name: compare(name, arguments.rounds) for name in ESTIMATORS}
    load = os.getloadavg()[0]
    save(RESULTS / "processes.json", "processes", {"load": load, "estimators": results})
