"""Fits that diverge or fail: they raise an error, and keep what was learned before."""

import copy

import numpy as np
import pytest
import torch
from helpers import each_once, fit_unwarned, set_params, with_entry
from numpy.testing import assert_array_equal
from sklearn.base import clone
from strategies import sparse_autoencoder, vaeense

from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.networks import Linear
from skvaeense.nets.penalties import Penalty, TopK

X, _, _ = make_linear_subspaces(200, dims=(1, 2), n_features=6, noise=0.01, random_state=0)
DIVERGENT = {"learning_rate_init": 1e30}
KINDS = pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(vaeense(), id="vaeense"),
        pytest.param(vaeense(batch_size=8), id="vaeense_many_steps"),
        pytest.param(vaeense(batch_size=200, max_iter=1), id="vaeense_one_step"),
        *(
            pytest.param(sparse_autoencoder(name, network=network), id=f"{name}_{network}")
            for name, network in each_once(sorted(Penalty.aliases), ["single_layer", "mlp"])
        ),
    ],
)
# Estimators with a state besides the network.
STATES = pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(vaeense(), id="vaeense"),
        pytest.param(vaeense(batch_size=8), id="vaeense_many_steps"),
        pytest.param(sparse_autoencoder(TopK(3)), id="dead_latents"),
        pytest.param(sparse_autoencoder(target_l0=2), id="alpha"),
    ],
)


@KINDS
def test_divergence_leaves_the_estimator_unfitted(estimator):
    estimator = set_params(clone(estimator), **DIVERGENT)
    for method in ("fit", "partial_fit"):
        with pytest.raises(FloatingPointError, match="Lower learning_rate_init"):
            fit_unwarned(estimator, X, method)
        assert not hasattr(estimator, "module_")
        assert not hasattr(estimator, "n_features_in_")


@STATES
def test_divergence_leaves_an_earlier_fit(estimator):
    estimator = fit_unwarned(clone(estimator), X)
    before = copy.deepcopy(vars(estimator))
    codes, score, curve = estimator.transform(X), estimator.score(X), estimator.loss_curve_
    for method, warm_start in (("fit", True), ("partial_fit", False)):
        set_params(estimator, warm_start=warm_start, **DIVERGENT)
        with pytest.raises(FloatingPointError, match="Lower learning_rate_init"):
            fit_unwarned(estimator, X, method)
        assert_array_equal(estimator.transform(X), codes)
        assert estimator.score(X) == score
        assert vars(estimator).keys() == before.keys()
        assert getattr(estimator, "alpha_", None) == before.get("alpha_")
        assert estimator.loss_curve_ == curve


@STATES
def test_an_error_in_the_data_leaves_an_earlier_fit(estimator):
    estimator = fit_unwarned(clone(estimator), X)
    codes = estimator.transform(X)
    for method in (estimator.fit, estimator.partial_fit):
        with pytest.raises(ValueError, match="infinity"):
            method(with_entry(X, np.inf))
        assert_array_equal(estimator.transform(X), codes)
        assert estimator.n_features_in_ == 6


@STATES
def test_divergence_after_partial_fit_leaves_what_it_had(estimator):
    estimator = fit_unwarned(clone(estimator), X, "partial_fit")
    codes = estimator.transform(X)
    following = copy.deepcopy(estimator).partial_fit(X).transform(X)
    huge = X.copy()
    huge[::10] = 1e150  # Fewer rows would be left out.
    with pytest.raises(FloatingPointError, match="samples far from all others"):
        estimator.partial_fit(huge)
    assert_array_equal(estimator.transform(X), codes)
    # The failed batch leaves no trace: the next batch has the same effect as without it.
    assert_array_equal(estimator.partial_fit(X).transform(X), following)


def test_a_start_that_diverges_is_left_out(monkeypatch):
    """The other inits go on."""
    build = Linear.build
    n_built = []

    def first_is_broken(self, *args, **kwargs):
        module = build(self, *args, **kwargs)
        n_built.append(1)
        if len(n_built) == 1:
            torch.nn.init.constant_(module.decoder.weight, float("nan"))
        return module

    monkeypatch.setattr(Linear, "build", first_is_broken)
    fitted = fit_unwarned(vaeense(n_init=2), X)
    assert len(n_built) == 2
    assert np.isfinite(fitted.score(X))
