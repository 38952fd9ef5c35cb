import numpy as np
import pytest

from benchmarks.generators.mlp_manifolds import make_mlp_manifolds


def _local_spectrum(X, n_neighbors):
    """Return the mean normalised singular values of small neighbourhoods."""
    spectra = []
    for point in X[:20]:
        distances = np.linalg.norm(X - point, axis=1)
        near = X[np.argsort(distances)[:n_neighbors]]
        values = np.linalg.svd(near - near.mean(axis=0), compute_uv=False)
        spectra.append(values / values[0])
    return np.mean(spectra, axis=0)


@pytest.mark.parametrize(("dim", "sizes"), [(1, (64,)), (2, (64,)), (2, (32, 32))])
def test_manifold_has_its_dimension_locally(dim, sizes):
    X, *_ = make_mlp_manifolds(20_000, dims=(dim,), hidden_layer_sizes=sizes, random_state=0)
    spectrum = _local_spectrum(X, n_neighbors=20)
    assert spectrum[dim - 1] > 0.3
    assert spectrum[dim] < 0.05


def test_manifold_is_curved():
    X, manifold, dimension = make_mlp_manifolds(3_000, random_state=0)
    for label in range(3):
        part = X[manifold == label]
        values = np.linalg.svd(part - part.mean(axis=0), compute_uv=False)
        dim = dimension[manifold == label][0]
        unexplained = np.sum(values[dim:] ** 2) / np.sum(values**2)
        assert unexplained > 0.02


def test_manifolds_have_unit_root_mean_square():
    X, manifold, _ = make_mlp_manifolds(6_000, dims=(1, 2, 4, 8), random_state=3)
    for label in range(4):
        part = X[manifold == label]
        assert np.sqrt(part.var(axis=0).mean()) == pytest.approx(1, rel=0.05)


def test_manifolds_do_not_depend_on_the_number_of_samples():
    # The first latents of the first manifold are the same draws, so its points must agree.
    small, small_manifold, _ = make_mlp_manifolds(10, dims=(2,), random_state=0)
    large, _, _ = make_mlp_manifolds(500, dims=(2,), random_state=0)
    assert small_manifold.sum() == 0
    for point in small:
        assert np.linalg.norm(large - point, axis=1).min() < 1e-10
