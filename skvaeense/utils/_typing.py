"""Types that public signatures share; without torch, which datasets and metrics do not need."""

from os import PathLike
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.int_]
DoubleArray: TypeAlias = NDArray[np.float64]
# In the precision of the samples, float32 or float64.
FloatArray: TypeAlias = NDArray[np.floating[Any]]
# Any sparse type of scipy.
SparseArray: TypeAlias = sparse.sparray | sparse.spmatrix

Auto: TypeAlias = Literal["auto"]
Precision: TypeAlias = Literal["float32", "float64"]
PathName: TypeAlias = str | PathLike[str]
RandomState: TypeAlias = int | np.random.RandomState | None
