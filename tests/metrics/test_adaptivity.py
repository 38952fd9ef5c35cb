from itertools import combinations

import numpy as np
import pytest
from scipy import sparse

from skvaeense.metrics import pattern_adaptivity


def _brute_force(mask):
    """Return the mean Jaccard distance over all pairs, computed with Python sets."""
    supports = [set(np.flatnonzero(row)) for row in mask]
    distances = [
        1 - len(a & b) / len(a | b) if a | b else 0.0 for a, b in combinations(supports, 2)
    ]
    return np.mean(distances)


def _random_mask(n_samples, n_components, density=0.2):
    return np.random.default_rng(0).uniform(size=(n_samples, n_components)) < density


def test_fixed_pattern_is_zero(subtests):
    for n_active in (0, 5):
        with subtests.test(n_active=n_active):
            mask = np.zeros((1_000, 12), dtype=bool)
            mask[:, :n_active] = True
            assert pattern_adaptivity(mask) == 0.0


def test_two_disjoint_groups(subtests):
    for n_per_group in (1, 5, 100_000):
        with subtests.test(n_per_group=n_per_group):
            mask = np.zeros((2 * n_per_group, 6), dtype=bool)
            mask[:n_per_group, :3] = True
            mask[n_per_group:, 3:] = True
            # The probability that two different samples are in different groups.
            expected = n_per_group / (2 * n_per_group - 1)
            assert pattern_adaptivity(mask) == pytest.approx(expected)


def test_known_overlap():
    assert pattern_adaptivity([[1, 1, 0, 0], [0, 1, 1, 0]]) == pytest.approx(2 / 3)
    assert pattern_adaptivity([[1, 1, 1, 1], [0, 1, 1, 0]]) == pytest.approx(1 / 2)


def test_empty_supports():
    assert pattern_adaptivity([[0, 0], [0, 0]]) == 0.0
    assert pattern_adaptivity([[0, 0], [0, 1]]) == 1.0
    assert pattern_adaptivity(np.eye(20)) == 1.0
    assert pattern_adaptivity([[0, 0], [0, 0], [0, 1]]) == pytest.approx(2 / 3)


def test_equals_brute_force(subtests):
    for n_components, density in ((1, 0.3), (8, 0.02), (9, 0.3), (70, 0.3)):
        with subtests.test(n_components=n_components, density=density):
            mask = _random_mask(60, n_components, density)
            assert pattern_adaptivity(mask) == pytest.approx(_brute_force(mask))


def _by_products(mask):
    """Return the mean Jaccard distance over all pairs, computed by products of whole masks."""
    shared = mask.astype(float) @ mask.T
    sizes = mask.sum(axis=1)
    union = sizes[:, np.newaxis] + sizes - shared
    distance = 1 - shared / np.maximum(union, 1)
    np.fill_diagonal(distance, 0)
    return distance.sum() / (len(mask) * (len(mask) - 1))


def test_masks_of_several_blocks(monkeypatch):
    """Neither the patterns nor their distances fit into one block of memory."""
    monkeypatch.setattr("skvaeense.utils._rows.BLOCK_ENTRIES", 2**12)
    mask = _random_mask(300, 90)
    exact = _by_products(mask)
    assert pattern_adaptivity(mask) == pytest.approx(exact)
    value = pattern_adaptivity(mask, max_pairs=20_000, random_state=0)
    assert value == pytest.approx(exact, abs=4 * 0.5 / np.sqrt(20_000))


def test_random_pairs_are_unbiased_and_reproducible():
    mask = _random_mask(30, 12)
    exact = _brute_force(mask)
    values = [pattern_adaptivity(mask, max_pairs=100, random_state=seed) for seed in range(200)]
    standard_error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - exact) < 4 * standard_error
    assert np.std(values) < 0.5 / np.sqrt(100)
    assert len(set(values)) > 1
    assert values[3] == pattern_adaptivity(mask, max_pairs=100, random_state=3)


def test_random_pairs_meet_every_pair_alike():
    # Adjacent samples differ little, and other pairs differ completely.
    mask = [[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 1, 0]]
    values = [pattern_adaptivity(mask, max_pairs=5, random_state=seed) for seed in range(500)]
    assert np.mean(values) == pytest.approx(_brute_force(mask), abs=4 * 0.5 / np.sqrt(5 * 500))


def test_exact_where_pairs_of_patterns_suffice(subtests):
    for max_pairs in (1, 14, 15, 16):
        with subtests.test(max_pairs=max_pairs):
            mask = np.repeat(np.tri(6), 3, axis=0)
            values = {
                pattern_adaptivity(mask, max_pairs=max_pairs, random_state=s) for s in range(10)
            }
            if max_pairs < 15:
                assert len(values) > 1
            else:
                assert list(values) == [pytest.approx(_brute_force(mask))]


def test_sparse_codes_and_signs(subtests):
    for container, max_pairs in (
        (sparse.csr_array, 500),
        (sparse.csr_matrix, 1_000_000),
        (sparse.coo_array, 500),
    ):
        with subtests.test(container=container, max_pairs=max_pairs):
            mask = _random_mask(60, 9)
            codes = mask * np.random.default_rng(1).normal(size=mask.shape)
            expected = pattern_adaptivity(mask, max_pairs=max_pairs, random_state=0)
            for same in (codes, codes.tolist(), container(codes), container(mask)):
                assert pattern_adaptivity(same, max_pairs=max_pairs, random_state=0) == expected


def test_bad_arguments(subtests):
    for codes, max_pairs, error, match in (
        ([[1.0, 0.0]], 10, ValueError, "minimum of 2 is required"),
        ([1.0, 0.0], 10, ValueError, "Expected 2D array"),
        ([[np.inf, 0.0], [1.0, 1.0]], 10, ValueError, "Input codes contains infinity"),
        (np.eye(3), 0, ValueError, "'max_pairs' parameter of pattern_adaptivity must be an int"),
        (np.eye(3), 10.0, TypeError, "'max_pairs' parameter"),
        (np.eye(3), True, TypeError, "'max_pairs' parameter"),
    ):
        with subtests.test(match=match), pytest.raises(error, match=match):
            pattern_adaptivity(codes, max_pairs=max_pairs)
