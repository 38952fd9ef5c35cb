from itertools import combinations

import numpy as np
import pytest

from skvaeense.datasets import make_sparse_dictionary

DICTIONARY = {"n_atoms": 7, "n_active": (1, 3), "n_features": 12, "random_state": 0}


def _draw(n_samples, **arguments):
    """Return the samples of the generator, with their codes."""
    drawn = make_sparse_dictionary(n_samples, return_atoms=True, **(DICTIONARY | arguments))
    X, _, _, atoms = drawn
    codes = np.linalg.lstsq(atoms.T, X.T, rcond=None)[0].T
    return *drawn, np.where(np.abs(codes) > 1e-9, codes, 0)


def test_samples_are_sparse_combinations_of_unit_atoms():
    X, _, dimension, atoms, codes = _draw(60, n_active=(1, 2, 4))
    assert atoms.shape == (7, 12)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1)
    np.testing.assert_allclose(codes @ atoms, X, atol=1e-10)
    np.testing.assert_array_equal(np.count_nonzero(codes, axis=1), dimension)
    # Every atom is active in some sample.
    assert codes.any(axis=0).all()


def test_supports_and_coefficients_follow_their_law():
    *_, codes = _draw(20_000, n_atoms=5, n_active=2)
    values = codes[codes != 0]
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.var() == pytest.approx(1, abs=0.03)
    for i, j in combinations(range(5), 2):
        assert np.mean((codes[:, i] != 0) & (codes[:, j] != 0)) == pytest.approx(0.1, abs=0.01)


def test_samples_have_unit_energy_per_active_atom():
    X, _, dimension = make_sparse_dictionary(30_000, n_active=(2, 8), random_state=0)
    squared_norm = np.sum(X**2, axis=1)
    for n_active in (2, 8):
        mean = squared_norm[dimension == n_active].mean()
        assert mean == pytest.approx(n_active, rel=0.03)


def test_int_means_one_group():
    X, manifold, dimension = make_sparse_dictionary(30, n_active=3, random_state=0)
    assert set(manifold) == {0}
    assert set(dimension) == {3}
    np.testing.assert_array_equal(X, make_sparse_dictionary(30, n_active=(3,), random_state=0)[0])


def test_all_atoms_may_be_active():
    X, _, _ = make_sparse_dictionary(30, n_atoms=4, n_active=4, n_features=6, random_state=0)
    assert np.linalg.matrix_rank(X) == 4


def test_returning_atoms_does_not_change_the_samples(subtests):
    for noise in (0.0, 0.3):
        for signed in (True, False):
            with subtests.test(signed=signed, noise=noise):
                arguments = DICTIONARY | {"signed": signed, "noise": noise}
                with_atoms = make_sparse_dictionary(40, return_atoms=True, **arguments)
                without = make_sparse_dictionary(40, **arguments)
                assert (len(with_atoms), len(without)) == (4, 3)
                for one, other in zip(with_atoms[:3], without, strict=True):
                    np.testing.assert_array_equal(one, other)


def test_unsigned_coefficients_are_absolute_values():
    signed, unsigned = _draw(50)[-1], _draw(50, signed=False)[-1]
    assert (signed < -0.1).any()
    np.testing.assert_allclose(unsigned, np.abs(signed), atol=1e-10)


def test_bad_arguments(subtests):
    for arguments, error, match in (
        ({"n_active": 21}, ValueError, "n_active=21 atoms cannot be drawn from n_atoms=20"),
        ({"n_active": (2, 30)}, ValueError, "n_active=30 atoms cannot be drawn"),
        ({"n_active": 6, "n_features": 5}, ValueError, "n_active=6 needs at least 6 features"),
        ({"n_active": 0}, ValueError, "n_active must be at least 1"),
        ({"n_active": True}, TypeError, "n_active must be an int"),
        ({"n_active": ()}, ValueError, "n_active is empty"),
        ({"n_active": 2.0}, TypeError, "n_active must be a sequence of int"),
        ({"n_atoms": 0}, ValueError, "n_atoms must be at least 1"),
        ({"signed": 1}, TypeError, "signed must be True or False, got 1"),
        ({"return_atoms": "no"}, TypeError, "return_atoms must be True or False"),
    ):
        with subtests.test(match=match), pytest.raises(error, match=match):
            make_sparse_dictionary(10, **arguments)
