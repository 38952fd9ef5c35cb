"""Time of training steps, transforms and whole fits, each beside a baseline.

    python -m benchmarks speed WHAT [--threads 1] [--repeats 5]

WHAT is one of:

* `step`: the time of a training step, as a ratio to the time of its matrix products alone (the
  floor), beside loops written by hand;
* `transform`: the time of a transform, as a ratio to the time of PCA with the same number of
  components;
* `growth`: fits of VAEase with more and more samples and latents: seconds of an epoch, and peak
  memory above the samples;
* `answer`: the time until dimensions are right, beside the recipe of the paper's code;
* `counting`: the time of Otsu's rule for a million samples with 300 latents;
* `importing`: the time of the import, beside the import of torch and scikit-learn;
* `one`: a single fit of `growth`, which starts a separate process for it;
* `draw`: the picture of `step`.

Compared functions are timed in turn in one process, in CPU seconds, or in wall-clock seconds with
more than one thread. Medians are saved.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from sklearn.base import clone
from sklearn.metrics import mean_absolute_error
from torch import nn

from benchmarks.common import RESULTS, apart, fit, load, make_parser, run_task, save
from benchmarks.data import HELD_OUT, subspaces
from benchmarks.guards.steps import SHAPES, TRANSFORM_SIZES, collated, steps, transform_ratios
from skvaeense import VAEase, VAEenseTransformer
from skvaeense.nets.networks import Linear
from skvaeense.nets.thresholds import FixedVariance, Latents, Otsu

FILE = RESULTS / "speed.json"
GROWTH_SAMPLES = (1000, 10_000, 100_000, 1_000_000)
GROWTH_LATENTS = (16, 64, 256, 1024, 4096)
SEEDS = range(5)
# Settings of the fits of `answer`: the default, the paper's model, and a small form of it.
FITS = {
    "default": {},
    "VAEase": {"model": VAEase()},
    "VAEase, small": {
        "model": VAEase(Linear((64, 64)), max_iter=5, learning_rate_init=0.03),
    },
}
# The recipe: its passes over the samples, and the number of samples in the paper. Here our fits and
# the recipe have a tenth of these samples. The time of the recipe is proportional to their number.
PASSES = 150
PAPER_SAMPLES = 500_000
N_SAMPLES = 50_000


def threads(arguments):
    """Return the number of threads as it is written in the results."""
    return f"{arguments.threads} thread" + "s" * (arguments.threads > 1)


def run_step(arguments):
    """Time the training steps of the chosen shapes."""
    key = f"step, {threads(arguments)}"
    rows = {(row["step"], row["shape"]): row for row in load(FILE).get(key, [])}
    for step in steps():
        if step.shape in arguments.only:
            row = {"step": step.name, "shape": step.shape} | step.measure(arguments.repeats)
            rows[step.name, step.shape] = row
            ratios = {name: round(ratio, 2) for name, ratio in row["ratios"].items()}
            print(step.name, step.sizes, ratios, flush=True)
            save(FILE, key, list(rows.values()))


def run_transform(arguments):
    """Time the transform of samples beside PCA's."""
    rows = []
    for d, k in TRANSFORM_SIZES:
        ratios = transform_ratios(d, k, arguments.repeats)
        rows.append({"n_features": d, "n_components": k, "ratios": ratios})
        print(rows[-1], flush=True)
    save(FILE, "transform", rows)


def run_growth(arguments):
    """Measure fits with more and more samples and latents, each in a separate process."""
    # "auto" layers have one unit for each latent, but at least 256 and at most 1,024 units.
    for key, name, values, width in (
        ("growth in samples", "--samples", GROWTH_SAMPLES, "auto"),
        ("growth in latents", "--latents", GROWTH_LATENTS, "auto"),
        ("growth in latents, layers of 256", "--latents", GROWTH_LATENTS, "256"),
    ):
        rows = []
        for value in values:
            rows.append(apart("benchmarks speed", "one", name, value, "--width", width))
            print(rows[-1], flush=True)
            save(FILE, key, rows)


def run_one(arguments):
    """Print the seconds and memory of one fit with a given number of epochs."""
    n, k = arguments.samples, arguments.latents
    # X is filled in pieces, since drawing it at once would need more memory than X.
    X = np.empty((n, 40), np.float32)
    rng = np.random.default_rng(0)
    for start in range(0, n, 10_000):
        X[start : start + 10_000] = rng.standard_normal(X[start : start + 10_000].shape)
    width = arguments.width if arguments.width == "auto" else (int(arguments.width),) * 2
    vaease = VAEase(Linear(width), n_init=1, max_iter=arguments.epochs)
    model = VAEenseTransformer(k, model=vaease, random_state=0)
    fit(clone(model).set_params(model__max_iter=2), X[:1000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = fit(model, X)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    row = {
        "n_samples": n,
        "n_components": k,
        "batch_size": min(256, n // 8),
        "n_epochs": model.n_iter_,
        "seconds_per_epoch": seconds / model.n_iter_,
        "copies_of_X": (peak - before) / X.nbytes,
        "extra_megabytes": (peak - before) / 2**20,
    }
    print(json.dumps(row))


def paper_recipe(X, n_passes, seed):
    """Train like the paper's code, and return a function from samples to log variances.

    The encoder has three hidden layers as wide as the samples, the decoder is linear, the noise
    variance is learned, and the second head is the log variance, at most 0. Adam's learning rate
    follows a cosine schedule that restarts after every tenth of the passes. Batches are collated
    sample by sample.
    """
    torch.manual_seed(seed)
    d, k, batch_size = X.shape[1], 20, 1024
    generator = torch.Generator().manual_seed(seed)
    module = Linear((d, d, d), skip=False).build(d, k, n_heads=2, generator=generator)
    log_noise = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.Adam([*module.parameters(), log_noise], lr=0.01)
    batches = collated(X, batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, max(1, n_passes // 10) * len(batches)
    )
    for _ in range(n_passes):
        for x in batches:
            mean, log_variance = module.encode(x)
            log_variance = log_variance.clamp(max=0)
            deviation = torch.exp(log_variance / 2)
            z = mean + deviation * torch.randn_like(mean)
            error = ((x - module.decode((1 - deviation) * z)) ** 2).sum(dim=1)
            kl = (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1)
            loss = (error / log_noise.exp() + d * log_noise + kl).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def log_variances(x):
        return module.encode(x)[1].clamp(max=0).numpy()

    return log_variances


def run_answer(arguments):
    """Time several fits and the paper's recipe, and measure the errors of their dimensions."""
    rows = []
    for seed in SEEDS:
        X, _, dimension = subspaces((4, 4, 4), 40, N_SAMPLES)(seed)
        held_out, train, truth = X[:HELD_OUT], X[HELD_OUT:], dimension[:HELD_OUT]
        row = {"seed": seed, "n_samples": N_SAMPLES}
        for name, parameters in FITS.items():
            model = VAEenseTransformer(20, random_state=seed, **parameters)
            seconds = fit(model, train)
            error = mean_absolute_error(truth, model.active_dimensions(held_out).sum(axis=1))
            row[name] = {"seconds": seconds, "error": error}
        begin = time.process_time()
        recipe = paper_recipe(torch.tensor(train, dtype=torch.float32), PASSES, seed)
        log_variance = recipe(torch.tensor(held_out, dtype=torch.float32))
        seconds = time.process_time() - begin
        row["recipe"] = {"seconds": seconds, "seconds_500k": seconds * PAPER_SAMPLES / N_SAMPLES}
        latents = Latents(log_variance, log_variance, np.ones(20), 1.0)
        for name, rule in (("otsu", Otsu()), ("fixed_variance", FixedVariance())):
            count = rule.active(latents).sum(axis=1)
            row["recipe"][f"error_{name}"] = mean_absolute_error(truth, count)
        rows.append(row)
        print(row, flush=True)
        save(FILE, "answer", rows)


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
    save(FILE, "counting", row)
    print(row)


def run_importing(arguments):
    """Time imports, each in a separate process."""
    # The package imports an estimator when it is first named.
    statements = {"torch, sklearn": "import torch, sklearn", "skvaeense": "from skvaeense import *"}
    seconds = {name: [] for name in statements}
    for _ in range(max(3, arguments.repeats // 2)):
        for name, taken in seconds.items():
            code = f"import time; b = time.process_time()\n{statements[name]}\n"
            code += "print(time.process_time() - b)"
            command = [sys.executable, "-c", code]
            taken.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    row = {name: statistics.median(taken) for name, taken in seconds.items()}
    save(FILE, "importing", row)
    print(row)


def run_draw(arguments):
    """Draw the ratios of training steps: one row for each step, with the floor at 1."""
    from matplotlib import pyplot as plt

    rows = load(FILE)["step, 1 thread"]
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
    figure.savefig(FILE.with_suffix(".png"), dpi=110)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, only=SHAPES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=20_000, help="of `one`")
    parser.add_argument("--latents", type=int, default=20, help="of `one`")
    parser.add_argument("--width", default="auto", help="of the hidden layers of `one`")
    parser.add_argument("--epochs", type=int, default=10, help="of `one`")
    run_task(
        parser,
        run_step,
        run_transform,
        run_growth,
        run_answer,
        run_counting,
        run_importing,
        run_one,
        run_draw,
    )
