import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from skvaeense.dimension._local import LocalGeometry, _measure_rests, _rank, _variances


def gaussian(n_samples, dimension, n_features, seed=0):
    random_state = np.random.default_rng(seed)
    basis = np.linalg.qr(random_state.standard_normal((n_features, dimension)))[0]
    return random_state.standard_normal((n_samples, dimension)) @ basis.T


def sphere(n_samples, dimension, n_features, seed=0):
    X = gaussian(n_samples, dimension + 1, n_features, seed)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize("dimension", [1, 10])
def test_flat(dimension):
    X = gaussian(1000, dimension, 12)
    geometry = LocalGeometry(X[:800], None, n_neighbors=150)
    answers = geometry.at(X[800:], None)
    assert (answers.dimension == dimension).mean() > 0.98
    assert answers.ratio.mean() == pytest.approx(dimension, rel=0.1)
    assert (answers.alike == 1).all()


def test_sphere():
    """The rank of a pool can be the dimension of the space around a sphere."""
    for dimension, n_features, n_neighbors in ((2, 6, 100), (4, 12, 400)):
        X = sphere(700, dimension, n_features)
        answers = LocalGeometry(X[:600], None, n_neighbors=n_neighbors).at(X[600:], None)
        assert (answers.dimension == dimension).mean() > 0.9


def test_noise_is_seen_through_at_larger_scales():
    X = gaussian(1800, 2, 30)
    X += 0.008 * np.random.default_rng(1).standard_normal(X.shape)
    active = np.ones((1800, 1), dtype=bool)
    answers = LocalGeometry(X[:1600], active[:1600], n_neighbors=120).at(X[1600:], active[1600:])
    assert answers.ratio.mean() > 3
    assert np.median(answers.dimension) == 2
    # The reasons show this.
    assert answers.reasons["noise"].mean() > 0.5


def test_distances_that_are_noise_are_not_believed():
    X = gaussian(1800, 2, 30)
    X += 0.026 * np.random.default_rng(1).standard_normal(X.shape)
    active = np.ones((1800, 1), dtype=bool)
    # With active latents, noise may have been removed before, so pools cannot measure it.
    blind, warned, told = (
        LocalGeometry(X[:1600], own, n_neighbors=120, noise_variance=noise).at(
            X[1600:], None if own is None else active[1600:]
        )
        for own, noise in ((active[:1600], 0.0), (active[:1600], 0.026**2), (None, 0.0))
    )
    assert blind.ratio.mean() > 5
    for answers in (warned, told):
        assert (answers.dimension == 2).mean() > 0.98
        assert answers.ratio.max() <= 2
        # Such distances also do not make the dimension unsure.
        assert answers.reasons["noise"].max() == 0
    assert blind.reasons["noise"].min() > 1


def test_no_rank_above_distances_that_noise_makes_too_large():
    """Neighbours on a circle are closer than the noise level."""
    X = np.pad(sphere(300, 1, 2), [(0, 0), (0, 8)])
    geometry = LocalGeometry(X, None, n_neighbors=150, noise_variance=1e-3)
    assert not geometry._clear.any()
    assert (geometry.at(X, None).dimension == 1).mean() > 0.95


def test_few_neighbours_that_are_alike_say_so_at_the_smallest_scale():
    """A plane of 30 samples crosses a cube."""
    cube, plane = gaussian(800, 3, 6, seed=0), gaussian(30, 2, 6, seed=1)
    X = np.vstack([cube, plane])[np.random.default_rng(0).permutation(830)]
    on_plane = np.abs(X @ np.linalg.svd(cube)[2][3:].T).max(axis=1) > 1e-6
    active = np.column_stack([~on_plane, on_plane])
    said = LocalGeometry(X, active, n_neighbors=200).at(X[on_plane], active[on_plane])
    assert np.isnan(said.ratio).mean() > 0.5
    assert np.isfinite(said.dimension).mean() > 0.9


def test_nothing_stands_above_the_noise():
    X = np.random.default_rng(0).standard_normal((400, 10))
    geometry = LocalGeometry(X, None, n_neighbors=100, noise_variance=1.0)
    assert geometry.hidden > 0.9
    around = geometry.at(X, None)
    assert around.hidden.mean() > 0.9
    # The dimension is the same as without noise, and its error shows that it is unsure.
    blind = LocalGeometry(X, None, n_neighbors=100)
    np.testing.assert_allclose(around.dimension, blind.at(X, None).dimension, atol=1)
    assert blind.hidden == 0


def test_only_samples_with_similar_active_latents_are_asked():
    """The samples are a plane, and a line that crosses it."""
    plane, line = gaussian(800, 2, 6, seed=0), gaussian(800, 1, 6, seed=1)
    order = np.random.default_rng(0).permutation(1600)
    X = np.vstack([plane, line])[order]
    on_plane = np.repeat([True, False], 800)[order]
    active = np.column_stack([on_plane, on_plane, ~on_plane])
    near = LocalGeometry(X, active, n_neighbors=200).at(X, active)
    assert (near.dimension == np.where(on_plane, 2, 1)).mean() > 0.99
    assert near.alike.mean() < 0.9
    blind = LocalGeometry(X, None, n_neighbors=200).at(X, None)
    # Without latents, flats separate the plane from the line.
    assert (blind.dimension == np.where(on_plane, 2, 1)).mean() > 0.98


@pytest.mark.parametrize(("dimension", "away"), [(2, 4), (7, 3)])
def test_a_solid_part_beside_a_thinner_one(dimension, away):
    """No flat in the space fits the solid part, and flats of the other part may pass through it.

    In many dimensions the nearest neighbours are far, and some belong to the other part.
    """
    rng = np.random.default_rng(0)
    solid = rng.uniform(-1, 1, (1200, dimension))
    circle = np.pad(sphere(1200, 1, 2), [(0, 0), (0, dimension - 2)])
    circle[:, 0] += away
    order = rng.permutation(2400)
    X, solid = np.vstack([solid, circle])[order], order < 1200
    answers = LocalGeometry(X[:2000], None, n_neighbors=333).at(X[2000:], None)
    assert (answers.dimension == np.where(solid, dimension, 1)[2000:]).mean() > 0.97


def test_flats_hold_their_samples():
    X = np.vstack([gaussian(900, 3, 8), 0.5 * np.random.default_rng(1).standard_normal((600, 8))])
    order = np.random.default_rng(0).permutation(1500)
    X, on_flat = X[order], order < 900
    geometry = LocalGeometry(X[:1300], None, n_neighbors=200)
    answers = geometry.at(X[1300:], None)
    assert (answers.dimension == 3)[on_flat[1300:]].mean() > 0.9
    assert answers.held[on_flat[1300:]].mean() > 0.9
    assert (answers.dimension > 4)[~on_flat[1300:]].mean() > 0.9
    # Flats do not hold points that are far from the samples that they stand for.
    assert not geometry.at(X[1300:], None, np.ones(200)).held.any()


def test_no_answer_where_nobody_is_alike():
    X = gaussian(500, 2, 4)
    active = np.zeros((500, 3), dtype=bool)
    active[:, :2] = True
    geometry = LocalGeometry(X, active, n_neighbors=50)
    answers = geometry.at(X[:5], ~active[:5])
    assert np.isnan(answers.ratio).all()
    assert (answers.alike == 0).all()


def test_rank_of_few_points():
    """Sample variances of equal directions differ if samples are few, but all directions count."""
    random_state = np.random.default_rng(0)

    def rank(points, *noise):
        return _rank(_variances(points), len(points), *noise)

    assert [rank(random_state.standard_normal((60, 20)))[0] for _ in range(5)] == [20] * 5
    flat = np.column_stack([random_state.standard_normal((400, 3)), np.zeros((400, 2))])
    flat[:, 3] = 0.2 * random_state.standard_normal(400)
    assert rank(flat) == (3, np.inf)
    assert rank(np.ones((10, 4)))[0] == 0
    assert rank(random_state.standard_normal((5, 30)))[0] <= 4
    # The fourth direction is flat, but above the noise, and no other direction is.
    assert rank(flat, 0.01, 5) == (3, 4)


def test_small_pools_answer_at_small_scales():
    X = np.vstack([gaussian(150, 2, 10, seed) for seed in range(6)])
    active = np.repeat(np.eye(6, dtype=bool), 150, axis=0)
    order = np.random.default_rng(0).permutation(900)
    X, active = X[order], active[order]
    geometry = LocalGeometry(X[:800], active[:800], n_neighbors=70)
    answers = geometry.at(X[800:], active[800:])
    assert geometry.over_scales(X[800:], active[800:])[0].tolist() == [4, 16]
    assert np.isfinite(answers.ratio).mean() > 0.9
    assert (answers.dimension == 2).mean() > 0.9


def test_a_spiral_is_no_disc():
    """At larger scales distances give more dimensions, since other turns come into view."""
    turn = 20 * np.pi * np.sqrt(np.random.default_rng(0).random(2500))
    X = np.pad(np.column_stack([turn * np.cos(turn), turn * np.sin(turn)]), [(0, 0), (0, 8)])
    assert (LocalGeometry(X, None, n_neighbors=400).at(X, None).dimension == 1).mean() > 0.95


def test_a_thin_slab_is_no_plane():
    """A thin slab that fills the space lies beside a line."""
    rng = np.random.default_rng(0)
    slab = rng.uniform(-1, 1, (2000, 3)) * (1, 1, 0.05)
    line = rng.uniform(-1, 1, (1000, 1)) + np.array([0, 0, 5])
    X = np.vstack([slab, line])[rng.permutation(3000)]
    own = X[:, 2] < 2.5
    answers = LocalGeometry(X, None, n_neighbors=200).at(X, None).dimension
    assert (answers[own] == 3).mean() > 0.85
    assert (answers[~own] == 1).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("width", "low", "high"), [(0.0, 2.0, 6.0), (0.02, -0.7, 0.7)])
@pytest.mark.parametrize("n_features", [5, 40])
def test_the_rest_of_a_curved_surface_shows_a_thin_direction(width, low, high, n_features):
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (1000, 3)) * [1, 1, width]
    X = np.cos(z @ rng.standard_normal((3, n_features)) + rng.uniform(0, 6, n_features))
    evidence = LocalGeometry(X, None, n_neighbors=100).at(X[:100], None).evidence
    assert (evidence.rank == 2).all()
    assert low < np.median(evidence.rest) < high


def test_no_rest_without_further_directions_or_with_few_members():
    points, members = np.random.default_rng(0).standard_normal((40, 3)), [np.arange(40)] * 3

    def measured(rank, n=40):
        return _measure_rests(points[:n], points[:n], [own[:n] for own in members], rank)

    assert (measured(np.full(3, 3))[0] == np.inf).all()
    # A single direction off the surface is always full.
    growths, evenness = measured(np.full(3, 2))
    assert np.isfinite(growths[0])
    assert np.isnan(evenness).all()
    assert np.isnan(measured(np.full(3, 2), 23)).all()


@pytest.mark.parametrize(("width", "low", "high"), [(0.0, 0.9, 1.0), (0.1, 0.2, 0.5)])
def test_noise_off_a_curved_surface_is_even_without_a_thin_direction(width, low, high):
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (600, 3)) * [1, 1, width]
    clean = (
        np.hstack([z, np.square(z[:, :2]), np.zeros((600, 8))])
        @ np.linalg.qr(rng.standard_normal((13, 13)))[0]
    )
    noisy = clean + 0.02 * rng.standard_normal(clean.shape)
    members = NearestNeighbors(n_neighbors=24).fit(noisy).kneighbors(noisy[:200])[1]
    evenness = _measure_rests(noisy, noisy, list(members), np.full(200, 2))[1]
    assert np.isnan(evenness[101:]).all()
    assert low < np.median(evenness[:100]) <= high


def test_a_little_noise_does_not_hide_that_rank_and_distances_agree():
    rng = np.random.default_rng(0)

    def flat(dimension):
        basis = np.linalg.qr(rng.standard_normal((12, dimension)))[0]
        return rng.uniform(-1, 1, (3000, dimension)) @ basis.T

    # The thin part shows how much noise there may be. In the thick part, distances are clearly
    # larger, but noise still adds one dimension at the smallest scale.
    X = np.vstack([flat(2), flat(7) + 3]) + 0.07 * rng.standard_normal((6000, 12))
    order = rng.permutation(6000)
    around = LocalGeometry(X[order], None, n_neighbors=512).at(X[3000:3500], None)
    assert np.median(around.ratio) > 7.5
    assert np.mean(around.dimension == 7) > 0.9


def test_beside_copies_of_one_reference_a_sample_is_as_far_as_elsewhere():
    """Pools of copies have no radius."""
    X = gaussian(400, 2, 4)
    copies = np.repeat(X[:1] + 10.0, 100, axis=0)
    geometry = LocalGeometry(np.concatenate([X, copies]), None, n_neighbors=60)
    moved = copies[:1] + np.array([[0.0], [0.01], [1e6]])
    near, beside, far = geometry.at(moved, None).excess
    assert near == beside == 0
    assert 1e4 < far < 1e8
