"""VAEenseTransformer with a given number of active latents."""

import math

import numpy as np
import pytest
import torch
from helpers import (
    ATOMS,
    SUBSPACES,
    changed,
    draw,
    fit_unwarned,
    fit_vaeense,
    make_vae,
    quick_vaeense,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skvaeense import VAEenseTransformer
from skvaeense.losses import ELBO
from skvaeense.losses._auxiliary import AUXILIARY_WEIGHT
from skvaeense.losses._linear_elbo import LinearELBOGradient
from skvaeense.metrics import fvu, l0
from skvaeense.networks import MLP, Linear, Unrolled
from skvaeense.priors import Mixture, Posterior
from skvaeense.utils._seeding import make_generator

X, X_NEW = ATOMS.train[:1000], ATOMS.new


def fit(X=X, **params):
    settings = {"n_components": 16, "target_l0": 3, "max_iter": 30, "random_state": 0}
    return fit_unwarned(VAEenseTransformer(**(settings | params)), X)


@pytest.fixture(scope="module")
def fitted():
    return fit()


# --- the model --------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [Linear((6,)), MLP((4,))], ids=str)
@torch.no_grad()
def test_latents_of_the_largest_contributions_stay_open(network):
    model, x = make_vae(network, n_components=7, target_l0=2), draw(20, 5)
    before, posterior = model.open_posterior(x), model.posterior(x)
    size = model.code(before).abs()
    if model.linear_decoder is not None:
        size = size * model.linear_decoder.weight.norm(dim=0)
    is_open = size >= size.flatten().sort(descending=True).values[2 * 20 - 1]
    assert torch.equal(model.is_open(posterior), is_open)
    assert torch.equal(posterior.mean, before.mean * is_open)
    assert torch.equal(posterior.std[~is_open], torch.ones(7 * 20 - 40).double())
    assert torch.equal(posterior.std[is_open], before.std[is_open])
    assert torch.equal(model.code(posterior), model.code(before) * is_open)


@torch.no_grad()
def test_closed_latents_cost_nothing_and_add_no_noise():
    """The bound is that of a smaller model, which has the open latents of the sample alone."""
    model, x = make_vae(n_components=7, target_l0=2), draw(6, 5)
    posterior = model.posterior(x)
    error, kl = model.elbo(x, posterior=posterior)
    W, b = model.linear_decoder.parameters()
    for i, is_open in enumerate(model.is_open(posterior)):
        m, s, w = posterior.mean[i, is_open], posterior.std[i, is_open], W[:, is_open]
        squares = (x[i] - w @ ((1 - s) * m) - b).square().sum()
        spread = ((1 - s) * s).square() @ w.square().sum(dim=0)
        torch.testing.assert_close(error[i], squares + spread)
        torch.testing.assert_close(kl[i], (s**2 + m**2 - 1 - 2 * s.log()).sum() / 2)


def test_gradients_of_closed_latents_are_zero_and_finite():
    model, x = make_vae(n_components=7, target_l0=2), draw(6, 5)
    mean, logit = (head.detach().requires_grad_() for head in model.network.encode(x))
    posterior = model.close(Posterior(mean, logit))
    sum(term.sum() for term in model.elbo(x, posterior=posterior)).backward()
    is_open = model.is_open(posterior)
    for head in (mean, logit):
        assert torch.isfinite(head.grad).all()
        assert torch.equal(head.grad != 0, is_open)


def test_the_gradient_by_hand_is_not_for_closed_latents():
    assert isinstance(ELBO().gradient(make_vae()), LinearELBOGradient)
    assert not isinstance(ELBO().gradient(make_vae(target_l0=2)), LinearELBOGradient)


@torch.no_grad()
def test_dead_latents_learn_what_the_others_leave():
    model, x = make_vae(n_components=7, target_l0=2), draw(6, 5)
    model.noise_variance = torch.tensor(0.3).double()
    plain = ELBO().terms(model, x, generator=make_generator(0))
    assert_allclose(plain["active_share"].sum(), 2)
    model.dead_latents = torch.tensor([1, 4])
    terms = ELBO().terms(model, x, generator=make_generator(0))
    residual = x - model.decode(model.code(model.posterior(x)))
    code = model.code(model.open_posterior(x))[:, [1, 4]]
    left = residual - code @ model.linear_decoder.weight[:, [1, 4]].T
    share = left.square().sum() / residual.square().sum()
    # The loss has errors over the noise variance, summed over the features.
    expected = AUXILIARY_WEIGHT * share * 5 / 0.3
    torch.testing.assert_close(terms["loss"] - plain["loss"], expected)
    assert torch.equal(terms["error"], plain["error"])


# --- codes ------------------------------------------------------------------------------------


def test_codes_have_the_length_that_was_asked_for(fitted):
    codes = fitted.transform(X_NEW)
    assert l0(codes) == pytest.approx(3, rel=0.07)
    assert len(np.unique((codes != 0).sum(axis=1))) > 2
    assert not np.signbit(codes[codes == 0]).any()
    assert isinstance(fitted.module_.config["network"], Unrolled)


@pytest.mark.parametrize("threshold", ["fixed_variance", "contribution", "otsu"])
def test_active_are_those_that_are_not_closed(fitted, threshold):
    other = changed(fitted, threshold=threshold, hard=True)
    codes = fitted.transform(X_NEW)
    assert_array_equal(other.transform(X_NEW), codes)
    assert_array_equal(other.active_dimensions(X_NEW), codes != 0)
    rows = changed(fitted, threshold=threshold, sparse_output=True).transform(X_NEW)
    assert sparse.issparse(rows)
    assert rows.nnz == np.count_nonzero(codes)
    assert_array_equal(rows.toarray(), codes)


def test_closed_latents_have_the_posterior_that_is_the_prior(fitted):
    mean, std = fitted.posterior(X_NEW)
    closed = ~fitted.active_dimensions(X_NEW)
    assert (mean[closed] == 0).all()
    assert (std[closed] == 1).all()
    assert (std[~closed] < 1).all()
    assert_allclose((1 - std) * mean, fitted.transform(X_NEW), rtol=1e-6, atol=1e-9)


def test_a_sample_is_coded_by_itself(fitted):
    codes = fitted.transform(X_NEW)
    assert_allclose(fitted.transform(X_NEW[:1]), codes[:1], rtol=1e-9)
    assert_allclose(fitted.transform(X_NEW[::-1]), codes[::-1], rtol=1e-9)


def test_density_and_draws():
    fitted = fit(X[:300], max_iter=5, prior=Mixture(n_components=2))
    assert np.isfinite(fitted.score_samples(X_NEW)).all()
    assert fitted.score(X_NEW) > fitted.score(2 * X_NEW)
    assert fitted.sample(7, random_state=0).shape == (7, 8)
    missing = X_NEW[:5].copy()
    missing[:, 0] = np.nan
    assert np.isfinite(fitted.impute(missing)).all()
    assert np.isfinite(fitted.elbo_samples(X_NEW)).all()


def test_longer_codes_explain_more(fitted):
    def unexplained(fitted):
        return fvu(X_NEW, fitted.inverse_transform(fitted.transform(X_NEW)))

    assert unexplained(fit(target_l0=1.5)) > 1.5 * unexplained(fitted)


@pytest.mark.parametrize("network", ["linear", "mlp", "single_layer", Unrolled(1)], ids=str)
def test_any_network(network):
    fitted = fit(X[:400], network=network, max_iter=5)
    assert l0(fitted.transform(X[:400])) == pytest.approx(3, rel=0.02)
    assert np.isfinite(fitted.elbo_samples(X_NEW)).all()


def test_positive_codes():
    codes = fit(X[:400], positive_code=True, max_iter=10).transform(X_NEW)
    assert (codes >= 0).all()
    assert 2 < l0(codes) < 4


def test_locations_and_far_rows():
    """The columns that say where a sample is are not counted."""
    rows = np.r_[SUBSPACES.train[:500] + 20, SUBSPACES.train[500:1000] - 20, [[1e5] * 8]]
    with pytest.warns(UserWarning, match="far from all others"):
        fitted = VAEenseTransformer(8, target_l0=2, max_iter=20, random_state=0).fit(rows)
    assert len(fitted.locations_) == 2
    codes = fitted.transform(rows[:1000])
    assert codes.shape == (1000, 10)
    assert fitted.active_dimensions(rows[:1000]).sum(axis=1).mean() == pytest.approx(2, rel=0.05)
    assert fvu(rows[:1000], fitted.inverse_transform(codes)) < 1e-3


# --- fitting ----------------------------------------------------------------------------------


def test_nothing_changes_without_a_target():
    one, other = fit_vaeense(), fit_vaeense(target_l0=None)
    assert_array_equal(one.transform(X_NEW), other.transform(X_NEW))
    assert one.module_.closure is None


def test_network_is_linear_without_a_target():
    automatic, linear = (
        fit_unwarned(VAEenseTransformer(4, n_init=1, max_iter=2, random_state=0, **params), X[:200])
        for params in ({"prior": "mixture"}, {"network": "linear"})
    )
    assert_array_equal(automatic.transform(X_NEW), linear.transform(X_NEW))


def test_the_best_of_several_inits_is_kept():
    fitted = fit(X[:300], n_init=2, max_iter=5)
    assert set(fitted.history_["init"]) == {0, 1}
    assert fitted.n_iter_ == 5
    one = fit(X[:300], n_init=1, max_iter=5)
    assert set(one.history_["init"]) == {0}
    assert fitted.elbo_samples(X[:300]).mean() >= one.elbo_samples(X[:300]).mean() - 0.5


def test_goes_on_with_another_target(fitted):
    going_on = changed(fitted, warm_start=True, target_l0=2, max_iter=5)
    fit_unwarned(going_on, X)
    assert l0(going_on.transform(X_NEW)) == pytest.approx(2, rel=0.1)
    assert l0(fitted.transform(X_NEW)) == pytest.approx(3, rel=0.07)
    with pytest.raises(ValueError, match="cannot go on with target_l0=None"):
        changed(fitted, warm_start=True, target_l0=None).fit(X)
    with pytest.raises(ValueError, match="target_l0=None cannot go on with target_l0=2"):
        fit_vaeense(warm_start=True).set_params(target_l0=2).fit(SUBSPACES.few)


def test_partial_fit():
    model = VAEenseTransformer(16, target_l0=3, random_state=0)
    for _ in range(3):
        model.partial_fit(X)
    assert l0(model.transform(X_NEW)) == pytest.approx(3, rel=0.1)
    with pytest.raises(ValueError, match="cannot go on"):
        model.set_params(target_l0=None).partial_fit(X)


def test_in_double_precision():
    fitted = fit(X[:300], dtype="float64", max_iter=5)
    assert fitted.module_.gate_std.dtype is torch.float64
    assert math.isfinite(fitted.loss_curve_[-1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"target_l0": 5}, "target_l0=5 must be at most n_components=4"),
        ({"target_l0": 2, "gated": False}, "gated=False has none"),
        ({"network": "unrolled"}, "set target_l0"),
        ({"target_l0": 0}, "The 'target_l0' parameter of VAEenseTransformer must be a float"),
        ({"target_l0": 2, "learn_noise_variance": False}, "noise_variance must be a number"),
    ],
    ids=str,
)
def test_what_cannot_be(params, message):
    with pytest.raises(ValueError, match=message):
        quick_vaeense(**({"network": "auto"} | params)).fit(X)
