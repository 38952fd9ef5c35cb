"""Samples with missing features, under the components of a mixture of normal distributions."""

import math
from typing import Any

import numpy as np
from scipy.special import softmax

from skvaeense.utils._typing import DoubleArray


def condition(density: Any, c: int, x: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return the conditional distribution of missing features under a component.

    Parameters
    ----------
    density : MixtureDensity
        The mixture.

    c : int
        Index of the component.

    x : ndarray of shape (n_samples, n_features)
        Samples, with NaN where a feature is missing.

    Returns
    -------
    log_prob : ndarray of shape (n_samples,)
        Log-density of the known features.

    filled : ndarray of shape (n_samples, n_features)
        Samples with conditional means in place of NaN.

    factors : ndarray of shape (n_samples, n_features, rank)
        Factors G of the conditional covariance, ``G G'`` plus the noise of missing features; 0
        where a feature is known.
    """
    log_prob, lower, half = _known(density, c, x)
    known, F = ~np.isnan(x), density.loadings(c)
    inverse = np.linalg.inv(lower).transpose(0, 2, 1)
    w = (inverse @ half[..., None])[..., 0]
    mean = (density.basis @ density.means[c] + w @ F.T) * density.unit
    factors = ~known[:, :, None] * (F @ inverse * density.unit[:, None])
    return log_prob, np.where(known, x, density.center + mean), factors


def log_known(density: Any, c: int, x: DoubleArray) -> DoubleArray:
    """Return the log-density of known features under a component, by the smaller system."""
    few = np.isnan(x).sum(axis=1) < (density.n_directions[c] if _keeps_digits(density, c) else 0)
    log_prob = np.empty(len(x))
    if few.any():
        log_prob[few] = _log_of_most(density, c, x[few])
    if not few.all():
        log_prob[~few] = _known(density, c, x[~few])[0]
    return log_prob


def _log_of_most(density: Any, c: int, x: DoubleArray) -> DoubleArray:
    """Return the log-density of known features, by linear systems in the missing ones.

    With the precision P of all features, known features k and missing ones m have the quadratic
    form ``r_k' (P_kk - P_km P_mm^-1 P_mk) r_k``, and their precision has the determinant
    ``|P| / |P_mm|``.
    """
    missing, r = np.isnan(x), int(density.n_directions[c])
    variances, noise = density.variances[c, :r], float(density.noise_variances[c])
    directions = density.basis @ density.directions[c, :, :r]
    precision = np.eye(x.shape[1]) / noise
    precision -= (directions * (1 / noise - 1 / variances)) @ directions.T
    residual = np.where(missing, 0.0, density.quotients(x) - density.basis @ density.means[c])
    product = residual @ precision
    # The missing features of each row, followed by others up to the common number.
    n_missing = missing.sum(axis=1)
    most = int(n_missing.max())
    some = np.argsort(~missing, axis=1, kind="stable")[:, :most]
    is_other = np.arange(most) >= n_missing[:, None]
    system = precision[some[:, :, None], some[:, None]]
    system[is_other[:, :, None] | is_other[:, None]] = 0.0
    system[:, range(most), range(most)] += is_other
    lower = np.linalg.cholesky(system)
    target = np.where(is_other, 0.0, np.take_along_axis(product, some, axis=1))
    half = np.linalg.solve(lower, target[..., None])[..., 0]
    quadratic = (residual * product).sum(axis=1) - np.square(half).sum(axis=1)
    log_volume = np.log(variances).sum() + (x.shape[1] - r) * math.log(noise)
    log_volume += 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    log_volume += (x.shape[1] - n_missing) * math.log(2 * math.pi)
    return -0.5 * (log_volume + quadratic) - ~missing @ np.log(density.unit)


def _keeps_digits(density: Any, c: int) -> bool:
    """Return whether products of a component's factors keep enough digits.

    The rounding error in nats is about eps times |F|^2 / noise.
    """
    noise = density.noise_variances[c]
    size = np.maximum(density.variances[c] - noise, 0).sum()
    return bool(size * np.finfo(float).eps ** (2 / 3) <= noise)


def _known(density: Any, c: int, x: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return the log-density of known features under a component, and two factors.

    The model is ``x = m + F w`` plus noise, with w from N(0, I), and uses only the rows of F
    for known features. The factors are the Cholesky factor L of the precision of w, and
    ``L^-1 F'(x - m) / g``.
    """
    known, noise, F = ~np.isnan(x), density.noise_variances[c], density.loadings(c)
    r = F.shape[1]
    residual = np.where(known, density.quotients(x) - density.basis @ density.means[c], 0.0)
    if _keeps_digits(density, c):
        products = (F[:, :, None] * F[:, None, :]).reshape(len(F), r * r)
        precision = (known @ products).reshape(len(x), r, r) / noise + np.eye(r)
        lower = np.linalg.cholesky(precision)
        half = np.linalg.solve(lower, (residual @ F / noise)[..., None])[..., 0]
        quadratic = np.square(residual).sum(axis=1) / noise - np.square(half).sum(axis=1)
    else:
        # The precision would lose digits that its square root keeps.
        root = known[:, :, None] * F / math.sqrt(noise)
        root = np.concatenate([root, np.broadcast_to(np.eye(r), (len(x), r, r))], axis=1)
        q, upper = np.linalg.qr(root)
        signs = np.where(np.diagonal(upper, axis1=1, axis2=2) < 0, -1.0, 1.0)
        q, lower = signs[:, None] * q, (signs[..., None] * upper).transpose(0, 2, 1)
        target = np.hstack([residual / math.sqrt(noise), np.zeros((len(x), r))])[..., None]
        half = (q.transpose(0, 2, 1) @ target)[..., 0]
        quadratic = np.square(target[..., 0] - (q @ half[..., None])[..., 0]).sum(axis=1)
    log_volume = known.sum(axis=1) * math.log(2 * math.pi * noise)
    log_volume += 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    log_prob = -0.5 * (log_volume + quadratic) - known @ np.log(density.unit)
    return log_prob, lower, half


def fill(mixture: Any, x: DoubleArray, rng: np.random.RandomState | None = None) -> DoubleArray:
    """Return samples with NaN replaced by conditional means, or by draws of a generator."""
    broad, joint = mixture.background, mixture.log_joint(x)
    if broad is not None:
        joint = np.hstack([joint, broad.log_joint(x) + math.log(mixture.background_weight)])
    parts = [(density, c) for density in (mixture, broad) if density for c in range(len(density))]
    shares, missing = softmax(joint, axis=1), np.isnan(x)
    filled = np.where(missing, 0.0, x)
    if rng is not None:
        # Only rows that belong to the background draw from it.
        is_near = shares[:, : len(mixture)].sum(axis=1) >= 0.5
        shares[is_near, len(mixture) :] = 0.0
        sums = shares.cumsum(axis=1)
        labels = (sums < sums[:, -1:] * rng.uniform(size=(len(x), 1))).sum(axis=1)
        shares = np.eye(len(parts))[labels]
    for (density, c), share in zip(parts, shares.T, strict=True):
        own = share != 0
        if not own.any():
            continue
        _, value, factors = condition(density, c, x[own])
        if rng is not None:
            w = rng.standard_normal((len(value), factors.shape[2], 1))
            noise = math.sqrt(density.noise_variances[c]) * rng.standard_normal(value.shape)
            value = value + (factors @ w)[..., 0] + noise * density.unit
        filled[own] += np.where(missing[own], share[own, None] * value, 0.0)
    return filled
