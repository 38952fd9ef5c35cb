"""The density of samples in the span of a linear decoder."""

import numpy as np

from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._em import Rows
from skvaeense.mixture._fit import fit_mixture
from skvaeense.mixture._rows import merged, units_of
from skvaeense.mixture._wide import MAX_DIRECTIONS, beside, is_noise
from skvaeense.utils._linalg import ROUNDING, principal_directions, svd
from skvaeense.utils._typing import DoubleArray


def span_density(
    x: DoubleArray, weights: DoubleArray, columns: DoubleArray, bias: DoubleArray
) -> MixtureDensity:
    """Return the mixture that fits samples, whose components vary freely in a span alone.

    Elsewhere components vary by noise. The residual of the decoder need not be noise alone: if some
    of its directions stand out, it has one normal distribution, the same for all components.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        Samples.

    weights : ndarray of shape (n_samples,)
        How often each sample counts.

    columns : ndarray of shape (n_features, n_columns)
        Columns of the decoder that are in use.

    bias : ndarray of shape (n_features,)
        Sample whose code is 0.

    Returns
    -------
    MixtureDensity
        The density.
    """
    span, sizes, _ = svd(columns)
    span = span[:, sizes > ROUNDING * sizes.max(initial=0.0)]
    centred = x - bias
    if span.shape[1] == 0:
        # No latent is open: the mixture is along one line.
        span = principal_directions(centred)[1][:1].T
    if span.shape[1] == len(bias):
        center, scale = units_of(x, weights)
        return _found((x - center) / scale, None, weights).in_units(center, scale)
    if span.shape[1] > MAX_DIRECTIONS:
        span = span @ principal_directions(centred @ span)[1][:MAX_DIRECTIONS].T
    # Outside the span of the decoder, the density has the mean of the samples.
    left = centred - (centred @ span) @ span.T
    shift = np.average(left, axis=0, weights=weights)
    centred, left, bias = centred - shift, left - shift, bias + shift
    rows = Rows.of(centred, weights)
    # If the residual is the same in all directions, each component has its own noise variance.
    if is_noise(left, rows):
        return _found(centred, span, weights).in_units(bias, 1.0)
    return beside(_found(centred @ span, None, weights), span, rows).in_units(bias, 1.0)


def _found(x: DoubleArray, basis: DoubleArray | None, weights: DoubleArray) -> MixtureDensity:
    """Return the mixture of rows that varies freely in some directions."""
    rows, weights = merged(x, weights)
    return fit_mixture(rows, weights, np.random.RandomState(0), basis=basis).density
