import numpy as np
import pytest
import torch
from helpers import draw, each_once, generator
from sklearn.base import clone
from torch import nn

from skvaeense.models import VAE
from skvaeense.networks import MLP, Linear, Network, SingleLayer, Unrolled
from skvaeense.utils._validation import AT_LEAST_ONE

NETWORKS = [
    Linear(),
    Linear((), skip=False),
    MLP(),
    MLP((7, 6), encoder_layer_sizes=(5,), skip=True),
    SingleLayer(tied_init=False, subtract_bias=False),
]


def build(network, n_features=5, n_components=3, n_heads=2, seed=0):
    """Return a module in double precision."""
    module = network.build(n_features, n_components, n_heads=n_heads, generator=generator(seed))
    return module.double().eval()


def has_linear_decoder(module):
    return isinstance(module.decoder, nn.Linear)


def test_shapes(subtests):
    for network in NETWORKS:
        with subtests.test(network=network):
            for n_features, n_components, n_heads in ((5, 3, 1), (5, 3, 3), (1, 1, 2)):
                module = build(network, n_features, n_components, n_heads)
                heads = module.encode(draw(4, n_features))
                assert [tuple(head.shape) for head in heads] == [(4, n_components)] * n_heads
                assert module.decode(heads[0]).shape == (4, n_features)


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone(subtests):
    for network in NETWORKS:
        with subtests.test(network=network):
            before = torch.random.get_rng_state()
            one, two, other = (build(network, seed=seed).state_dict() for seed in (3, 3, 4))
            assert all(torch.equal(one[name], two[name]) for name in one)
            assert any(not torch.equal(one[name], other[name]) for name in one)
            assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_are_finite_and_trainable_and_none_of_the_specification(subtests):
    for network in NETWORKS:
        with subtests.test(network=network):
            before = network.get_params()
            for parameter in build(network).parameters():
                assert torch.isfinite(parameter).all()
                assert parameter.requires_grad
                assert parameter.abs().max() <= 5
            assert network.get_params() == before
            assert vars(network).keys() == before.keys()


def test_samples_pass_one_by_one(subtests):
    for network in NETWORKS:
        with subtests.test(network=network):
            module, x = build(network), draw(6, 5)
            for together, alone in zip(module.encode(x), module.encode(x[2:3]), strict=True):
                torch.testing.assert_close(together[2:3], alone)


def test_decoder_of_linear_is_linear():
    module = build(Linear((7,)))
    assert has_linear_decoder(module)
    code = draw(4, 3)
    expected = code @ module.decoder.weight.T + module.decoder.bias
    torch.testing.assert_close(module.decode(code), expected)


def test_decoder_of_mlp_is_not():
    assert not has_linear_decoder(build(MLP()))
    assert has_linear_decoder(build(MLP(())))


def test_encoder_of_linear_is_not_linear():
    module, x = build(Linear((7,))), draw(4, 5)
    origin = module.encode(0 * x)[1]
    assert not torch.allclose(module.encode(2 * x)[1] - origin, 2 * (module.encode(x)[1] - origin))


def test_skip_is_added_to_each_head_or_to_the_first(subtests):
    """With dead hidden units only the shortcuts remain, which are linear, and 0 at the mean."""
    for network, skip, n_shortcuts in ((Linear, True, 2), (MLP, "first", 1), (MLP, False, 0)):
        with subtests.test(network=network):
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


def test_single_layer_is_linear_both_ways(subtests):
    """The encoder is ``A (x - b) + a``, and the decoder ``W z + b``."""
    for network in SINGLE_LAYERS:
        with subtests.test(network=network):
            module, x, code = build(network, n_heads=1), draw(4, 5), draw(4, 3)
            with torch.no_grad():
                module.decoder.bias.copy_(draw(5))
                module.encoder.bias.copy_(draw(3))
            (A, a), (W, b) = module.encoder.parameters(), module.decoder.parameters()
            expected = (x - b if network.subtract_bias else x) @ A.T + a
            torch.testing.assert_close(module.encode(x)[0], expected)
            torch.testing.assert_close(module.decode(code), code @ W.T + b)
            assert has_linear_decoder(module)
            assert len(list(module.parameters())) == 4


def test_single_layer_starts_with_columns_of_norm_1(subtests):
    for network in SINGLE_LAYERS:
        with subtests.test(network=network):
            module = build(network, n_features=20, n_components=30)
            norms = module.decoder.weight.norm(dim=0)
            torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-6, rtol=0)
            assert not module.decoder.bias.any()
            assert not module.encoder.bias.any()


def test_single_layer_may_start_tied(subtests):
    for network in SINGLE_LAYERS:
        with subtests.test(network=network):
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


def test_layer_sizes():
    module = build(MLP((7, 6), encoder_layer_sizes=(5, 4, 3)))
    assert widths(module) == ([5, 4, 3], [7, 6])
    assert widths(build(Linear((9, 8)))) == ([9, 8], [])
    assert widths(build(Linear(9))) == ([9], [])
    assert widths(build(Linear([9], skip=True))) == ([9], [])


@pytest.mark.parametrize(("network", "least"), [(Linear(), 128), (MLP(), 256)], ids=str)
def test_default_width_grows_with_the_latents(network, least):
    for n_components, width in [(1, least), (least + 1, least + 1), (5000, 1024)]:
        assert build(network, n_components=n_components).encoder[-1].in_features == width


def test_default_layers():
    assert widths(build(Linear())) == ([128, 128], [])
    assert widths(build(MLP())) == ([256, 256], [256])


def test_layer_sizes_of_a_wrong_kind(subtests):
    for sizes, name in each_once(
        [0, (4, -1), (2.5,), "wide", ("auto",), None],
        ["hidden_layer_sizes", "encoder_layer_sizes"],
    ):
        with (
            subtests.test(sizes=sizes, name=name),
            pytest.raises(ValueError, match=f"{name} must be 'auto' or positive integers"),
        ):
            build(MLP().set_params(**{name: sizes}))


def test_layer_sizes_from_numpy():
    """A parameter grid made with numpy contains numpy integers."""
    assert widths(build(Linear(tuple(np.array([9, 8]))))) == ([9, 8], [])
    assert widths(build(Linear(np.int64(9)))) == ([9], [])


def test_code_scale_is_the_norm_of_the_jacobian(subtests):
    """The norms are compared with central differences at the code 0."""
    for network in NETWORKS:
        with subtests.test(network=network):
            model, step = VAE(network, 5, 3, generator=generator()).double(), 1e-5
            steps = step * torch.eye(3, dtype=torch.float64)
            with torch.no_grad():
                columns = (model.decode(steps) - model.decode(-steps)) / (2 * step)
            torch.testing.assert_close(model.code_scale(), columns.norm(dim=1))
            assert not model.code_scale().requires_grad


def test_alias_means_the_defaults():
    kinds = {"linear": Linear, "mlp": MLP, "single_layer": SingleLayer, "unrolled": Unrolled}
    for alias, kind in kinds.items():
        resolved = Network.resolve(alias)
        assert type(resolved) is kind
        assert resolved.get_params() == kind().get_params()


def test_an_instance_is_itself():
    network = Linear((3,))
    assert Network.resolve(network) is network


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


def test_unknown_network(subtests):
    for network in ("conv9", None, Linear):
        with (
            subtests.test(network=network),
            pytest.raises(
                ValueError, match=r"Network must be one of .*'linear', 'mlp'.* or an instance"
            ),
        ):
            Network.resolve(network)


def test_clone_and_set_params():
    network = MLP((3,), encoder_layer_sizes=(4,), skip=True)
    cloned = clone(network).set_params(hidden_layer_sizes=(5,))
    assert network.hidden_layer_sizes == (3,)
    assert cloned.get_params() == {
        "hidden_layer_sizes": (5,),
        "encoder_layer_sizes": (4,),
        "skip": True,
    }


def test_a_network_must_say_how_it_is_built():
    class Incomplete(Network):
        pass

    with pytest.raises(TypeError, match="build"):
        Incomplete()
