"""Hulls of flat parts, and where they meet."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvaeense.datasets import make_linear_subspaces
from skvaeense.explanations._em import Wanted
from skvaeense.explanations._explain import explain
from skvaeense.explanations._flats import meeting_point, pooled
from skvaeense.mixture._fit import FlatPart
from skvaeense.mixture._rows import Prepared


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
        assert_allclose(found, point, atol=1e-6)


def test_subspaces_meet_where_they_do_and_not_in_the_mean():
    X, *_ = make_linear_subspaces(1000, dims=(2, 4, 8), noise=0.02, random_state=0)
    explained = explain(Prepared.of(X + 7.0, None, np.random.RandomState(0)), Wanted())
    assert explained.name == "mixture"
    assert_allclose(explained.coder.points, np.full((1, X.shape[1]), 7.0), atol=0.01)


def test_hulls_without_an_outside_meet_in_their_mean():
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    parts = [_part([0, 0, 0], AXES[:3]), _part([1, 0, 0], turn)]
    found, meet = meeting_point(parts, 1000)
    assert meet
    assert_allclose(found, [0.5, 0, 0], atol=1e-12)


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
    assert_allclose(one.mean, rows.mean(axis=0), atol=0.02)
    covariance = one.basis.T * one.variances @ one.basis
    assert_allclose(covariance, np.cov(rows.T), atol=0.02)
    assert pooled(parts[:1]) is parts[0]
