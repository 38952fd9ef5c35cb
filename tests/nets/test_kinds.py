"""Rules for every kind of part: aliases, defaults, and errors for what is no part."""

import pytest
from sklearn.base import clone

from skvaeense.nets.losses import ELBO, Loss, PenalizedReconstruction
from skvaeense.nets.networks import MLP, Linear, Network, SingleLayer, Unrolled
from skvaeense.nets.penalties import L1, BatchTopK, Gated, JumpReLU, Log, Matryoshka, Penalty, TopK
from skvaeense.nets.priors import Prior, StandardNormal
from skvaeense.nets.thresholds import Contribution, FixedVariance, Otsu, ThresholdRule

# The classes of each kind by their aliases, and what a derived class must define.
KINDS = {
    Loss: ({"elbo": ELBO, "penalized_reconstruction": PenalizedReconstruction}, "terms"),
    Network: (
        {"linear": Linear, "mlp": MLP, "single_layer": SingleLayer, "unrolled": Unrolled},
        "build",
    ),
    Penalty: (
        {
            "batch_topk": BatchTopK,
            "gated": Gated,
            "jump_relu": JumpReLU,
            "l1": L1,
            "log": Log,
            "matryoshka": Matryoshka,
            "topk": TopK,
        },
        "build",
    ),
    Prior: ({"standard_normal": StandardNormal}, "kl, sample"),
    ThresholdRule: (
        {"contribution": Contribution, "fixed_variance": FixedVariance, "otsu": Otsu},
        "active",
    ),
}
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@EACH
def test_aliases_mean_the_defaults(kind):
    expected, _ = KINDS[kind]
    aliases = kind.aliases.items()
    assert {k: v for k, v in aliases if v.__module__.startswith("skvaeense.")} == expected
    for alias, cls in expected.items():
        part = kind.resolve(alias)
        assert type(part) is cls
        assert part.get_params() == cls().get_params()
        assert kind.resolve(part) is part


@EACH
def test_what_is_no_part(kind):
    aliases, methods = KINDS[kind]
    for value in ("l0", None, next(iter(aliases.values()))):
        with pytest.raises(ValueError, match=rf"{kind.__name__} must be one of .* or an instance"):
            kind.resolve(value)
    with pytest.raises(TypeError, match=methods):
        type("Incomplete", (kind,), {})()


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (ELBO, "beta", -1.0),
        (FixedVariance, "level", 0),
        (FixedVariance, "level", 1),
        (Contribution, "level", -1e-9),
        (Contribution, "level", float("nan")),
        (L1, "alpha", -1e-9),
        (Gated, "alpha", float("inf")),
        (Log, "eps", 0),
        (JumpReLU, "bandwidth", float("nan")),
        (JumpReLU, "loss", "l1"),
        (TopK, "k", 0),
        (TopK, "k", 2.5),
        (BatchTopK, "k", 0.0),
        (BatchTopK, "k", True),
        (Matryoshka, "n_prefixes", None),
        (Unrolled, "n_sweeps", -1),
        (Unrolled, "n_sweeps", 101),
        (Unrolled, "n_sweeps", 1.5),
        (Unrolled, "n_refinements", -1),
        (Unrolled, "n_refinements", "many"),
    ],
)
def test_parameters_out_of_their_range(cls, name, value):
    kind = next(kind for kind in KINDS if issubclass(cls, kind))
    match = f"The '{name}' parameter of {cls.__name__} must be .* Got {value!r} instead"
    with pytest.raises(ValueError, match=match):
        kind.resolve(cls(**{name: value}))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (MLP((3,), encoder_layer_sizes=(4,), skip=True), {"hidden_layer_sizes": (5,)}),
        (JumpReLU(0.3, loss="tanh", bandwidth=2, threshold=3, tanh_scale=4), {"loss": "l0"}),
        (Matryoshka(2, 3, widths=(4,)), {"widths": None}),
        (FixedVariance(0.2), {"level": 0.3}),
    ],
    ids=repr,
)
def test_clone_and_set_params(part, change):
    before = part.get_params()
    cloned = clone(part)
    assert cloned.get_params() == before
    assert cloned.set_params(**change).get_params() == before | change
    assert part.get_params() == before
