import numpy as np
import pytest

from benchmarks.generators.swiss_rolls import make_swiss_rolls


def test_one_roll_in_three_dimensions_is_the_textbook_roll():
    X, manifold, dimension = make_swiss_rolls(2_000, random_state=0)
    angle = np.hypot(X[:, 0], X[:, 2])
    assert angle.min() >= 1.5 * np.pi
    assert angle.max() <= 4.5 * np.pi
    assert angle.mean() == pytest.approx(3 * np.pi, rel=0.03)
    np.testing.assert_allclose(X[:, 0], angle * np.cos(angle), atol=1e-10)
    np.testing.assert_allclose(X[:, 2], angle * np.sin(angle), atol=1e-10)
    assert X[:, 1].min() >= 0
    assert X[:, 1].max() <= 21
    assert set(manifold) == {0}
    assert set(dimension) == {2}


def test_roll_unrolls_to_a_flat_rectangle():
    X, _, _ = make_swiss_rolls(3_000, random_state=0)
    angle = np.hypot(X[:, 0], X[:, 2])
    arc_length = (angle * np.sqrt(1 + angle**2) + np.arcsinh(angle)) / 2
    flat = np.stack([arc_length, X[:, 1]], axis=1)
    near_pairs = 0
    for i in range(200):
        flat_distance = np.linalg.norm(flat - flat[i], axis=1)
        near = (flat_distance > 0) & (flat_distance < 1.0)
        distance = np.linalg.norm(X[near] - X[i], axis=1)
        np.testing.assert_allclose(distance, flat_distance[near], rtol=5e-3)
        near_pairs += near.sum()
    assert near_pairs > 100


def test_more_features_hold_the_same_roll_in_a_subspace():
    X, _, _ = make_swiss_rolls(40_000, n_features=12, random_state=0)
    roll, _, _ = make_swiss_rolls(40_000, random_state=1)
    assert np.linalg.matrix_rank(X) == 3
    # An isometry keeps the principal variances. It also keeps lengths, since the roll has no
    # offset.
    np.testing.assert_allclose(
        np.linalg.eigvalsh(np.cov(X.T))[-3:], np.linalg.eigvalsh(np.cov(roll.T)), rtol=0.03
    )
    quantiles = np.linspace(0, 1, 11)
    np.testing.assert_allclose(
        np.quantile(np.linalg.norm(X, axis=1), quantiles),
        np.quantile(np.linalg.norm(roll, axis=1), quantiles),
        rtol=0.02,
    )


def test_rolls_differ_in_subspace_and_offset():
    X, manifold, _ = make_swiss_rolls(
        900, n_rolls=3, n_features=20, offset_scale=50.0, random_state=0
    )
    parts = [X[manifold == label] for label in range(3)]
    centred = [part - part.mean(axis=0) for part in parts]
    assert [np.linalg.matrix_rank(part) for part in centred] == [3, 3, 3]
    assert np.linalg.matrix_rank(np.concatenate(centred)) == 9


def test_offset_scale_is_the_standard_deviation_of_a_coordinate():
    X, manifold, _ = make_swiss_rolls(
        8_000, n_rolls=200, n_features=30, offset_scale=500.0, random_state=0
    )
    centres = [X[manifold == label].mean(axis=0) for label in range(200)]
    # A roll adds at most its radius of 15 or its height of 21 to a coordinate of its centre.
    assert np.std(centres) == pytest.approx(500, rel=0.03)


def test_rolls_in_three_dimensions_are_translated_copies():
    X, manifold, _ = make_swiss_rolls(2_000, n_rolls=2, offset_scale=100.0, random_state=0)
    for label in range(2):
        heights = X[manifold == label, 1]
        assert np.ptp(heights) == pytest.approx(21, rel=0.01)
