"""Fits of both autoencoders: randomness, continued training, batches, callbacks, losses."""

import copy
import random
import warnings

import numpy as np
import pytest
import torch
from helpers import (
    MLP_SMALL,
    PENALTIES,
    SUBSPACES,
    Recorder,
    fit_sae,
    fit_unwarned,
    fit_vaeense,
    has_net,
    objective,
    outputs,
    param,
    quick_sae,
    quick_vaeense,
    set_params,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.exceptions import ConvergenceWarning

from skvaeense import VAEase, VAEenseTransformer
from skvaeense.metrics import fvu
from skvaeense.nets.losses import ELBO, Loss, PenalizedReconstruction
from skvaeense.nets.networks import Linear, SingleLayer
from skvaeense.nets.priors import StandardNormal
from skvaeense.training._trainer import History, Plan, cosine

X, X_NEW = SUBSPACES.few, SUBSPACES.new
# The alpha of the second is adapted, and is part of the state of a stream.
ESTIMATORS = {"vaeense": quick_vaeense(n_init=2, max_iter=10), "target": quick_sae(target_l0=3)}
EACH = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
# Estimators with both kinds of network, and with penalties of each kind.
EVERY = pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(ESTIMATORS["vaeense"], id="vaeense"),
        pytest.param(quick_vaeense(network=MLP_SMALL, n_init=2, max_iter=10), id="vaeense_mlp"),
        *(
            pytest.param(quick_sae(PENALTIES[name]), id=name)
            for name in ("batch_topk", "gated", "jump_relu", "matryoshka")
        ),
    ],
)


def fit(estimator, X=X, **params):
    """Return a fit of a copy of the estimator."""
    return fit_unwarned(set_params(clone(estimator), **params), X)


@pytest.fixture(scope="module")
def fits():
    """Return a fit of each estimator, which tests must not change."""
    return {type(estimator): fit(estimator) for estimator in ESTIMATORS.values()}


@pytest.fixture
def codes(fits, estimator):
    """Return the codes of the fit of an estimator."""
    return fits[type(estimator)].transform(X_NEW)


# --- randomness -----------------------------------------------------------------------------


def global_states():
    numpy_state = np.random.get_state()  # noqa: NPY002
    return [
        torch.random.get_rng_state().tolist(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in numpy_state],
        random.getstate(),
    ]


@EVERY
def test_a_seed_fixes_every_bit_and_global_generators_have_no_part(estimator):
    one = fit(estimator)
    codes = one.transform(X_NEW)
    # The loss curve has an entry for each epoch.
    assert len(one.loss_curve_) == one.n_iter_ == param(estimator, "max_iter")
    assert all(type(loss) is float and np.isfinite(loss) for loss in one.loss_curve_)
    assert one.loss_curve_[-1] < one.loss_curve_[0]
    torch.manual_seed(12345)
    random.seed(12345)
    before = global_states()
    two = fit(estimator)
    assert two.loss_curve_ == one.loss_curve_
    assert_array_equal(two.transform(X_NEW), codes)
    # Without warm_start, fit starts from new weights.
    assert_array_equal(fit_unwarned(one, X).transform(X_NEW), codes)
    outputs(two, X_NEW)
    two.partial_fit(X)
    assert global_states() == before


@EACH
def test_no_seed_leaves_the_generator_of_torch_alone(estimator):
    """By scikit-learn's convention the seed then comes from numpy's global generator."""
    before = torch.random.get_rng_state()
    fitted = fit(estimator, random_state=None, max_iter=2)
    if hasattr(fitted, "sample"):
        fitted.sample(3)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- what is chosen -------------------------------------------------------------------------

HAVE_A_SAY = [
    {"random_state": 1},
    {"batch_size": 16},
    {"optimizer": torch.optim.RAdam},
    {"schedule": "constant"},
]
OF_A_LAYER = [{"tied_init": False}, {"subtract_bias": False}, {"init_norm": 0.5}]


@EACH
def test_what_has_its_say(estimator, codes, subtests):
    changes = list(HAVE_A_SAY)
    if not has_net(estimator):
        changes += [{"network": SingleLayer(**params)} for params in OF_A_LAYER]
    for change in changes:
        with subtests.test(change=str(change)):
            other = fit(estimator, **change)
            assert np.isfinite(other.loss_curve_).all()
            assert not np.allclose(other.transform(X_NEW), codes)


@pytest.mark.parametrize(
    ("name", "aliases", "meant"),
    [
        ("vaeense", {"loss": "elbo"}, {"loss": ELBO()}),
        (
            "target",
            {"loss": "penalized_reconstruction", "network": "single_layer"},
            {"loss": PenalizedReconstruction(), "network": SingleLayer()},
        ),
    ],
)
def test_aliases_mean_the_defaults(name, aliases, meant):
    one = fit(ESTIMATORS[name], optimizer="adam", schedule="cosine", **aliases)
    other = fit(ESTIMATORS[name], optimizer="Adam", schedule=cosine, **meant)
    assert_array_equal(one.transform(X_NEW), other.transform(X_NEW))


def test_beta_trades_the_error_for_the_divergence():
    low, high = (fit_vaeense(loss=ELBO(beta=beta), max_iter=60).history_ for beta in (0.2, 20.0))
    assert high["kl"][-1] < 0.7 * low["kl"][-1]
    assert high["error"][-1] > 1.5 * low["error"][-1]


def test_decay_shrinks_the_decoder():
    free, decayed = (fit_sae(loss=PenalizedReconstruction(decay)) for decay in (1e-9, 1.0))
    assert np.linalg.norm(decayed.components_) < 0.8 * np.linalg.norm(free.components_)


class Wide(StandardNormal):
    """Another prior."""


class Halved(Loss):
    """A custom loss: half of the default loss of its estimator."""

    def __init__(self, whole=None):
        self.whole = whole

    def terms(self, model, x, *, generator):
        terms = self.whole.terms(model, x, generator=generator)
        return terms | {"loss": terms["loss"] / 2, "twice": terms["loss"]}


@pytest.mark.parametrize(
    ("estimator", "whole"),
    [(quick_vaeense(), ELBO()), (quick_sae(), PenalizedReconstruction())],
    ids=["vaeense", "sae"],
)
def test_a_loss_of_ones_own_is_minimised_and_its_terms_are_noted(estimator, whole):
    fitted = fit(estimator, loss=Halved(whole))
    # The history has the named terms of the loss, in the units of the scaled samples.
    history = fitted.history_
    assert {"loss", "twice", "error", "init"} <= set(history)
    assert history["twice"][-1] < history["twice"][0]
    assert history["loss"] == pytest.approx(history["twice"] / 2)
    # Adam does not depend on the scale of a loss.
    assert fitted.score(X_NEW) == pytest.approx(fit(estimator).score(X_NEW), abs=0.1)


# --- going on -------------------------------------------------------------------------------

OTHERS = {"n_components": 5, "network": Linear((7,)), "network__hidden_layer_sizes": (6,)}
OTHERS_OF_NETS = {"gated": False, "prior": Wide()}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@EACH
def test_going_on_refuses_what_it_cannot_change(estimator, method):
    """Continued training also refuses changes that `set_params` made inside a network."""
    fitted = fit(estimator, warm_start=True, max_iter=1, network=Linear([6, 6]))
    codes = fitted.transform(X_NEW)
    others = OTHERS | {"positive_code": not fitted.positive_code}
    others |= OTHERS_OF_NETS if has_net(fitted) else {}
    for name, value in others.items():
        going_on = set_params(copy.deepcopy(fitted), **{name: value})
        message = rf"^(model__)?{name.partition('__')[0]}=.* does not match .* made with"
        with pytest.raises(ValueError, match=message):
            getattr(going_on, method)(X)
        assert_array_equal(going_on.transform(X_NEW), codes)
    with pytest.raises(ValueError, match="8 features"):
        getattr(fitted, method)(X[:, :5])
    assert_array_equal(fitted.transform(X_NEW), codes)
    # An equal specification is no change.
    fit_unwarned(set_params(fitted, network=Linear((6, np.int64(6)))), X, method)
    fit_unwarned(fitted.set_params(n_components=5, warm_start=False), X)
    assert fitted.n_components_ == 5


@EACH
def test_warm_start_improves_the_model(estimator):
    """A warm start continues from the last weights, and not from new ones."""
    short = fit(estimator, warm_start=True, max_iter=3)
    scores = [short.score(X_NEW)]
    for _ in range(2):
        scores.append(fit_unwarned(set_params(short, max_iter=20), X).score(X_NEW))
    assert scores[0] < scores[1] < scores[2]
    assert short.loss_curve_[0] < fit(estimator, max_iter=20).loss_curve_[0]


@EACH
def test_only_the_last_fit_counts(estimator, fits, codes):
    """A fit begins anew. A stream goes on from the fit, and not from an earlier stream."""
    fitted = fit_unwarned(clone(estimator).partial_fit(X), X)
    assert_array_equal(fitted.transform(X_NEW), codes)
    going_on = copy.deepcopy(fits[type(estimator)]).partial_fit(X)
    assert_array_equal(fitted.partial_fit(X).transform(X_NEW), going_on.transform(X_NEW))
    assert hasattr(fitted, "components_")
    fit_unwarned(set_params(fitted, network=MLP_SMALL), X)
    assert not hasattr(fitted, "components_")
    assert_array_equal(fitted.transform(X_NEW), fit(fitted).transform(X_NEW))


@EACH
def test_partial_fit_costs_the_same_however_many_calls_there_were(estimator, monkeypatch):
    n_epochs = []
    from_log = History.from_log.__func__

    def counted(cls, log):
        n_epochs.append(len(log))
        return from_log(cls, log)

    monkeypatch.setattr(History, "from_log", classmethod(counted))
    fitted = clone(estimator).partial_fit(X)
    curve, histories = [], []
    for n_rows in (40, 1, *[40] * 8):
        fitted.partial_fit(X[:n_rows])
        curve.append(fitted.loss_curve_[-1])
        histories.append(fitted.history_)
    assert set(n_epochs) == {1}
    assert fitted._partial_state_["log"] == []
    assert fitted.n_iter_ == len(fitted.loss_curve_) == 11
    assert fitted.loss_curve_[1:] == curve
    assert all(len(own) == 11 for own in fitted.history_.values())
    for i, history in enumerate(histories):
        assert_array_equal(history["loss"], fitted.loss_curve_[: i + 2])
    # A copy goes on by itself.
    again, codes = copy.deepcopy(fitted), fitted.transform(X_NEW)
    again.partial_fit(X[:40])
    assert_array_equal(fitted.transform(X_NEW), codes)
    fitted.partial_fit(X[:40])
    assert fitted.loss_curve_ == again.loss_curve_ == again.history_["loss"].tolist()
    assert_array_equal(fitted.transform(X_NEW), again.transform(X_NEW))


@EACH
def test_a_warning_that_is_an_error_leaves_partial_fit_undone(estimator):
    fitted = clone(estimator).partial_fit(X)
    codes = fitted.transform(X_NEW)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            fitted.partial_fit(1e6 * X)
    assert_array_equal(fitted.transform(X_NEW), codes)
    assert fitted.n_iter_ == len(fitted.loss_curve_) == 1


@EACH
def test_training_goes_on_after_a_batch_that_failed_as_if_there_were_none(estimator):
    fitted = clone(estimator).partial_fit(X).partial_fit(X)
    again = copy.deepcopy(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            fitted.partial_fit(1e6 * X)
    codes = [own.partial_fit(X).transform(X_NEW) for own in (fitted, again)]
    assert_array_equal(*codes)


@EVERY
def test_partial_fit_after_fit_changes_the_model_a_little(estimator):
    """One more epoch at a small learning rate does not undo the fit."""
    fitted = fit(estimator, max_iter=40)
    codes, before, scale = fitted.transform(X_NEW), objective(fitted, X_NEW), fitted.scale_
    fitted.partial_fit(X)
    assert not np.array_equal(fitted.transform(X_NEW), codes)
    assert fitted.scale_ == scale
    # Losses are in nats, or fractions of the variance.
    is_vae = hasattr(fitted, "noise_variance_")
    assert objective(fitted, X_NEW) > before - (1.0 if is_vae else 0.05)
    if not is_vae:
        assert_allclose(np.linalg.norm(fitted.components_, axis=1), scale, rtol=1e-5)


# --- epochs ---------------------------------------------------------------------------------


@EACH
def test_max_iter_and_tol_bound_the_epochs(estimator):
    for max_iter in (1, 7):
        assert fit(estimator, max_iter=max_iter, tol=0, n_iter_no_change=1000).n_iter_ == max_iter
    stopped = fit(estimator, max_iter=40, tol=1e6, n_iter_no_change=3)
    # The remaining epochs are the end of the schedule, in which the learning rate falls to 0.
    assert 0.3 * 40 * 0.6 <= stopped.n_iter_ < 40


@EACH
def test_callbacks_see_every_epoch_and_change_nothing(estimator, codes, capsys):
    pytest.importorskip("rich")
    recorder = Recorder(X_NEW)
    fitted = fit_unwarned(clone(estimator).set_callbacks(recorder, ProgressBar()), X)
    assert recorder.tasks == ["setup", "teardown"]
    n_init, n_epochs = param(estimator, "n_init", 1), param(estimator, "max_iter")
    n_epochs += (n_init - 1) * Plan(n_epochs, 1).turn
    assert len(recorder.scores) == len(fitted.history_["loss"]) == n_epochs
    assert np.isfinite(recorder.scores).all()
    assert recorder.scores[-1] > recorder.scores[0]
    assert_array_equal(fitted.transform(X_NEW), codes)
    assert type(estimator).__name__ in capsys.readouterr().out


@EACH
@pytest.mark.parametrize("stop_after", [1, 5])
def test_a_callback_can_stop_the_training(estimator, stop_after):
    recorder = Recorder(X_NEW, stop_after)
    fitted = fit_unwarned(clone(estimator).set_callbacks(recorder), X)
    assert len(recorder.scores) == len(fitted.history_["loss"]) == stop_after
    assert fitted.n_iter_ == len(fitted.loss_curve_) == stop_after
    # The fitted model is the model of the last epoch, or a better one.
    assert objective(fitted, X_NEW) >= recorder.scores[-1] - 0.05 * abs(recorder.scores[-1])


@pytest.mark.slow
def test_training_does_not_collapse_if_features_are_nearly_collinear():
    """As the noise variance falls, gradients grow faster than Adam forgets smaller ones.

    The first init collapses here. Later inits limit their steps, and the third takes shorter ones.
    """
    rng = np.random.default_rng(0)
    collinear = rng.normal(size=(300, 1)) + 0.1 * rng.normal(size=(300, 50))
    model = VAEase("mlp", max_iter=100)
    vaeense = fit_unwarned(VAEenseTransformer(2, model=model, random_state=0), collinear)
    decoded = vaeense.inverse_transform(vaeense.transform(collinear))
    assert fvu(collinear, decoded) < 0.02
