"""Findings of `python -m benchmarks fuzz`: each case once crashed, hung or answered wrongly.

When tables or parameters change, a seed may draw another case, which must be answered too. Each
fixed bug also has a test of its own.
"""

import sys

import numpy as np
import pytest

from skvaeense.dimension._posterior import standard_error

SEEDS = (25, 58, 61, 212, 443, 595, 671, 776, 1416, 3010, 410930)
SLOW_SEED = 2054


@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark limits memory as Linux does")
@pytest.mark.parametrize("seed", [*SEEDS, pytest.param(SLOW_SEED, marks=pytest.mark.slow)])
def test_cases_are_answered_or_refused(seed):
    fuzz = pytest.importorskip("benchmarks.fuzz")
    case, outcomes = fuzz.run(seed)
    assert [o for o in outcomes if o.kind not in fuzz.FINE] == [], str(case)
    assert len(outcomes) >= len(case.calls)


def test_errors_from_inside_are_told_from_refusals():
    fuzz = pytest.importorskip("benchmarks.fuzz")
    case = fuzz.Case(SEEDS[0])

    def kinds(call):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(fuzz.CALLS, "call", call)
            return [outcome.kind for outcome in fuzz.attempt(case, "call")]

    assert kinds(lambda case: None) == ["answered"]
    assert kinds(lambda case: float("nan")) == ["not finite"]
    assert kinds(lambda case: [][1]) == ["raw error"]
    assert kinds(lambda case: case.last.fit("nothing")) == ["refused"]
    assert kinds(lambda case: case.last.fit(None)) == ["refused"]
    assert kinds(lambda case: bool(standard_error({"": np.float64([1e200])}))) == ["raw warning"]
