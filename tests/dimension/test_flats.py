import numpy as np
import pytest

from skvaeense.dimension._local import Flats


def pool(points, centre):
    """Return points in the order of their distance to one of them."""
    return points[np.argsort(np.linalg.norm(points - centre, axis=1))]


@pytest.fixture(scope="module")
def plane_and_line():
    """Return samples of a plane in R^6, and points of a line through it, at most a unit away."""
    rng = np.random.default_rng(0)
    plane = np.pad(rng.uniform(-1, 1, (300, 2)), [(0, 0), (0, 4)])
    line = np.pad(rng.uniform(-1, 1, (100, 1)), [(0, 0), (3, 2)])
    line[:, 0] = 0.3
    return plane, line


def test_which_points_belong_to_a_flat(plane_and_line):
    plane, line = plane_and_line
    rng = np.random.default_rng(0)
    sphere = rng.standard_normal((2000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    near, few = pool(sphere, sphere[0])[:300], rng.standard_normal((30, 4))
    noisy = plane + np.random.default_rng(1).standard_normal(plane.shape)
    of_plane, of_noise = Flats([pool(plane, plane[0])]), Flats([pool(noisy, noisy[0])])
    assert (of_plane.ranks.tolist(), of_plane.fit.tolist()) == ([2], [True])
    assert of_plane.belong(0, plane).all()
    assert not of_plane.belong(0, line[np.abs(line[:, 3]) > 0.5]).any()
    # Curvature is allowed for, and where noise turns the flat, all belong.
    of_sphere = Flats([near])
    assert of_sphere.ranks.tolist() == [2]
    assert of_sphere.belong(0, near).mean() > 0.95
    assert not of_noise.fit.any()
    assert of_noise.belong(0, noisy).mean() > 0.95
    # So do all of a few.
    of_few = Flats([few])
    assert not of_few.fit.any()
    assert of_few.belong(0, np.vstack([few, few[:24].mean(axis=0)])).all()
    assert Flats([np.ones((60, 3))]).ranks.tolist() == [0]


def test_flats_hold_points_next_to_the_centre_and_none_beyond_their_members():
    """An arc does not pass through the mean of its samples, and its tangents extend far."""
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    arc = np.column_stack([np.cos(angles), np.sin(angles)])
    itself = np.arange(400)[:, None]
    assert Flats([pool(arc, point) for point in arc]).hold(arc, itself).mean() > 0.99
    flats = Flats([pool(arc, np.array([1.0, 0.0]))[:50]])
    along = np.array([[1, 0.2], [1, 5]])
    assert flats.hold(along, np.zeros((2, 1), dtype=int)).ravel().tolist() == [True, False]
    assert not flats.bar(along, np.zeros((2, 1), dtype=int)).any()


def test_flats_hold_and_bar_samples(plane_and_line):
    plane, line = plane_and_line
    line = line[np.abs(line[:, 3]) > 0.2]
    noise = np.random.default_rng(1).standard_normal(plane.shape)
    flats = Flats([pool(p, p[0]) for p in (noise, plane, line)])
    flats.settle(np.array([[0, 1, 2]] * 3))
    assert flats.fit.tolist() == [False, True, True]
    points, asked = np.vstack([plane[:5], line[:5], noise[:5]]), np.tile([0, 1, 2], (15, 1))
    held, barred = flats.hold(points, asked), flats.bar(points, asked)
    assert (held[:5] == [False, True, False]).all()
    assert (held[5:10] == [False, False, True]).all()
    assert flats.hold(points[:0], asked[:0]).shape == (0, 3)
    # Flats that do not fit exclude no sample.
    assert (barred[:5] == [False, False, True]).all()
    assert (barred[5:10] == [False, True, False]).all()


def test_flats_count_where_most_of_those_nearby_fit(plane_and_line):
    plane, _ = plane_and_line
    noise = np.random.default_rng(1).standard_normal(plane.shape)
    flats = Flats([pool(p, p[0]) for p in (noise, noise, noise, plane, plane)])
    assert flats.fit.tolist() == [False, False, False, True, True]
    flats.settle(np.array([[0, 1, 2]] * 3 + [[3, 4, 0], [4, 0, 1]]))
    assert flats.fit.tolist() == [False, False, False, True, False]
