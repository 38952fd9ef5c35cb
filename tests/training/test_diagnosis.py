"""Each failure has a warning that names the cure, and good fits have none."""

import numpy as np
import pytest
import torch
from helpers import with_net
from sklearn.exceptions import ConvergenceWarning

from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.networks import Linear
from skvaeense.training._diagnosis import Findings, failure_messages, find_collapse

N_SAMPLES, N_COMPONENTS = 40, 12
FIXED = np.arange(N_COMPONENTS) < 4
ONE = np.arange(N_COMPONENTS) < 1
ADAPTIVE = np.random.default_rng(0).random((N_SAMPLES, N_COMPONENTS)) < 0.4
HALF = np.full((N_SAMPLES, N_COMPONENTS), 0.5)


def vae(active, **changes):
    """Return the messages of a good fit with this mask, apart from the changes."""
    active = np.broadcast_to(np.asarray(active, dtype=bool), (N_SAMPLES, N_COMPONENTS))
    facts = {"active": active, "deviation": np.where(active, 0.05, 0.99), "unexplained": 0.01}
    return failure_messages(
        Findings(**(facts | {"linear_residual": 0.01, "gated": True} | changes))
    )


def sae(n_active, **changes):
    """Return the messages of a good fit with this many active latents, apart from the changes."""
    order = np.random.default_rng(0).permuted(
        np.tile(np.arange(N_COMPONENTS), (N_SAMPLES, 1)), axis=1
    )
    facts = {"active": order < n_active, "found_l0": float(n_active), "has_alpha": True}
    return failure_messages(
        Findings(**(facts | {"unexplained": 0.2, "linear_residual": 0.1} | changes))
    )


@pytest.mark.parametrize(
    "messages",
    [
        vae(ADAPTIVE),
        vae(FIXED, gated=False),
        vae(FIXED, gated=False, linear_decoder=False),
        vae(FIXED),
        vae(True),
        vae(True, linear_decoder=False),
        vae(True, unexplained=0.3, linear_residual=0.29),
        vae(ADAPTIVE, unexplained=0.8),
        vae(ONE, unexplained=0.2),
        # Noise as large as what varies.
        vae(FIXED, deviation=HALF, unexplained=0.4, linear_residual=0.39),
        sae(3),
        sae(5),
        sae(3, target_l0=3),
        sae(10, target_l0=9.5),
        sae(10, target_l0=10.5),
        sae(12, has_alpha=False),
        sae(3, dead_fraction=0.5),
    ],
)
def test_no_sign_where_nothing_failed(messages):
    assert messages == []


@pytest.mark.parametrize(
    ("messages", "sign", "cure"),
    [
        (
            vae(ADAPTIVE, deviation=HALF, unexplained=0.2),
            "deviations are near 0.5",
            "Raise max_iter",
        ),
        # A collapse has several signs. The message names the most telling one.
        (
            vae(False, unexplained=1.0, linear_decoder=False),
            "No latent is active",
            "lower noise_variance",
        ),
        (
            vae(True, unexplained=0.5, linear_residual=0.0),
            "Every latent is active",
            "Raise max_iter",
        ),
        (vae(ONE, unexplained=0.7), "decoder is too weak", 'network="mlp"'),
        (
            vae(FIXED, linear_decoder=False),
            "same active latents although the gate is on",
            "fewer decoder layers",
        ),
        (sae(0), "no active latent", "Lower the penalty's alpha"),
        (sae(0, has_alpha=False), "no active latent", "Lower learning_rate_init"),
        # In a collapse all latents are dead and no target is met.
        (
            sae(0, active=np.eye(N_SAMPLES, N_COMPONENTS, -39) > 0, dead_fraction=1.0, target_l0=8),
            "no active latent",
            "Lower",
        ),
        (
            sae(6, target_l0=4),
            "6.0 latents are active on average instead of target_l0=4",
            "from a higher alpha",
        ),
        (
            sae(3, target_l0=4),
            "3.0 latents are active on average instead of target_l0=4",
            "from a lower alpha",
        ),
        (sae(7), "7.0 of 12 latents are active", "Raise the penalty's alpha"),
        (sae(3, dead_fraction=0.75), "75% of the latents are dead", "Lower"),
        (sae(3, unexplained=2.0), "gone astray", "Lower learning_rate_init"),
        (
            sae(3, unexplained=0.95, linear_residual=0.66),
            "95% of the variance is unexplained with 3.0 latents active, compared with",
            "has not learned. Raise max_iter, or lower the penalty's alpha",
        ),
    ],
)
def test_sign_and_cure(messages, sign, cure):
    (message,) = messages
    assert sign in message
    assert cure in message


def test_signs_of_a_sparse_autoencoder_come_together():
    missed, dead = sae(3, target_l0=8, dead_fraction=0.7)
    assert "target_l0" in missed
    assert "dead" in dead


# --- in a real fit --------------------------------------------------------------------------

X, _, _ = make_linear_subspaces(400, dims=(1, 2), n_features=8, random_state=0)


def test_fit_warns_of_a_collapse_at_the_line_that_called_it():
    stuck = {"noise_variance": 1e4, "learn_noise_variance": False, "n_init": 1, "max_iter": 60}
    estimator = with_net(4, network=Linear((32,)), random_state=0, **stuck)
    with pytest.warns(ConvergenceWarning, match=r"No latent is active.*noise_variance") as record:
        estimator.fit(X)
    assert not estimator.active_dimensions(X).any()
    assert [warning.filename for warning in record] == [__file__]


# --- collapse -------------------------------------------------------------------------------


def plane_samples(n_samples=200, location=0.0):
    """Return samples of a plane in R^6 with little noise, and the noise."""
    rng = np.random.default_rng(0)
    coordinates = rng.standard_normal((n_samples, 2))
    clean = coordinates @ rng.standard_normal((2, 6)) + location
    noise = 0.01 * rng.standard_normal(clean.shape)
    return torch.from_numpy(clean + noise), torch.from_numpy(noise)


def test_no_collapse_where_latents_explain_what_components_do():
    x, noise = plane_samples()
    active = np.ones((len(x), 2), dtype=bool)
    assert not find_collapse(x, noise, active)


def test_collapse_is_found_and_told():
    x, _ = plane_samples()
    collapse = find_collapse(x, x, np.ones((200, 2), dtype=bool))
    (message,) = vae(ADAPTIVE, unexplained=0.3, collapse=collapse)
    assert message == collapse
    assert "100% of the variance is unexplained, compared with 0% for 2 principal" in message
    assert "Raise n_init" in message


def test_few_samples_do_not_show_a_collapse():
    x, _ = plane_samples(19)
    assert not find_collapse(x, x, np.ones((19, 2), dtype=bool))


def test_noise_that_components_leave_too_is_no_collapse():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((400, 20)))
    residual = x.clone()
    residual[:, 0] = 0
    assert not find_collapse(x, residual, np.ones((400, 1), dtype=bool))


def test_no_collapse_within_the_noise():
    """Points have no variance to explain, whatever share of it is unexplained."""
    x, noise = plane_samples()
    x, active = 1e-3 * x, np.ones((200, 2), dtype=bool)
    assert not find_collapse(x, noise, active, noise_variance=1e-4)
    assert find_collapse(x, noise, active)


def test_what_is_left_by_chance_is_no_collapse():
    """One sample of thirty has all the unexplained variance."""
    x, noise = plane_samples(30)
    residual = noise.clone()
    residual[x.square().sum(dim=1).argmax()] = x[x.square().sum(dim=1).argmax()]
    assert residual.square().sum() > 0.1 * x.square().sum()
    assert not find_collapse(x, residual, np.ones((30, 1), dtype=bool))
