"""Fits and calls that fail: each raises a message that names a cure."""

import numpy as np
import pytest
from helpers import with_net
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.inspection import compare_scores
from skvaeense.nets.networks import Linear
from skvaeense.nets.penalties import L1, TopK

X = make_linear_subspaces(200, dims=(1, 2), n_features=6, noise=0.01, random_state=0)[0]
EQUAL = np.full_like(X, 3.0)
OUTLIER = np.r_[X, 1e6 * X[:1]]
ROUNDED = np.round(2 * X) / 2
# Half of the values are 0, and the others are not multiples of a step.
CLIPPED = np.maximum(X, 0)
# A twentieth of the rows is shifted by three standard deviations of the noise.
NOISY = np.random.default_rng(0).standard_normal((2000, 30))
NOISY[::20] += 3


def laws(**params):
    return VAEenseTransformer(**({"random_state": 0} | params))


def net(**params):
    return with_net(**({"random_state": 0} | params))


def short_net(**params):
    return net(**({"network": Linear((12,)), "n_init": 1, "max_iter": 30} | params))


def one_init(network, **params):
    return net(network=network, n_init=1, **params)


class Uncut(L1):
    """A user's penalty, whose codes have no cut that could meet a target."""

    def build(self, n_components, *, unit, positive):
        return nn.ReLU()


def sae(**params):
    return SparseAutoencoder(**({"n_components": 12, "max_iter": 30, "random_state": 0} | params))


def stream(estimator, *batches):
    for batch in batches:
        estimator.partial_fit(batch)


def changing(change):
    """Return batches of the same samples, changed in the later half."""
    batches = [np.random.default_rng(i).permutation(X)[:100] for i in range(5)]
    return [*batches, *map(change, batches)]


STUCK = {"noise_variance": 1e4, "learn_noise_variance": False}
CHANGED = "Give batches in the same units"
CONSTANT = "Begin with a batch of samples that differ"
DIVERGED = "Lower learning_rate_init"
RANGE = "Multiply X by a constant first"
UNLIKE = "differs from the batches before it"
SHORT = "of the default training"
SLOW = "has not learned. Raise learning_rate_init"

# name: (function that fails, pattern of its message)
FAILURES = {
    # Learning rates.
    "net_diverges": (lambda: short_net(learning_rate_init=1e30).fit(X), DIVERGED),
    "stream_diverges": (lambda: stream(short_net(learning_rate_init=1e30), X), DIVERGED),
    "sae_diverges": (lambda: sae(learning_rate_init=1e30).fit(X), DIVERGED),
    "sae_goes_astray": (lambda: sae(learning_rate_init=30.0).fit(X), DIVERGED),
    "sae_slow": (lambda: sae(learning_rate_init=1e-6).fit(X), SLOW),
    "net_one_epoch": (lambda: short_net(max_iter=1).fit(X), "Raise max_iter"),
    "single_layer_fast": (
        lambda: one_init("single_layer", learning_rate_init=3.0).fit(X),
        DIVERGED,
    ),
    "single_layer_slow": (
        lambda: one_init("single_layer", learning_rate_init=1e-7).fit(X),
        SLOW,
    ),
    "l1_fast": (lambda: sae(learning_rate_init=3.0).fit(X), DIVERGED),
    "topk_fast": (lambda: sae(penalty=TopK(2), learning_rate_init=3.0).fit(X), DIVERGED),
    "stream_fast": (
        lambda: stream(net(learning_rate_init=10.0), *changing(np.copy)),
        DIVERGED,
    ),
    "sae_stream_fast": (
        lambda: stream(sae(learning_rate_init=10.0), *changing(np.copy)),
        DIVERGED,
    ),
    # Epochs.
    "single_layer_short": (lambda: one_init("single_layer", max_iter=3).fit(X), "Raise max_iter"),
    "mlp_short": (lambda: one_init("mlp", max_iter=3).fit(X), SHORT),
    "gated_short": (lambda: sae(penalty="gated", max_iter=3).fit(X), "Raise max_iter"),
    # Gates and latents.
    "collapse": (lambda: short_net(**STUCK).fit(X), "No latent is active"),
    "all_closed": (lambda: sae(penalty=L1(100.0)).fit(X), "Lower the penalty's alpha"),
    "all_open": (lambda: sae(penalty=L1(0.0)).fit(X), "codes are not sparse"),
    "target_missed": (
        lambda: sae(penalty=Uncut(), target_l0=1, max_iter=15).fit(X),
        "instead of target_l0=1",
    ),
    "length_of_gates_missed": (
        lambda: laws(target_l0=2).fit(np.eye(5)),
        "instead of target_l0=2",
    ),
    "much_noise": (lambda: laws(model="gates").fit(NOISY), "there is much noise"),
    "dead_latents": (lambda: sae(penalty=TopK(1), n_components=200).fit(X), "latents are dead"),
    # Data.
    "scale_too_large": (lambda: laws().fit(1e200 * X), RANGE),
    "scale_too_large_for_a_net": (lambda: net().fit(1e200 * X), RANGE),
    "outlier": (lambda: laws().fit(OUTLIER), "far from all others"),
    "outlier_of_a_net": (lambda: net().fit(OUTLIER), "far from all others"),
    "far_samples": (lambda: laws().fit(X).transform(1e300 * X), "too far from the training"),
    "far_dimensions": (
        lambda: IntrinsicDimensionEstimator(random_state=0).fit(X).predict(1e200 * X),
        "too far from the training",
    ),
    "repeated_values": (lambda: laws().fit(X).score(CLIPPED), "One value fills 10%"),
    "compared_values": (lambda: compare_scores([PCA(2)], ROUNDED), "One value fills 10%"),
    "five_samples": (lambda: laws().fit(X[:5]).score(X), "too few to hold any out"),
    "five_samples_of_a_net": (
        lambda: short_net(max_iter=100).fit(X[:5]).score(X),
        "too few to hold any out",
    ),
    # Changes between batches.
    "units": (lambda: stream(net(), *changing(lambda batch: 1000 * batch)), UNLIKE),
    "units_of_laws": (lambda: stream(laws(), *changing(lambda batch: 1000 * batch)), UNLIKE),
    "smaller_units": (lambda: stream(sae(), *changing(lambda batch: batch / 1000)), UNLIKE),
    "columns": (lambda: stream(net(), *changing(lambda batch: batch[:, ::-1])), UNLIKE),
    "sae_columns": (lambda: stream(sae(), *changing(lambda batch: batch[:, ::-1])), UNLIKE),
    "columns_of_laws": (
        lambda: stream(laws(), *changing(lambda batch: batch[:, ::-1])),
        UNLIKE,
    ),
    "columns_of_gates": (
        lambda: stream(laws(model="gates"), *changing(lambda batch: batch[:, ::-1])),
        UNLIKE,
    ),
    "larger": (lambda: stream(short_net(), X, 1e6 * X), CHANGED),
    "moved": (lambda: stream(short_net(), X, X + 1e6), CHANGED),
    "larger_for_laws": (lambda: stream(laws(), X, 1e6 * X), CHANGED),
    "moved_for_laws": (lambda: stream(laws(), X, X + 1e6), CHANGED),
    "sae_larger": (lambda: stream(sae(), X, 1e6 * X), CHANGED),
    "constant_first": (lambda: stream(short_net(), EQUAL, X), CONSTANT),
    "constant_first_for_laws": (lambda: stream(laws(), EQUAL, X), CONSTANT),
    "sae_constant_first": (lambda: stream(sae(), EQUAL, X), CONSTANT),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_planted_failure_is_told(name):
    act, message = FAILURES[name]
    # Warnings are errors in these tests.
    with pytest.raises((ConvergenceWarning, UserWarning, ValueError, ArithmeticError)) as told:
        act()
    assert message in str(told.value)


def test_signs_of_laws_that_are_hard_to_plant():
    fitted = laws().fit(X)
    assert fitted._signs(n_active=1.5, unexplained=0.1) == []
    assert "No latent is active" in fitted._signs(n_active=0.0, unexplained=1.0)[0]
    assert "too few samples" in fitted._signs(n_active=1.5, unexplained=2.0)[0]


BOTH = pytest.mark.parametrize("make", [short_net, laws])


@BOTH
def test_a_healthy_stream_is_silent(make):
    estimator = make()
    for batch in changing(np.copy):
        estimator.partial_fit(batch)
    assert estimator.n_iter_ == 10


@BOTH
def test_a_warning_of_a_batch_points_at_the_line_that_gave_it(make):
    with pytest.warns(ConvergenceWarning, match=CONSTANT) as record:
        make().partial_fit(EQUAL)
    assert record[0].filename == __file__


@BOTH
def test_the_cost_of_comparing_batches_does_not_grow(make):
    estimator, sizes = make(), []
    for batch in changing(np.copy):
        estimator.partial_fit(batch)
        sizes.append({name: value.shape for name, value in estimator._batches_.items()})
    assert all(size == sizes[0] for size in sizes)


def test_a_stream_goes_on_after_it_was_told_of_a_change():
    for estimator, change in (
        (net(), lambda batch: 1000 * batch),
        (laws(), lambda batch: batch[:, ::-1]),
    ):
        with pytest.warns(ConvergenceWarning, match=UNLIKE) as record:
            stream(estimator, *changing(change))
        assert len(record) < 5
        assert estimator.n_iter_ == 10


def test_a_schedule_that_ends_without_learning_is_told():
    n_planned = 20 * len(X)
    estimator = net(
        network="single_layer", learning_rate_init=1e-7, batch_size=2, n_samples_planned=n_planned
    )
    with pytest.warns(ConvergenceWarning, match=SLOW) as record:
        stream(estimator, *[X] * 25)
    assert len(record) == 1
