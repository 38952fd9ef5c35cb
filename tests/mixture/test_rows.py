"""Rows made ready: rows far from all others, copies, steps, holes, and units of their own."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.datasets import make_linear_subspaces
from skvaeense.mixture import _rows
from skvaeense.mixture._rows import Prepared, Reach, warn_of_far

X = make_linear_subspaces(400, dims=(1, 2), n_features=6, noise=0.05, random_state=0)[0]


def prepare(X, weights=None, seed=0, units=None):
    return Prepared.of(X, weights, np.random.RandomState(seed), units)


def reach_of(X, weights=None):
    weights = np.ones(len(X)) if weights is None else weights
    return Reach.of(X, weights, np.median(X, axis=0))


def with_row(size, row=7):
    """Return the rows, one of which is moved along a direction."""
    moved = X.copy()
    moved[row] = size * np.array([0.6, 0.0, -0.8, 0.0, 0.0, 0.0])
    return moved


# --- rows far from all others -----------------------------------------------------------------


def test_a_row_that_moves_outwards_loses_its_weight_step_by_step():
    sizes = np.geomspace(1, 1e4, 400)
    shares = np.array([reach_of(rows).shares(rows)[7] for rows in map(with_row, sizes)])
    assert shares[0] == 1
    assert shares[-1] == 0
    assert (np.diff(shares) <= 1e-12).all()
    # Steps of 2 % change a fourth power by 9 %; a row is left out where it hardly counts.
    ratios = shares[1:] / np.where(shares[:-1] > 0, shares[:-1], 1.0)
    assert (ratios[shares[1:] > 0] > 0.9).all()
    assert shares[shares > 0].min() < 1.1 * Reach.LEAST


def test_a_row_outside_holds_no_more_than_a_row_at_the_edge():
    for size in np.geomspace(5, 40, 20):
        rows = with_row(size)
        reach = reach_of(rows)
        squares = np.square(rows - reach.center).sum(axis=1)
        assert (reach.shares(rows) * squares <= reach.radius**2 * (1 + 1e-6)).all()


@pytest.mark.parametrize("n_far", [0, 1, 7, 19])
def test_rows_inside_hold_what_some_rows_at_the_edge_would(n_far):
    """These rows are 5 % of all, less those that are outside."""
    rows = X.copy()
    rows[:n_far] = 1e3 * np.random.default_rng(0).standard_normal((n_far, 6))
    reach = reach_of(rows)
    squares = np.square(rows - reach.center).sum(axis=1)
    inside = squares <= reach.radius**2
    assert inside.sum() == 400 - n_far
    assert reach.radius**2 * (20 - n_far) == pytest.approx(squares[inside].sum())
    assert (reach.shares(rows)[inside] == 1).all()


@pytest.mark.parametrize("exponent", [2, 4, 10, 50, 100, 150, 300])
def test_one_row_however_far_is_left_out(exponent):
    near, rows = prepare(np.delete(X, 7, axis=0)), prepare(with_row(10.0**exponent))
    assert_array_equal(rows.far, [7])
    assert_allclose(rows.center, near.center, atol=0.05)
    assert rows.scale == pytest.approx(near.scale, rel=0.02)
    assert_allclose(np.sort(rows.known, axis=0), np.sort(near.known, axis=0), atol=0.1)


@pytest.mark.parametrize(("share", "is_left_out"), [(0.03, True), (0.06, False), (0.2, False)])
@pytest.mark.parametrize("size", [1e2, 1e6])
def test_rows_that_are_many_are_a_part_of_the_data(share, is_left_out, size):
    n = round(share * len(X))
    rows = X.copy()
    rows[:n] = size * np.random.default_rng(0).standard_normal((n, 6))
    found = prepare(rows)
    assert_array_equal(found.far, np.arange(n) if is_left_out else [])
    assert len(found.known) == len(X) - n * is_left_out
    shares = reach_of(rows).shares(rows)
    assert (shares[n:] == 1).all()
    assert (shares[:n] == 0).all() if is_left_out else (shares[:n] > 0.3).all()


def test_far_rows_count_by_their_weights():
    rows, weights = with_row(1e3), np.ones(len(X))
    weights[7] = 10
    assert_array_equal(prepare(rows, weights).far, [7])
    # With this weight, the row is more than 5 % of all.
    weights[7] = 30
    assert len(prepare(rows, weights).far) == 0
    # A row of no weight is not looked at.
    weights[7] = 0
    assert len(prepare(rows, weights).far) == 0


@pytest.mark.parametrize("rows", [np.zeros((50, 3)), np.eye(50)[:, :1], X[:1], X[:2]])
def test_nothing_tells_how_far_rows_are_if_most_are_equal(rows):
    assert len(prepare(rows).far) == 0


def test_holes_take_no_row_farther_away():
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.3, np.nan, with_row(1e6))
    holes[7, 0] = 1e6
    assert_array_equal(prepare(holes).far, [7])


@pytest.mark.parametrize("factor", [1e-140, 1e-6, 1e6, 1e140])
def test_what_is_far_does_not_depend_on_units(factor):
    moved = with_row(1e3) + np.arange(6.0)
    one, other = prepare(moved), prepare(factor * moved)
    assert_array_equal(one.far, other.far)
    assert other.scale == pytest.approx(factor * one.scale)
    assert other.units.reach.radius == pytest.approx(factor * one.units.reach.radius)
    assert_allclose(other.known, one.known, atol=1e-9)


def test_later_rows_are_judged_by_the_first_ones():
    first = prepare(X)
    assert len(first.far) == 0
    later = prepare(with_row(1e3), units=first.units)
    assert_array_equal(later.far, [7])
    assert later.units is first.units
    assert_allclose(later.weights, 1)


def test_far_rows_are_named_in_a_warning():
    with pytest.warns(UserWarning, match=r"^2 of 50 samples are far .*: rows 3, 7 of it\. score"):
        warn_of_far(np.array([3, 7]), 50, " of it")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_far(np.array([], dtype=int), 50, 1)


# --- copies, and an order of their own ----------------------------------------------------------


@pytest.mark.parametrize(("size", "is_same"), [(1e-10, True), (1e-7, False)])
def test_near_copies_are_one_row(size, is_same):
    near = X * (1 + size * np.random.default_rng(0).uniform(0.5, 1, X.shape))
    rows = prepare(np.concatenate([X, near[:100]]) - X.mean(axis=0))
    assert len(rows.known) == (400 if is_same else 500)
    assert sorted(set(rows.weights.round(9))) == ([1, 2] if is_same else [1])
    assert rows.weights.sum() == pytest.approx(500)


def test_copies_are_weights_in_any_order():
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 4, len(X))
    repeated = rng.permutation(np.repeat(X, weights, axis=0))
    once, each = prepare(X, weights.astype(float)), prepare(repeated)
    assert_allclose(each.known, once.known, atol=1e-12)
    assert_allclose(each.weights, once.weights)
    assert_array_equal(each.order, once.order)
    assert each.units.size == pytest.approx(once.units.size)


def test_no_more_rows_than_some_and_their_head(monkeypatch):
    monkeypatch.setattr(_rows, "MOST_ROWS", 300)
    rows = prepare(X)
    assert rows.known.shape == (300, 6)
    given = {tuple(row) for row in X.round(9)}
    assert {tuple(row) for row in (rows.known * rows.scale + rows.center).round(9)} <= given
    monkeypatch.setattr(_rows, "MANY_ROWS", 100)
    head = rows.head()
    assert head.known.shape == (100, 6)
    assert_array_equal(head.known[head.order], rows.known[rows.order[:100]])
    assert_array_equal(head.weights[head.order], rows.weights[rows.order[:100]])
    assert head.head() is head


def test_rows_are_held_out_once():
    rows = prepare(X)
    is_out = np.zeros(len(X), dtype=bool)
    is_out[rows.valid] = True
    assert_array_equal(rows.is_train, ~is_out)
    assert 0 < is_out.sum() < 0.3 * len(X)
    assert_array_equal(rows.valid, rows.order[: len(rows.valid)])
    few = prepare(X[:5])
    assert len(few.valid) == few.is_train.sum() == 5


# --- steps and holes ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [1.0, 0.1, 1e-3])
def test_steps_are_found_in_the_precision_of_the_rows(dtype, step):
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, 400)
    rows = np.c_[X[:, :2], 7 + step * counts, step * rng.integers(2, size=400)].astype(dtype)
    found = prepare(rows)
    assert_allclose(found.steps * found.scale, [0, 0, step, step], rtol=1e-3)


def test_holes_are_filled_once_and_known_values_stay():
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)
    rows = prepare(holes)
    assert rows.has_holes
    assert rows.x is rows.x
    is_known = ~np.isnan(rows.known)
    assert_allclose(rows.x[is_known], rows.known[is_known], rtol=1e-14)
    assert np.isfinite(rows.x).all()
    whole = prepare(X)
    assert not whole.has_holes
    assert whole.x is whole.known


def test_damaged_units_do_not_pass():
    units = prepare(X).units
    units.check()
    for changes in (
        {"center": units.center * np.nan},
        {"scale": 0.0},
        {"steps": units.steps[:5]},
        {"steps": units.steps - 1},
        {"size": -1.0},
        {"reach": Reach(np.zeros(5), 1.0)},
    ):
        with pytest.raises(ValueError, match="must be"):
            replace(units, **changes).check()
    for damaged in (Reach(np.full(6, np.inf), 1.0), Reach(np.zeros(6), 0.0)):
        with pytest.raises(ValueError, match="must be"):
            damaged.check()
