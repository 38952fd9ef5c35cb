"""The dimension of point clouds, from distances and from sparse codes; no torch.

`_scaling` reads it off how the number of neighbours grows with the distance, `_local` does so
around samples, seen or unseen, and `_support` counts the atoms that a sample needs.
"""

from skvaeense._geometry._local import LocalGeometry
from skvaeense._geometry._scaling import SCALES, Calibration, inverse_dimensions
from skvaeense._geometry._support import LEAST_NOISE, Dictionary

__all__ = [
    "LEAST_NOISE",
    "SCALES",
    "Calibration",
    "Dictionary",
    "LocalGeometry",
    "inverse_dimensions",
]
