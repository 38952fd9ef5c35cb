"""Trainings with a fault: nothing is lost, and the estimator can be used again."""

import copy
import math

import numpy as np
import pytest
import torch
from faults import FAULTS
from helpers import Callback, each_once, fit_unwarned, set_params, with_net
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skvaeense import SparseAutoencoder
from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.networks import Linear

X = make_linear_subspaces(300, dims=(1, 2), n_features=8, random_state=0)[0]
ESTIMATORS = {
    "vaeense": with_net(6, network=Linear((12,)), n_init=2, max_iter=6, random_state=0),
    "sae": SparseAutoencoder(12, max_iter=6, random_state=0),
}
each_estimator = pytest.mark.parametrize("name", ESTIMATORS)


@pytest.fixture(scope="module")
def fits():
    """Return a fit of each estimator without faults, which tests must not change."""
    return {name: fit_unwarned(clone(estimator), X) for name, estimator in ESTIMATORS.items()}


def answers(estimator):
    return estimator.transform(X) if hasattr(estimator, "transform") else estimator.predict(X)


@each_estimator
@pytest.mark.parametrize(
    ("fault", "fitted"),
    each_once(FAULTS, [False, True, True]),
    ids=lambda value: getattr(value, "what", value),
)
def test_a_fault_loses_nothing(name, fault, fitted, fits, monkeypatch):
    expected = fits[name]
    estimator = clone(ESTIMATORS[name])
    if fitted:
        fit_unwarned(estimator, X)
    before, n_threads = dict(vars(estimator)), torch.get_num_threads()
    with monkeypatch.context() as patch:
        fault.inject(patch)
        if fault.of_one_init and name == "vaeense":
            fit_unwarned(estimator, X)
            assert np.isfinite(answers(estimator)).all()
        else:
            with pytest.raises(fault.error, match=fault.message):
                estimator.fit(X)
            assert {k for k in vars(estimator) if k.endswith("_")} == {
                k for k in before if k.endswith("_")
            }
            if fitted:
                assert_array_equal(answers(estimator), answers(expected))
    assert torch.get_num_threads() == n_threads
    assert_array_equal(answers(fit_unwarned(estimator, X)), answers(expected))


@each_estimator
@pytest.mark.parametrize("rate", [1.0, 1e3])
def test_a_learning_rate_that_explodes_is_finite_or_an_error(name, rate):
    estimator = set_params(clone(ESTIMATORS[name]), learning_rate_init=rate)
    said = ""
    try:
        fit_unwarned(estimator, X)
    except FloatingPointError as error:
        said = str(error)
    if said:
        assert "Lower learning_rate_init" in said
        assert not hasattr(estimator, "module_")
    else:
        assert np.isfinite(answers(estimator)).all()
        assert all(map(math.isfinite, estimator.loss_curve_))


class Raising(Callback):
    """A callback that raises at the end of the third epoch."""

    def __init__(self):
        self.n_epochs = 0

    def on_fit_task_end(self, estimator, context):
        self.n_epochs += 1
        if self.n_epochs == 3:
            raise LookupError("from a callback")


@each_estimator
def test_a_callback_that_raises(name, fits):
    expected = fits[name]
    estimator = copy.deepcopy(expected).set_callbacks(Raising())
    with pytest.raises(LookupError, match="from a callback"):
        estimator.fit(X)
    assert_array_equal(answers(estimator), answers(expected))
    assert_array_equal(answers(fit_unwarned(estimator.set_callbacks(), X)), answers(expected))


# --- memory, after a fit ---------------------------------------------------------------------


class ScarceModule(torch.nn.Module):
    """A module whose memory suffices to encode only a limited number of rows at once."""

    n_rows = 10**9

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def encode(self, x):
        if len(x) > ScarceModule.n_rows:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 TB")
        return self.inner.encode(x)

    def decode(self, code):
        return self.inner.decode(code)


class Scarce(Linear):
    """The specification of a `ScarceModule`."""

    def build(self, n_features, n_components, *, n_heads, generator):
        return ScarceModule(
            super().build(n_features, n_components, n_heads=n_heads, generator=generator)
        )


@pytest.fixture(params=["vaeense", "sae"])
def scarce(request):
    """Return an estimator that was fitted with enough memory."""
    estimator = set_params(clone(ESTIMATORS[request.param]), network=Scarce((12,)))
    return fit_unwarned(estimator, X)


def test_methods_say_what_takes_less_memory(scarce, monkeypatch):
    monkeypatch.setattr(ScarceModule, "n_rows", 7)
    with pytest.raises(MemoryError, match=r"need more memory.*or give fewer samples"):
        scarce.transform(X)
    assert scarce.transform(X[:7]).shape[0] == 7


def test_training_says_what_takes_less_memory(scarce, monkeypatch):
    codes = scarce.transform(X)
    with monkeypatch.context() as patch:
        patch.setattr(ScarceModule, "n_rows", 7)
        with pytest.raises(MemoryError, match=r"need more memory.*Lower batch_size") as raised:
            scarce.fit(X)
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert_array_equal(scarce.transform(X), codes)
