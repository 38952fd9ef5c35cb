"""Gates over a linear decoder, and their inference by mean field."""

import itertools
import math

import torch
from torch.distributions import Normal, kl_divergence

from skvaeense.explanations import GatePosterior, Gates
from skvaeense.explanations import _gates as module
from skvaeense.explanations._sums import mean_field_sums


def gates(k, d, *, seed=0, positive=False, noise=0.1, orthogonal=False):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(k, d, generator=generator, dtype=torch.float64)
    if orthogonal:
        weight = torch.linalg.qr(weight.T)[0].T
    one = torch.ones(k, dtype=torch.float64)
    return Gates(
        weight=torch.nn.functional.normalize(weight, dim=1),
        bias=torch.randn(d, generator=generator, dtype=torch.float64),
        probability=torch.rand(k, generator=generator, dtype=torch.float64) * 0.5 + 0.1,
        mean=0.5 * one,
        variance=2 * one,
        noise_variance=torch.tensor(noise, dtype=torch.float64),
        price=torch.tensor(0.3, dtype=torch.float64),
        positive=positive,
    )


def samples(own, n, seed=1):
    generator = torch.Generator().manual_seed(seed)
    k, d = own.weight.shape
    shape = {"generator": generator, "dtype": torch.float64}
    is_open = torch.rand(n, k, **shape) < own.probability
    z = own.mean + own.variance.sqrt() * torch.randn(n, k, **shape)
    noise = own.noise_variance.sqrt() * torch.randn(n, d, **shape)
    return (is_open * z) @ own.weight + own.bias + noise


def test_inference_is_exact_if_columns_are_orthogonal():
    own = gates(4, 6, orthogonal=True)
    x = samples(own, 20)
    posterior = own.infer(x, 3)
    u = (x - own.bias) @ own.weight.T
    # The odds of one latent are the ratio of two normal densities of its coordinate.
    spread, noise = own.variance + own.noise_variance, own.noise_variance
    log_odds = torch.logit(own.probability) - own.price
    ratio = Normal(own.mean, spread.sqrt()).log_prob(u) - Normal(0.0, noise.sqrt()).log_prob(u)
    torch.testing.assert_close(posterior.gate_logit, log_odds + ratio)
    gain = own.variance / spread
    torch.testing.assert_close(posterior.mean, own.mean + gain * (u - own.mean))
    variance = (own.variance * noise / spread).expand_as(u)
    torch.testing.assert_close(posterior.variance.expand_as(u), variance)


def test_residuals_with_and_without_inner_products_of_columns(monkeypatch):
    own = gates(12, 8)
    x = samples(own, 10)
    products = own.infer(x, 6)
    monkeypatch.setattr(module, "overlap", lambda weight: None)
    residuals = own.infer(x, 6)
    torch.testing.assert_close(products.gate_logit, residuals.gate_logit)
    torch.testing.assert_close(products.mean, residuals.mean)


def test_a_price_for_each_sample_is_as_many_prices():
    own = gates(5, 4)
    x, prices = samples(own, 3), torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)
    together = own._replace(price=prices).infer(x, 5)
    for i, price in enumerate(prices):
        alone = own._replace(price=price).infer(x[i : i + 1], 5)
        torch.testing.assert_close(together.gate_logit[i : i + 1], alone.gate_logit)


def test_positive_codes():
    own = gates(6, 4, positive=True)
    posterior = own.infer(samples(own, 50), 5)
    assert (posterior.mean[posterior.is_open] > 0).all()
    assert (posterior.mean <= 0).any()


def test_divergence_is_the_sum_over_gates_and_slabs():
    own = gates(3, 4)
    posterior = own.infer(samples(own, 5), 4)
    q, odds = posterior.probability, torch.logit(own.probability) - own.price
    p = torch.sigmoid(odds)
    slab = kl_divergence(
        Normal(posterior.mean, posterior.variance.sqrt()), Normal(own.mean, own.variance.sqrt())
    )
    of_gates = q * torch.log(q / p) + (1 - q) * torch.log((1 - q) / (1 - p))
    torch.testing.assert_close(own.divergence(posterior), (of_gates + q * slab).sum(dim=1))


def test_units():
    own = gates(5, 4)
    x, center, scale = samples(own, 7), torch.arange(4.0, dtype=torch.float64), 3.0
    other = own.in_units(center, scale)
    posterior, same = own.infer(x, 5), other.infer(center + scale * x, 5)
    torch.testing.assert_close(same.gate_logit, posterior.gate_logit)
    torch.testing.assert_close(other.decode(same), center + scale * own.decode(posterior))


def test_posterior_of_a_gate():
    posterior = GatePosterior(torch.tensor([[0.0, 2.0]]), torch.ones(1, 2), torch.ones(2), None)
    torch.testing.assert_close(posterior.probability[0, 1], torch.tensor(1 / (1 + math.exp(-2))))
    assert posterior.is_open.tolist() == [[False, True]]
    assert posterior.std.shape == posterior.log_variance.shape == (1, 2)


def log_density(own, x):
    """Return the exact log-density, by a sum over all patterns of open gates."""
    total = []
    for pattern in itertools.product([False, True], repeat=len(own.weight)):
        on = torch.tensor(pattern)
        p = torch.sigmoid(own.log_odds)
        columns = own.weight[on].T
        mean = own.bias + columns @ own.mean[on]
        covariance = (columns * own.variance[on]) @ columns.T
        covariance += own.noise_variance * torch.eye(len(own.bias), dtype=torch.float64)
        normal = torch.distributions.MultivariateNormal(mean, covariance)
        total.append(torch.where(on, p, 1 - p).log().sum() + normal.log_prob(x))
    return torch.stack(total).logsumexp(dim=0)


def test_the_bound_of_mean_field_is_below_the_density():
    own = gates(4, 3)._replace(price=torch.tensor(0.0, dtype=torch.float64))
    x = samples(own, 30)
    exact = log_density(own, x)
    for i in range(len(x)):
        sums = mean_field_sums(own, x[i : i + 1], torch.ones(1, dtype=torch.float64))
        assert float(sums.nats) <= float(exact[i]) + 1e-9
    # A single column leaves nothing to approximate.
    one = own.at(torch.tensor([0]))
    whole = mean_field_sums(one, x, torch.ones(len(x), dtype=torch.float64))
    torch.testing.assert_close(whole.nats, log_density(one, x).sum())
