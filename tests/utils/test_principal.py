import numpy as np
import pytest

from skvaeense.utils._linalg import principal_directions, svd


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_a_decomposition_that_does_not_converge_is_made_by_another_method(monkeypatch, shape):
    matrix = np.random.default_rng(0).standard_normal(shape)
    expected = np.linalg.svd(matrix, full_matrices=False)

    def fails(*args, **kwargs):
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", fails)
    U, s, Vt = svd(matrix)
    np.testing.assert_allclose(s, expected[1])
    np.testing.assert_allclose((U * s) @ Vt, matrix)


def test_matrices_that_are_not_finite_are_refused():
    with pytest.raises((np.linalg.LinAlgError, ValueError)):
        svd(np.full((3, 3), np.nan))


@pytest.mark.parametrize("n_samples", [4, 40])
def test_principal_directions_hold_the_most_variance(n_samples):
    rows = np.random.default_rng(0).standard_normal((n_samples, 6)) * np.arange(6, 0, -1)
    variances, directions = principal_directions(rows)
    assert (np.diff(variances) <= 0).all()
    np.testing.assert_allclose(np.square(rows @ directions.T).mean(axis=0), variances, atol=1e-12)
