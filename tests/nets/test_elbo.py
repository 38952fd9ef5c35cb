import math

import numpy as np
import pytest
import torch
from helpers import draw, make_vae
from scipy.stats import norm

from skvaeense.nets.losses import ELBO
from skvaeense.nets.models import as_number
from skvaeense.nets.networks import MLP
from skvaeense.utils._torch import make_generator


def set_noise(model, noise_variance):
    model.noise_variance = as_number(noise_variance)
    return model


# --- terms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("beta", [1.0, 0.0, 4.0])
def test_terms_of_a_linear_decoder_by_hand(beta, gated):
    model, x = set_noise(make_vae(gated=gated), 0.3), draw(4, 5)
    mean, logit = (head.detach().numpy() for head in model.network.encode(x))
    s = np.sqrt(1 / (1 + np.exp(-logit)))
    W, b = (p.detach().numpy() for p in model.network.decoder.parameters())
    gate = 1 - s if gated else np.ones_like(s)
    residual = x.numpy() - (gate * mean) @ W.T - b
    error = np.mean(np.sum(residual**2, axis=1) + (gate * s) ** 2 @ np.sum(W**2, axis=0))
    kl = np.mean(0.5 * np.sum(s**2 + mean**2 - 1 - np.log(s**2), axis=1))
    expected = {"loss": error / 0.3 + 2 * beta * kl, "error": error, "kl": kl}
    terms = ELBO(beta).terms(model, x, generator=make_generator(0))
    assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(expected)


def test_terms_of_another_decoder_are_those_of_one_draw():
    model, x = set_noise(make_vae(MLP((4,), encoder_layer_sizes=(4,))), 0.3), draw(4, 5)
    terms = ELBO().terms(model, x, generator=make_generator(7))
    posterior, eps = model.posterior(x), draw(4, 3, seed=7)
    code = posterior.openness * (posterior.mean + posterior.std * eps)
    error = (x - model.decode(code)).square().sum(dim=1).mean()
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


# --- aliases --------------------------------------------------------------------------------
