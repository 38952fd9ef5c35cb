"""Modules of any shape: shapes of inputs and outputs, and dependence on the seed only."""

import torch
from helpers import draw, generator
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS

from skvaeense.nets.models import VAE
from skvaeense.nets.networks import MLP, Linear, SingleLayer

SIZES = st.lists(st.integers(1, 9), max_size=2).map(tuple)
SKIPS = st.sampled_from([False, "first", True])
DENSE = st.one_of(
    st.builds(Linear, SIZES, skip=SKIPS), st.builds(MLP, SIZES, skip=SKIPS), st.builds(SingleLayer)
)
COUNTS = {"n_components": st.integers(1, 9), "n_heads": st.integers(1, 3), "seed": SEEDS}


def build(network, n_features, n_components, n_heads, seed):
    return network.build(n_features, n_components, n_heads=n_heads, generator=generator(seed))


def assert_sound(network, n_features, n_components, n_heads, seed):
    """Check shapes, finite values, and the independence of rows."""
    state = torch.get_rng_state()
    module = build(network, n_features, n_components, n_heads, seed).double()
    again = build(network, n_features, n_components, n_heads, seed).double()
    assert torch.equal(torch.get_rng_state(), state)
    x = draw(5, n_features, seed=seed)
    heads = module.encode(x)
    assert [tuple(head.shape) for head in heads] == [(5, n_components)] * n_heads
    restored = module.decode(heads[0])
    assert restored.shape == x.shape
    assert all(value.isfinite().all() for value in (*heads, restored))
    torch.testing.assert_close(module.encode(x[2:3])[0], heads[0][2:3])
    torch.testing.assert_close(again.decode(again.encode(x)[0]), restored, rtol=0, atol=0)
    model = VAE(network, n_features, n_components, generator=generator(seed)).double()
    scale = model.code_scale()
    assert scale.shape == (n_components,)
    assert scale.isfinite().all()
    assert (scale >= 0).all()


@given(network=DENSE, n_features=st.integers(1, 12), **COUNTS)
def test_dense_networks(network, n_features, n_components, n_heads, seed):
    assert_sound(network, n_features, n_components, n_heads, seed)
