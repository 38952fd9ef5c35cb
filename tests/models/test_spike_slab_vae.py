"""The model of gates with a prior, compared with sums over all patterns of gates."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from helpers import draw, generator
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from skvaeense.losses import ELBO
from skvaeense.models import SpikeSlabVAE
from skvaeense.models._spike_slab_vae import _mean_of_new
from skvaeense.networks import MeanField
from skvaeense.priors import GatePosterior
from skvaeense.utils._seeding import make_generator

N_FEATURES, N_COMPONENTS = 5, 4
PATTERNS = torch.tensor(list(itertools.product([0.0, 1.0], repeat=N_COMPONENTS))).double()
SIGNS = pytest.mark.parametrize("positive", [False, True], ids=["signed", "positive"])


def make_model(n_looks=4, n_features=N_FEATURES, n_components=N_COMPONENTS, **params):
    """Return a model in double precision with random weights and a random prior."""
    network = MeanField(n_looks, positive=params.get("positive", False))
    model = SpikeSlabVAE(network, n_features, n_components, generator=generator(), **params)
    model = model.double()
    with torch.no_grad():
        for i, parameter in enumerate(model.network.parameters()):
            parameter += 0.3 * draw(*parameter.shape, seed=i)
        model.network.normalize()
        model.gate_probability.copy_(draw(n_components, seed=7).sigmoid())
        model.slab_mean.copy_(draw(n_components, seed=8).abs())
        model.slab_variance.copy_(0.5 + draw(n_components, seed=9).square())
    model.noise_variance = torch.tensor(0.3).double()
    return model.eval()


def probability_of(logit):
    """Return the probabilities of all patterns of gates, one row for each sample."""
    gates = Bernoulli(logits=logit[:, None, :])
    return gates.log_prob(PATTERNS).sum(dim=2).exp()


def test_gates_that_stay_are_no_patterns():
    model = make_model()
    for shares, expected in (([0.5, 0.5, 0, 0], True), ([1, 1, 0.9, 0.01], False)):
        model.gate_probability.copy_(torch.tensor(shares))
        assert model.has_patterns is expected


def test_a_diverged_decoder_is_left_as_it_is():
    """Least squares in torch fail with an internal error where moments overflow."""
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    code = torch.full((20, N_COMPONENTS), math.inf).double()
    lengths = model._turn_columns(draw(20, N_FEATURES), code, torch.zeros_like(code))
    assert torch.equal(lengths, torch.ones(N_COMPONENTS).double())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_settling_closes_gates_that_samples_would_not_miss():
    """A slab far narrower than the noise would leave an open gate and a code of noise."""
    model, x = make_model(), draw(200, N_FEATURES)
    with torch.no_grad():
        model.gate_probability.fill_(0.98)
        model.slab_mean[0], model.slab_variance[0] = 0.0, 1e-8
        x += 3 * draw(200, N_COMPONENTS, seed=1) @ model.network.decoder.weight.T
    assert model.inferred(x).is_open[:, 0].all()
    found = model.settle(x)
    assert not found[:, 0].any()
    assert found[:, 1:].any(dim=0).all()
    assert not model.inferred(x).is_open[:, 0].any()


# --- the bound --------------------------------------------------------------------------------


@SIGNS
def test_bound_is_the_sum_over_all_patterns_of_gates(positive):
    model, x = make_model(positive=positive), draw(6, N_FEATURES)
    model.prices[0] = 0.4
    with torch.no_grad():
        posterior = model.posterior(x)
        error, kl = model.elbo(x)
        weight, mean, v = model.network.decoder.weight, posterior.mean, posterior.variance
        q = probability_of(posterior.gate_logit)
        # Given a pattern, the code is normal, with the variance v of each open latent.
        codes = PATTERNS * mean[:, None, :]
        errors = (x[:, None] - model.decode(codes)).square().sum(dim=2)
        errors += PATTERNS @ (v * weight.square().sum(dim=0))
        torch.testing.assert_close(error, (q * errors).sum(dim=1))
        prior_logit = torch.logit(model.gate_probability) - 0.4
        p = probability_of(prior_logit[None])
        slab = Normal(model.slab_mean, model.slab_variance.sqrt())
        slabs = kl_divergence(Normal(mean, v.sqrt()), slab)
        expected = (q * (q / p).log()).sum(dim=1) + (q @ PATTERNS * slabs).sum(dim=1)
        torch.testing.assert_close(kl, expected)


def log_likelihood(model, x):
    """Return the log-density of samples as a sum over all patterns."""
    weight, bias = model.network.decoder.weight, model.network.decoder.bias
    p = probability_of(torch.logit(model.gate_probability)[None])[0]
    terms = []
    for pattern, share in zip(PATTERNS, p, strict=True):
        columns = weight * pattern
        covariance = columns @ torch.diag(model.slab_variance) @ columns.T
        covariance = covariance + model.noise_variance * torch.eye(len(weight)).double()
        terms.append(
            share.log()
            + MultivariateNormal(bias + columns @ model.slab_mean, covariance).log_prob(x)
        )
    return torch.stack(terms).logsumexp(dim=0)


def bound(model, x):
    """Return the evidence lower bound in nats."""
    error, kl = model.elbo(x)
    g = model.noise_variance
    return -0.5 * (error / g + x.shape[1] * torch.log(2 * math.pi * g)) - kl


def test_bound_is_below_the_density():
    model, x = make_model(), 2 * draw(50, N_FEATURES)
    with torch.no_grad():
        assert (bound(model, x) < log_likelihood(model, x)).all()


def test_bound_is_the_density_where_columns_do_not_overlap():
    """Without overlap latents are independent given the sample, and one whole step is exact."""
    model, x = make_model(n_looks=1), 2 * draw(50, N_FEATURES)
    with torch.no_grad():
        model.network.decoder.weight.copy_(torch.linalg.qr(draw(N_FEATURES, N_COMPONENTS))[0])
        model.network.steps.fill_(1.0)
        model.network.log_noise.zero_()
        torch.testing.assert_close(bound(model, x), log_likelihood(model, x))


# --- the gradient -----------------------------------------------------------------------------


def looks_by_hand(model, x):
    """Return logits and means by the formulas of the docstring, with operations of autograd."""
    network, t, m = model.network, model.slab_variance, model.slab_mean
    A, b, g = network.decoder.weight, network.decoder.bias, model.noise_variance
    e = torch.zeros(len(x), A.shape[1]).double()
    for i, (step, log_noise) in enumerate(zip(network.steps, network.log_noise, strict=True)):
        residual = x - b - e @ A.T
        u = e + step * (residual @ A)
        u = u.relu() if network.positive else u
        level = (g + residual.square().sum(dim=1, keepdim=True) / len(A)) / 2
        n = log_noise.exp() * (g if i == len(network.steps) - 1 else level)
        mean = (u * t + m * n) / (t + n)
        evidence = (n / (n + t)).log() + u**2 / n - (u - m) ** 2 / (n + t)
        logit = torch.logit(model.gate_probability) + evidence / 2
        e = torch.sigmoid(logit) * mean
    return logit, mean


@SIGNS
def test_looks_and_their_gradient_are_those_of_the_formulas(positive, subtests):
    for n_looks in (1, 2, 4):
        for n_components in (4, 13):
            with subtests.test(n_components=n_components, n_looks=n_looks):
                model = make_model(n_looks, n_components=n_components, positive=positive)
                x = draw(7, N_FEATURES)
                parameters = list(model.network.parameters())
                of_logit, of_mean = draw(7, n_components, seed=1), draw(7, n_components, seed=2)
                found = []
                for logit, mean in (looks_by_hand(model, x), model.posterior(x)[:2]):
                    loss = (of_logit * logit + of_mean * mean).sum()
                    found.append([logit, mean, *torch.autograd.grad(loss, parameters)])
                for by_hand, own in zip(*found, strict=True):
                    torch.testing.assert_close(own, by_hand)
                with torch.no_grad():
                    torch.testing.assert_close(model.posterior(x).gate_logit, found[0][0])


def test_training_needs_no_draws():
    model, x = make_model(target_l0=[2, 1]).train(), draw(8, N_FEATURES)
    gradient = ELBO().gradient(model)
    first = [gradient(x, make_generator(seed)) for seed in (0, 1)]
    for name, term in first[0].items():
        torch.testing.assert_close(term, first[1][name])


# --- codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_components", [4, 13])
def test_codes_are_the_best_ones_of_their_open_gates(n_components):
    """As many steps as latents solve the equations exactly."""
    model, x = make_model(16, n_components=n_components), draw(30, N_FEATURES)
    with torch.no_grad():
        posterior = model.posterior(x)
        codes = model.code(posterior)
        weight, bias = model.network.decoder.weight, model.network.decoder.bias
        for code, is_open, sample in zip(codes, posterior.is_open, x, strict=True):
            left = sample - bias - weight @ code
            # The residual has no component along open columns.
            torch.testing.assert_close(
                weight[:, is_open].T @ left,
                torch.zeros(int(is_open.sum())).double(),
                atol=1e-7,
                rtol=0,
            )
            assert (code[~is_open] == 0).all()
    assert 0 < posterior.is_open.double().mean() < 1


def test_every_step_of_a_code_leaves_less():
    x = draw(40, N_FEATURES)
    losses = []
    for n_steps in (0, 1, 2, 5):
        model = make_model()
        with torch.no_grad():
            posterior = model.posterior(x)
            model.network.steps = torch.nn.Parameter(model.network.steps[:1].repeat(n_steps, 1))
            code = model.code(posterior)
            losses.append((x - model.decode(code)).square().sum(dim=1))
    for more, fewer in itertools.pairwise(losses):
        assert (fewer <= more + 1e-9).all()
    assert losses[-1].mean() < losses[0].mean()


def test_codes_that_are_to_be_positive_are():
    model, x = make_model(positive=True), 2 * draw(200, N_FEATURES)
    with torch.no_grad():
        posterior = model.posterior(x)
        code = model.code(posterior)
    assert (code[posterior.is_open] > 0).all()
    assert (code[~posterior.is_open] == 0).all()


def test_posterior_of_a_gate():
    posterior = GatePosterior(torch.tensor([[0.0, 2.0]]), torch.ones(1, 2), torch.ones(2), 0)
    torch.testing.assert_close(posterior.probability, torch.tensor([[0.5, 1 / (1 + math.exp(-2))]]))
    assert posterior.is_open.tolist() == [[False, True]]
    assert posterior.std.shape == posterior.log_variance.shape == (1, 2)


# --- lengths ----------------------------------------------------------------------------------


def many(**params):
    model = make_model(n_features=8, n_components=20, **params)
    model.gate_probability.fill_(0.3)
    return model, 3 * draw(400, 8, seed=3)


def length_of(model, x):
    with torch.no_grad():
        return float(model.inferred(x).is_open.double().sum(dim=1).mean())


@pytest.mark.parametrize("target", [1.5, 4.0, 8.0])
def test_a_price_meets_the_target(target):
    model, x = many(target_l0=target)
    model.calibrate(x)
    assert model.length == target
    assert length_of(model, x) == pytest.approx(target, rel=0.02)
    for share in (0.9, 0.5, 0.3, 0.1):
        shorter = model.shortened(share * target)
        assert length_of(shorter, x) == pytest.approx(share * target, rel=0.12)
    assert length_of(model, x) == pytest.approx(target, rel=0.02)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
def test_a_price_meets_the_share_of_the_variance(share):
    model, x = many(target_explained_variance=share)
    model.calibrate(x)
    with torch.no_grad():
        residual = x - model.decode(model.code(model.inferred(x)))
    left = residual.square().sum() / (x - x.mean(dim=0)).square().sum()
    assert float(left) == pytest.approx(1 - share, rel=0.02)


def test_parts_of_a_batch_have_prices_of_their_own_in_training():
    model, x = many(target_l0=[6, 2])
    model.first_prices.copy_(torch.tensor([0.0, 3.0]))
    both = model.train().posterior(x).gate_logit
    for price, part in ((0.0, slice(0, 200)), (3.0, slice(200, 400))):
        model.first_prices.fill_(price)
        torch.testing.assert_close(both[part], model.posterior(x[part]).gate_logit)
    found = model.batch_statistics(x, model.posterior(x))["l0"]
    assert found.shape == (2,)


def test_copies_keep_prices():
    model, x = many(target_l0=3)
    model.calibrate(x)
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        SpikeSlabVAE.from_state(model.config, model.state_dict()),
    ):
        assert length_of(other.shortened(1.3), x) == length_of(model.shortened(1.3), x)


def test_draws_have_the_prior():
    model = make_model()
    codes, _ = model.sample(20_000, generator())
    share = (codes != 0).double().mean(dim=0)
    torch.testing.assert_close(share, model.gate_probability, atol=0.02, rtol=0)
    for j in range(N_COMPONENTS):
        own = codes[codes[:, j] != 0, j]
        assert float(own.mean()) == pytest.approx(float(model.slab_mean[j]), abs=0.1)
        assert float(own.var()) == pytest.approx(float(model.slab_variance[j]), rel=0.1)


def test_bad_numbers_of_looks(subtests):
    for n_looks in (0, 1.5, "two"):
        with (
            subtests.test(n_looks=n_looks),
            pytest.raises(ValueError, match="The 'n_looks' parameter of MeanField must be an int"),
        ):
            SpikeSlabVAE(MeanField(n_looks), 3, 2, generator=generator())


def test_a_network_for_gates_is_none_for_sparse_autoencoders():
    with pytest.raises(ValueError, match="MeanField infers gates, which need a prior"):
        MeanField().build(3, 2, n_heads=1, generator=generator())


@SIGNS
def test_first_looks_lower_the_error(positive):
    x = draw(300, 10) @ draw(10, 20, seed=1)
    network = MeanField(positive=positive).build(20, 60, n_heads=2, generator=generator()).double()
    network.initialize(x, 0.1)
    assert np.allclose(network.decoder.weight.detach().norm(dim=0), 1)
    assert (network.steps > 0).all()
    assert (network.steps < 1).all()


@pytest.mark.parametrize("gap", [-2.0, 2.0])
def test_lengths_of_new_samples_count_if_they_differ_by_more_than_chance(gap):
    generator = torch.Generator().manual_seed(0)
    old, new = (torch.randn(200, generator=generator, dtype=torch.float64) + 7 for _ in range(2))
    mean = _mean_of_new(torch.cat([new + gap, old]), 200)
    assert mean == pytest.approx(7 + gap, abs=0.3)
    assert _mean_of_new(torch.cat([new + 0.01 * gap, old]), 200) == float(old.mean())
