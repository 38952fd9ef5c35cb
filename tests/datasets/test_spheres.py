import numpy as np
import pytest

from skvaeense.datasets import make_spheres


def test_radius_and_subspace():
    dims = (1, 2, 5, 10)
    X, manifold, dimension = make_spheres(800, dims=dims, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), np.sqrt(dimension + 1))
    ranks = [np.linalg.matrix_rank(X[manifold == label]) for label in range(4)]
    assert ranks == [2, 3, 6, 11]


def test_coordinates_have_unit_variance():
    X, _, _ = make_spheres(50_000, dims=(3,), n_features=6, random_state=0)
    np.testing.assert_allclose(np.linalg.eigvalsh(X.T @ X / len(X)), [0, 0, 1, 1, 1, 1], atol=0.03)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=0.02)


def test_samples_are_uniform():
    X, _, _ = make_spheres(50_000, dims=(2,), n_features=3, random_state=0)
    # Archimedes: each coordinate of a uniform point of S^2 is itself uniform.
    heights = np.sort(X[:, 0]) / np.sqrt(3)
    np.testing.assert_allclose(heights, np.linspace(-1, 1, len(heights)), atol=0.02)


def test_a_sphere_needs_one_more_feature_than_its_dimension():
    make_spheres(10, dims=(4,), n_features=5)
    with pytest.raises(ValueError, match="dimension 5 needs at least 6 features"):
        make_spheres(10, dims=(2, 5), n_features=5)
