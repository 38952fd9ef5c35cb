"""The density of independent codes, and the structures that it distinguishes."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.decomposition import FastICA

from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.training._independent_codes import IndependentCodes, independent_components


def spike_and_slab(n_samples, share, noise, seed=0, n_features=6):
    """Return samples and the log-density that they are drawn from."""
    rng = np.random.default_rng(seed)
    atoms = np.linalg.qr(rng.standard_normal((n_features, 3)))[0].T * [[3.0], [2.0], [1.5]]
    is_on = rng.uniform(size=(n_samples, 3)) < share
    X = (is_on * rng.standard_normal((n_samples, 3))) @ atoms
    X += np.sqrt(noise) * rng.standard_normal(X.shape)

    def log_prob(x):
        total = np.full(len(x), -np.inf)
        for pattern in np.ndindex(2, 2, 2):
            on = np.array(pattern, dtype=bool)
            covariance = atoms[on].T @ atoms[on] + noise * np.eye(n_features)
            weight = np.prod(np.where(on, share, 1 - share))
            one = multivariate_normal(np.zeros(n_features), covariance).logpdf(x)
            total = np.logaddexp(total, one + np.log(weight))
        return total

    return X, log_prob


def fitted(X, seed=0):
    """Return the densities of independent codes; the last has a code for each feature."""
    return IndependentCodes.fit(X, np.random.RandomState(seed), 1e-6 * np.square(X).mean())


def independent(X, n_train, seed=0):
    return fitted(X[:n_train], seed)[0].log_prob(X[n_train:])


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_density_is_that_of_the_codes(share):
    """Each code has a pattern of its own here, so all patterns are known."""
    X, log_prob = spike_and_slab(6000, share, 0.01)
    found, true = independent(X, 5000), log_prob(X[5000:])
    assert found.shape == (1000,)
    # The log-density is right for each row, and loses little in the mean.
    assert np.corrcoef(found, true)[0, 1] > 0.99
    assert 0 < (true - found).mean() < 0.1


def test_density_is_one_in_all():
    """The integral is estimated by samples of a broad density, weighted by the ratio."""
    X, _ = spike_and_slab(4000, 0.3, 0.05, n_features=3)
    rng = np.random.default_rng(1)
    broad = multivariate_normal(np.zeros(3), 1.5 * np.cov(X.T) + 0.2 * np.eye(3))
    points = broad.rvs(40_000, random_state=rng)
    ratios = np.exp(fitted(X)[0].log_prob(points) - broad.logpdf(points))
    assert ratios.mean() == pytest.approx(1, abs=4 * ratios.std() / np.sqrt(len(ratios)) + 0.01)


def test_density_goes_along_with_units():
    X, _ = spike_and_slab(2000, 0.3, 0.01)
    shift = 6 * np.log(1000)
    np.testing.assert_allclose(
        independent(1000 * X + 7, 1500), independent(X, 1500) - shift, atol=1e-3
    )


def test_the_same_seed_gives_the_same():
    X, _ = spike_and_slab(1000, 0.3, 0.01)
    np.testing.assert_array_equal(independent(X, 800), independent(X, 800))


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_patterns_of_atoms_are_more_probable_than_one_normal_distribution(noise):
    """For subspaces, each of which is on or off as a whole, this does not hold."""
    dictionary = make_sparse_dictionary(2500, noise=noise, random_state=0)[0]
    subspaces = make_linear_subspaces(
        2500, dims=(4,) * 8, n_features=20, noise=noise, random_state=0
    )[0]
    for X, gains in ((dictionary, True), (subspaces, False)):
        floor = 1e-6 * np.square(X).mean()
        covariance = np.cov(X[:2000].T) + floor * np.eye(X.shape[1])
        normal = multivariate_normal(X[:2000].mean(axis=0), covariance).logpdf(X[2000:])
        gain = (independent(X, 2000) - normal).mean()
        assert (gain > 20) == gains


def test_codes_of_fewer_than_two_directions_are_none():
    rng = np.random.default_rng(0)
    line = rng.standard_normal((500, 1)) @ rng.standard_normal((1, 5))
    for X in (line, rng.standard_normal((500, 5)), np.ones((50, 3))):
        assert fitted(X) == []


@pytest.mark.parametrize("n_atoms", [5, 8])
def test_atoms_are_exact_where_there_is_no_noise(n_atoms):
    """This includes as many atoms as features, where the last direction has no noise below it."""
    X, *_, atoms = make_sparse_dictionary(
        1000, n_atoms=n_atoms, n_active=2, n_features=8, return_atoms=True, random_state=0
    )
    found = fitted(X)[-1]
    cosines = found.atoms / np.linalg.norm(found.atoms, axis=1)[:, None] @ atoms.T
    np.testing.assert_allclose(np.abs(cosines).max(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(found.origin, 0, atol=1e-4)
    S = (X - found.origin) @ found.unmix.T
    assert (np.abs(S) > 1e-3).sum(axis=1).mean() == pytest.approx(2, abs=0.01)


def test_outliers_leave_codes_finite():
    X = make_sparse_dictionary(1000, n_atoms=8, n_active=2, n_features=8, random_state=0)[0]
    assert np.isfinite(independent(np.r_[X, 1e6 * X[:5]], 1000)).all()


@pytest.mark.parametrize(("n_atoms", "are_independent"), [(10, True), (18, False)])
def test_codes_of_more_atoms_than_directions_are_not_independent(n_atoms, are_independent):
    X = make_sparse_dictionary(
        2000, n_atoms=n_atoms, n_active=2, n_features=12, noise=0.02, random_state=0
    )[0]
    assert all(one.are_independent(X) == are_independent for one in fitted(X))


def test_a_search_that_diverges_gives_axes(monkeypatch):
    def diverge(self, X):
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(FastICA, "fit", diverge)
    white = np.random.default_rng(0).standard_normal((200, 3))
    found = independent_components(white, np.random.RandomState(0))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
