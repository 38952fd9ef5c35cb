"""Rules for every penalty, with their aliases and parameters."""

import pytest
import torch
from helpers import coding_of, draw, generator
from sklearn.base import clone

from skvaeense.nets.penalties import L1, BatchTopK, Gated, JumpReLU, Log, Matryoshka, Penalty, TopK

KINDS = {
    "batch_topk": BatchTopK,
    "gated": Gated,
    "jump_relu": JumpReLU,
    "l1": L1,
    "log": Log,
    "matryoshka": Matryoshka,
    "topk": TopK,
}
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
def test_codes_scale_with_the_unit_and_costs_do_not_change(penalty):
    h = draw(20, N_COMPONENTS)
    one, other = coded(penalty, h, unit=2.0), coded(penalty, 30 * h, unit=60.0)
    # Thresholds are initialised in single precision.
    torch.testing.assert_close(other.code, 30 * one.code, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(penalty.cost(other), penalty.cost(one), rtol=1e-5, atol=1e-6)


@EACH
def test_order_of_samples_and_latents_does_not_matter(penalty):
    h = draw(20, N_COMPONENTS)
    rows = torch.randperm(20, generator=generator(1))
    order = torch.randperm(N_COMPONENTS, generator=generator(1))
    shuffled, coding = coded(penalty, h[rows][:, order]), coded(penalty, h)
    assert torch.equal(shuffled.code, coding.code[rows][:, order])
    torch.testing.assert_close(penalty.cost(shuffled), penalty.cost(coding)[rows])


@EACH
def test_samples_are_coded_by_themselves_outside_training(penalty):
    activation, h = build(penalty), draw(20, N_COMPONENTS)
    activation(h)
    activation.eval()
    alone = torch.cat([activation(row) for row in h.split(1)])
    torch.testing.assert_close(activation(h), alone)


@EACH
def test_a_code_of_zero_costs_nothing_and_one_entry_may_stay(penalty):
    coding = coded(penalty, -torch.ones(3, N_COMPONENTS, dtype=torch.float64))
    assert (coding.code == 0).all()
    assert penalty.cost(coding).tolist() == [0, 0, 0]
    coding = coded(penalty, torch.tensor([[2.0]], dtype=torch.float64))
    assert coding.code.tolist() == [[2]]
    assert penalty.cost(coding).shape == (1,)


# --- aliases and parameters -----------------------------------------------------------------


def test_aliases_mean_the_defaults():
    own = {name: c for name, c in Penalty.aliases.items() if c.__module__.startswith("skvaeense.")}
    assert own == KINDS
    for alias, kind in KINDS.items():
        assert type(Penalty.resolve(alias)) is kind
        assert Penalty.resolve(alias).get_params() == kind().get_params()
    for penalty in (L1(0), Log(0, eps=1e-9), TopK(1), BatchTopK(1), Matryoshka(1, n_prefixes=1)):
        assert Penalty.resolve(penalty) is penalty
    with pytest.raises(TypeError, match="build"):
        type("Incomplete", (Penalty,), {})()


@pytest.mark.parametrize("penalty", ["l0", None, L1])
def test_unknown_penalty(penalty):
    with pytest.raises(ValueError, match=r"Penalty must be one of .*'topk'.* or an instance"):
        Penalty.resolve(penalty)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (L1, "alpha", -1e-9),
        (Gated, "alpha", float("inf")),
        (Log, "eps", 0),
        (JumpReLU, "bandwidth", float("nan")),
        (JumpReLU, "loss", "l1"),
        (TopK, "k", 0),
        (BatchTopK, "k", 2.5),
        (Matryoshka, "n_prefixes", None),
    ],
)
def test_parameters_out_of_their_range(kind, name, value):
    match = f"The '{name}' parameter of {kind.__name__} must be .* Got {value!r} instead"
    with pytest.raises(ValueError, match=match):
        Penalty.resolve(kind(**{name: value}))


def test_clone_and_set_params():
    penalty = JumpReLU(0.3, loss="tanh", bandwidth=2, threshold=3, tanh_scale=4)
    before = penalty.get_params()
    cloned = clone(penalty)
    assert cloned.get_params() == before
    assert cloned.set_params(loss="l0").get_params() == before | {"loss": "l0"}
    assert penalty.get_params() == before
