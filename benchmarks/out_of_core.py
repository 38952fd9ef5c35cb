"""Fits to more samples than fit into memory: peak memory, unexplained variance, and speed.

    python -m benchmarks out_of_core [--gigabytes 4] [--seeds 5] [--folder FOLDER] [--only PART ...]

Samples are sparse combinations of atoms, as activations are thought to be. They are written to a
folder shard by shard, fitted, and deleted afterwards.

* `peak`: the peak memory of a process that fits all samples, beside `peak_import`, the peak of a
  process that only imports the package.
* `fits`: unexplained variance on held-out samples after one pass over all shards, and after the
  same number of steps on the part of the samples that fits into memory.
* `pace`: samples per second of VAEase's training from memory maps and from shards, as ratios to
  the training from memory. The three are timed in turn, and medians are taken over the turns.

Each fit runs in a separate process.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, Clock, apart, make_parser, save
from benchmarks.common import fit as fit_quietly
from skvaeense import SparseAutoencoder, VAEase, VAEenseTransformer
from skvaeense.metrics import fvu
from skvaeense.nets.penalties import BatchTopK

N_FEATURES, N_ATOMS, N_ACTIVE, NOISE = 512, 1024, 8, 0.05
# Shards of 256 MB.
SHARD_ROWS = 2**17
# Number of shards whose samples fit into memory.
SHARDS_IN_MEMORY = 2
HELD_OUT = 5000
N_LATENTS, BATCH_SIZE = 512, 1024
PACE_REPEATS = 5
PARTS = ("shards", "memory", "pace")


def draw(n_samples, seed):
    """Return sparse combinations of atoms in single precision. All seeds have the same atoms."""
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
    """Return the folder of all shards, or an array of the samples of the first shards."""
    if what == "shards":
        return folder
    paths = sorted(folder.glob("*.npy"))[:SHARDS_IN_MEMORY]
    return np.concatenate([np.load(path) for path in paths])


def fit(what, folder, seed, max_iter):
    """Print peak memory in bytes, seconds of the fit and unexplained variance."""
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
        fit_quietly(model, X)
        row["seconds"] = time.perf_counter() - begin
        held_out = draw(HELD_OUT, 10**6)
        row["fvu"] = fvu(held_out, model.inverse_transform(model.transform(held_out)))
    print(json.dumps(row | {"peak": peak_memory()}))


def peak_memory():
    """Return the peak memory of this process in bytes.

    The peak that `resource` returns would include the peak of the parent process.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def fit_apart(what, folder, seed=0, max_iter=1):
    """Run a fit in a separate process, and return the row that it prints."""
    options = ("--folder", folder, "--seed", seed, "--max-iter", max_iter)
    return apart("benchmarks out_of_core", "--fit", what, *options)


def pace(folder):
    """Yield the speed of passes that read from disk, as ratios to a pass from memory.

    Small data would be read into memory at once, so the samples are more than one shard.
    """
    paths = sorted(folder.glob("*.npy"))[:1]
    paths.append(paths[0].with_name("more.npy"))
    np.save(paths[1], draw(SHARD_ROWS // 8, 10**5))
    memory = np.concatenate([np.load(path) for path in paths])
    np.save(folder / "map.npy", memory)
    kinds = {"memory": memory, "memory map": folder / "map.npy", "shards": paths}
    for repeat in range(PACE_REPEATS):
        seconds = {name: seconds_of_epoch(X) for name, X in kinds.items()}
        for name in ("memory map", "shards"):
            yield {"repeat": repeat, "from": name, "ratio": seconds["memory"] / seconds[name]}


def seconds_of_epoch(X):
    """Return the seconds of one pass of VAEase's training over the samples.

    All steps of VAEase cost the same. The cost of a step of a sparse autoencoder would depend on
    the number of dead latents.
    """
    if isinstance(X, Path):
        X = np.load(X, mmap_mode="r")
    clock = Clock()
    vaease = VAEase(noise_variance=0.5, n_init=1, batch_size=BATCH_SIZE, max_iter=2)
    model = VAEenseTransformer(N_LATENTS, model=vaease, random_state=0)
    fit_quietly(model.set_callbacks(clock), X)
    return float(clock.epochs[-1])


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=PARTS)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, help="where shards are written and deleted")
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
            # Train on the part in memory for as many steps as one pass over all shards has.
            for what, max_iter in (("shards", 1), ("memory", n_shards // SHARDS_IN_MEMORY)):
                if what not in arguments.only:
                    continue
                row = {"samples": what, "seed": seed} | fit_apart(what, folder, seed, max_iter)
                rows.append(row)
                print(row, flush=True)
        paces = list(pace(folder)) if "pace" in arguments.only else []
    imported = fit_apart("import", Path())["peak"]
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
    save(RESULTS / "out_of_core.json", f"{arguments.gigabytes:g} GB", result)
