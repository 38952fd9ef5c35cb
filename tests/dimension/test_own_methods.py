"""A custom method is one class, which the estimator uses, searches over, saves and loads."""

import warnings

import numpy as np
import pytest
from helpers import fit_unwarned, outputs, quick_vaeense
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors

from skvaeense import IntrinsicDimensionEstimator, load, save
from skvaeense.datasets import make_linear_subspaces
from skvaeense.dimension import AutoencoderMethod

X, _, TRUE = make_linear_subspaces(300, dims=(1, 3), n_features=6, random_state=0)


class Smoothed(AutoencoderMethod):
    """The mean number of active latents over the nearest training samples."""

    def __init__(self, n_nearest=1):
        self.n_nearest = n_nearest

    def fit(self, autoencoder, X, random_state=None):
        self.search_ = NearestNeighbors(n_neighbors=self.n_nearest).fit(X)
        self.count_ = autoencoder.active_dimensions(X).sum(axis=1)
        return self

    def estimate(self, autoencoder, X):
        counts = self.count_[self.search_.kneighbors(X, return_distance=False)]
        return counts.mean(axis=1), counts.std(axis=1)


@pytest.fixture(scope="module")
def own():
    """Return an estimator with a custom method."""
    return IntrinsicDimensionEstimator(quick_vaeense(learning_rate_init=0.04), method=Smoothed())


def test_it_is_asked(own):
    estimator = fit_unwarned(clone(own), X)
    expected = estimator.autoencoder_.active_dimensions(X).sum(axis=1)
    assert estimator.dimension_std_ == pytest.approx(expected.std() / np.sqrt(300))
    assert_array_equal(estimator.predict(X, return_std=True)[1], 0)
    with pytest.raises(ValueError, match="Smoothed computes no distances to neighbours"):
        estimator.dimension_scale(X)
    assert_array_equal(estimator.dimension_pw_, expected)
    # The method object of the user is not fitted.
    assert vars(estimator.method) == vars(clone(estimator.method))


def test_its_parameters_are_reached(own):
    changed = clone(own).set_params(method__n_nearest=7)
    assert changed.method.n_nearest == 7
    assert own.method.n_nearest == 1
    assert clone(changed).get_params()["method__n_nearest"] == 7


def test_they_are_searched_over(own):
    # If both values were equally good, the first would be chosen.
    search = GridSearchCV(own, {"method__n_nearest": [100, 1]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, TRUE)
    assert search.best_params_ == {"method__n_nearest": 1}


def test_it_is_saved_and_loaded(own, tmp_path):
    estimator = fit_unwarned(clone(own), X)
    trusted, path = [type(estimator.method)], tmp_path / "own.safetensors"
    with pytest.raises(TypeError, match="If the class is yours, pass trusted"):
        save(estimator, path)
    save(estimator, path, trusted=trusted)
    with pytest.raises(ValueError, match="does not know"):
        load(path)
    loaded, expected = outputs(load(path, trusted=trusted), X), outputs(estimator, X)
    assert loaded.keys() == expected.keys()
    for output in expected:
        assert_array_equal(loaded[output], expected[output])
