"""The model of gates with a prior, compared with sums over all patterns of gates."""

import copy
import itertools
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from helpers import draw, generator
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from skvaeense.explanations import GatePosterior, Gates
from skvaeense.explanations._gates import restricted_code
from skvaeense.models import SpikeSlabVAE
from skvaeense.models._spike_slab_vae import _mean_of_new
from skvaeense.priors import SpikeSlab

N_FEATURES, N_COMPONENTS = 5, 4
PATTERNS = torch.tensor(list(itertools.product([0.0, 1.0], repeat=N_COMPONENTS))).double()
SIGNS = pytest.mark.parametrize("positive", [False, True], ids=["signed", "positive"])


def make_gates(n_features=N_FEATURES, n_components=N_COMPONENTS, positive=False):
    """Return random gates in double precision."""
    return Gates(
        weight=F.normalize(draw(n_components, n_features, seed=1), dim=1),
        bias=0.3 * draw(n_features, seed=2),
        probability=draw(n_components, seed=7).sigmoid(),
        mean=draw(n_components, seed=8).abs(),
        variance=0.5 + draw(n_components, seed=9).square(),
        noise_variance=torch.tensor(0.3).double(),
        price=torch.tensor(0.0).double(),
        positive=positive,
    )


def make_model(gates=None, **params):
    """Return the model of random gates."""
    return SpikeSlabVAE.of(make_gates() if gates is None else gates, **params)


def probability_of(logit):
    """Return the probabilities of all patterns of gates, one row for each sample."""
    gates = Bernoulli(logits=logit[:, None, :])
    return gates.log_prob(PATTERNS).sum(dim=2).exp()


def test_a_model_gives_back_its_gates():
    gates = make_gates(positive=True)
    model = make_model(gates)
    assert model.positive
    assert not model.training
    for given, kept in zip(gates, model.gates, strict=True):
        torch.testing.assert_close(kept, given)
    # The tensors are copies.
    gates.weight.zero_()
    assert model.gates.weight.any()


# --- the bound --------------------------------------------------------------------------------


@SIGNS
def test_bound_is_the_sum_over_all_patterns_of_gates(positive):
    model, x = make_model(make_gates(positive=positive)), draw(6, N_FEATURES)
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


def test_bounds_are_below_the_density():
    """A search finds the greater bound."""
    model, x = make_model(), 2 * draw(50, N_FEATURES)
    without = make_model(prior=SpikeSlab(search=False))
    assert (model.searches, without.searches) == (True, False)
    with torch.no_grad():
        assert (bound(model, x) < log_likelihood(model, x)).all()
        assert (model.bound(x) < log_likelihood(model, x)).all()
        torch.testing.assert_close(without.bound(x), bound(model, x))
        assert model.bound(x).mean() > without.bound(x).mean()


def test_bound_is_the_density_where_columns_do_not_overlap():
    """Without overlap latents are independent given the sample, and mean field is exact."""
    weight = torch.linalg.qr(draw(N_FEATURES, N_COMPONENTS))[0].T
    model, x = make_model(make_gates()._replace(weight=weight)), 2 * draw(50, N_FEATURES)
    with torch.no_grad():
        torch.testing.assert_close(bound(model, x), log_likelihood(model, x))


# --- codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_components", [4, 13])
def test_codes_are_the_best_ones_of_their_open_gates(n_components):
    """As many steps as features solve the equations exactly."""
    model, x = make_model(make_gates(n_components=n_components)), draw(30, N_FEATURES)
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
    model, x = make_model(), draw(40, N_FEATURES)
    with torch.no_grad():
        mean, is_open, seen = (
            getattr(model.posterior(x), name) for name in ("mean", "is_open", "seen")
        )
        losses = []
        for n_steps in (0, 1, 2, 5):
            weight = model.network.decoder.weight
            code = restricted_code(mean, is_open, seen, weight, n_steps, positive=False)
            losses.append((x - model.decode(code)).square().sum(dim=1))
    for more, fewer in itertools.pairwise(losses):
        assert (fewer <= more + 1e-9).all()
    assert losses[-1].mean() < losses[0].mean()


@SIGNS
def test_codes_are_0_where_gates_are_closed(positive):
    model, x = make_model(make_gates(positive=positive)), 2 * draw(200, N_FEATURES)
    with torch.no_grad():
        posterior = model.posterior(x)
        code = model.code(posterior)
    assert (code[posterior.is_open] > 0).all() == positive
    assert (code[~posterior.is_open] == 0).all()


def test_posterior_of_a_gate():
    posterior = GatePosterior(
        torch.tensor([[0.0, 2.0]]), torch.ones(1, 2), torch.ones(2), torch.ones(1, 2)
    )
    torch.testing.assert_close(posterior.probability, torch.tensor([[0.5, 1 / (1 + math.exp(-2))]]))
    assert posterior.is_open.tolist() == [[False, True]]
    assert posterior.std.shape == posterior.log_variance.shape == (1, 2)


# --- lengths ----------------------------------------------------------------------------------


def many(**params):
    gates = make_gates(n_features=8, n_components=20)
    model = make_model(gates._replace(probability=torch.full((20,), 0.3).double()), **params)
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


@pytest.mark.parametrize("gap", [-2.0, 2.0])
def test_lengths_of_new_samples_count_if_they_differ_by_more_than_chance(gap):
    generator = torch.Generator().manual_seed(0)
    old, new = (torch.randn(200, generator=generator, dtype=torch.float64) + 7 for _ in range(2))
    mean = _mean_of_new(torch.cat([new + gap, old]), 200)
    assert mean == pytest.approx(7 + gap, abs=0.3)
    assert _mean_of_new(torch.cat([new + 0.01 * gap, old]), 200) == float(old.mean())
