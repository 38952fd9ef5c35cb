"""Outputs of a VAEenseTransformer, in addition to test_coding and test_fitting."""

import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import (
    MLP_SMALL,
    PAIRS,
    SUBSPACES,
    changed,
    fit_unwarned,
    fit_vaeense,
    quick_vaeense,
    with_net,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import pdist
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from skvaeense import VAEase, VAEenseTransformer
from skvaeense._vaease import VAEaseTraining
from skvaeense.datasets import make_linear_subspaces, make_ppca, make_sparse_dictionary
from skvaeense.metrics import fvu
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.networks import MLP, Linear
from skvaeense.nets.thresholds import FixedVariance

X, X_NEW = SUBSPACES.few, SUBSPACES.new
NETWORKS = {"linear": Linear((16,)), "mlp": MLP_SMALL}


@pytest.fixture(scope="module", params=NETWORKS)
def fitted(request):
    """Return a small gated fit, which tests must not change."""
    return fit_vaeense(network=NETWORKS[request.param], max_iter=50)


# --- the answers ----------------------------------------------------------------------------


def test_counts_the_dimensions_of_subspaces_and_explains_them(union_fit):
    active = union_fit.active_dimensions(X_NEW)
    for dimension in (1, 2):
        counts = active[SUBSPACES.new_label == dimension].sum(axis=1)
        assert counts.mean() == pytest.approx(dimension, abs=0.25)
    assert pdist(active, "jaccard").mean() > 0.2
    reconstruction = union_fit.inverse_transform(union_fit.transform(X_NEW))
    assert np.square(X_NEW - reconstruction).sum() < 0.01 * np.square(X_NEW).sum()


def test_ungated_is_probabilistic_pca():
    samples, *_ = make_ppca(3000, n_components=4, n_features=12, random_state=0)
    train, new = samples[:1000], samples[1000:]
    fitted = fit_unwarned(with_net(4, gated=False, n_init=1, max_iter=60, random_state=0), train)
    assert fitted.score(new) == pytest.approx(PCA(4).fit(train).score(new), abs=0.1)
    assert fitted.noise_variance_ == pytest.approx(0.1, rel=0.15)
    active = fitted.active_dimensions(new)
    assert active.any()
    assert (active == active[0]).all()
    drawn, truth = fitted.sample(20000, random_state=0), np.cov(train, rowvar=False)
    assert np.linalg.norm(np.cov(drawn, rowvar=False) - truth) < 0.2 * np.linalg.norm(truth)
    assert_allclose(drawn.mean(axis=0), train.mean(axis=0), atol=0.15)


def test_learned_noise_variance_is_the_held_out_error():
    """The error is measured on other rows of the population. With much noise, no row dominates."""
    rows, *_ = make_linear_subspaces(3000, dims=(1, 2), n_features=8, noise=0.2, random_state=0)
    fitted = VAEenseTransformer(random_state=0).fit(rows[:2000])
    openness, mean, std = fitted.posterior(rows[2000:])
    residual = rows[2000:] - fitted.inverse_transform(openness * mean)
    spread = np.square(openness * std) @ np.square(fitted.components_).sum(axis=1)
    error = np.square(residual).sum(axis=1) + spread
    assert fitted.noise_variance_ == pytest.approx(error.mean() / 8, rel=0.2)


def test_learned_noise_variance_is_that_of_the_samples():
    """Along directions of latents, their posterior variance takes the place of the noise."""
    noisy, clean = (
        make_linear_subspaces(2000, dims=(4, 4), n_features=12, noise=noise, random_state=0)[0]
        for noise in (0.01, 0)
    )
    fitted = VAEenseTransformer(random_state=0).fit(noisy)
    assert fitted.noise_variance_ == pytest.approx(np.square(noisy - clean).mean(), rel=0.1)


def test_double_precision_trains_as_well_as_single():
    single, double = (fit_vaeense(max_iter=60, dtype=dtype) for dtype in ("float32", "float64"))
    assert double.score(X_NEW) == pytest.approx(single.score(X_NEW), abs=0.5)


# --- codes ----------------------------------------------------------------------------------


def with_rule(fitted, threshold):
    """Return a shallow copy with another threshold rule; the model itself does not change."""
    return changed(fitted, model=clone(fitted.model).set_params(threshold=threshold))


def test_codes_follow_from_the_posterior(fitted):
    openness, mean, std = fitted.posterior(X_NEW)
    soft = openness * mean
    assert_allclose(openness, 1 - std, atol=1e-7)
    assert_allclose(changed(fitted, hard=False).transform(X_NEW), soft, rtol=1e-6, atol=1e-9)
    for threshold in ("contribution", "fixed_variance", "otsu"):
        by_rule = with_rule(fitted, threshold)
        active = by_rule.active_dimensions(X_NEW)
        assert active.dtype == bool
        assert 0 < active.mean() < 1
        codes = changed(by_rule, hard=True).transform(X_NEW)
        assert_allclose(codes, soft * active, rtol=1e-6, atol=1e-9)
    reconstruction = fitted.inverse_transform(fitted.transform(X_NEW))
    assert np.square(X_NEW - reconstruction).sum() < 0.2 * np.square(X_NEW).sum()
    counts = [
        with_rule(fitted, FixedVariance(level)).active_dimensions(X_NEW).sum()
        for level in (0.01, 0.5, 0.99)
    ]
    assert counts[0] < counts[1] < counts[2]


def test_latents_that_no_training_sample_uses_stay_closed():
    """Their codes are exactly 0, and do not explode when they are divided by a small deviation."""
    rng = np.random.default_rng(5)
    X = np.eye(6)[rng.choice(6, 60, p=[0.5, 0.2, 0.2, 0.06, 0.03, 0.01])]
    fitted = with_net(8, hard=False, random_state=0).fit(X[:30])
    used = fitted.module_.is_used.clone()
    unused = np.flatnonzero(~used.numpy())
    codes, new = fitted.transform(X[:30]), fitted.transform(X)
    assert 0 < len(unused) < len(used)
    assert (new[:, unused] == 0).all()
    assert np.abs(StandardScaler().fit(codes).transform(new)).max() < 30
    assert np.square(X - fitted.inverse_transform(new)).mean() < 0.02


def test_training_that_goes_on_may_open_all_latents():
    fitted = fit_vaeense()
    fitted.module_.is_used[:] = False
    assert not fitted.active_dimensions(X_NEW).any()
    fit_unwarned(fitted, X_NEW, "partial_fit")
    assert fitted.active_dimensions(X_NEW).any()


@pytest.mark.parametrize("network", [Linear((16,)), MLP_SMALL, "single_layer"])
def test_positive_codes(network):
    model = fit_vaeense(network=network, positive_code=True)
    _, mean, std = model.posterior(X_NEW)
    codes = model.set_params(hard=False).transform(X_NEW)
    assert (mean >= 0).all()
    assert (mean > 0).any()
    assert_allclose(codes, (1 - std) * mean, rtol=1e-5, atol=1e-7)
    assert (fit_vaeense(network=network).transform(X_NEW) < 0).any()


# --- sampling -------------------------------------------------------------------------------


def test_samples_are_drawn_from_positive_codes():
    """Without noise and offset, samples lie in the cone of the components.

    After `partial_fit` there is no density, so that samples are drawn from the prior.
    """
    fitted = fit_vaeense(positive_code=True, n_components=2, max_iter=60)
    fitted.partial_fit(X)
    samples = fitted.sample(2000, random_state=0) - fitted.inverse_transform(np.zeros((1, 2)))
    inverse = np.linalg.pinv(fitted.components_)
    codes = samples @ inverse
    noise = math.sqrt(fitted.noise_variance_) * np.linalg.norm(inverse, axis=0)
    assert (codes > -5 * noise).all()
    assert (codes.max(axis=0) > 5 * noise).any()


def test_samples_are_codes_and_noise(union_fit):
    """Orthogonal to the components, samples have noise with about the variance of new samples."""
    samples = union_fit.sample(4000, random_state=0)
    offset = union_fit.inverse_transform(np.zeros((1, union_fit.n_components_)))
    _, strength, directions = np.linalg.svd(union_fit.components_)
    directions = directions[(strength > 1e-3 * strength[0]).sum() :]
    assert len(directions) > 0
    drawn, seen = (np.square((x - offset) @ directions.T).mean() for x in (samples, X_NEW))
    assert drawn == pytest.approx(seen, rel=0.3)


def test_a_seed_fixes_the_samples(fitted):
    one, again, other = (fitted.sample(5, random_state=seed) for seed in (3, 3, 4))
    assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert fitted.sample().shape == (1, 8)


# --- fits -----------------------------------------------------------------------------------


def test_a_given_noise_variance_is_kept_or_only_a_start():
    kept = fit_vaeense(noise_variance=0.02, learn_noise_variance=False)
    assert kept.noise_variance_ == pytest.approx(0.02)
    assert fit_vaeense(noise_variance=0.02).noise_variance_ != pytest.approx(0.02, rel=1e-3)


def test_warm_start_moves_to_other_samples():
    """The units stay the same, and all but a hundredth of the loss from the move is regained."""
    estimator = fit_vaeense(warm_start=True, max_iter=60)
    mean, scale = estimator.mean_, estimator.scale_
    # Samples of twice the size have a density that is lower by log(2) in each feature.
    at_best = estimator.score(X) - 8 * math.log(2)
    before = estimator.score(2 * X + 1)
    fit_unwarned(estimator.set_params(model__max_iter=400), 2 * X + 1)
    assert_array_equal(estimator.mean_, mean)
    assert estimator.scale_ == scale
    assert at_best - estimator.score(2 * X + 1) < 0.01 * (at_best - before)


def test_partial_fit_learns_batch_by_batch():
    estimator = quick_vaeense(batch_size=32)
    estimator.partial_fit(X)
    scale, first = estimator.scale_, estimator.score(X_NEW)
    for i in range(40):
        estimator.partial_fit(SUBSPACES.train[(i % 6) * 300 : (i % 6 + 1) * 300])
    assert estimator.score(X_NEW) > first + 1
    assert estimator.scale_ == scale


def test_history_tells_which_init_was_kept():
    history = fit_vaeense(n_init=3).history_
    lengths = [int((history["init"] == init).sum()) for init in range(3)]
    assert len({history["loss"][history["init"] == init][-1] for init in range(3)}) == 3
    assert lengths.index(max(lengths)) == history["init"][-1]


@pytest.mark.parametrize(("network", "expected"), [("single_layer", 4), (MLP((8,)), 1)], ids=repr)
def test_decoders_with_hidden_layers_get_one_init(network, expected):
    vaease = VAEase(network, max_iter=1)
    fitted = VAEenseTransformer(4, model=vaease, random_state=0)
    with pytest.warns(ConvergenceWarning):
        fitted.fit(X)
    assert len(set(fitted.history_["init"])) == expected


def test_an_init_that_learns_is_kept_before_one_that_cannot(monkeypatch):
    make = VAEaseTraining._make_trainer

    def make_first_idle(self, data, seeds, init=0, model=None):
        trainer = make(self, data, seeds, init, model)
        trainer.learning_rate *= init
        return trainer

    monkeypatch.setattr(VAEaseTraining, "_make_trainer", make_first_idle)
    assert fit_vaeense(n_init=2).history_["init"][-1] == 1


def test_inits_are_compared_at_no_less_than_the_middle_of_the_noise_variances():
    """Near the least one, a smaller error would count for more than a closed latent."""
    estimator = VAEenseTransformer(model=VAEase())
    model = torch.nn.Identity()
    trainer = SimpleNamespace(model=model, hooks=[SimpleNamespace(first=0.1, floor=1e-5)])

    def loss(error, kl):
        model.elbo = lambda x: (torch.tensor(error), torch.tensor(kl))
        return estimator._init_loss(trainer, torch.zeros(1, 5))

    assert loss(2e-4, 10.0) < loss(1e-4, 10.1) < loss(2e-4, 10.2)
    # Errors above it are the noise.
    assert loss(5.0, 0.0) == pytest.approx(2.5 * np.log(2 * np.pi * np.e))


# --- what explains the samples --------------------------------------------------------------


def test_a_small_table_is_fitted_without_a_warning():
    X = load_iris().data
    model = VAEenseTransformer(random_state=0).fit(X)
    assert model.explanation_ == "share"
    assert fvu(X, model.inverse_transform(model.transform(X))) < 0.05


def test_an_overcomplete_dictionary_is_kept_before_principal_components(pairs_fit):
    counts = pairs_fit.active_dimensions(PAIRS.new).sum(axis=1)
    assert pairs_fit.explanation_ == "gates"
    assert np.abs(counts - PAIRS.new_label).mean() < 0.05


def test_nested_subspaces_share_latents():
    """The first latent is on for all samples, and most latents are on more often than not."""
    rng = np.random.default_rng(1)
    dimension = rng.integers(1, 4, 1500)
    codes = rng.standard_normal((1500, 9)) * (np.arange(9) < dimension[:, None])
    X = codes @ np.linalg.qr(rng.standard_normal((9, 9)))[0]
    X += 0.02 * rng.standard_normal(X.shape)
    vaeense = fit_unwarned(VAEenseTransformer(random_state=0), X[:1100])
    counts = vaeense.active_dimensions(X[1100:]).sum(axis=1)
    assert vaeense.explanation_ in ("gates", "mixture")
    assert np.abs(counts - dimension[1100:]).mean() < 0.2


def test_one_flat_part_is_used_where_codes_have_too_few_latents():
    """Five of six codes are on, so that samples are nearly normal."""
    X, *_ = make_sparse_dictionary(
        900, n_atoms=6, n_active=5, n_features=12, noise=0.05, random_state=0
    )
    vaeense = fit_unwarned(VAEenseTransformer(4, random_state=0), X[:600])
    assert vaeense.explanation_ == "normal"
    assert (vaeense.active_dimensions(X[600:]).sum(axis=1) == 4).all()


def test_without_a_target_principal_components_stay_where_nothing_explains():
    rng = np.random.default_rng(0)
    X = np.tanh(rng.standard_normal((1000, 3)) @ rng.standard_normal((3, 6)))
    vaeense = fit_unwarned(VAEenseTransformer(target_explained_variance=None, random_state=0), X)
    assert vaeense.explanation_ == "normal"
    assert vaeense.active_dimensions(X).all()
    assert fvu(X, vaeense.inverse_transform(vaeense.transform(X))) < 0.02


def test_default_number_of_components():
    """Twice the number of principal components with 99 % of the variance, which is 3 here."""
    assert fit_vaeense(n_components=None, max_iter=1).n_components_ == 6


@pytest.mark.parametrize(("kind", "n_clusters"), [(SubspaceMixture, 1), (VAEenseTransformer, 3)])
def test_memory_and_time_do_not_grow_with_the_square_of_the_columns(kind, n_clusters):
    """No matrix has a row and a column for each feature: its decompositions would be cubic."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((60, 4000))
    X = 3 * noise[rng.integers(n_clusters, size=60)] + noise
    tracemalloc.start()
    try:
        kind(random_state=0).fit(X).score(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 4000**2


@pytest.mark.parametrize("hard", ["auto", False])
@pytest.mark.parametrize("model", ["mixture", "gates"])
def test_active_latents_and_codes_are_found_at_once(model, hard):
    X, *_ = make_sparse_dictionary(300, n_features=8, random_state=0)
    vaeense = VAEenseTransformer(model=model, hard=hard, random_state=0).fit(X)
    active, codes = vaeense._active_codes(X)
    assert_array_equal(active, vaeense.active_dimensions(X))
    assert_array_equal(codes, vaeense.transform(X))
