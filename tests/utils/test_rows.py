"""The number of rows that are processed at a time."""

import numpy as np
from numpy.testing import assert_array_equal

from skvaeense.utils._rows import BLOCK_ENTRIES, block_rows, row_blocks


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
