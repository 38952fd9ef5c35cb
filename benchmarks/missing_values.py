"""Missing values: entries of public tables filled in, and densities learned through holes.

    python -m benchmarks missing_values [--seeds 3] [--only NAME ...]

A share of the entries of a table is removed, in the training rows and in the held-out ones: at
"random", or "by a rule", by which half of the columns miss three times as many entries where a
column that is always known is above its median. Each method learns from what is left of the
training rows, and fills in the held-out ones. Errors are squared, in units of the variance of the
column, and means over all entries that are missing. Tables and noise are those of
``benchmarks.tables``, with a fifth of the rows held out and at most `MAX_TRAIN` to learn from;
columns are standardised.

Then, with 30 % missing at random, the log-density of held-out rows without holes: of a
SubspaceMixture fitted to the training rows with their holes, to what each other method made of
them, and to the complete rows. VAEenseTransformer and trees take longer than the others, and are
fitted where 30 % are missing.
"""

import time
import warnings

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.common import make_parser, measure_missing
from benchmarks.tables import prepared
from skvaeense import VAEenseTransformer
from skvaeense.mixture import SubspaceMixture

NAMES = ["iris", "wine", "breast_cancer", "diabetes", "concrete", "ais"]
RULES, SHARES = ["random", "by a rule"], [0.1, 0.3]
MAX_TRAIN = 300
# The share at which the slow methods are fitted, and densities compared.
MOST = max(SHARES)


def trees(seed):
    """Return an imputer by boosted trees, with few of them."""
    forest = HistGradientBoostingRegressor(max_iter=30, early_stopping=False, random_state=seed)
    return IterativeImputer(forest, max_iter=3, random_state=seed)


METHODS = {
    "SubspaceMixture": lambda seed: SubspaceMixture(random_state=seed),
    "VAEense": lambda seed: VAEenseTransformer(random_state=seed),
    "IterativeImputer": lambda seed: IterativeImputer(random_state=seed),
    "IterativeImputer, trees": trees,
    "KNNImputer": lambda seed: KNNImputer(),
    "means": lambda seed: SimpleImputer(),
}
SLOW = {"VAEense", "IterativeImputer, trees"}
# Those that are followed by a SubspaceMixture of what they filled in.
FILLING = ["IterativeImputer", "IterativeImputer, trees", "KNNImputer", "means"]


def with_holes(rows, rule, share, seed):
    """Return arrays of rows with a share of their entries missing."""
    rng = np.random.default_rng(seed)
    d = rows[0].shape[1]
    if rule == "random":
        return [np.where(rng.uniform(size=x.shape) < share, np.nan, x) for x in rows]
    cause, *others = rng.permutation(d)
    affected, median = np.isin(np.arange(d), others[: d // 2]), np.median(rows[0][:, cause])
    holed = []
    for x in rows:
        chance = np.where(x[:, [cause]] > median, 3, 1) * share * affected
        holed.append(np.where(rng.uniform(size=x.shape) < chance, np.nan, x))
    return holed


def measure(table, rule, share, seed):
    """Return errors of what methods fill in, CPU seconds, and log-densities."""
    train, test = prepared(table, seed)
    train = np.random.RandomState(seed).permutation(train)[:MAX_TRAIN]
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    holed, holed_test = with_holes([train, test], rule, share, seed)
    missing = np.isnan(holed_test)
    errors, seconds, fitted = {}, {}, {}
    for name, make in METHODS.items():
        if name in SLOW and share < MOST:
            continue
        begin, model = time.process_time(), make(seed).fit(holed)
        fill = model.impute if hasattr(model, "impute") else model.transform
        filled = fill(holed_test)
        seconds[name] = time.process_time() - begin
        errors[name] = float(np.square(filled - test)[missing].mean())
        fitted[name] = model
    row = {"n": len(train), "d": train.shape[1], "errors": errors, "cpu_seconds": seconds}
    if rule != "random" or share < MOST:
        return row
    scores = {"with holes": fitted["SubspaceMixture"].score(test)}
    versions = {name: fitted[name].transform(holed) for name in FILLING} | {"complete": train}
    for name, version in versions.items():
        scores[name] = SubspaceMixture(random_state=seed).fit(version).score(test)
    return row | {"log_density": scores}


def summary(rows):
    """Return with how many tables each method has the least error, by rule and share."""
    wins = {}
    for rule in RULES:
        for share in SHARES:
            best = []
            for table in NAMES:
                own = [
                    row["errors"]
                    for row in rows
                    if (row["table"], row["rule"], row["share"]) == (table, rule, share)
                ]
                if own:
                    means = {name: np.mean([run[name] for run in own]) for name in own[0]}
                    best.append(min(means, key=means.get))
            wins[f"{rule}, {share:.0%}"] = {name: best.count(name) for name in METHODS}
    return wins


def main():
    """Measure what the file of results lacks."""
    parser = make_parser(__doc__, seeds=3, only=NAMES, out="missing_values.json")
    arguments = parser.parse_args()
    orders = {"table": NAMES, "rule": RULES, "share": SHARES}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        measure_missing(
            arguments.out,
            orders,
            orders | {"table": arguments.only},
            arguments.seeds,
            measure,
            summary,
        )


if __name__ == "__main__":
    main()
