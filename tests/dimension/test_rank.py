import numpy as np
import pytest

from skvaeense.dimension._rank import clear_rank, residual_rank


def frame(n_features, dimension, rng):
    return np.linalg.qr(rng.standard_normal((n_features, dimension)))[0]


def principal(points):
    points = points - points.mean(axis=0)
    turned, scales, _ = np.linalg.svd(points, full_matrices=False)
    return turned * scales


def nearest_first(points):
    return points[np.argsort(np.linalg.norm(points - points[0], axis=1))]


def test_thin_directions_of_a_flat_count(subtests):
    for ratio in (1, 100):
        with subtests.test(ratio=ratio):
            rng = np.random.default_rng(0)
            box = rng.uniform(-1, 1, (240, 4)) * np.geomspace(1, 1 / ratio, 4)
            assert residual_rank(principal(box), 20) == (4, True)
            assert clear_rank(nearest_first(box @ frame(20, 4, rng).T), 20) == 4


@pytest.mark.parametrize("dimension", [1, 2])
def test_curvature_does_not_count(dimension):
    rng = np.random.default_rng(0)
    flat = rng.uniform(-0.2, 0.2, (240, dimension))
    bent = np.hstack([flat, np.sqrt(1 - np.square(flat).sum(axis=1, keepdims=True))])
    assert residual_rank(principal(bent), 9)[0] == dimension
    assert clear_rank(nearest_first(bent @ frame(9, dimension + 1, rng).T), 9) in (0, dimension)


def test_thin_directions_of_a_bent_box_count():
    rng = np.random.default_rng(2)
    box = rng.uniform(-0.5, 0.5, (240, 3)) * np.geomspace(1, 1 / 20, 3)
    bent = np.hstack([box, np.cos(0.5 * box @ rng.standard_normal((3, 10)))])
    assert clear_rank(nearest_first(bent), 13) == 3


def test_what_noise_or_few_points_hide_is_not_clear():
    rng = np.random.default_rng(0)
    plane = rng.uniform(-1, 1, (240, 2)) @ frame(10, 2, rng).T
    assert clear_rank(nearest_first(plane), 10) == 2
    noisy = plane + 0.05 * rng.standard_normal(plane.shape)
    assert clear_rank(nearest_first(noisy), 10) == 0
    assert clear_rank(nearest_first(plane)[:9], 10) == 0
    # A full rank leaves no other directions to compare with.
    assert clear_rank(nearest_first(rng.uniform(-1, 1, (240, 3))), 3) == 0
    assert clear_rank(np.ones((100, 3)), 3) == 0


def test_the_nearest_members_must_say_the_same():
    rng = np.random.default_rng(0)
    line = np.outer(rng.uniform(-0.1, 0.1, 80), [1.0, 0, 0])
    cube = rng.uniform(-1, 1, (160, 3))
    mixed = np.vstack([line, cube[np.linalg.norm(cube, axis=1) > 0.2]]) @ frame(8, 3, rng).T
    assert clear_rank(nearest_first(mixed), 8) == 0


def test_clear_ranks_need_no_singular_values(monkeypatch):
    """Singular values do not converge for all samples, such as those of some network layers."""

    def fail(*_, **__):
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", fail)
    rng = np.random.default_rng(0)
    for n_features in (20, 300):
        box = rng.uniform(-1, 1, (240, 3)) * [1, 0.3, 0.1]
        assert clear_rank(nearest_first(box @ frame(n_features, 3, rng).T), n_features) == 3
