import math

import numpy as np
import pytest
import torch
from helpers import draw, each_once, make_vae
from scipy.stats import norm

from skvaeense.losses import ELBO, Loss
from skvaeense.losses._elbo import GateELBOGradient
from skvaeense.models import SpikeSlabVAE
from skvaeense.models._base import as_number
from skvaeense.networks import MLP, MeanField
from skvaeense.priors import SpikeSlab
from skvaeense.utils._seeding import make_generator


def set_noise(model, noise_variance):
    model.noise_variance = as_number(noise_variance)
    return model


# --- terms ----------------------------------------------------------------------------------


def test_terms_of_a_linear_decoder_by_hand(subtests):
    for beta in (1.0, 0.0, 4.0):
        for gated in (True, False):
            with subtests.test(gated=gated, beta=beta):
                model, x = set_noise(make_vae(gated=gated), 0.3), draw(4, 5)
                mean, logit = (head.detach().numpy() for head in model.network.encode(x))
                s = np.sqrt(1 / (1 + np.exp(-logit)))
                W, b = (p.detach().numpy() for p in model.network.decoder.parameters())
                gate = 1 - s if gated else np.ones_like(s)
                residual = x.numpy() - (gate * mean) @ W.T - b
                error = np.sum(residual**2, axis=1) + (gate * s) ** 2 @ np.sum(W**2, axis=0)
                kl = 0.5 * np.sum(s**2 + mean**2 - 1 - np.log(s**2), axis=1)
                expected = {
                    "loss": np.mean(error) / 0.3 + 2 * beta * np.mean(kl),
                    "error": np.mean(error),
                    "kl": np.mean(kl),
                }
                terms = ELBO(beta).terms(model, x, generator=make_generator(0))
                assert {
                    name: float(term.detach()) for name, term in terms.items()
                } == pytest.approx(expected)


def test_terms_of_another_decoder_are_those_of_one_draw():
    model, x = set_noise(make_vae(MLP((4,), encoder_layer_sizes=(4,))), 0.3), draw(4, 5)
    terms = ELBO().terms(model, x, generator=make_generator(7))
    posterior, eps = model.posterior(x), draw(4, 3, seed=7)
    error = (x - model.decode(model.code(posterior, eps))).square().sum(dim=1).mean()
    torch.testing.assert_close(terms["error"], error)
    torch.testing.assert_close(terms["loss"], error / 0.3 + 2 * model.prior.kl(posterior).mean())


def test_the_history_has_the_negative_bound_in_nats_and_units_of_x():
    model, x = set_noise(make_vae(), 0.3), draw(50, 5)
    terms = ELBO().terms(model, x, generator=make_generator(0))
    means = {name: float(term.detach()) for name, term in terms.items()}
    noted = ELBO().in_user_units(means | {"noise_variance": 0.3}, n_features=5, scale=10.0)
    assert noted["kl"] == means["kl"]
    assert noted["error"] == pytest.approx(100 * means["error"])
    assert noted["noise_variance"] == pytest.approx(30)
    # The density of a residual whose squares sum to the error.
    residual = np.full(5, math.sqrt(noted["error"] / 5))
    density = norm.logpdf(residual, scale=math.sqrt(30)).sum()
    assert noted["loss"] == pytest.approx(noted["kl"] - density)


# --- gradients ------------------------------------------------------------------------------


class ByAutograd(ELBO):
    """The same loss in a subclass, so that autograd computes the gradient."""


def terms_and_gradients(loss, model, x):
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    terms = loss.gradient(model)(x, make_generator(3))
    assert not any(term.requires_grad for term in terms.values())
    return terms, {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_same_gradients(model, x, beta=1.0, rtol=1e-10, atol=1e-12):
    assert isinstance(ELBO(beta).gradient(model), GateELBOGradient)
    assert not isinstance(ByAutograd(beta).gradient(model), GateELBOGradient)
    found = terms_and_gradients(ELBO(beta), model, x)
    expected = terms_and_gradients(ByAutograd(beta), model, x)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, check_dtype=False)


def test_gradients_of_gates_with_a_prior(subtests):
    for target, shape in each_once(
        [{}, {"target_l0": [3, 1]}, {"target_explained_variance": 0.9}], [(8, 12), (5, 30)]
    ):
        for positive in (False, True):
            with subtests.test(positive=positive, target=target):
                n_features, n_components = shape
                model = SpikeSlabVAE(
                    MeanField(positive=positive),
                    n_features,
                    n_components,
                    positive=positive,
                    generator=make_generator(0),
                    **target,
                ).double()
                x = draw(9, n_features)
                model.initialize(x)
                with torch.no_grad():
                    for i, parameter in enumerate(model.parameters()):
                        parameter += 0.1 * draw(*parameter.shape, seed=i)
                    model.network.normalize()
                    model.slab_mean += 0.3 * draw(n_components, seed=9)
                    model.first_prices += 0.4
                assert_same_gradients(model.train(), x, beta=1.5)


def test_other_models_are_left_to_autograd():
    """This includes models with a custom prior, whose divergence may differ."""

    class OwnGates(SpikeSlab):
        pass

    gates = SpikeSlabVAE(MeanField(), 5, 3, prior=OwnGates(), generator=make_generator(0))
    other_network = SpikeSlabVAE(MLP((6,)), 5, 3, generator=make_generator(0))
    for model in (make_vae(), gates, other_network):
        x = draw(4, 5).to(next(model.parameters()))
        terms, gradients = terms_and_gradients(ELBO(), model.train(), x)
        loss = ELBO().terms(model, x, generator=make_generator(3))["loss"]
        expected = torch.autograd.grad(loss, list(model.parameters()))
        torch.testing.assert_close(terms["loss"], loss.detach())
        torch.testing.assert_close(list(gradients.values()), list(expected))


# --- aliases --------------------------------------------------------------------------------


def test_resolve_loss():
    loss = ELBO(2.0)
    assert Loss.resolve(loss) is loss
    assert isinstance(Loss.resolve("elbo"), ELBO)
    with pytest.raises(ValueError, match=r"Loss must be one of .*'elbo'.*.*, got 'mse'"):
        Loss.resolve("mse")
    with pytest.raises(ValueError, match="'beta' parameter of ELBO must be"):
        Loss.resolve(ELBO(-1.0))


def test_a_loss_says_what_its_terms_are():
    with pytest.raises(TypeError, match="abstract"):
        Loss()
