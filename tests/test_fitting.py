"""How both autoencoders are fitted: randomness, going on, batches, progress bars."""

import copy
import random

import numpy as np
import pytest
import torch
from helpers import PENALTIES, fit_unwarned, outputs, quick_sae, quick_vaeense
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar

from skvaeense.datasets import make_linear_subspaces
from skvaeense.networks import MLP
from skvaeense.penalties import JumpReLU

X_ALL, _, _ = make_linear_subspaces(2500, dims=(1, 2), n_features=8, noise=0.01, random_state=0)
X, X_NEW = X_ALL[:300], X_ALL[2000:]

VAEENSE = quick_vaeense(n_init=2)
# Its alpha is adapted, and is part of what a stream goes on with.
TARGET = quick_sae(target_l0=3)
MLP_SMALL = MLP((16,), encoder_layer_sizes=(16,))
EACH = pytest.mark.parametrize("estimator", [VAEENSE, TARGET], ids=["vaeense", "target"])
# With both kinds of network, and with every penalty.
EVERY = pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(VAEENSE, id="vaeense"),
        pytest.param(quick_vaeense(network=MLP_SMALL, n_init=2), id="vaeense_mlp"),
        *(pytest.param(quick_sae(penalty), id=name) for name, penalty in PENALTIES.items()),
    ],
)


def fit(estimator, X=X, **params):
    """Return a fit of a copy."""
    return fit_unwarned(clone(estimator).set_params(**params), X)


# --- randomness -----------------------------------------------------------------------------


@EVERY
def test_a_seed_fixes_every_bit(estimator):
    one, two = fit(estimator), fit(estimator)
    assert_array_equal(one.transform(X_NEW), two.transform(X_NEW))
    assert one.loss_curve_ == two.loss_curve_


def global_states():
    numpy_state = np.random.get_state()  # noqa: NPY002
    return [
        torch.random.get_rng_state().tolist(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in numpy_state],
        random.getstate(),
    ]


@EVERY
def test_global_generators_are_not_touched(estimator):
    before = global_states()
    fitted = fit(estimator)
    outputs(fitted, X_NEW)
    fitted.partial_fit(X)
    assert global_states() == before


def test_global_generators_are_not_touched_by_resampling():
    """No sample reaches these thresholds, so that all latents are dead and drawn anew."""
    before = global_states()
    fitted = fit(quick_sae(JumpReLU(threshold=1e3)), X_ALL)
    assert not fitted.active_dimensions(X_ALL).any()
    # Being drawn anew does not count as being alive.
    assert fitted.dead_fraction_ == 1
    assert global_states() == before


@EACH
def test_no_seed_leaves_the_generator_of_torch_alone(estimator):
    """numpy's global one is the source then, by scikit-learn's convention."""
    before = torch.random.get_rng_state()
    fitted = fit(estimator, random_state=None)
    if hasattr(fitted, "sample"):
        fitted.sample(3)
    assert torch.equal(torch.random.get_rng_state(), before)


@EACH
def test_global_seeds_have_no_say(estimator):
    one = fit(estimator)
    torch.manual_seed(12345)
    random.seed(12345)
    assert_array_equal(one.transform(X_NEW), fit(estimator).transform(X_NEW))


# --- going on -------------------------------------------------------------------------------


@EACH
def test_warm_start_refuses_other_features(estimator):
    fitted = fit(estimator, warm_start=True)
    codes = fitted.transform(X_NEW)
    with pytest.raises(ValueError, match="8 features"):
        fitted.fit(X[:, :5])
    assert_array_equal(fitted.transform(X_NEW), codes)


@EVERY
def test_without_warm_start_fit_begins_anew(estimator):
    fitted = fit(estimator)
    codes = fitted.transform(X_NEW)
    assert_array_equal(fit_unwarned(fitted, X).transform(X_NEW), codes)


@EACH
def test_partial_fit_takes_a_single_row_later(estimator):
    fitted = clone(estimator).partial_fit(X)
    assert fitted.partial_fit(X[:1]).n_iter_ == 2


@EACH
def test_partial_fit_refuses_other_features(estimator):
    fitted = clone(estimator).partial_fit(X)
    before = fitted.transform(X_NEW)
    with pytest.raises(ValueError, match="8 features"):
        fitted.partial_fit(X[:, :5])
    assert_array_equal(fitted.transform(X_NEW), before)


@EACH
def test_fit_after_partial_fit_begins_anew(estimator):
    fitted = fit_unwarned(clone(estimator).partial_fit(X), X)
    assert_array_equal(fitted.transform(X_NEW), fit(estimator).transform(X_NEW))


@EACH
def test_partial_fit_goes_on_from_the_last_fit(estimator):
    """Not from an earlier stream, which the fit has replaced."""
    fitted = fit_unwarned(clone(estimator).partial_fit(X), X).partial_fit(X)
    assert_array_equal(fitted.transform(X_NEW), fit(estimator).partial_fit(X).transform(X_NEW))


@EACH
def test_a_copy_takes_partial_fit_on_its_own(estimator):
    fitted = clone(estimator).partial_fit(X)
    codes, alpha = fitted.transform(X_NEW), getattr(fitted, "alpha_", None)
    copy.deepcopy(fitted).partial_fit(X)
    assert_array_equal(fitted.transform(X_NEW), codes)
    assert getattr(fitted, "alpha_", None) == alpha


# --- epochs ---------------------------------------------------------------------------------


@EACH
def test_batch_size_has_its_say(estimator):
    small, large = fit(estimator, batch_size=16), fit(estimator, batch_size=10**6)
    assert not np.allclose(small.transform(X_NEW), large.transform(X_NEW))


@EACH
def test_progress_bar_changes_nothing(estimator, capsys):
    pytest.importorskip("rich")
    fitted = fit_unwarned(clone(estimator).set_callbacks(ProgressBar()), X)
    assert_array_equal(fitted.transform(X_NEW), fit(estimator).transform(X_NEW))
    assert type(estimator).__name__ in capsys.readouterr().out
