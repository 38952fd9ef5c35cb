import numpy as np
import pytest

from skvaeense.datasets import make_linear_subspaces, make_spheres

EACH_KIND = pytest.mark.parametrize("orthogonal", [False, True])
EACH_SHARE = pytest.mark.parametrize("shared", [0, 1, 2])


def _bases(X, manifold, dims):
    """Return orthonormal rows that span the samples of each manifold."""
    return [
        np.linalg.svd(X[manifold == label], full_matrices=False)[2][:dim]
        for label, dim in enumerate(dims)
    ]


@EACH_KIND
@EACH_SHARE
def test_dimensions_and_angles_of_subspaces(shared, orthogonal):
    dims = (2, 4, 8)
    X, manifold, _ = make_linear_subspaces(
        600, dims=dims, shared=shared, orthogonal=orthogonal, random_state=0
    )
    ranks = [np.linalg.matrix_rank(X[manifold == label]) for label in range(3)]
    assert tuple(ranks) == dims
    assert np.linalg.matrix_rank(X) == sum(dims) - 2 * shared
    bases = _bases(X, manifold, dims)
    for i in range(3):
        for j in range(i):
            cosines = np.linalg.svd(bases[i] @ bases[j].T, compute_uv=False)
            np.testing.assert_allclose(cosines[:shared], 1)
            if orthogonal:
                np.testing.assert_allclose(cosines[shared:], 0, atol=1e-7)
            else:
                assert (cosines[shared:] < 0.999).all()
    # A direction has eigenvalue 1 of the mean projector if and only if it lies in all subspaces.
    projectors = sum(basis.T @ basis for basis in bases) / len(dims)
    eigenvalues = np.linalg.eigvalsh(projectors)[::-1]
    np.testing.assert_allclose(eigenvalues[:shared], 1)
    assert eigenvalues[shared] < 0.99


@pytest.mark.parametrize("n_features", [4, 7])
def test_coordinates_are_standard_normal(n_features):
    X, _, _ = make_linear_subspaces(50_000, dims=(4,), n_features=n_features, random_state=0)
    assert np.linalg.matrix_rank(X) == 4
    expected = [0] * (n_features - 4) + [1] * 4
    np.testing.assert_allclose(np.linalg.eigvalsh(X.T @ X / len(X)), expected, atol=0.03)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=0.02)
    # The squared norm of four standard normal numbers has mean 4 and variance 8.
    squared_norm = np.sum(X**2, axis=1)
    assert squared_norm.mean() == pytest.approx(4, rel=0.02)
    assert squared_norm.var() == pytest.approx(8, rel=0.05)


def test_subspaces_may_lie_in_one_another_and_fill_the_space():
    X, _, _ = make_linear_subspaces(100, dims=(2, 4), n_features=4, shared=2, random_state=0)
    assert np.linalg.matrix_rank(X) == 4
    X, _, _ = make_linear_subspaces(
        100, dims=(3, 4), n_features=6, shared=1, orthogonal=True, random_state=0
    )
    assert np.linalg.matrix_rank(X) == 6


def test_subspaces_do_not_depend_on_the_number_of_samples():
    dims = (2, 4)
    few, many = (make_linear_subspaces(n, dims=dims, random_state=0) for n in (100, 333))
    for a, b in zip(_bases(*few[:2], dims), _bases(*many[:2], dims), strict=True):
        np.testing.assert_allclose(a.T @ a, b.T @ b, atol=1e-10)


@pytest.mark.parametrize(("offset_scale", "extra"), [(1.0, 1), (0, 0)])
def test_affine_subspaces_have_their_dimension_around_an_offset(offset_scale, extra):
    dims = (2, 4)
    X, manifold, _ = make_linear_subspaces(
        400, dims=dims, offset_scale=offset_scale, random_state=0
    )
    for label, dim in enumerate(dims):
        part = X[manifold == label]
        assert np.linalg.matrix_rank(part) == dim + extra
        assert np.linalg.matrix_rank(part - part[0]) == dim


def test_offset_scale_is_the_standard_deviation_of_a_coordinate():
    X, manifold, _ = make_linear_subspaces(
        100, dims=(1,) * 50, n_features=2_000, offset_scale=3.0, random_state=0
    )
    # Samples of a subspace differ along one direction, so two samples determine the rest of the
    # offset.
    norms = []
    for label in range(50):
        first, second = X[manifold == label][:2]
        direction = (second - first) / np.linalg.norm(second - first)
        norms.append(np.linalg.norm(first - (first @ direction) * direction))
    assert np.mean(norms) == pytest.approx(3.0 * np.sqrt(2_000), rel=0.02)


def test_radius_and_subspace_of_spheres():
    X, manifold, dimension = make_spheres(800, dims=(1, 2, 5, 10), random_state=0)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), np.sqrt(dimension + 1))
    ranks = [np.linalg.matrix_rank(X[manifold == label]) for label in range(4)]
    assert ranks == [2, 3, 6, 11]
    # A sphere of dimension 4 fits in five features.
    assert make_spheres(10, dims=(4,), n_features=5)[0].shape == (10, 5)


def test_samples_are_uniform_on_spheres():
    X, _, _ = make_spheres(50_000, dims=(2,), n_features=3, random_state=0)
    # Archimedes: each coordinate of a uniform point of S^2 is itself uniform.
    heights = np.sort(X, axis=0) / np.sqrt(3)
    even = np.linspace(-1, 1, len(heights))[:, None]
    np.testing.assert_allclose(heights, np.tile(even, 3), atol=0.02)
    np.testing.assert_allclose(X.T @ X / len(X), np.eye(3), atol=0.03)
