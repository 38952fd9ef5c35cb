"""Matryoshka: nested prefixes that reconstruct samples on their own."""

import numpy as np
import pytest
import torch
from helpers import draw, generator
from hypothesis import given
from hypothesis import strategies as st

from skvaeense import SparseAutoencoder
from skvaeense.nets.networks import SingleLayer
from skvaeense.nets.penalties import Coding, Matryoshka

N_FEATURES, N_COMPONENTS = 5, 8


def make_module(seed=0):
    source = generator(seed)
    module = SingleLayer().build(N_FEATURES, N_COMPONENTS, n_heads=1, generator=source)
    torch.nn.init.uniform_(module.decoder.bias, generator=source)
    return module.double()


def make_coding(code):
    return Coding(torch.nn.Identity(), code, code, 1.0)


# --- sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_components", "parameters", "sizes"),
    [
        (64, {"n_prefixes": 1}, []),
        (64, {"n_prefixes": 3}, [16, 32]),
        (64, {"n_prefixes": 8}, [1, 2, 4, 8, 16, 32]),
        (100, {"n_prefixes": 4}, [12, 25, 50]),
        (1, {}, []),
        (64, {"widths": (64, 16, 4, 16, 100)}, [4, 16]),
    ],
)
def test_sizes_by_hand(n_components, parameters, sizes):
    assert Matryoshka(**parameters).prefixes(n_components) == sizes


@pytest.mark.parametrize("widths", [(), (0, 4), [2.5], ("all",)])
def test_widths_that_cannot_be(widths):
    X = draw(40, N_FEATURES).numpy()
    with pytest.raises(ValueError, match="The 'widths' parameter of Matryoshka must be a list"):
        SparseAutoencoder(8, penalty=Matryoshka(2, widths=widths), max_iter=1).fit(X)


@given(n_components=st.integers(1, 1000), n_prefixes=st.integers(1, 9))
def test_sizes_rise_and_are_proper(n_components, n_prefixes):
    sizes = Matryoshka(n_prefixes=n_prefixes).prefixes(n_components)
    assert sizes == sorted(set(sizes))
    assert all(1 <= size < n_components for size in sizes)
    # If there are enough latents, there are as many sizes as requested.
    n_halvings = int(np.log2(n_components))
    assert len(sizes) == min(n_prefixes - 1, n_halvings)


# --- error ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_prefixes", [1, 3, 8])
def test_error_is_the_sum_over_the_prefixes(n_prefixes):
    module, x, code = make_module(), draw(6, N_FEATURES), draw(6, N_COMPONENTS, seed=1).relu()
    error = Matryoshka(n_prefixes=n_prefixes).auxiliary_error(module, x, make_coding(code))
    weight, bias = (p.detach().numpy() for p in module.decoder.parameters())
    expected = np.zeros(6)
    for size in [4, 2, 1][: n_prefixes - 1]:
        reconstruction = code.numpy()[:, :size] @ weight[:, :size].T + bias
        expected += ((x.numpy() - reconstruction) ** 2).sum(axis=1)
    np.testing.assert_allclose(error.detach(), expected)


def test_latents_beyond_all_prefixes_are_not_trained_by_them():
    module, x, code = make_module(), draw(6, N_FEATURES), draw(6, N_COMPONENTS, seed=1)
    code.requires_grad_()
    Matryoshka(n_prefixes=3).auxiliary_error(module, x, make_coding(code)).sum().backward()
    assert (code.grad != 0).all(dim=0).tolist() == [True] * 4 + [False] * 4
    assert (code.grad[:, 4:] == 0).all()
    assert (module.decoder.weight.grad[:, 4:] == 0).all()
    assert (module.decoder.weight.grad[:, :4] != 0).all()
