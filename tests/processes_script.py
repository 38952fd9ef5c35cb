"""The script of each process in test_many_processes.py. In a single process it is the reference.

    python processes_script.py FOLDER [WORLD_SIZE:PORT ...]

Without sizes the script is one of the processes that its environment describes. With sizes it forks
this many copies of itself, one group after the other, since imports take the longest.
"""

import atexit
import json
import os
import sys
import traceback
import warnings
import weakref
from pathlib import Path

import numpy as np
import torch
from helpers import Callback, arrays_of, objective, with_net
from torch import distributed

from skvaeense import Checkpoint, SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.nets.networks import Linear
from skvaeense.nets.penalties import L1, BatchTopK, TopK
from skvaeense.samples import _sources
from skvaeense.utils import _processes, _rows
from skvaeense.utils._processes import find_processes

X = make_sparse_dictionary(400, n_atoms=12, n_active=2, n_features=8, random_state=0)[0]


class Stop(Callback):
    """Stop every fit after its second epoch, and count the fits that are reported."""

    n_epochs = 0

    def on_fit_task_end(self, estimator, context):
        self.n_epochs += context.task_name == "epoch"
        return self.n_epochs == 2


def estimators(folder):
    sae = SparseAutoencoder(16, penalty=L1(0.05), batch_size=64, max_iter=4, random_state=0)
    yield "l1", sae, X
    yield "topk", SparseAutoencoder(**sae.get_params(deep=False) | {"penalty": TopK(2)}), X
    dead = {"penalty": L1(1.0), "n_components": 64, "dead_after": 200}
    yield "dead latents", SparseAutoencoder(**sae.get_params(deep=False) | dead), X
    target = {"penalty": L1(0.05), "target_l0": 2}
    yield "target", SparseAutoencoder(**sae.get_params(deep=False) | target), X
    yield "batch", SparseAutoencoder(**sae.get_params(deep=False) | {"penalty": BatchTopK(2)}), X
    files = sorted(folder.glob("*.npy"))
    yield "files", SparseAutoencoder(**sae.get_params(deep=False)), files
    drawn = {"random_state": None, "max_iter": 2}
    yield "no seed", SparseAutoencoder(**sae.get_params(deep=False) | drawn), X
    vaease = with_net(8, network=Linear((16,)), n_init=2, batch_size=64, max_iter=5, random_state=0)
    yield "vaease", vaease, X
    yield "target of gates", VAEenseTransformer(12, target_l0=2, random_state=0), X
    yield "gates", VAEenseTransformer(12, model="gates", random_state=0), X


def weights_of(estimator):
    """Return sums of all that a fit has found: of the module, or of laws."""
    if "module_" in vars(estimator):
        return [t.double().sum().item() for t in estimator.module_.state_dict().values()]
    laws = arrays_of(estimator.coder_), arrays_of(estimator.density_)
    return [float(np.sum(value, dtype=np.float64)) for law in laws for value in law.values()]


def main(folder):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # Read samples in parts, and draw some samples anew, even though they are few.
    _sources.IN_MEMORY, _rows.BLOCK_ENTRIES = 0, 8 * 50
    processes, report = find_processes(), {}
    for name, estimator, data in estimators(folder):
        estimator.fit(data)
        report[name] = {"weights": weights_of(estimator), "score": objective(estimator, X)}
        if hasattr(estimator, "loss_curve_"):
            report[name]["loss"] = estimator.loss_curve_
    stop = Stop()
    stopped = SparseAutoencoder(4, max_iter=5, random_state=0).set_callbacks(stop).fit(X)
    report["stopped"] = {"n_iter": stopped.n_iter_, "n_reported": stop.n_epochs}
    checkpoint = Checkpoint(folder / f"kept-by-{processes.world_size}", interval=0, n_kept=1000)
    for turn in ("kept", "read"):
        sae = SparseAutoencoder(4, max_iter=3, random_state=0).set_callbacks(checkpoint)
        codes = sae.fit_transform(X)
        report[turn] = {"files": len(checkpoint.files()), "codes": float(np.abs(codes).sum())}
    try:
        SparseAutoencoder(4, max_iter=1).fit(X + processes.rank)
    except ValueError as error:
        report["other samples"] = str(error)
    if processes.world_size > 1:
        group = weakref.ref(distributed.group.WORLD)
        atexit.unregister(distributed.destroy_process_group)
        distributed.destroy_process_group()
        report["group is gone"] = group() is None
    text = json.dumps({"world_size": processes.world_size} | report)
    (folder / f"{processes.world_size}-{processes.rank}.json").write_text(text)


def launch(folder, world_size, port):
    """Run this many copies of the process, and return whether all of them succeeded."""
    children = []
    for rank in range(world_size):
        child = os.fork()
        if child == 0:
            run_copy(folder, {"WORLD_SIZE": world_size, "RANK": rank, "MASTER_PORT": port})
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    return not any(statuses)


def run_copy(folder, variables):
    """Run in a new copy of the process, and end the copy."""
    status = 1
    try:
        os.environ.update({key: str(value) for key, value in variables.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        # The copy was made before any group existed, so it may start a group.
        _processes._process_id = os.getpid()
        main(folder)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    if sys.argv[2:]:
        # Torch imports many more modules for its first optimizer.
        torch.optim.Adam([torch.zeros(1)])
        groups = [group.split(":") for group in sys.argv[2:]]
        successes = [launch(Path(sys.argv[1]), int(n), port) for n, port in groups]
        sys.exit(not all(successes))
    main(Path(sys.argv[1]))
