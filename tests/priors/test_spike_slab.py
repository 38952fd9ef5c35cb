import numpy as np
import pytest
import torch
from helpers import SUBSPACES, draw, fit_unwarned
from torch.distributions import Bernoulli, Normal, kl_divergence

from skvaeense import VAEenseTransformer
from skvaeense.priors import GatePosterior, GatePrior, Mixture, Prior, SpikeSlab


def test_divergence_is_the_one_of_torch():
    p, m, t = draw(3).sigmoid(), draw(3, seed=1), draw(3, seed=2).square() + 0.1
    prior = GatePrior(p, m, t, torch.tensor(0.0), torch.tensor(0.2))
    logit, mean, v = draw(5, 3, seed=3), draw(5, 3, seed=4), 1 / (1 / t + 1 / 0.2)
    q = Bernoulli(logits=logit)
    slabs = kl_divergence(Normal(mean, v.sqrt()), Normal(m, t.sqrt()))
    expected = (kl_divergence(q, Bernoulli(p.expand(5, 3))) + q.probs * slabs).sum(dim=1)
    posterior = GatePosterior(logit, mean, v, mean)
    torch.testing.assert_close(SpikeSlab.divergence(posterior, prior), expected)


def test_prices_lower_log_odds():
    p = torch.tensor([0.5, 0.1])
    prior = GatePrior(p, p, p, torch.tensor([2.0]), torch.tensor(1.0))
    torch.testing.assert_close(prior.log_odds, torch.logit(p) - 2)


def test_the_alias():
    assert type(Prior.resolve("spike_slab")) is SpikeSlab
    assert isinstance(SpikeSlab(), Mixture)


def test_bad_parameters(subtests):
    for params in (
        {"first_share": 0},
        {"first_share": 1.0},
        {"first_share": "all"},
        {"hold": 1},
        {"memory": 0},
        {"pooling": -0.1},
        {"first_noise": 0.5},
        {"max_components": 0},
        {"n_components": "few"},
        {"lazy": 1},
    ):
        with subtests.test(params=params):
            (name,) = params
            vaeense = VAEenseTransformer(prior=SpikeSlab(**params))
            with pytest.raises(ValueError, match=f"The '{name}' parameter of SpikeSlab must be"):
                vaeense.fit(SUBSPACES.few)


def test_first_share_is_how_many_gates_are_open_at_first():
    for share, expected in ((0.3, 0.3), ("auto", 0.05)):
        prior = SpikeSlab(first_share=share, hold=0.99, search=False)
        fitted = VAEenseTransformer(20, prior=prior, max_iter=1, random_state=0)
        fit_unwarned(fitted, SUBSPACES.few)
        np.testing.assert_allclose(fitted.module_.gate_probability, expected, rtol=1e-6)
