import numpy as np
import pytest

from skvaeense.dimension._flats import Flat, Flats


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


def test_members_of_another_manifold_do_not_belong(plane_and_line):
    plane, line = plane_and_line
    flat = Flat(pool(plane, plane[0]))
    assert flat.rank == 2
    assert flat.fits
    assert flat.belongs(plane).all()
    far = line[np.abs(line[:, 3]) > 0.5]
    assert not flat.belongs(far).any()


def test_curvature_is_allowed_for():
    rng = np.random.default_rng(0)
    sphere = rng.standard_normal((2000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    members = pool(sphere, sphere[0])[:300]
    flat = Flat(members)
    assert flat.rank == 2
    assert flat.belongs(members).mean() > 0.95


def test_where_noise_turns_the_flat_all_belong(plane_and_line):
    plane, _ = plane_and_line
    noisy = plane + np.random.default_rng(1).standard_normal(plane.shape)
    flat = Flat(pool(noisy, noisy[0]))
    assert not flat.fits
    assert flat.belongs(noisy).mean() > 0.95


def test_members_next_to_the_centre_are_held():
    """An arc does not pass through the mean of its samples."""
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 800)
    arc = np.column_stack([np.cos(angles), np.sin(angles)])
    flats = [Flat(pool(arc, point)) for point in arc]
    held = Flats(flats, np.arange(800)[:, None]).hold(arc, np.arange(800)[:, None])
    assert held.mean() > 0.99


def test_no_flat_holds_what_is_farther_than_its_members():
    """The tangents of a circle extend far beyond it, and pass near samples of other manifolds."""
    circle = np.column_stack([f(np.linspace(0, 2 * np.pi, 800)) for f in (np.cos, np.sin)])
    flats = Flats([Flat(pool(circle, circle[0])[:100])], np.array([[0]]))
    along = np.array([[1, 0.2], [1, 5]])
    assert flats.hold(along, np.zeros((2, 1), dtype=int)).ravel().tolist() == [True, False]
    assert not flats.bar(along, np.zeros((2, 1), dtype=int)).any()


def test_few_members_all_belong():
    points = np.random.default_rng(0).standard_normal((30, 4))
    flat = Flat(points)
    assert not flat.fits
    assert flat.belongs(np.vstack([points, flat.centre])).all()
    assert Flat(np.ones((60, 3))).rank == 0


def test_flats_hold_and_bar_samples(plane_and_line):
    plane, line = plane_and_line
    line = line[np.abs(line[:, 3]) > 0.2]
    noise = np.random.default_rng(1).standard_normal(plane.shape)
    near = np.array([[0, 1, 2]] * 3)
    flats = Flats([Flat(pool(p, p[0])) for p in (noise, plane, line)], near)
    assert flats.fit.tolist() == [False, True, True]
    points = np.vstack([plane[:5], line[:5], 10 * plane[:5], noise[:5]])
    held = flats.hold(points, np.tile([0, 1, 2], (20, 1)))
    assert (held[:5] == [False, True, False]).all()
    assert (held[5:10] == [False, False, True]).all()
    assert flats.hold(points[:0], np.zeros((0, 3), dtype=int)).shape == (0, 3)
    # Flats that do not fit exclude no sample.
    barred = flats.bar(points, np.tile([0, 1, 2], (20, 1)))
    assert (barred[:5] == [False, False, True]).all()
    assert (barred[5:10] == [False, True, False]).all()
    few = Flats([Flat(pool(p, p[0])) for p in (noise, noise, plane)], near)
    assert not few.hold(points, np.tile([0, 1, 2], (20, 1))).any()


def test_flats_count_where_most_of_those_nearby_fit(plane_and_line):
    plane, _ = plane_and_line
    noise = np.random.default_rng(1).standard_normal(plane.shape)
    pools = [pool(p, p[0]) for p in (noise, noise, noise, plane, plane)]
    near = np.array([[0, 1, 2]] * 3 + [[3, 4, 0], [4, 0, 1]])
    flats = Flats([Flat(points) for points in pools], near)
    assert flats.fit.tolist() == [False, False, False, True, False]
