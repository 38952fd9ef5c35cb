"""Fits to more samples than memory holds: peak memory, the result, and the pace.

    python benchmarks/out_of_core.py [--gigabytes 4] [--seeds 5] [--folder FOLDER] [--only PART ...]

Sparse combinations of atoms, as activations are thought to be, are written to a folder shard by
shard, fitted, and deleted afterwards.

* `memory`: the peak of a process that fits all of them, beside that of one that only imports.
* `fits`: unexplained variance on held-out samples after one pass over all shards, and after as many
  steps on as many of them as fit into memory.
* `pace`: samples per second in training VAEense, from memory maps and shards over from memory,
  timed in turn; the median of the ratios of neighbours.

Each fit is a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from saving import save
from sklearn.exceptions import ConvergenceWarning

RESULTS = Path(__file__).parent / "results" / "out_of_core.json"
N_FEATURES, N_ATOMS, N_ACTIVE, NOISE = 512, 1024, 8, 0.05
# Shards of 256 MB.
SHARD_ROWS = 2**17
# Of these samples as many as two shards are in memory.
SHARDS_IN_MEMORY = 2
HELD_OUT = 5000
N_LATENTS, BATCH_SIZE = 512, 1024
PACE_REPEATS = 5
PARTS = ("shards", "memory", "pace")


def draw(n_samples, seed):
    """Return sparse combinations of the same atoms, in single precision."""
    atoms = np.random.default_rng(0).standard_normal((N_ATOMS, N_FEATURES), dtype=np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    rng = np.random.default_rng([1, seed])
    X = NOISE * rng.standard_normal((n_samples, N_FEATURES), dtype=np.float32)
    for _ in range(N_ACTIVE):
        strength = rng.exponential(size=(n_samples, 1)).astype(np.float32)
        X += strength * atoms[rng.integers(N_ATOMS, size=n_samples)]
    return X


def write(folder, n_shards):
    """Write shards of samples."""
    for i in range(n_shards):
        np.save(folder / f"{i:04}.npy", draw(SHARD_ROWS, i))


def samples(what, folder):
    """Return samples as they are to be fitted: all shards, or some of them in memory."""
    if what == "shards":
        return folder
    paths = sorted(folder.glob("*.npy"))[:SHARDS_IN_MEMORY]
    return np.concatenate([np.load(path) for path in paths])


def fit(what, folder, seed, max_iter):
    """Print peak memory in bytes, seconds of the fit and unexplained variance."""
    from skvaeense import SparseAutoencoder
    from skvaeense.metrics import fvu
    from skvaeense.penalties import BatchTopK

    row = {}
    if what != "import":
        model = SparseAutoencoder(
            N_LATENTS,
            penalty=BatchTopK(N_ACTIVE),
            batch_size=BATCH_SIZE,
            max_iter=max_iter,
            random_state=seed,
        )
        X = samples(what, folder)
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X)
        row["seconds"] = time.perf_counter() - begin
        held_out = draw(HELD_OUT, 10**6)
        row["fvu"] = fvu(held_out, model.inverse_transform(model.transform(held_out)))
    print(json.dumps(row | {"peak": peak_memory()}))


def peak_memory():
    """Return the most bytes that this process had in memory.

    What `resource` says of a process begins with the peak of the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def apart(what, folder, seed=0, max_iter=1):
    """Return what a fit in a process of its own has printed."""
    command = [sys.executable, __file__, "--fit", what, "--folder", folder]
    command += ["--seed", str(seed), "--max-iter", str(max_iter)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def pace(folder):
    """Yield samples per second of passes that read, over a pass from memory beside each."""
    # No limit: what is small would be read into memory.
    from skvaeense._training import _opening
    from skvaeense._training._scaling import Scaling

    _opening.IN_MEMORY = 0
    paths = sorted(folder.glob("*.npy"))[:1]
    arrays = {
        "memory": np.load(paths[0]),
        "memory map": np.load(paths[0], mmap_mode="r"),
        "shards": paths,
    }
    scaling = Scaling.from_data(arrays["memory"])
    passes = {name: one_pass(X, scaling) for name, X in arrays.items()}
    for repeat in range(PACE_REPEATS):
        seconds = {name: train_once() for name, train_once in passes.items()}
        for name in ("memory map", "shards"):
            yield {"repeat": repeat, "from": name, "ratio": seconds["memory"] / seconds[name]}


def one_pass(X, scaling):
    """Return a function that trains for one pass, and returns its seconds."""
    import torch

    from skvaeense._training._batches import split_samples
    from skvaeense._training._loop import LearningRate, iterate_epochs, make_optimizer
    from skvaeense._training._opening import open_samples
    from skvaeense.networks import Linear
    from skvaeense.objectives import ELBO, NoiseVariance

    # All of its steps cost the same; those of sparse autoencoders depend on how many latents died.
    generator = torch.Generator().manual_seed(0)
    module = Linear().build(N_FEATURES, N_LATENTS, n_heads=2, generator=generator)
    objective = ELBO(NoiseVariance(0.5, floor=0.5))
    train, _ = split_samples(
        open_samples(X),
        scaling,
        np.random.RandomState(0),
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    optimizer = make_optimizer(module)

    def train_once():
        begin = time.perf_counter()
        list(
            iterate_epochs(
                module,
                objective,
                train,
                n_epochs=1,
                batch_size=BATCH_SIZE,
                learning_rate=LearningRate(0.001),
                generator=generator,
                optimizer=optimizer,
            )
        )
        return time.perf_counter() - begin

    return train_once


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where shards are written and deleted")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="what is measured")
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--max-iter", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit, arguments.folder, arguments.seed, arguments.max_iter)
        return
    n_shards = max(SHARDS_IN_MEMORY, round(arguments.gigabytes * 1e9 / (SHARD_ROWS * 2048)))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        begin = time.perf_counter()
        write(folder, n_shards)
        n_bytes = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{n_bytes / 1e9:.1f} GB in {time.perf_counter() - begin:.0f} s", flush=True)
        rows = []
        for seed in range(arguments.seeds):
            # As many steps on a part of the samples as one pass over all has.
            for what, max_iter in (("shards", 1), ("memory", n_shards // SHARDS_IN_MEMORY)):
                if what not in arguments.only:
                    continue
                row = {"samples": what, "seed": seed} | apart(what, folder, seed, max_iter)
                rows.append(row)
                print(row, flush=True)
        paces = list(pace(folder)) if "pace" in arguments.only else []
    imported = apart("import", Path())["peak"]
    by_kind = {name: [r for r in rows if r["samples"] == name] for name in ("shards", "memory")}
    result = {
        "bytes": n_bytes,
        "n_samples": n_shards * SHARD_ROWS,
        "peak": max((row["peak"] for row in by_kind["shards"]), default=None),
        "peak_import": imported,
        "fvu": {name: [row["fvu"] for row in group] for name, group in by_kind.items()},
        "pace": {
            name: statistics.median(row["ratio"] for row in paces if row["from"] == name)
            for name in ("memory map", "shards")
            if paces
        },
        "fits": rows,
        "paces": paces,
    }
    print({key: result[key] for key in ("bytes", "peak", "peak_import", "fvu", "pace")})
    save(RESULTS, f"{arguments.gigabytes:g} GB", result)


if __name__ == "__main__":
    main()
