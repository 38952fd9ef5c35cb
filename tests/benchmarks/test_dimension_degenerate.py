"""Dimensions of degenerate tables have an answer or a clear message."""

import pytest

from benchmarks.dimension_degenerate import KINDS, draw, judged


@pytest.mark.parametrize("seed", range(len(KINDS)), ids=list(KINDS))
def test_degenerate_tables_are_answered(seed):
    assert judged(seed)[0] == []


def test_every_kind_is_drawn():
    assert {draw(seed)[0] for seed in range(len(KINDS))} == set(KINDS)
