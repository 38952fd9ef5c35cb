"""Gates over a linear decoder, and their inference by mean field."""

import pytest
import torch
import torch.nn.functional as F
from helpers import draw, generator
from torch.distributions import Normal

from skvaeense.explanations import GatePosterior, Gates
from skvaeense.explanations import _gates as module


def make_gates(k, d, *, orthogonal=False, positive=False, price=0.3):
    weight = torch.linalg.qr(draw(d, k))[0].T if orthogonal else draw(k, d)
    one = torch.ones(k, dtype=torch.float64)
    numbers = torch.tensor(0.1).double(), torch.tensor(price).double()
    probability = 0.1 + 0.5 * torch.rand(k, generator=generator(1), dtype=torch.float64)
    slabs = probability, 0.5 * one, 2 * one
    return Gates(F.normalize(weight, dim=1), draw(d, seed=2), *slabs, *numbers, positive)


def samples(gates, n):
    k, d = gates.weight.shape
    is_open = torch.rand(n, k, generator=generator(3), dtype=torch.float64) < gates.probability
    z = gates.mean + gates.variance.sqrt() * draw(n, k, seed=4)
    noise = gates.noise_variance.sqrt() * draw(n, d, seed=5)
    return (is_open * z) @ gates.weight + gates.bias + noise


def test_inference_is_exact_if_columns_are_orthogonal():
    gates = make_gates(4, 6, orthogonal=True)
    x = samples(gates, 20)
    posterior = gates.infer(x, 3)
    u = (x - gates.bias) @ gates.weight.T
    # The odds of one latent are the ratio of two normal densities of its coordinate.
    spread, noise = gates.variance + gates.noise_variance, gates.noise_variance
    ratio = Normal(gates.mean, spread.sqrt()).log_prob(u) - Normal(0.0, noise.sqrt()).log_prob(u)
    log_odds = torch.logit(gates.probability) - gates.price
    torch.testing.assert_close(posterior.gate_logit, log_odds + ratio)
    gain = gates.variance / spread
    torch.testing.assert_close(posterior.mean, gates.mean + gain * (u - gates.mean))
    variance = (gates.variance * noise / spread).expand_as(u)
    torch.testing.assert_close(posterior.variance.expand_as(u), variance)


def test_residuals_with_and_without_inner_products_of_columns(monkeypatch):
    gates = make_gates(12, 8)
    x = samples(gates, 10)
    products = gates.infer(x, 6)
    monkeypatch.setattr(module, "overlap", lambda weight: None)
    residuals = gates.infer(x, 6)
    torch.testing.assert_close(products.gate_logit, residuals.gate_logit)
    torch.testing.assert_close(products.mean, residuals.mean)


def test_positive_codes():
    gates = make_gates(6, 4, positive=True)
    posterior = gates.infer(samples(gates, 50), 5)
    assert (posterior.mean[posterior.is_open] > 0).all()
    assert (posterior.mean <= 0).any()


def test_units():
    gates, center = make_gates(5, 4), torch.arange(4.0, dtype=torch.float64)
    x, other = samples(gates, 7), gates.in_units(center, 3.0)
    posterior, same = gates.infer(x, 5), other.infer(center + 3.0 * x, 5)
    torch.testing.assert_close(same.gate_logit, posterior.gate_logit)
    torch.testing.assert_close(other.decode(same), center + 3.0 * gates.decode(posterior))


def test_posterior_of_a_gate():
    posterior = GatePosterior(torch.tensor([[0.0, 2.0]]), torch.ones(1, 2), torch.ones(2), None)
    assert float(posterior.probability[0, 1]) == pytest.approx(0.880797)
    assert posterior.is_open.tolist() == [[False, True]]
