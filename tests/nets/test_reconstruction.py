import math

import numpy as np
import pytest
import torch
from helpers import PENALTIES, draw, make_coder

from skvaeense.nets.losses import PenalizedReconstruction, auxiliary_loss
from skvaeense.nets.models import as_number
from skvaeense.nets.networks import MLP, Linear, SingleLayer, Unrolled
from skvaeense.nets.penalties import L1, BatchTopK, Gated, Matryoshka, TopK
from skvaeense.utils._torch import make_generator

N_SAMPLES, N_FEATURES, N_COMPONENTS = 7, 5, 8
SIGNS = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])


def terms_of(model, x, **params):
    return PenalizedReconstruction(**params).terms(model, x, generator=make_generator(0))


# --- terms ----------------------------------------------------------------------------------


def test_l1_by_hand():
    """Encoder, code, penalty and reconstruction are computed in numpy."""
    model, x = make_coder(L1(0.3)), draw(N_SAMPLES, N_FEATURES)
    A, a, W, b = (p.detach().numpy() for p in model.network.parameters())
    code = np.maximum((x.numpy() - b) @ A.T + a, 0)
    error = np.mean((x.numpy() - code @ W.T - b) ** 2)
    cost = code.sum(axis=1).mean() / math.sqrt(N_FEATURES)
    terms = {name: term.detach().numpy() for name, term in terms_of(model, x).items()}
    np.testing.assert_allclose(terms.pop("active_share"), np.mean(code != 0, axis=0))
    expected = {"loss": error + 0.3 * cost, "error": error, "penalty": cost}
    expected["l0"] = np.mean((code != 0).sum(axis=1))
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "positive"),
    [(name, sign) for name in PENALTIES for sign in (True, False) if sign or name != "gated"],
)
def test_loss_is_the_sum_of_its_terms(name, positive):
    model, x = make_coder(PENALTIES[name], positive=positive), draw(N_SAMPLES, N_FEATURES)
    model.alpha = as_number(0.7)
    coding = model.coding(x)
    error = (x - model.decode(coding.code)).square().mean()
    cost = model.penalty.cost(coding).mean()
    loss = error + 0.7 * cost
    auxiliary = model.penalty.auxiliary_error(model.network, x, coding)
    assert (auxiliary is None) == (not isinstance(model.penalty, Gated | Matryoshka))
    if auxiliary is not None:
        loss = loss + auxiliary.mean() / N_FEATURES
    share = (coding.code != 0).double().mean(dim=0)
    expected = {"loss": loss, "error": error, "penalty": cost, "active_share": share}
    torch.testing.assert_close(terms_of(model, x), expected | {"l0": share.sum()})


@pytest.mark.parametrize("network", [SingleLayer(), MLP((6, 5))])
def test_decay_adds_the_squared_weights_of_the_decoder(network):
    model, x = make_coder(L1(0.3), network), draw(N_SAMPLES, N_FEATURES)
    layers = [m for m in model.network.decoder.modules() if isinstance(m, torch.nn.Linear)]
    squares = sum(float(np.sum(layer.weight.detach().numpy() ** 2)) for layer in layers)
    plain, decayed = (float(terms_of(model, x, decay=d)["loss"].detach()) for d in (0.0, 0.02))
    assert decayed - plain == pytest.approx(0.02 * squares)


def test_gate_does_not_pull_at_the_decoder():
    """The gradient of the decoder comes only from the reconstruction error."""
    model, x = make_coder(Gated(0.3), SingleLayer(subtract_bias=False)), draw(N_SAMPLES, N_FEATURES)
    weight, terms = model.linear_decoder.weight, terms_of(model, x)
    pulls = [torch.autograd.grad(terms[t], weight, retain_graph=True)[0] for t in ("loss", "error")]
    torch.testing.assert_close(*pulls)


# --- few entries ----------------------------------------------------------------------------


def whole(penalty):
    """Return a penalty with the same codes, which does not declare their number of entries."""
    kind = type(penalty)
    return type(kind.__name__, (kind,), {"n_kept": lambda *_: None})(penalty.k)


def loss_and_gradients(penalty, network, positive, dead, n_components=512):
    """Return terms and gradients, and the number of whole codes that were computed."""
    model = make_coder(penalty, network, n_components=n_components, positive=positive)
    model.dead_latents = dead
    calls = []
    model.activation.register_forward_hook(lambda *_: calls.append(1))
    terms = terms_of(model, draw(N_SAMPLES, N_FEATURES))
    terms["loss"].backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return (terms, gradients), len(calls)


@SIGNS
@pytest.mark.parametrize("dead", [None, torch.tensor([2, 6, 300])])
@pytest.mark.parametrize(
    ("penalty", "network"),
    [
        (TopK(3), SingleLayer()),
        (BatchTopK(3), SingleLayer(subtract_bias=False)),
        (BatchTopK([2, 6]), Linear((6,), skip=False)),
        (Matryoshka(3), Unrolled(3)),
    ],
)
def test_entries_by_themselves_are_the_whole_code(penalty, network, dead, positive):
    """Codes with few entries are decoded entry by entry, with the same loss and gradients."""
    found, n_whole = loss_and_gradients(penalty, network, positive, dead)
    expected, n_expected = loss_and_gradients(whole(penalty), network, positive, dead)
    assert (n_whole, n_expected) == (0, 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("penalty", "network", "n_components"),
    [
        (TopK(65), SingleLayer(), 512),
        (TopK(3), SingleLayer(), 511),
        (TopK([2, 3]), SingleLayer(), 512),
        (TopK(3), Linear((6,)), 512),
        (TopK(3), MLP((6,)), 512),
    ],
    ids=["many entries", "few latents", "several lengths", "skip", "decoder not linear"],
)
def test_where_whole_codes_are_decoded(penalty, network, n_components):
    assert loss_and_gradients(penalty, network, True, None, n_components)[1] == 1


# --- dead latents ---------------------------------------------------------------------------


def auxiliary_by_hand(weight, h, residual, dead, positive, k):
    """Return the share of the residual that the largest dead latents leave unexplained.

    With positive codes, the largest pre-activations of a latent add their squares if negative.
    """
    left = residual.copy()
    for i, row in enumerate(h):
        size = row[dead] if positive else np.abs(row[dead])
        n_used = min(len(dead), max(1, residual.shape[1] // 2))
        for j in np.array(dead)[np.argsort(-size)[:n_used]]:
            left[i] -= weight[:, j] * (max(row[j], 0) if positive else row[j])
    squares = np.sum(left**2)
    n_raised = max(1, round(len(h) * k / h.shape[1]))
    for j in dead if positive else []:
        squares += np.sum(np.minimum(np.sort(h[:, j])[-n_raised:], 0) ** 2)
    return squares / np.sum(residual**2)


@SIGNS
@pytest.mark.parametrize(
    ("penalty", "dead"),
    [(TopK(3), [4]), (BatchTopK(3), [2, 6]), (Matryoshka(3), list(range(N_COMPONENTS)))],
)
def test_dead_latents_learn_what_the_others_leave(penalty, dead, positive):
    """For each sample at most half as many dead latents are used as there are features."""
    model, x = make_coder(penalty, positive=positive), draw(N_SAMPLES, N_FEATURES)
    alive = terms_of(model, x)
    model.dead_latents = torch.tensor(dead)
    tensors = model.linear_decoder.weight, model.preactivation(x), x - model.decode(model.code(x))
    share = auxiliary_by_hand(*(t.detach().numpy() for t in tensors), dead, positive, k=3)
    terms = terms_of(model, x)
    added = terms.pop("loss") - alive.pop("loss")
    assert float(added.detach()) == pytest.approx(share / 8)
    torch.testing.assert_close(terms, alive)


def test_one_latent_is_used_where_there_is_one_feature():
    model = make_coder(TopK(1), n_features=1, n_components=3)
    torch.nn.init.ones_(model.linear_decoder.weight)
    model.dead_latents = torch.tensor([0, 2])
    h, residual = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[5.0]]).double()
    loss = auxiliary_loss(model, h, residual, weight=1)
    assert float(loss.detach()) == pytest.approx((5 - 2) ** 2 / 5**2)


def test_a_latent_with_negative_preactivations_is_raised_until_it_is_used():
    """Half of the latents are active, so half of the samples have a gradient."""
    model, residual = make_coder(TopK(4)), draw(6, N_FEATURES)
    model.dead_latents = torch.tensor([0])
    h = -torch.arange(1.0, 7.0, dtype=torch.float64)[:, None]
    h.requires_grad_()
    auxiliary_loss(model, h, residual, weight=1).backward()
    expected = torch.tensor([-2.0, -4.0, -6.0, 0.0, 0.0, 0.0]).double()[:, None]
    torch.testing.assert_close(h.grad, expected / residual.square().sum())


@pytest.mark.parametrize("scale", [1.0, 1e-6, 0.0])
def test_auxiliary_loss_is_a_share_however_small_the_residual(scale):
    model, residual = make_coder(TopK(3)), draw(N_SAMPLES, N_FEATURES, seed=1)
    model.dead_latents = torch.tensor([1, 4, 7])
    h = draw(N_SAMPLES, 3, seed=2)
    whole = float(auxiliary_loss(model, h, residual, weight=1).detach())
    share = float(auxiliary_loss(model, scale * h, scale * residual, weight=1).detach())
    assert share == pytest.approx(whole if scale else 0.0)


@SIGNS
@pytest.mark.parametrize("network", [SingleLayer(), Linear((6,), skip=False)])
def test_auxiliary_loss_trains_dead_latents_only(positive, network):
    model, x, dead = make_coder(TopK(3), network, positive=positive), draw(50, 5), [1, 4, 7]
    model.dead_latents = torch.tensor(dead)
    residual = draw(50, 5, seed=2).requires_grad_()
    inputs, weight, own_bias = model.network.output_layer(x)
    h = inputs @ weight[dead].T + own_bias[dead]
    auxiliary_loss(model, h, residual, weight=1).backward()
    # The residual of the living latents is a fixed target, and has no offset.
    assert residual.grad is None
    bias = model.linear_decoder.bias.grad
    assert bias is None or isinstance(network, SingleLayer)
    for gradient in (weight.grad, model.linear_decoder.weight.grad.T):
        trained = torch.nonzero((gradient != 0).any(dim=1)).ravel()
        assert trained.tolist() == dead


def test_auxiliary_loss_of_a_decoder_with_hidden_layers():
    """The contribution of dead latents is the difference from the reconstruction of the code 0."""
    model = make_coder(TopK(3), MLP((7,), encoder_layer_sizes=(7,)), positive=False)
    model.dead_latents = torch.tensor([3, 5])
    h, residual = draw(N_SAMPLES, 2), draw(N_SAMPLES, N_FEATURES, seed=1)
    loss = auxiliary_loss(model, h, residual, weight=1)
    code = torch.zeros(N_SAMPLES, N_COMPONENTS, dtype=torch.float64)
    code[:, [3, 5]] = h
    left = residual - model.decode(code) + model.decode(torch.zeros_like(code))
    torch.testing.assert_close(loss, left.square().sum() / residual.square().sum())
