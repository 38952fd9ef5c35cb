"""The tables of bad input: the rows that the tests run."""

import sys
from pathlib import Path

from table import Table

HEADER = ("given", "to", "methods", "error", "message")


def bad_input_tables():
    """Return a table for each kind of bad input."""
    tables = bad_inputs().items()
    return {f"bad_{kind}": Table(HEADER, [*map(cells, rows)]) for kind, rows in tables}


def bad_inputs():
    """Return the rows of each table."""
    folder = str(Path(__file__).parent.parent / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    from bad_inputs import TABLES

    return TABLES


def cells(row):
    """Return what is shown of a row."""
    names = [estimator.__name__ for estimator in row.estimators]
    methods = [
        method
        for method in row.methods
        if any(hasattr(estimator, method) for estimator in row.estimators)
    ]
    message = " ".join(row.message.split())
    who = "every estimator" if len(names) == 4 else ", ".join(names)
    return row.given, who, ", ".join(methods), row.error.__name__, message
