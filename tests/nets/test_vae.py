import math

import numpy as np
import pytest
import torch
from helpers import draw, make_vae

from skvaeense.nets.models import densest
from skvaeense.nets.networks import MLP, Linear
from skvaeense.nets.priors import Posterior, Prior
from skvaeense.utils._torch import make_generator

N_SAMPLES, N_FEATURES, N_COMPONENTS = 4, 5, 3
GATED = pytest.mark.parametrize("gated", [True, False], ids=["gated", "ungated"])
# Each network, with and without gates.
MODELS = pytest.mark.parametrize(
    ("network", "gated"),
    [
        (Linear((4,)), True),
        (Linear((), skip=False), False),
        (MLP((4,), encoder_layer_sizes=(4,)), True),
        (MLP((4, 3), encoder_layer_sizes=(), skip=True), False),
    ],
    ids=["linear", "affine", "mlp", "deep"],
)


@pytest.fixture
def x():
    return draw(N_SAMPLES, N_FEATURES)


# --- posterior and code ---------------------------------------------------------------------


@pytest.mark.parametrize("positive", [False, True])
def test_posterior_is_what_the_heads_give(x, positive):
    model = make_vae(positive=positive)
    output, logit = model.network.encode(x)
    assert (output < 0).any()
    posterior = model.posterior(x)
    torch.testing.assert_close(posterior.mean, output.clamp_min(0) if positive else output)
    torch.testing.assert_close(posterior.gate_logit, logit)


@GATED
def test_code_of_means(gated):
    s = torch.tensor([[0.25, 0.5, 0.75]]).double()
    posterior = Posterior(torch.tensor([[2.0, -3.0, 1.0]]).double(), torch.logit(s**2))
    expected = (1 - s if gated else 1) * posterior.mean
    torch.testing.assert_close(make_vae(gated=gated).code(posterior), expected)


@MODELS
def test_code_scale_is_how_far_the_reconstruction_moves(network, gated):
    model, step = make_vae(network, gated=gated), 1e-6
    with torch.no_grad():
        moves = model.decode(step * torch.eye(N_COMPONENTS).double())
        moves = moves - model.decode(torch.zeros(1, N_COMPONENTS).double())
    torch.testing.assert_close(model.code_scale(), moves.norm(dim=1) / step, rtol=1e-4, atol=1e-6)
    assert (model.linear_decoder is None) == isinstance(network, MLP)


# --- evidence lower bound -------------------------------------------------------------------


@MODELS
@torch.no_grad()
def test_error_is_the_mean_of_draws(network, gated, x):
    """The error is exact for linear decoders. For others, opposite draws leave little noise."""
    model = make_vae(network, gated=gated)
    posterior, error = model.posterior(x), model.elbo(x).error
    draws = draw(50_000, 1, N_COMPONENTS, seed=3)
    drawn = posterior._replace(mean=posterior.mean + posterior.std * draws)
    errors = (x - model.decode(model.code(drawn))).square().sum(dim=2)
    standard_error = errors.std(dim=0) / math.sqrt(len(errors))
    if model.linear_decoder is None:
        standard_error += errors.std(dim=0) / 5 / 4
    assert ((errors.mean(dim=0) - error).abs() < 5 * standard_error).all()
    # The contribution of the noise is large enough to be measured at this precision.
    spread = error - (x - model.decode(model.code(posterior))).square().sum(dim=1)
    assert model.linear_decoder is None or (spread > 10 * standard_error).all()


@torch.no_grad()
def test_one_draw_of_the_generator_for_each_sample(x):
    model = make_vae(MLP((4,)))
    posterior, eps = model.posterior(x), draw(N_SAMPLES, N_COMPONENTS, seed=7)
    code = posterior.openness * (posterior.mean + posterior.std * eps)
    error = model.elbo(x, generator=make_generator(7)).error
    torch.testing.assert_close(error, (x - model.decode(code)).square().sum(dim=1))


@MODELS
@torch.no_grad()
def test_terms_of_a_sample_depend_on_it_alone(network, gated, x):
    model = make_vae(network, gated=gated)
    alone = [torch.cat(terms) for terms in zip(*map(model.elbo, x.split(1)), strict=True)]
    torch.testing.assert_close(list(model.elbo(x)), alone)


def test_fixed_draws_come_in_opposite_pairs(x):
    """Odd terms in the noise cancel, so a sample and its negative have the same error."""
    model = make_vae(MLP((4,)), gated=False)
    with torch.no_grad():
        for parameter in model.network.encoder[-1].parameters():
            parameter.zero_()
        # The decoder is an odd function, but is not recognised as linear.
        model.network.decoder = torch.nn.Sequential(
            torch.nn.Linear(N_COMPONENTS, N_FEATURES, bias=False).double(), torch.nn.Tanh()
        )
        torch.testing.assert_close(model.elbo(x).error, model.elbo(-x).error)


# --- samples --------------------------------------------------------------------------------


class Threes(Prior):
    def kl(self, posterior):
        return posterior.mean.sum(dim=1)

    def sample(self, n_samples, n_components, generator):
        return torch.full((n_samples, n_components), -3.0).double()


@pytest.mark.parametrize("positive", [False, True])
@GATED
def test_samples_are_latents_of_the_prior_behind_gates_of_samples(gated, positive, x):
    model = make_vae(gated=gated, positive=positive, prior=Threes())
    model.remember_gates(x)
    code = model.sample(500, make_generator(0))
    sign = 1 if positive else -1
    if not gated:
        assert (code == 3 * sign).all()
        return
    gates = 1 - model.posterior(x).std.detach()
    torch.testing.assert_close(torch.unique(code, dim=0), torch.unique(3 * sign * gates, dim=0))
    counts = np.unique(code[:, 0].numpy(), return_counts=True)[1]
    assert counts == pytest.approx([125] * N_SAMPLES, abs=40)


def test_samples_come_from_the_generator(x):
    model = make_vae().float()
    model.remember_gates(x.float())
    first, again, other = (model.sample(6, make_generator(seed)) for seed in (0, 0, 1))
    assert first.dtype is torch.float64
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("network", "depth"), [(Linear(), 1), (MLP((4, 3)), 3), (MLP((4,)), 2)], ids=repr
)
def test_depth_is_the_number_of_layers_of_the_decoder(network, depth):
    model = make_vae(network)
    assert model.depth == depth
    del model.network.decoder
    assert model.depth == 1


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_code_0_starts_where_samples_are_densest(scale):
    """A part of one dimension is denser than one of four, and than the mean between them."""
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    x[:200, 1:] = 0.0
    x[200:, :2] += 5.0
    x = scale * x.double()
    model = make_vae(MLP((4,)), n_features=6)
    model.initialize(x)
    origin = model.decode(x.new_zeros(1, model.n_components))[0].detach()
    assert torch.isclose(x[:200], origin.to(x), atol=1e-6 * scale).all(dim=1).any()
    assert float(origin[0]) == pytest.approx(0, abs=0.5 * scale)
    linear = make_vae(Linear(), n_features=6)
    linear.initialize(x)
    assert torch.equal(
        linear.linear_decoder.bias, make_vae(Linear(), n_features=6).linear_decoder.bias
    )


@pytest.mark.parametrize("n_samples", [1, 2, 5])
def test_densest_of_few_samples(n_samples):
    x = torch.tensor([[0.0], [9.0], [1.0], [1.5], [-5.0]])[:n_samples]
    assert float(densest(x)) == {1: 0.0, 2: 0.0, 5: 1.0}[n_samples]
