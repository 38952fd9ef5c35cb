"""What rounding leaves of numbers: nothing follows from less."""

import numpy as np

# A share that networks in single precision do not tell from rounding.
ROUNDING = 1e-6
# A share of a variance that is not told from rounding in double precision, by half of its digits.
EXACT = float(np.sqrt(np.finfo(float).eps))
