"""Directions above the noise, and covariances estimated from few rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvaeense.mixture._em import Family, Moments, gaussians, spikes, unbiased


def eigenvalues(x):
    """Return the eigenvalues of the covariance of rows, in descending order."""
    return np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]


def count(every, n_rows):
    """Return the number of directions above the noise, and the noise, for each set of rows."""
    values = np.maximum([eigenvalues(x) for x in every], 0)
    n = np.full(len(values), float(n_rows))
    return spikes(values, np.zeros(len(values)), values.shape[1], n, 1e-12)


@pytest.mark.parametrize(
    ("n_rows", "sizes", "rtol"),
    [
        (200, np.ones(10), 0.02),
        (60, np.ones(50), 0.02),
        (40, np.ones(100), 0.02),
        (12, np.ones(4), 0.02),
        (500, np.r_[10, 7, 5, np.ones(7)], 0.03),
        (200, np.r_[10, 7, 5, np.ones(47)], 0.03),
        (60, np.r_[10, 7, 5, np.ones(97)], 0.03),
        (300, np.r_[20 * np.ones(4), 1], 0.05),
        (300, np.r_[20 * np.ones(9), 1], 0.05),
        (300, np.r_[20 * np.ones(18), 1, 1], 0.05),
    ],
)
def test_planted_directions_stand_out_from_noise(n_rows, sizes, rtol):
    rng = np.random.default_rng(0)
    x = 2 * rng.standard_normal((150, n_rows, len(sizes))) * sizes
    ranks, noises = count(x, n_rows)
    # In about one of 1,000 sets, noise has a direction by chance.
    assert (ranks != (sizes > 1).sum()).sum() <= 2
    assert_allclose(noises.mean(), 4, rtol=rtol)


def test_variance_off_the_directions_is_noise():
    values, n = np.array([[20.0, 9.0, 1.05, 0.95]]), np.array([400.0])
    ranks, noises = spikes(values, np.array([16.0]), 20, n, 1e-12)
    assert ranks == 2
    assert_allclose(noises, 18 / 18 * 400 / 397)
    # If as much variance lies in fewer directions, it hides the second one.
    ranks, _ = spikes(values, np.array([160.0]), 20, n, 1e-12)
    assert ranks == 1


def test_noise_has_a_least_variance():
    values = np.array([[1.0, 0.0, 0.0]])
    ranks, noises = spikes(values, np.zeros(1), 3, np.array([100.0]), 0.5)
    assert ranks == 1
    assert noises == 0.5


@pytest.mark.parametrize("variance", [3.0, 6.0, 20.0])
def test_variances_are_those_of_new_rows(variance):
    rng, found = np.random.default_rng(0), []
    sizes = np.sqrt(np.r_[variance, np.ones(99)])
    for _ in range(40):
        x = rng.standard_normal((200, 100)) * sizes
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        value = unbiased(values[None, -1:], np.ones(1), np.array([0.5]))[0, 0]
        found.append([value, values[-1], np.square(vectors[:, -1] * sizes).sum()])
    mean, raw, expected = np.mean(found, axis=0)
    assert mean == pytest.approx(expected, rel=0.06)
    assert raw > expected + 0.5


def test_variances_of_many_rows_stay_and_those_in_noise_are_its_own():
    values = np.array([[9.0, 4.0]])
    assert_allclose(unbiased(values, np.ones(1), np.array([1e-6])), values, rtol=1e-4)
    assert_allclose(unbiased(np.array([[2.0]]), np.ones(1), np.ones(1)), 1, rtol=1e-3)


# --- normal distributions ---------------------------------------------------------------------


def moments(n_rows=1e9, n_components=3, n_features=5, seed=0):
    """Return moments of components, by default of so many rows that they are certain."""
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((n_components, n_features, n_features))
    return Moments(
        np.full(n_components, float(n_rows)),
        rng.standard_normal((n_components, n_features)),
        roots @ roots.transpose(0, 2, 1),
        np.zeros(n_components),
    )


def fitted(found, family, n_features=5, common=None, floor=1e-12):
    """Return the covariances of the normal distributions of a family, and check their means."""
    common = found.covariances.mean(axis=0) if common is None else common
    means, directions, variances, noises = gaussians(found, n_features, family, floor, common)
    assert_allclose(means, found.means)
    p = found.means.shape[1]
    excess = (variances - noises[:, None])[:, None]
    square = (directions * excess) @ directions.transpose(0, 2, 1)
    grams = directions.transpose(0, 2, 1) @ directions
    assert_allclose(grams, np.array([np.diag(d.any(axis=0)) for d in directions]), atol=1e-10)
    return square + noises[:, None, None] * np.eye(p)


def test_whole_covariances_stay():
    found = moments()
    assert_allclose(fitted(found, Family(cut=False)), found.covariances, rtol=1e-6, atol=1e-8)


def test_covariances_of_few_rows_grow():
    found = moments(30)
    covariances = fitted(found, Family(cut=False))
    values = np.linalg.eigvalsh(found.covariances)[:, ::-1]
    expected = values * 30 / (29 - np.arange(5))
    assert_allclose(np.linalg.eigvalsh(covariances)[:, ::-1], expected, rtol=1e-8)


def test_directions_in_the_noise_are_cut():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 8)) * [5, 3, 1, 1, 1, 1, 1, 1]
    found = Moments(np.array([400.0]), np.zeros((1, 8)), np.cov(x.T)[None], np.zeros(1))
    _, directions, variances, noises = gaussians(found, 8, Family(), 1e-12)
    assert directions.shape == (1, 8, 2)
    assert_allclose(variances[0], [25, 9], rtol=0.2)
    assert_allclose(noises, 1, rtol=0.05)


def test_variance_off_the_basis_is_noise():
    found = moments()._replace(rests=np.full(3, 40.0))
    *_, noises = gaussians(found, 45, Family(cut=False), 1e-12)
    assert_allclose(noises, 1)


def test_shrunk_covariances_are_means_with_the_prior():
    found = moments(50)
    many = found._replace(n_rows=np.full(3, 1e9))
    S = found.covariances
    size = np.sqrt(np.diagonal(S, axis1=1, axis2=2))
    sizes = size[:, :, None] * size[:, None, :]
    common = S.mean(axis=0)
    alike = common / np.sqrt(np.outer(np.diag(common), np.diag(common)))
    for roundness in (0.0, 0.3, 1.0):
        target = sizes * ((1 - roundness) * alike + roundness * np.eye(5))
        covariances = fitted(many, Family(False, 1e9, roundness))
        assert_allclose(covariances, (S + target) / 2, rtol=1e-6, atol=1e-8)


def test_variances_have_a_floor():
    found = moments()
    found.covariances[:] = np.diag([1.0, 1.0, 1e-9, 0, 0])
    for cut in (True, False):
        values = np.linalg.eigvalsh(fitted(found, Family(cut), floor=1e-4))
        assert (values > 0.99e-4).all()
        assert_allclose(values[:, :3], 1e-4, rtol=0.01)
