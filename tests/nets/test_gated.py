"""Gated: a gate with a penalty, and magnitudes without a penalty."""

import numpy as np
import pytest
import torch
from helpers import coding_of, draw, generator

from skvaeense.nets.networks import MLP, SingleLayer
from skvaeense.nets.penalties import Gated

N_FEATURES, N_COMPONENTS = 5, 4
GAIN = np.array([0.3, -0.5, 0.0, 1.0])
BIAS = np.array([0.2, -0.3, -5.0, 0.0])


def build():
    """Return the activation with a different gain and bias for each latent."""
    activation = Gated().build(N_COMPONENTS, unit=1.0, positive=True).double()
    with torch.no_grad():
        activation.log_gain.copy_(torch.tensor(GAIN))
        activation.bias.copy_(torch.tensor(BIAS))
    return activation


def make_module(network):
    module = network.build(N_FEATURES, N_COMPONENTS, n_heads=1, generator=generator())
    module.activation = build()
    return module.double()


def coded(module, x, unit=1.0):
    (h,) = module.encode(x)
    return coding_of(module.activation, h, unit)


def test_code_follows_its_formula():
    h = draw(20, N_COMPONENTS)
    code = build()(h).detach()
    expected = np.maximum(np.exp(GAIN) * h.numpy() + BIAS, 0) * (h.numpy() > 0)
    np.testing.assert_allclose(code, expected)
    # Codes are 0 for closed gates, and for open gates with a magnitude that is not positive.
    assert (code[:, 0][h[:, 0] < 0] == 0).all()
    assert (h[:, 2] > 0).any()
    assert (code[:, 2] == 0).all()
    # At first it is a ReLU.
    assert torch.equal(Gated().build(N_COMPONENTS, unit=3.0, positive=True)(h), h.relu())


def test_cost_is_that_of_the_gate():
    """Magnitudes have no cost, and so are not shrunk."""
    h = torch.tensor([[3.0, -4.0, 1.0, 0.0]], dtype=torch.float64).requires_grad_()
    activation = build()
    cost = Gated().cost(coding_of(activation, h, 2.0))
    assert cost.tolist() == [2.0]
    cost.sum().backward()
    assert h.grad.tolist() == [[0.5, 0, 0.5, 0]]
    assert [p.grad for p in activation.parameters()] == [None, None]


def test_auxiliary_error_is_that_of_the_gates_own_reconstruction():
    module, x = make_module(SingleLayer(subtract_bias=False)), draw(6, N_FEATURES)
    coding = coded(module, x)
    error = Gated().auxiliary_error(module, x, coding)
    weight, bias = (p.detach().numpy() for p in module.decoder.parameters())
    h = coding.preactivation.detach().numpy()
    residual = x.numpy() - np.maximum(h, 0) @ weight.T - bias
    np.testing.assert_allclose(error.detach(), (residual**2).sum(axis=1))
    # The gate is trained as by a decoder that is given.
    (slope,) = torch.autograd.grad(error.sum(), coding.preactivation)
    np.testing.assert_allclose(slope, -2 * residual @ weight * (h > 0))


@pytest.mark.parametrize("network", [SingleLayer(subtract_bias=False), MLP((6,))])
def test_auxiliary_error_trains_the_encoder_and_leaves_the_decoder(network):
    module, x = make_module(network), draw(6, N_FEATURES)
    Gated().auxiliary_error(module, x, coded(module, x)).sum().backward()
    for parameter in (*module.decoder.parameters(), *module.activation.parameters()):
        assert parameter.grad is None or not parameter.grad.any()
        # The reconstruction error can still train the decoder.
        assert parameter.requires_grad
    layer = list(module.encoder.parameters())[-2:]
    assert all(parameter.grad.abs().max() > 1e-3 for parameter in layer)


def test_no_codes_of_both_signs():
    with pytest.raises(ValueError, match=r"not allow codes of both signs.*Set positive_code=True"):
        Gated().build(N_COMPONENTS, unit=1.0, positive=False)
