import math

import numpy as np
import pytest
import torch

from skvaeense._training._loop import make_optimizer
from skvaeense.networks import MLP, Linear, SingleLayer
from skvaeense.objectives import BatchLoss, PenalisedReconstruction, Price, _penalised
from skvaeense.objectives._dead_latents import DeadLatents
from skvaeense.objectives._penalised import AUXILIARY_WEIGHT, RESAMPLE_AT
from skvaeense.penalties import L1, BatchTopK, Gated, JumpReLU, Log, Matryoshka, TopK

N_SAMPLES, N_FEATURES, N_COMPONENTS = 7, 5, 8
UNIT = math.sqrt(N_FEATURES)
SIGNS = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed), dtype=torch.float64)


def make_module(penalty, network=None, positive=True):
    """Return a module in double precision whose biases are not 0."""
    network, generator = SingleLayer() if network is None else network, make_generator()
    module = network.build(N_FEATURES, N_COMPONENTS, n_heads=1, generator=generator)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
    module.activation = penalty.build(N_COMPONENTS, unit=UNIT, positive=positive)
    return module.double()


def make_objective(penalty, alpha=None, warmup=0.0, **params):
    alpha = (penalty.alpha or 0.0) if alpha is None else alpha
    return PenalisedReconstruction(penalty, Price(alpha, warmup=warmup), **params)


def compute_loss(objective, module, x, progress=0.5):
    return objective.loss(module, x, progress=progress, generator=make_generator())


def compute_and_observe(objective, module, x, progress=0.5):
    loss = compute_loss(objective, module, x, progress)
    objective.observe(loss.seen, n_samples=len(x), progress=progress)


def make_samples(seed=1):
    return draw(N_SAMPLES, N_FEATURES, seed=seed)


def numpy_weights(module):
    """Return A, a, W and b of a single layer each way."""
    head, decoder = module.heads[0], module.decoder
    return (p.detach().numpy() for p in (head.weight, head.bias, decoder.weight, decoder.bias))


# --- loss -----------------------------------------------------------------------------------


def test_loss_with_l1_by_hand():
    """All of it in numpy: encoder, code, price and reconstruction."""
    penalty, x = L1(0.3), make_samples()
    module = make_module(penalty)
    loss = compute_loss(make_objective(penalty), module, x)
    A, a, W, b = numpy_weights(module)
    code = np.maximum((x.numpy() - b) @ A.T + a, 0)
    error = ((x.numpy() - code @ W.T - b) ** 2).sum(axis=1).mean()
    cost = code.sum(axis=1).mean() / math.sqrt(N_FEATURES)
    assert isinstance(loss, BatchLoss)
    assert float(loss.error) == pytest.approx(error)
    assert float(loss.cost) == pytest.approx(cost)
    assert float(loss.total.detach()) == pytest.approx(error / N_FEATURES + 0.3 * cost)


@pytest.mark.parametrize(
    "penalty",
    [
        L1(0.3),
        Log(0.3),
        JumpReLU(0.3),
        JumpReLU(0.3, loss="tanh"),
        Gated(0.3),
        TopK(3),
        BatchTopK(3),
        Matryoshka(3, n_prefixes=3),
    ],
    ids=str,
)
def test_loss_is_made_of_its_terms(penalty):
    module, x = make_module(penalty), make_samples()
    loss = compute_loss(make_objective(penalty), module, x)
    (h,) = module.encode(x)
    coding = penalty.coding(module.activation, h, UNIT)
    error = (x - module.decode(coding.code)).square().sum(dim=1).mean()
    cost = penalty.cost(coding).mean()
    auxiliary = penalty.auxiliary_error(module, x, coding)
    assert (auxiliary is None) == (not isinstance(penalty, Gated | Matryoshka))
    total = error / N_FEATURES + (penalty.alpha or 0) * cost
    if auxiliary is not None:
        total = total + auxiliary.mean() / N_FEATURES
    torch.testing.assert_close(loss.error, error.detach())
    torch.testing.assert_close(loss.cost, cost.detach())
    torch.testing.assert_close(loss.total, total)
    assert loss.total.requires_grad
    assert not loss.error.requires_grad
    assert not loss.cost.requires_grad


def test_the_price_is_that_of_the_progress():
    penalty, x = L1(), make_samples()
    module, objective = make_module(penalty), make_objective(penalty, 0.4, warmup=0.2)
    assert objective.trade_off == 0
    for progress, price in [(0.0, 0.0), (0.05, 0.1), (0.9, 0.4)]:
        loss = compute_loss(objective, module, x, progress)
        expected = loss.error / N_FEATURES + price * loss.cost
        torch.testing.assert_close(loss.total.detach(), expected)
        assert objective.trade_off == pytest.approx(price)
        assert np.isscalar(objective.trade_off)


def test_the_price_follows_the_active_latents_of_the_batch():
    """It is the next loss that is computed with what this batch changes."""
    penalty, x = L1(), make_samples()
    module, (price, twin) = make_module(penalty), (Price(0.4, target_l0=1.0) for _ in range(2))
    objective = PenalisedReconstruction(penalty, price)
    code = objective.coding(module, x).code.detach()
    twin.observe(torch.count_nonzero(code) / len(code), 0.5)
    seen = compute_loss(objective, module, x).seen
    assert objective.trade_off == 0.4
    objective.observe(seen, n_samples=len(x), progress=0.5)
    compute_loss(objective, module, x)
    assert objective.trade_off == pytest.approx(float(twin.alpha))
    assert objective.trade_off > 0.4


@SIGNS
@pytest.mark.parametrize("penalty", [L1(0.3), Log(0.3)], ids=str)
def test_gradients_of_the_loss(penalty, positive):
    module, x = make_module(penalty, positive=positive), make_samples()
    objective = make_objective(penalty, positive=positive)
    names, values = zip(*module.named_parameters(), strict=True)

    class Caller(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self):
            return compute_loss(objective, self.module, x).total

    caller = Caller()

    def function(*parameters):
        named = {f"module.{k}": v for k, v in zip(names, parameters, strict=True)}
        return torch.func.functional_call(caller, named, ())

    assert torch.autograd.gradcheck(function, values)


def test_gate_does_not_pull_at_the_decoder():
    """The decoder's gradient is that of the reconstruction error alone."""
    penalty, x = Gated(0.3), make_samples()
    module = make_module(penalty, SingleLayer(subtract_bias=False))
    compute_loss(make_objective(penalty), module, x).total.backward()
    code = make_objective(penalty).coding(module, x).code
    error = (x - module.decode(code)).square().sum(dim=1).mean() / N_FEATURES
    (expected,) = torch.autograd.grad(error, module.decoder.weight)
    torch.testing.assert_close(module.decoder.weight.grad, expected)


# --- constraint of the decoder --------------------------------------------------------------


def test_gradients_become_orthogonal_to_the_columns():
    penalty = L1(0.3)
    module, objective = make_module(penalty), make_objective(penalty)
    objective.constrain(module)
    compute_loss(objective, module, make_samples()).total.backward()
    before = {name: p.grad.clone() for name, p in module.named_parameters()}
    objective.before_step(module)
    weight = module.decoder.weight
    columns = zip(weight.detach().T, weight.grad.T, before["decoder.weight"].T, strict=True)
    for w, g, old in columns:
        assert float(w @ g) == pytest.approx(0, abs=1e-14)
        torch.testing.assert_close(g, old - (w @ old) * w)
    assert not torch.allclose(weight.grad, before["decoder.weight"])
    for name, parameter in module.named_parameters():
        assert name == "decoder.weight" or torch.equal(parameter.grad, before[name])


@pytest.mark.parametrize("after_step", [True, False])
def test_columns_are_brought_back_to_norm_1(after_step):
    penalty = L1(0.3)
    module, objective = make_module(penalty), make_objective(penalty)
    with torch.no_grad():
        module.decoder.weight *= torch.linspace(0.01, 9, N_COMPONENTS)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    if after_step:
        objective.after_step(module, None, progress=0.0, generator=make_generator())
    else:
        objective.constrain(module)
    weight = before["decoder.weight"].numpy()
    expected = weight / np.linalg.norm(weight, axis=0)
    np.testing.assert_allclose(module.decoder.weight.detach(), expected)
    for name, parameter in module.named_parameters():
        assert name == "decoder.weight" or torch.equal(parameter, before[name])


def test_a_column_of_zeros_stays_finite():
    penalty = L1(0.3)
    module = make_module(penalty)
    with torch.no_grad():
        module.decoder.weight[:, 2] = 0
    make_objective(penalty).constrain(module)
    assert torch.isfinite(module.decoder.weight).all()
    assert not module.decoder.weight[:, 2].any()


@pytest.mark.parametrize("network", [SingleLayer(), MLP((6,))], ids=["linear", "mlp"])
@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_decay_prices_weights_in_place_of_the_constraint(network, decay):
    penalty, x = L1(0.3), make_samples()
    module, objective = make_module(penalty, network), make_objective(penalty, decay=decay)
    with torch.no_grad():
        for parameter in module.decoder.parameters():
            parameter *= 1.7
    loss = compute_loss(objective, module, x)
    # Those of all layers, and no biases.
    layers = [layer for layer in module.decoder.modules() if isinstance(layer, torch.nn.Linear)]
    squares = sum(np.sum(layer.weight.detach().numpy() ** 2) for layer in layers)
    expected = float(loss.error) / N_FEATURES + 0.3 * float(loss.cost) + decay * squares
    assert float(loss.total.detach()) == pytest.approx(expected)
    loss.total.backward()
    before = [(p.detach().clone(), p.grad.clone()) for p in module.parameters()]
    objective.before_step(module)
    objective.after_step(module, None, progress=0.0, generator=make_generator())
    objective.constrain(module)
    for parameter, (value, gradient) in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert torch.equal(parameter.grad, gradient)


# --- held-out samples -----------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_held_out_terms_use_evaluation_and_leave_the_mode(training):
    """With a penalty whose codes differ: outside training a threshold makes them."""
    penalty, x = BatchTopK(2), make_samples()
    module, objective = make_module(penalty), make_objective(penalty)
    module.activation.threshold.fill_(0.5)
    module.train(training)
    error, cost, l0 = objective.held_out_terms(module, x)
    assert module.training is training
    assert module.activation.training is training
    assert float(module.activation.threshold) == 0.5
    A, a, W, b = numpy_weights(module)
    h = (x.numpy() - b) @ A.T + a
    code = np.where(h >= 0.5, h, 0)
    assert np.count_nonzero(code) != 2 * N_SAMPLES
    assert error == pytest.approx(np.mean((x.numpy() - code @ W.T - b) ** 2))
    assert l0 == pytest.approx(np.count_nonzero(code) / N_SAMPLES)
    assert cost == 0
    assert all(isinstance(value, float) for value in (error, cost, l0))


def test_held_out_terms_are_those_of_the_loss():
    """Where evaluation is no different; the error is a fraction of the variance here."""
    penalty, x = L1(0.3), make_samples()
    module, objective = make_module(penalty), make_objective(penalty)
    loss = compute_loss(objective, module, x)
    error, cost, _ = objective.held_out_terms(module, x)
    assert error == pytest.approx(float(loss.error) / N_FEATURES)
    assert cost == pytest.approx(float(loss.cost))


def test_held_out_samples_are_not_counted():
    penalty, x = L1(0.3), make_samples()
    module, objective = make_module(penalty), make_objective(penalty)
    objective.held_out_terms(module, x)
    assert objective.dead is None
    compute_loss(objective, module, x)
    counts = objective.dead.silent_for.clone()
    objective.held_out_terms(module, -9 * x)
    assert torch.equal(objective.dead.silent_for, counts)


# --- dead latents ---------------------------------------------------------------------------


def record_resampling(monkeypatch):
    calls = []
    monkeypatch.setattr(DeadLatents, "resample", lambda *arguments: calls.append(arguments[1:]))
    return calls


def n_calls_after_steps(calls, objective, module, x, n_steps=400):
    """Call `after_step` at evenly spaced progress; yield it with the number of calls since."""
    for p in (i / n_steps for i in range(n_steps)):
        compute_loss(objective, module, x)
        objective.after_step(module, "optimizer", progress=p, generator="generator")
        yield p, len(calls)


@pytest.mark.parametrize("network", [SingleLayer(), Linear((6,))], ids=["single layer", "linear"])
def test_dead_latents_are_resampled_at_their_times_once_each(monkeypatch, network):
    calls, penalty, x = record_resampling(monkeypatch), L1(0.3), make_samples()
    module, objective = make_module(penalty, network), make_objective(penalty)
    objective.constrain(module)
    residual = x - module.decode(objective.coding(module, x).code)
    for p, n_calls in n_calls_after_steps(calls, objective, module, x):
        assert n_calls == sum(p >= at for at in RESAMPLE_AT)
    assert len(calls) == len(RESAMPLE_AT) > 0
    # With what the last loss was computed from.
    resampled, optimizer, samples, error, generator = calls[0]
    assert (resampled, optimizer, generator) == (module, "optimizer", "generator")
    assert samples is x
    torch.testing.assert_close(error, residual.detach())
    # Kept without what it was computed from.
    assert not error.requires_grad


@pytest.mark.parametrize(
    ("penalty", "network", "decay"),
    [(TopK(2), SingleLayer(), None), (L1(0.3), MLP((6,)), 0.1)],
    ids=["auxiliary loss instead", "decoder not linear"],
)
def test_no_resampling(monkeypatch, penalty, network, decay):
    calls, x = record_resampling(monkeypatch), make_samples()
    module, objective = make_module(penalty, network), make_objective(penalty, decay=decay)
    assert {n for _, n in n_calls_after_steps(calls, objective, module, x)} == {0}


def test_resampled_columns_have_norm_1():
    """A dead latent is drawn anew in a step, and the constraint still holds after it."""
    penalty = L1(0.3)
    module, objective = make_module(penalty), make_objective(penalty)
    compute_loss(objective, module, make_samples())
    objective.dead.silent_for[3] = 10**9
    before = module.decoder.weight.detach().clone()
    optimizer = make_optimizer(module)
    objective.after_step(module, optimizer, progress=0.99, generator=make_generator())
    weight = module.decoder.weight.detach()
    torch.testing.assert_close(weight.norm(dim=0), torch.ones(N_COMPONENTS).double())
    changed = ~torch.isclose(weight, before).all(dim=0)
    assert torch.nonzero(changed).ravel().tolist() == [3]


def losses_with_and_without_dead(penalty, positive=True):
    """Return two losses of the same batch: none dead, then two; and the part that they add."""
    module, x = make_module(penalty, positive=positive), make_samples()
    objective = make_objective(penalty, positive=positive)
    alive = compute_loss(objective, module, x)
    objective.dead.mask[[2, 6]] = True
    objective.dead.n_dead = 2
    (h,) = module.encode(x)
    residual = x - module.decode(module.activation(h))
    part = objective.dead.auxiliary_loss(module, h[:, [2, 6]], residual, positive)
    return alive.total, compute_loss(objective, module, x).total, part


@SIGNS
@pytest.mark.parametrize("penalty", [TopK(3), BatchTopK(3), Matryoshka(3)], ids=str)
def test_auxiliary_loss_where_there_are_dead_latents(penalty, positive):
    alive, some_dead, part = losses_with_and_without_dead(penalty, positive)
    assert float(part.detach()) > 0
    torch.testing.assert_close(some_dead, alive + AUXILIARY_WEIGHT * part)


@pytest.mark.parametrize("penalty", [L1(0.3), JumpReLU(0.3)], ids=str)
def test_no_auxiliary_loss_where_dead_latents_are_resampled(penalty):
    alive, some_dead, _ = losses_with_and_without_dead(penalty)
    assert torch.equal(some_dead, alive)


def test_dead_fraction():
    penalty, x = TopK(2), make_samples()
    module, objective = make_module(penalty), make_objective(penalty)
    assert objective.dead_fraction == 0
    compute_and_observe(objective, module, x)
    code = objective.coding(module, x).code
    silent = (code == 0).all(dim=0).double().mean()
    assert 0 < silent < 1
    assert objective.dead_fraction == pytest.approx(float(silent))


# --- few entries ----------------------------------------------------------------------------


@SIGNS
@pytest.mark.parametrize("n_dead", [0, 2], ids=["none dead", "some dead"])
@pytest.mark.parametrize(
    "network",
    [SingleLayer(), SingleLayer(subtract_bias=False), Linear((6,), skip=False)],
    ids=["single layer", "bias not subtracted", "hidden layers"],
)
def test_entries_by_themselves_are_the_whole_code(monkeypatch, network, n_dead, positive):
    """Codes with few entries are decoded entry by entry, to the same loss and gradients."""
    penalty, x, found = TopK(2), make_samples(), []
    for few in (0.0, 1.0):
        monkeypatch.setattr(_penalised, "FEW", few)
        module = make_module(penalty, network, positive=positive)
        objective = make_objective(penalty, positive=positive)
        assert objective._keeps_few(module) == (few == 1)
        compute_loss(objective, module, x)
        objective.dead.mask[:n_dead] = True
        objective.dead.n_dead = n_dead
        objective.price = Price(0.1, target_l0=1.0)
        loss = compute_loss(objective, module, x)
        loss.total.backward()
        gradients = {name: p.grad for name, p in module.named_parameters()}
        found.append((loss, gradients, objective.dead.silent_for, objective.price.alpha))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(
    ("penalty", "network", "decay"),
    [
        (TopK(N_COMPONENTS), SingleLayer(), None),
        (BatchTopK(1), SingleLayer(), None),
        (TopK(1), Linear((6,)), None),
        (TopK(1), MLP((6,)), 0.1),
    ],
    ids=["many entries", "another penalty", "skip", "decoder not linear"],
)
def test_where_whole_codes_are_decoded(penalty, network, decay):
    module, objective = make_module(penalty, network), make_objective(penalty, decay=decay)
    assert not objective._keeps_few(module)


def test_a_loss_tells_its_number_of_active_latents_to_the_price():
    seen = []
    objective = make_objective(L1(0.3))
    objective.price.observe = lambda l0, progress: seen.append((float(l0), progress))
    module, x = make_module(L1(0.3)), make_samples()
    compute_and_observe(objective, module, x, progress=0.25)
    code = module.activation(module.encode(x)[0])
    code = code[0] if isinstance(code, tuple) else code
    assert seen == [(pytest.approx(float((code != 0).sum(dim=1).double().mean())), 0.25)]


def test_a_latent_that_one_sample_uses_is_not_dead():
    seen = []
    objective, module, x = make_objective(L1(0.3)), make_module(L1(0.3)), make_samples()
    compute_and_observe(objective, module, x)
    objective.dead.observe = lambda fired, n_samples: seen.append((fired.tolist(), n_samples))
    compute_and_observe(objective, module, x[:1])
    (fired, n_samples), used = seen[0], module.encode(x[:1])[0].relu() > 0
    assert n_samples == 1
    assert fired == used[0].tolist()
    assert any(fired)
