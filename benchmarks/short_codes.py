"""Codes of a given length: activations of a language model, with 10, 30 or 100 of 300 latents.

    python -m benchmarks short_codes fits [--only NAME ...] [--levels 10 30 100] [--seeds 5]
    python -m benchmarks short_codes nested [--only NAME ...] [--levels 10 30 100] [--seeds 3]
    python -m benchmarks short_codes wide [--only NAME ...]
    python -m benchmarks short_codes steps

* `fits` trains one model for each length and seed, with the package's defaults. It measures the
  fraction of variance unexplained on rows of other documents, the active latents, and CPU seconds.
  The encoder of the rival "unrolled batch_topk" corrects its code by the residual several times.
  The other rivals have one layer each way, and codes of one sign or of both; "long" means twice as
  many epochs. PCA has as many components as the others have active latents.
* `nested` trains one model for all lengths, or for the longest length alone, and cuts its codes to
  each length by `transform_l0`. VAEense is trained for the longest length alone. The division of
  batches among lengths was chosen on the test rows of seed 0.
* `wide` has 30 active of 2,304 latents, four latents to a feature. Sparse autoencoders have few
  epochs, since their steps take long.
* `steps` measures a training step of sparse autoencoders, and the matrix products in it, which are
  its floor.

Each row is saved when it is done, and is not computed again, so a run can be stopped at any time.
All tasks but `steps` need a folder with lm_activations.npz; see `lm_activations`.
"""

import time
from functools import lru_cache, partial

import numpy as np
import torch
from sklearn.decomposition import PCA

from benchmarks.common import fit, load, make_parser, measure_missing, run_task, save, summarise
from benchmarks.data import add_data_option, read_activations
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.metrics import dead_fraction, fvu, l0
from skvaeense.nets.losses import PenalizedReconstruction
from skvaeense.nets.models import SparseCoder
from skvaeense.nets.networks import SingleLayer, Unrolled
from skvaeense.nets.penalties import BatchTopK, TopK

N_COMPONENTS, LEVELS = 300, (10, 30, 100)
# Settings of the task `wide`.
WIDE_COMPONENTS, WIDE_LEVEL, WIDE_EPOCHS = 2304, 30, 3
# Twice the default number of epochs. An encoder of one layer then takes as long as an unrolled one.
LONG = 54
BATCH_SIZE, REPEATS = 256, 30


def with_k(penalty, k, **params):
    """Return a sparse autoencoder whose penalty keeps k active latents."""
    return SparseAutoencoder(penalty=penalty(k), **({"n_components": N_COMPONENTS} | params))


def with_target(penalty, k, **params):
    """Return a sparse autoencoder whose coefficient is adapted to k active latents."""
    params = {"n_components": N_COMPONENTS} | params
    return SparseAutoencoder(penalty=penalty, target_l0=k, **params)


PENALTIES = {
    "batch_topk": partial(with_k, BatchTopK),
    "topk": partial(with_k, TopK),
    "l1": partial(with_target, "l1"),
    "jump_relu": partial(with_target, "jump_relu"),
}
# name: function of the number of active latents and a seed that returns a model
METHODS = {
    "VAEense": lambda k, n_components=N_COMPONENTS, **params: VAEenseTransformer(
        n_components, target_l0=k, **params
    ),
    "unrolled batch_topk": partial(
        PENALTIES["batch_topk"], network="unrolled", positive_code=False
    ),
    **{f"positive {name}": make for name, make in PENALTIES.items()},
    **{f"signed {name}": partial(make, positive_code=False) for name, make in PENALTIES.items()},
    "positive batch_topk, long": partial(PENALTIES["batch_topk"], max_iter=LONG),
    "signed batch_topk, long": partial(PENALTIES["batch_topk"], max_iter=LONG, positive_code=False),
    "PCA": PCA,
}


def measure(method, k, seed, train, test, **params):
    """Fit one model, and return its measures on test rows."""
    model = METHODS[method](k, random_state=seed, **params)
    seconds = fit(model, train)
    return {"method": method, "k": k, "seed": seed} | numbers(model, test, seconds)


def numbers(model, test, seconds):
    """Return the measures of a fitted model on test rows, with the CPU seconds of its fit."""
    codes = model.transform(test)
    return {
        "fvu": fvu(test, model.inverse_transform(codes)),
        "l0": l0(codes),
        "dead": dead_fraction(codes),
        "cpu_seconds": seconds,
    }


def summary(rows, keys=("method", "k")):
    """Return means and worst values over the seeds, for each method and length."""
    found = []
    for values in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        names = dict(zip(keys, values, strict=True))
        own = [row for row in rows if names.items() <= row.items()]
        means = summarise(own, "fvu_mean", "fvu_worst", "l0_mean", "cpu_seconds_mean")
        found.append(names | {"n_seeds": len(own)} | means)
    return found


def run_fits(arguments):
    """Fit the models whose rows the results lack, and save each row."""
    train, test = read_activations(arguments.data)
    orders = {"method": list(METHODS), "k": list(range(N_COMPONENTS + 1))}
    chosen = {"method": arguments.only, "k": arguments.levels}
    of_rows = partial(measure, train=train, test=test)
    measure_missing(arguments.out, orders, chosen, arguments.seeds, of_rows, summary)


# --- more latents than features ---------------------------------------------------------------

WIDE = ("VAEense", "unrolled batch_topk", "positive batch_topk", "signed batch_topk")


def run_wide(arguments):
    """Fit the models whose rows the results lack, and save each row."""
    train, test = read_activations(arguments.data)
    for method in (name for name in WIDE if name in arguments.only):
        rows = load(arguments.out).get("wide", [])
        if any(row["method"] == method for row in rows):
            continue
        params = {"n_components": WIDE_COMPONENTS}
        # The steps of gates follow from the target.
        params |= {} if method == "VAEense" else {"max_iter": WIDE_EPOCHS}
        row = measure(method, WIDE_LEVEL, 0, train, test, **params)
        print(row, flush=True)
        save(arguments.out, "wide", [*rows, row | params])


# --- one fit, several lengths -----------------------------------------------------------------

# Methods whose codes are cut, and functions of all lengths to the lengths to train for.
CUT = {"all": ("unrolled batch_topk", "signed batch_topk")}
CUT["longest"] = ("VAEense", *CUT["all"])
TRAINED_FOR = {"all": list, "longest": max}


def run_nested(arguments):
    """Fit the models whose rows the results lack, and cut their codes."""
    train, test = read_activations(arguments.data)

    @lru_cache(maxsize=1)
    def fitted(method, trained_for, seed):
        model = METHODS[method](TRAINED_FOR[trained_for](arguments.levels), random_state=seed)
        return model, fit(model, train)

    def cut(method, trained_for, k, seed):
        model, seconds = fitted(method, trained_for, seed)
        return numbers(model.set_params(transform_l0=k), test, seconds)

    orders = {
        "method": CUT["longest"],
        "trained_for": list(TRAINED_FOR),
        "k": list(range(N_COMPONENTS + 1)),
    }
    of_lengths = partial(summary, keys=list(orders))
    out = arguments.out.with_name("short_codes_nested.json")
    for trained_for, n_seeds in (("all", arguments.seeds), ("longest", 1)):
        chosen = {
            "method": [name for name in CUT[trained_for] if name in arguments.only],
            "trained_for": [trained_for],
            "k": arguments.levels,
        }
        measure_missing(out, orders, chosen, n_seeds, cut, of_lengths)


# --- steps ------------------------------------------------------------------------------------


def products(x, n_sweeps):
    """Return a function that computes only the matrix products of a step and its gradient."""
    d = x.shape[1]
    atoms, overlap = torch.randn(d, N_COMPONENTS), torch.randn(N_COMPONENTS, N_COMPONENTS)
    code = torch.randn(len(x), N_COMPONENTS)

    def compute():
        for _ in range(2):  # The products of encoder and decoder, each with two gradients.
            x @ atoms, code @ atoms.T, x.T @ code
        if n_sweeps:
            # The product of the atoms with themselves, and its gradient, which is one product.
            atoms.T @ atoms, atoms @ overlap
        for _ in range(n_sweeps):
            code @ overlap, code @ overlap.T, code.T @ code

    return compute


def cpu_seconds_in_turns(functions):
    """Return the median CPU seconds of each function. The functions are called in turn."""
    times = {name: [] for name in functions}
    for i in range(REPEATS + 1):
        for name, function in functions.items():
            begin = time.process_time()
            function()
            if i:
                times[name].append(time.process_time() - begin)
    return {name: float(np.median(own)) for name, own in times.items()}


def run_steps(arguments):
    """Time the gradient of a training step of each model, beside its matrix products."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH_SIZE, 576, generator=generator)
    shape = x.shape[1], N_COMPONENTS
    models = {
        "unrolled batch_topk": (
            SparseCoder(Unrolled(n_active=30), *shape, penalty=BatchTopK(30), generator=generator),
            PenalizedReconstruction(),
        ),
        "positive batch_topk": (
            SparseCoder(SingleLayer(), *shape, penalty=BatchTopK(30), generator=generator),
            PenalizedReconstruction(),
        ),
    }
    functions = {"floor unrolled": products(x, 3), "floor single": products(x, 0)}
    for name, (model, loss) in models.items():
        functions[name] = partial(loss.gradient(model.train()), x, generator)
    seconds = cpu_seconds_in_turns(functions)
    for name, own in seconds.items():
        print(f"{name}: {1e3 * own:.1f} ms")
    save(arguments.out, "steps", {name: 1e3 * own for name, own in seconds.items()})


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=METHODS, out="short_codes.json")
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS)
    add_data_option(parser)
    run_task(parser, run_fits, run_wide, run_nested, run_steps)
