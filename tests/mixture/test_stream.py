"""Mixtures that learn from batches come near to mixtures of all rows."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.datasets import make_linear_subspaces
from skvaeense.mixture import SubspaceMixture
from skvaeense.mixture._fit import MixtureStream
from skvaeense.mixture._rows import Prepared

X = make_linear_subspaces(3000, dims=(1, 3), n_features=8, noise=0.05, random_state=0)[0]
TRAIN, NEW = 10 + 3 * X[:2400], 10 + 3 * X[2400:]


def prepare(X, units=None, weights=None):
    return Prepared.of(X, weights, np.random.RandomState(0), units)


def begin(X):
    """Return the stream that goes on from a fit, and the units of its rows."""
    units = prepare(X).units
    density = SubspaceMixture(random_state=0).fit(X).density_
    return MixtureStream.of(density, len(X), units), units


def absorb(stream, X, size=100):
    for rows in np.array_split(X, max(len(X) // size, 1)):
        stream = stream.absorb(prepare(rows, stream.units))
    stream.check()
    stream.law().check()
    return stream


@pytest.fixture(scope="module")
def first():
    """Return a stream after 200 rows."""
    return begin(TRAIN[:200])[0]


@pytest.fixture(scope="module")
def last(first):
    """Return the stream after all rows."""
    return absorb(first, TRAIN[200:])


def test_a_stream_begins_with_the_mixture_of_the_first_batch(first):
    density = SubspaceMixture(random_state=0).fit(TRAIN[:200]).density_
    assert_allclose(first.law().log_prob(NEW), density.log_prob(NEW), rtol=1e-9, atol=1e-12)
    assert_allclose(first.totals.sum(), 200)


def test_many_batches_come_near_to_all_rows_at_once(first, last):
    whole = SubspaceMixture(2, random_state=0).fit(TRAIN)
    before, after = (stream.law().log_prob(NEW).mean() for stream in (first, last))
    assert before < whole.score(NEW) - 0.1
    assert after > whole.score(NEW) - 0.01
    assert last.totals.sum() == pytest.approx(2400, rel=0.01)
    order, same = whole.ranks_.argsort(), last.ranks.argsort()
    assert_array_equal(last.ranks[same], whole.ranks_[order])
    parts = last.parts()
    for one, other in zip(order, same, strict=True):
        part = parts[other]
        assert part.weight == pytest.approx(whole.weights_[one], abs=0.01)
        assert_allclose(part.mean, whole.means_[one], atol=0.05)
        assert part.noise_variance == pytest.approx(whole.noise_variances_[one], rel=0.03)
        assert_allclose(part.basis @ part.basis.T, np.eye(part.rank), atol=1e-9)
        assert_allclose(np.linalg.svd(part.basis @ whole.bases_[one].T)[1], 1, atol=1e-3)


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_the_size_of_batches_hardly_matters(first, last, size):
    n = 100 if size == 1 else 2200
    found = absorb(first, TRAIN[200 : 200 + n], size)
    expected = last if n == 2200 else absorb(first, TRAIN[200:300])
    score = expected.law().log_prob(NEW).mean()
    assert found.law().log_prob(NEW).mean() == pytest.approx(score, abs=0.05)


def test_whole_weights_are_copies(first):
    rows, weights = TRAIN[200:300], np.arange(100) % 3 + 1.0
    once = first.absorb(prepare(rows, first.units, weights))
    copies = first.absorb(prepare(np.repeat(rows, weights.astype(int), axis=0), first.units))
    for name in ("totals", "means", "covariances", "rests"):
        assert_allclose(getattr(once, name), getattr(copies, name), rtol=1e-7, atol=1e-10)


def test_a_far_row_of_a_later_batch_is_left_out(first):
    rows = TRAIN[200:300].copy()
    rows[5] = 1e5
    found = first.absorb(prepare(rows, first.units))
    expected = first.absorb(prepare(np.delete(rows, 5, axis=0), first.units))
    assert_allclose(found.law().log_prob(NEW), expected.law().log_prob(NEW), rtol=1e-9)


def test_batches_may_have_holes(first, last):
    holes = TRAIN[200:].copy()
    holes[np.random.default_rng(0).random(holes.shape) < 0.1] = np.nan
    found = absorb(first, holes)
    before, whole = (stream.law().log_prob(NEW).mean() for stream in (first, last))
    assert found.law().log_prob(NEW).mean() == pytest.approx(whole, abs=0.1)
    assert found.law().log_prob(NEW).mean() > before


def test_a_batch_of_one_component_leaves_the_others_as_they_were(first):
    part = first.law().log_joint(TRAIN[200:]).argmax(axis=1)
    rows = TRAIN[200:][part == 0][:100]
    found = first.absorb(prepare(rows, first.units))
    assert found.totals[0] == pytest.approx(first.totals[0] + 100, abs=1)
    assert_allclose(found.means[1], first.means[1], atol=1e-3)
    assert_allclose(found.covariances[1], first.covariances[1], atol=1e-3)


def test_slow_changes_are_followed(first, monkeypatch):
    """Sums over many rows fade."""
    monkeypatch.setattr("skvaeense.mixture._fit.MANY_ROWS", 500)
    stream, shift = first, 0.0
    for i in range(60):
        shift = 0.01 * i
        rows = TRAIN[(200 + 100 * i) % 2300 :][:100] + shift
        stream = stream.absorb(prepare(rows, stream.units))
    assert stream.totals.sum() < 601
    moved = NEW + shift
    assert stream.law().log_prob(moved).mean() > first.law().log_prob(moved).mean() + 1


def test_damaged_streams_do_not_pass(first):
    for changes in (
        {"totals": first.totals[:1]},
        {"totals": 0 * first.totals},
        {"n_rows": -first.n_rows},
        {"means": first.means * np.nan},
        {"covariances": first.covariances[:, :1]},
        {"ranks": first.ranks + 100},
        {"ranks": first.ranks + 0.5},
        {"units": prepare(TRAIN[:50, :3]).units},
    ):
        with pytest.raises(ValueError, match=r"must|rows"):
            replace(first, **changes).check()
