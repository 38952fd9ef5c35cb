"""Samples that a prior learns a density from."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from skvaeense.mixture._density import Shared
from skvaeense.utils._rows import MANY_ROWS, MAX_ENTRIES
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray


class CodedSamples(NamedTuple):
    """Samples and the linear decoder of their codes, to which a density is fitted.

    A sample x with code e is ``W e + b`` plus noise.

    Attributes
    ----------
    x : ndarray of shape (n_samples, n_features)
        Samples in the units of the model.

    weight : ndarray of shape (n_features, n_components)
        Decoder columns W.

    bias : ndarray of shape (n_features,)
        Decoder bias b.

    noise_variance : float
        Noise variance that was learned in training.

    used : ndarray of bool of shape (n_components,)
        Mask of the latents that are open for some of the samples.

    sample_weight : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0; None means once.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.priors import CodedSamples, StandardNormal
    >>> x = np.random.default_rng(0).standard_normal((5, 1))
    >>> samples = CodedSamples(x, np.ones((1, 1)), np.zeros(1), 0.5, np.ones(1, dtype=bool))
    >>> density = StandardNormal().density(samples)
    >>> [round(float(p), 4) for p in density.log_prob(np.zeros((1, 1)))]  # For N(0, 1.5).
    [-1.1217]
    """

    x: DoubleArray
    weight: DoubleArray
    bias: DoubleArray
    noise_variance: float
    used: BoolArray
    sample_weight: DoubleArray | None = None


@dataclass(frozen=True, eq=False)
class TrainingRows(Shared):
    """Training samples that a prior learns from once a density is needed.

    Attributes
    ----------
    x : ndarray of shape (n_samples, n_features)
        Samples, centred at their locations and scaled.

    location : ndarray of int of shape (n_samples,)
        Index of the location of each sample; 0 if all samples have the same one.

    weight : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts; None means once.
    """

    x: FloatArray
    location: IntArray
    weight: DoubleArray | None = None

    @classmethod
    def of(
        cls,
        x: FloatArray,
        location: IntArray,
        weight: DoubleArray | None = None,
        before: Self | None = None,
    ) -> Self:
        """Return new rows, followed by as many earlier rows as there is room for.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples.

        location : ndarray of int of shape (n_samples,)
            Index of the location of each sample.

        weight : ndarray of shape (n_samples,) or None, default=None
            Weights of the samples, above 0.

        before : TrainingRows or None, default=None
            Earlier rows.

        Returns
        -------
        TrainingRows
            At most 8,192 rows, and no more than about four million entries.
        """
        n = min(MANY_ROWS, max(MAX_ENTRIES // x.shape[1], 1))
        if before is not None and len(x) < n:
            if weight is not None or before.weight is not None:
                both = (x, weight), (before.x, before.weight)
                weight = np.concatenate([np.ones(len(x)) if w is None else w for x, w in both])
            x = np.concatenate([x, before.x])
            location = np.concatenate([location, before.location])
        return cls(x[:n].copy(), location[:n].copy(), None if weight is None else weight[:n].copy())

    def check(self, n_features: int, n_locations: int) -> None:
        """Raise an error unless the arrays are valid.

        Parameters
        ----------
        n_features : int
            Number of features of the samples.

        n_locations : int
            Number of locations.

        Raises
        ------
        ValueError
            If an array is not valid.
        """
        n = len(self.location)
        is_sound = self.x.shape == (n, n_features) and self.x.dtype.kind == "f" and n > 0
        if not (is_sound and np.isfinite(self.x).all()):
            raise ValueError(f"x must be finite and have {n_features} features")
        location = self.location
        if location.ndim != 1 or location.dtype.kind != "i":
            raise ValueError("location must hold ints")
        if location.min() < 0 or location.max() >= max(n_locations, 1):
            raise ValueError("location must hold valid indices of locations")
        weight = np.ones(n) if self.weight is None else self.weight
        if weight.shape != (n,) or not (np.isfinite(weight) & (weight > 0)).all():
            raise ValueError("weight must hold numbers above 0")
