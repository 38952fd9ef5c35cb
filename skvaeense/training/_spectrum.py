"""How many principal directions carry signal."""

import numpy as np


def dimension_holding(variances: np.ndarray, share: float) -> int:
    """Return how many principal directions hold a share of the variance."""
    held = np.cumsum(variances) < share * variances.sum()
    return min(int(held.sum()) + 1, len(variances))


def signal_rank(variances: np.ndarray, linear_dimension: int) -> int:
    """Return the number of directions before the last drop, or else the linear dimension.

    Directions without variance never count.
    """
    drop = clear_drop(variances, linear_dimension)
    return max(1, min(linear_dimension if drop is None else drop, visible_rank(variances)))


def clear_drop(variances: np.ndarray, linear_dimension: int) -> int | None:
    """Return the number of directions before the spectrum's last clear drop, if there is one.

    It is looked for from the dimension of 80 % of the variance to that of 99.9 %, or to a little
    after that of 99 %, and inside the spectrum to twice that; it has to be by more than a factor of
    4. Where few samples have many directions, the spectrum drops more than once before it ends.
    """
    first = dimension_holding(variances, 0.8)
    last = max(int(1.3 * linear_dimension) + 2, dimension_holding(variances, 0.999))
    last = min(len(variances), max(last, min(2 * linear_dimension, len(variances) - 1)))
    padded = np.maximum(np.r_[variances, 0.0], 1e-7 * variances[0])
    drops = padded[first - 1 : last] / padded[first : last + 1]
    clear = np.flatnonzero(drops > 4)
    # The end of the spectrum is one, unless the directions before it are alike, as those of noise.
    if len(clear) > 1 and first + clear[-1] == len(variances):
        rest = variances[first + clear[-2] :]
        if len(rest) > 1 and rest[0] < 2 * rest[-1]:
            clear = clear[:-1]
    return first + int(clear[-1]) if len(clear) else None


def visible_rank(variances: np.ndarray) -> int:
    """Return the number of directions that have variance at all."""
    return int((variances > 1e-8 * variances[0]).sum())
