"""Matching pursuit, compared with its definition in numpy, with rows aligned to columns."""

import numpy as np
import pytest
import torch
from helpers import draw, fit_unwarned, generator, quick_sae
from sklearn.decomposition import sparse_encode

from skvaeense import VAEenseTransformer, load, save
from skvaeense.networks import MatchingPursuit, SingleLayer
from skvaeense.penalties import BatchTopK, TopK

X = np.random.default_rng(0).standard_normal((120, 6)) + 3.0


def build(**params):
    network = MatchingPursuit(**params)
    module = network.build(6, 10, n_heads=1, generator=generator(0)).double()
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter += 0.3 * draw(*parameter.shape, seed=i)
    return module


def by_hand(module, x, n_steps, positive):
    W, b = module.decoder.weight.detach().numpy(), module.decoder.bias.detach().numpy()
    norm = np.linalg.norm(W, axis=0)
    codes = np.zeros((len(x), W.shape[1]))
    for code, sample in zip(codes, x, strict=True):
        residual = sample - b
        for _ in range(n_steps):
            products = residual @ W / norm
            j = np.argmax(products if positive else np.abs(products))
            value = max(products[j], 0) if positive else products[j]
            code[j] += value
            residual = residual - value * W[:, j] / norm[j]
    return codes / norm


def test_atoms_are_taken_one_after_the_other(subtests):
    for n_steps in (1, 4):
        for positive in (False, True):
            with subtests.test(positive=positive, n_steps=n_steps):
                module, x = build(n_active=n_steps, positive=positive), draw(9, 6)
                expected = by_hand(module, x.numpy(), n_steps, positive)
                np.testing.assert_allclose(
                    module.encode(x)[0].detach().numpy(), expected, atol=1e-12
                )


def test_orthogonal_atoms_give_the_largest_products():
    module = build(n_active=3)
    with torch.no_grad():
        module.decoder.weight[:, :6] = torch.eye(6)
        module.decoder.weight[:, 6:] = 0.5 * torch.eye(6)[:, :4]
        module.decoder.bias.zero_()
    x = draw(9, 6)
    dictionary = np.eye(6)
    expected = sparse_encode(x.numpy(), dictionary, algorithm="omp", n_nonzero_coefs=3)
    code = module.encode(x)[0].detach().numpy()
    np.testing.assert_allclose(code @ module.decoder.weight.detach().numpy().T, expected)


@pytest.mark.parametrize("penalty", [TopK(3), BatchTopK(3)])
def test_codes_have_at_most_k_entries(penalty, tmp_path):
    sae = fit_unwarned(quick_sae(penalty, network=MatchingPursuit()), X)
    codes = sae.transform(X)
    assert (codes >= 0).all()
    assert 1 < (codes != 0).sum(axis=1).max() <= 3
    save(sae, tmp_path / "sae.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "sae.safetensors").transform(X), codes)
    signed = fit_unwarned(sae.set_params(positive_code=False), X).transform(X)
    assert (signed < 0).any()


def test_no_gates():
    with pytest.raises(ValueError, match="MatchingPursuit is for sparse autoencoders"):
        VAEenseTransformer(4, network=MatchingPursuit()).fit(X)


def test_n_active_is_a_positive_number():
    with pytest.raises(ValueError, match=r"n_active must be a positive number.*got -1"):
        MatchingPursuit(n_active=-1).build(6, 10, n_heads=1, generator=generator(0))


@pytest.mark.parametrize("penalty", ["topk", "l1"])
def test_rows_stay_aligned_with_columns(penalty):
    sae = fit_unwarned(quick_sae(penalty, network=SingleLayer(aligned=True)), X)
    network = sae.module_.network
    products = (network.encoder.weight * network.decoder.weight.T).sum(dim=1)
    torch.testing.assert_close(products, torch.ones_like(products))
    assert not np.allclose(network.encoder.weight.detach(), network.decoder.weight.T.detach())
