"""What holds for every penalty, their aliases and their parameters."""

import pytest
import torch
from helpers import coding_of, draw, generator
from sklearn.base import clone

from skvaeense.penalties import (
    L1,
    BatchTopK,
    Gated,
    JumpReLU,
    Log,
    Matryoshka,
    Penalty,
    TopK,
)

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
ALL = pytest.mark.parametrize("penalty", PENALTIES, ids=str)
SIGNED = pytest.mark.parametrize(
    "penalty", [p for p in PENALTIES if not isinstance(p, Gated)], ids=str
)


def build(penalty, unit=1.0, positive=True, n_components=N_COMPONENTS):
    return penalty.build(n_components, unit=unit, positive=positive).double()


def coded(penalty, h, unit=1.0, positive=True):
    return coding_of(build(penalty, unit, positive, h.shape[1]), h, unit)


# --- codes ----------------------------------------------------------------------------------


@ALL
def test_codes_are_sparse_and_not_negative(penalty):
    code = coded(penalty, draw(20, N_COMPONENTS)).code
    assert code.shape == (20, N_COMPONENTS)
    assert code.dtype == torch.float64
    assert (code >= 0).all()
    assert 0 < torch.count_nonzero(code) < 0.6 * code.numel()


@SIGNED
def test_signed_codes_are_odd(penalty):
    h = draw(20, N_COMPONENTS)
    code, mirrored = (coded(penalty, s * h, positive=False).code for s in (1, -1))
    assert (code < 0).any()
    assert (code > 0).any()
    assert torch.equal(mirrored, -code)


@ALL
@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_codes_scale_with_the_unit_and_costs_do_not_change(penalty, factor):
    h = draw(20, N_COMPONENTS)
    one, other = coded(penalty, h, unit=2.0), coded(penalty, factor * h, unit=2.0 * factor)
    # Thresholds start in single precision.
    torch.testing.assert_close(other.code, factor * one.code, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(penalty.cost(other), penalty.cost(one), rtol=1e-5, atol=1e-6)


@SIGNED
def test_signed_codes_scale_with_the_unit(penalty):
    h = draw(20, N_COMPONENTS)
    one = coded(penalty, h, unit=2.0, positive=False)
    other = coded(penalty, 30 * h, unit=60.0, positive=False)
    torch.testing.assert_close(other.code, 30 * one.code, rtol=1e-5, atol=1e-6)


@ALL
def test_order_of_latents_does_not_matter(penalty):
    h = draw(20, N_COMPONENTS)
    order = torch.randperm(N_COMPONENTS, generator=generator(1))
    shuffled, coding = coded(penalty, h[:, order]), coded(penalty, h)
    assert torch.equal(shuffled.code, coding.code[:, order])
    torch.testing.assert_close(penalty.cost(shuffled), penalty.cost(coding))


@ALL
def test_order_of_samples_does_not_matter(penalty):
    h = draw(20, N_COMPONENTS)
    order = torch.randperm(20, generator=generator(1))
    assert torch.equal(coded(penalty, h[order]).code, coded(penalty, h).code[order])


@ALL
def test_samples_are_coded_by_themselves_outside_training(penalty):
    activation, h = build(penalty), draw(20, N_COMPONENTS)
    activation(h)
    activation.eval()
    alone = torch.cat([activation(row) for row in h.split(1)])
    torch.testing.assert_close(activation(h), alone)


@ALL
def test_a_code_of_zero_costs_nothing(penalty):
    coding = coded(penalty, -torch.ones(3, N_COMPONENTS, dtype=torch.float64))
    assert (coding.code == 0).all()
    assert penalty.cost(coding).tolist() == [0, 0, 0]


@ALL
def test_one_sample_and_one_latent(penalty):
    coding = coded(penalty, torch.tensor([[2.0]], dtype=torch.float64))
    assert coding.code.tolist() == [[2]]
    assert penalty.cost(coding).shape == (1,)


@ALL
def test_coding_holds_what_led_to_the_code(penalty):
    h = draw(20, N_COMPONENTS)
    activation = build(penalty)
    coding = coding_of(activation, h, 3.0)
    assert coding.activation is activation
    assert coding.preactivation is h
    assert coding.unit == 3.0
    assert torch.equal(coding.code, activation(h))


@ALL
def test_a_penalty_with_alpha_has_a_cost(penalty):
    cost = penalty.cost(coded(penalty, draw(20, N_COMPONENTS)))
    assert (penalty.alpha is None) == (not cost.any())
    assert ("alpha" in penalty.get_params()) == (penalty.alpha is not None)
    assert penalty.dead_latents in {"resampling", "auxiliary"}


# --- aliases and parameters -----------------------------------------------------------------


def test_every_alias_is_here():
    own = {name: c for name, c in Penalty.aliases.items() if c.__module__.startswith("skvaeense.")}
    assert own == KINDS


@pytest.mark.parametrize(("alias", "kind"), KINDS.items())
def test_alias_means_the_defaults(alias, kind):
    resolved = Penalty.resolve(alias)
    assert type(resolved) is kind
    assert resolved.get_params() == kind().get_params()


@ALL
def test_an_instance_is_itself(penalty):
    assert Penalty.resolve(penalty) is penalty


@pytest.mark.parametrize("penalty", ["L1", "l0", "", None, 0.1, L1, torch.nn.ReLU()])
def test_unknown_penalty(penalty):
    with pytest.raises(ValueError, match=r"Penalty must be one of .*'topk'.* or an instance"):
        Penalty.resolve(penalty)


NAN, INF = float("nan"), float("inf")
BAD_ALPHAS = [-1e-9, NAN, INF, "0.1", None]
BAD_SIZES = [0, -0.1, NAN, INF, "0.1", None]
BAD_COUNTS = [0, -1, 2.5, 2.0, "2", None]
BAD = [
    *((kind, "alpha", value) for kind in (L1, Log, Gated, JumpReLU) for value in BAD_ALPHAS),
    *((Log, "eps", value) for value in BAD_SIZES),
    *(
        (JumpReLU, name, value)
        for name in ("bandwidth", "threshold", "tanh_scale")
        for value in BAD_SIZES
    ),
    *((JumpReLU, "loss", value) for value in ("L0", "l1", 0, None)),
    *((kind, "k", value) for kind in (TopK, BatchTopK, Matryoshka) for value in BAD_COUNTS),
    *((Matryoshka, "n_prefixes", value) for value in BAD_COUNTS),
]


@pytest.mark.parametrize(("kind", "name", "value"), BAD)
def test_parameters_out_of_their_range(kind, name, value):
    match = f"The '{name}' parameter of {kind.__name__} must be .* Got {value!r} instead"
    with pytest.raises(ValueError, match=match):
        Penalty.resolve(kind(**{name: value}))


@pytest.mark.parametrize(
    "penalty",
    [L1(0), L1(0.0), Log(0, eps=1e-9), TopK(1), BatchTopK(1), Matryoshka(1, n_prefixes=1)],
    ids=str,
)
def test_parameters_at_the_end_of_their_range(penalty):
    assert Penalty.resolve(penalty) is penalty


@pytest.mark.parametrize(
    ("penalty", "changes"),
    [
        (L1(0.3), {"alpha": 0.4}),
        (Log(0.3, eps=0.7), {"eps": 0.8}),
        (Gated(0.3), {"alpha": 0.4}),
        (JumpReLU(0.3, loss="tanh", bandwidth=2, threshold=3, tanh_scale=4), {"loss": "l0"}),
        (TopK(3), {"k": 4}),
        (BatchTopK(3), {"k": 4}),
        (Matryoshka(3, n_prefixes=4), {"n_prefixes": 5}),
    ],
    ids=str,
)
def test_clone_and_set_params(penalty, changes):
    before = penalty.get_params()
    cloned = clone(penalty)
    assert type(cloned) is type(penalty)
    assert cloned is not penalty
    assert cloned.get_params() == before
    assert cloned.set_params(**changes).get_params() == before | changes
    assert penalty.get_params() == before
    assert type(penalty)(**before).get_params() == before


@ALL
def test_penalty_holds_no_weights_and_is_not_changed(penalty):
    before = dict(vars(penalty))
    coding = coded(penalty, draw(20, N_COMPONENTS))
    penalty.cost(coding)
    assert vars(penalty) == before
    assert vars(penalty).keys() == penalty.get_params().keys()


def test_a_penalty_must_say_how_codes_are_made():
    class Incomplete(Penalty):
        pass

    with pytest.raises(TypeError, match="build"):
        Incomplete()
