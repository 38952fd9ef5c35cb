"""How long steps and transforms take, as ratios to what they are measured against.

    python benchmarks/speed.py WHAT [--threads 1] [--repeats 9] [--shape SHAPE]

WHAT is one of:

* `step`: a training step, over the time of its matrix products alone (the floor), beside loops
  written by hand;
* `entries`: a step of a top-k autoencoder that decodes whole codes, and one that decodes their
  entries only, for several shares of active latents;
* `transform`: the transform of samples, over that of PCA with as many components;
* `counting`: Otsu's rule for a million samples of 300 latents;
* `importing`: the time of the import, beside that of torch and scikit-learn;
* `draw`: the picture of `step`.

What is compared is timed in turns in one process, in CPU seconds, or by the clock with more than
one thread, and medians are kept. Whole fits are in speed_fits.py.
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import speed_loops
import torch
from saving import save
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense._training._loop import LearningRate, iterate_epochs, make_optimizer
from skvaeense.networks import Linear, SingleLayer
from skvaeense.objectives import ELBO, NoiseVariance, PenalisedReconstruction, Price, _penalised
from skvaeense.penalties import L1, Log, TopK
from skvaeense.thresholds import Latents, Otsu

RESULTS = Path(__file__).parent / "results" / "speed.json"
# name: (features, latents, samples of a batch)
SHAPES = {
    "small": (40, 20, 4096),
    "image": (784, 64, 4096),
    "language model, narrow": (576, 300, 4096),
    "language model, wide": (768, 4096, 4096),
}
SPARSE_SHAPES = {
    "language model, narrow": (512, 300, 4096),
    "language model, wide": (768, 4096, 4096),
}
# Steps of one timed pass.
N_STEPS = 2
N_TOP = 32
# Features and components.
TRANSFORM_SIZES = ((40, 20), (784, 64), (576, 300))


def medians(contenders, repeats):
    """Return the median of the seconds of each function, called in turns."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times = {name: [] for name in contenders}
    for function in contenders.values():
        function()
    for _ in range(repeats):
        for name, function in contenders.items():
            begin = clock()
            function()
            times[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def one_pass(module, objective, X, batch_size, optimizer=None):
    """Return one pass of the package's own training."""
    epochs = iterate_epochs(
        module,
        objective,
        X,
        n_epochs=10**9,
        batch_size=batch_size,
        learning_rate=LearningRate(1e-3),
        generator=torch.Generator().manual_seed(0),
        optimizer=optimizer,
    )
    return lambda: next(epochs)


def build(network, d, k, n_heads):
    return network.build(d, k, n_heads=n_heads, generator=torch.Generator().manual_seed(0))


def vae_contenders(network, d, k, n):
    X = torch.randn(N_STEPS * n, d)
    module = build(network, d, k, 2)
    contenders = {"floor": speed_loops.floor(module, n)}
    contenders["ours"] = one_pass(module, ELBO(NoiseVariance(0.1, floor=1e-3)), X, n)
    for name in ("gathered", "collated"):
        module = build(network, d, k, 2)
        batches = getattr(speed_loops, name)(X, n)
        contenders[name] = speed_loops.passes(speed_loops.vae_loss(module), module, batches)
    return contenders


def sae_module(penalty, d, k):
    module = build(SingleLayer(), d, k, 1)
    module.activation = penalty.build(k, unit=math.sqrt(d), positive=True)
    return module


def own_sae(penalty, X, k, n):
    module = sae_module(penalty, X.shape[1], k)
    objective = PenalisedReconstruction(penalty, Price(0.1))
    return one_pass(module, objective, X, n, make_optimizer(module, full_rate=True))


def sae_contenders(penalty, d, k, n):
    X = torch.randn(N_STEPS * n, d)
    contenders = {"floor": speed_loops.floor(build(SingleLayer(), d, k, 1), n)}
    contenders["ours"] = own_sae(penalty, X, k, n)
    for name in ("gathered", "collated"):
        module = build(SingleLayer(), d, k, 1)
        loss = speed_loops.sae_loss(module, getattr(penalty, "k", None))
        batches = getattr(speed_loops, name)(X, n)
        after = speed_loops.unit_norm(module)
        contenders[name] = speed_loops.passes(loss, module, batches, after)
    return contenders


class Step(NamedTuple):
    """A training step to be timed."""

    name: str
    shape: str
    sizes: tuple[int, int, int]
    contenders: Callable[[int, int, int], dict[str, Callable[[], object]]]

    def measure(self, repeats):
        """Return the seconds of the floor, and the others as multiples of it."""
        times = medians(self.contenders(*self.sizes), repeats)
        # The floor is one step, the others are passes.
        floor = times.pop("floor")
        return floor, {name: seconds / N_STEPS / floor for name, seconds in times.items()}


def steps():
    """Return steps of every kind and shape."""
    networks = {"single layer": SingleLayer(), "default network": Linear()}
    penalties = {"L1": L1(), "Log": Log(), "TopK": TopK(N_TOP)}
    dense = [
        Step(f"VAEense, {name}", shape, sizes, partial(vae_contenders, network))
        for shape, sizes in SHAPES.items()
        for name, network in networks.items()
    ]
    sparse = [
        Step(name, shape, sizes, partial(sae_contenders, penalty))
        for shape, sizes in SPARSE_SHAPES.items()
        for name, penalty in penalties.items()
    ]
    return dense + sparse


def run_step(arguments):
    """Time all steps, or those of one shape."""
    key = f"step, {arguments.threads} thread" + "s" * (arguments.threads > 1)
    kept = json.loads(RESULTS.read_text()).get(key, []) if RESULTS.exists() else []
    rows = {(row["step"], row["shape"]): row for row in kept}
    for step in steps():
        if arguments.shape not in (None, step.shape):
            continue
        floor, ratios = step.measure(arguments.repeats)
        d, k, n = step.sizes
        rows[step.name, step.shape] = {
            "step": step.name,
            "shape": step.shape,
            "n_features": d,
            "n_components": k,
            "batch_size": n,
            "floor_seconds": floor,
            "ratios": ratios,
        }
        print(step.name, step.sizes, {k: round(r, 2) for k, r in ratios.items()}, flush=True)
        save(RESULTS, key, list(rows.values()))


def run_entries(arguments):
    """Time steps that decode whole codes, and steps that decode entries."""
    rows = []
    for d, k, n in ((512, 300, 4096), (768, 4096, 4096)):
        for share in (1 / 128, 1 / 32, 1 / 8, 1 / 4, 1 / 2):
            penalty, X = TopK(max(1, round(share * k))), torch.randn(N_STEPS * n, d)

            def forced(few, penalty=penalty, X=X, k=k, n=n):
                step = own_sae(penalty, X, k, n)

                def call():
                    _penalised.FEW = few
                    step()

                return call

            times = medians({"whole": forced(0.0), "entries": forced(1.0)}, arguments.repeats)
            ratio = times["entries"] / times["whole"]
            rows.append({"n_features": d, "n_components": k, "k": penalty.k, "ratio": ratio})
            print(rows[-1], flush=True)
            save(RESULTS, "entries", rows)


def transform_ratios(d, k, repeats):
    """Return the time of transforms over that of PCA's."""
    X = np.random.default_rng(0).standard_normal((20_000, d)).astype(np.float32)
    few = {"n_init": 1, "max_iter": 2, "random_state": 0}
    models = {
        "PCA": PCA(k),
        "single layer": VAEenseTransformer(k, network="single_layer", **few),
        "default network": VAEenseTransformer(k, **few),
        "SparseAutoencoder": SparseAutoencoder(k, max_iter=2, random_state=0),
    }
    fitted = {name: model.fit(X[:2000]) for name, model in models.items()}
    times = medians({name: partial(m.transform, X) for name, m in fitted.items()}, repeats)
    return {name: t / times["PCA"] for name, t in times.items() if name != "PCA"}


def run_transform(arguments):
    """Time the transform of samples beside PCA's."""
    rows = []
    for d, k in TRANSFORM_SIZES:
        ratios = transform_ratios(d, k, arguments.repeats)
        rows.append({"n_features": d, "n_components": k, "ratios": ratios})
        print(rows[-1], flush=True)
    save(RESULTS, "transform", rows)


def run_counting(arguments):
    """Time Otsu's rule for a million samples."""
    rng = np.random.default_rng(0)
    log_variance = rng.standard_normal((1_000_000, 300), dtype=np.float32)
    ones = np.ones(300)
    latents = Latents(log_variance, log_variance, ones, 1.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    count = Otsu().active(latents).sum(axis=1)
    seconds = time.process_time() - begin
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    row = {"seconds": seconds, "copies": extra / log_variance.nbytes, "mean": float(count.mean())}
    save(RESULTS, "counting", row)
    print(row)


def run_importing(arguments):
    """Time imports, each in a process of its own."""
    seconds = {"torch, sklearn": [], "skvaeense": []}
    for _ in range(max(3, arguments.repeats // 2)):
        for names, taken in seconds.items():
            code = f"import time; b = time.process_time(); import {names}; "
            code += "print(time.process_time() - b)"
            command = [sys.executable, "-c", code]
            taken.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    row = {name: statistics.median(taken) for name, taken in seconds.items()}
    save(RESULTS, "importing", row)
    print(row)


def run_draw(arguments):
    """Draw the steps: a row for each, with the floor at 1."""
    from matplotlib import pyplot as plt

    rows = json.loads(RESULTS.read_text())["step, 1 thread"]
    labels = [f"{r['step']}: {r['n_features']} to {r['n_components']}" for r in rows]
    figure, ax = plt.subplots(figsize=(7.5, 0.6 + 0.42 * len(rows)))
    places = np.arange(len(rows))[::-1]
    ax.axvline(1, color="0.5", lw=1)
    styles = {
        "ours": ("this library", "#0072B2", "o"),
        "gathered": ("by hand, gathered batches", "#D55E00", "s"),
        "collated": ("by hand, collated batches", "#E69F00", "^"),
    }
    for name, (label, colour, marker) in styles.items():
        ratios = [row["ratios"][name] for row in rows]
        ax.plot(ratios, places, marker, color=colour, label=label, ms=7)
    ax.set_yticks(places, labels)
    ax.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.set_xlabel("time of a step / time of its matrix products")
    figure.legend(*ax.get_legend_handles_labels(), frameon=False, loc="upper center", ncols=3)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(RESULTS.with_suffix(".png"), dpi=110)


def main():
    """Run what the command line asks for."""
    tasks = {
        "step": run_step,
        "entries": run_entries,
        "transform": run_transform,
        "counting": run_counting,
        "importing": run_importing,
        "draw": run_draw,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(tasks))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--shape", choices=list(SHAPES), help="time the steps of one shape only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        tasks[arguments.what](arguments)


if __name__ == "__main__":
    main()
