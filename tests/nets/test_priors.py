import numpy as np
import torch
from helpers import draw
from scipy.stats import kstest, multivariate_normal
from torch.distributions import Normal, kl_divergence

from skvaeense.nets.priors import Posterior, StandardNormal
from skvaeense.utils._torch import make_generator

# --- posterior ------------------------------------------------------------------------------


def test_posterior_by_its_formula():
    posterior = Posterior(draw(4, 3), draw(4, 3, seed=1))
    variance = torch.sigmoid(posterior.gate_logit)
    torch.testing.assert_close(posterior.log_variance.exp(), variance)
    torch.testing.assert_close(posterior.std, variance.sqrt())
    torch.testing.assert_close(posterior.openness, 1 - variance.sqrt())


def test_openness_is_precise_at_gates_wide_open_and_shut():
    logit = torch.tensor([-80.0, -1, 0, 1, 20, 80])
    openness = Posterior(logit, logit).openness
    exact = torch.sigmoid(-logit.double()) / (1 + torch.sigmoid(logit.double()).sqrt())
    torch.testing.assert_close(openness.double(), exact, rtol=1e-5, atol=0)


# --- standard normal ------------------------------------------------------------------------


def test_divergence_is_the_one_of_torch():
    posterior = Posterior(draw(6, 3), 3 * draw(6, 3, seed=1))
    expected = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(StandardNormal().kl(posterior), expected)


def test_divergence_has_the_gradient_of_its_formula():
    mean, logit = draw(6, 3).requires_grad_(), draw(6, 3, seed=1).requires_grad_()
    StandardNormal().kl(Posterior(mean, logit)).sum().backward()
    torch.testing.assert_close(mean.grad, mean.detach())
    variance = torch.sigmoid(logit.detach())
    torch.testing.assert_close(logit.grad, -0.5 * (1 - variance).square())


def test_samples_have_the_distribution():
    z = StandardNormal().sample(5000, 2, make_generator(0))
    assert z.shape == (5000, 2)
    assert z.dtype is torch.float64
    assert kstest(z.ravel().numpy(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(z.T.numpy())[0, 1]) < 0.05
    again, other = (StandardNormal().sample(5000, 2, make_generator(seed)) for seed in (0, 1))
    assert torch.equal(z, again)
    assert not torch.equal(z, other)


def test_standard_normal_latents_have_a_normal_density():
    rng = np.random.default_rng(0)
    weight, bias, x = rng.standard_normal((7, 3)), np.ones(7), rng.standard_normal((5, 7))
    normal = multivariate_normal(bias, weight @ weight.T + 0.3 * np.eye(7))
    density = StandardNormal().density(weight, bias, 0.3)
    density.check()
    np.testing.assert_allclose(density.log_prob(x), normal.logpdf(x))


# --- aliases --------------------------------------------------------------------------------
