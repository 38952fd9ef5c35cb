"""A fitted model is independent of the parameters that made it.

Custom networks are tested too: their modules are in the right mode, and their errors show few
frames of the package.
"""

import pickle
import traceback
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import (
    ATOMS,
    MLP_SMALL,
    SUBSPACES,
    changed,
    fit_sae,
    fit_unwarned,
    fit_vaeense,
    has_net,
    outputs,
    quick_sae,
    quick_vaeense,
    set_params,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch import nn

import skvaeense
from skvaeense import VAEenseTransformer
from skvaeense.nets.losses import ELBO, PenalizedReconstruction
from skvaeense.nets.networks import Network, SingleLayer
from skvaeense.nets.penalties import BatchTopK, JumpReLU, TopK
from skvaeense.nets.priors import StandardNormal

X, X_NEW = SUBSPACES.few, SUBSPACES.new
# Parameters that change the outputs of a fitted estimator. Only `transform` uses hard and
# sparse_output.
INFERENCE = {"device", "threshold", "hard", "sparse_output", "model"}
INFERENCE |= {"transform_l0", "transform_explained_variance"}
# A value for each parameter that differs from the fits below.
OTHER_VALUES = {
    "n_components": 7,
    "network": MLP_SMALL,
    "optimizer": "sgd",
    "learning_rate_init": 0.5,
    "schedule": "constant",
    "batch_size": 7,
    "max_iter": 3,
    "tol": 0.5,
    "n_iter_no_change": 2,
    "n_samples_planned": 500,
    "warm_start": True,
    "dtype": "float64",
    "random_state": 7,
    "verbose": 1,
}
LAW_VALUES = {
    "n_components": 7,
    "model": "mixture",
    "target_l0": 2.0,
    "target_explained_variance": 0.9,
    "positive_code": True,
    "warm_start": True,
    "dtype": "float64",
    "random_state": 7,
    "verbose": 1,
}
VAEENSE_VALUES = OTHER_VALUES | {
    "target_l0": 2.0,
    "target_explained_variance": 0.9,
    "gated": False,
    "positive_code": True,
    "loss": ELBO(beta=4.0),
    "prior": StandardNormal(),
    "noise_variance": 0.5,
    "learn_noise_variance": False,
    "n_init": 3,
}
SPARSE_VALUES = OTHER_VALUES | {
    "penalty": TopK(1),
    "target_l0": 2.0,
    "positive_code": False,
    "skip_connection": True,
    "dead_after": 50,
    "loss": PenalizedReconstruction(1.0),
}


def assert_same_answers(fitted, expected, name=""):
    found = outputs(fitted, X_NEW[:100])
    assert found.keys() == expected.keys(), name
    for method, values in expected.items():
        assert_array_equal(found[method], values, err_msg=f"{method} {name}")


# --- parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fit", "values"),
    [
        (partial(fit_vaeense, max_iter=10), VAEENSE_VALUES),
        (partial(fit_vaeense, max_iter=10, gated=False), VAEENSE_VALUES | {"gated": True}),
        (partial(fit_unwarned, VAEenseTransformer(random_state=0)), LAW_VALUES),
        (partial(fit_unwarned, VAEenseTransformer(model="gates", random_state=0)), LAW_VALUES),
        (partial(fit_sae, "l1", max_iter=3), SPARSE_VALUES),
    ],
    ids=["gated", "ungated", "auto", "gates", "sae"],
)
def test_parameters_leave_a_fitted_model_as_it_is(fit, values):
    fitted = fit(X=X)
    names = set(fitted.get_params(deep=False))
    names |= set(fitted.model.get_params(deep=False)) if has_net(fitted) else set()
    assert set(values) | INFERENCE >= names
    expected = outputs(fitted, X_NEW[:100])
    for name, value in values.items():
        assert_same_answers(changed(fitted, **{name: value}), expected, name)


@pytest.mark.parametrize(
    ("estimator", "change"),
    [
        (quick_sae(TopK(3)), {"penalty__k": 1}),
        (quick_sae(BatchTopK(3)), {"penalty__k": 1}),
        (quick_sae(JumpReLU()), {"penalty__threshold": 5.0, "penalty__bandwidth": 5.0}),
        (quick_sae(network=SingleLayer()), {"network__subtract_bias": False}),
        (quick_vaeense(), {"network__hidden_layer_sizes": (3,), "network__skip": False}),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, dict) else type(value).__name__,
)
def test_parameters_of_parts_leave_a_fitted_model_as_it_is(estimator, change):
    fitted = fit_unwarned(clone(estimator), X)
    expected = outputs(fitted, X_NEW[:100])
    assert_same_answers(set_params(fitted, **change), expected)
    # The pickle also contains the specifications that the model was made of.
    again = pickle.loads(pickle.dumps(fitted))
    assert_same_answers(again, expected)


def test_a_warm_start_in_double_precision_begins_with_the_same_weights():
    """With a learning rate that moves no weight, the weights are equal to the last bit."""
    fitted = fit_sae("l1", ATOMS.few, positive_code=False, dtype="float64", warm_start=True)
    codes = fitted.transform(ATOMS.new)
    fit_unwarned(fitted.set_params(learning_rate_init=1e-30, max_iter=1), ATOMS.few)
    assert_allclose(fitted.transform(ATOMS.new), codes, rtol=1e-13)


# --- modes ----------------------------------------------------------------------------------


class DroppingModule(nn.Module):
    """A network with dropout that records its mode at each call."""

    def __init__(self, n_features, n_components, n_heads):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(n_features, 16),
            nn.LayerNorm(16),
            nn.SiLU(),
            nn.Dropout(0.5),
            nn.Linear(16, n_heads * n_components),
        )
        self.decoder = nn.Linear(n_components, n_features)
        self.n_heads = n_heads

    def encode(self, x):
        Dropping.modes.append((self.training, torch.is_grad_enabled()))
        return self.encoder(x).chunk(self.n_heads, dim=1)

    def decode(self, code):
        return self.decoder(code)


class Dropping(Network):
    """The specification of a network with dropout."""

    # (training, has_gradients) for each call of any module of such a network.
    modes: list = []

    def build(self, n_features, n_components, *, n_heads, generator):
        return DroppingModule(n_features, n_components, n_heads)


EACH = pytest.mark.parametrize(
    "estimator",
    [
        quick_vaeense(network=Dropping(), max_iter=4, n_init=2),
        quick_sae(network=Dropping(), max_iter=3),
    ],
    ids=["vaeense", "sae"],
)


@pytest.fixture
def modes(monkeypatch):
    """Return the list of (training, has_gradients) that networks record during a test."""
    noted = []
    monkeypatch.setattr(Dropping, "modes", noted)
    return noted


@EACH
def test_steps_train_and_validation_does_not(estimator, modes):
    """Calls with gradients are training steps. All other calls only evaluate the model."""
    estimator = clone(estimator).set_params(warm_start=True)
    n_steps = []
    for method in ("fit", "fit", "partial_fit"):
        modes.clear()
        fit_unwarned(estimator, X, method)
        n_steps.append(modes.count((True, True)))
        assert set(modes) == {(True, True), (False, False)}
        assert not estimator.module_.training
    assert 0 < n_steps[1] <= n_steps[0]
    # Dropout is for training only.
    assert_same_answers(estimator, outputs(estimator, X_NEW[:100]))


# --- tracebacks -----------------------------------------------------------------------------

PACKAGE = str(Path(skvaeense.__file__).parent)
AT_MOST = 7


class Raising(Network):
    """The specification of a network that cannot encode."""

    def build(self, n_features, n_components, *, n_heads, generator):
        module = DroppingModule(n_features, n_components, n_heads)
        module.register_module("encoder", Unable())
        return module


class Unable(nn.Module):
    def forward(self, x):
        raise LookupError("raised by the network")


@pytest.mark.parametrize(
    ("estimator", "method"),
    [(quick_vaeense(network=Raising()), "fit"), (quick_sae(network=Raising()), "partial_fit")],
    ids=["vaeense", "sae"],
)
def test_a_traceback_is_short(estimator, method):
    """A traceback has at most seven frames of the package from `fit` to the method of the model."""
    with pytest.raises(LookupError, match="raised by the network") as raised:
        getattr(clone(estimator), method)(X)
    frames = [f for f in traceback.extract_tb(raised.tb) if f.filename.startswith(PACKAGE)]
    names = [Path(f.filename).relative_to(PACKAGE).as_posix() for f in frames]
    first = next(i for i, frame in enumerate(frames) if frame.name == method)
    model = next(i for i, name in enumerate(names) if name == "nets/models.py")
    assert model - first - 1 <= AT_MOST, [
        f"{n}: {f.name}" for n, f in zip(names, frames, strict=True)
    ]
