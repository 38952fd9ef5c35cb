"""Blocks of rows, and columns of few values."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.utils._rows import BLOCK_ENTRIES, block_rows, find_steps, row_blocks


def test_blocks_have_few_entries_however_wide_rows_are():
    for widths in ((1,), (64,), (10, 2**12), (2**30,)):
        n_rows = block_rows(*widths)
        assert n_rows == 1 or n_rows * max(widths) <= BLOCK_ENTRIES < (n_rows + 1) * max(widths)
    assert block_rows(0) == BLOCK_ENTRIES


def test_blocks_cover_all_rows():
    for n_rows in (0, 1, 99, 100):
        rows = np.arange(n_rows)
        blocks = [rows[some] for some in row_blocks(n_rows, BLOCK_ENTRIES // 10)]
        assert all(len(block) <= 10 for block in blocks)
        assert_array_equal(np.concatenate([rows[:0], *blocks]), rows)


def test_columns_of_few_values_have_a_step():
    rng = np.random.default_rng(0)
    counts, numbers = rng.poisson(2, size=200), rng.normal(size=200)
    X = np.c_[
        counts,
        0.7 * counts - 3,
        np.where(counts > 2, 5, 1),
        numbers,
        np.maximum(numbers, 0),
        np.zeros(200),
        np.round(numbers, 6),
    ]
    assert_allclose(find_steps(X), [1, 0.7, 4, 0, 0, 0, 0])
    X[::3] = np.nan
    assert_allclose(find_steps(X), [1, 0.7, 4, 0, 0, 0, 0])
    # Single precision is enough.
    assert_allclose(find_steps(X.astype(np.float32)), [1, 0.7, 4, 0, 0, 0, 0], rtol=1e-5)


def test_repeated_rows_count_for_steps():
    column = np.arange(30.0)[:, None]
    assert_allclose(find_steps(column), [0])
    assert_allclose(find_steps(column, np.r_[10, np.ones(29)]), [1])
