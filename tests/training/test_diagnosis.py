"""Each failure has a warning that names the cure, and good fits have none."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.networks import Linear
from skvaeense.training._diagnosis import Findings, find_collapse, told

N_SAMPLES, N_COMPONENTS = 40, 12


def make_findings(active, **changes):
    """Return the findings of a good fit with this mask, apart from the changes."""
    active = np.broadcast_to(np.asarray(active, dtype=bool), (N_SAMPLES, N_COMPONENTS))
    facts = {
        "deviation": np.where(active, 0.05, 0.99),
        "found_l0": active.sum(axis=1).mean(),
        "unexplained": 0.01,
        "linear_residual": 0.01,
        "gated": True,
        "linear_decoder": True,
        "collapse": None,
        "target_l0": None,
        "has_prices": False,
    }
    return {"active": active} | facts | changes


def adaptive_mask():
    return np.random.default_rng(0).random((N_SAMPLES, N_COMPONENTS)) < 0.4


FIXED_MASK = np.arange(N_COMPONENTS) < 4
HALF = np.full((N_SAMPLES, N_COMPONENTS), 0.5)


def test_no_sign_in_a_good_fit():
    assert told(Findings(**make_findings(adaptive_mask()))) == []


def test_no_sign_where_nothing_failed(subtests):
    for name, findings in {
        "one pattern without gate": make_findings(FIXED_MASK, gated=False),
        "one pattern without gate, mlp": make_findings(
            FIXED_MASK, gated=False, linear_decoder=False
        ),
        "one linear manifold": make_findings(FIXED_MASK, linear_decoder=True),
        "all needed": make_findings(True),
        "all needed, mlp": make_findings(True, linear_decoder=False),
        "as good as linear": make_findings(True, unexplained=0.3, linear_residual=0.29),
        "noisy data": make_findings(adaptive_mask(), unexplained=0.8),
        "one dimension": make_findings(np.arange(N_COMPONENTS) < 1, unexplained=0.2),
        "noise as large as what varies": make_findings(
            FIXED_MASK, deviation=HALF, unexplained=0.4, linear_residual=0.39
        ),
    }.items():
        with subtests.test(name):
            assert told(Findings(**findings)) == []


def test_sign_and_cure(subtests):
    for name, (findings, sign, cure) in {
        "gate stuck": (
            make_findings(adaptive_mask(), deviation=HALF, unexplained=0.2),
            "deviations are near 0.5",
            "Raise max_iter",
        ),
        "collapse": (
            make_findings(False, unexplained=1.0),
            "No latent is active",
            "lower noise_variance",
        ),
        "all active": (
            make_findings(True, unexplained=0.5, linear_residual=0.0),
            "Every latent is active",
            "Raise max_iter",
        ),
        "weak decoder": (
            make_findings(np.arange(N_COMPONENTS) < 1, unexplained=0.7),
            "decoder is too weak",
            'network="mlp"',
        ),
        "one pattern": (
            make_findings(FIXED_MASK, linear_decoder=False),
            "same active latents although the gate is on",
            "fewer decoder layers",
        ),
    }.items():
        with subtests.test(name):
            (message,) = told(Findings(**findings))
            assert sign in message
            assert cure in message


def test_one_message_at_a_time():
    """A collapse has several signs, and the message names the most informative one."""
    findings = make_findings(False, unexplained=1.0, linear_decoder=False)
    assert len(told(Findings(**findings))) == 1


# --- sparse autoencoders --------------------------------------------------------------------


def make_sparse_findings(n_active, **changes):
    """Return the findings of a good fit with this many active latents, apart from the changes."""
    active = np.zeros((N_SAMPLES, N_COMPONENTS), dtype=bool)
    order = np.random.default_rng(0).permuted(
        np.tile(np.arange(N_COMPONENTS), (N_SAMPLES, 1)), axis=1
    )
    np.put_along_axis(active, order[:, :n_active], True, axis=1)
    facts = {"unexplained": 0.2, "dead_fraction": 0.0, "target_l0": None, "has_alpha": True}
    facts |= {"linear_residual": 0.1, "found_l0": float(n_active)}
    return {"active": active} | facts | changes


def test_no_sign_where_a_sparse_autoencoder_is_good(subtests):
    for name, findings in {
        "sparse": make_sparse_findings(3),
        "less than half": make_sparse_findings(5),
        "on target": make_sparse_findings(3, target_l0=3),
        "little over": make_sparse_findings(10, target_l0=9.5),
        "little under": make_sparse_findings(10, target_l0=10.5),
        "k was set": make_sparse_findings(12, has_alpha=False),
        "some dead": make_sparse_findings(3, dead_fraction=0.5),
    }.items():
        with subtests.test(name):
            assert told(Findings(**findings)) == []


def test_sign_and_cure_of_a_sparse_autoencoder(subtests):
    for name, (findings, sign, cure) in {
        "collapse": (make_sparse_findings(0), "no active latent", "Lower the penalty's alpha"),
        "no alpha": (
            make_sparse_findings(0, has_alpha=False),
            "no active latent",
            "Lower learning_rate_init",
        ),
        "too many": (
            make_sparse_findings(6, target_l0=4),
            "6.0 latents are active on average instead of target_l0=4",
            "from a higher alpha",
        ),
        "too few": (
            make_sparse_findings(3, target_l0=4),
            "3.0 latents are active on average instead of target_l0=4",
            "from a lower alpha",
        ),
        "not sparse": (
            make_sparse_findings(7),
            "7.0 of 12 latents are active",
            "Raise the penalty's alpha",
        ),
        "dead": (
            make_sparse_findings(3, dead_fraction=0.75),
            "75% of the latents are dead",
            "Lower",
        ),
        "astray": (
            make_sparse_findings(3, unexplained=2.0),
            "gone astray",
            "Lower learning_rate_init",
        ),
        "unlearned": (
            make_sparse_findings(3, unexplained=0.95, linear_residual=0.66),
            "95% of the variance is unexplained with 3.0 latents active, compared with",
            "has not learned. Raise max_iter, or lower the penalty's alpha",
        ),
    }.items():
        with subtests.test(name):
            (message,) = told(Findings(**findings))
            assert sign in message
            assert cure in message


def test_one_stray_entry_does_not_hide_a_collapse():
    active = np.zeros((N_SAMPLES, N_COMPONENTS), dtype=bool)
    active[0, 0] = True
    findings = make_sparse_findings(0, found_l0=0.1, unexplained=1.0, linear_residual=1.0)
    (message,) = told(Findings(**findings | {"active": active, "dead_fraction": 0.9}))
    assert "no active latent" in message


def test_signs_of_a_sparse_autoencoder_come_together():
    messages = told(Findings(**make_sparse_findings(3, target_l0=8, dead_fraction=0.7)))
    assert ["target_l0" in message for message in messages] == [True, False]
    assert ["dead" in message for message in messages] == [False, True]
    # In a collapse all latents are dead and no target is met, so there is one message.
    findings = make_sparse_findings(0, target_l0=8, dead_fraction=1.0)
    (message,) = told(Findings(**findings))
    assert "no active latent" in message


# --- in a real fit --------------------------------------------------------------------------

X, _, _ = make_linear_subspaces(400, dims=(1, 2), n_features=8, random_state=0)


def test_fit_warns_of_a_collapse():
    estimator = VAEenseTransformer(
        4,
        network=Linear((32,)),
        noise_variance=1e4,
        learn_noise_variance=False,
        n_init=1,
        max_iter=60,
        random_state=0,
    )
    with pytest.warns(ConvergenceWarning, match=r"No latent is active.*noise_variance") as record:
        estimator.fit(X)
    assert not estimator.active_dimensions(X).any()
    assert len(record) == 1
    # The warning points to the line that called fit, and not into a library.
    assert record[0].filename == __file__


def test_a_good_fit_does_not_warn():
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        VAEenseTransformer(network=Linear((32,)), n_init=1, random_state=0).fit(X)
    assert [str(warning.message) for warning in record] == []


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
    assert find_collapse(x, noise, active) is None


def test_collapse_of_one_group_is_found_and_named():
    """All but one latent of a location have closed. Those of the other explain their samples."""
    x, noise = plane_samples()
    labels = np.repeat([0, 1], 100)
    residual = noise.clone()
    residual[100:] = x[100:]
    collapse = find_collapse(x, residual, np.ones((200, 2), dtype=bool), labels)
    assert (collapse.location, collapse.n_directions) == (1, 2)
    assert collapse.unexplained == pytest.approx(1.0)
    assert collapse.linear_residual < 0.01
    findings = make_findings(adaptive_mask(), unexplained=0.3, collapse=collapse)
    (message,) = told(Findings(**findings))
    assert "100% of the variance around location 1 is unexplained, compared with" in message
    assert "Raise n_init" in message


def test_few_samples_do_not_show_a_collapse():
    x, _ = plane_samples(19)
    assert find_collapse(x, x, np.ones((19, 2), dtype=bool)) is None


def test_noise_that_components_leave_too_is_no_collapse():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((400, 20)))
    residual = x.clone()
    residual[:, 0] = 0
    assert find_collapse(x, residual, np.ones((400, 1), dtype=bool)) is None


def test_no_collapse_within_the_noise():
    """Points have no variance to explain, whatever share of it is unexplained."""
    x, noise = plane_samples()
    x[:100] = 1e-9 * noise[:100]
    labels, active = np.repeat([0, 1], 100), np.ones((200, 2), dtype=bool)
    assert find_collapse(x, noise, active, labels, noise_variance=1e-4) is None
    assert find_collapse(x, noise, active, labels).location == 0


def test_what_is_left_by_chance_is_no_collapse():
    """One sample of thirty has all the unexplained variance."""
    x, noise = plane_samples(30)
    residual = noise.clone()
    residual[x.square().sum(dim=1).argmax()] = x[x.square().sum(dim=1).argmax()]
    assert residual.square().sum() > 0.1 * x.square().sum()
    assert find_collapse(x, residual, np.ones((30, 1), dtype=bool)) is None


def test_cures_of_gates_with_prices_name_what_they_have():
    few = np.arange(N_COMPONENTS) < 1
    (message,) = told(Findings(**make_findings(few, unexplained=0.8, has_prices=True)))
    assert "set target_explained_variance" in message
    assert "network" not in message
    undecided = make_findings(adaptive_mask(), deviation=HALF, unexplained=0.2, has_prices=True)
    (message,) = told(Findings(**undecided))
    assert "probabilities of open gates are near 0.5" in message
