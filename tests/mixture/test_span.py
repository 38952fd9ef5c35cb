"""The mixture in the span of a linear decoder."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skvaeense.mixture._fit import span_density

N_FEATURES = 7


class Coded(NamedTuple):
    """Samples, and the decoder that they were made with."""

    x: np.ndarray
    columns: np.ndarray
    bias: np.ndarray

    def density(self):
        """Return the mixture in the span of the decoder, after a check."""
        found = span_density(self.x, np.ones(len(self.x)), self.columns, self.bias)
        found.check()
        return found

    def closed(self):
        """Return the same samples with all latents closed."""
        return self._replace(columns=self.columns[:, :0])


def coded(code, columns, noise=0.1, *, seed=0):
    """Return samples with these codes."""
    rng = np.random.default_rng(seed)
    x = code @ columns.T + 1.0 + np.sqrt(noise) * rng.standard_normal((len(code), len(columns)))
    return Coded(x, columns, np.ones(len(columns)))


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
        scores.append(Coded(x + bias, np.eye(130), np.zeros(130)).density().log_prob(x + bias))
    assert_allclose(scores[1], scores[0], atol=1e-3)
    assert scores[0].mean() > 300


def test_a_union_is_found():
    train, test = union(1000), union(1000, seed=1)
    density = train.density()
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


@pytest.mark.parametrize("n_samples", [1, 2, 3, 5, 20])
def test_few_rows_give_a_finite_density(n_samples):
    samples = union(20)
    samples = samples._replace(x=samples.x[:n_samples])
    density, again = (samples.density() for _ in range(2))
    assert np.isfinite(density.log_prob(samples.x)).all()
    assert_array_equal(density.means, again.means)


def test_rows_that_are_all_the_same_give_a_finite_density():
    samples = union(60)
    samples = samples._replace(x=np.ones_like(samples.x))
    assert np.isfinite(samples.density().log_prob(samples.x)).all()


def test_closed_latents_leave_noise():
    samples = coded(np.zeros((200, 3)), np.eye(N_FEATURES)[:, :3], noise=0.5)
    density = samples.closed().density()
    assert not density.ranks.any()
    variance = density.weights @ density.spreads
    assert_allclose(variance, np.square(samples.x - 1).mean(), rtol=0.05)


def test_what_the_decoder_misses_is_one_normal_distribution():
    train, test = union(2000), union(2000, seed=1)
    found = train.closed().density().log_prob(test.x).mean()
    normal = multivariate_normal(train.x.mean(axis=0), np.cov(train.x.T)).logpdf(test.x).mean()
    assert normal - 0.1 < found < train.density().log_prob(test.x).mean() - 0.5


def test_more_features_than_rows_leave_few_directions():
    samples = coded(np.zeros((12, 1)), np.eye(100)[:, :1])
    samples.x[:, 5] += np.linspace(-20, 20, 12)
    density = samples.closed().density()
    assert density.basis.shape[1] <= 12
    assert np.abs(density.basis[5]).max() > 0.99


def test_groups_far_apart_are_means_and_no_directions():
    rng = np.random.default_rng(0)
    code = np.hstack([rng.standard_normal((600, 1)), np.eye(2)[np.repeat([0, 1], 300)]])
    columns = np.zeros((N_FEATURES, 3))
    columns[0, 0], columns[1, 1], columns[2, 2] = 2, 30, 30
    density = coded(code, columns).density()
    assert_array_equal(density.ranks, [1, 1])
    means = density.center + density.means @ density.basis.T
    means = means[means[:, 1].argsort()]
    assert_allclose(means, [[1, 1, 31, *[1] * 4], [1, 31, 1, *[1] * 4]], atol=0.3)
