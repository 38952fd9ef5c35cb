import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from skvaeense.networks import MLP, Linear
from skvaeense.objectives import ELBO, ELBOTerms, NoiseVariance
from skvaeense.objectives._base import BatchLoss

N_SAMPLES, N_FEATURES, N_COMPONENTS = 4, 5, 3
GATED = pytest.mark.parametrize("gated", [True, False], ids=["gated", "ungated"])
NETWORKS = pytest.mark.parametrize(
    "network",
    [
        Linear((4,)),
        Linear((), skip=False),
        MLP((4,), encoder_layer_sizes=(4,)),
        MLP((4, 3), encoder_layer_sizes=(), skip=True),
    ],
    ids=["linear", "affine", "mlp", "deep"],
)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_module(network, seed=0):
    module = network.build(N_FEATURES, N_COMPONENTS, n_heads=2, generator=make_generator(seed))
    return module.double()


def make_samples(n_samples=N_SAMPLES, seed=1):
    return torch.randn(n_samples, N_FEATURES, generator=make_generator(seed), dtype=torch.float64)


def make_elbo(gated, noise_variance=0.3):
    return ELBO(NoiseVariance(noise_variance, floor=0.01), gated=gated)


# --- terms ----------------------------------------------------------------------------------


@GATED
@NETWORKS
def test_divergence_is_the_one_of_torch(network, gated):
    module, x, elbo = make_module(network), make_samples(), make_elbo(gated)
    mean, log_variance = elbo.posterior(module, x)
    posterior = Normal(mean, torch.exp(0.5 * log_variance))
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(elbo.expected_terms(module, x, mean, log_variance).kl, expected)


def test_divergence_is_zero_at_the_prior():
    module, x, elbo = make_module(Linear((4,))), make_samples(), make_elbo(True)
    zero = torch.zeros(N_SAMPLES, N_COMPONENTS, dtype=torch.float64)
    terms = elbo.exact_terms(module, x, zero, zero)
    torch.testing.assert_close(terms.kl, torch.zeros_like(terms.kl))
    expected = (x - module.decoder.bias).square().sum(dim=1)
    torch.testing.assert_close(terms.error, expected)


@GATED
def test_posterior_variance_is_within_bounds(gated):
    module, elbo = make_module(Linear((4,))), make_elbo(gated)
    _, log_variance = elbo.posterior(module, 1e3 * make_samples(50))
    assert (log_variance <= 0).all()
    assert torch.isfinite(log_variance).all()


@GATED
@NETWORKS
def test_code_of_the_means(network, gated):
    module, x, elbo = make_module(network), make_samples(), make_elbo(gated)
    with torch.no_grad():
        expected = elbo.code(*elbo.posterior(module, x))
        code, opening = elbo.mean_code(module, x)
        torch.testing.assert_close(code, expected, rtol=1e-12, atol=0)
        assert torch.equal(opening, module.encode(x)[1])


def test_code_of_the_means_at_gates_wide_open_and_shut():
    opening = torch.tensor([-200.0, -80, -1, 0, 1, 80, 200])
    module = SimpleNamespace(encode=lambda x: (torch.ones(7), opening))
    gates, _ = ELBO(NoiseVariance(0.1, floor=0.1)).mean_code(module, None)
    h = opening.double()
    expected = torch.sigmoid(-h) / (1 + torch.sigmoid(h).sqrt())
    torch.testing.assert_close(gates.double(), expected, rtol=1e-5, atol=1e-38)


@torch.no_grad()
def test_means_have_both_signs_unless_asked_for():
    module, x = make_module(Linear((4,))), make_samples(50)
    output = module.encode(x)[0]
    mean, _ = make_elbo(True).posterior(module, x)
    assert (mean < 0).any()
    torch.testing.assert_close(mean, output)


@pytest.mark.parametrize("gated", [True, False])
@torch.no_grad()
def test_positive_means_are_the_positive_outputs(gated):
    module, x = make_module(Linear((6,))), make_samples()
    noise = NoiseVariance(0.3, floor=0.01)
    elbo = ELBO(noise, gated=gated, positive=True)
    output = module.encode(x)[0]
    assert (output < 0).any()
    mean, log_variance = elbo.posterior(module, x)
    torch.testing.assert_close(mean, output.clamp_min(0))
    torch.testing.assert_close(elbo.mean_code(module, x)[0], elbo.code(mean, log_variance))
    # The loss at the noise that it draws.
    eps = torch.empty_like(mean).normal_(generator=torch.Generator().manual_seed(3))
    terms = elbo.sampled_terms(module, x, mean, log_variance, eps)
    loss = elbo.loss(module, x, progress=0.0, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss.total, (terms.error / 0.3 + 2 * terms.kl).mean())


def test_code_with_and_without_gate():
    z = torch.tensor([[2.0, -3.0, 1.0]])
    log_variance = 2 * torch.log(torch.tensor([[0.25, 0.5, 1.0]]))
    torch.testing.assert_close(
        make_elbo(True).code(z, log_variance), torch.tensor([[1.5, -1.5, 0]])
    )
    assert torch.equal(make_elbo(False).code(z, log_variance), z)


@GATED
@NETWORKS
def test_sampled_error_follows_its_formula(network, gated):
    module, x, elbo = make_module(network), make_samples(), make_elbo(gated)
    eps = torch.randn(N_SAMPLES, N_COMPONENTS, generator=make_generator(2), dtype=torch.float64)
    mean, log_variance = elbo.posterior(module, x)
    s = torch.exp(log_variance).sqrt()
    code = (mean + s * eps) * (1 - s if gated else 1)
    terms = elbo.sampled_terms(module, x, mean, log_variance, eps)
    torch.testing.assert_close(terms.error, (x - module.decode(code)).square().sum(dim=1))


@GATED
@torch.no_grad()
def test_exact_expectation_is_the_mean_of_draws(gated):
    module, x, elbo = make_module(Linear((4,))), make_samples(), make_elbo(gated)
    mean, log_variance = elbo.posterior(module, x)
    exact = elbo.exact_terms(module, x, mean, log_variance)
    shape = 50_000, 1, N_COMPONENTS
    draws = torch.randn(shape, generator=make_generator(3), dtype=torch.float64)
    s = torch.exp(0.5 * log_variance)
    code = (mean + s * draws) * (1 - s if gated else 1)
    errors = (x - module.decode(code)).square().sum(dim=2)
    standard_error = errors.std(dim=0) / math.sqrt(len(errors))
    assert ((errors.mean(dim=0) - exact.error).abs() < 5 * standard_error).all()
    # The part that the noise adds is large enough to be seen at this precision.
    residual = x - module.decode(elbo.code(mean, log_variance))
    spread = exact.error - residual.square().sum(dim=1)
    assert (spread > 10 * standard_error).all()
    sampled = elbo.sampled_terms(module, x, mean, log_variance, draws[0])
    torch.testing.assert_close(sampled.error, errors[0])


@GATED
@torch.no_grad()
def test_fixed_draws_are_near_the_expectation(gated):
    """With an MLP decoder: opposite pairs leave little of the error."""
    module, x = make_module(MLP((4,), encoder_layer_sizes=(4,))), make_samples()
    elbo = make_elbo(gated)
    mean, log_variance = elbo.posterior(module, x)
    expected = elbo.expected_terms(module, x, mean, log_variance)
    draws = torch.randn(20_000, 1, N_COMPONENTS, generator=make_generator(3), dtype=torch.float64)
    s = torch.exp(0.5 * log_variance)
    code = (mean + s * draws) * (1 - s if gated else 1)
    errors = (x - module.decode(code)).square().sum(dim=2)
    assert ((errors.mean(dim=0) - expected.error).abs() < 4 * errors.std(dim=0) / 4).all()


@torch.no_grad()
def test_expectation_of_a_linear_decoder_is_the_exact_one():
    module, x, elbo = make_module(Linear((4,))), make_samples(), make_elbo(True)
    mean, log_variance = elbo.posterior(module, x)
    expected = elbo.expected_terms(module, x, mean, log_variance)
    assert torch.equal(expected.error, elbo.exact_terms(module, x, mean, log_variance).error)


@GATED
@NETWORKS
@torch.no_grad()
def test_expectation_for_a_sample_depends_on_it_alone(network, gated):
    module, x, elbo = make_module(network), make_samples(), make_elbo(gated)
    together = elbo.expected_terms(module, x, *elbo.posterior(module, x))
    alone = [elbo.expected_terms(module, row, *elbo.posterior(module, row)) for row in x.split(1)]
    torch.testing.assert_close(together.error, torch.cat([terms.error for terms in alone]))
    torch.testing.assert_close(together.kl, torch.cat([terms.kl for terms in alone]))


# --- gradients ------------------------------------------------------------------------------


def check_gradients(module, loss):
    names, values = zip(*module.named_parameters(), strict=True)

    class Caller(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self):
            return loss(self.module)

    caller = Caller()

    def function(*parameters):
        named = {f"module.{k}": v for k, v in zip(names, parameters, strict=True)}
        return torch.func.functional_call(caller, named, ())

    assert torch.autograd.gradcheck(function, values)


@GATED
@NETWORKS
def test_gradients_of_the_sampled_loss(network, gated):
    x, elbo = make_samples(), make_elbo(gated)
    eps = torch.randn(N_SAMPLES, N_COMPONENTS, generator=make_generator(2), dtype=torch.float64)

    def loss(module):
        terms = elbo.sampled_terms(module, x, *elbo.posterior(module, x), eps)
        return terms.error.mean() / 0.3 + 2 * terms.kl.mean()

    check_gradients(make_module(network), loss)


@GATED
@pytest.mark.parametrize("network", [Linear((4,)), Linear((), skip=False)])
def test_gradients_of_the_exact_loss(network, gated):
    x, elbo = make_samples(), make_elbo(gated)

    def loss(module):
        terms = elbo.exact_terms(module, x, *elbo.posterior(module, x))
        return terms.error.mean() / 0.3 + 2 * terms.kl.mean()

    check_gradients(make_module(network), loss)


# --- loss -----------------------------------------------------------------------------------


@GATED
@NETWORKS
def test_loss_is_made_of_its_terms(network, gated):
    module, x, elbo = make_module(network), make_samples(), make_elbo(gated)
    loss = elbo.loss(module, x, progress=0.0, generator=make_generator(7))
    eps = torch.randn(N_SAMPLES, N_COMPONENTS, generator=make_generator(7), dtype=torch.float64)
    terms = elbo.sampled_terms(module, x, *elbo.posterior(module, x), eps)
    assert isinstance(terms, ELBOTerms)
    assert isinstance(loss, BatchLoss)
    torch.testing.assert_close(loss.error, terms.error.mean().detach())
    torch.testing.assert_close(loss.cost, 2 * terms.kl.mean().detach())
    torch.testing.assert_close(loss.total, loss.error / 0.3 + loss.cost)
    assert loss.total.requires_grad
    assert not loss.error.requires_grad
    assert not loss.cost.requires_grad


def test_loss_draws_from_its_generator_alone():
    module, x, elbo = make_module(Linear((4,))), make_samples(), make_elbo(True)
    before = torch.random.get_rng_state()
    losses = [
        float(elbo.loss(module, x, progress=0.0, generator=make_generator(seed)).total.detach())
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert losses[0] == losses[1] != losses[2]


def test_noise_variance_is_that_of_the_last_loss():
    module, x, elbo = make_module(Linear((4,))), make_samples(), make_elbo(True)
    assert elbo.noise_variance == 0.3
    elbo.loss(module, x, progress=0.6, generator=make_generator())
    assert elbo.noise_variance == pytest.approx(math.sqrt(0.3 * 0.01))
    assert np.isscalar(elbo.noise_variance)


# --- what a loss leaves behind ----------------------------------------------------------------


def test_a_loss_tells_its_error_per_feature_to_the_noise():
    noise = NoiseVariance(0.3, floor=0.01, hold=0.0, settle=0.0)
    module, elbo = make_module(Linear((4,))), ELBO(noise)
    loss = elbo.loss(module, make_samples(), progress=0.5, generator=make_generator())
    elbo.observe(loss.seen, n_samples=N_SAMPLES, progress=0.5)
    assert float(noise.at(0.5)) == pytest.approx(float(loss.error) / N_FEATURES)


def test_fixed_draws_come_in_opposite_pairs():
    """What is odd in the noise has no part in the error: samples left and right are the same."""
    decoder = make_module(Linear((4,))).decoder
    # Taken for one that is not linear, so that the expectation is not the exact one.
    module = SimpleNamespace(decode=lambda e: e @ decoder.weight.T, has_linear_decoder=False)
    x, elbo = make_samples(), make_elbo(False)
    mean = torch.zeros(N_SAMPLES, N_COMPONENTS, dtype=torch.float64)
    left, right = (elbo.expected_terms(module, s * x, mean, mean - 1).error for s in (1, -1))
    torch.testing.assert_close(left, right)


def test_a_step_draws_no_parameter_anew():
    """So that several processes have nothing to exchange."""
    assert make_elbo(True).after_step(None, None, progress=0.5, generator=None) is False
