"""SparseAutoencoder in scikit-learn's tools, and with a penalty of one's own."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import fit_unwarned, quick_sae
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skvaeense.datasets import make_sparse_dictionary
from skvaeense.metrics import l0
from skvaeense.networks import Linear, SingleLayer
from skvaeense.penalties import ALIASES, L1, BatchTopK, Log, Penalty, TopK

# The count of atoms in each sample is what a classifier can tell apart.
X_ALL, COUNT, _ = make_sparse_dictionary(
    2500, n_atoms=12, n_active=(1, 4), n_features=8, signed=False, random_state=0
)
X, X_NEW = X_ALL[:300], X_ALL[2000:]
EVERY = pytest.mark.parametrize("penalty", sorted(ALIASES))
# Training for few epochs is no good fit, and what is asked here is something else.
UNWARNED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fit_quick(penalty="l1", X=X, **params):
    return fit_unwarned(quick_sae(penalty, **params), X)


# --- scikit-learn ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["transform", "active_dimensions", "score", "score_samples", "inverse_transform"]
)
def test_asks_to_be_fitted_first(method):
    with pytest.raises(NotFittedError):
        getattr(quick_sae(), method)(X)


def test_fit_transform_is_fit_and_transform():
    estimator = quick_sae(TopK(3))
    codes = estimator.fit_transform(X)
    assert_array_equal(codes, estimator.transform(X))


def test_pandas_in_and_out():
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(8)], index=np.arange(300) + 5)
    estimator = fit_unwarned(quick_sae().set_output(transform="pandas"), frame)
    codes = estimator.transform(frame)
    assert estimator.feature_names_in_.tolist() == frame.columns.tolist()
    assert codes.columns[:2].tolist() == ["sparseautoencoder0", "sparseautoencoder1"]
    assert codes.columns.tolist() == estimator.get_feature_names_out().tolist()
    assert_array_equal(codes.index, frame.index)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(frame.rename(columns={"x0": "y0"}))


@EVERY
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_fitting_leaves_parameters_alone(penalty, method):
    estimator = quick_sae(penalty)
    # Parameters of the penalty are among them: an adapted price must not end up there.
    before = copy.deepcopy(estimator).get_params()
    fit_unwarned(estimator, X) if method == "fit" else estimator.partial_fit(X)
    after = estimator.get_params()
    penalty_before, penalty_after = before.pop("penalty"), after.pop("penalty")
    assert repr(penalty_before) == repr(penalty_after)
    assert before == after


def test_an_adapted_alpha_is_not_written_to_the_penalty():
    estimator = fit_quick(L1(0.07), target_l0=3)
    assert estimator.alpha_ != 0.07
    assert estimator.penalty.alpha == 0.07


def test_clone_and_nested_parameters():
    estimator = fit_quick(TopK(3), network=Linear((16,)))
    cloned = clone(estimator).set_params(network__hidden_layer_sizes=(8,), penalty__k=2)
    assert not hasattr(cloned, "module_")
    assert estimator.penalty.k == 3
    assert estimator.network.hidden_layer_sizes == (16,)
    fit_unwarned(cloned, X)
    assert cloned.module_.body[0].out_features == 8
    assert cloned.active_dimensions(X_NEW).sum(axis=1).max() == 2


@pytest.mark.parametrize(
    ("name", "value"), [("tied_init", False), ("subtract_bias", False), ("init_norm", 0.5)]
)
def test_parameters_of_the_single_layer(name, value):
    default = fit_quick(network=SingleLayer())
    other = fit_quick(network=SingleLayer()).set_params(**{f"network__{name}": value})
    assert not np.allclose(fit_unwarned(other, X).transform(X_NEW), default.transform(X_NEW))
    assert_array_equal(fit_quick().transform(X_NEW), default.transform(X_NEW))


@EVERY
def test_pickle_joblib_and_deep_copy(penalty, tmp_path):
    fitted = fit_quick(penalty, max_iter=2)
    joblib.dump(fitted, tmp_path / "model.joblib")
    for copied in (
        pickle.loads(pickle.dumps(fitted)),
        joblib.load(tmp_path / "model.joblib"),
        copy.deepcopy(fitted),
    ):
        assert_array_equal(copied.transform(X_NEW), fitted.transform(X_NEW))
        assert copied.score(X_NEW) == fitted.score(X_NEW)


@pytest.mark.parametrize("params", [{"penalty": BatchTopK(3)}, {"target_l0": 3}])
def test_pickle_keeps_the_state_of_partial_fit(params):
    estimator = quick_sae(**params).partial_fit(X)
    copied = pickle.loads(pickle.dumps(estimator))
    for one in (estimator, copied):
        one.partial_fit(X).partial_fit(X)
    assert_array_equal(copied.transform(X_NEW), estimator.transform(X_NEW))


@UNWARNED
def test_grid_search_over_the_price():
    """By its own score the lowest price is best: sparsity is no part of the score."""
    search = GridSearchCV(quick_sae(L1()), {"penalty__alpha": [1.0, 0.3, 0.01]}, cv=2).fit(X)
    assert search.best_params_ == {"penalty__alpha": 0.01}
    assert search.best_estimator_.alpha_ == 0.01


@UNWARNED
def test_grid_search_over_penalties():
    grid = [{"penalty": [TopK()], "penalty__k": [1, 4]}, {"penalty": [L1(10.0), Log(10.0)]}]
    search = GridSearchCV(quick_sae(), grid, cv=2).fit(X)
    assert search.best_params_.get("penalty__k") == 4


@UNWARNED
def test_pipeline_with_a_classifier():
    pipeline = make_pipeline(
        quick_sae(TopK(4), max_iter=60, sparse_output=True), LogisticRegression(max_iter=1000)
    )
    pipeline.fit(X_ALL[:2000], COUNT[:2000])
    assert pipeline.score(X_NEW, COUNT[2000:]) > 0.7


@UNWARNED
def test_processes_agree():
    alone, together = (cross_val_score(quick_sae(TopK(3)), X, cv=3, n_jobs=n) for n in (1, 2))
    assert np.isfinite(alone).all()
    # Threads differ between processes, and with them the order of sums.
    assert_allclose(together, alone, rtol=1e-3)


# --- penalties of one's own -----------------------------------------------------------------


class SquaredToo(Penalty):
    """An elastic net with codes over a fixed threshold."""

    def __init__(self, alpha=0.1, mix=0.5):
        self.alpha = alpha
        self.mix = mix

    def build(self, n_components, *, unit, positive):
        return torch.nn.Threshold(0.05 * unit, 0.0)

    def cost(self, coding):
        size = coding.code.abs() / coding.unit
        return (self.mix * size + (1 - self.mix) * size.square()).sum(dim=1)


class OnlyFirst(Penalty):
    """A constraint without a price: the first latents only."""

    def __init__(self, n_first=4):
        self.n_first = n_first

    def build(self, n_components, *, unit, positive):
        return First(self.n_first)


class First(torch.nn.Module):
    def __init__(self, n_first):
        super().__init__()
        self.n_first = n_first

    def forward(self, preactivation):
        return preactivation * (torch.arange(preactivation.shape[1]) < self.n_first)


def test_a_penalty_with_a_price_of_ones_own():
    fitted = fit_quick(SquaredToo(mix=0.2), max_iter=100, target_l0=4)
    assert l0(fitted.transform(X_NEW)) == pytest.approx(4, rel=0.25)
    assert fitted.alpha_ != 0.1
    assert fitted.score(X_NEW) > 0.7
    codes = fitted.transform(X_NEW)
    assert codes[codes != 0].min() >= 0.05 * np.sqrt(8)


def test_a_constraint_of_ones_own():
    fitted = fit_quick(OnlyFirst())
    assert not hasattr(fitted, "alpha_")
    assert_array_equal(fitted.active_dimensions(X_NEW).all(axis=0), [True] * 4 + [False] * 8)
    with pytest.raises(ValueError, match=r"OnlyFirst\(\) has none"):
        fit_quick(OnlyFirst(), target_l0=2)


def test_score_of_a_frame():
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(8)])
    assert fit_unwarned(quick_sae(), frame).score(frame) == pytest.approx(fit_quick().score(X))


def test_score_whatever_transform_returns():
    estimator = quick_sae(sparse_output=True).set_output(transform="pandas")
    assert fit_unwarned(estimator, X).score(X) == pytest.approx(fit_quick().score(X))
