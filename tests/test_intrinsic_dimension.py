import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion
from sklearn.utils._param_validation import InvalidParameterError

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.networks import Linear

X_ALL, _, TRUE = make_linear_subspaces(1800, dims=(1, 3), n_features=8, random_state=1)
X, X_NEW = X_ALL[:1500], X_ALL[1500:]


class Support(BaseEstimator):
    """Call a feature active where it is over a level: an autoencoder as far as this one asks."""

    def __init__(self, level=0.0):
        self.level = level

    def fit(self, X, y=None):
        self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        return self

    def active_dimensions(self, X):
        return np.abs(X) > self.level

    def score(self, X, y=None):
        return -abs(self.level - 0.25)


SPARSE = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1.0], [0, 0, 0]])
COUNTS = [1, 2, 2, 3, 0]


@pytest.fixture(scope="module")
def fitted():
    """Return a fit that is good enough to be asked for dimensions."""
    autoencoder = VAEenseTransformer(network=Linear((64,)), n_init=2, random_state=0)
    return IntrinsicDimensionEstimator(autoencoder).fit(X)


def test_dimensions_of_the_training_samples(fitted):
    assert fitted.dimension_pw_.shape == (1500,)
    assert fitted.dimension_pw_.dtype == np.float64
    assert isinstance(fitted.dimension_, float)
    assert fitted.dimension_ == fitted.dimension_pw_.mean()
    assert_array_equal(fitted.predict(X), fitted.dimension_pw_)
    for dimension in (1, 3):
        assert fitted.dimension_pw_[TRUE[:1500] == dimension].mean() == pytest.approx(
            dimension, abs=0.5
        )


def test_dimensions_of_unseen_samples(fitted):
    predicted = fitted.predict(X_NEW)
    assert predicted.shape == (300,)
    for dimension in (1, 3):
        assert predicted[TRUE[1500:] == dimension].mean() == pytest.approx(dimension, abs=0.5)


def test_counts_what_the_autoencoder_says(fitted):
    active = fitted.autoencoder_.active_dimensions(X_NEW)
    assert_array_equal(fitted.predict(X_NEW), active.sum(axis=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transform_is_one_column(fitted, dtype):
    column = fitted.transform(X_NEW.astype(dtype))
    assert column.shape == (300, 1)
    assert column.dtype == dtype
    assert_array_equal(column[:, 0], fitted.predict(X_NEW.astype(dtype)))
    assert fitted.get_feature_names_out().tolist() == ["intrinsicdimensionestimator0"]


def test_score_with_true_dimensions(fitted):
    expected = -np.abs(fitted.predict(X_NEW) - TRUE[1500:]).mean()
    assert fitted.score(X_NEW, TRUE[1500:]) == pytest.approx(expected)
    assert fitted.score(X_NEW, fitted.predict(X_NEW)) == 0


def test_score_without_is_that_of_the_autoencoder(fitted):
    assert fitted.score(X_NEW) == fitted.autoencoder_.score(X_NEW)


def test_score_refuses_dimensions_of_other_samples(fitted):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.score(X_NEW, TRUE[:5])


# --- any autoencoder ------------------------------------------------------------------------


def test_any_autoencoder_will_do():
    estimator = IntrinsicDimensionEstimator(Support()).fit(SPARSE)
    assert estimator.dimension_pw_.tolist() == COUNTS
    assert estimator.dimension_ == np.mean(COUNTS)
    assert estimator.predict(SPARSE[::-1]).tolist() == COUNTS[::-1]
    assert estimator.fit_predict(SPARSE).tolist() == COUNTS
    assert estimator.fit_transform(SPARSE).tolist() == [[count] for count in COUNTS]


def test_median():
    X = SPARSE[[0, 0, 0, 3]]
    assert IntrinsicDimensionEstimator(Support(), aggregate="median").fit(X).dimension_ == 1.0
    assert IntrinsicDimensionEstimator(Support(), aggregate="mean").fit(X).dimension_ == 1.5


def test_the_autoencoder_given_is_not_fitted():
    support = Support()
    estimator = IntrinsicDimensionEstimator(support).fit(SPARSE).fit(SPARSE)
    assert not hasattr(support, "n_fits_")
    assert estimator.autoencoder is support
    assert estimator.autoencoder_.n_fits_ == 1


@pytest.mark.parametrize("autoencoder", [PCA(2), Support, "vae", 3])
def test_refuses_what_has_no_active_dimensions(autoencoder):
    with pytest.raises((InvalidParameterError, TypeError), match=r"autoencoder|instance"):
        IntrinsicDimensionEstimator(autoencoder).fit(SPARSE)


def test_error_names_what_is_missing():
    with pytest.raises(InvalidParameterError, match="active_dimensions"):
        IntrinsicDimensionEstimator(PCA(2)).fit(SPARSE)


def test_errors_of_the_autoencoder_come_through():
    with pytest.raises(InvalidParameterError, match="The 'n_init' parameter of VAEenseTransformer"):
        IntrinsicDimensionEstimator(VAEenseTransformer(n_init=0)).fit(SPARSE)


def test_default_autoencoder_takes_the_seed(monkeypatch):
    monkeypatch.setattr(VAEenseTransformer, "fit", lambda self, X, y=None: self)
    monkeypatch.setattr(VAEenseTransformer, "active_dimensions", lambda self, X: X != 0)
    estimator = IntrinsicDimensionEstimator(random_state=5).fit(SPARSE)
    assert estimator.autoencoder is None
    assert isinstance(estimator.autoencoder_, VAEenseTransformer)
    assert estimator.autoencoder_.get_params() == VAEenseTransformer(random_state=5).get_params()
    assert estimator.dimension_pw_.tolist() == COUNTS


# --- scikit-learn ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_asks_to_be_fitted_first(method):
    with pytest.raises(NotFittedError):
        getattr(IntrinsicDimensionEstimator(Support()), method)(SPARSE)


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_refuses_other_features(method):
    estimator = IntrinsicDimensionEstimator(Support()).fit(SPARSE)
    with pytest.raises(ValueError, match="3 features"):
        getattr(estimator, method)(SPARSE[:, :2])


@pytest.mark.parametrize("bad", [np.full((4, 3), np.nan), SPARSE[:1], SPARSE[0]])
def test_refuses_bad_data(bad):
    with pytest.raises(ValueError, match=r"NaN|1 sample|2D"):
        IntrinsicDimensionEstimator(Support()).fit(bad)


def test_feature_union():
    union = FeatureUnion([("dimension", IntrinsicDimensionEstimator(Support())), ("pca", PCA(2))])
    features = union.fit_transform(SPARSE)
    assert features.shape == (5, 3)
    assert features[:, 0].tolist() == COUNTS
    names = union.get_feature_names_out().tolist()
    assert names == ["dimension__intrinsicdimensionestimator0", "pca__pca0", "pca__pca1"]


def test_pandas_in_and_out():
    frame = pd.DataFrame(SPARSE, columns=["a", "b", "c"])
    estimator = IntrinsicDimensionEstimator(Support()).set_output(transform="pandas")
    column = estimator.fit_transform(frame)
    assert column.columns.tolist() == ["intrinsicdimensionestimator0"]
    assert estimator.feature_names_in_.tolist() == ["a", "b", "c"]


def test_clone_and_nested_parameters():
    estimator = IntrinsicDimensionEstimator(Support(0.5), aggregate="median")
    cloned = clone(estimator).set_params(autoencoder__level=0.1)
    assert estimator.autoencoder.level == 0.5
    assert cloned.autoencoder.level == 0.1
    assert cloned.aggregate == "median"


def test_pickle(fitted):
    copied = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(copied.predict(X_NEW), fitted.predict(X_NEW))
    assert copied.dimension_ == fitted.dimension_


def test_grid_search_with_and_without_dimensions():
    grid = {"autoencoder__level": [0.0, 0.25, 2.0]}
    X, y = np.tile(SPARSE, (4, 1)), np.tile(COUNTS, 4)
    X = X + 0.1
    # All features of X are over 0; the counts are right from 0.1 to 1.1.
    with_y = GridSearchCV(IntrinsicDimensionEstimator(Support()), grid, cv=2).fit(X, y)
    assert with_y.best_params_ == {"autoencoder__level": 0.25}
    assert with_y.best_score_ == 0
    without = GridSearchCV(IntrinsicDimensionEstimator(Support()), grid, cv=2).fit(X)
    assert without.best_params_ == {"autoencoder__level": 0.25}


def test_grid_search_over_the_number_of_components():
    """One latent cannot hold three dimensions."""
    autoencoder = VAEenseTransformer(
        network=Linear((32,)), n_init=1, max_iter=40, batch_size=32, random_state=0
    )
    search = GridSearchCV(
        IntrinsicDimensionEstimator(autoencoder), {"autoencoder__n_components": [1, 6]}, cv=2
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X[:600])
    assert search.best_params_ == {"autoencoder__n_components": 6}
    assert search.best_estimator_.autoencoder_.n_components_ == 6


def test_cross_validation():
    scores = cross_val_score(IntrinsicDimensionEstimator(Support()), SPARSE, COUNTS, cv=2)
    assert scores.tolist() == [0.0, 0.0]


def test_a_failed_fit_leaves_no_half_fitted_estimator():
    X = np.random.default_rng(0).standard_normal((60, 4))
    broken = VAEenseTransformer(n_init=1, max_iter=2, learning_rate_init=1e30, random_state=0)
    estimator = IntrinsicDimensionEstimator(broken)
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        estimator.fit(X)
    assert not [name for name in vars(estimator) if name.endswith("_")]
