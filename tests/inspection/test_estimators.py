"""Access of displays and functions to estimators."""

import copy

import numpy as np
import pytest
from helpers import quick_vaeense
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from skvaeense import IntrinsicDimensionEstimator
from skvaeense.inspection import (
    ActiveDimensionDisplay,
    DimensionReliabilityDisplay,
    LatentDisplay,
    LossCurveDisplay,
    ReconstructionSparsityDisplay,
    class_activity,
    latent_ablation,
    reconstruction_sparsity_curve,
    sparsity_pattern,
)
from skvaeense.metrics import squared_error

X = np.array([[3.0, 0.0, 1.0], [0.0, -2.0, 0.0], [-4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
Y = [0, 0, 1, 1]
READ = {
    "pattern": (lambda e: sparsity_pattern(e, X), "active_dimensions or transform"),
    "dimension": (lambda e: ActiveDimensionDisplay.from_estimator(e, X), "active_dimensions or di"),
    "loss": (LossCurveDisplay.from_estimator, "history_ or loss_curve_"),
    "latents": (LatentDisplay.from_estimator, "components_"),
    "reliability": (lambda e: DimensionReliabilityDisplay.from_estimator(e, X), "reliability"),
    "curve": (lambda e: ReconstructionSparsityDisplay.from_estimator(e, X), "transform"),
    "class_activity": (lambda e: class_activity(e, X, Y), "active_dimensions or transform"),
    "curve function": (lambda e: reconstruction_sparsity_curve(e, X), "transform"),
    "latent_ablation": (lambda e: latent_ablation(e, X), "transform"),
}


def test_an_estimator_is_named_that_is_not_fitted_or_lacks_something(subtests):
    for name in READ:
        with subtests.test(name=name):
            read, lacking = READ[name]
            with pytest.raises(TypeError, match=f"LinearRegression has no {lacking}"):
                read(LinearRegression().fit(X, X[:, 0]))
            is_dimension = name == "reliability"
            unfitted = IntrinsicDimensionEstimator() if is_dimension else quick_vaeense()
            with pytest.raises(NotFittedError, match=type(unfitted).__name__):
                read(unfitted)


def test_samples_go_through_the_steps_of_a_pipeline(subspaces, vaeense, halving):
    X, y = subspaces
    for read in (
        lambda e, X: class_activity(e, X, y),
        lambda e, X: latent_ablation(e, X, "fvu"),
        lambda e, X: sparsity_pattern(e, X, y),
    ):
        through, expected = read(halving, 2 * X), read(vaeense, X)
        for name, value in expected.items():
            if isinstance(value, np.ndarray):
                assert_array_equal(through[name], value)


def test_sparse_codes_of_an_estimator_are_as_dense_ones(subspaces, sae):
    X, y = subspaces
    sparse_sae = copy.deepcopy(sae).set_params(sparse_output=True)
    for read in (
        lambda e: {"share": class_activity(e, X, y).share},
        lambda e: {"sizes": sparsity_pattern(e, X, y).sizes},
        lambda e: latent_ablation(e, X),
    ):
        found, expected = read(sparse_sae), read(sae)
        for name in expected:
            assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-9)
    own, expected = (reconstruction_sparsity_curve(e, X)[2] for e in (sparse_sae, sae))
    assert own == pytest.approx(expected)


class Sinh(BaseEstimator):
    """A nonlinear decoder without `components_`, with known slopes at the code 0."""

    slopes = np.array([1.0, 10.0, 0.5])

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.arcsinh(X / self.slopes)

    def inverse_transform(self, codes):
        return np.sinh(codes) * self.slopes


def test_contributions_without_components_follow_the_slope_of_the_decoder():
    """The contributions are those of a linear decoder with the same slopes."""
    n_active, error, own = reconstruction_sparsity_curve(
        Sinh().fit(X), X, metric="squared_error", n_levels=100
    )
    order = np.argsort(-np.abs(np.arcsinh(X / Sinh.slopes) * Sinh.slopes), axis=None)
    expected = [np.square(X.ravel()[order[k:]]).sum() / len(X) for k in range(5)]
    assert_array_equal(n_active, np.arange(5) / 4)
    assert_allclose(error, expected, atol=1e-12)
    assert own == (1.0, pytest.approx(0.0, abs=1e-12))


def test_components_that_do_not_decode_are_not_subtracted(subspaces):
    """A whitened PCA decodes by rescaled components, an unwhitened one by its components."""
    X, _ = subspaces
    for pca in (PCA(4, whiten=True).fit(X), PCA(4).fit(X)):
        codes = pca.transform(X)
        expected = [
            squared_error(X, pca.inverse_transform(codes * (np.arange(4) != j))) for j in range(4)
        ]
        assert_allclose(latent_ablation(pca, X).ablated, expected, atol=1e-12)


def test_estimators_without_samples_are_read_from_a_pipeline(halving, vaeense):
    display = LatentDisplay.from_estimator(halving)
    assert_array_equal(display.components, vaeense.components_)
    assert LossCurveDisplay.from_estimator(halving).estimator_name == "VAEenseTransformer"
