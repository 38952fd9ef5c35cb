"""Planted feature absorption."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skvaeense.language import feature_absorption

N, D, SPECIAL = 3000, 30, 12


def planted(share, seed=0, part=1.0):
    """Return codes, atoms, samples and labels, with a special latent in a share of the label.

    Samples have directions for the label, for the special features and for others. The latents of
    the special features contain a part of the label, and the label's own latent has the rest.
    """
    rng = np.random.default_rng(seed)
    label = rng.uniform(size=N) < 0.3
    which = rng.integers(SPECIAL, size=(N, 1)) == np.arange(SPECIAL)
    special = which & (label & (rng.uniform(size=N) < share))[:, None]
    others = np.where(rng.uniform(size=(N, 6)) < 0.2, rng.uniform(1, 2, (N, 6)), 0)
    basis = np.linalg.qr(rng.standard_normal((D, D)))[0]
    own, special_atoms, other_atoms = basis[:1], basis[1 : 1 + SPECIAL], basis[1 + SPECIAL :][:6]
    X = np.outer(label, own) + special @ special_atoms + others @ other_atoms
    X += 0.02 * rng.standard_normal(X.shape)
    atoms = np.vstack([own, special_atoms + part * own, other_atoms])
    codes = np.column_stack([label - part * special.any(axis=1), special, others])
    return codes, atoms, X, np.where(label, "label", "none")


def test_the_planted_share_is_found(subtests):
    for share, kind in ((0.1, np.asarray), (0.3, sparse.csr_array)):
        with subtests.test(share=share):
            codes, *others = planted(share)
            result = feature_absorption(kind(codes), *others)
            assert_array_equal(result.classes, ["label", "none"])
            assert_array_equal(result.latents[0], [0])
            assert_allclose(result.full_absorption[0], share, atol=0.03)
            assert_allclose(result.absorption[0], share, atol=0.04)
            assert result.n_samples[0] > 300


def test_a_part_is_no_full_absorption():
    true = feature_absorption(*planted(0.3, part=0.0))
    assert true.full_absorption[0] == 0
    assert true.absorption[0] < 0.05
    result = feature_absorption(*planted(0.3, part=0.5))
    assert result.full_absorption[0] == 0
    assert_allclose(result.absorption[0], 0.15, atol=0.03)


def test_a_label_that_is_split_has_both_latents():
    codes, atoms, X, y = planted(0.4)
    first = (np.arange(N) % 2 == 0) & (y == "label")
    codes[:, 0], codes[:, 1] = first, (y == "label") & ~first
    atoms[1] = atoms[0]
    result = feature_absorption(codes, atoms, X, y)
    assert sorted(result.latents[0]) == [0, 1]
    assert result.full_absorption[0] == 0


def test_a_small_contribution_is_no_full_absorption():
    codes, atoms, X, y = planted(0.3)
    full = []
    for part in (0.15, 0.5):
        atoms[1 : 1 + SPECIAL] = part * atoms[0]
        full.append(feature_absorption(codes, atoms, X, y).full_absorption[0])
    assert_allclose(full, [0.0, 0.3], atol=0.03)


def test_atoms_across_the_direction_of_the_label_absorb_nothing():
    codes, atoms, X, y = planted(0.3)
    # A direction in which samples hardly vary.
    across = np.linalg.svd(X - X.mean(axis=0))[2][-1]
    absorption = []
    for size in (20, 80):
        atoms[1 : 1 + SPECIAL] = atoms[0] + size * across
        absorption.append(feature_absorption(codes, atoms, X, y).absorption[0])
    assert_allclose(absorption, [0.3, 0.0], atol=0.05)


def test_a_latent_that_gains_little_is_none_of_the_label():
    codes, atoms, X, y = planted(0.0)
    of_label = np.flatnonzero(y == "label")
    codes[:, 1] = 0.0
    codes[of_label[::20], :2] = [0.0, 1.0]
    assert_array_equal(feature_absorption(codes, atoms, X, y).latents[0], [0])
    codes[of_label[::4], :2] = [0.0, 1.0]
    assert_array_equal(feature_absorption(codes, atoms, X, y).latents[0], [0, 1])


def test_a_label_that_is_never_recognised_has_no_shares():
    X = np.random.default_rng(3).standard_normal((40, 3))
    result = feature_absorption(np.abs(X), np.eye(3), X, np.arange(40) < 4)
    assert_array_equal(result.n_samples > 0, [True, False])
    for shares in (result.absorption, result.full_absorption):
        assert_array_equal(np.isnan(shares), [False, True])


def test_bad_input():
    codes, atoms, X, y = planted(0.25)
    with pytest.raises(ValueError, match=r"atoms must have shape \(19, 30\)"):
        feature_absorption(codes, atoms[:-1], X, y)
    with pytest.raises(ValueError, match="At least two classes"):
        feature_absorption(codes, atoms, X, np.zeros(N))
    with pytest.raises(ValueError, match="inconsistent numbers"):
        feature_absorption(codes, atoms, X[:-1], y)
