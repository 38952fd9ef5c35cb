import numpy as np
import pytest

from skvaeense.datasets import make_affine_subspaces, make_linear_subspaces


def _bases(X, manifold, dims):
    """Return orthonormal rows that span the samples of each manifold."""
    return [
        np.linalg.svd(X[manifold == label], full_matrices=False)[2][:dim]
        for label, dim in enumerate(dims)
    ]


def test_each_subspace_has_its_dimension(subtests):
    for shared in (0, 1, 2):
        for orthogonal in (False, True):
            with subtests.test(orthogonal=orthogonal, shared=shared):
                dims = (2, 4, 8)
                X, manifold, _ = make_linear_subspaces(
                    600, dims=dims, shared=shared, orthogonal=orthogonal, random_state=0
                )
                ranks = [np.linalg.matrix_rank(X[manifold == label]) for label in range(3)]
                assert tuple(ranks) == dims
                assert np.linalg.matrix_rank(X) == sum(dims) - 2 * shared


def test_coordinates_are_standard_normal():
    X, _, _ = make_linear_subspaces(50_000, dims=(3,), n_features=5, random_state=0)
    eigenvalues = np.linalg.eigvalsh(X.T @ X / len(X))
    np.testing.assert_allclose(eigenvalues, [0, 0, 1, 1, 1], atol=0.03)
    squared_norm = np.sum(X**2, axis=1)
    assert squared_norm.mean() == pytest.approx(3, rel=0.02)
    assert squared_norm.var() == pytest.approx(6, rel=0.05)


def test_angles_between_subspaces(subtests):
    for shared in (0, 1, 2):
        for orthogonal in (False, True):
            with subtests.test(orthogonal=orthogonal, shared=shared):
                dims = (2, 4, 5)
                X, manifold, _ = make_linear_subspaces(
                    600, dims=dims, shared=shared, orthogonal=orthogonal, random_state=1
                )
                bases = _bases(X, manifold, dims)
                for i in range(3):
                    for j in range(i):
                        cosines = np.linalg.svd(bases[i] @ bases[j].T, compute_uv=False)
                        np.testing.assert_allclose(cosines[:shared], 1)
                        if orthogonal:
                            np.testing.assert_allclose(cosines[shared:], 0, atol=1e-7)
                        else:
                            assert (cosines[shared:] < 0.999).all()


def test_shared_directions_are_the_same_in_all_subspaces():
    dims = (3, 4, 5)
    X, manifold, _ = make_linear_subspaces(600, dims=dims, shared=2, random_state=0)
    projectors = sum(basis.T @ basis for basis in _bases(X, manifold, dims)) / len(dims)
    # A direction has eigenvalue 1 of the mean projector if and only if it lies in all subspaces.
    eigenvalues = np.linalg.eigvalsh(projectors)[::-1]
    np.testing.assert_allclose(eigenvalues[:2], 1)
    assert eigenvalues[2] < 0.99


def test_one_subspace_may_lie_in_all_others():
    X, _, _ = make_linear_subspaces(100, dims=(2, 4), n_features=4, shared=2, random_state=0)
    assert np.linalg.matrix_rank(X) == 4


def test_orthogonal_subspaces_may_fill_the_space():
    X, _, _ = make_linear_subspaces(
        100, dims=(3, 4), n_features=6, shared=1, orthogonal=True, random_state=0
    )
    assert np.linalg.matrix_rank(X) == 6


def test_bad_geometry(subtests):
    for arguments, error, match in (
        ({"shared": 3, "dims": (2, 4)}, ValueError, "shared=3 directions do not fit"),
        ({"shared": -1}, ValueError, "shared must be at least 0"),
        ({"shared": 1.0}, TypeError, "shared must be an int"),
        ({"orthogonal": 1}, TypeError, "orthogonal must be True or False, got 1"),
        (
            {"orthogonal": True, "dims": (4, 4), "shared": 1, "n_features": 6},
            ValueError,
            "orthogonal=True with .* needs at least 7 features, got n_features=6",
        ),
    ):
        for make in (make_linear_subspaces, make_affine_subspaces):
            with (
                subtests.test(make=make, arguments=arguments),
                pytest.raises(error, match=match),
            ):
                make(10, **arguments)


def test_affine_subspaces_have_their_dimension_around_an_offset():
    dims = (2, 4)
    X, manifold, _ = make_affine_subspaces(400, dims=dims, random_state=0)
    for label, dim in enumerate(dims):
        part = X[manifold == label]
        assert np.linalg.matrix_rank(part) == dim + 1
        assert np.linalg.matrix_rank(part - part[0]) == dim


def test_offset_scale_is_the_standard_deviation_of_a_coordinate():
    X, manifold, _ = make_affine_subspaces(
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


def test_affine_without_offset_is_linear():
    X, manifold, _ = make_affine_subspaces(400, dims=(2, 4), offset_scale=0, random_state=0)
    assert [np.linalg.matrix_rank(X[manifold == label]) for label in range(2)] == [2, 4]


def test_bad_offset_scale():
    with pytest.raises(ValueError, match="offset_scale must be 0 or positive"):
        make_affine_subspaces(10, offset_scale=-1)


def test_subspaces_do_not_depend_on_the_number_of_samples():
    dims = (2, 4)
    small = make_linear_subspaces(100, dims=dims, random_state=0)
    large = make_linear_subspaces(333, dims=dims, random_state=0)
    for a, b in zip(_bases(*small[:2], dims), _bases(*large[:2], dims), strict=True):
        np.testing.assert_allclose(a.T @ a, b.T @ b, atol=1e-10)


@pytest.mark.parametrize("n_features", [4, 7])
def test_samples_are_isotropic_in_their_subspace(n_features):
    X, _, _ = make_linear_subspaces(50_000, dims=(4,), n_features=n_features, random_state=0)
    assert np.linalg.matrix_rank(X) == 4
    expected = [0] * (n_features - 4) + [1] * 4
    np.testing.assert_allclose(np.linalg.eigvalsh(X.T @ X / len(X)), expected, atol=0.03)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=0.02)
