"""The tables of bad input and of faults: what the tests run."""

import importlib
import sys
from configparser import ConfigParser
from pathlib import Path

from table import Table

HEADER = ("given", "to", "methods", "error", "message")


def bad_input_tables():
    """Return a table for each kind of bad input."""
    tables = bad_inputs().items()
    return {f"bad_{kind}": Table(HEADER, [*map(cells, rows)]) for kind, rows in tables}


def bad_inputs():
    """Return the rows of each table."""
    return from_tests("bad_inputs").TABLES


def faults():
    """Return the faults that are injected."""
    return from_tests("faults").FAULTS


def from_tests(name):
    """Return a module of the tests."""
    folder = str(Path(__file__).parent.parent / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def faults_table():
    """Return what goes wrong, and what follows."""
    rows = [(fault.what, fault.error.__name__, f"… {fault.message} …") for fault in faults()]
    return Table(("what goes wrong", "error", "message"), rows)


def least_coverage():
    """Return the percentage below which the tests fail."""
    settings = ConfigParser()
    settings.read(Path(__file__).parent.parent / "setup.cfg")
    return settings.getint("coverage:report", "fail_under")


def cells(row):
    """Return what is shown of a row."""
    names = [estimator.__name__ for estimator in row.estimators]
    methods = dict.fromkeys(method for _, method in row.cases)
    message = " ".join(row.message.split())
    who = "every estimator" if len(names) == 4 else ", ".join(names)
    return row.given, who, ", ".join(methods), row.error.__name__, message
