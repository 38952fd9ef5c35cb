"""The unrolled encoder, compared with its definition in numpy."""

import numpy as np
import pytest
import torch
from helpers import draw, generator

from skvaeense.nets.models import SparseCoder
from skvaeense.nets.networks import Unrolled, with_known
from skvaeense.nets.penalties import BatchTopK

N_FEATURES, N_COMPONENTS = 6, 4


def build(network=None, n_components=N_COMPONENTS, *, seed=0):
    """Return a module in double precision with random weights."""
    network = Unrolled(n_active=2) if network is None else network
    module = network.build(N_FEATURES, n_components, n_heads=1, generator=generator(seed))
    module = module.double()
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter += 0.3 * draw(*parameter.shape, seed=i)
    return module


def by_hand(module, x, k, positive=False):
    """Return the codes of a batch in training, in which each sweep keeps k n entries."""
    W, b = module.decoder.weight.detach().numpy(), module.decoder.bias.detach().numpy()
    norm = np.linalg.norm(W, axis=0)
    A = W / norm
    g, a, steps, shifts = (
        p.detach().numpy() for p in (module.gain, module.offset, module.steps, module.shifts)
    )
    c = (x.numpy() - b) @ A
    u = g * c + a
    for step, shift in zip(steps, shifts, strict=True):
        size = np.maximum(u, 0) if positive else np.abs(u)
        is_kept = (size >= np.sort(size, axis=None)[-k * len(x)]) & (size > 0)
        e = np.where(is_kept, u, 0)
        u = e + step * (c - e @ (A.T @ A)) + shift
    return u / norm


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize(("n_sweeps", "n_components"), [(0, 4), (1, 4), (3, 4), (3, 9)])
def test_sweeps_are_hard_thresholded_steps(n_sweeps, n_components, positive):
    network, x = Unrolled(n_sweeps, n_active=2, positive=positive), draw(9, N_FEATURES)
    module = build(network, n_components)
    found = module.encode(x)[0].detach().numpy()
    np.testing.assert_allclose(found, by_hand(module, x, 2, positive), rtol=1e-10)


def test_there_is_no_posterior():
    message = r"Unrolled gives codes without a posterior.* network=\"linear\""
    with pytest.raises(ValueError, match=message):
        Unrolled().build(N_FEATURES, N_COMPONENTS, n_heads=2, generator=generator())


# --- the start --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_components", [3, 9])
def test_columns_start_at_principal_directions(n_components):
    """Further columns are other directions in the linear space of the samples."""
    map_ = draw(5, N_FEATURES, seed=1)
    x = draw(50, 5) * torch.tensor([5.0, 4, 3, 2, 1]).double() @ map_ + 3
    module = build(n_components=n_components)
    module.initialize(x)
    columns = module.decoder.weight.detach().numpy()
    columns = columns / np.linalg.norm(columns, axis=0)
    directions = np.linalg.svd(x.numpy() - x.numpy().mean(axis=0))[2]
    cosine = np.abs(np.sum(directions[:n_components].T[:, :5] * columns[:, :5], axis=0))
    np.testing.assert_allclose(cosine, 1, rtol=1e-8)
    np.testing.assert_allclose(directions[5] @ columns, 0, atol=1e-8)
    overlap = np.abs(columns.T @ columns - np.eye(n_components))
    assert overlap.max() < 0.999


def test_samples_that_are_all_the_same_leave_columns_of_norm_1():
    module = build()
    module.initialize(torch.ones(5, N_FEATURES).double())
    torch.testing.assert_close(module.decoder.weight.norm(dim=0), torch.ones(4).double())


@pytest.mark.parametrize("positive", [False, True])
def test_first_sweeps_lower_the_error_however_many_columns_overlap(positive):
    """Steps that are right for orthogonal columns would raise the error by orders of magnitude."""
    x = draw(200, 10) @ draw(10, 20, seed=1)
    errors = []
    for n_sweeps in range(4):
        network = Unrolled(n_sweeps, n_active=8, positive=positive)
        module = network.build(20, 90, n_heads=1, generator=generator()).double()
        module.initialize(x)
        u = module.encode(x)[0].detach()
        size = u.relu() if positive else u.abs()
        code = u * (size >= size.flatten().sort(descending=True).values[8 * len(x) - 1])
        errors.append(float((x - module.decode(code)).detach().square().mean()))
    assert errors[0] < float(x.square().mean())
    assert errors == sorted(errors, reverse=True)


def test_first_steps_of_orthogonal_columns_are_known_and_whole_steps_exact():
    module, x = Unrolled(2, n_active=4).build(6, 4, n_heads=1, generator=generator()), draw(50, 6)
    module = module.double()
    module.initialize(x)
    torch.testing.assert_close(module.gain.detach(), torch.full((4,), 0.9).double())
    torch.testing.assert_close(module.steps.detach(), torch.full((2, 4), 0.4).double())
    with torch.no_grad():
        module.steps.fill_(1.0)
    code = module.encode(x)[0].detach()
    torch.testing.assert_close(code, (x - module.decoder.bias) @ module.decoder.weight.detach())


# --- thresholds -------------------------------------------------------------------------------


def n_kept(module, x):
    """Return the mean number of entries per sample that each sweep keeps."""
    seen = []
    for threshold in module.thresholds:
        mask = threshold.mask
        threshold.mask = lambda size, mask=mask: seen.append(mask(size)) or seen[-1]
    module.encode(x)
    return [float(kept.sum()) / len(x) for kept in seen]


def test_samples_are_coded_by_themselves_after_training():
    module, x = build(Unrolled(n_active=1.5)), draw(40, N_FEATURES)
    module.encode(x)
    module.eval().calibrate(x)
    assert n_kept(module, x) == [1.5, 1.5, 1.5]
    (together,) = module.encode(x)
    alone = torch.cat([module.encode(row)[0] for row in x.split(1)])
    torch.testing.assert_close(together, alone)


# --- parameters -------------------------------------------------------------------------------


def test_what_an_estimator_knows_is_filled_in():
    known = {"n_active": 7, "positive": True, "init_norm": 1.0}
    assert with_known(Unrolled(), known).get_params() == {
        "n_sweeps": 3,
        "n_active": 7,
        "positive": True,
        "n_refinements": 2,
    }
    given = Unrolled(n_active=2, positive=False)
    assert with_known(given, known) is given
    kept = Unrolled("many", n_active="many", positive=False)
    assert with_known(kept, known) is kept
    partly = with_known(Unrolled(), {"n_active": None, "positive": False})
    assert (partly.n_active, partly.positive) == ("auto", False)


def test_alone_a_tenth_of_the_latents_is_kept():
    module = Unrolled().build(5, 40, n_heads=1, generator=generator())
    assert [threshold.k for threshold in module.thresholds] == [4.0] * 3


@pytest.mark.parametrize("n_active", [0, -2, float("nan"), float("inf"), "many", None])
def test_number_of_active_latents_of_a_wrong_kind(n_active):
    with pytest.raises(ValueError, match="The 'n_active' parameter of Unrolled must be a float"):
        Unrolled(n_active=n_active).validate()


@pytest.mark.parametrize("n_components", [N_COMPONENTS, 3 * N_FEATURES])
def test_refined_codes_are_least_squares_on_the_latents_that_are_active(n_components):
    module, x = build(Unrolled(n_active=2, n_refinements=4), n_components), draw(20, N_FEATURES)
    code = draw(20, n_components, seed=1) * (draw(20, n_components, seed=2) > 0.7)
    refined = module.refine(x, code).detach().numpy()
    W, b = module.decoder.weight.detach().numpy(), module.decoder.bias.detach().numpy()
    for sample, first, own in zip(x.numpy() - b, code.numpy(), refined, strict=True):
        active = first != 0
        assert (own[~active] == 0).all()
        if active.sum() <= 4:  # This many steps are enough for the number of unknowns.
            expected = np.linalg.lstsq(W[:, active], sample)[0]
            np.testing.assert_allclose(own[active], expected, rtol=1e-6, atol=1e-9)


def test_columns_that_differ_by_rounding_do_not_make_codes_large():
    module = build(Unrolled(n_active=2, n_refinements=4), 3).float()
    with torch.no_grad():
        module.decoder.weight[:, 1] = module.decoder.weight[:, 0] * (1 + 1e-7)
    x, code = draw(50, N_FEATURES).float(), torch.ones(50, 3)
    found = module.refine(x, code).double()
    exact = module.double().refine(x.double(), code.double())
    assert exact.abs().max() < 100
    torch.testing.assert_close(found, exact, rtol=1e-2, atol=1e-2)


def test_refined_codes_that_are_to_be_positive():
    module, x = build(Unrolled(n_active=2, positive=True)), draw(50, N_FEATURES)
    code = draw(50, N_COMPONENTS, seed=1).relu()
    refined = module.refine(x, code)
    assert torch.equal(refined > 0, code > 0)
    assert not torch.equal(refined, code)


def test_codes_are_refined_after_training_only():
    x = draw(30, N_FEATURES)
    sizes = N_FEATURES, 12
    refining, plain = (
        SparseCoder(
            Unrolled(n_active=2, positive=False, n_refinements=n),
            *sizes,
            penalty=BatchTopK(2),
            positive=False,
            generator=generator(),
        ).double()
        for n in (2, 0)
    )
    plain.load_state_dict(refining.state_dict())
    assert torch.equal(refining.train().code(x), plain.train().code(x))
    for model in (refining, plain):
        model.eval().calibrate(x)
    errors = [(x - m.decode(m.code(x))).square().sum().item() for m in (refining, plain)]
    assert errors[0] < errors[1]
    assert torch.equal(refining.code(x) != 0, plain.code(x) != 0)


def test_silent_latents_answer_without_moving_the_latents_in_use():
    """The auxiliary loss of dead latents has gradients for these latents alone."""
    x, dead = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])
    module = Unrolled(n_active=2).build(6, 5, n_heads=1, generator=torch.Generator().manual_seed(1))
    module.answer(x, dead).square().sum().backward()
    moved = module.decoder.weight.grad.abs().sum(dim=0) > 0
    assert moved.tolist() == [False, True, False, True, False]
    assert (module.steps.grad[-1] != 0).tolist() == moved.tolist()
    assert module.decoder.bias.grad is None
