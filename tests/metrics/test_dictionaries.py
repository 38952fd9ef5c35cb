"""Similarity of dictionaries."""

import numpy as np
import pytest

from skvaeense.metrics import mean_max_cosine_similarity

RNG = np.random.default_rng(0)
N = 600
SIGNED = [False, True]


@pytest.fixture
def dictionaries():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 5)), rng.normal(size=(11, 5))


def _brute_force(true, learned, signed):
    """Return the mean of the largest similarities, one pair of atoms at a time."""
    best = []
    for a in true:
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in learned]
        best.append(max(cosines if signed else map(abs, cosines)))
    return np.mean(best)


def test_by_hand():
    true = [[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]]
    learned = [[-1.0, 0.0], [3.0, 3.0]]
    diagonal = np.sqrt(0.5)
    expected = (1.0 + diagonal + 7 * diagonal / 5) / 3
    assert mean_max_cosine_similarity(true, learned) == pytest.approx(expected)
    expected = (diagonal + diagonal + 7 * diagonal / 5) / 3
    assert mean_max_cosine_similarity(true, learned, signed=True) == pytest.approx(expected)


def test_equals_brute_force(dictionaries, subtests):
    for n_learned in (1, 11):
        for signed in SIGNED:
            with subtests.test(signed=signed, n_learned=n_learned):
                true, learned = dictionaries[0], dictionaries[1][:n_learned]
                value = mean_max_cosine_similarity(true, learned, signed=signed)
                assert value == pytest.approx(_brute_force(true, learned, signed))


def test_large_dictionaries_are_compared_in_blocks(dictionaries, monkeypatch):
    value = mean_max_cosine_similarity(*dictionaries)
    monkeypatch.setattr("skvaeense.utils._rows.BLOCK_ENTRIES", 22)
    assert mean_max_cosine_similarity(*dictionaries) == pytest.approx(value)


def test_signs_matter_only_where_asked(dictionaries):
    true, learned = dictionaries
    flipped = learned * np.where(np.arange(11) % 2, -1.0, 1.0)[:, np.newaxis]
    value = mean_max_cosine_similarity(true, learned)
    assert mean_max_cosine_similarity(true, flipped) == pytest.approx(value)
    assert mean_max_cosine_similarity([[1.0, 0.0]], [[-2.0, 0.0]]) == 1.0
    assert mean_max_cosine_similarity([[1.0, 0.0]], [[-2.0, 0.0]], signed=True) == -1.0


def test_value_stays_within_its_range():
    # Without clipping, rounding takes some of these values above 1.
    for seed in range(20):
        atoms = np.random.default_rng(seed).normal(size=(1, 7))
        assert 1.0 - 1e-15 <= mean_max_cosine_similarity(atoms, 3 * atoms) <= 1.0


def test_learned_atoms_of_zero_are_like_none(dictionaries):
    true, learned = dictionaries
    zeros = np.zeros((2, 5))
    with_zeros = np.concatenate([learned, zeros])
    value = mean_max_cosine_similarity(true, learned)
    assert mean_max_cosine_similarity(true, with_zeros) == pytest.approx(value)
    assert mean_max_cosine_similarity(true, zeros) == 0.0
    # A similarity of 0 is larger than a negative one.
    opposite = [[-1.0, 0.0], [0.0, 0.0]]
    assert mean_max_cosine_similarity([[1.0, 0.0]], opposite, signed=True) == 0.0


def test_float32_and_lists(dictionaries, subtests):
    for signed in SIGNED:
        with subtests.test(signed=signed):
            true, learned = (atoms.astype(np.float32) for atoms in dictionaries)
            expected = mean_max_cosine_similarity(
                true.astype(np.float64), learned.astype(np.float64), signed=signed
            )
            assert mean_max_cosine_similarity(true, learned, signed=signed) == expected
            lists = true.tolist(), learned.tolist()
            value = mean_max_cosine_similarity(*lists, signed=np.bool_(signed))
            assert type(value) is float
            assert value == expected


def test_bad_atoms(subtests):
    for true, learned, match in (
        (np.eye(3), np.ones((3, 2)), r"same number of columns, got shapes \(3, 3\) and \(3, 2\)"),
        ([[1, 0], [0, 0]], np.eye(2), r"atoms_true has norm 0 in 1 of its 2 row\(s\): .* drop"),
        (np.eye(2), [[np.nan, 0.0]], "Input atoms_learned contains NaN"),
        ([[np.inf, 0.0]], np.eye(2), "Input atoms_true contains infinity"),
        (np.eye(2), np.zeros((0, 2)), "0 sample"),
        ([1.0, 0.0], np.eye(2), "Expected 2D array"),
    ):
        with subtests.test(match=match), pytest.raises(ValueError, match=match):
            mean_max_cosine_similarity(true, learned)
    with pytest.raises(TypeError, match="'signed' parameter"):
        mean_max_cosine_similarity(np.eye(2), np.eye(2), signed=1)
