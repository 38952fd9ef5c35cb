"""The mixture that a prior fits to samples, given a decoder."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

from skvaeense.priors import CodedSamples, Mixture, StandardNormal
from skvaeense.priors._samples import TrainingRows

N_FEATURES = 7


def test_rows_are_bounded_and_checked():
    x = np.arange(20_000.0)[:, None].astype(np.float32)
    before = TrainingRows(x, np.zeros(20_000, int), np.ones(20_000))
    rows = TrainingRows.of(x[:6], np.zeros(6, int), np.full(6, 2.0), before)
    assert_array_equal(rows.weight[:7], [2, 2, 2, 2, 2, 2, 1])
    assert_array_equal(rows.x[:7, 0], [0, 1, 2, 3, 4, 5, 0])
    assert len(rows.x) == len(rows.location) == 8192
    rows.check(1, 0)
    for damaged in (
        replace(rows, location=rows.location + 1),
        replace(rows, x=rows.x[:5]),
        replace(rows, x=rows.x * np.nan),
        replace(rows, location=rows.x[:, 0]),
        replace(rows, weight=rows.weight - 1),
    ):
        with pytest.raises(ValueError, match="must"):
            damaged.check(1, 0)


# --- fitting --------------------------------------------------------------------------------


def coded(code, weight, noise=0.1, *, used=None, seed=0):
    """Return samples with these codes."""
    rng = np.random.default_rng(seed)
    x = code @ weight.T + 1.0 + np.sqrt(noise) * rng.standard_normal((len(code), len(weight)))
    used = np.ones(code.shape[1], dtype=bool) if used is None else used
    return CodedSamples(x, weight, np.ones(len(weight)), noise, used)


def union(n_samples, noise=0.01, seed=0):
    """Return samples of a line and a plane, with a latent for each direction."""
    rng = np.random.default_rng(seed)
    code = 2 * rng.standard_normal((n_samples, 3))
    code[: n_samples // 2, 1:] = code[n_samples // 2 :, 0] = 0
    return coded(code, np.eye(N_FEATURES)[:, :3], noise, seed=seed)


def test_many_features_may_have_any_mean():
    """Directions without variance can have a mean, too."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 130))
    x += 0.01 * rng.standard_normal(x.shape)
    scores = []
    for bias in (0.0, 2.0):
        samples = CodedSamples(x + bias, np.eye(130), np.zeros(130), 1e-4, np.ones(130, dtype=bool))
        scores.append(Mixture().density(samples).log_prob(x + bias))
    assert_allclose(scores[1], scores[0], atol=1e-3)
    assert scores[0].mean() > 300


def test_a_union_is_found():
    train, test = union(1000), union(1000, seed=1)
    density = Mixture().density(train)
    assert sorted(density.ranks) == [1, 2]
    # Noise off the span of the decoder gets no directions.
    assert density.basis.shape == (N_FEATURES, 3)
    assert_allclose(density.noise_variances, 0.01, rtol=0.05)
    assert_allclose(density.weights, 0.5, atol=0.04)
    line = np.diag([4.01, *[0.01] * 6])
    plane = np.diag([0.01, 4.01, 4.01, *[0.01] * 4])
    truth = logsumexp(
        [np.log(0.5) + multivariate_normal(np.ones(7), C).logpdf(test.x) for C in (line, plane)],
        axis=0,
    )
    gap = truth - density.log_prob(test.x)
    assert -2 * gap.std() / np.sqrt(len(gap)) < gap.mean() < 0.05


def test_the_number_of_components_may_be_given():
    assert len(Mixture(1).density(union(300))) == 1
    assert len(Mixture(2).density(union(300))) == 2
    assert len(Mixture(max_components=1).density(union(300))) == 1


@pytest.mark.parametrize("n_samples", [1, 2, 3, 5, 20])
def test_few_rows_give_a_finite_density(n_samples):
    samples = union(20)
    samples = samples._replace(x=samples.x[:n_samples])
    density, again = (Mixture().density(samples) for _ in range(2))
    density.check(N_FEATURES)
    assert np.isfinite(density.log_prob(samples.x)).all()
    assert_array_equal(density.means, again.means)


def found_fewer(n_components):
    """Return a context that expects a warning that not all components were found."""
    return pytest.warns(ConvergenceWarning, match=f"components of n_components={n_components} were")


@pytest.mark.parametrize("n_components", ["auto", 4])
def test_rows_that_are_all_the_same_give_a_finite_density(n_components):
    samples = union(60)
    samples = samples._replace(x=np.ones_like(samples.x))
    with nullcontext() if n_components == "auto" else found_fewer(n_components):
        density = Mixture(n_components).density(samples)
    density.check(N_FEATURES)
    assert np.isfinite(density.log_prob(samples.x)).all()


def closed(samples):
    """Return the same samples with all latents closed."""
    return samples._replace(used=np.zeros_like(samples.used))


def test_closed_latents_leave_noise():
    samples = coded(np.zeros((200, 3)), np.eye(N_FEATURES)[:, :3], noise=0.5)
    density = Mixture().density(closed(samples)._replace(noise_variance=1.0))
    density.check(N_FEATURES)
    assert not density.ranks.any()
    variance = density.weights @ density.spreads
    assert_allclose(variance, np.square(samples.x - 1).mean(), rtol=0.05)


def test_what_the_decoder_misses_is_one_normal_distribution():
    train, test = closed(union(2000)), union(2000, seed=1)
    density = Mixture().density(train)
    density.check(N_FEATURES)
    normal = multivariate_normal(train.x.mean(axis=0), np.cov(train.x.T)).logpdf(test.x).mean()
    spanned = Mixture().density(union(2000)).log_prob(test.x).mean()
    assert normal - 0.1 < density.log_prob(test.x).mean() < spanned - 0.5
    # A mixture that `fit` has found can be the density, unless another number is asked for.
    assert Mixture().may_be(density)
    assert not Mixture(3).may_be(density)
    assert not Mixture(max_components=len(density) - 1).may_be(density)


def test_more_features_than_rows_leave_few_directions():
    samples = coded(np.zeros((12, 1)), np.eye(100)[:, :1])
    samples.x[:, 5] += np.linspace(-20, 20, 12)
    density = Mixture().density(closed(samples))
    density.check(100)
    assert density.basis.shape[1] <= 12
    assert np.abs(density.basis[5]).max() > 0.99


@pytest.mark.parametrize("n_components", [30, 64])
def test_one_row_a_component_gives_a_finite_density(n_components):
    samples = union(30)
    with found_fewer(n_components):
        density = Mixture(n_components).density(samples)
    density.check(N_FEATURES)
    assert np.isfinite(density.log_prob(union(50, seed=1).x)).all()


def test_locations_are_means_and_no_directions():
    rng = np.random.default_rng(0)
    location = np.repeat([0, 1], 300)
    code = np.hstack([rng.standard_normal((600, 1)), np.eye(2)[location]])
    weight = np.zeros((N_FEATURES, 3))
    weight[0, 0], weight[1, 1], weight[2, 2] = 2, 30, 30
    density = Mixture().density(coded(code, weight))
    assert_array_equal(density.ranks, [1, 1])
    means = density.center + density.means @ density.basis.T
    means = means[means[:, 1].argsort()]
    assert_allclose(means, [[1, 1, 31, *[1] * 4], [1, 31, 1, *[1] * 4]], atol=0.3)


def test_standard_normal_latents_have_a_normal_density():
    rng = np.random.default_rng(0)
    samples = coded(rng.standard_normal((5, 3)), rng.standard_normal((N_FEATURES, 3)), 0.3)
    W = samples.weight
    normal = multivariate_normal(samples.bias, W @ W.T + 0.3 * np.eye(N_FEATURES))
    density = StandardNormal().density(samples)
    assert_allclose(density.log_prob(samples.x), normal.logpdf(samples.x))
    assert StandardNormal().has_density(gated=False)
    assert not StandardNormal().has_density(gated=True)
