"""The search for open gates, compared with all patterns of gates."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skvaeense.explanations import Gates
from skvaeense.explanations import _search as search_module
from skvaeense.explanations._gates import NEW_LOOKS
from skvaeense.explanations._search import find_gates, search_codes, search_gates, search_log_prob

D, K = 5, 7
PATTERNS = np.array(list(itertools.product([False, True], repeat=K)))


def problem(seed=0, n=40, price=0.0, noise=0.1):
    """Return samples of a dictionary, its gates, and random initial patterns."""
    rng = np.random.default_rng(seed)
    weight, bias, probability, mean, variance = (
        torch.from_numpy(values)
        for values in (
            rng.normal(size=(D, K)).T,
            rng.normal(size=D),
            rng.uniform(0.1, 0.5, K),
            rng.normal(size=K),
            rng.uniform(0.5, 2, K),
        )
    )
    numbers = torch.tensor(noise).double(), torch.tensor(price).double()
    gates = Gates(weight, bias, probability, mean, variance, *numbers)
    codes = torch.from_numpy(rng.normal(size=(n, K)) * (rng.random((n, K)) < 0.3))
    x = bias + codes @ weight + 0.3 * torch.from_numpy(rng.normal(size=(n, D)))
    return x, gates, torch.from_numpy(rng.random((n, K)) < 0.4)


def joint(x, gates):
    """Return the logarithm of p(x, S) for each sample and all patterns S."""
    A, b = gates.weight.T.numpy(), gates.bias.numpy()
    odds, noise = gates.log_odds.numpy(), float(gates.noise_variance)
    m, t = gates.mean.numpy(), gates.variance.numpy()
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
    x, gates, first = problem(price=price)
    found, log_joint = search_gates(x, gates, first), joint(x, gates)
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
    # The bound is the density of this pattern and of its neighbours.
    neighbours = (PATTERNS[:, None] != PATTERNS).sum(axis=2) <= 1
    near = np.where(neighbours[positions(is_open)], log_joint, -np.inf)
    np.testing.assert_allclose(found.log_prob, logsumexp(near, axis=1), atol=1e-6)
    # The difference from the density is small, since one pattern is clearly the best for most.
    lost = logsumexp(log_joint, axis=1) - found.log_prob.numpy()
    assert (lost >= -1e-9).all()
    assert lost.mean() < 0.5


def posteriors(gates, patterns):
    """Yield the open latents of each pattern, and the covariance of their posterior."""
    A, t = gates.weight.T.numpy(), gates.variance.numpy()
    for S in map(np.flatnonzero, patterns.numpy()):
        yield S, np.linalg.inv(A[:, S].T @ A[:, S] / 0.1 + np.diag(1 / t[S]))


def test_posterior_of_open_latents():
    x, gates, first = problem(seed=1)
    posterior = search_gates(x, gates, first).posterior
    along = ((x - gates.bias) @ gates.weight.T / 0.1 + gates.mean / gates.variance).numpy()
    for i, (S, covariance) in enumerate(posteriors(gates, posterior.is_open)):
        np.testing.assert_allclose(posterior.mean[i, S], covariance @ along[i, S], atol=1e-9)
        np.testing.assert_allclose(posterior.variance[i, S], covariance.diagonal(), atol=1e-9)


def test_most_gates_are_the_most_probable_ones():
    x, gates, first = problem(seed=2, n=400)
    best = joint(x, gates).argmax(axis=1)
    found = positions(search_gates(x, gates, first).posterior.is_open)
    assert (found == best).mean() > 0.7 > 0.1 > (positions(first) == best).mean()


def test_it_does_not_depend_on_the_samples_beside():
    x, gates, first = problem(seed=3, n=300)
    first[::3] = False
    first[1::3] = True
    together = search_gates(x, gates, first).posterior
    for i in (0, 1, 2, 150):
        alone = search_gates(x[i : i + 1], gates, first[i : i + 1]).posterior
        np.testing.assert_allclose(alone.gate_logit[0], together.gate_logit[i], atol=1e-8)


def test_more_latents_than_products_of_columns_are_kept_for(monkeypatch):
    monkeypatch.setattr(search_module, "MOST_PRODUCTS", 2 * D)
    rng = np.random.default_rng(4)
    ones = torch.ones(3 * D).double()
    gates = problem(seed=4)[1]._replace(
        weight=torch.from_numpy(rng.normal(size=(3 * D, D))),
        probability=0.2 * ones,
        mean=0 * ones,
        variance=ones,
    )
    x = torch.from_numpy(rng.normal(size=(20, D)))
    closed, opened = torch.zeros(20, 3 * D).bool(), torch.ones(20, 3 * D).bool()
    for first in (closed, opened):
        found = search_gates(x, gates, first)
        again = search_gates(x, gates, found.posterior.is_open)
        np.testing.assert_array_equal(found.posterior.is_open, again.posterior.is_open)
        np.testing.assert_allclose(found.log_prob, again.log_prob, atol=1e-6)


def test_positive_codes():
    x, gates, _ = problem(seed=5)
    gates = gates._replace(mean=torch.full((K,), 0.3).double())
    closed = torch.zeros(len(x), K).bool()
    signed = search_gates(x, gates, closed).posterior
    positive = search_gates(x, gates._replace(positive=True), closed).posterior
    assert (signed.mean[signed.is_open] < 0).any()
    assert (positive.gate_logit[~positive.is_open & (positive.mean <= 0)] == -np.inf).all()
    assert not torch.equal(signed.is_open, positive.is_open)


def test_no_samples():
    x, gates, first = problem()
    assert search_gates(x[:0], gates, first[:0]).log_prob.shape == (0,)


def test_equal_columns_and_no_noise_to_speak_of():
    x, gates, first = problem(noise=1e-10)
    gates.weight[1] = gates.weight[0]
    posterior = search_gates(x, gates, torch.ones_like(first)).posterior
    assert torch.isfinite(posterior.gate_logit).all()
    assert float((x - gates.decode(posterior)).abs().max()) < 1e-2


def test_log_densities_are_those_of_codes():
    x, gates, _ = problem()
    found = search_codes(x, gates, torch.ones(len(x)).double())
    none = torch.zeros(len(x), len(gates.weight), dtype=torch.bool)
    torch.testing.assert_close(search_log_prob(x, gates, none), found.log_prob)


def test_gates_that_stay_closed():
    x, gates, _ = problem()
    # Each sample has a gate of its own that stays closed.
    never = torch.eye(len(gates.weight), dtype=torch.bool)[torch.arange(len(x)) % len(gates.weight)]
    found, closed = (
        search_log_prob(x, gates, never),
        torch.nn.functional.logsigmoid(-gates.log_odds),
    )
    for j, lost in enumerate(closed.to(found)):
        others = gates.at(torch.arange(len(closed)) != j)
        none = torch.zeros(len(x), len(others.weight), dtype=torch.bool)
        alone = search_log_prob(x, others, none) + lost
        torch.testing.assert_close(found[never[:, j]], alone[never[:, j]])


@pytest.mark.parametrize("n_components", [K, 3 * D])
def test_covariances_of_open_latents(n_components):
    x, gates, first = problem(seed=6)
    if n_components > K:
        wide = torch.cat([gates.weight] * 3)[:n_components]
        gates = gates.at(torch.arange(n_components) % K)._replace(weight=wide)
        first = torch.cat([first] * 3, dim=1)[:, :n_components]
    weights = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2, len(x)))
    posterior = search_gates(x, gates, first).posterior
    # Nothing is left to change.
    found = search_codes(x, gates, weights, posterior.is_open)
    np.testing.assert_array_equal(found.openness, posterior.is_open)
    np.testing.assert_allclose(found.code, posterior.mean * posterior.is_open, atol=1e-8)
    lost = weights @ (posterior.gate_logit * posterior.is_open)
    np.testing.assert_allclose(found.lost, lost, atol=1e-7)
    expected = np.zeros((n_components, n_components))
    for weight, (S, covariance) in zip(
        weights.numpy(), posteriors(gates, posterior.is_open), strict=True
    ):
        expected[np.ix_(S, S)] += weight * covariance
    np.testing.assert_allclose(found.covariance, expected, atol=1e-8)


# --- two searches ----------------------------------------------------------------------------


@pytest.fixture
def overcomplete():
    """Return gates with far more latents than features, and samples."""
    rng = np.random.default_rng(0)
    ones = torch.ones(40)
    weight = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(40, 3))).float())
    noise = torch.tensor(0.01).double()
    gates = Gates(weight, torch.zeros(3), 0.05 * ones, 0 * ones, ones, noise, torch.tensor(0.0))
    return gates, torch.from_numpy(rng.normal(size=(20, 3))).float()


def test_diverged_gates_have_a_result(overcomplete):
    gates, x = overcomplete
    found = find_gates(x, gates._replace(probability=torch.full((40,), torch.nan)))
    assert found.posterior.gate_logit.shape == (20, 40)


@pytest.mark.parametrize("price", [None, 2.0])
def test_the_better_of_two_searches_is_kept(overcomplete, price):
    """One starts from the gates that mean field opens, the other with all gates closed."""
    gates, x = overcomplete
    first = gates if price is None else gates.with_price(price)
    opened = first.infer(x, NEW_LOOKS).is_open
    found = find_gates(x, gates, None if price is None else opened)
    assert opened.any()
    searches = [search_gates(x, gates, opened), search_gates(x, gates)]
    better = torch.stack([search.log_prob for search in searches]).max(dim=0)
    assert len(better.indices.unique()) == 2
    torch.testing.assert_close(found.log_prob, better.values)
    for name in ("gate_logit", "mean", "variance"):
        both = torch.stack([getattr(search.posterior, name) for search in searches])
        chosen = both[better.indices, torch.arange(len(x))]
        torch.testing.assert_close(getattr(found.posterior, name), chosen)
