"""The density of independent codes that are each 0 or not: many patterns of one dictionary."""

import numpy as np

from skvaeense.mixture._covariance import spikes
from skvaeense.mixture._fit import MAX_DIRECTIONS
from skvaeense.training._components import independent_components, modes

# Iterations that find how often, and how far, codes are from 0.
N_ITER = 30


def independent_codes_log_prob(
    train: np.ndarray, valid: np.ndarray, rng: np.random.RandomState, floor: float
) -> np.ndarray:
    """Return the log-density of rows if codes are independent, each of them 0 or normal.

    A code that is 0 has the variance of the noise. Of more atoms than directions it knows nothing.

    Parameters
    ----------
    train : ndarray of shape (n_samples, n_features)
        Rows that it is fitted to.

    valid : ndarray of shape (n_valid, n_features)
        Other rows.

    rng : RandomState
        The source of randomness.

    floor : float
        Least variance in any direction. With that of a mixture, the two can be compared where there
        is no noise.

    Returns
    -------
    ndarray of shape (n_valid,)
        Log-densities in nats of the latter.
    """
    n, d = train.shape
    mean = train.mean(axis=0)
    values, directions = np.linalg.eigh(np.cov(train.T, bias=True).reshape(d, d))
    values, directions = np.maximum(values[::-1], 0), directions[:, ::-1]
    ranks, noises = spikes(values[None] + floor, np.zeros(1), d, np.array([n]), floor)
    rank, noise = int(ranks[0]), float(noises[0])
    if rank > MAX_DIRECTIONS:
        rank = MAX_DIRECTIONS
        noise = max(float(values[rank:].mean()), floor)
    if rank < 2:
        return np.full(len(valid), -np.inf)
    scale = np.sqrt(values[:rank])
    white = (train - mean) @ directions[:, :rank] / scale
    unmix = independent_components(white.astype(np.float32), rng)
    S = white @ unmix.T
    mode = modes(S)
    # What the least variance of a sample is in each code.
    least = floor * np.square(unmix / scale).sum(axis=1)
    share, slab, spike = np.full(rank, 0.3), np.full(rank, 3.0), np.full(rank, 0.03)
    squares = np.square(S - mode)
    for _ in range(N_ITER):
        on, off = _both(squares, share, slab, spike)
        q = 1 / (1 + np.exp(np.clip(off - on, -50, 50)))
        share = (q.sum(axis=0) + 1) / (n + 2)
        slab = np.maximum((q * squares).sum(axis=0) / np.maximum(q.sum(axis=0), 1e-9), least)
        spike = (1 - q) * squares
        spike = np.maximum(spike.sum(axis=0) / np.maximum((1 - q).sum(axis=0), 1e-9), least)
    y = valid - mean
    h = y @ directions[:, :rank]
    rest = np.maximum(np.square(y).sum(axis=1) - np.square(h).sum(axis=1), 0)
    on, off = _both(np.square(h / scale @ unmix.T - mode), share, slab, spike)
    log_volume = np.linalg.slogdet(unmix)[1] - np.log(scale).sum()
    outside = rest / noise + (d - rank) * np.log(2 * np.pi * noise)
    return np.logaddexp(on, off).sum(axis=1) + log_volume - 0.5 * outside


def _both(squares, share, slab, spike):
    """Return log-densities of codes that are on, and of those that are off."""
    return tuple(
        np.log(p) - 0.5 * (np.log(2 * np.pi * variance) + squares / variance)
        for p, variance in ((share, slab), (1 - share, spike))
    )
