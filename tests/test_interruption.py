"""Ctrl-C while an estimator is fitted."""

import warnings

import pytest
from helpers import Callback, fit_unwarned, set_params, with_net
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skvaeense
from skvaeense import Checkpoint, SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.losses import Loss
from skvaeense.nets.networks import Linear
from skvaeense.training._trainer import Plan

X = make_linear_subspaces(300, dims=(1, 2), n_features=8, random_state=0)[0]
ESTIMATORS = [
    with_net(6, network=Linear((12,)), n_init=3, max_iter=10, random_state=0),
    SparseAutoencoder(12, max_iter=6, random_state=0),
]
INTERRUPTED = "Training was interrupted after"


class Interruption(Callback):
    """Interrupt at the end of an epoch, counted over all epochs of the fit."""

    def __init__(self, epoch, checkpoint=None):
        self.epoch, self.checkpoint = epoch, checkpoint
        self.n_epochs = 0

    def setup(self, estimator, context):
        self.n_epochs = 0

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            self.n_epochs += 1
            if self.checkpoint is not None and self.n_epochs == self.epoch - 1:
                self.checkpoint.interval = 0
            if self.n_epochs == self.epoch:
                raise KeyboardInterrupt


def interrupted(estimator, epoch, *callbacks):
    estimator = clone(estimator).set_callbacks(Interruption(epoch), *callbacks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X)
    (said,) = [w for w in caught if str(w.message).startswith(INTERRUPTED)]
    # The warning points to the line that called fit.
    assert said.filename == __file__
    return estimator


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("epoch", [2, 5])
def test_what_was_learned_stays(estimator, epoch):
    fitted = interrupted(estimator, epoch)
    read = fitted.predict if hasattr(fitted, "predict") else fitted.transform
    assert len(read(X)) == len(X)
    assert 1 <= fitted.n_iter_ <= epoch
    assert len(fitted.loss_curve_) == fitted.n_iter_


def test_the_best_of_the_inits_that_were_compared_is_kept():
    vaeense = ESTIMATORS[0]
    turn = Plan(10, 1).turn
    within_the_second = interrupted(vaeense, turn + 3)
    first = fit_unwarned(set_params(clone(vaeense), n_init=1), X)
    assert within_the_second.n_iter_ == turn
    # Seeds of inits are drawn one after the other, so the first inits of both fits are equal.
    assert within_the_second.loss_curve_ == first.loss_curve_[:turn]


class Interrupted(Loss):
    """A loss whose first computation is interrupted by the user."""

    def terms(self, model, x, *, generator):
        raise KeyboardInterrupt


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_before_an_epoch_is_over_there_is_nothing_to_keep(estimator):
    estimator = set_params(clone(estimator), loss=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X)
    with pytest.raises(NotFittedError):
        estimator.transform(X)


def test_a_kept_fit_goes_on_after_an_interruption(tmp_path):
    sae, checkpoint = ESTIMATORS[1], skvaeense.Checkpoint(tmp_path, interval=0)
    interrupted(sae, 3, checkpoint)
    gone_on = fit_unwarned(clone(sae).set_callbacks(checkpoint), X)
    assert_array_equal(gone_on.transform(X), fit_unwarned(clone(sae), X).transform(X))


def test_interrupted_laws_leave_what_was_fitted_before(monkeypatch):
    """Laws are found step by step, and there is none before the end."""

    def explain(*args):
        raise KeyboardInterrupt

    estimator = VAEenseTransformer(random_state=0)
    fitted = clone(estimator).fit(X)
    codes = fitted.transform(X)
    monkeypatch.setattr("skvaeense._vaeense.explain", explain)
    for method in ("fit", "partial_fit"):
        with pytest.raises(KeyboardInterrupt):
            getattr(estimator, method)(X)
        with pytest.raises(NotFittedError):
            estimator.transform(X)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X)
    assert_array_equal(fitted.transform(X), codes)


def test_a_fit_that_is_interrupted_often_ends_at_the_same_model(tmp_path):
    estimator = with_net(
        network=Linear((8,)), n_init=1, n_iter_no_change=6, max_iter=20, random_state=0
    )
    whole = fit_unwarned(clone(estimator), X)
    for _ in range(4):
        interrupted(estimator, 2, Checkpoint(tmp_path, interval=0))
    continues = fit_unwarned(clone(estimator).set_callbacks(Checkpoint(tmp_path)), X)
    assert continues.loss_curve_ == whole.loss_curve_
    assert_array_equal(continues.transform(X), whole.transform(X))
