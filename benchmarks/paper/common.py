"""What the paper's experiments share: their two sizes, and fits that run at once.

An experiment has two sizes: `--quick`, the default, for minutes on two cores, and `--full`, the
paper's own, for a GPU. Its results are tables, lists of rows, in ../results/paper/NAME.json.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.exceptions import ConvergenceWarning

from benchmarks.common import in_short, make_parser, save
from benchmarks.data import add_data_option


def run(name, description, sizes, measure, add_arguments=None):
    """Run an experiment in the size that the command line asks for, and keep what it measures.

    Parameters
    ----------
    name : str
        Name of the file of results.

    description : str
        The module's docstring.

    sizes : dict of dict
        The numbers that "quick" and "full" stand for.

    measure : callable
        With an argparse.Namespace of these numbers, `jobs`, `data` and the experiment's own
        arguments, it yields (table, row).

    add_arguments : callable or None, default=None
        With the parser, it adds the experiment's own arguments.
    """
    parser = make_parser(description, out=f"paper/{name}.json")
    size = parser.add_mutually_exclusive_group()
    for key in sizes:
        size.add_argument(f"--{key}", action="store_const", const=key, dest="size")
    parser.set_defaults(size="quick")
    parser.add_argument("--jobs", type=int, default=-1, help="fits at once; 1 for a GPU")
    add_data_option(parser)
    if add_arguments is not None:
        add_arguments(parser)
    arguments = parser.parse_args()
    numbers = sizes[arguments.size]
    begin, tables = time.perf_counter(), {}
    for table, row in measure(argparse.Namespace(**vars(arguments), **numbers)):
        tables.setdefault(table, []).append(row)
        print(f"{table}:", in_short(row), flush=True)
    minutes = (time.perf_counter() - begin) / 60
    result = {"size": numbers, "minutes": round(minutes, 1), **tables}
    save(arguments.out, arguments.size, result)


def at_once(function, jobs, n_jobs):
    """Yield what a function returns for each tuple of arguments, in their order.

    Each call has one thread, so that results do not depend on how many run at once.
    """
    with parallel_config("loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs, return_as="generator")(
            delayed(_alone)(function, job) for job in jobs
        )


def first_noise(X):
    """Return the noise variance that random inits start from by default; a given one makes them."""
    variances = np.linalg.eigvalsh(np.cov(X.T))
    return 0.1 * np.square(variances).sum() / variances.sum()


def _alone(function, job):
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        # Tables show what these warn of.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*job)
