import numpy as np
import pytest
import torch
from helpers import draw, generator
from torch import nn

from skvaeense.nets.networks import MLP, Linear, Network, SingleLayer
from skvaeense.utils._validation import AT_LEAST_ONE

NETWORKS = [
    Linear(),
    Linear((), skip=False),
    MLP(),
    MLP((7, 6), encoder_layer_sizes=(5,), skip=True),
    SingleLayer(tied_init=False, subtract_bias=False),
]
EACH = pytest.mark.parametrize("network", NETWORKS, ids=repr)


def build(network, n_features=5, n_components=3, n_heads=2, seed=0):
    """Return a module in double precision."""
    module = network.build(n_features, n_components, n_heads=n_heads, generator=generator(seed))
    return module.double().eval()


def has_linear_decoder(module):
    return isinstance(module.decoder, nn.Linear)


@EACH
def test_shapes_and_weights_follow_from_sizes_and_seed(network):
    before, generator_before = network.get_params(), torch.random.get_rng_state()
    for n_features, n_components, n_heads in ((5, 3, 1), (5, 3, 3), (1, 1, 2)):
        module, x = build(network, n_features, n_components, n_heads), draw(4, n_features)
        heads = module.encode(x)
        assert [tuple(head.shape) for head in heads] == [(4, n_components)] * n_heads
        assert module.decode(heads[0]).shape == (4, n_features)
        # Samples pass one by one.
        torch.testing.assert_close([head[2:3] for head in heads], [*module.encode(x[2:3])])
    one, two, other = (build(network, seed=seed) for seed in (3, 3, 4))
    torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=0)
    weights = zip(one.parameters(), other.parameters(), strict=True)
    assert any((a != b).any() for a, b in weights)
    for parameter in one.parameters():
        assert torch.isfinite(parameter).all()
        assert parameter.requires_grad
        assert parameter.abs().max() <= 5
    assert network.get_params() == before
    assert vars(network).keys() == before.keys()
    assert torch.equal(torch.random.get_rng_state(), generator_before)


def test_linear_has_a_linear_decoder_and_a_nonlinear_encoder():
    module, code, x = build(Linear((7,))), draw(4, 3), draw(4, 5)
    expected = code @ module.decoder.weight.T + module.decoder.bias
    torch.testing.assert_close(module.decode(code), expected)
    origin = module.encode(0 * x)[1]
    assert not torch.allclose(module.encode(2 * x)[1] - origin, 2 * (module.encode(x)[1] - origin))
    assert not has_linear_decoder(build(MLP()))
    assert has_linear_decoder(build(MLP(())))


@pytest.mark.parametrize(
    ("network", "skip", "n_shortcuts"), [(Linear, True, 2), (MLP, "first", 1), (MLP, False, 0)]
)
def test_skip_is_added_to_each_head_or_to_the_first(network, skip, n_shortcuts):
    """With dead hidden units only the shortcuts remain, which are linear, and 0 at the mean."""
    module, x = build(network((7,), skip=skip)), draw(4, 5)
    assert (0 if module.skip is None else len(module.skip.weight)) == 3 * n_shortcuts
    with torch.no_grad():
        module.encoder[-1].weight.zero_()
    outputs = module.encode(x)
    for i, output in enumerate(outputs):
        assert output.any() == (i < n_shortcuts)
        torch.testing.assert_close(module.encode(3 * x)[i], 3 * output)
        assert not module.encode(0 * x)[i].any()


SINGLE_LAYERS = [
    SingleLayer(),
    SingleLayer(tied_init=False, subtract_bias=False),
    SingleLayer(init_norm=2.5),
]
SINGLE = pytest.mark.parametrize("network", SINGLE_LAYERS, ids=repr)


@SINGLE
def test_single_layer_is_linear_both_ways(network):
    """The encoder is ``A (x - b) + a``, and the decoder ``W z + b``."""
    module, x, code = build(network, n_heads=1), draw(4, 5), draw(4, 3)
    norms = module.decoder.weight.norm(dim=0)
    torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-6, rtol=0)
    assert not module.decoder.bias.any()
    assert not module.encoder.bias.any()
    with torch.no_grad():
        module.decoder.bias.copy_(draw(5))
        module.encoder.bias.copy_(draw(3))
    (A, a), (W, b) = module.encoder.parameters(), module.decoder.parameters()
    expected = (x - b if network.subtract_bias else x) @ A.T + a
    torch.testing.assert_close(module.encode(x)[0], expected)
    torch.testing.assert_close(module.decode(code), code @ W.T + b)
    assert has_linear_decoder(module)
    assert len(list(module.parameters())) == 4


@SINGLE
def test_single_layer_may_start_tied(network):
    module = build(network)
    (first, other), decoder = module.encoder.weight.chunk(2), module.decoder
    norm = 0.1 if network.init_norm == "auto" else network.init_norm
    norms = module.encoder.weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, norm), atol=0, rtol=1e-6)
    tied = norm * decoder.weight.T
    assert torch.allclose(first, tied) == network.tied_init
    assert not torch.allclose(other, tied)
    # The two weights are separate after the init.
    with torch.no_grad():
        decoder.weight += 1
    assert not torch.allclose(first, norm * decoder.weight.T)


def widths(module):
    """Return the widths of the hidden layers of encoder and decoder, without shortcuts."""
    sides = module.encoder, module.decoder if isinstance(module.decoder, nn.Sequential) else []
    return tuple(
        [layer.out_features for layer in side if isinstance(layer, nn.Linear)][:-1]
        for side in sides
    )


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (MLP((7, 6), encoder_layer_sizes=(5, 4, 3)), ([5, 4, 3], [7, 6])),
        (Linear((9, 8)), ([9, 8], [])),
        (Linear(9), ([9], [])),
        (Linear([9], skip=True), ([9], [])),
        # A parameter grid made with numpy contains numpy integers.
        (Linear(tuple(np.array([9, 8]))), ([9, 8], [])),
        (Linear(np.int64(9)), ([9], [])),
        (Linear(), ([128, 128], [])),
        (MLP(), ([128, 128], [128, 128])),
    ],
)
def test_layer_sizes(network, expected):
    assert widths(build(network)) == expected


@pytest.mark.parametrize("name", ["hidden_layer_sizes", "encoder_layer_sizes"])
@pytest.mark.parametrize("sizes", [0, (4, -1), (2.5,), "wide", ("auto",), None])
def test_layer_sizes_of_a_wrong_kind(sizes, name):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of MLP must be a str among"):
        MLP().set_params(**{name: sizes}).validate()


def test_too_many_layers():
    with pytest.raises(ValueError, match="hidden_layer_sizes must have at most 100 layers"):
        build(MLP([8] * 101))


def test_parameters_of_a_network_of_ones_own_are_checked():
    class Deep(Network):
        _parameter_constraints = {"n_layers": [AT_LEAST_ONE]}

        def __init__(self, n_layers=2):
            self.n_layers = n_layers

        def build(self, n_features, n_components, *, n_heads, generator):
            raise NotImplementedError

    assert Network.resolve(Deep(1)).n_layers == 1
    with pytest.raises(ValueError, match=r"The 'n_layers' parameter of Deep must be an int"):
        Network.resolve(Deep(0))
