"""Rules for every penalty."""

import pytest
import torch
from helpers import coding_of, draw, generator

from skvaeense.nets.penalties import L1, BatchTopK, Gated, JumpReLU, Log, Matryoshka, TopK

N_COMPONENTS = 8
PENALTIES = [
    BatchTopK(2),
    Gated(0.1),
    JumpReLU(0.1, threshold=0.5),
    JumpReLU(0.1, loss="tanh", threshold=0.5),
    L1(0.1),
    Log(0.1),
    Matryoshka(2),
    TopK(2),
]
EACH = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
# A gate opens in one direction only, so it has no codes of both signs.
SIGNED = pytest.mark.parametrize(
    "penalty", [penalty for penalty in PENALTIES if not isinstance(penalty, Gated)], ids=repr
)


def build(penalty, unit=1.0, positive=True, n_components=N_COMPONENTS):
    return penalty.build(n_components, unit=unit, positive=positive).double()


def coded(penalty, h, unit=1.0, positive=True):
    return coding_of(build(penalty, unit, positive, h.shape[1]), h, unit)


# --- codes ----------------------------------------------------------------------------------


@EACH
def test_codes_are_sparse_and_not_negative(penalty):
    before, coding = dict(vars(penalty)), coded(penalty, draw(20, N_COMPONENTS))
    code, cost = coding.code, penalty.cost(coding)
    assert code.shape == (20, N_COMPONENTS)
    assert code.dtype == torch.float64
    assert (code >= 0).all()
    assert 0 < torch.count_nonzero(code) < 0.6 * code.numel()
    # A penalty with alpha has a cost.
    assert (penalty.alpha is None) == (not cost.any())
    assert ("alpha" in penalty.get_params()) == (penalty.alpha is not None)
    # The weights are those of the activation.
    assert vars(penalty) == before
    assert vars(penalty).keys() == penalty.get_params().keys()


@SIGNED
def test_signed_codes_are_odd(penalty):
    h = draw(20, N_COMPONENTS)
    code, mirrored = (coded(penalty, s * h, positive=False).code for s in (1, -1))
    assert (code < 0).any()
    assert (code > 0).any()
    assert torch.equal(mirrored, -code)
    one, other = (coded(penalty, c * h, unit=2.0 * c, positive=False).code for c in (1, 30))
    torch.testing.assert_close(other, 30 * one, rtol=1e-5, atol=1e-6)


@EACH
def test_order_of_samples_and_latents_does_not_matter(penalty):
    h = draw(20, N_COMPONENTS)
    rows = torch.randperm(20, generator=generator(1))
    order = torch.randperm(N_COMPONENTS, generator=generator(1))
    shuffled, coding = coded(penalty, h[rows][:, order]), coded(penalty, h)
    assert torch.equal(shuffled.code, coding.code[rows][:, order])
    torch.testing.assert_close(penalty.cost(shuffled), penalty.cost(coding)[rows])


@EACH
def test_a_code_of_zero_costs_nothing_and_one_entry_may_stay(penalty):
    coding = coded(penalty, -torch.ones(3, N_COMPONENTS, dtype=torch.float64))
    assert (coding.code == 0).all()
    assert penalty.cost(coding).tolist() == [0, 0, 0]
    coding = coded(penalty, torch.tensor([[2.0]], dtype=torch.float64))
    assert coding.code.tolist() == [[2]]
    assert penalty.cost(coding).shape == (1,)


# --- aliases and parameters -----------------------------------------------------------------
