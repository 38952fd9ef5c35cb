"""Shared parts of benchmarks: command line, clocks, separate processes, and files of results."""

import argparse
import json
import subprocess
import sys
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import pdist
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks import entered

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
# Number of samples whose pairs are compared.
N_PAIRED = 2000
# Significant digits of a result, and the longest row that is written on one line.
DIGITS, WIDTH = 7, 320


# --- the command line -------------------------------------------------------------------------


def make_parser(description, *, seeds=None, only=None, out=None):
    """Return a parser with the options that many benchmarks have.

    Parameters
    ----------
    description : str
        The module's docstring.

    seeds : int or None, default=None
        Default of ``--seeds``.

    only : iterable of str or None, default=None
        The choices of ``--only``, whose default is all of them.

    out : str or None, default=None
        Default of ``--out``, a file name in the folder of results.

    Returns
    -------
    argparse.ArgumentParser
        The parser.
    """
    parser = argparse.ArgumentParser(
        sys.argv[0], description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if seeds is not None:
        parser.add_argument("--seeds", type=int, default=seeds)
    if only is not None:
        names = list(only)
        listed = "; ".join(names).replace("%", "%%")
        parser.add_argument(
            "--only", nargs="+", choices=names, metavar="NAME", default=names, help=listed
        )
    if out is not None:
        parser.add_argument("--out", type=Path, default=RESULTS / out)
    return parser


def run_task(parser, *tasks):
    """Run the task that the command line names, with one thread or ``--threads``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of a benchmark.

    tasks : callable
        Functions of the arguments, each named ``run_`` and the name of its task. The first is run
        if the command line names none.
    """
    names = {task.__name__.removeprefix("run_"): task for task in tasks}
    parser.add_argument("what", choices=list(names), nargs="?", default=next(iter(names)))
    arguments = parser.parse_args()
    n_threads = getattr(arguments, "threads", 1)
    torch.set_num_threads(n_threads)
    with threadpool_limits(n_threads):
        names[arguments.what](arguments)


# --- measures ---------------------------------------------------------------------------------


def squared_error(X, X_reconstructed):
    """Return the squared error, summed over features, averaged over samples."""
    residual = np.subtract(X, X_reconstructed, dtype=np.float64)
    return float(np.square(residual).sum(axis=1).mean())


def adaptivity(active):
    """Return the mean Jaccard distance between the active latents of pairs of samples."""
    return float(pdist(np.asarray(active[:N_PAIRED], dtype=bool), "jaccard").mean())


# --- fits and clocks --------------------------------------------------------------------------


def fit(estimator, X):
    """Fit without warnings about convergence, and return the CPU seconds."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X)
    return time.process_time() - begin


# --- processes --------------------------------------------------------------------------------


def apart(module, *arguments, python=sys.executable):
    """Run a module in a separate process, and return the last line that it printed, as JSON."""
    command = [python, "-W", "ignore", "-m", module, *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


# --- results ----------------------------------------------------------------------------------


def summarise(rows, *names, worst=max):
    """Return means and worst values over the seeds.

    Parameters
    ----------
    rows : list of dict
        One row for each seed.

    names : str
        ``KEY_mean`` or ``KEY_worst``, where KEY is a key of the rows whose value is a number.

    worst : callable, default=max
        A function that returns the worst value of a list.

    Returns
    -------
    dict of float
        The mean or worst value for each name.
    """
    summary = {}
    for name in names:
        key, _, kind = name.rpartition("_")
        of = {"mean": np.mean, "worst": worst}[kind]
        summary[name] = float(of([row[key] for row in rows]))
    return summary


def groups(rows, *keys):
    """Yield the groups of rows that share the values of some keys.

    Parameters
    ----------
    rows : list of dict
        One row for each seed.

    keys : str
        The keys.

    Yields
    ------
    label : dict
        The shared values, and the number of rows as "n_seeds".

    own : list of dict
        The rows.
    """
    for values in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        own = [row for row in rows if tuple(row[key] for key in keys) == values]
        yield dict(zip(keys, values, strict=True)) | {"n_seeds": len(own)}, own


def measure_missing(path, orders, chosen, n_seeds, measure, summary):
    """Measure the rows that a file of results lacks, seed by seed, and save each when it is done.

    Parameters
    ----------
    path : Path
        The file, a dict with "rows" and their "summary". Its other entries are kept.

    orders : dict of list
        The keys that identify a row together with "seed", and all values of each key in the order
        of the rows.

    chosen : dict of list
        The values to measure, for each key.

    n_seeds : int
        Number of seeds, which start at 0.

    measure : callable
        A function of these keys and "seed" that returns the numbers of a row.

    summary : callable
        A function of the rows that returns their summary.
    """
    for seed, *values in product(range(n_seeds), *chosen.values()):
        task = dict(zip(chosen, values, strict=True)) | {"seed": seed}
        rows = load(path).get("rows", [])
        if any(all(row[key] == value for key, value in task.items()) for row in rows):
            continue
        rows.append(task | measure(**task))
        print(in_short(rows[-1]), flush=True)
        rows.sort(key=lambda row: [orders[key].index(row[key]) for key in orders] + [row["seed"]])
        write(path, load(path) | {"summary": summary(rows), "rows": rows})


def in_short(row):
    """Return a row as one line, with lists shown by their length, and long texts cut off."""
    return ", ".join(f"{key} {_brief(value)}" for key, value in row.items())


def _brief(value):
    if isinstance(value, list | dict):
        return f"[{len(value)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]


def load(path):
    """Return a file of results as a dict, empty if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save(path, name, result):
    """Add a result to a file of results."""
    write(path, load(path) | {name: result})


def write(path, results):
    """Write a file of results, with hashes of the code that was entered.

    Where a file has hashes already, they stay: its older rows are not measured anew.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if entered.RECORD is not None:
        code, before = entered.RECORD.code(), load(path).get("code", {})
        for file, old in before.items():
            kept = {entry.split()[0] for entry in old}
            new = [entry for entry in code.get(file, []) if entry.split()[0] not in kept]
            code[file] = sorted([*old, *new])
        results = results | {"code": code}
    path.write_text(dumps(results) + "\n", encoding="utf-8")


def dumps(value, indent=0):
    """Return results as short JSON, in which a change of a result changes few lines.

    A row is written on one line unless it is long, and a list of numbers always is.
    """
    line = json.dumps(_plain(value), ensure_ascii=False)
    if not isinstance(value, dict | list | tuple) or not value:
        return line
    simple = not isinstance(value, dict) and not any(isinstance(v, dict | list) for v in value)
    if indent and (simple or len(line) <= WIDTH):
        return line
    if isinstance(value, dict):
        parts = [f"{json.dumps(str(k))}: {dumps(v, indent + 1)}" for k, v in value.items()]
    else:
        parts = [dumps(v, indent + 1) for v in value]
    before, after = "{}" if isinstance(value, dict) else "[]"
    margin = "\n" + " " * (indent + 1)
    return f"{before}{margin}{f',{margin}'.join(parts)}\n{' ' * indent}{after}"


def _plain(value):
    """Return a value with all floats rounded to `DIGITS` significant digits."""
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
