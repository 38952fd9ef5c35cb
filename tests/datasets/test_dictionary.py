from itertools import combinations

import numpy as np
import pytest

from skvaeense.datasets import make_sparse_dictionary


def _atoms(n_atoms, n_features):
    """Return the dictionary up to signs: with one atom active, samples are its multiples."""
    X, _, _ = make_sparse_dictionary(
        400, n_atoms=n_atoms, n_active=1, n_features=n_features, random_state=0
    )
    directions = X / np.linalg.norm(X, axis=1, keepdims=True)
    distinct = []
    for direction in directions:
        if all(abs(direction @ atom) < 1 - 1e-9 for atom in distinct):
            distinct.append(direction)
    return np.array(distinct)


def test_samples_with_one_active_atom_are_multiples_of_the_atoms():
    assert _atoms(7, 12).shape == (7, 12)


def test_samples_are_sparse_combinations_of_the_atoms():
    atoms = _atoms(7, 12)
    X, _, dimension = make_sparse_dictionary(
        60, n_atoms=7, n_active=(1, 2, 4), n_features=12, random_state=0
    )
    codes = np.linalg.lstsq(atoms.T, X.T, rcond=None)[0].T
    np.testing.assert_allclose(codes @ atoms, X, atol=1e-10)
    np.testing.assert_array_equal(np.count_nonzero(np.abs(codes) > 1e-9, axis=1), dimension)


def test_supports_and_coefficients_follow_their_law():
    atoms = _atoms(5, 12)
    X, _, _ = make_sparse_dictionary(20_000, n_atoms=5, n_active=2, n_features=12, random_state=0)
    codes = np.linalg.lstsq(atoms.T, X.T, rcond=None)[0].T
    active = np.abs(codes) > 1e-9
    values = codes[active]
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.var() == pytest.approx(1, abs=0.03)
    for i, j in combinations(range(5), 2):
        assert np.mean(active[:, i] & active[:, j]) == pytest.approx(1 / 10, abs=0.01)


def test_samples_have_unit_energy_per_active_atom():
    X, _, dimension = make_sparse_dictionary(30_000, n_active=(2, 8), random_state=0)
    squared_norm = np.sum(X**2, axis=1)
    for n_active in (2, 8):
        mean = squared_norm[dimension == n_active].mean()
        assert mean == pytest.approx(n_active, rel=0.05)


def test_int_means_one_group():
    X, manifold, dimension = make_sparse_dictionary(30, n_active=3, random_state=0)
    assert set(manifold) == {0}
    assert set(dimension) == {3}
    np.testing.assert_array_equal(X, make_sparse_dictionary(30, n_active=(3,), random_state=0)[0])


def test_all_atoms_may_be_active():
    X, _, _ = make_sparse_dictionary(30, n_atoms=4, n_active=4, n_features=6, random_state=0)
    assert np.linalg.matrix_rank(X) == 4


# --- signs and atoms ------------------------------------------------------------------------

DICTIONARY = {"n_atoms": 7, "n_active": (1, 3), "n_features": 12, "random_state": 0}


def _codes(signed):
    """Return the codes of samples that are drawn with the same seed for either `signed`."""
    X, *_, atoms = make_sparse_dictionary(50, signed=signed, return_atoms=True, **DICTIONARY)
    return np.linalg.lstsq(atoms.T, X.T, rcond=None)[0].T


def test_atoms_are_those_of_the_samples():
    X, _, dimension, atoms = make_sparse_dictionary(60, return_atoms=True, **DICTIONARY)
    assert atoms.shape == (7, 12)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1)
    codes = np.linalg.lstsq(atoms.T, X.T, rcond=None)[0].T
    np.testing.assert_allclose(codes @ atoms, X, atol=1e-10)
    np.testing.assert_array_equal(np.count_nonzero(np.abs(codes) > 1e-9, axis=1), dimension)
    # All atoms are used.
    assert (np.abs(codes) > 1e-9).any(axis=0).all()


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_returning_atoms_does_not_change_the_samples(signed, noise):
    arguments = DICTIONARY | {"signed": signed, "noise": noise}
    with_atoms = make_sparse_dictionary(40, return_atoms=True, **arguments)
    without = make_sparse_dictionary(40, **arguments)
    assert (len(with_atoms), len(without)) == (4, 3)
    for one, other in zip(with_atoms[:3], without, strict=True):
        np.testing.assert_array_equal(one, other)


def test_unsigned_coefficients_are_absolute_values():
    signed, unsigned = _codes(True), _codes(False)
    assert (signed < -0.1).any()
    np.testing.assert_allclose(unsigned, np.abs(signed), atol=1e-10)


def test_coefficients_are_signed_by_default():
    X, *_ = make_sparse_dictionary(40, **DICTIONARY)
    explicit, *_ = make_sparse_dictionary(40, signed=True, **DICTIONARY)
    unsigned, *_ = make_sparse_dictionary(40, signed=False, **DICTIONARY)
    np.testing.assert_array_equal(X, explicit)
    assert not np.allclose(X, unsigned)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"n_active": 21}, ValueError, "n_active=21 atoms cannot be drawn from n_atoms=20"),
        ({"n_active": (2, 30)}, ValueError, "n_active=30 atoms cannot be drawn"),
        ({"n_active": 6, "n_features": 5}, ValueError, "n_active=6 needs at least 6 features"),
        ({"n_active": 0}, ValueError, "n_active must be at least 1"),
        ({"n_active": True}, TypeError, "n_active must be an int"),
        ({"n_active": ()}, ValueError, "n_active is empty"),
        ({"n_active": 2.0}, TypeError, "n_active must be a sequence of int"),
        ({"n_atoms": 0}, ValueError, "n_atoms must be at least 1"),
    ],
)
def test_bad_arguments(arguments, error, match):
    with pytest.raises(error, match=match):
        make_sparse_dictionary(10, **arguments)
