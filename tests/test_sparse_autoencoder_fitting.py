"""Fits of a SparseAutoencoder, in addition to test_fitting."""

import numpy as np
import pytest
from helpers import ATOMS, PENALTIES, each_once, fit_sae, fit_unwarned
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense import SparseAutoencoder
from skvaeense.metrics import l0
from skvaeense.nets.networks import SingleLayer
from skvaeense.nets.penalties import L1, BatchTopK, TopK
from skvaeense.training._data import LONG_STEPS

X, X_NEW = ATOMS.few, ATOMS.new


def test_a_generator_is_used_up():
    """The second fit draws other numbers from the generator than the first."""
    generator = np.random.RandomState(0)
    one, two = (fit_sae(random_state=generator, max_iter=2) for _ in range(2))
    again = fit_sae(random_state=np.random.RandomState(0), max_iter=2)
    assert_array_equal(one.components_, again.components_)
    assert not np.allclose(one.components_, two.components_)


# --- going on -------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["gated", "jump_relu", BatchTopK(3)], ids=str)
def test_warm_start_goes_on_from_the_loss_it_had(penalty):
    estimator = fit_sae(penalty, warm_start=True, max_iter=40)
    first, mean, scale = estimator.loss_curve_, estimator.mean_.copy(), estimator.scale_
    fit_unwarned(estimator, X)
    # A coefficient that rises from 0 again could at first make the loss smaller, but never larger.
    assert estimator.loss_curve_[0] < min(1.3 * first[-1], 0.6 * first[0])
    assert estimator.score(X_NEW) > 0.5
    assert_array_equal(estimator.mean_, mean)
    assert estimator.scale_ == scale


def test_an_adapted_alpha_goes_on_and_is_not_where_a_refit_starts():
    estimator = fit_sae(target_l0=1.5, warm_start=True, max_iter=60, random_state=1)
    alpha = estimator.alpha_
    assert alpha > 2 * L1().alpha
    fit_unwarned(estimator.set_params(max_iter=1), X)
    assert estimator.alpha_ == pytest.approx(alpha, rel=0.3)
    assert estimator.n_iter_ == 1
    alpha = estimator.alpha_
    assert estimator.partial_fit(X).alpha_ == pytest.approx(alpha, rel=0.5)
    assert estimator.alpha_ != alpha
    fit_unwarned(estimator.set_params(target_l0=None, warm_start=False), X)
    assert estimator.alpha_ == L1().alpha
    # alpha is not adapted here, so a warm start takes the new value.
    estimator.set_params(warm_start=True, penalty=L1(0.5))
    assert fit_unwarned(estimator, X).alpha_ == 0.5


def test_warm_start_learns_the_threshold_of_another_k():
    """The warm start trains BatchTopK again, which ranks batches in training."""
    estimator = fit_sae(BatchTopK(2), warm_start=True, max_iter=40)
    assert l0(estimator.transform(X_NEW)) == pytest.approx(2, rel=0.25)
    fit_unwarned(estimator.set_params(penalty__k=5), X)
    assert l0(estimator.transform(X_NEW)) == pytest.approx(5, rel=0.25)


@pytest.mark.parametrize(
    ("penalty", "first"), each_once([*PENALTIES.values()], [L1(0.2), TopK(5)]), ids=str
)
def test_warm_start_takes_another_penalty(first, penalty):
    estimator = fit_sae(first, warm_start=True)
    fit_unwarned(estimator.set_params(penalty=penalty), X)
    expected = getattr(fit_sae(penalty, max_iter=1), "alpha_", None)
    assert getattr(estimator, "alpha_", None) == expected
    if isinstance(penalty, TopK):
        assert estimator.active_dimensions(X_NEW).sum(axis=1).max() == 3
    assert estimator.score(X_NEW) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "params", [{"penalty": TopK(3)}, {"penalty": "l1", "target_l0": 3}], ids=["topk", "target"]
)
def test_a_stream_of_batches_approaches_fit(params):
    params = {"learning_rate_init": 0.004} | params
    whole = SparseAutoencoder(12, random_state=0, max_iter=80, **params).fit(ATOMS.train)
    stream = SparseAutoencoder(12, random_state=0, batch_size=32, **params)
    stream.partial_fit(ATOMS.train[:250])
    scale, first = stream.scale_, stream.score(X_NEW)
    for i in range(1, 120):
        stream.partial_fit(ATOMS.train[i % 8 * 250 : (i % 8 + 1) * 250])
    assert stream.scale_ == scale
    assert l0(stream.transform(X_NEW)) == pytest.approx(l0(whole.transform(X_NEW)), rel=0.2)
    assert first < 0.7 < whole.score(X_NEW) - 0.05 < stream.score(X_NEW)


def test_partial_fit_after_fit_stays_at_a_small_learning_rate():
    """The schedule is over, so the learning rate does not rise to its peak again."""
    estimator = fit_sae(max_iter=40, batch_size=32)
    moves = []
    for _ in range(40):
        before = estimator.components_
        estimator.partial_fit(X)
        moves.append(np.abs(estimator.components_ - before).mean())
    assert np.mean(moves[-5:]) < 3 * np.mean(moves[:5])


def test_the_peak_rate_falls_with_the_planned_steps_of_a_fit(monkeypatch):
    """A call of partial_fit is a part of a training, whose length is not known."""

    class PlannedError(Exception):
        """Hold the peak learning rate of a training that does not begin."""

    make = SparseAutoencoder._make_trainer

    def plan(self, *args, **params):
        raise PlannedError(make(self, *args, **params).learning_rate)

    monkeypatch.setattr(SparseAutoencoder, "_make_trainer", plan)

    def rate(fit, max_iter):
        # Each epoch takes one step.
        estimator = SparseAutoencoder(4, random_state=0, batch_size=len(X) // 2, max_iter=max_iter)
        with pytest.raises(PlannedError) as planned:
            fit(estimator, X)
        return planned.value.args[0]

    full = rate(SparseAutoencoder.fit, 1)
    long, part = (
        rate(fit, 4 * LONG_STEPS) for fit in (SparseAutoencoder.fit, SparseAutoencoder.partial_fit)
    )
    assert (long, part) == (pytest.approx(full / 2), full)


def test_no_alpha_is_left_of_an_earlier_fit_and_a_refused_fit_leaves_all():
    estimator = fit_sae("l1")
    codes, fitted_names = estimator.transform(X_NEW), vars(estimator).keys()
    with pytest.raises(ValueError, match="Set its k instead"):
        estimator.set_params(penalty=TopK(3), target_l0=4).fit(X[:, :5])
    assert_array_equal(estimator.transform(X_NEW), codes)
    assert vars(estimator).keys() == fitted_names
    assert estimator.n_features_in_ == 8
    assert hasattr(estimator, "alpha_")
    fit_unwarned(estimator.set_params(target_l0=None), X)
    assert not hasattr(estimator, "alpha_")
    assert_array_equal(estimator.transform(X_NEW), fit_sae(TopK(3)).transform(X_NEW))


# --- epochs ---------------------------------------------------------------------------------


def test_loss_is_the_error_and_the_penalized_code():
    """The loss is a fraction of the variance, and its terms follow from public attributes."""
    fitted = fit_sae(L1(0.2), max_iter=100, tol=0)
    cost = fitted.transform(X).sum(axis=1).mean() / np.sqrt(8)
    error = 1 - fitted.score_samples(X).mean()
    assert fitted.alpha_ * cost > 0.2 * error
    assert fitted.loss_curve_[-1] == pytest.approx(error + fitted.alpha_ * cost, rel=0.1)


def test_a_larger_tol_or_less_patience_stops_earlier():
    strict, early, lax, hasty = (
        fit_sae(max_iter=100, tol=tol, n_iter_no_change=patience)
        for tol, patience in ((0, 100), (0.01, 3), (0.1, 5), (0.1, 1))
    )
    assert hasty.n_iter_ < lax.n_iter_ < strict.n_iter_ == 100
    assert 33 <= early.n_iter_ < 90
    # The learning rate still falls to 0, so the last epochs hardly differ.
    assert np.ptp(early.loss_curve_[-3:]) < 0.05 * early.loss_curve_[-1]


def test_default_number_of_components():
    """Twice the number of principal components with 99 % of the variance, which is all 8 here."""
    assert fit_sae(n_components=None, max_iter=1).n_components_ == 16


@pytest.mark.parametrize(
    ("penalty", "norm"), [("l1", 0.1), ("topk", 0.1), ("jump_relu", 1), ("gated", 1)]
)
def test_the_encoder_starts_with_the_norm_that_suits_the_penalty(penalty, norm):
    start = {"max_iter": 1, "batch_size": 300, "learning_rate_init": 1e-9}
    for network, expected in (("single_layer", norm), (SingleLayer(init_norm=0.5), 0.5)):
        module = fit_sae(PENALTIES[penalty], network=network, **start).module_
        norms = module.network.encoder.weight.detach().norm(dim=1)
        assert_allclose(norms, expected, rtol=1e-5)
