"""Each kind of extension, defined outside the package as one class, and used like ours."""

import copy
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, has_net, quick_sae, quick_vaeense, set_params
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.losses import Loss
from skvaeense.nets.networks import Network
from skvaeense.nets.penalties import L1, Penalty, TopK
from skvaeense.nets.priors import Prior
from skvaeense.nets.thresholds import ThresholdRule
from skvaeense.utils._torch import make_generator

X = make_linear_subspaces(200, dims=(1, 2), n_features=8, random_state=0)[0]
N_COMPONENTS = 6


# --- the extensions ---------------------------------------------------------------------------


class BetaELBO(Loss):
    """An evidence lower bound whose divergence is multiplied by `beta`."""

    def __init__(self, beta=1.0):
        self.beta = beta

    def terms(self, model, x, *, generator):
        error, kl = (term.mean() for term in model.elbo(x, generator=generator))
        loss = error / model.noise_variance + 2 * self.beta * kl
        return {"loss": loss, "error": error, "kl": kl}


class AbsoluteReconstruction(Loss):
    """Absolute errors, which give less weight to outliers, plus a multiple of the penalty."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def terms(self, model, x, *, generator):
        coding = model.coding(x)
        error = (x - model.decode(coding.code)).abs().mean()
        loss = error + self.factor * model.alpha * model.penalty.cost(coding).mean()
        return {"loss": loss, "error": error}


class ScaledNormal(Prior):
    """Independent normal latents with a given variance."""

    def __init__(self, variance=1.0):
        self.variance = variance

    def _normal(self):
        return torch.distributions.Normal(0.0, math.sqrt(self.variance))

    def kl(self, posterior):
        own = torch.distributions.Normal(posterior.mean, posterior.std)
        return torch.distributions.kl_divergence(own, self._normal()).sum(dim=1)

    def sample(self, n_samples, n_components, generator):
        z = torch.randn((n_samples, n_components), generator=generator, dtype=torch.float64)
        return math.sqrt(self.variance) * z


class Falling(BaseEstimator):
    """A schedule that falls linearly to a floor."""

    def __init__(self, floor=0.0):
        self.floor = floor

    def __call__(self, fraction_done):
        return 1 - (1 - self.floor) * fraction_done


class ResidualModule(nn.Module):
    def __init__(self, n_features, n_components, n_heads, width):
        super().__init__()
        self.n_heads = n_heads
        self.inwards = nn.Linear(n_features, width)
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.heads = nn.Linear(width, n_heads * n_components)
        self.outwards = nn.Linear(n_components, width)
        self.outer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.output = nn.Linear(width, n_features)

    def encode(self, x):
        hidden = self.inwards(x)
        return self.heads(hidden + self.inner(hidden)).chunk(self.n_heads, dim=1)

    def decode(self, code):
        hidden = self.outwards(code)
        return self.output(hidden + self.outer(hidden))


class Residual(Network):
    """Residual blocks with layer normalisation, in encoder and decoder."""

    def __init__(self, width=16):
        self.width = width

    def build(self, n_features, n_components, *, n_heads, generator):
        return ResidualModule(n_features, n_components, n_heads, self.width)


class AttentionModule(nn.Module):
    def __init__(self, n_features, n_components, n_heads, width):
        super().__init__()
        self.n_heads = n_heads
        # Positions are often stored like this: a tensor that is no weight and not in the state.
        positions = torch.linspace(-1, 1, n_features * width).reshape(n_features, width)
        self.register_buffer("positions", torch.sin(9 * positions), persistent=False)
        self.embedding = nn.Parameter(torch.randn(n_features, width))
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.heads = nn.Linear(n_features * width, n_heads * n_components)
        self.decoder = nn.Linear(n_components, n_features)

    def encode(self, x):
        tokens = x[:, :, None] * self.embedding + self.positions
        attended = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.heads(attended.flatten(1)).chunk(self.n_heads, dim=1)

    def decode(self, code):
        return self.decoder(code)


class Attention(Network):
    """Attention between the features in the encoder, and a linear decoder."""

    def __init__(self, width=8):
        self.width = width

    def build(self, n_features, n_components, *, n_heads, generator):
        return AttentionModule(n_features, n_components, n_heads, self.width)


class Elastic(Penalty):
    """The L1 penalty plus half the squared code."""

    def __init__(self, alpha=0.1):
        self.alpha = alpha

    def build(self, n_components, *, unit, positive):
        return nn.ReLU() if positive else nn.Identity()

    def cost(self, coding):
        code = coding.code / coding.unit
        return (code.abs() + 0.5 * code.square()).sum(dim=1)


class Plain(Penalty):
    """A minimal penalty: a constraint without parameters."""

    def build(self, n_components, *, unit, positive):
        return nn.ReLU()


class Largest(ThresholdRule):
    """A given number of active latents, which have the least variance."""

    def __init__(self, k=1):
        self.k = k

    def active(self, latents):
        ranks = np.argsort(np.argsort(latents.log_variance, axis=1), axis=1)
        return ranks < self.k


# --- what every one of them is used for -------------------------------------------------------


def vaeense(**params):
    return quick_vaeense(**({"n_components": N_COMPONENTS} | params))


def sae(**params):
    settings = {"n_components": N_COMPONENTS, "max_iter": 20, "learning_rate_init": 0.01}
    return quick_sae(**(settings | params))


# name: (estimator with the extension, its parameter, two values of the parameter)
CASES = {
    "loss": (vaeense(loss=BetaELBO()), "loss__beta", [1.0, 30.0]),
    "loss of a sparse autoencoder": (
        sae(loss=AbsoluteReconstruction()),
        "loss__factor",
        [0.0, 5.0],
    ),
    "prior": (vaeense(prior=ScaledNormal()), "prior__variance", [1.0, 4.0]),
    "optimizer": (
        vaeense(),
        "optimizer",
        [torch.optim.RMSprop, partial(torch.optim.RMSprop, alpha=0.9)],
    ),
    "schedule": (sae(schedule=Falling()), "schedule__floor", [0.0, 0.5]),
    "residual network": (sae(network=Residual()), "network__width", [8, 16]),
    "attention network": (vaeense(network=Attention()), "network__width", [4, 8]),
    "attention network of a sparse autoencoder": (
        sae(network=Attention()),
        "network__width",
        [4, 8],
    ),
    "penalty": (sae(penalty=Elastic()), "penalty__alpha", [0.01, 3.0]),
    "constraint": (sae(penalty=Plain()), "n_components", [3, 6]),
    "threshold": (vaeense(threshold=Largest(), hard=True), "threshold__k", [1, 4]),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def size_of_codes(estimator, X, y=None):
    return float(np.abs(estimator.transform(X)).sum())


def test_search_over_its_parameter(case):
    estimator, name, values = case
    estimator = set_params(clone(estimator), max_iter=5)
    full = f"model__{name}" if has_net(estimator) else name
    search = GridSearchCV(estimator, {full: values}, scoring=size_of_codes, cv=2)
    fit_unwarned(search, X)
    assert search.best_params_[full] in values
    # The parameter changes the score.
    small, large = sorted(search.cv_results_["mean_test_score"])
    assert large > 1.001 * small > 0


def test_learning_falls_and_the_outcome_is_finite(case):
    estimator = fit_unwarned(clone(case[0]), X)
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    codes = estimator.transform(X)
    assert codes.shape == (len(X), N_COMPONENTS)
    for values in (codes, estimator.inverse_transform(codes), estimator.score_samples(X)):
        assert np.isfinite(values).all()


def test_training_goes_on_in_a_copy(case):
    estimator = clone(case[0]).partial_fit(X)
    moved = pickle.loads(pickle.dumps(estimator))
    assert_array_equal(moved.transform(X), estimator.transform(X))
    assert_array_equal(moved.score_samples(X), estimator.score_samples(X))
    assert_array_equal(
        moved.partial_fit(X).transform(X), copy.deepcopy(estimator).partial_fit(X).transform(X)
    )


# --- what each of them does -------------------------------------------------------------------


def fit_pair(name):
    """Return the estimators of a case, fitted with both values of its parameter."""
    estimator, parameter, values = CASES[name]
    return [fit_unwarned(set_params(clone(estimator), **{parameter: v}), X) for v in values]


def test_a_divergence_that_counts_more_falls():
    one, thirty = fit_pair("loss")
    assert thirty.history_["kl"][-1] < 0.8 * one.history_["kl"][-1]


def test_a_prior_is_the_one_of_divergence_and_samples():
    narrow, wide = (estimator.module_ for estimator in fit_pair("prior"))
    assert (narrow.prior.variance, wide.prior.variance) == (1.0, 4.0)
    x = torch.zeros(2, 8)
    posterior = wide.posterior(x)
    variance = posterior.std.square()
    terms = (variance + posterior.mean.square()) / 4 - 1 - variance.log() + math.log(4)
    torch.testing.assert_close(wide.elbo(x).kl, 0.5 * terms.sum(dim=1))
    codes = wide.sample(9, make_generator(0))
    wide.prior.set_params(variance=1.0)
    torch.testing.assert_close(codes, 2 * wide.sample(9, make_generator(0)))


def elastic_cost(codes):
    size = np.abs(codes) / np.sqrt(8)
    return (size + 0.5 * size**2).sum(axis=1).mean()


def test_a_penalty_makes_codes_cheaper():
    """Both terms of the loss are public, and alpha weights them."""
    fits = fit_pair("penalty")
    costs = [elastic_cost(fitted.transform(X)) for fitted in fits]
    assert costs[1] < 0.5 * costs[0]
    for fitted, cost, alpha in zip(fits, costs, (0.01, 3.0), strict=True):
        assert fitted.alpha_ == alpha
        loss = 1 - fitted.score_samples(X).mean() + alpha * cost
        assert fitted.loss_curve_[-1] == pytest.approx(loss, rel=0.2)


def test_a_target_adapts_the_alpha_of_a_penalty():
    fitted = fit_unwarned(sae(penalty=Elastic(), target_l0=2, max_iter=100), X)
    assert np.count_nonzero(fitted.transform(X)) / len(X) == pytest.approx(2, rel=0.25)
    assert fitted.alpha_ != 0.1
    assert fitted.penalty.alpha == 0.1
    with pytest.raises(ValueError, match=r"target_l0=2 adapts .* but Plain\(\) has no alpha"):
        sae(penalty=Plain(), target_l0=2).fit(X)


def test_a_rule_says_which_latents_are_active():
    for estimator, k in zip(fit_pair("threshold"), (1, 4), strict=True):
        assert (estimator.active_dimensions(X).sum(axis=1) == k).all()
        assert (np.count_nonzero(estimator.transform(X), axis=1) == k).all()


@pytest.mark.parametrize("kind", [Loss, Prior, Network, Penalty])
def test_what_is_no_extension_is_refused(kind):
    """The error names the class to derive from."""
    name = kind.__name__.lower()
    estimator = (sae if kind is Penalty else vaeense)(**{name: object()})
    with pytest.raises(ValueError, match=f"'{name}' parameter of .*{kind.__name__}"):
        estimator.fit(X)


class Odd(Network):
    """A module with wrong shapes, or with wrong layers."""

    def __init__(self, wrong):
        self.wrong = wrong

    def build(self, n_features, n_components, *, n_heads, generator):
        module = AttentionModule(n_features, n_components, n_heads, 4)
        encode, decode = module.encode, module.decode
        if self.wrong == "one column":
            module.decode = lambda code: decode(code)[:, :1]
        elif self.wrong == "transposed":
            module.decode = lambda code: decode(code).T
        elif self.wrong == "inputs":
            module.decoder = nn.Linear(n_components + 1, n_features)
        elif self.wrong == "tensor":
            module.encode = lambda x: encode(x)[0]
        elif self.wrong == "heads":
            module.encode = lambda x: (*encode(x), encode(x)[0])
        elif self.wrong == "latents":
            module.encode = lambda x: tuple(head[:, :1] for head in encode(x))
        elif self.wrong == "nothing":
            module.encode = lambda x: None
        return module


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("one column", r"decode .* \(2, 8\) for .* \(2, 6\), got \(2, 1\)"),
        ("transposed", r"decode .* \(2, 8\) for .* \(2, 6\), got \(8, 2\)"),
        ("inputs", r"decode .* got an error: mat1 and mat2"),
        ("tensor", r"encode .* \(.*\(2, 6\),\) for .* \(2, 8\), got \(2, 6\)"),
        ("heads", r"encode .* got \(\(2, 6\), .*\(2, 6\),\)"),
        ("latents", r"encode .* got \(\(2, 1\)"),
        ("nothing", r"encode .* got NoneType"),
    ],
)
def test_shapes_of_a_network_are_checked(wrong, message):
    for estimator in (vaeense(network=Odd(wrong)), sae(network=Odd(wrong))):
        with pytest.raises(ValueError, match=message):
            estimator.fit(X)
        assert not hasattr(estimator, "module_")


def test_shapes_of_an_activation_are_checked():
    class Summed(Penalty):
        def build(self, n_components, *, unit, positive):
            module = nn.Identity()
            module.forward = lambda preactivation: preactivation.sum(dim=1, keepdim=True)
            return module

    with pytest.raises(ValueError, match=r"forward .* Summed\(\) .* \(2, 6\), got \(2, 1\)"):
        sae(penalty=Summed()).fit(X)


def test_an_alias_of_ones_own_means_the_class_with_its_defaults():
    class Halved(TopK):
        alias = "halved"

    try:
        assert type(Penalty.resolve("halved")) is Halved
        by_alias, by_class = (sae(penalty=p, n_components=40).fit(X) for p in ("halved", Halved()))
        assert_array_equal(by_alias.transform(X), by_class.transform(X))
        # A subclass does not inherit the alias.
        type("Quartered", (Halved,), {})
        assert type(Penalty.resolve("halved")) is Halved
        with pytest.raises(ValueError, match=r"alias 'halved' is already used by .*Halved"):
            type("Other", (L1,), {"alias": "halved"})
        with pytest.raises(ValueError, match="'threshold' parameter"):
            vaeense(threshold="halved").fit(X)
    finally:
        del Penalty.aliases["halved"]
    with pytest.raises(ValueError, match="Penalty must be one of"):
        Penalty.resolve("halved")
