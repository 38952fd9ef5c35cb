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
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skvaeense.inspection import (
    ActiveDimensionDisplay,
    LatentDisplay,
    LossCurveDisplay,
    ReconstructionSparsityDisplay,
    reconstruction_sparsity_curve,
)

X = np.array([[3.0, 0.0, 1.0], [0.0, -2.0, 0.0], [-4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
READ = {
    "dimension": (lambda e: ActiveDimensionDisplay.from_estimator(e, X), "active_dimensions or di"),
    "loss": (LossCurveDisplay.from_estimator, "history_"),
    "latents": (LatentDisplay.from_estimator, "components_"),
    "curve": (lambda e: ReconstructionSparsityDisplay.from_estimator(e, X), "transform"),
    "curve function": (lambda e: reconstruction_sparsity_curve(e, X), "transform"),
}


def test_an_estimator_is_named_that_is_not_fitted_or_lacks_something(subtests):
    for name in READ:
        with subtests.test(name=name):
            read, lacking = READ[name]
            with pytest.raises(TypeError, match=f"LinearRegression has no {lacking}"):
                read(LinearRegression().fit(X, X[:, 0]))
            with pytest.raises(NotFittedError, match="VAEenseTransformer"):
                read(quick_vaeense())


def test_samples_go_through_the_steps_of_a_pipeline_and_the_search_around_it(subspaces, vaeense):
    X, _ = subspaces
    halving = make_pipeline(FunctionTransformer(lambda X: X / 2), vaeense)
    expected = reconstruction_sparsity_curve(vaeense, X)
    assert_allclose(reconstruction_sparsity_curve(halving, 2 * X)[1], expected[1])
    search = GridSearchCV(make_pipeline(StandardScaler(), PCA()), {"pca__n_components": [2]})
    shown = LatentDisplay.from_estimator(search.fit(X))
    assert_array_equal(shown.components, search.best_estimator_[-1].components_)


def test_sparse_codes_of_an_estimator_are_as_dense_ones(subspaces, sae):
    X, _ = subspaces
    sparse_sae = copy.deepcopy(sae).set_params(sparse_output=True)
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
    n_active, error, own = reconstruction_sparsity_curve(Sinh().fit(X), X)
    order = np.argsort(-np.abs(np.arcsinh(X / Sinh.slopes) * Sinh.slopes), axis=None)
    total = np.square(X - X.mean(axis=0)).sum()
    expected = [np.square(X.ravel()[order[k:]]).sum() / total for k in range(5)]
    assert_array_equal(n_active, np.arange(5) / 4)
    assert_allclose(error, expected, atol=1e-12)
    assert own == (1.0, pytest.approx(0.0, abs=1e-12))


def test_estimators_without_samples_are_read_from_a_pipeline(halving, vaeense):
    display = LatentDisplay.from_estimator(halving)
    assert_array_equal(display.components, vaeense.components_)
    curve = LossCurveDisplay.from_estimator(halving).line_.get_ydata()
    assert_array_equal(curve, vaeense.loss_curve_)
