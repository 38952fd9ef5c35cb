import copy
import pickle
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import with_net
from numpy.testing import assert_array_equal
from sklearn.base import clone
from torch.optim.lr_scheduler import StepLR

from skvaeense import SparseAutoencoder, load, save
from skvaeense.datasets import make_linear_subspaces
from skvaeense.training._trainer import (
    OPTIMIZERS,
    cosine,
    find_schedule,
    is_scale_free,
    make_optimizer,
)

GRADIENTS = np.array([1.0, -3.0, 0.5, 0.5])
FRACTIONS = np.linspace(0, 1, 1001)
X = make_linear_subspaces(200, dims=(1, 2), n_features=8, random_state=0)[0]


class Heavy(torch.optim.SGD):
    """An optimizer of the user."""


def falling(fraction_done):
    """Return a factor that falls linearly."""
    return 1 - fraction_done


def quick(**params):
    return SparseAutoencoder(6, max_iter=5, learning_rate_init=0.01, random_state=0, **params)


def steps_of(optimizer):
    """Return the values of a weight that starts at 2, after each gradient."""
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    built, path = make_optimizer(optimizer, [weight], 0.1), []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient])
        built.step()
        path.append(weight.item())
    return path


# --- optimizers -----------------------------------------------------------------------------


def test_adam_follows_its_formula():
    weight, mean, square, expected = 2.0, 0.0, 0.0, []
    for i, gradient in enumerate(GRADIENTS, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        weight -= 0.1 * (mean / (1 - 0.9**i)) / (np.sqrt(square / (1 - 0.999**i)) + 1e-8)
        expected.append(weight)
    assert steps_of("adam") == pytest.approx(expected)
    assert steps_of(torch.optim.Adam) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("optimizer", "momentum"), [("sgd", 0.9), (partial(torch.optim.SGD, momentum=0.5), 0.5)]
)
def test_sgd_follows_its_formula(optimizer, momentum):
    weight, velocity, expected = 2.0, 0.0, []
    for gradient in GRADIENTS:
        velocity = momentum * velocity + gradient
        weight -= 0.1 * velocity
        expected.append(weight)
    assert steps_of(optimizer) == pytest.approx(expected)


def test_names_mean_the_classes_of_torch():
    assert {"Adam", "SGD", "RAdam", "AdamW"} <= OPTIMIZERS.keys()
    for name in OPTIMIZERS.keys() - {"Adam", "SGD"}:
        assert steps_of(name) == steps_of(name.lower()) == steps_of(OPTIMIZERS[name])


@pytest.mark.parametrize(
    "optimizer", [*sorted(OPTIMIZERS), Heavy, partial(torch.optim.Adam, betas=(0.5, 0.9))]
)
def test_every_optimizer_trains_and_goes_on_in_a_copy(optimizer):
    sae = clone(quick(optimizer=optimizer)).partial_fit(X[:60])
    moved = pickle.loads(pickle.dumps(sae)).partial_fit(X[:60])
    codes = copy.deepcopy(sae).partial_fit(X[:60]).transform(X)
    assert_array_equal(moved.transform(X), codes)
    assert (codes != sae.transform(X)).any()


def test_which_steps_are_about_as_long_as_the_learning_rate():
    free = ["adam", "AdamW", torch.optim.Adam, partial(torch.optim.AdamW, eps=1e-3)]
    assert all(map(is_scale_free, free))
    assert not any(map(is_scale_free, ["sgd", "radam", torch.optim.SGD, Heavy]))


@pytest.mark.parametrize(
    "optimizer",
    ["lbfgs", "fastest", 5, None, falling, torch.optim.LBFGS, torch.optim.Optimizer, partial(max)],
)
@pytest.mark.parametrize("kind", [SparseAutoencoder, with_net], ids=["sae", "vaease"])
def test_what_is_no_optimizer_is_refused(kind, optimizer):
    with pytest.raises(ValueError, match=r"'optimizer' parameter of .*'adam'.*torch\.optim"):
        kind(4, network="mlp", optimizer=optimizer).fit(X)


@pytest.mark.parametrize(
    ("settings", "said"), [({"momentum": -1.0}, "momentum value: -1.0"), ({"speed": 2}, "'speed'")]
)
def test_settings_that_torch_refuses_are_named(settings, said):
    with pytest.raises(ValueError, match=f"optim.*{said}"):
        quick(optimizer=partial(torch.optim.SGD, **settings)).fit(X)


# --- schedules ------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [0.1, 0.6])
def test_cosine_rises_stays_and_falls(hold):
    assert cosine(0.0, hold) == pytest.approx(0.04)
    assert cosine(0.1, hold) == cosine((0.1 + hold) / 2, hold) == pytest.approx(1)
    # Values of the cosine at quarters of the remaining way.
    quarters = {0.25: 0.5 + 0.5**1.5, 0.5: 0.5, 0.75: 0.5 - 0.5**1.5, 1.0: 0.0}
    for left, share in quarters.items():
        assert cosine(hold + left * (1 - hold), hold) == pytest.approx(share)
    factors = [cosine(fraction, hold) for fraction in FRACTIONS]
    rise, fall = factors[:101], factors[round(1000 * hold) :]
    assert all(a <= b for a, b in pairwise(rise))
    assert all(a >= b for a, b in pairwise(fall))
    assert max(abs(a - b) for a, b in pairwise(factors)) < 0.02


def test_find_schedule():
    assert {find_schedule("constant")(fraction) for fraction in FRACTIONS} == {1.0}
    assert find_schedule("auto", hold=0.7)(0.6) == 1.0
    assert find_schedule("cosine", hold=0.7)(0.6) == cosine(0.6) < 1
    assert find_schedule(falling) is falling


@pytest.mark.parametrize(
    "schedule", ["linear", 0.5, StepLR, lambda fraction: -1.0, lambda fraction: "one"]
)
def test_what_is_no_schedule_is_refused(schedule):
    with pytest.raises(ValueError, match=r"schedule.* must be .*(Got|returned) "):
        quick(schedule=schedule).fit(X)


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["SGD", "adamw", torch.optim.RAdam, Heavy])
def test_names_and_classes_are_saved(optimizer, tmp_path):
    sae = quick(optimizer=optimizer, schedule="constant").partial_fit(X)
    save(sae, tmp_path / "sae", trusted=[Heavy])
    loaded = load(tmp_path / "sae", trusted=[Heavy])
    assert loaded.optimizer == optimizer
    assert_array_equal(loaded.partial_fit(X).transform(X), sae.partial_fit(X).transform(X))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"schedule": falling}, r"schedule is a builtins.function, which cannot be saved"),
        ({"optimizer": partial(torch.optim.SGD)}, "is a functools.partial, which cannot be saved"),
        ({"optimizer": Heavy}, r"Heavy, which cannot be saved\. If .* trusted=\[Heavy\]"),
    ],
)
def test_functions_are_not_saved(params, said, tmp_path):
    with pytest.raises(TypeError, match=said):
        save(quick(**params), tmp_path / "sae")
