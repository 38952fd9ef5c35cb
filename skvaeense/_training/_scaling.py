"""Centring, and scaling by one number."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils import gen_batches

# Entries converted at a time: few enough to stay in the cache of a core from one operation to the
# next, and the extra memory is bounded.
CHUNK = 2**16


@dataclass(frozen=True)
class Scaling:
    """The map between the user's units and those of training.

    One factor for all features keeps their relative sizes; with it nothing in training depends
    on the units of the data.
    """

    mean: np.ndarray
    scale: float

    @classmethod
    def from_data(cls, X):
        """Return the scaling that centres X and makes its variance average 1.

        X without any variance is only centred.
        """
        # Dividing by the largest value first keeps squares and sums of huge or tiny values finite.
        largest = float(max(np.abs(X.min()), np.abs(X.max())))
        if largest == 0:
            return cls(np.zeros(X.shape[1]), 1.0)
        mean = np.zeros(X.shape[1])
        for _, values in _chunks(X):
            mean += (values / largest).sum(axis=0)
        mean /= len(X)
        total = sum(float(np.square(values / largest - mean).sum()) for _, values in _chunks(X))
        rms = np.sqrt(total / X.size)
        # What is left of constant features after rounding is no variance.
        if rms <= 16 * np.finfo(np.float64).eps * np.abs(mean).max():
            return cls(mean * largest, 1.0)
        scale = float(rms * largest)
        if not 1e-150 < scale < 1e150:
            raise ValueError(
                f"X has a standard deviation of {scale:.3g}, and its square, the noise variance, "
                "is beyond the range of float64. Multiply X by a constant first."
            )
        return cls(mean * largest, scale)

    def apply(self, X, *, dtype, device, order=None):
        """Return X, or its rows in another order, as a centred and scaled tensor.

        The arithmetic is done in float64 and rounded once, so that X and 1000 X + 7 train alike.
        """
        scaled, factor = torch.empty(X.shape, dtype=dtype), 1 / self.scale
        for rows, values in _chunks(X, order):
            values -= self.mean
            values *= factor
            # Beyond single precision is infinite, and found out by the loss.
            scaled[rows] = torch.from_numpy(values)
        return scaled.to(device)

    def undo(self, scaled):
        """Return centred and scaled samples in the user's units, as a float64 array."""
        return scaled.cpu().numpy().astype(np.float64) * self.scale + self.mean


def _chunks(X, order=None):
    """Yield slices of rows, and what is to be there in double precision."""
    for rows in gen_batches(len(X), max(1, CHUNK // X.shape[1])):
        yield rows, X[rows if order is None else order[rows]].astype(np.float64)
