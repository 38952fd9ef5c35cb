"""Both autoencoders with scikit-learn's tools: pandas, clones, pickles, searches, pipelines."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from helpers import (
    ATOMS,
    MLP_SMALL,
    PENALTIES,
    SUBSPACES,
    fit_unwarned,
    outputs,
    quick_sae,
    quick_vaeense,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvaeense.nets.networks import Linear
from skvaeense.nets.penalties import L1, BatchTopK, Log, TopK
from skvaeense.nets.thresholds import FixedVariance

X, X_NEW = ATOMS.few, ATOMS.new
VAEENSE, SAE = quick_vaeense(max_iter=2), quick_sae(max_iter=2)
EACH = pytest.mark.parametrize("estimator", [VAEENSE, SAE], ids=["vaeense", "sae"])
EVERY = pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(VAEENSE, id="vaeense"),
        pytest.param(quick_vaeense(max_iter=2, network=MLP_SMALL), id="vaeense-mlp"),
        *(
            pytest.param(quick_sae(PENALTIES[name], max_iter=2), id=name)
            for name in ("batch_topk", "gated", "jump_relu")
        ),
        pytest.param(quick_sae(L1(0.07), max_iter=2, target_l0=3), id="target"),
    ],
)
# Fits of few epochs warn about convergence, which does not matter here.
UNWARNED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def assert_same_outputs(one, other):
    expected = outputs(other, X_NEW)
    for method, found in outputs(one, X_NEW).items():
        assert_array_equal(found, expected[method], err_msg=method)


# --- protocols ------------------------------------------------------------------------------


@EACH
def test_methods_ask_to_be_fitted_first(estimator):
    methods = {"transform", "active_dimensions", "score", "score_samples", "inverse_transform"}
    methods |= {"posterior", "sample"} if hasattr(estimator, "posterior") else set()
    for method in methods:
        with pytest.raises(NotFittedError):
            getattr(estimator, method)(*(() if method == "sample" else (X,)))


@EACH
def test_pandas_in_and_out(estimator):
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(8)], index=np.arange(300) + 5)
    fitted = fit_unwarned(clone(estimator).set_output(transform="pandas"), frame)
    codes = fitted.transform(frame)
    assert fitted.feature_names_in_.tolist() == frame.columns.tolist()
    assert codes.columns[1] == f"{type(estimator).__name__.lower()}1"
    assert codes.columns.tolist() == fitted.get_feature_names_out().tolist()
    assert_array_equal(codes.index, frame.index)
    without = fit_unwarned(clone(estimator), X)
    assert not hasattr(without, "feature_names_in_")
    # The columns of a frame are contiguous in memory, so sums are rounded differently.
    assert_allclose(codes, without.transform(X), rtol=1e-9, atol=1e-12)
    assert fitted.score(frame) == pytest.approx(without.score(X))
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(frame.rename(columns={"x0": "y0"}))


@EVERY
def test_fitting_leaves_parameters_alone(estimator):
    """Parameters of parts stay, too: an adapted coefficient must not be written to the penalty."""
    estimator = clone(estimator)
    before, parts = estimator.get_params(deep=False), repr(estimator)
    values = copy.deepcopy(estimator).get_params()
    fit_unwarned(estimator, X).partial_fit(X)
    after = estimator.get_params(deep=False)
    assert all(after[name] is before[name] for name in before)
    assert repr(estimator) == parts
    assert repr(estimator.get_params()) == repr(values)
    if estimator.get_params().get("target_l0"):
        assert estimator.alpha_ != estimator.penalty.alpha


@pytest.mark.parametrize(
    ("estimator", "changes"),
    [
        (
            quick_vaeense(threshold=FixedVariance(0.3)),
            {"model__network__hidden_layer_sizes": (8,), "model__threshold__level": 0.2},
        ),
        (
            quick_sae(TopK(3), network=Linear((16,))),
            {"network__hidden_layer_sizes": (8,), "penalty__k": 2},
        ),
    ],
    ids=["vaeense", "sae"],
)
def test_clone_and_nested_parameters(estimator, changes):
    before = estimator.get_params()
    fitted = fit_unwarned(clone(estimator), X)
    cloned = clone(fitted).set_params(**changes)
    assert not hasattr(cloned, "module_")
    assert {name: estimator.get_params()[name] for name in changes} == {
        name: before[name] for name in changes
    }
    assert all(cloned.get_params()[name] == value for name, value in changes.items())
    sizes = [
        sum(parameter.numel() for parameter in model.module_.parameters())
        for model in (fit_unwarned(cloned, X), fitted)
    ]
    assert sizes[0] < sizes[1]
    if "penalty__k" in changes:
        assert cloned.active_dimensions(X_NEW).sum(axis=1).max() == 2


# --- copies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [VAEENSE, quick_sae(BatchTopK(3)), quick_sae(target_l0=3)],
    ids=["vaeense", "batch_topk", "target"],
)
def test_pickle_keeps_the_state_of_partial_fit(estimator):
    estimator = clone(estimator).partial_fit(X)
    copied = pickle.loads(pickle.dumps(estimator))
    for one in (estimator, copied):
        one.partial_fit(X).partial_fit(X)
    assert_same_outputs(copied, estimator)


# --- searches -------------------------------------------------------------------------------


@UNWARNED
@pytest.mark.parametrize(
    ("estimator", "samples", "grid", "best"),
    [
        # Four latents can represent the data, and one cannot.
        (quick_vaeense(max_iter=30), SUBSPACES.few, {"n_components": [1, 4]}, {"n_components": 4}),
        # The lowest alpha has the best score, since the score does not measure sparsity.
        (quick_sae(L1()), X, {"penalty__alpha": [1.0, 0.01]}, {"penalty__alpha": 0.01}),
        (
            quick_sae(),
            X,
            [{"penalty": [TopK()], "penalty__k": [1, 4]}, {"penalty": [L1(10.0), Log(10.0)]}],
            {"penalty__k": 4},
        ),
    ],
    ids=["vaeense", "alpha", "penalties"],
)
def test_grid_searches(estimator, samples, grid, best):
    search = GridSearchCV(estimator, grid, cv=2).fit(samples)
    assert search.best_params_.items() >= best.items()
    if "penalty__alpha" in best:
        assert search.best_estimator_.alpha_ == 0.01


@UNWARNED
def test_pipeline_of_sparse_codes_and_a_classifier():
    pipeline = make_pipeline(
        quick_sae(TopK(4), max_iter=60, sparse_output=True), LogisticRegression(max_iter=1000)
    )
    pipeline.fit(ATOMS.train, ATOMS.train_label)
    assert pipeline.score(X_NEW, ATOMS.new_label) > 0.7
