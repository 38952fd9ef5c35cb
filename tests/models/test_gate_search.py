"""The search for open gates, compared with all patterns of gates."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import nn

from skvaeense.models import SpikeSlabVAE
from skvaeense.models._gate_search import _Patterns, search_gates
from skvaeense.networks import MeanField
from skvaeense.priors import GatePrior

D, K = 5, 7
PATTERNS = np.array(list(itertools.product([False, True], repeat=K)))


def problem(seed=0, n=40, price=0.0, noise=0.1):
    """Return samples of a dictionary, its decoder, a prior, and random initial patterns."""
    rng = np.random.default_rng(seed)
    decoder = nn.Linear(K, D).double()
    with torch.no_grad():
        decoder.weight.copy_(torch.from_numpy(rng.normal(size=(D, K))))
        decoder.bias.copy_(torch.from_numpy(rng.normal(size=D)))
    prior = GatePrior(
        torch.from_numpy(rng.uniform(0.1, 0.5, K)),
        torch.from_numpy(rng.normal(size=K)),
        torch.from_numpy(rng.uniform(0.5, 2, K)),
        torch.tensor([price]).double(),
        torch.tensor(noise).double(),
    )
    codes = rng.normal(size=(n, K)) * (rng.random((n, K)) < 0.3)
    with torch.no_grad():
        x = decoder(torch.from_numpy(codes)) + 0.3 * torch.from_numpy(rng.normal(size=(n, D)))
    return x, decoder, prior, torch.from_numpy(rng.random((n, K)) < 0.4)


def joint(x, decoder, prior):
    """Return the logarithm of p(x, S) for each sample and all patterns S."""
    A, b = decoder.weight.detach().numpy(), decoder.bias.detach().numpy()
    odds, noise = prior.log_odds.numpy(), float(prior.noise_variance)
    m, t = prior.mean.numpy(), prior.variance.numpy()
    found = []
    for S in PATTERNS:
        cov = A[:, S] * t[S] @ A[:, S].T + noise * np.eye(D)
        share = (odds * S - np.logaddexp(0, odds)).sum()
        found.append(share + multivariate_normal(b + A[:, S] @ m[S], cov).logpdf(x.numpy()))
    return np.array(found).T


def positions(is_open):
    """Return the indices of patterns among all patterns."""
    return is_open.numpy() @ (1 << np.arange(K)[::-1])


@pytest.mark.parametrize("price", [0.0, 1.5])
def test_no_flip_makes_a_pattern_more_probable(price):
    x, decoder, prior, first = problem(price=price)
    found, log_joint = search_gates(x, decoder, prior, first), joint(x, decoder, prior)
    is_open, rows = found.posterior.is_open, np.arange(len(x))
    best, begun = (log_joint[rows, positions(of)] for of in (is_open, first))
    assert (best >= begun - 1e-9).all()
    assert (best > begun + 0.1).mean() > 0.5
    log_odds = np.empty((len(x), K))
    for j in range(K):
        flipped = is_open.clone()
        flipped[:, j] ^= True
        gain = best - log_joint[rows, positions(flipped)]
        log_odds[:, j] = np.where(is_open[:, j], gain, -gain)
    np.testing.assert_allclose(found.posterior.gate_logit, log_odds, atol=1e-6)


def test_bound_of_the_density():
    x, decoder, prior, first = problem()
    found, log_joint = search_gates(x, decoder, prior, first), joint(x, decoder, prior)
    density = logsumexp(log_joint, axis=1)
    neighbours = (PATTERNS[:, None] != PATTERNS).sum(axis=2) <= 1
    near = neighbours[positions(found.posterior.is_open)]
    expected = logsumexp(np.where(near, log_joint, -np.inf), axis=1)
    np.testing.assert_allclose(found.log_prob, expected, atol=1e-6)
    assert (found.log_prob.numpy() <= density + 1e-9).all()
    # The difference is small, since one pattern is clearly the best for most samples.
    assert np.mean(density - found.log_prob.numpy()) < 0.5


def test_posterior_of_open_latents():
    x, decoder, prior, first = problem(seed=1)
    posterior = search_gates(x, decoder, prior, first).posterior
    A, b = decoder.weight.detach().numpy(), decoder.bias.detach().numpy()
    m, t = prior.mean.numpy(), prior.variance.numpy()
    for i, S in enumerate(posterior.is_open.numpy()):
        precision = A[:, S].T @ A[:, S] / 0.1 + np.diag(1 / t[S])
        mean = np.linalg.solve(precision, A[:, S].T @ (x[i].numpy() - b) / 0.1 + m[S] / t[S])
        np.testing.assert_allclose(posterior.mean[i, S], mean, atol=1e-9)
        np.testing.assert_allclose(
            posterior.variance[i, S], np.linalg.inv(precision).diagonal(), atol=1e-9
        )


def test_most_gates_are_the_most_probable_ones():
    x, decoder, prior, first = problem(seed=2, n=400)
    best = joint(x, decoder, prior).argmax(axis=1)
    found = positions(search_gates(x, decoder, prior, first).posterior.is_open)
    assert (found == best).mean() > 0.7 > 0.1 > (positions(first) == best).mean()


def test_it_does_not_depend_on_the_samples_beside():
    x, decoder, prior, first = problem(seed=3, n=300)
    first[::3] = False
    first[1::3] = True
    together = search_gates(x, decoder, prior, first).posterior
    for i in (0, 1, 2, 150):
        alone = search_gates(x[i : i + 1], decoder, prior, first[i : i + 1]).posterior
        np.testing.assert_allclose(alone.gate_logit[0], together.gate_logit[i], atol=1e-8)


def test_more_latents_than_gates_of_a_gram_matrix():
    """With many more columns than directions, the products of all columns are not stored."""
    rng = np.random.default_rng(4)
    few = problem(seed=4)
    decoder = nn.Linear(3 * D, D).double()
    gates = few[2]._replace(
        probability=torch.full((3 * D,), 0.2).double(),
        mean=torch.zeros(3 * D).double(),
        variance=torch.ones(3 * D).double(),
    )
    x = torch.from_numpy(rng.normal(size=(20, D)))
    closed, opened = torch.zeros(20, 3 * D).bool(), torch.ones(20, 3 * D).bool()
    for first in (closed, opened):
        found = search_gates(x, decoder, gates, first)
        again = search_gates(x, decoder, gates, found.posterior.is_open)
        np.testing.assert_array_equal(found.posterior.is_open, again.posterior.is_open)
        np.testing.assert_allclose(found.log_prob, again.log_prob, atol=1e-6)


def test_positive_codes():
    x, decoder, prior, _ = problem(seed=5)
    prior = prior._replace(mean=torch.full((K,), 0.3).double())
    closed = torch.zeros(len(x), K).bool()
    signed = search_gates(x, decoder, prior, closed).posterior
    positive = search_gates(x, decoder, prior, closed, positive=True).posterior
    assert (signed.mean[signed.is_open] < 0).any()
    assert (positive.gate_logit[~positive.is_open & (positive.mean <= 0)] == -np.inf).all()
    assert not torch.equal(signed.is_open, positive.is_open)


def test_no_samples():
    x, decoder, prior, first = problem()
    assert search_gates(x[:0], decoder, prior, first[:0]).log_prob.shape == (0,)


def test_equal_columns_and_no_noise_to_speak_of():
    x, decoder, prior, first = problem(noise=1e-10)
    with torch.no_grad():
        decoder.weight[:, 1] = decoder.weight[:, 0]
    posterior = search_gates(x, decoder, prior, torch.ones_like(first)).posterior
    assert torch.isfinite(posterior.gate_logit).all()
    with torch.no_grad():
        left = x - decoder(posterior.mean * posterior.is_open)
    assert float(left.abs().max()) < 1e-2


def test_samples_whose_changes_are_lost_keep_what_was_proposed(monkeypatch):
    x, decoder, prior, first = problem()
    climb = _Patterns.climb

    def lose(self):
        climb(self)
        self.place[:2] = torch.nan

    found = search_gates(x, decoder, prior, first)
    monkeypatch.setattr(_Patterns, "climb", lose)
    again = search_gates(x, decoder, prior, first)
    assert torch.isfinite(again.log_prob).all()
    assert all(torch.isfinite(part).all() for part in again.posterior)
    is_lost = (again.posterior.mean != found.posterior.mean).any(dim=1)
    assert 0 < int(is_lost.sum()) < len(x)
    assert (again.log_prob[is_lost] < found.log_prob[is_lost] + 1e-9).all()


@pytest.fixture
def overcomplete():
    """Return a model with far more latents than features, and samples."""
    model = SpikeSlabVAE(MeanField(), 3, 40, generator=torch.Generator().manual_seed(0)).eval()
    model.noise_variance.fill_(0.01)
    return model, torch.randn(20, 3, generator=torch.Generator().manual_seed(1))


def watch_starts(monkeypatch):
    """Return a list that gets the gates from which each search starts."""
    seen = []

    def watched(x, decoder, gates, is_open, **params):
        seen.append(is_open)
        return search_gates(x, decoder, gates, is_open, **params)

    monkeypatch.setattr("skvaeense.models._spike_slab_vae.search_gates", watched)
    return seen


@pytest.mark.parametrize(("probability", "most"), [(0.999, 3), (0.005, 2)])
def test_no_more_gates_than_are_likely_are_open_at_first(
    overcomplete, monkeypatch, probability, most
):
    model, x = overcomplete
    model.gate_probability.fill_(0.999)
    seen, proposed = watch_starts(monkeypatch), model.posterior(x)
    assert proposed.is_open.sum(dim=1).max() > 3
    model.gate_probability.fill_(probability)
    # The number of features, and 40 * .005 + 2 * sqrt(40 * .005 * .995), rounded up.
    assert model._likely(proposed, 3).sum(dim=1).max() == most
    proposed = model.posterior(x)
    model.inferred(x)
    assert torch.equal(seen[0], model._likely(proposed, 3))
    assert seen[0].sum(dim=1).max() == most


def test_a_diverged_model_has_a_result(overcomplete):
    model, x = overcomplete
    model.gate_probability.fill_(torch.nan)
    assert model.inferred(x).gate_logit.shape == (20, 40)


def test_with_more_latents_than_features_a_second_search_starts_with_closed_gates(
    overcomplete, monkeypatch
):
    model, x = overcomplete
    seen = watch_starts(monkeypatch)
    found = model._searched(x)
    assert len(seen) == 2
    assert not seen[1].any()
    gates = model.gates(len(x))
    searches = [search_gates(x, model.linear_decoder, gates, start) for start in seen]
    better = torch.stack([search.log_prob for search in searches]).max(dim=0)
    assert len(better.indices.unique()) == 2
    torch.testing.assert_close(found.log_prob, better.values)
    for name in ("gate_logit", "mean", "variance"):
        both = torch.stack([getattr(search.posterior, name) for search in searches])
        chosen = both[better.indices, torch.arange(len(x))]
        torch.testing.assert_close(getattr(found.posterior, name), chosen)


def test_with_few_latents_one_search_starts_with_the_gates_of_the_encoder(monkeypatch):
    model = SpikeSlabVAE(MeanField(), 3, 3, generator=torch.Generator().manual_seed(0)).eval()
    seen = watch_starts(monkeypatch)
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    model.inferred(x)
    (start,) = seen
    assert torch.equal(start, model.posterior(x).is_open)
