"""Missing values: entries of public tables filled in, and densities learned from holed tables.

    python -m benchmarks missing_values [--seeds 3] [--only NAME ...]

A share of the entries of a table is removed from the training rows and the held-out rows. Entries
are removed at "random", or "by a rule": half of the columns miss entries, three times as many in
rows in which another column, which is always known, is above its median. Each method learns from
the training rows with missing entries, and fills in the held-out rows. Errors are mean squared
errors over all missing entries, in units of the variance of the column. Tables and noise are those
of ``benchmarks.tables``, with a fifth of the rows held out, and at most `MAX_TRAIN` training rows.
Columns are standardised.

With 30 % missing at random, the log-density of complete held-out rows is also measured, for a
SubspaceMixture fitted to the training rows with missing entries, to the training rows as filled in
by each of the other methods, and to the complete training rows. VAEenseTransformer and trees take
longer than the other methods, and are fitted only where 30 % are missing.
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
# The share at which slow methods are fitted and densities are compared.
MOST = max(SHARES)


def trees(seed):
    """Return an imputer with few boosted trees."""
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
# Methods whose filled-in training rows a SubspaceMixture is fitted to.
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
    """Return the errors and CPU seconds of all methods, and log-densities."""
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
    """Return the number of tables on which each method has the least error, by rule and share."""
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
    """Measure the rows that the file of results lacks."""
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
