"""Bounds of the log-density of decoded codes, compared with exact values and integrals."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skvaeense.models import VAE, DecodedDensity
from skvaeense.networks import MLP, Linear
from skvaeense.priors import CodeMixture

NOISE = np.array([0.05, 0.2])


def make_model(network, n_features, n_components, seed=0, bend=1.5):
    """Return a model in double precision with a decoder that is more curved than a new one."""
    generator = torch.Generator().manual_seed(seed)
    model = VAE(network, n_features, n_components, generator=generator).double()
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if "decoder" in name and parameter.ndim == 2:
                parameter *= bend
    return model.eval()


def make_codes(n_latents, max_rank, seed=0):
    """Return two components. The second has fewer directions."""
    rng = np.random.default_rng(seed)
    factors = 0.7 * rng.standard_normal((2, n_latents, max_rank))
    factors[1, :, 1:] = 0
    means = np.stack([np.zeros(n_latents), rng.standard_normal(n_latents)])
    return CodeMixture(np.array([0.7, 0.3]), means, factors, NOISE)


def integrated(density, x, n_points):
    """Return log-densities from sums over a grid of w, which has at most two dimensions."""
    codes = density.codes
    w1 = np.linspace(-7, 7, n_points)
    terms = []
    for c, noise in enumerate(codes.noise_variances):
        rank = int(codes.ranks[c])
        grid = np.stack(np.meshgrid(*[w1] * rank, indexing="ij"), axis=-1).reshape(-1, rank)
        e = torch.from_numpy(codes.means[c] + grid @ codes.factors[c, :, :rank].T)
        with torch.no_grad():
            f = density.model.decode(e).numpy()
        log_joint = -0.5 * np.square(x[:, None] - f).sum(axis=2) / noise
        log_joint -= 0.5 * x.shape[1] * np.log(2 * np.pi * noise)
        log_joint += multivariate_normal(np.zeros(rank)).logpdf(grid)
        cell = rank * np.log(w1[1] - w1[0])
        terms.append(np.log(codes.weights[c]) + logsumexp(log_joint, axis=1) + cell)
    return logsumexp(terms, axis=0)


def test_it_is_exact_if_the_decoder_is_linear(subtests):
    for n_draws in (1, 2, 5):
        with subtests.test(n_draws=n_draws):
            model = make_model(Linear((8,)), 6, 4)
            codes = make_codes(4, 3)
            density = DecodedDensity(model, codes, n_draws)
            x, _ = density.sample(50, np.random.RandomState(0))
            W = model.linear_decoder.weight.detach().numpy()
            offset = model.decode(torch.zeros(1, 4, dtype=torch.float64)).detach().numpy()[0]
            for c in range(2):
                F = W @ codes.factors[c]
                normal = multivariate_normal(
                    offset + W @ codes.means[c], F @ F.T + NOISE[c] * np.eye(6)
                )
                bound = density.log_joint(x)[:, c]
                assert np.isfinite(bound).mean() > 0.3
                exact = np.log(codes.weights[c]) + normal.logpdf(x)
                assert_allclose(bound[np.isfinite(bound)], exact[np.isfinite(bound)], rtol=1e-8)


def test_it_is_a_bound_that_draws_make_tight(subtests):
    for seed in range(3):
        for rank in (1, 2):
            with subtests.test(rank=rank, seed=seed):
                model = make_model(MLP((16,)), 5, 3, seed)
                codes = make_codes(3, rank, seed)
                x, _ = DecodedDensity(model, codes, 1).sample(60, np.random.RandomState(seed))
                exact = integrated(DecodedDensity(model, codes, 1), x, 2001 if rank == 1 else 201)
                gaps = [exact - DecodedDensity(model, codes, n).log_prob(x) for n in (2, 16, 1000)]
                # The bound exceeds the density only by chance, and is tighter with more draws.
                for gap in gaps:
                    assert gap.mean() > -0.02
                # The bound of few draws misses the mode of some samples.
                errors = [np.median(np.abs(gap)) for gap in gaps]
                assert errors[2] < errors[1] < errors[0]
                assert errors[2] < 0.02
                assert (gaps[1] < 0.3).mean() > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_where_modes_are_missed_it_is_still_a_bound(seed):
    model, codes = make_model(MLP((16,)), 5, 3, seed, bend=4.0), make_codes(3, 2, seed)
    density = DecodedDensity(model, codes, 16)
    x, _ = density.sample(60, np.random.RandomState(seed))
    gap = integrated(density, x, 401) - density.log_prob(x)
    assert gap.min() > -0.5
    assert gap.mean() > -0.02


def test_draws_of_other_samples_do_not_matter():
    density = DecodedDensity(make_model(MLP((16,)), 5, 3), make_codes(3, 2), 4)
    x, _ = density.sample(9, np.random.RandomState(0))
    assert_allclose(density.log_prob(x)[4:5], density.log_prob(x[4:5]), rtol=1e-9)


def test_noise_variances_follow_from_samples():
    model, codes = make_model(MLP((16,)), 8, 3), make_codes(3, 1)
    density = DecodedDensity(model, codes, 16)
    x, labels = density.sample(2000, np.random.RandomState(0))
    assert (density.log_joint(x).argmax(axis=1) == labels).mean() > 0.85
    started = DecodedDensity(
        model, CodeMixture(codes.weights, codes.means, codes.factors, np.full(2, 0.12)), 16
    )
    learned = started.with_noise_of(x)
    for _ in range(5):
        learned = DecodedDensity(model, learned, 16).with_noise_of(x)
    assert_allclose(learned.noise_variances, NOISE, rtol=0.1)
    gain = DecodedDensity(model, learned, 16).log_prob(x) - started.log_prob(x)
    assert gain.mean() > 0.1


def test_few_components_have_bounds_and_all_may_be_points():
    model = make_model(MLP((16,)), 5, 3)
    rng = np.random.default_rng(0)
    means = 0.1 * rng.standard_normal((6, 3))
    codes = CodeMixture(np.full(6, 1 / 6), means, np.zeros((6, 3, 0)), np.full(6, 0.3))
    density = DecodedDensity(model, codes, 16)
    assert_array_equal(density.ranks, 0)
    x, _ = density.sample(7, np.random.RandomState(0))
    with torch.no_grad():
        centers = model.decode(torch.from_numpy(means)).numpy()
    exact = [np.log(1 / 6) + multivariate_normal(m, 0.3 * np.eye(5)).logpdf(x) for m in centers]
    joint, exact = density.log_joint(x), np.transpose(exact)
    kept = np.isfinite(joint)
    assert_array_equal(kept.sum(axis=1), 3)
    assert_allclose(joint[kept], exact[kept])


def test_samples_that_overflow_have_no_score():
    density = DecodedDensity(make_model(MLP((16,)), 5, 3), make_codes(3, 2), 4)
    scores = density.log_prob(np.array([np.zeros(5), np.full(5, 1e200)]))
    assert_array_equal(np.isfinite(scores), [True, False])
