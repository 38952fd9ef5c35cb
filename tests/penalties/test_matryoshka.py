"""Matryoshka: nested prefixes that reconstruct by themselves."""

import numpy as np
import pytest
import torch
from helpers import draw, generator

from skvaeense.networks import SingleLayer
from skvaeense.penalties import Coding, Matryoshka

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
    ("n_components", "n_prefixes", "sizes"),
    [
        (64, 1, []),
        (64, 2, [32]),
        (64, 3, [16, 32]),
        (64, 7, [1, 2, 4, 8, 16, 32]),
        (64, 8, [1, 2, 4, 8, 16, 32]),
        (100, 4, [12, 25, 50]),
        (3, 3, [1]),
        (2, 2, [1]),
        (2, 8, [1]),
        (1, 5, []),
    ],
)
def test_sizes_by_hand(n_components, n_prefixes, sizes):
    assert Matryoshka(n_prefixes=n_prefixes).prefixes(n_components) == sizes


@pytest.mark.parametrize("n_prefixes", range(1, 9))
@pytest.mark.parametrize("n_components", [1, 2, 3, 7, 64, 1000])
def test_sizes_rise_and_are_proper(n_components, n_prefixes):
    sizes = Matryoshka(n_prefixes=n_prefixes).prefixes(n_components)
    assert sizes == sorted(set(sizes))
    assert all(1 <= size < n_components for size in sizes)
    # As many as asked for where there are latents enough, none of them lost.
    n_halvings = int(np.log2(n_components))
    assert len(sizes) == min(n_prefixes - 1, n_halvings)


# --- error ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_prefixes", [1, 2, 3, 4, 8])
def test_error_is_the_sum_over_the_prefixes(n_prefixes):
    module, x, code = make_module(), draw(6, N_FEATURES), draw(6, N_COMPONENTS, seed=1).relu()
    penalty = Matryoshka(n_prefixes=n_prefixes)
    error = penalty.auxiliary_error(module, x, make_coding(code))
    weight = module.decoder.weight.detach().numpy()
    bias, expected = module.decoder.bias.detach().numpy(), np.zeros(6)
    for size in [4, 2, 1][: n_prefixes - 1]:
        reconstruction = code.numpy()[:, :size] @ weight[:, :size].T + bias
        expected += ((x.numpy() - reconstruction) ** 2).sum(axis=1)
    np.testing.assert_allclose(error.detach(), expected)


def test_one_prefix_adds_nothing():
    module, x, code = make_module(), draw(6, N_FEATURES), draw(6, N_COMPONENTS, seed=1)
    error = Matryoshka(n_prefixes=1).auxiliary_error(module, x, make_coding(code))
    assert error.tolist() == [0] * 6


def test_latents_beyond_all_prefixes_are_not_trained_by_them():
    module, x, code = make_module(), draw(6, N_FEATURES), draw(6, N_COMPONENTS, seed=1)
    code.requires_grad_()
    Matryoshka(n_prefixes=3).auxiliary_error(module, x, make_coding(code)).sum().backward()
    assert (code.grad != 0).all(dim=0).tolist() == [True] * 4 + [False] * 4
    assert (code.grad[:, 4:] == 0).all()
    assert (module.decoder.weight.grad[:, 4:] == 0).all()
    assert (module.decoder.weight.grad[:, :4] != 0).all()
