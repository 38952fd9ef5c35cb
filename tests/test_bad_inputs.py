"""Every row of the table of bad input, and a check that no input is missing from the table."""

import re

import pytest
from bad_inputs import TABLES
from bad_inputs.rows import EVERY
from helpers import fit_unwarned, set_params
from sklearn.base import clone
from strategies import sparse_autoencoder, vaeense

from skvaeense import IntrinsicDimensionEstimator, VAEase, VAEenseTransformer

ROWS = [row for rows in TABLES.values() for row in rows]
QUICK = {
    type(estimator): estimator
    for estimator in (
        VAEenseTransformer(3, random_state=0),
        sparse_autoencoder(n_components=3),
        IntrinsicDimensionEstimator(vaeense(), random_state=0),
    )
} | {VAEase: vaeense()}


def cases(rows):
    """Yield every row once, with its estimators and methods in turn."""
    for i, row in enumerate(rows):
        # Some methods exist only after some fits.
        asked = [(kind, method) for kind, method in row.cases if hasattr(QUICK[kind], method)]
        yield row, *asked[i % len(asked)]


def fitted_names(estimator):
    return {name for name in vars(estimator) if name.endswith("_") and not name.startswith("__")}


def pattern(message):
    """Return the regular expression for a message in which "…" matches anything."""
    return f"(?s)\\A{re.escape(message).replace('…', '.*')}\\Z"


@pytest.mark.parametrize("table", TABLES)
def test_bad_input(table, tmp_path, monkeypatch, subtests):
    monkeypatch.chdir(tmp_path)
    for row, kind, method in cases(TABLES[table]):
        with subtests.test(f"{kind.__name__}.{method}: {row.given}"):
            estimator = set_params(clone(QUICK[kind]), **row.params)
            if row.before is not None:
                fit_unwarned(estimator, row.before)
            before = fitted_names(estimator)
            with pytest.raises(row.error, match=pattern(row.message)):
                row.call(getattr(estimator, method))
            # The estimator keeps what it had learned before, and nothing of the failure.
            assert fitted_names(estimator) == before


def test_every_parameter_is_in_the_table():
    for kind in EVERY:
        tried = {name for row in ROWS if kind in row.estimators for name in row.params}
        assert set(kind._parameter_constraints) - tried == set(), kind


def test_rows_differ():
    keys = [(row.given, row.estimators, row.methods, str(row.params)) for row in ROWS]
    assert len(set(keys)) == len(keys)
