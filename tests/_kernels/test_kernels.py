"""Each kernel against the formula that it stands for, in values and in gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from skvaeense._kernels import (
    TopEntries,
    Workspace,
    _tiles,
    count_active,
    decode_entries,
    draw_code,
    encode_top,
    priced_relu,
    squared_error,
)
from skvaeense.penalties import L1, Log

N_SAMPLES, N_FEATURES, N_COMPONENTS = 11, 5, 7
SIGNS = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])
GATED = pytest.mark.parametrize("gated", [True, False], ids=["gated", "not gated"])


@pytest.fixture(autouse=True, params=[1, 3 * N_COMPONENTS, 10**6], ids=["rows", "tiles", "whole"])
def tile(request, monkeypatch):
    """Do everything one row at a time, three rows at a time with two left over, and at once."""
    monkeypatch.setattr(_tiles, "TILE", request.param)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def leaves(*shapes):
    return [draw(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]


# --- codes drawn from a posterior -----------------------------------------------------------


def draw_code_plainly(mean, opening, eps, gated):
    log_variance = F.logsigmoid(opening)
    z = mean + torch.exp(0.5 * log_variance) * eps
    kl = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(dim=1)
    return -torch.expm1(0.5 * log_variance) * z if gated else z, kl


@GATED
def test_draw_code(gated):
    mean, opening = leaves(*[(N_SAMPLES, N_COMPONENTS)] * 2)
    eps = draw(N_SAMPLES, N_COMPONENTS, seed=2)
    code, kl = draw_code(mean, 3 * opening, eps, gated=gated, workspace=Workspace())
    expected = draw_code_plainly(mean, 3 * opening, eps, gated)
    torch.testing.assert_close((code, kl), expected)
    assert gradcheck(
        lambda m, h: draw_code(m, h, eps, gated=gated, workspace=Workspace()), (mean, opening)
    )


@GATED
@pytest.mark.parametrize("opening", [-200.0, -30.0, 12.0, 40.0])
def test_draw_code_far_out(gated, opening):
    """Latents that are wide open, or closed so far that 1 - s is lost in single precision."""
    shape = N_SAMPLES, N_COMPONENTS
    mean, eps = draw(*shape, dtype=torch.float32), draw(*shape, seed=1, dtype=torch.float32)
    openings = torch.full(shape, opening, requires_grad=True)
    code, kl = draw_code(mean, openings, eps, gated=gated, workspace=Workspace())
    (grad,) = torch.autograd.grad(code.sum() + kl.sum(), openings)
    twin = openings.detach().double().requires_grad_()
    exact_code, exact_kl = draw_code_plainly(mean.double(), twin, eps.double(), gated)
    (exact_grad,) = torch.autograd.grad(exact_code.sum() + exact_kl.sum(), twin)
    torch.testing.assert_close(code.double(), exact_code, rtol=1e-5, atol=0)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=1e-4, atol=1e-30)
    # The least variance of single precision bounds what is reported, not what is trained on.
    least = torch.tensor(torch.finfo(torch.float32).tiny, dtype=torch.float64)
    limit = 0.5 * (-least.log() - 1) * N_COMPONENTS
    bounded = exact_kl.clamp_max(limit + 0.5 * mean.double().square().sum(dim=1))
    torch.testing.assert_close(kl.double(), bounded, rtol=1e-5, atol=1e-5)


# --- squared error --------------------------------------------------------------------------


def test_squared_error():
    x = draw(N_SAMPLES, N_FEATURES)
    (reconstruction,) = leaves((N_SAMPLES, N_FEATURES))
    reconstruction = (reconstruction + 1).detach().requires_grad_()
    error, residual = squared_error(x, reconstruction, workspace=Workspace())
    assert torch.equal(residual, (x - reconstruction).detach())
    assert not residual.requires_grad
    torch.testing.assert_close(error, (x - reconstruction).square().sum(dim=1))
    assert gradcheck(lambda r: squared_error(x, r, workspace=Workspace())[0], (reconstruction,))


# --- priced codes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("penalty", "cost"),
    [
        (L1(), lambda code: code.sum(dim=1) / 3),
        (Log(eps=0.2), lambda code: torch.log(1 + code / (0.2 * 3)).sum(dim=1)),
    ],
    ids=["l1", "log"],
)
def test_priced_relu(penalty, cost):
    (h,) = leaves((N_SAMPLES, N_COMPONENTS))
    price = penalty.entry_price(3.0)
    code, total = priced_relu(h, price, workspace=Workspace())
    assert torch.equal(code, h.relu())
    torch.testing.assert_close(total, cost(h.relu()))
    assert gradcheck(lambda h: priced_relu(h, price, workspace=Workspace()), (h,))


# --- largest entries ------------------------------------------------------------------------


def top_plainly(hidden, weight, bias, decoder, offset, n_kept, positive):
    h = hidden @ weight.T + bias
    kept = (h if positive else h.abs()).topk(n_kept, dim=1).indices
    code = torch.zeros_like(h).scatter(1, kept, h.gather(1, kept))
    code = code.relu() if positive else code
    return code @ decoder.T + offset


def top(hidden, weight, bias, decoder, offset, n_kept, positive):
    kept, entries = encode_top(
        hidden,
        weight,
        bias,
        n_kept=n_kept,
        positive=positive,
        workspace=Workspace(),
    )
    return decode_entries(kept.relu() if positive else kept, entries, decoder, offset)


@SIGNS
@pytest.mark.parametrize("n_kept", [1, 3, N_COMPONENTS])
def test_top_entries(n_kept, positive):
    arguments = leaves(
        (N_SAMPLES, N_FEATURES),
        (N_COMPONENTS, N_FEATURES),
        (N_COMPONENTS,),
        (N_FEATURES, N_COMPONENTS),
        (N_FEATURES,),
    )
    got = top(*arguments, n_kept, positive)
    torch.testing.assert_close(got, top_plainly(*arguments, n_kept, positive))
    assert gradcheck(lambda *a: top(*a, n_kept, positive), arguments)


def test_a_matrix_by_its_entries():
    columns = torch.tensor([[0, 3], [3, 1], [0, 3]])
    values = torch.tensor([[1.0, 2.0], [3.0, 0.0], [5.0, 6.0]])
    entries = TopEntries(columns, 5)
    dense = torch.tensor([[1.0, 0, 0, 2, 0], [0, 0, 0, 3, 0], [5, 0, 0, 6, 0]])
    right, left = draw(5, 4, dtype=torch.float32), draw(3, 4, dtype=torch.float32)
    assert torch.equal(entries.dense(values), dense)
    torch.testing.assert_close(entries.times(values, right), dense @ right)
    torch.testing.assert_close(entries.transposed_times(values, left), dense.T @ left)
    assert torch.equal(entries.column_sums(values), dense.sum(dim=0))


# --- activity and memory --------------------------------------------------------------------


def test_count_active():
    code = draw(N_SAMPLES, N_COMPONENTS).clamp_min(0.5) - 0.5
    code[:, 2] = 0
    code[:, 4] = -1e-300
    expected = torch.count_nonzero(code, dim=0)
    assert expected.tolist()[2:5:2] == [0, N_SAMPLES]
    assert torch.equal(count_active(code), expected.double())


def test_workspace_gives_the_same_memory_for_the_same_shape_and_type():
    workspace, like = Workspace(), torch.zeros(2, 3)
    first = workspace.like(like, "a")
    assert first.shape == (2, 3)
    assert workspace.like(like, "a").data_ptr() == first.data_ptr()
    assert workspace.like(like, "b").data_ptr() != first.data_ptr()
    assert workspace.like(torch.zeros(3, 2), "a").shape == (3, 2)
    assert workspace.like(torch.zeros(3, 2).double(), "a").dtype == torch.float64
    assert workspace.empty((4,), like, "a").shape == (4,)


def test_a_gradient_after_the_memory_was_used_again_is_an_error():
    """Better than one from another batch's values."""
    workspace, (h,) = Workspace(), leaves((N_SAMPLES, N_COMPONENTS))
    code, _ = priced_relu(h, L1().entry_price(1.0), workspace=workspace)
    priced_relu(h, L1().entry_price(1.0), workspace=workspace)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        code.sum().backward()
