from types import SimpleNamespace

import numpy as np
import pytest
import torch

from skvaeense import SparseAutoencoder
from skvaeense.training._data import (
    HELD_OUT,
    LONG_STEPS,
    SPARSE_HELD_OUT,
    Spectrum,
    default_n_components,
    linear_residual,
    random_steps,
    resolve_batch_size,
    sparse_learning_rate,
)

SIZES = [1, 2, 19, 20, 21, 33, 100, 500, 2_000, 50_000, 500_000]


def draw(n_samples, variances, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(n_samples, len(variances), generator=generator, dtype=torch.float64)
    return draws * torch.tensor(variances, dtype=torch.float64).sqrt()


def test_batches_grow_with_the_samples_and_fit_in_them():
    for n_samples in SIZES:
        batch_size = resolve_batch_size("auto", n_samples)
        assert 1 <= batch_size <= min(256, n_samples)
        assert resolve_batch_size(64, n_samples) == min(64, n_samples)
    sizes = [resolve_batch_size("auto", n) for n in SIZES]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 256


@pytest.mark.parametrize("rule", [HELD_OUT, SPARSE_HELD_OUT])
def test_some_rows_are_held_out(rule):
    for n_samples in SIZES:
        n_out = rule.of(n_samples)
        if n_samples < 20:
            assert n_out == 0, n_samples
        else:
            assert n_out == pytest.approx(min(rule.share * n_samples, rule.at_most), abs=1)
            assert n_out >= 1


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_spectrum_of_equal_directions(rank):
    """All variance lies in `rank` directions, and each has d / rank times the mean variance."""
    Z = draw(4000, [1.0] * rank + [0.0] * (8 - rank))
    spectrum = Spectrum.of(Z / Z.square().mean().sqrt())
    assert spectrum.linear_dimension == rank
    assert spectrum.mean_eigenvalue == pytest.approx(8 / rank, rel=0.1)
    assert default_n_components(spectrum) == 2 * rank
    assert default_n_components(Spectrum(200, 1.0)) == 256


def test_spectrum_is_that_of_numpy_and_does_not_see_the_mean():
    Z = draw(500, [9.0, 4.0, 1.0, 0.25, 1e-3])
    eigenvalues = np.linalg.eigvalsh(np.cov(Z.numpy().T, bias=True))
    spectrum = Spectrum.of(Z.float() + 5)
    expected = np.square(eigenvalues).sum() / eigenvalues.sum()
    assert spectrum.mean_eigenvalue == pytest.approx(expected, rel=1e-5)
    held = np.cumsum(eigenvalues[::-1]) / eigenvalues.sum()
    assert spectrum.linear_dimension == np.searchsorted(held, 0.99) + 1


def test_first_noise_is_a_fraction_of_the_mean_eigenvalue_less_for_deep_decoders():
    first = Spectrum(3, mean_eigenvalue=2.0).first_noise
    assert [first(depth) for depth in (1, 2, 4)] == pytest.approx([0.2, 0.1, 0.05])


def test_steps_of_sparse_autoencoders():
    sae = SparseAutoencoder(max_iter=7)
    assert sae._epochs(SimpleNamespace(n_steps=10)) == 7
    sae.set_params(max_iter="auto")
    assert sae._epochs(SimpleNamespace(n_steps=7)) == -(-LONG_STEPS // 7)
    rate = sparse_learning_rate(256, 512, LONG_STEPS)
    assert sparse_learning_rate(64, 512, LONG_STEPS) == pytest.approx(rate / 2)
    assert sparse_learning_rate(256, 64, LONG_STEPS) == rate
    assert sparse_learning_rate(256, 2048, LONG_STEPS) == pytest.approx(rate / 2)
    assert sparse_learning_rate(256, 512, 1) == rate
    assert sparse_learning_rate(256, 512, 4 * LONG_STEPS) == pytest.approx(rate / 2)


def test_steps_from_a_random_init_follow_the_steps_of_an_epoch():
    assert [random_steps(n) for n in (1, 8, 10, 24, 10_000)] == [*(2000, 2000, 2500, 6000, 6000)]


def test_spectrum_of_equal_rows():
    assert Spectrum.of(torch.zeros(10, 4)) == Spectrum(1, 1.0)


def test_linear_residual_is_what_principal_components_leave():
    Z = draw(500, [4.0, 3.0, 2.0, 1.0])
    eigenvalues = np.linalg.eigvalsh(np.cov(Z.numpy().T, bias=True))[::-1]
    for k in range(1, 5):
        expected = eigenvalues[k:].sum() / eigenvalues.sum()
        assert linear_residual(Z, k) == pytest.approx(expected, abs=1e-12)
    assert linear_residual(Z, 50) == pytest.approx(0, abs=1e-12)


def test_components_of_few_rows_leave_more_of_others():
    few, many = draw(12, np.ones(10)), draw(500, np.ones(10), seed=1)
    assert linear_residual(few, 9) < 0.02
    assert linear_residual(many, 9, few) > 0.05
