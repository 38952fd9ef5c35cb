from itertools import combinations

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from skvaeense.datasets import make_ppca, make_sparse_dictionary

DICTIONARY = {"n_atoms": 7, "n_active": (1, 3), "n_features": 12, "random_state": 0}


def _draw(n_samples, **arguments):
    """Return the samples of the generator, with their codes."""
    drawn = make_sparse_dictionary(n_samples, return_atoms=True, **(DICTIONARY | arguments))
    X, _, _, atoms = drawn
    codes = np.linalg.lstsq(atoms.T, X.T, rcond=None)[0].T
    return *drawn, np.where(np.abs(codes) > 1e-9, codes, 0)


def test_samples_are_sparse_combinations_of_unit_atoms():
    X, _, dimension, atoms, codes = _draw(60, n_active=(1, 2, 4))
    assert atoms.shape == (7, 12)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1)
    np.testing.assert_allclose(codes @ atoms, X, atol=1e-10)
    np.testing.assert_array_equal(np.count_nonzero(codes, axis=1), dimension)
    # Every atom is active in some sample.
    assert codes.any(axis=0).all()


def test_supports_and_coefficients_follow_their_law():
    *_, codes = _draw(20_000, n_atoms=5, n_active=2)
    values = codes[codes != 0]
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.var() == pytest.approx(1, abs=0.03)
    for i, j in combinations(range(5), 2):
        assert np.mean((codes[:, i] != 0) & (codes[:, j] != 0)) == pytest.approx(0.1, abs=0.01)


def test_one_number_of_active_atoms():
    X, manifold, dimension = make_sparse_dictionary(
        30, n_atoms=4, n_active=4, n_features=6, random_state=0
    )
    assert (set(manifold), set(dimension)) == ({0}, {4})
    assert np.linalg.matrix_rank(X) == 4
    same = make_sparse_dictionary(30, n_atoms=4, n_active=[4], n_features=6, random_state=0)
    np.testing.assert_array_equal(X, same[0])


def test_returning_parameters_does_not_change_the_samples(subtests):
    for make, name, arguments in (
        (make_sparse_dictionary, "return_atoms", {"noise": 0.3}),
        (make_sparse_dictionary, "return_atoms", {"signed": False}),
        (make_ppca, "return_parameters", {}),
    ):
        with subtests.test(arguments=arguments):
            more = make(40, **arguments, random_state=0, **{name: True})
            without = make(40, **arguments, random_state=0)
            assert len(without) == 3 < len(more)
            for one, other in zip(more[:3], without, strict=True):
                np.testing.assert_array_equal(one, other)


def test_unsigned_coefficients_are_absolute_values():
    signed, unsigned = _draw(50)[-1], _draw(50, signed=False)[-1]
    assert (signed < -0.1).any()
    np.testing.assert_allclose(unsigned, np.abs(signed), atol=1e-10)


def _model(**arguments):
    X, _, _, loadings, mean = make_ppca(**arguments, return_parameters=True, random_state=0)
    covariance = loadings @ loadings.T + arguments["noise_variance"] * np.eye(len(mean))
    return X, loadings, mean, covariance


def test_ppca_samples_follow_the_model():
    X, _, mean, covariance = _model(n_samples=100_000, noise_variance=0.2)
    np.testing.assert_allclose(X.mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(X.T), covariance, atol=0.02)
    pca = PCA(n_components=5).fit(X)
    assert pca.noise_variance_ == pytest.approx(0.2, rel=0.02)
    exact = multivariate_normal(mean, covariance).logpdf(X).mean()
    assert pca.score(X) == pytest.approx(exact, abs=0.02)


def test_ppca_loadings_are_as_documented():
    _, loadings, mean, _ = _model(n_samples=10, n_components=3, n_features=8, noise_variance=0.2)
    assert (loadings.shape, mean.shape) == ((8, 3), (8,))
    np.testing.assert_allclose(loadings.T @ loadings, np.diag([2, 1.5, 1]), atol=1e-12)


@pytest.mark.parametrize("n_components", [1, 5, 20])
def test_ppca_expected_log_likelihood_is_as_documented(n_components):
    noise_variance, n_features = 0.3, 20
    X, _, mean, covariance = _model(
        n_samples=20_000, n_components=n_components, noise_variance=noise_variance
    )
    variances = np.linspace(2, 1, n_components)
    expected = -0.5 * (
        n_features * np.log(2 * np.pi * np.e)
        + np.log(variances + noise_variance).sum()
        + (n_features - n_components) * np.log(noise_variance)
    )
    observed = multivariate_normal(mean, covariance).logpdf(X).mean()
    assert observed == pytest.approx(expected, abs=0.1)
