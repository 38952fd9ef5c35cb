"""How a VAEenseTransformer is fitted, besides what test_fitting has: noise, starts, stopping."""

import copy

import numpy as np
import pytest
import torch
from helpers import Recorder, fit_unwarned, quick_vaeense
from numpy.testing import assert_array_equal
from skvaeense._training._defaults import split_epochs
from skvaeense.training._defaults import split_epochs

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.networks import MLP, Linear

X_ALL, _, _ = make_linear_subspaces(2500, dims=(1, 2), n_features=8, noise=0.01, random_state=0)
X, X_NEW = X_ALL[:300], X_ALL[2000:]
MLP_SMALL = MLP((16,), encoder_layer_sizes=(16,))
BOTH = pytest.mark.parametrize("network", [Linear((16,)), MLP_SMALL], ids=["linear", "mlp"])


def fit_quick(X=X, **params):
    return fit_unwarned(quick_vaeense(**params), X)


# --- randomness -----------------------------------------------------------------------------


def test_another_seed_trains_another_model():
    one, two = (fit_quick(random_state=seed, max_iter=2) for seed in (0, 1))
    assert not np.allclose(one.transform(X_NEW), two.transform(X_NEW))


# --- noise variance -------------------------------------------------------------------------


def test_a_given_noise_variance_is_kept():
    fitted = fit_quick(noise_variance=0.02, learn_noise_variance=False)
    assert fitted.noise_variance_ == pytest.approx(0.02)


def test_a_given_start_is_only_a_start():
    fitted = fit_quick(max_iter=60, noise_variance=0.02)
    assert fitted.noise_variance_ != pytest.approx(0.02, rel=1e-3)


def test_a_fixed_noise_variance_needs_a_number():
    with pytest.raises(ValueError, match="noise_variance must be a number"):
        quick_vaeense(learn_noise_variance=False).fit(X)


# --- going on -------------------------------------------------------------------------------


def test_warm_start_goes_on():
    estimator = fit_quick(warm_start=True)
    mean, scale = estimator.mean_.copy(), estimator.scale_
    before, score = copy.deepcopy(estimator.module_.state_dict()), estimator.score(X)
    fit_unwarned(estimator.set_params(max_iter=60), 2 * X + 1)
    assert_array_equal(estimator.mean_, mean)
    assert estimator.scale_ == scale
    after = estimator.module_.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    # The new samples differ: the model has moved to them.
    assert estimator.score(2 * X + 1) > score - 50


def test_warm_start_improves_the_model():
    estimator = fit_quick(warm_start=True, max_iter=5)
    score = estimator.score(X_NEW)
    fit_unwarned(estimator.set_params(max_iter=60), X)
    assert estimator.score(X_NEW) > score + 0.5


def test_partial_fit_learns_batch_by_batch():
    estimator = quick_vaeense(batch_size=32)
    estimator.partial_fit(X)
    scale, first = estimator.scale_, estimator.score(X_NEW)
    for i in range(80):
        estimator.partial_fit(X_ALL[(i % 6) * 300 : (i % 6 + 1) * 300])
    assert estimator.score(X_NEW) > first + 1
    assert estimator.scale_ == scale
    assert estimator.n_iter_ == 81


def test_partial_fit_after_fit_goes_on():
    estimator = fit_quick(max_iter=60)
    before = copy.deepcopy(estimator)
    estimator.partial_fit(X)
    assert not np.array_equal(estimator.transform(X_NEW), before.transform(X_NEW))
    assert estimator.scale_ == before.scale_
    # One more epoch at a small learning rate does not throw the fit away.
    assert estimator.score(X_NEW) > before.score(X_NEW) - 3


# --- epochs, starts, callbacks --------------------------------------------------------------


def test_callback_sees_every_epoch():
    recorder = Recorder(X_NEW)
    fitted = fit_unwarned(quick_vaeense(n_init=2).set_callbacks(recorder), X)
    assert recorder.tasks == ["setup", "teardown"]
    assert fitted.n_iter_ == 20
    start_epochs, final_epochs = split_epochs(20, n_samples=270, batch_size=33)
    assert len(recorder.scores) == 2 * start_epochs + final_epochs


def test_callback_gets_a_fitted_estimator():
    recorder = Recorder(X_NEW)
    fitted = fit_unwarned(quick_vaeense().set_callbacks(recorder), X)
    assert len(recorder.scores) >= 20
    assert np.isfinite(recorder.scores).all()
    assert recorder.scores[19] > recorder.scores[0]
    assert fitted.score(X_NEW) >= recorder.scores[0]


def test_callback_can_stop_the_training():
    recorder = Recorder(X_NEW, stop_after=3)
    fitted = fit_unwarned(quick_vaeense().set_callbacks(recorder), X)
    assert fitted.n_iter_ < 20
    assert fitted.transform(X_NEW).shape == (len(X_NEW), 4)


@pytest.mark.parametrize("max_iter", [1, 2, 7])
@pytest.mark.parametrize("n_init", [1, 2])
def test_max_iter_bounds_the_epochs(max_iter, n_init):
    assert fit_quick(max_iter=max_iter, n_init=n_init, tol=0).n_iter_ == max_iter


def test_a_large_tol_stops_early():
    assert fit_quick(tol=1e6, n_iter_no_change=3).n_iter_ < fit_quick().n_iter_


def test_the_start_of_least_loss_is_kept(monkeypatch):
    judged = []
    judge = VAEenseTransformer._judge

    def spy(self, run, held_out):
        loss = judge(self, run, held_out)
        judged.append((loss, list(run.losses)))
        return loss

    monkeypatch.setattr(VAEenseTransformer, "_judge", spy)
    kept = []
    final = VAEenseTransformer._set_final_phase
    monkeypatch.setattr(
        VAEenseTransformer,
        "_set_final_phase",
        lambda self, run: (kept.append(list(run.losses)), final(self, run)),
    )
    fit_quick(n_init=4)
    assert len(judged) == 4
    assert kept == [min(judged, key=lambda pair: pair[0])[1]]


def test_default_number_of_components():
    """Twice the principal components that hold 99 % of the variance, here three."""
    assert fit_quick(n_components=None).n_components_ == 6
