"""Expectation maximisation, compared with scikit-learn and with direct optimisation."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from skvaeense.mixture._em import Family, Rows

# A family with all directions, and almost without regularisation.
WHOLE = Family(cut=False)


def clusters(n_rows=300, n_features=3, seed=0):
    """Return rows of two overlapping clusters, and initial responsibilities."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n_rows)
    x = rng.standard_normal((n_rows, n_features)) * np.where(labels, 1, 0.5)[:, None]
    x[:, 0] += 2 * labels
    shares = np.clip(labels + rng.normal(0, 0.3, n_rows), 0.05, 0.95)
    return x, np.c_[1 - shares, shares]


@pytest.fixture
def likeliest(monkeypatch):
    """Remove the corrections for few rows, so that maxima are those of the likelihood."""
    moments = Rows.moments

    def of_many(self, shares, density=None):
        found = moments(self, shares, density)
        return found._replace(n_rows=np.full(len(found.n_rows), 1e12))

    monkeypatch.setattr(Rows, "moments", of_many)


def covariances(density):
    """Return the covariances of the components."""
    found = []
    for c, noise in enumerate(density.noise_variances):
        U = density.basis @ density.directions[c]
        found.append(U * (density.variances[c] - noise) @ U.T + noise * np.eye(len(U)))
    return np.array(found)


def holed(x, share=0.3, seed=0):
    """Return rows with missing entries, but no row without any entry."""
    mask = np.random.default_rng(seed).uniform(size=x.shape) < share
    mask[mask.all(axis=1), 0] = False
    return np.where(mask, np.nan, x)


# --- rows -------------------------------------------------------------------------------------


def test_rows_in_a_basis_have_the_same_density():
    x, shares = clusters(n_features=5)
    x[:, 3:] *= 0.01
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    density = Rows.of(x).maximise(shares, WHOLE)
    turned = Rows.of(x, basis=basis).maximise(shares, WHOLE)
    assert_allclose(turned.log_prob(x), density.log_prob(x), rtol=1e-6)
    rows = Rows.of(x, basis=np.eye(5)[:, :3])
    density = rows.maximise(shares, WHOLE)
    assert_allclose(rows.log_prob(density), density.log_prob(x), rtol=1e-8)


def test_holes_are_seen_in_features():
    x = holed(clusters()[0])
    rows = Rows.of(x, basis=np.linalg.qr(np.ones((3, 3)) + np.eye(3))[0])
    assert rows.has_holes
    assert_array_equal(rows.basis, np.eye(3))
    assert not rows[~np.isnan(x).any(axis=1)].has_holes


def test_moments_are_those_of_repeated_rows():
    x, shares = clusters()
    weights = np.random.default_rng(0).integers(1, 4, len(x))
    once = Rows.of(x, weights.astype(float)).moments(shares * weights[:, None])
    every = np.repeat(np.arange(len(x)), weights)
    repeated = Rows.of(x[every]).moments(shares[every])
    for name in ("means", "covariances", "rests"):
        assert_allclose(getattr(once, name), getattr(repeated, name), atol=1e-12)
    for c in range(2):
        mean = np.average(x, axis=0, weights=shares[:, c] * weights)
        assert_allclose(once.means[c], mean)
        expected = np.cov(x.T, aweights=shares[:, c] * weights, ddof=0)
        assert_allclose(once.covariances[c], expected)
    # Shares of 0 or 1 leave whole rows.
    for share, n in ((np.ones((100, 1)), 100), (np.repeat([[1.0], [0.0]], 50, axis=0), 50)):
        assert_allclose(Rows.of(x[:100]).moments(share).n_rows, n)


@pytest.mark.parametrize("place", [0.0, 1e6])
def test_moments_follow_from_products_of_coordinates(place):
    rng = np.random.default_rng(0)
    x, shares = place + rng.standard_normal((200, 4)), rng.dirichlet(np.ones(9), size=200)
    rows = Rows.of(x, rng.uniform(1, 2, 200), steps=np.array([0.0, 0.5, 0.0, 1.0]))
    one_by_one = rows.moments(shares)
    assert rows.products.shape == (200, 10)
    for found, expected in zip(rows.moments(shares), one_by_one, strict=True):
        assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_products_of_many_coordinates_are_not_kept():
    assert Rows.of(np.zeros((3000, 30))).products is None
    assert Rows.of(np.zeros((30, 30))).products is None


def test_shares_are_one_together():
    x, shares = clusters()
    weights = np.linspace(0.5, 2, len(x))
    rows = Rows.of(x, weights)
    broad = rows.background()
    density = replace(rows.maximise(shares, WHOLE), background=broad, background_weight=0.2)
    own, other, total = rows.facing(broad).responsibilities(density)
    assert_allclose(own.sum(axis=1) + other, weights)
    assert_allclose(total, density.log_prob(x))
    alone = replace(density, background=None, background_weight=0.0)
    assert_allclose(other, weights * 0.2 * np.exp(broad.log_prob(x) - total))
    assert_allclose(rows.responsibilities(alone)[0].sum(axis=1), weights)


def test_the_background_is_broad():
    x = np.random.default_rng(0).standard_normal((500, 4)) * [10, 1, 1, 0.01] + 3
    broad = Rows.of(x).background()
    broad.check()
    normal = multivariate_normal(x.mean(axis=0), np.cov(x.T))
    assert broad.log_prob(x).mean() < normal.logpdf(x).mean()
    for far in np.eye(4):
        away = (x.mean(axis=0) + 100 * far)[None]
        assert broad.log_prob(away)[0] > normal.logpdf(away) + 10
        assert broad.log_prob(away)[0] > -2000
    assert broad.log_prob(np.full((1, 4), 1e6))[0] > -100


def test_few_rows_do_not_belong_to_the_background():
    """It is fitted to the same rows, and must not know them better than a component does."""
    x = np.random.default_rng(0).standard_normal((60, 40))
    rows = Rows.of(x)
    broad = rows.background()
    start = rows.maximise(np.ones((60, 1)), Family())
    start = replace(start, background=broad, background_weight=1 / 61)
    density = rows.facing(broad).em(start, Family(), 30, 1e-3)
    assert density.background_weight < 0.05


# --- maxima -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("likeliest")
@pytest.mark.parametrize("has_holes", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_no_step_lowers_the_likelihood(seed, has_holes):
    x, shares = clusters(seed=seed)
    x = holed(x, seed=seed) if has_holes else x
    rows = Rows.of(x)
    density, before = Rows.of(np.nan_to_num(x)).maximise(shares, WHOLE), -np.inf
    for _ in range(25):
        log_prob = rows.log_prob(density).sum()
        assert log_prob > before - 1e-6
        before = log_prob
        density = rows.em(density, WHOLE, 1, -np.inf)


def test_the_best_step_is_kept():
    x, shares = clusters(60)
    rows = Rows.of(x)
    density = rows.maximise(shares, Family())
    steps = [rows.log_prob(rows.em(density, Family(), n, -np.inf)).mean() for n in range(1, 12)]
    assert (np.diff(steps) >= -1e-9).all()


@pytest.mark.usefixtures("likeliest")
def test_maxima_are_those_of_scikit_learn():
    x, shares = clusters(400)
    start = Rows.of(x).maximise(shares, WHOLE)
    found = Rows.of(x).em(start, WHOLE, 500, 1e-10)
    theirs = GaussianMixture(
        2,
        weights_init=start.weights,
        means_init=start.center + start.means @ start.basis.T,
        precisions_init=np.linalg.inv(covariances(start)),
        reg_covar=0,
        tol=1e-10,
        max_iter=500,
    ).fit(x)
    assert_allclose(found.weights, theirs.weights_, atol=1e-4)
    assert_allclose(found.center + found.means @ found.basis.T, theirs.means_, atol=1e-4)
    assert_allclose(covariances(found), theirs.covariances_, atol=1e-3)
    assert_allclose(found.log_prob(x), theirs.score_samples(x), atol=1e-3)


def log_likelihood(parameters, x):
    """Return the log-likelihood of rows with missing entries under one normal distribution."""
    p = x.shape[1]
    mean, root = parameters[:p], np.zeros((p, p))
    root[np.tril_indices(p)] = parameters[p:]
    covariance, total = root @ root.T, 0.0
    for known in np.unique(~np.isnan(x), axis=0):
        own = x[(np.isnan(x) != known).all(axis=1)][:, known]
        normal = multivariate_normal(mean[known], covariance[np.ix_(known, known)])
        total += normal.logpdf(own).sum()
    return total


@pytest.mark.usefixtures("likeliest")
def test_maxima_with_holes_are_those_of_direct_optimisation():
    rng = np.random.default_rng(0)
    x = holed(rng.standard_normal((150, 3)) @ rng.standard_normal((3, 3)) + 2)
    rows = Rows.of(x)
    one = Rows.of(np.nan_to_num(x)).maximise(np.ones((len(x), 1)), WHOLE)
    density = rows.em(one, WHOLE, 2000, 1e-13)
    start = np.r_[np.nanmean(x, axis=0), np.eye(3)[np.tril_indices(3)]]
    direct = minimize(lambda theta: -log_likelihood(theta, x), start)
    assert rows.log_prob(density).sum() == pytest.approx(-direct.fun, abs=1e-3)
    assert_allclose(density.means[0], direct.x[:3], atol=1e-3)
    root = np.zeros((3, 3))
    root[np.tril_indices(3)] = direct.x[3:]
    assert_allclose(covariances(density)[0], root @ root.T, rtol=5e-3, atol=5e-3)


def test_features_that_a_component_never_sees_stay_in_their_range():
    x, shares = clusters(60)
    first = shares[:, 0] > 0.5
    x = np.c_[x + 8 * ~first[:, None], np.random.default_rng(1).standard_normal((60, 3))]
    density = Rows.of(x).maximise(np.c_[first, ~first].astype(float), Family(cut=False))
    x[first, 2] = np.nan
    most = np.square(np.nanmax(x[:, 2]) - np.nanmin(x[:, 2]))
    for _ in range(200):
        density = Rows.of(x).em(density, Family(cut=False), 1, -np.inf)
    assert covariances(density)[:, 2, 2].max() < most


def test_components_without_rows_are_dropped():
    x, shares = clusters()
    few = np.zeros((len(x), 1))
    few[:1] = 1.0
    density = Rows.of(x).maximise(np.hstack([shares, few]), WHOLE)
    assert len(density) == 2
    assert_allclose(density.weights.sum(), 1)


def test_a_heavy_row_makes_no_component_by_a_tiny_share():
    x = np.r_[np.zeros((1, 1)), np.random.default_rng(0).standard_normal((30, 1))]
    start = Rows.of(np.r_[x, x + 5.7]).maximise(np.repeat(np.eye(2), len(x), axis=0), WHOLE)
    rows = Rows.of(x, np.r_[1e9, np.ones(30)])
    shares = rows.responsibilities(start)[0]
    assert shares[0, 1] == 0
    assert len(rows.em(start, WHOLE, 30, 1e-3)) == 1


def test_rows_far_from_all_others_join_the_background():
    x, shares = clusters(400)
    x[:8] = 1e3 * np.random.default_rng(0).standard_normal((8, 3))
    rows = Rows.of(x)
    broad = rows.background()
    start = rows[8:].maximise(shares[8:], WHOLE)
    start = replace(start, background=broad, background_weight=0.01)
    density = rows.facing(broad).em(start, WHOLE, 30, 1e-3)
    assert density.background_weight == pytest.approx(8 / 401, rel=0.05)
    assert (density.spreads < 2).all()
