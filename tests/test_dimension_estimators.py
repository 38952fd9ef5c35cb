"""Methods and attributes of the dimension estimator that follow scikit-learn."""

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, quick_vaeense
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from skvaeense import IntrinsicDimensionEstimator
from skvaeense.datasets import make_linear_subspaces
from skvaeense.dimension import Neighbors

X_ALL, _, TRUE = make_linear_subspaces(230, dims=(1, 3), n_features=6, random_state=1)
X, X_NEW, TRUE_NEW = X_ALL[:200], X_ALL[200:], TRUE[200:]

ESTIMATOR = IntrinsicDimensionEstimator(quick_vaeense(max_iter=5), random_state=0)


@pytest.fixture(scope="module")
def fitted():
    """Return a fit after a short training."""
    return fit_unwarned(clone(ESTIMATOR), X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_methods_agree(fitted, dtype):
    dimension, column = fitted.predict(X_NEW.astype(dtype)), fitted.transform(X_NEW.astype(dtype))
    assert dimension.dtype == np.float64
    assert column.dtype == dtype
    assert_array_equal(column, dimension[:, None].astype(dtype))
    assert fitted.get_feature_names_out().tolist() == [f"{type(fitted).__name__.lower()}0"]


def test_tensors_are_taken_as_arrays(fitted):
    tensor = torch.tensor(X_NEW, requires_grad=True)
    assert_array_equal(fitted.predict(tensor), fitted.predict(X_NEW))
    single = tensor.bfloat16()
    assert_array_equal(fitted.transform(single), fitted.transform(single.detach().float().numpy()))


def test_training_samples(fitted):
    assert_array_equal(fitted.predict(X), fitted.dimension_pw_)
    assert type(fitted.dimension_) is float
    assert fitted.dimension_ == fitted.dimension_pw_.mean()
    assert_array_equal(fit_unwarned(clone(fitted), X, "fit_predict"), fitted.dimension_pw_)
    assert_array_equal(fit_unwarned(clone(fitted), X, "fit_transform")[:, 0], fitted.dimension_pw_)


def test_median(fitted):
    median = fit_unwarned(clone(fitted).set_params(aggregate="median"), X)
    assert_array_equal(median.dimension_pw_, fitted.dimension_pw_)
    assert median.dimension_ == np.median(fitted.dimension_pw_) != fitted.dimension_


def test_score_with_true_dimensions(fitted):
    expected = -np.abs(fitted.predict(X_NEW) - TRUE_NEW).mean()
    assert fitted.score(X_NEW, TRUE_NEW) == pytest.approx(expected)
    assert fitted.score(X_NEW, fitted.predict(X_NEW)) == 0
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.score(X_NEW, TRUE_NEW[:5])


def test_asks_to_be_fitted_first():
    for name in ("predict", "transform", "score", "dimension_scale", "reliability"):
        with pytest.raises(NotFittedError):
            getattr(clone(ESTIMATOR), name)(X)


def test_bad_parameters_of_a_method_are_found_before_training():
    # Training with this network would fail.
    bad = {"method": Neighbors(n_neighbors=3), "autoencoder__model__network": "none"}
    with pytest.raises(InvalidParameterError, match="parameter of Neighbors must"):
        clone(ESTIMATOR).set_params(**bad).fit(X)
