"""A custom method is one class, which estimators use, search over, save and load."""

import copy
import warnings

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, outputs, quick_vaeense
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors

from skvaeense import DiffusionDimensionEstimator, IntrinsicDimensionEstimator, load, save
from skvaeense.datasets import make_linear_subspaces
from skvaeense.dimension import AutoencoderMethod, ScoreMethod

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


class Unexplained(ScoreMethod):
    """The number of features minus the squared noise predicted a step away from the sample."""

    def __init__(self, weight=1.0):
        self.weight = weight

    def estimate(self, noise, x, level, vectors):
        return x.shape[1] - self.weight * noise(x + level).square().sum(dim=1)


def own(kind):
    """Return an estimator with a custom method, and the name of a parameter of the method."""
    if kind == "autoencoder":
        vaeense = quick_vaeense(learning_rate_init=0.05)
        return IntrinsicDimensionEstimator(vaeense, method=Smoothed()), "n_nearest"
    sizes = {"hidden_layer_sizes": (16,), "max_iter": 30, "random_state": 0}
    return DiffusionDimensionEstimator(Unexplained(), **sizes), "weight"


BOTH = pytest.mark.parametrize("kind", ["autoencoder", "score"])


@BOTH
def test_it_is_asked(kind):
    estimator = fit_unwarned(own(kind)[0], X)
    if kind == "autoencoder":
        expected = estimator.autoencoder_.active_dimensions(X).sum(axis=1)
        assert estimator.dimension_std_ == pytest.approx(expected.std() / np.sqrt(300))
        assert_array_equal(estimator.predict(X, return_std=True)[1], 0)
        with pytest.raises(ValueError, match="Smoothed computes no distances to neighbours"):
            estimator.dimension_scale(X)
    else:
        level = estimator.noise_level_ / estimator.scale_
        z = torch.tensor((X - estimator.mean_) / estimator.scale_) + level
        module = copy.deepcopy(estimator.module_).double()
        predicted = module.noise(z, z.new_full((1, 1), level)).detach().numpy()
        expected = np.clip(6 - np.square(predicted).sum(axis=1), 0, 6)
    np.testing.assert_allclose(estimator.dimension_pw_, expected, rtol=1e-9)
    # The method object of the user is not fitted.
    assert vars(estimator.method) == vars(clone(estimator.method))


@BOTH
def test_its_parameters_are_reached(kind):
    estimator, name = own(kind)
    changed = clone(estimator).set_params(**{f"method__{name}": 7})
    assert getattr(changed.method, name) == 7
    assert getattr(estimator.method, name) == 1
    assert clone(changed).get_params()[f"method__{name}"] == 7


@BOTH
def test_they_are_searched_over(kind):
    estimator, name = own(kind)
    worse = {"autoencoder": 100, "score": 0.0}[kind]
    # If both values were equally good, the first would be chosen.
    search = GridSearchCV(estimator, {f"method__{name}": [worse, 1]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, TRUE)
    assert search.best_params_ == {f"method__{name}": 1}


@BOTH
def test_it_is_saved_and_loaded(kind, tmp_path):
    estimator = fit_unwarned(own(kind)[0], X)
    trusted, path = [type(estimator.method)], tmp_path / "own.safetensors"
    with pytest.raises(TypeError, match="nor a trusted class"):
        save(estimator, path)
    save(estimator, path, trusted=trusted)
    with pytest.raises(ValueError, match="does not know"):
        load(path)
    loaded, expected = outputs(load(path, trusted=trusted), X), outputs(estimator, X)
    assert loaded.keys() == expected.keys()
    for output in expected:
        assert_array_equal(loaded[output], expected[output])
