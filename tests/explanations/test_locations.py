"""Locations: points around which groups of flat parts lie."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.special import logsumexp

from benchmarks.generators.mlp_manifolds import make_mlp_manifolds
from skvaeense.datasets import (
    make_affine_subspaces,
    make_linear_subspaces,
    make_sparse_dictionary,
    make_spheres,
)
from skvaeense.explanations._explain import explain
from skvaeense.explanations._locations import Locations, by_group, meeting_point, pooled
from skvaeense.mixture._fit import FlatPart


def _locations(X, max_latents=128):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return explain(X, max_latents).locations


def _affine(offset, noise=0.0, n_samples=3000, seed=0):
    X, manifold, _ = make_affine_subspaces(
        n_samples, dims=(1, 3, 5), offset_scale=offset / np.sqrt(40), random_state=seed
    )
    X += noise * np.sqrt(3 / 40) * np.random.default_rng(0).standard_normal(X.shape)
    return X, manifold


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("offset", [1, 3, 30])
def test_affine_subspaces_have_a_location_each(offset, noise):
    X, manifold = _affine(offset, noise)
    locations = _locations(X)
    assert len(locations) == 3
    labels = locations.assign(X)
    agreeing = sum(np.bincount(manifold[labels == i]).max() for i in range(3))
    assert agreeing > 0.99 * len(X)
    # Each location lies in the subspace of its part.
    for i in range(3):
        own = X[manifold == np.bincount(manifold[labels == i]).argmax()]
        mean = own.mean(axis=0)
        away = locations.points[i] - mean
        assert np.linalg.norm(away) < 0.1 * np.sqrt(np.square(own - mean).sum(axis=1).mean())


@cache
def _through_one_point():
    linear = {
        f"subspaces {dims}": make_linear_subspaces(
            2500, dims=dims, n_features=d, noise=noise, random_state=0
        )[0]
        for dims, d, noise in [((4, 4, 4), 40, 0.0), ((2, 4, 8), 40, 0.05), ((3,) * 5, 10, 0.0)]
    }
    return linear | {
        "dictionary": make_sparse_dictionary(2500, random_state=0)[0],
        "positive dictionary": make_sparse_dictionary(2500, signed=False, random_state=0)[0],
        "normal": make_linear_subspaces(2500, dims=(20,), n_features=20, random_state=0)[0],
        "spheres": make_spheres(2500, random_state=0)[0],
        "zero": np.zeros((50, 3)),
        "one row": np.ones((1, 3)),
        "small": np.random.default_rng(0).standard_normal((30, 60)),
    }


@pytest.mark.parametrize("name", _through_one_point())
def test_what_meets_has_one_location(name):
    assert _locations(_through_one_point()[name]) is None


@pytest.mark.parametrize(("seed", "max_latents"), [(0, 128), (3, 256)])
def test_no_curved_manifold_is_cut_in_two(seed, max_latents):
    """The manifolds lie apart, so each may have a location, with nearly all of its rows."""
    X, manifold, _ = make_mlp_manifolds(2500, random_state=seed)
    locations = _locations(X, max_latents)
    if locations is not None:
        pairs = np.c_[locations.assign(X), manifold]
        n = np.unique(pairs, axis=0, return_counts=True)[1]
        assert (n > 0.02 * len(X)).sum() == 3


def test_a_point_that_is_not_the_mean_is_where_subspaces_meet():
    X, *_ = make_linear_subspaces(2500, dims=(2, 4, 8), noise=0.02, random_state=0)
    explained = explain(X + 7.0, 128)
    assert (explained.coder, explained.locations) == ("mixture", None)
    point, meet = meeting_point(explained.mixture.parts, len(X))
    assert meet
    np.testing.assert_allclose(point, 7.0, atol=0.01)


def test_a_few_points_over_and_over_give_finite_locations():
    X = np.repeat(np.eye(4), 60, axis=0)[:, :2]
    locations = _locations(X)
    if locations is not None:
        assert np.isfinite(locations.points).all()
        assert set(locations.assign(X)) <= set(range(len(locations)))


def test_location_of_sparse_codes_is_where_none_is_active():
    parts = [
        make_sparse_dictionary(2000, n_atoms=12, n_active=2, signed=False, random_state=seed)[0]
        + 5 * np.eye(40)[seed]
        for seed in range(2)
    ]
    X = np.concatenate(parts)
    order = np.random.default_rng(0).permutation(len(X))
    points = sorted(_locations(X[order]).points.tolist(), reverse=True)
    np.testing.assert_allclose(points, 5 * np.eye(40)[:2], atol=0.05)


def test_far_rows_are_no_location():
    X, *_ = make_linear_subspaces(2000, dims=(2, 4), n_features=20, random_state=0)
    rng = np.random.default_rng(0)
    X[:20] = 20 * np.sqrt(3) * rng.standard_normal((20, 20)) / np.sqrt(20)
    assert _locations(rng.permutation(X)) is None


@pytest.mark.parametrize("n_rows", [9, 20, 30])
def test_few_rows_have_a_location_where_they_show_their_hull(n_rows):
    X, *_ = make_linear_subspaces(1500, dims=(4,), n_features=20, random_state=0)
    few, *_ = make_linear_subspaces(n_rows, dims=(8,), n_features=20, random_state=1)
    rows = np.concatenate([X, few + 5 * np.eye(20)[0]])
    locations = _locations(np.random.default_rng(0).permutation(rows))
    assert (1 if locations is None else len(locations)) == 1 + (n_rows > 10)


def test_locations_are_the_same_for_the_same_samples():
    X, *_ = make_affine_subspaces(1000, dims=(1, 3), n_features=20, random_state=0)
    one, other = (_locations(X) for _ in range(2))
    np.testing.assert_array_equal(one.points, other.points)
    assert len(one) == 2


def test_locations_go_along_with_units():
    X, _ = _affine(3, 0.02, 1000)
    locations, moved = _locations(X), _locations(1000 * X + 7)
    np.testing.assert_allclose(moved.points, 1000 * locations.points + 7, rtol=1e-9)
    np.testing.assert_array_equal(moved.assign(1000 * X + 7), locations.assign(X))


def test_rows_are_assigned_to_the_most_probable_group():
    """The most probable component may be in another group."""
    X, _ = _affine(3, 0.02, 1000)
    density = _locations(X).density
    shifted = density.center + 0.1 * np.arange(len(density))[:, None]
    for groups in (np.array([0, 1, 2]), np.array([0, 1, 0]), np.array([1, 1, 0])):
        locations = Locations(shifted[: groups.max() + 1], groups, density)
        joint = np.exp(density.log_joint(X) - logsumexp(density.log_joint(X), axis=1)[:, None])
        sums = np.stack([joint[:, groups == g].sum(axis=1) for g in range(len(locations))], axis=1)
        np.testing.assert_array_equal(locations.assign(X), sums.argmax(axis=1))
        np.testing.assert_allclose(
            np.exp(locations.log_shares), np.bincount(groups, density.weights), rtol=1e-12
        )
    joint = np.log([[0.4, 0.3, 0.3]])
    assert by_group(joint, np.array([0, 1, 1])).argmax() == 1


def test_damaged_locations_do_not_pass(subtests):
    locations = _locations(_affine(3, n_samples=1000)[0])
    locations.check(40)
    for changes, message in (
        ({"points": np.zeros((3, 5))}, "features each"),
        ({"points": np.full((3, 40), np.inf)}, "must be finite"),
        ({"groups": np.array([0, 1])}, "of each component"),
        ({"groups": np.array([0.0, 1.0, 2.0])}, "of each component"),
        ({"groups": np.array([0, 1, 1])}, "at least two locations"),
        ({"groups": np.array([0, 1, 3])}, "at least two locations"),
        ({"points": np.zeros((1, 40)), "groups": np.zeros(3, int)}, "at least two locations"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            replace(locations, **changes).check(40)


# --- hulls ---------------------------------------------------------------------------------------


def _part(mean, basis, variances=1.0, noise=1e-4, weight=0.5):
    basis = np.atleast_2d(np.asarray(basis, dtype=float))
    variances = np.broadcast_to(variances, len(basis)).astype(float)
    return FlatPart(weight, np.asarray(mean, dtype=float), basis, variances, noise)


AXES = np.eye(3)


@pytest.mark.parametrize(
    ("parts", "point"),
    [
        # Two lines in a plane.
        ([_part([0, 0, 0], AXES[:1]), _part([1, 0, 0], AXES[1:2])], [1, 0, 0]),
        # Skew lines.
        ([_part([0, 0, 0], AXES[:1]), _part([0, 0, 1], AXES[1:2])], None),
        # The point where the lines meet is farther away than their rows.
        ([_part([0, 0, 0], AXES[:1]), _part([9, 0, 0], AXES[1:2])], None),
        # A line and a plane.
        ([_part([0, 0, 0], AXES[:2]), _part([0.5, 0.5, 1], AXES[2:])], [0.5, 0.5, 0]),
        # Two points.
        ([_part([0, 0, 0], AXES[:0]), _part([0, 0, 1], AXES[:0])], None),
    ],
    ids=["crossing", "skew", "far", "plane", "points"],
)
def test_hulls_meet_in_a_point(parts, point):
    found, meet = meeting_point(parts, 1000)
    assert meet == (point is not None)
    if meet:
        np.testing.assert_allclose(found, point, atol=1e-6)


def test_hulls_without_an_outside_meet_in_their_mean():
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    parts = [_part([0, 0, 0], AXES[:3]), _part([1, 0, 0], turn)]
    found, meet = meeting_point(parts, 1000)
    assert meet
    np.testing.assert_allclose(found, [0.5, 0, 0], atol=1e-12)


def test_hulls_that_miss_by_what_few_rows_leave_unknown_meet():
    parts = [_part([0, 0, 0], AXES[:1], noise=0.01), _part([0, 0, 0.03], AXES[1:2], noise=0.01)]
    assert meeting_point(parts, 50)[1]
    assert not meeting_point(parts, 5000)[1]


def test_pooled_parts_hold_all_rows_of_theirs():
    rng = np.random.default_rng(0)
    parts = [_part([1, 0, 0], AXES[:1], 4.0, weight=0.2), _part([0, 0, 0], AXES[1:2], weight=0.6)]
    one = pooled(parts)
    assert one.weight == pytest.approx(0.8)
    rows = np.concatenate(
        [
            part.mean + rng.normal(size=(n, 1)) * np.sqrt(part.variances) @ part.basis
            for part, n in zip(parts, (100_000, 300_000), strict=True)
        ]
    )
    np.testing.assert_allclose(one.mean, rows.mean(axis=0), atol=0.02)
    covariance = one.basis.T * one.variances @ one.basis
    np.testing.assert_allclose(covariance, np.cov(rows.T), atol=0.02)
    assert pooled(parts[:1]) is parts[0]
