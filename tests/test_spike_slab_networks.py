"""Gates with a prior, with different networks as encoder and decoder."""

import pickle

import numpy as np
import pytest
import torch
from helpers import ATOMS, Recorder, changed, fit_unwarned, outputs
from numpy.testing import assert_allclose, assert_array_equal
from torch.distributions import Normal

from skvaeense import VAEenseTransformer, load, save
from skvaeense.metrics import fvu, l0
from skvaeense.models import SpikeSlabVAE
from skvaeense.networks import MLP, Network
from skvaeense.priors import SpikeSlab
from skvaeense.utils._seeding import make_generator

X, X_NEW = ATOMS.train[:1000], ATOMS.new
N_FEATURES = X.shape[1]


class TanhModule(torch.nn.Module):
    """Two heads and a decoder, each with its own layer."""

    def __init__(self, n_features, n_components, n_heads):
        super().__init__()
        self.encoder = torch.nn.Sequential(
            torch.nn.Linear(n_features, 48), torch.nn.Tanh(), torch.nn.Linear(48, 2 * n_components)
        )
        self.outwards = torch.nn.Sequential(
            torch.nn.Linear(n_components, 48), torch.nn.Tanh(), torch.nn.Linear(48, n_features)
        )
        self.n_heads = n_heads

    def encode(self, x):
        return self.encoder(x).chunk(self.n_heads, dim=1)

    def decode(self, code):
        return self.outwards(code)


class Tanh(Network):
    """A network that a user may write."""

    def build(self, n_features, n_components, *, n_heads, generator):
        return TanhModule(n_features, n_components, n_heads)


NETWORKS = {
    "mlp": MLP((32,), skip=True),
    "linear": "linear",
    "own": Tanh(),
}
EACH = pytest.mark.parametrize("name", list(NETWORKS))


def make(name="mlp", **params):
    settings = {"n_components": 12, "max_iter": 25, "random_state": 0, "batch_size": 100}
    # Fitting a density of two components takes a fraction of the time.
    settings |= {"prior": SpikeSlab(n_components=2), "network": NETWORKS[name]}
    return VAEenseTransformer(**(settings | params))


def fit(name="mlp", method="fit", **params):
    return fit_unwarned(make(name, **params), X, method)


@pytest.fixture(scope="module")
def fitted():
    return {name: fit(name) for name in NETWORKS}


@pytest.fixture(scope="module")
def to_target():
    return fit(target_l0=[3, 1], positive_code=True)


def unexplained(model, samples=X_NEW):
    return fvu(samples, model.inverse_transform(model.transform(samples)))


# --- the model --------------------------------------------------------------------------------


class Disguised(MLP):
    """A network with a linear decoder that is not recognised as linear."""

    def build(self, *args, **params):
        module = super().build(*args, **params)
        module.decoder = torch.nn.Sequential(module.decoder)
        return module


def make_model(network, **params):
    model = SpikeSlabVAE(network, 5, 4, generator=make_generator(0), **params).double().eval()
    model.gate_probability.uniform_(0.1, 0.9, generator=make_generator(1))
    model.noise_variance = torch.tensor(0.3).double()
    return model


def draw(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("positive", [False, True], ids=["signed", "positive"])
def test_posterior_is_that_of_what_the_encoder_sees(positive):
    """For each latent the encoder outputs a noisy value u, and the variance of its noise."""
    model, x = make_model(MLP((8,)), positive=positive), draw(20, 5)
    model.prices[0] = 0.7
    with torch.no_grad():
        place, log_noise = model.network.encode(x)
        posterior = model.posterior(x)
    m, t, p = model.slab_mean, model.slab_variance, model.gate_probability
    u = place * (m.square() + t).sqrt()
    u = u.relu() if positive else u
    n = log_noise.exp() * t
    is_open, is_closed = Normal(m, (t + n).sqrt()).log_prob(u), Normal(0, n.sqrt()).log_prob(u)
    torch.testing.assert_close(posterior.gate_logit, p.logit() - 0.7 + is_open - is_closed)
    torch.testing.assert_close(posterior.mean, (u * t + m * n) / (t + n))
    torch.testing.assert_close(posterior.variance, t * n / (t + n))


def test_one_draw_is_right_on_average():
    """A linear decoder uses the exact expectation. Draws have the same mean."""
    exact, drawn = (make_model(kind((), encoder_layer_sizes=(8,))) for kind in (MLP, Disguised))
    assert exact.linear_decoder is not None
    assert drawn.linear_decoder is None
    x = draw(3, 5)
    with torch.no_grad():
        expected = exact.elbo(x)
        rows = x.repeat_interleave(20_000, dim=0)
        found = drawn.elbo(rows, generator=make_generator(3))
    torch.testing.assert_close(found.kl[::20_000], expected.kl)
    errors = found.error.view(3, -1)
    spread = 5 * errors.std(dim=1) / len(errors[0]) ** 0.5
    assert ((errors.mean(dim=1) - expected.error).abs() < spread).all()
    assert (drawn.elbo(x).error - expected.error).abs().max() < 0.5 * expected.error.max()


def test_gradients_are_finite_where_gates_are_closed():
    model, x = make_model(MLP((8,))).float(), draw(6, 5).float()
    model.prices[0] = 1e6
    error, kl = model.elbo(x, generator=make_generator(0))
    (error + kl).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert not model.posterior(x).probability.any()


# --- codes ------------------------------------------------------------------------------------


@EACH
def test_codes_are_exactly_0_where_gates_are_closed(fitted, name):
    model = fitted[name]
    codes = model.transform(X_NEW)
    probability, mean, std = model.posterior(X_NEW)
    assert_array_equal(codes != 0, probability > 0.5)
    assert_array_equal(codes != 0, model.active_dimensions(X_NEW))
    assert 0 < (codes != 0).mean() < 1
    assert std.min() > 0
    assert unexplained(model) < 0.9
    soft = changed(model, hard=False).transform(X_NEW)
    assert_allclose(soft, probability * mean, rtol=1e-10)


@EACH
def test_slabs_are_the_unit_of_codes(fitted, name):
    model = fitted[name].module_
    assert float(model.slab_variance.std()) == 0
    assert len(model.gate_probability.unique()) > 1


@EACH
def test_target_l0(name):
    model = fit(name, target_l0=2.5, max_iter=10)
    assert l0(model.transform(X_NEW)) == pytest.approx(2.5, rel=0.1)


def test_several_lengths_of_positive_codes(to_target):
    codes = to_target.transform(X_NEW)
    assert codes.min() == 0
    for length in (3, 2, 1):
        cut = changed(to_target, transform_l0=length).transform(X_NEW)
        assert l0(cut) == pytest.approx(length, rel=0.25)
    assert unexplained(to_target) < unexplained(changed(to_target, transform_l0=1))


def test_codes_of_no_target_can_be_cut(fitted):
    model = fitted["mlp"]
    cut = changed(model, transform_l0=0.5 * model.module_.length)
    assert l0(cut.transform(X_NEW)) == pytest.approx(0.5 * model.module_.length, rel=0.15)


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_target_explained_variance(share):
    model = fit(target_explained_variance=share, max_iter=100)
    assert unexplained(model, X) == pytest.approx(1 - share, rel=0.05)
    assert 0 < l0(model.transform(X)) < 11


# --- fits and files ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on(to_target, fitted, method):
    for model, params in ((fitted["mlp"], {}), (to_target, {"target_l0": [2, 1]})):
        going_on = changed(model, warm_start=True, max_iter=5, **params)
        fit_unwarned(going_on, X, method)
        before, after = model.transform(X_NEW), going_on.transform(X_NEW)
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.8
    assert l0(after) == pytest.approx(2, rel=0.15)


def test_partial_fit_learns():
    model = make()
    left = [unexplained(model.partial_fit(X)) for _ in range(4)]
    assert left[-1] < 0.95 * left[0]


@EACH
def test_files_and_copies_are_the_same(fitted, name, tmp_path):
    model = fitted[name]
    save(model, tmp_path / "gates.safetensors", trusted=[Tanh])
    saved = load(tmp_path / "gates.safetensors", trusted=[Tanh])
    expected = outputs(model, X_NEW[:30])
    for other in (saved, pickle.loads(pickle.dumps(model))):
        for method, found in outputs(other, X_NEW[:30]).items():
            assert_array_equal(found, expected[method], err_msg=method)


def test_scores_and_draws(fitted):
    model = fitted["mlp"]
    assert model.score(X_NEW) > model.score(X_NEW + 3)
    draws = model.sample(500, random_state=0)
    assert draws.shape == (500, N_FEATURES)
    assert np.isfinite(draws).all()
    scores = model.elbo_samples(X_NEW)
    assert_allclose(model.elbo_samples(X_NEW[:3]), scores[:3], rtol=1e-9)


def test_callbacks_see_every_epoch():
    recorder = Recorder(X_NEW, stop_after=4)
    fit_unwarned(make(max_iter=8).set_callbacks(recorder), X)
    assert len(recorder.scores) == 4
