"""How many rows are looked at: at a time, and where some stand for all."""

# Entries of what is made of some rows at a time: few enough to stay in the caches from one
# operation to the next, and to bound the memory; enough that loops over blocks cost nothing.
BLOCK_ENTRIES = 2**20
# Blocks of samples that are in memory at once.
N_BLOCKS = 8
# Rows that tell averages and medians well enough, and rows that tell a whole density.
SOME_ROWS, MANY_ROWS = 1000, 8192


def block_rows(*widths: int) -> int:
    """Return how many rows make a block, where arrays have so many entries for each row."""
    return max(BLOCK_ENTRIES // max(1, *widths), 1)


def row_blocks(n_rows: int, *widths: int) -> list[slice]:
    """Return slices that cover rows, each of them a block."""
    step = block_rows(*widths)
    return [slice(start, start + step) for start in range(0, n_rows, step)]
