"""Shared parts of the paper's experiments: two sizes, and parallel fits.

An experiment has two sizes: `--quick`, the default, takes minutes on two cores, and `--full` is the
size of the paper, for a GPU. Results are tables, each a list of rows, in
../results/paper/NAME.json.
"""

import argparse
import time
import warnings

import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.exceptions import ConvergenceWarning

from benchmarks import entered
from benchmarks.common import in_short, make_parser, save
from benchmarks.data import add_data_option


def run(name, description, sizes, measure, add_arguments=None):
    """Run an experiment in the size that the command line names, and save its tables.

    Parameters
    ----------
    name : str
        Name of the file of results.

    description : str
        The module's docstring.

    sizes : dict of dict
        The settings of the sizes "quick" and "full".

    measure : callable
        A generator function that yields (table, row). Its argument is an argparse.Namespace of the
        settings, `jobs`, `data` and the experiment's own arguments.

    add_arguments : callable or None, default=None
        A function that adds the experiment's own arguments to the parser.
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
    """Yield the results of a function for each tuple of arguments, in order, from parallel calls.

    Each call has one thread, so that results do not depend on the number of parallel calls.
    """
    with parallel_config("loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs, return_as="generator")(
            delayed(_alone)(function, job) for job in jobs
        )


def _alone(function, job):
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        # The tables show the problems that these warnings are about.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = function(*job)
    if entered.RECORD is not None:
        entered.RECORD.write()
    return found
