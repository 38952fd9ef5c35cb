"""Fits and calls that fail: each raises a message that names a cure."""

import numpy as np
import pytest
from helpers import SMALL_MIXTURE
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.inspection import compare_scores
from skvaeense.networks import Linear
from skvaeense.penalties import L1, TopK

X = make_linear_subspaces(200, dims=(1, 2), n_features=6, noise=0.01, random_state=0)[0]
EQUAL = np.full_like(X, 3.0)
OUTLIER = np.r_[X, 1e6 * X[:1]]
ROUNDED = np.round(2 * X) / 2
# Half of the values are 0, and the others are not multiples of a step.
CLIPPED = np.maximum(X, 0)


def vae(**params):
    return VAEenseTransformer(**({"random_state": 0} | params))


def random_vae(**params):
    return vae(**({"network": Linear((12,)), "n_init": 1, "max_iter": 30} | params))


def one_init(network, **params):
    return vae(network=network, n_init=1, **params)


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


QUICK = {"prior": SMALL_MIXTURE, "max_iter": 100}
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
    "vae_diverges": (lambda: random_vae(learning_rate_init=1e30).fit(X), DIVERGED),
    "stream_diverges": (lambda: stream(random_vae(learning_rate_init=1e30), X), DIVERGED),
    "sae_diverges": (lambda: sae(learning_rate_init=1e30).fit(X), DIVERGED),
    "sae_goes_astray": (lambda: sae(learning_rate_init=30.0).fit(X), DIVERGED),
    "sae_slow": (lambda: sae(learning_rate_init=1e-6).fit(X), SLOW),
    "vae_one_epoch": (lambda: random_vae(max_iter=1).fit(X), "Raise max_iter"),
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
        lambda: stream(vae(learning_rate_init=10.0), *changing(np.copy)),
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
    "gates_short": (lambda: vae(prior="spike_slab", max_iter=3).fit(X), SHORT),
    "length_short": (lambda: vae(target_l0=2, max_iter=3).fit(X), SHORT),
    "share_short": (lambda: vae(target_explained_variance=0.9, max_iter=1).fit(X), SHORT),
    # Gates and latents.
    "collapse": (lambda: random_vae(**STUCK).fit(X), "No latent is active"),
    "closed_gates": (
        lambda: vae(prior="spike_slab", max_iter=9, **STUCK).fit(X),
        "No latent is active",
    ),
    "all_closed": (lambda: sae(penalty=L1(100.0)).fit(X), "Lower the penalty's alpha"),
    "all_open": (lambda: sae(penalty=L1(0.0)).fit(X), "codes are not sparse"),
    "target_missed": (
        lambda: sae(penalty=Uncut(), target_l0=1, max_iter=15).fit(X),
        "instead of target_l0=1",
    ),
    "dead_latents": (lambda: sae(penalty=TopK(1), n_components=200).fit(X), "latents are dead"),
    # Data.
    "scale_too_large": (lambda: vae().fit(1e200 * X), RANGE),
    "outlier": (lambda: vae().fit(OUTLIER), "far from all others"),
    "far_samples": (lambda: vae().fit(X).transform(1e300 * X), "too far from the training"),
    "far_dimensions": (
        lambda: IntrinsicDimensionEstimator(random_state=0).fit(X).predict(1e200 * X),
        "too far from the training",
    ),
    "repeated_values": (lambda: vae().fit(X).score(CLIPPED), "One value fills 10%"),
    "compared_values": (lambda: compare_scores([PCA(2)], ROUNDED), "One value fills 10%"),
    "five_samples": (lambda: random_vae(**QUICK).fit(X[:5]).score(X), "too few to hold any out"),
    # Changes between batches.
    "units": (lambda: stream(vae(), *changing(lambda batch: 1000 * batch)), UNLIKE),
    "smaller_units": (lambda: stream(sae(), *changing(lambda batch: batch / 1000)), UNLIKE),
    "columns": (lambda: stream(vae(), *changing(lambda batch: batch[:, ::-1])), UNLIKE),
    "sae_columns": (lambda: stream(sae(), *changing(lambda batch: batch[:, ::-1])), UNLIKE),
    "gates_columns": (
        lambda: stream(vae(prior="spike_slab"), *changing(lambda batch: batch[:, ::-1])),
        UNLIKE,
    ),
    "larger": (lambda: stream(random_vae(), X, 1e6 * X), CHANGED),
    "moved": (lambda: stream(random_vae(), X, X + 1e6), CHANGED),
    "sae_larger": (lambda: stream(sae(), X, 1e6 * X), CHANGED),
    "constant_first": (lambda: stream(random_vae(), EQUAL, X), CONSTANT),
    "sae_constant_first": (lambda: stream(sae(), EQUAL, X), CONSTANT),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_planted_failure_is_told(name):
    act, message = FAILURES[name]
    # Warnings are errors in these tests.
    with pytest.raises((ConvergenceWarning, UserWarning, ValueError, ArithmeticError)) as told:
        act()
    assert message in str(told.value)


def test_a_warning_of_a_batch_points_at_the_line_that_gave_it():
    with pytest.warns(ConvergenceWarning, match=CONSTANT) as record:
        random_vae().partial_fit(EQUAL)
    assert record[0].filename == __file__


def test_the_cost_of_comparing_batches_does_not_grow():
    estimator, sizes = random_vae(), []
    for batch in changing(np.copy):
        estimator.partial_fit(batch)
        sizes.append({name: value.shape for name, value in estimator._batches_.items()})
    assert all(size == sizes[0] for size in sizes)


def test_a_stream_goes_on_after_it_was_told_of_a_change():
    estimator = vae()
    with pytest.warns(ConvergenceWarning, match=UNLIKE) as record:
        stream(estimator, *changing(lambda batch: 1000 * batch))
    assert len(record) < 5
    assert estimator.n_iter_ == 10


def test_a_schedule_that_ends_without_learning_is_told():
    estimator = vae(network="single_layer", learning_rate_init=1e-7, batch_size=2)
    with pytest.warns(ConvergenceWarning, match=SLOW) as record:
        stream(estimator, *[X] * 25)
    assert len(record) == 1
