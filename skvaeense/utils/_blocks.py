"""Numbers of rows: in a block, and in a subset that represents all rows."""

# Number of entries of an array for one block of rows: few enough to stay in the caches between
# operations and to bound the memory; enough that loops over blocks cost nothing.
BLOCK_ENTRIES = 2**20
# Number of blocks of samples that are in memory at once.
N_BLOCKS = 8
# Number of rows that suffice for averages and medians, and for a whole density.
SOME_ROWS, MANY_ROWS = 1000, 8192
# Largest number of entries of samples, or of their codes, that are explained at once.
MAX_ENTRIES = 2**22
# Fewer rows than this are not split: all are both training and held-out rows. Nor is a group of
# fewer rows checked for a collapse.
MIN_ROWS_TO_SPLIT = 20


def block_rows(*widths: int) -> int:
    """Return the number of rows in a block, given the entries of arrays for each row."""
    return max(BLOCK_ENTRIES // max(1, *widths), 1)


def row_blocks(n_rows: int, *widths: int) -> list[slice]:
    """Return slices that divide rows into blocks."""
    step = block_rows(*widths)
    return [slice(start, start + step) for start in range(0, n_rows, step)]
