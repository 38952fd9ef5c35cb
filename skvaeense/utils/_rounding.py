"""Relative differences that rounding alone can cause."""

import numpy as np

# A share that networks in single precision cannot distinguish from rounding.
ROUNDING = float(np.finfo(np.float32).resolution)
# A share of a variance that cannot be distinguished from rounding in double precision: half of the
# digits.
EXACT = float(np.sqrt(np.finfo(float).eps))
# The smallest number above 0 that keeps all digits. As a divisor, it takes the place of 0.
TINY = float(np.finfo(float).tiny)
