import numpy as np
import pytest
import torch

from skvaeense._training._loop import make_optimizer
from skvaeense.networks import MLP, Linear, SingleLayer
from skvaeense.objectives import _dead_latents
from skvaeense.objectives._dead_latents import LOOK_EVERY, RESAMPLED_NORM, DeadLatents
from skvaeense.penalties import L1, Gated, JumpReLU

N_SAMPLES, N_FEATURES, N_COMPONENTS = 8, 6, 10
DEAD = [1, 4, 9]
LIVING = [i for i in range(N_COMPONENTS) if i not in DEAD]
SIGNS = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])
NETWORKS = pytest.mark.parametrize(
    "network",
    [SingleLayer(), SingleLayer(subtract_bias=False), Linear((7,))],
    ids=["single layer", "bias not subtracted", "linear with skip"],
)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed), dtype=torch.float64)


def make_module(network=None, seed=0):
    """Return a module with no bias at 0."""
    network, generator = SingleLayer() if network is None else network, make_generator(seed)
    module = network.build(N_FEATURES, N_COMPONENTS, n_heads=1, generator=generator)
    last = module.decoder if module.has_linear_decoder else module.decoder[-1]
    torch.nn.init.normal_(last.bias, generator=generator)
    torch.nn.init.normal_(module.heads[0].bias, generator=generator)
    return module.double()


def make_record(n_components, activation=None):
    """Return a record of nothing yet."""
    activation = torch.nn.ReLU() if activation is None else activation
    return DeadLatents(n_components, activation, torch.device("cpu"))


def make_dead(indices=DEAD, n_components=N_COMPONENTS, activation=None):
    """Return the record after so many samples that these latents are dead."""
    dead = make_record(n_components, activation)
    dead.silent_for[indices] = _dead_latents.DEAD_AFTER
    dead.mask[indices] = True
    dead.n_dead = len(indices)
    return dead


def code_of(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def observe(dead, code):
    """Let the record see a batch of codes."""
    dead.observe((code != 0).any(dim=0), len(code))


# --- counting -------------------------------------------------------------------------------


def test_counts_by_hand():
    dead = make_record(4)
    counts = []
    for code in (
        code_of([1, 0, 0, 0], [0, 0, -2, 0]),
        code_of([0, 0, 0, 0], [0, 0, 0, 0], [0, 1e-9, 0, 0]),
        code_of([1, 0, 0, 0]),
    ):
        observe(dead, code)
        counts.append(dead.silent_for.tolist())
    assert counts == [[0, 2, 0, 2], [3, 0, 3, 5], [0, 1, 4, 6]]


def test_a_latent_is_dead_after_so_many_samples(monkeypatch):
    monkeypatch.setattr(_dead_latents, "DEAD_AFTER", 6)
    monkeypatch.setattr(_dead_latents, "LOOK_EVERY", 1)
    dead, numbers = make_record(2), []
    for _ in range(4):
        observe(dead, code_of([1, 0], [1, 0]))
        numbers.append(dead.n_dead)
    assert numbers == [0, 0, 1, 1]
    assert dead.mask.tolist() == [False, True]
    assert dead.latents.tolist() == [1]
    observe(dead, code_of([0, 1]))
    assert dead.n_dead == 0
    assert dead.mask.tolist() == [False, False]


def test_looks_are_rare(monkeypatch):
    """The counts are always right; which are dead is looked up at the first step and so on."""
    monkeypatch.setattr(_dead_latents, "DEAD_AFTER", 2)
    dead = make_record(2)
    numbers = []
    for _ in range(2 * LOOK_EVERY + 1):
        observe(dead, code_of([1, 0]))
        numbers.append(dead.n_dead)
    assert LOOK_EVERY > 1
    assert numbers == [0] * LOOK_EVERY + [1] * (LOOK_EVERY + 1)
    # The other way round: revived ones are seen at the next look.
    for i in range(1, LOOK_EVERY + 1):
        observe(dead, code_of([1, 1]))
        assert dead.n_dead == (0 if i == LOOK_EVERY else 1)


def test_fraction(monkeypatch):
    monkeypatch.setattr(_dead_latents, "DEAD_AFTER", 5)
    dead = make_record(4)
    fractions = []
    for code in (
        code_of([1, 1, 0, 0], [1, 0, 0, 0]),  # silent for 0, 0, 2, 2 of 2
        code_of([1, 0, 0, 0]),  # 0, 1, 3, 3 of 3
        code_of([1, 0, 1, 0], [1, 0, 0, 0]),  # 0, 3, 0, 5 of 5
        code_of([1, 0, 0, 0], [1, 0, 0, 0]),  # 0, 5, 2, 7
    ):
        observe(dead, code)
        fractions.append(dead.fraction)
    assert fractions == [0.5, 0.5, 0.25, 0.5]


# --- auxiliary loss -------------------------------------------------------------------------


def auxiliary_loss_by_hand(weight, h, residual, dead, positive):
    """Return the share of the residual that the largest dead latents leave."""
    left = residual.copy()
    for i, row in enumerate(h):
        size = row[dead] if positive else np.abs(row[dead])
        n_used = min(len(dead), max(1, residual.shape[1] // 2))
        for j in np.array(dead)[np.argsort(-size)[:n_used]]:
            left[i] -= weight[:, j] * (max(row[j], 0) if positive else row[j])
    return np.sum(left**2) / np.sum(residual**2)


@SIGNS
@pytest.mark.parametrize("indices", [[4], DEAD, range(N_COMPONENTS)], ids=["one", "three", "all"])
def test_auxiliary_loss_by_hand(indices, positive):
    """With half as many features used at most, of those that are dead."""
    module, residual = make_module(), draw(N_SAMPLES, N_FEATURES, seed=1)
    h, indices = draw(N_SAMPLES, N_COMPONENTS, seed=2), list(indices)
    loss = make_dead(indices).auxiliary_loss(module, h[:, indices], residual, positive)
    weight = module.decoder.weight.detach().numpy()
    expected = auxiliary_loss_by_hand(weight, h.numpy(), residual.numpy(), indices, positive)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)


def test_one_latent_is_used_where_there_is_one_feature():
    module = SingleLayer().build(1, 3, n_heads=1, generator=make_generator()).double()
    torch.nn.init.ones_(module.decoder.weight)
    h, residual = code_of([1, 3, 2]), code_of([5])
    loss = make_dead([0, 2], 3).auxiliary_loss(module, h[:, [0, 2]], residual, True)
    assert float(loss.detach()) == pytest.approx((5 - 2) ** 2 / 5**2)


def test_auxiliary_loss_is_a_share_however_small_the_residual():
    module, h = make_module(), draw(N_SAMPLES, N_COMPONENTS)[:, DEAD]
    residual = draw(N_SAMPLES, N_FEATURES, seed=1)
    losses = [
        float(make_dead().auxiliary_loss(module, s * h, s * residual, True).detach())
        for s in (1.0, 1e-6)
    ]
    assert losses[1] == pytest.approx(losses[0])


def test_auxiliary_loss_without_a_residual_is_finite():
    module, h = make_module(), draw(N_SAMPLES, N_COMPONENTS)
    residual = torch.zeros(N_SAMPLES, N_FEATURES, dtype=torch.float64)
    loss = make_dead().auxiliary_loss(module, -h[:, DEAD].abs(), residual, True)
    assert float(loss.detach()) == 0


@NETWORKS
@SIGNS
def test_auxiliary_loss_trains_dead_latents_only(network, positive):
    module, x = make_module(network), draw(N_SAMPLES, N_FEATURES, seed=1)
    # Each is positive for some samples: those that never are get no gradient.
    torch.nn.init.ones_(module.heads[0].bias)
    (h,) = module.encode(x)
    residual = draw(N_SAMPLES, N_FEATURES, seed=2).requires_grad_()
    make_dead().auxiliary_loss(module, h[:, DEAD], residual, positive).backward()
    head, decoder = module.heads[0], module.decoder
    for gradient in (head.weight.grad.T, head.bias.grad[None], decoder.weight.grad):
        assert (gradient[:, LIVING] == 0).all()
        assert (gradient[:, DEAD] != 0).any(dim=0).all()
    # What the others leave is a target, and the reconstruction of it has no offset.
    assert residual.grad is None
    if not module.subtract_bias:
        assert decoder.bias.grad is None


def test_auxiliary_loss_of_a_decoder_with_hidden_layers():
    """What dead latents add is a difference from the reconstruction of no code at all."""
    network = MLP((7,), encoder_layer_sizes=(7,))
    module, residual = make_module(network), draw(N_SAMPLES, N_FEATURES, seed=1)
    h = draw(N_SAMPLES, 2, seed=2)
    loss = make_dead([3, 5]).auxiliary_loss(module, h, residual, positive=False)
    code = torch.zeros(N_SAMPLES, N_COMPONENTS, dtype=torch.float64)
    code[:, [3, 5]] = h
    left = residual - module.decode(code) + module.decode(torch.zeros_like(code))
    torch.testing.assert_close(loss, left.square().sum() / residual.square().sum())


# --- resampling -----------------------------------------------------------------------------

# A parameter for each latent, or two; no threshold is so high that a latent gets no gradient.
ACTIVATIONS = pytest.mark.parametrize(
    ("penalty", "positive"),
    [
        (JumpReLU(threshold=1e-3, bandwidth=9.0), False),
        (L1(), False),
        (Gated(), True),
    ],
    ids=["jump relu", "signed l1", "gated"],
)


def make_training(network=None, penalty=None, positive=True):
    """Return a module and its optimizer after two steps, with samples and their residuals."""
    module, x = make_module(network), 2 + draw(N_SAMPLES, N_FEATURES, seed=1)
    penalty = L1() if penalty is None else penalty
    module.activation = penalty.build(N_COMPONENTS, unit=1.0, positive=positive).double()
    optimizer = make_optimizer(module, full_rate=True)
    # All latents are active for some samples, so that the optimizer remembers all of them.
    torch.nn.init.ones_(module.heads[0].bias)
    for _ in range(2):
        optimizer.zero_grad()
        residual = x - module.decode(module.activation(module.encode(x)[0]))
        residual.square().mean().backward()
        optimizer.step()
    return module, optimizer, x, residual.detach()


def snapshot(module, optimizer):
    """Return copies of all weights and moments by name."""
    copies = {}
    for name, parameter in module.named_parameters():
        copies[name] = parameter.detach().clone()
        for moment in ("exp_avg", "exp_avg_sq"):
            copies[f"{name} {moment}"] = optimizer.state[parameter][moment].clone()
    return copies


def drawn_samples(module, residual, indices):
    """Return which sample's residual each column is."""
    directions = (residual / residual.norm(dim=1, keepdim=True)).nan_to_num()
    cosine = directions @ module.decoder.weight.detach()[:, indices]
    assert cosine.max(dim=0).values.tolist() == pytest.approx([1] * len(indices))
    return cosine.argmax(dim=0)


@NETWORKS
def test_dead_latents_point_at_samples(network):
    module, optimizer, x, residual = make_training(network)
    norm = module.heads[0].weight.detach()[LIVING].norm(dim=1).mean()
    make_dead().resample(module, optimizer, x, residual, make_generator())
    drawn = drawn_samples(module, residual, DEAD)
    columns = module.decoder.weight.detach()[:, DEAD]
    torch.testing.assert_close(columns.norm(dim=0), torch.ones(3).double())
    hidden = module.hidden(x).detach()[drawn]
    expected = RESAMPLED_NORM * norm * hidden / hidden.norm(dim=1, keepdim=True)
    torch.testing.assert_close(module.heads[0].weight.detach()[DEAD], expected)
    assert module.heads[0].bias[DEAD].tolist() == [0] * 3
    if module.skip is not None:
        assert not module.skip.weight[DEAD].any()
    # So each is active for its sample.
    (h,) = module.encode(x)
    assert (h[drawn, DEAD] > 0).all()


@NETWORKS
@ACTIVATIONS
def test_memory_of_dead_latents_is_cleared_and_the_rest_is_untouched(network, penalty, positive):
    training = make_training(network, penalty, positive)
    before = snapshot(*training[:2])
    make_dead(activation=training[0].activation).resample(*training, make_generator())
    after = snapshot(*training[:2])
    for name, value in after.items():
        if name.startswith(("body", "decoder.bias")):
            assert torch.equal(value, before[name]), name
            continue
        columns = name.startswith("decoder.weight")
        rows, old = (value.T, before[name].T) if columns else (value, before[name])
        assert torch.equal(rows[LIVING], old[LIVING]), name
        if name.endswith(("exp_avg", "exp_avg_sq")):
            assert (old[DEAD] != 0).any(), name
            assert (rows[DEAD] == 0).all(), name


@ACTIVATIONS
def test_activation_goes_back_to_its_first_values(penalty, positive):
    """Those that it had when the counting began."""
    training = make_training(None, penalty, positive)
    activation = training[0].activation
    first = [parameter.detach().clone() for parameter in activation.parameters()]
    dead = make_dead(activation=activation)
    with torch.no_grad():
        for parameter in activation.parameters():
            parameter += torch.arange(1, N_COMPONENTS + 1)
    dead.resample(*training, make_generator())
    for parameter, value in zip(activation.parameters(), first, strict=True):
        assert torch.equal(parameter[DEAD], value[DEAD])
        moved = value + torch.arange(1, N_COMPONENTS + 1)
        torch.testing.assert_close(parameter[LIVING], moved[LIVING])


def test_an_optimizer_without_memory_is_left_as_it_is():
    module, _, x, residual = make_training()
    optimizer = make_optimizer(module)
    make_dead().resample(module, optimizer, x, residual, make_generator())
    assert not optimizer.state
    drawn_samples(module, residual, DEAD)


def test_counts_start_anew():
    dead = make_dead()
    dead.silent_for[LIVING] = 7
    dead.resample(*make_training(), make_generator())
    assert dead.silent_for[DEAD].tolist() == [0] * 3
    assert dead.silent_for[LIVING].tolist() == [7] * 7


def test_samples_without_error_are_never_drawn():
    module, optimizer, x, residual = make_training()
    residual[[0, 2, 3, 5, 6]] = 0
    found = set()
    for seed in range(30):
        make_dead().resample(module, optimizer, x, residual, make_generator(seed))
        found |= set(drawn_samples(module, residual, DEAD).tolist())
    assert found == {1, 4, 7}


def test_samples_are_drawn_by_their_squared_error():
    """Norms of 1 and 2 are drawn 1 : 4."""
    n_dead = 3000
    module = SingleLayer().build(2, n_dead, n_heads=1, generator=make_generator()).double()
    module.activation = torch.nn.ReLU()
    x, residual = code_of([3, 1], [1, 3]), code_of([1, 0], [0, 2])
    dead = make_dead(list(range(n_dead)), n_dead)
    dead.resample(module, make_optimizer(module), x, residual, make_generator())
    share = drawn_samples(module, residual, list(range(n_dead))).double().mean()
    assert float(share) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("case", ["none dead", "no error"])
def test_nothing_to_resample(case):
    module, optimizer, x, residual = make_training()
    before = snapshot(module, optimizer)
    residual = torch.zeros_like(residual) if case == "no error" else residual
    dead = make_dead([] if case == "none dead" else DEAD)
    dead.resample(module, optimizer, x, residual, make_generator())
    after = snapshot(module, optimizer)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_all_latents_dead():
    module, optimizer, x, residual = make_training()
    dead = make_dead(list(range(N_COMPONENTS)))
    dead.resample(module, optimizer, x, residual, make_generator())
    norms = module.heads[0].weight.detach().norm(dim=1)
    assert norms.tolist() == pytest.approx([RESAMPLED_NORM] * N_COMPONENTS)


def test_resampling_draws_from_its_generator_alone():
    before = torch.random.get_rng_state()
    weights = []
    for seed in (0, 0, 1):
        module, optimizer, x, residual = make_training()
        make_dead().resample(module, optimizer, x, residual, make_generator(seed))
        weights.append(module.decoder.weight.detach())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_parameter_shared_by_all_latents_is_left_alone():
    training = make_training()
    activation = torch.nn.PReLU(1).double()
    training[0].activation = activation
    make_dead(activation=activation).resample(*training, make_generator())
    assert activation.weight.tolist() == [0.25]


def test_nothing_is_drawn_once_training_has_diverged():
    module, optimizer, x, residual = make_training()
    residual[0, 0] = torch.nan
    before = snapshot(module, optimizer)
    make_dead().resample(module, optimizer, x, residual, make_generator())
    after = snapshot(module, optimizer)
    assert all(torch.equal(before[name], after[name]) for name in before)
