"""What benchmarks share: their command line, their clocks, processes of their own, and results."""

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
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
# Significant digits of a result, and how long a row may be to stand on one line.
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
        What ``--only`` chooses from; all of them are the default.

    out : str or None, default=None
        Default of ``--out``, in the folder of results.

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
        Functions of the arguments; their names are ``run_`` and the name of the task.
    """
    names = {task.__name__.removeprefix("run_"): task for task in tasks}
    parser.add_argument("what", choices=list(names))
    arguments = parser.parse_args()
    n_threads = getattr(arguments, "threads", 1)
    torch.set_num_threads(n_threads)
    with threadpool_limits(n_threads):
        names[arguments.what](arguments)


# --- fits and clocks --------------------------------------------------------------------------


def fit(estimator, X):
    """Fit without warnings that the training was short, and return the CPU seconds."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X)
    return time.process_time() - begin


class Clock:
    """A callback that notes when epochs end, by the clock on the wall."""

    def __init__(self):
        self._ends = []

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            self._ends.append(time.perf_counter())

    @property
    def epochs(self):
        """The seconds of each epoch but the first."""
        return np.diff(self._ends)


# --- processes --------------------------------------------------------------------------------


def start(module, *arguments, python=sys.executable, **options):
    """Start a module of this package, or a benchmark by ``benchmarks NAME``, in its own process."""
    command = [python, "-W", "ignore", "-m", *module.split(), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)


def answer(process):
    """Return what a process prints as its last line, read as JSON, once it has ended."""
    output = process.communicate()[0]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return json.loads(output.splitlines()[-1])


def apart(module, *arguments, **options):
    """Return what a process of its own prints as its last line; see `start`."""
    return answer(start(module, *arguments, **options))


# --- results ----------------------------------------------------------------------------------


def summarise(rows, *names, worst=max):
    """Return means and worst values over the seeds.

    Parameters
    ----------
    rows : list of dict
        A row for each seed.

    names : str
        ``KEY_mean`` or ``KEY_worst``, where KEY is a number of the rows.

    worst : callable, default=max
        Chooses the worst of a list.

    Returns
    -------
    dict of float
        The numbers by their names.
    """
    summary = {}
    for name in names:
        key, _, kind = name.rpartition("_")
        of = {"mean": np.mean, "worst": worst}[kind]
        summary[name] = float(of([row[key] for row in rows]))
    return summary


def measure_missing(path, orders, chosen, n_seeds, measure, summary):
    """Measure what a file of results lacks, one seed after the other, and save it row by row.

    Parameters
    ----------
    path : Path
        The file, a dict with "rows" and their "summary"; what else it has stays.

    orders : dict of list
        All values of the keys that tell rows apart besides "seed", in the order of the rows.

    chosen : dict of list
        The values to measure.

    n_seeds : int
        Number of seeds, from 0.

    measure : callable
        With these keys it returns the numbers of a row.

    summary : callable
        Of the rows.
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
    """Return a row on one line: its lists only by their length, and the beginning of texts."""
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
    """Write a file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(results) + "\n", encoding="utf-8")


def dumps(value, indent=0):
    """Return results as JSON that is short, and that shows a change in the lines it changes.

    Rows stand on one line unless they are long, and lists of numbers always do.
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
    """Return a value with as many digits as results have."""
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
