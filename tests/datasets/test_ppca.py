import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from skvaeense.datasets import make_ppca


def _make_model(**arguments):
    X, _, _, loadings, mean = make_ppca(**arguments, return_parameters=True, random_state=0)
    noise_variance = arguments["noise_variance"]
    covariance = loadings @ loadings.T + noise_variance * np.eye(len(mean))
    return X, loadings, mean, covariance


def test_ppca_samples_follow_the_model():
    X, _, mean, covariance = _make_model(n_samples=100_000, noise_variance=0.2)
    np.testing.assert_allclose(X.mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(X.T), covariance, atol=0.02)


def test_ppca_loadings_are_as_documented():
    _, loadings, mean, _ = _make_model(
        n_samples=10, n_components=3, n_features=8, noise_variance=0.2
    )
    assert loadings.shape == (8, 3)
    assert mean.shape == (8,)
    np.testing.assert_allclose(loadings.T @ loadings, np.diag([2, 1.5, 1]), atol=1e-12)


def test_ppca_parameters_do_not_change_the_samples():
    with_parameters = make_ppca(20, return_parameters=True, random_state=0)
    np.testing.assert_array_equal(with_parameters[0], make_ppca(20, random_state=0)[0])


def test_pca_recovers_the_noise_variance_and_likelihood():
    X, _, mean, covariance = _make_model(n_samples=20_000, noise_variance=0.2)
    pca = PCA(n_components=5).fit(X)
    assert pca.noise_variance_ == pytest.approx(0.2, rel=0.02)
    exact = multivariate_normal(mean, covariance).logpdf(X).mean()
    assert pca.score(X) == pytest.approx(exact, abs=0.02)


def test_ppca_expected_log_likelihood_is_as_documented(subtests):
    for n_components in (1, 5, 20):
        with subtests.test(n_components=n_components):
            noise_variance, n_features = 0.3, 20
            X, _, mean, covariance = _make_model(
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


def test_bad_ppca_arguments(subtests):
    for arguments, error, match in (
        ({"n_components": 21}, ValueError, "A model with 21 components needs at least 21"),
        ({"n_components": 0}, ValueError, "n_components must be at least 1"),
        ({"noise_variance": 0.0}, ValueError, "noise_variance must be positive, got 0.0"),
        ({"noise_variance": np.nan}, ValueError, "noise_variance must be finite"),
        ({"noise_variance": "1"}, TypeError, "noise_variance must be a float"),
        ({"return_parameters": "yes"}, TypeError, "return_parameters must be True or False"),
    ):
        with subtests.test(match=match), pytest.raises(error, match=match):
            make_ppca(10, **arguments)
