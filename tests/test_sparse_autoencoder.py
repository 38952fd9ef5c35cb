"""Outputs of a SparseAutoencoder: codes, dictionary, scores, sparsity, warnings.

Tests that it shares with VAEenseTransformer are in test_coding.
"""

import re

import numpy as np
import pytest
from helpers import ATOMS, PENALTIES, each_once, fit_sae, fit_unwarned, quick_sae
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skvaeense import SparseAutoencoder
from skvaeense._sparse_autoencoder import DECODER_DECAY
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.metrics import l0, mean_max_cosine_similarity
from skvaeense.nets.losses import PenalizedReconstruction
from skvaeense.nets.penalties import L1, BatchTopK, JumpReLU, Log, Matryoshka, Penalty, TopK

X, X_NEW = ATOMS.few, ATOMS.new
WITH_ALPHA = ["gated", "jump_relu", "l1", "log"]


# --- codes ----------------------------------------------------------------------------------


def test_topk_gives_k_or_as_many_as_are_positive():
    """If negative entries counted, 12 of 12 latents would be active for all samples."""
    few, signed, many = (
        fit_sae(TopK(k), positive_code=positive).active_dimensions(X_NEW).sum(axis=1)
        for k, positive in ((3, True), (3, False), (12, True))
    )
    assert few.max() == 3
    assert (signed == 3).all()
    assert 0 < many.min() < many.max() <= 12


@pytest.mark.parametrize(
    ("penalty", "positive"), [(TopK, True), (BatchTopK, False), (Matryoshka, True)]
)
def test_k_above_the_number_of_latents_is_clipped(penalty, positive):
    exact = fit_sae(penalty(12), positive_code=positive, max_iter=2)
    with pytest.warns(UserWarning, match="keeps k=100 latents, but there are only 12"):
        clipped = fit_sae(penalty(100), positive_code=positive, max_iter=2)
    assert clipped.penalty.k == 100
    assert_array_equal(clipped.transform(X_NEW), exact.transform(X_NEW))


@pytest.mark.parametrize(
    ("penalty", "positive"), [(BatchTopK(3), True), (BatchTopK(3), False), (Matryoshka(3), True)]
)
def test_batch_topk_spends_k_on_average(penalty, positive):
    fitted = fit_sae(penalty, ATOMS.train, positive_code=positive, max_iter=60)
    counts = fitted.active_dimensions(X_NEW).sum(axis=1)
    assert counts.mean() == pytest.approx(3, rel=0.15)
    assert counts.min() < 3 < counts.max()


@pytest.mark.parametrize("name", WITH_ALPHA)
def test_units_do_not_matter_to_a_target(name):
    fitted, moved = (
        fit_sae(PENALTIES[name], x, target_l0=3, dtype="float64") for x in (X, 7 * X + 5)
    )
    assert moved.alpha_ == pytest.approx(fitted.alpha_, rel=1e-8)


# --- the dictionary -------------------------------------------------------------------------


def column_norms(fitted):
    return np.linalg.norm(fitted.components_, axis=1) / fitted.scale_


def test_decay_of_the_weights_leaves_norms_free():
    free, little, much = (
        fit_sae(loss=PenalizedReconstruction(decay)) for decay in (1e-9, 1e-3, 0.1)
    )
    assert np.ptp(column_norms(free)) > 0.05
    # Codes are penalised too, so the columns of a free decoder grow to make codes small.
    assert column_norms(free).mean() > column_norms(little).mean() > column_norms(much).mean()


@pytest.mark.parametrize("network", ["single_layer", "linear"])
def test_columns_of_a_linear_decoder_have_norm_1(network):
    assert_allclose(column_norms(fit_sae(network=network, max_iter=3)), 1, rtol=1e-5)


def test_decoders_with_hidden_layers_decay():
    auto, given = (
        fit_sae(network="mlp", max_iter=3, loss=loss)
        for loss in ("penalized_reconstruction", PenalizedReconstruction(DECODER_DECAY))
    )
    assert auto.loss_curve_ == given.loss_curve_


@pytest.mark.parametrize(("name", "network"), each_once([*PENALTIES], ["linear", "mlp"]))
def test_other_networks_learn(network, name):
    fitted = fit_sae(PENALTIES[name], network=network)
    assert hasattr(fitted, "components_") == (network == "linear")
    assert fitted.score(X_NEW) > 0.6


# --- sparsity -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    """Return training samples, held-out samples, and the 30 atoms that they are made of."""
    params = {"n_atoms": 30, "n_active": 3, "n_features": 20, "signed": False}
    samples, *_, atoms = make_sparse_dictionary(2500, return_atoms=True, random_state=0, **params)
    return samples[:2000], samples[2000:], atoms


@pytest.mark.parametrize("penalty", WITH_ALPHA)
def test_a_target_is_met_with_a_good_reconstruction(penalty, planted):
    """A warning that the target was missed would be an error."""
    samples, new, atoms = planted
    params = {"target_l0": 5, "max_iter": 120, "random_state": 0}
    fitted = SparseAutoencoder(40, penalty=penalty, **params).fit(samples)
    assert l0(fitted.transform(new)) == pytest.approx(5, rel=0.1)
    assert fitted.score(new) > 0.9
    assert isinstance(fitted.alpha_, float)
    assert abs(np.log(fitted.alpha_ / Penalty.resolve(penalty).alpha)) > 0.1
    if penalty == "l1":
        assert mean_max_cosine_similarity(atoms, fitted.components_, signed=True) > 0.95


def test_topk_recovers_a_planted_dictionary(planted):
    fitted = SparseAutoencoder(40, penalty=TopK(3), max_iter=60, random_state=0).fit(planted[0])
    assert mean_max_cosine_similarity(planted[2], fitted.components_, signed=True) > 0.95
    assert fitted.score(planted[1]) > 0.9


def test_a_target_is_refused_where_there_is_no_alpha(subtests):
    assert fit_sae("log", max_iter=2).alpha_ == Log().alpha
    for name in PENALTIES.keys() - WITH_ALPHA:
        with (
            subtests.test(name=name),
            pytest.raises(ValueError, match=r"target_l0=4 adapts .*alpha.*Set its k instead"),
        ):
            quick_sae(PENALTIES[name], target_l0=4).fit(X)


@pytest.mark.parametrize(("penalty", "positive"), [(L1, True), (Log, False)])
def test_a_higher_alpha_makes_sparser_codes(penalty, positive):
    low, high = (
        fit_sae(penalty(factor * penalty().alpha), positive_code=positive, max_iter=60)
        for factor in (1, 10)
    )
    assert l0(high.transform(X_NEW)) < 0.8 * l0(low.transform(X_NEW))


# --- signs of failure -----------------------------------------------------------------------


def test_warns_that_no_latent_is_active():
    """No sample reaches this threshold, so no latent is active. A high alpha cannot ensure this."""
    estimator = quick_sae(JumpReLU(threshold=1e3), max_iter=2)
    with pytest.warns(ConvergenceWarning, match=r"no active latent.*Lower the penalty's alpha"):
        estimator.fit(X)
    assert estimator.dead_fraction_ == 1
    assert not estimator.active_dimensions(X_NEW).any()
    assert_allclose(estimator.score_samples(X).mean(), 0, atol=0.05)


def test_an_absurd_alpha_silences_nearly_all():
    fitted = fit_sae(L1(1e3), ATOMS.train, max_iter=60)
    assert fitted.dead_fraction_ > 0.3
    assert l0(fitted.transform(X_NEW)) < 0.1
    assert fitted.score(X_NEW) < 0.05


def test_warns_that_codes_are_not_sparse():
    with pytest.warns(ConvergenceWarning, match=r"of 12 latents are active.*not sparse"):
        quick_sae(L1(0)).fit(X)


class Steps(L1):
    """A user's penalty, whose codes have no cut that could meet a target."""

    def build(self, n_components, *, unit, positive):
        return nn.ReLU()


def test_warns_that_the_target_was_missed():
    with pytest.warns(ConvergenceWarning) as record:
        quick_sae(Steps(), target_l0=1, max_iter=3).fit(X)
    messages = " ".join(str(warning.message) for warning in record)
    assert "Raise max_iter" in messages
    assert re.search("instead of target_l0=1.*higher alpha", messages)


@pytest.mark.parametrize("n_epochs", [3, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_target_is_met_after_any_number_of_epochs(penalty, positive, n_epochs):
    if not positive and penalty == "gated":
        return
    sae = quick_sae(penalty, target_l0=2.5, max_iter=n_epochs, positive_code=positive)
    rows, *_ = make_sparse_dictionary(
        16_000, n_atoms=12, n_active=3, n_features=8, signed=not positive, random_state=0
    )
    fit_unwarned(sae, rows)
    tolerance = 0.2 if penalty == "topk" else 0.05
    assert l0(sae.transform(rows)) == pytest.approx(2.5, rel=tolerance)


def test_a_mean_length_need_not_be_whole():
    fits = [
        fit_unwarned(quick_sae(penalty, max_iter=3, target_l0=target), ATOMS.few)
        for penalty, target in ((BatchTopK(2.5), None), ("batch_topk", 2.5))
    ]
    codes = [fitted.transform(ATOMS.new) for fitted in fits]
    assert_array_equal(*codes)
    assert l0(codes[0]) == pytest.approx(2.5, rel=0.15)


def test_warns_of_dead_latents():
    """With one active latent for each of 300 samples, most of the 300 latents are unused.

    If fewer samples were seen than the window holds, the fraction is over all of them.
    """
    estimator = quick_sae(TopK(1), n_components=300, max_iter=60)
    with pytest.warns(ConvergenceWarning, match=r"% of the latents are dead"):
        estimator.fit(X)
    unused = ~estimator.active_dimensions(X).any(axis=0)
    assert 0.5 < estimator.dead_fraction_ == pytest.approx(unused.mean(), abs=0.1)
