"""VAEenseTransformer in scikit-learn's tools."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import fit_unwarned, quick_vaeense
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvaeense.datasets import make_linear_subspaces
from skvaeense.networks import MLP, Linear
from skvaeense.thresholds import FixedVariance

X_ALL, MANIFOLD, _ = make_linear_subspaces(
    2500, dims=(1, 2), n_features=8, noise=0.01, random_state=0
)
X, X_NEW = X_ALL[:300], X_ALL[2000:]
MLP_SMALL = MLP((16,), encoder_layer_sizes=(16,))


def fit_quick(X=X, **params):
    return fit_unwarned(quick_vaeense(**params), X)


@pytest.fixture(scope="module", params=["linear", "mlp"])
def fitted(request):
    """Return a small gated fit, to be read only."""
    network = Linear((16,)) if request.param == "linear" else MLP_SMALL
    return fit_quick(network=network, max_iter=50)


# --- scikit-learn ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    ["transform", "active_dimensions", "posterior", "score", "score_samples", "inverse_transform"],
)
def test_asks_to_be_fitted_first(method):
    with pytest.raises(NotFittedError):
        getattr(quick_vaeense(), method)(X)


def test_sample_asks_to_be_fitted_first():
    with pytest.raises(NotFittedError):
        quick_vaeense().sample()


def test_feature_names(fitted):
    names = ["vaeensetransformer0", "vaeensetransformer1"]
    assert fitted.get_feature_names_out()[:2].tolist() == names
    assert not hasattr(fitted, "feature_names_in_")


def test_pandas_in_and_out():
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(8)], index=np.arange(300) + 5)
    estimator = quick_vaeense().set_output(transform="pandas")
    fit_unwarned(estimator, frame)
    codes = estimator.transform(frame)
    assert estimator.feature_names_in_.tolist() == frame.columns.tolist()
    assert codes.columns.tolist() == estimator.get_feature_names_out().tolist()
    assert_array_equal(codes.index, frame.index)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(frame.rename(columns={"x0": "y0"}))


def test_clone_and_nested_parameters():
    estimator = quick_vaeense(threshold=FixedVariance(0.3))
    cloned = clone(estimator).set_params(network__hidden_layer_sizes=(8,), threshold__level=0.2)
    assert estimator.network.hidden_layer_sizes == (16,)
    assert estimator.threshold.level == 0.3
    assert fit_unwarned(cloned, X).module_.body[0].out_features == 8
    assert not hasattr(clone(cloned), "module_")


def test_fit_leaves_parameters_alone():
    estimator = quick_vaeense(n_components=None, threshold=FixedVariance(0.3))
    before = estimator.get_params()
    fit_unwarned(estimator, X)
    after = estimator.get_params()
    assert all(after[name] is before[name] for name in before)


def test_pickle_joblib_and_deep_copy(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    copies = [
        pickle.loads(pickle.dumps(fitted)),
        joblib.load(tmp_path / "model.joblib"),
        copy.deepcopy(fitted),
    ]
    for copied in copies:
        assert_array_equal(copied.transform(X_NEW), fitted.transform(X_NEW))
        assert_array_equal(copied.sample(3, random_state=0), fitted.sample(3, random_state=0))
        assert copied.score(X_NEW) == fitted.score(X_NEW)


def test_pickle_keeps_the_state_of_partial_fit():
    estimator = quick_vaeense().partial_fit(X)
    copied = pickle.loads(pickle.dumps(estimator))
    estimator.partial_fit(X)
    copied.partial_fit(X)
    assert_array_equal(copied.transform(X_NEW), estimator.transform(X_NEW))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_grid_search_in_a_pipeline_over_processes():
    pipeline = make_pipeline(
        quick_vaeense(max_iter=2, hard=True, threshold=FixedVariance()), LogisticRegression()
    )
    grid = {
        "vaeensetransformer__n_components": [2, 4],
        "vaeensetransformer__network__hidden_layer_sizes": [(8,), (16,)],
        "vaeensetransformer__threshold__level": [0.3, 0.6],
    }
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, MANIFOLD[:300])
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert 0 < search.score(X_NEW, MANIFOLD[2000:]) <= 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_grid_search_by_its_own_score():
    """Four latents hold the data, one does not."""
    search = GridSearchCV(quick_vaeense(max_iter=60), {"n_components": [1, 4]}, cv=2).fit(X)
    assert search.best_params_ == {"n_components": 4}
