import copy
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from helpers import Recorder, fit_unwarned, quick_sae, with_net
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.networks import Linear
from skvaeense.training._trainer import Plan

X = make_linear_subspaces(200, dims=(1, 2), n_features=6, random_state=0)[0] * 3.0


def quick(**params):
    """Return a small estimator whose inits are random, since it has one hidden layer."""
    settings = {"network": Linear((32,)), "n_init": 3, "max_iter": 20, "random_state": 0}
    return with_net(3, **(settings | params))


@pytest.fixture(scope="module")
def fitted():
    return fit_unwarned(quick(), X)


@pytest.fixture(scope="module")
def sae():
    return fit_unwarned(quick_sae(), X)


def test_arrays_of_one_length(fitted, sae):
    names = {
        fitted: ["loss", "error", "kl", "noise_variance", "init", "epoch", "step"],
        sae: ["loss", "error", "penalty", "l0", "alpha", "dead_fraction", "init", "epoch", "step"],
    }
    for estimator, expected in names.items():
        history = estimator.history_
        assert isinstance(history, dict)
        assert list(history) == expected
        assert len({len(values) for values in history.values()}) == 1
        assert all(v.dtype == np.float64 and v.ndim == 1 for v in history.values())
        assert all(np.isfinite(values).all() for values in history.values())


def test_kept_model_comes_last(fitted):
    history, n = fitted.history_, fitted.n_iter_
    assert_array_equal(history["loss"][-n:], fitted.loss_curve_)
    assert_array_equal(history.kept, np.arange(len(history["loss"])) >= len(history["loss"]) - n)
    lengths = [int((history["init"] == init).sum()) for init in (0, 1, 2)]
    assert sorted(lengths) == [Plan(n, 1).turn] * 2 + [n]


def test_one_init_is_the_only_one():
    estimator = fit_unwarned(quick(network=Linear((32, 32)), n_init=1), X)
    assert not estimator.history_["init"].any()
    assert estimator.history_.kept.all()
    assert_array_equal(estimator.history_["loss"], estimator.loss_curve_)


def test_loss_is_the_sum_of_its_parts(fitted, sae):
    history, d = fitted.history_, X.shape[1]
    noise_variance = history["noise_variance"]
    error_part = 0.5 * (history["error"] / noise_variance + d * np.log(2 * np.pi * noise_variance))
    assert_allclose(history["loss"], error_part + history["kl"])
    history = sae.history_
    expected = history["error"] + history["alpha"] * history["penalty"]
    # In the first epoch the coefficient still rises.
    assert_allclose(history["loss"][1:], expected[1:], rtol=1e-5)
    assert_array_equal(history["loss"], sae.loss_curve_)


def test_units_are_those_of_x():
    # Powers of two change no digit.
    one, large = (fit_unwarned(quick(max_iter=5), X * factor).history_ for factor in (1, 1024))
    for name in ("error", "noise_variance"):
        assert_allclose(large[name], one[name] * 1024**2, rtol=1e-6)
    assert_allclose(large["kl"], one["kl"], rtol=1e-6)


def test_error_is_that_of_the_codes():
    estimator = fit_unwarned(quick(n_init=1, max_iter=60), X)
    residual = X - estimator.inverse_transform(estimator.transform(X))
    error = np.square(residual).sum(axis=1).mean()
    # The error in training includes the noise of draws from the posterior.
    assert 1.0 < estimator.history_["error"][-1] / error < 10.0


def test_partial_fit_goes_on_with_the_history(sae):
    for estimator in (quick(), quick_sae()):
        for n in (1, 2, 3):
            estimator.partial_fit(X)
            assert_array_equal(estimator.history_["loss"], estimator.loss_curve_)
            assert len(estimator.history_["loss"]) == estimator.n_iter_ == n


def test_warm_start_has_one_init(fitted):
    estimator = copy.deepcopy(fitted).set_params(warm_start=True)
    history = fit_unwarned(estimator, X).history_
    assert not history["init"].any()
    assert_array_equal(history["loss"], estimator.loss_curve_)


@pytest.mark.parametrize("stop_after", [1, 10, 30])
def test_training_that_is_stopped_has_its_epochs(stop_after):
    fitted = fit_unwarned(quick().set_callbacks(Recorder(X, stop_after)), X)
    assert len(fitted.history_["loss"]) == stop_after
    assert_array_equal(fitted.history_["loss"][-fitted.n_iter_ :], fitted.loss_curve_)


@pytest.mark.parametrize(
    "move", [copy.copy, copy.deepcopy, lambda history: pickle.loads(pickle.dumps(history))]
)
def test_copies_are_histories(fitted, move):
    moved = move(fitted.history_)
    assert list(moved) == list(fitted.history_)
    for name, values in fitted.history_.items():
        assert_array_equal(moved[name], values)
    assert_array_equal(moved.kept, fitted.history_.kept)


def test_to_frame(fitted, monkeypatch):
    frame = fitted.history_.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(fitted.history_)
    assert_array_equal(frame["kl"], fitted.history_["kl"])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"skvaeense\[pandas\]"):
        fitted.history_.to_frame()


def test_repr_names_the_quantities(fitted):
    n_epochs = len(fitted.history_["loss"])
    assert repr(fitted.history_) == (
        f"<History of {n_epochs} epochs: loss, error, kl, noise_variance, init, epoch, step>"
    )
