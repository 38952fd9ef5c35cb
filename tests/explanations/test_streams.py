"""Laws that learn from batches come near to laws of all rows."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.explanations import GateLaw
from skvaeense.explanations._em import Wanted
from skvaeense.explanations._explain import CodeStream, explain
from skvaeense.explanations._gate_fits import GateStream
from skvaeense.mixture._rows import Prepared

N_TRAIN = 2000


def _noisy(X, size=0.05):
    return X + size * np.random.default_rng(0).standard_normal(X.shape)


def _plane(rng=0):
    rng = np.random.default_rng(rng)
    return rng.standard_normal((2500, 2)) @ rng.standard_normal((2, 6))


KINDS = {
    "union": lambda: _noisy(make_linear_subspaces(2500, dims=(1, 3), random_state=0)[0]),
    "apart": lambda: _noisy(
        make_linear_subspaces(2500, dims=(1, 3), n_features=8, offset_scale=3.0, random_state=0)[0]
    ),
    "one flat": lambda: _noisy(_plane(), 0.2),
    "dictionary": lambda: make_sparse_dictionary(
        2500, n_atoms=12, n_active=2, n_features=10, noise=0.05, random_state=1
    )[0],
}
LENGTH, SHARE = {"n_components": 12, "length": 2.0}, {"n_components": 12, "share": 0.8}
NAMES = {"union": "mixture", "apart": "mixture", "one flat": "normal", "dictionary": "gates"}


def prepare(X, units=None):
    return Prepared.of(X, None, np.random.RandomState(0), units)


@cache
def begun(kind, n, **wanted):
    """Return all samples, the laws of the first ones, and the stream that goes on from them."""
    X, wanted = 5 * KINDS[kind]() + 7, Wanted(**wanted)
    rows = prepare(X[:n])
    found = explain(rows, wanted)
    return X, found, CodeStream.of(found, rows.units, wanted)


@cache
def streamed(kind, n=400, size=200, **wanted):
    """Return the laws of the first samples, after all batches, and of all samples at once."""
    X, first, stream = begun(kind, n, **wanted)
    last = first
    for rows in np.array_split(X[n:N_TRAIN], (N_TRAIN - n) // size):
        stream, last = stream.absorb(prepare(rows, stream.mixture.units), last)
    stream.check()
    whole = explain(prepare(X[:N_TRAIN]), Wanted(**wanted))
    return X[N_TRAIN:], first, last, whole


def codes_of(found, X):
    codes = found.coder.encode(X)
    return np.asarray(codes.values), np.asarray(codes.active)


def left_by(found, X):
    residual = X - found.coder.decode(codes_of(found, X)[0])
    return np.square(residual).sum() / np.square(X - X.mean(axis=0)).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_many_batches_come_near_to_all_rows_at_once(kind):
    new, first, last, whole = streamed(kind)
    assert first.name == last.name == whole.name == NAMES[kind]
    before, after, best = (found.density.log_prob(new).mean() for found in (first, last, whole))
    assert after > before + 0.25 * (best - before)
    assert after == pytest.approx(best, abs=0.1)
    assert left_by(last, new) < 1.05 * left_by(whole, new)
    length, expected = (codes_of(found, new)[1].sum(axis=1).mean() for found in (last, whole))
    assert length == pytest.approx(expected, rel=0.02)
    assert last.coder.noise_variance == pytest.approx(whole.coder.noise_variance, rel=0.05)
    assert last.mixture is not first.mixture
    assert (last.density is last.coder) == (kind == "dictionary")


@pytest.mark.parametrize("kind", KINDS)
def test_latents_stay_the_same_ones(kind):
    new, first, last, _ = streamed(kind)
    assert last.coder.n_components == first.coder.n_components
    before, after = (codes_of(found, new)[1] for found in (first, last))
    assert (before == after).mean() > 0.98
    one, other = (found.coder.components for found in (first, last))
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1)
    cosines = cosines / np.linalg.norm(other, axis=1)
    assert (cosines > 0.99).all()


def test_locations_stay_the_same_ones():
    new, first, last, _ = streamed("apart")
    assert_array_equal(last.coder.owners, first.coder.owners)
    assert_array_equal(last.coder.points, first.coder.points)
    assert (last.coder.assign(new) == first.coder.assign(new)).mean() > 0.99


@pytest.mark.parametrize("wanted", [LENGTH, SHARE], ids=["length", "share"])
def test_targets_are_kept(wanted):
    new, first, last, _ = streamed("dictionary", **wanted)
    assert first.name == last.name == ("length" if "length" in wanted else "share")
    if "length" in wanted:
        assert codes_of(last, new)[1].sum(axis=1).mean() == pytest.approx(2, rel=0.08)
        assert left_by(last, new) < left_by(first, new) + 0.01
    else:
        assert left_by(last, new) == pytest.approx(0.2, abs=0.04)
    # Shorter codes have prices after each batch.
    table = last.coder.table
    assert table.longest == pytest.approx(codes_of(last, new)[1].sum(axis=1).mean(), rel=0.3)


def test_a_batch_moves_little_and_the_order_of_rows_not_at_all():
    X, first, stream = begun("union", 400)
    rows = X[400:500]
    one = stream.absorb(prepare(rows, stream.mixture.units), first)[1]
    other = stream.absorb(prepare(rows[::-1], stream.mixture.units), first)[1]
    assert_allclose(one.coder.components, other.coder.components, atol=1e-9)
    before, after = (codes_of(found, X[N_TRAIN:])[0] for found in (first, one))
    assert 0 < np.abs(after - before).mean() < 0.1


def test_spare_latents_stay_closed():
    new, first, last, _ = streamed("one flat", n_components=4)
    assert first.name == "normal"
    assert_array_equal(first.coder.parts, last.coder.parts)
    assert codes_of(last, new)[1].any(axis=0).tolist() == [True, True, False, False]
    assert np.abs(last.coder.components - first.coder.components).max() > 0


def test_batches_leave_the_stream_before_as_it_was():
    X, first, stream = begun("dictionary", 400)
    past = {name: value.clone() for name, value in stream.coder.past.items()}
    rows = prepare(X[400:500], stream.mixture.units)
    one, other = (stream.absorb(rows, first)[1] for _ in range(2))
    assert_array_equal(one.coder.components, other.coder.components)
    for name, value in past.items():
        assert torch.equal(stream.coder.past[name], value)


def test_a_far_row_of_a_batch_changes_nothing():
    for kind in ("union", "dictionary"):
        X, first, stream = begun(kind, 400)
        rows = X[400:500].copy()
        rows[3] = 1e6
        found = stream.absorb(prepare(rows, stream.mixture.units), first)[1]
        rows = np.delete(rows, 3, axis=0)
        expected = stream.absorb(prepare(rows, stream.mixture.units), first)[1]
        size = np.linalg.norm(expected.coder.components)
        assert np.linalg.norm(found.coder.components - expected.coder.components) < 1e-3 * size


def test_damaged_streams_do_not_pass():
    stream = begun("dictionary", 400)[2]
    stream.coder.check()
    past = stream.coder.past
    for changes in (
        {"n": past["n"] * 0},
        {"codes": past["codes"][1:]},
        {"error": past["n"] * np.nan},
    ):
        with pytest.raises(ValueError, match=r"must|rows"):
            replace(stream.coder, past=past | changes).check()
    with pytest.raises(ValueError, match="the sums must be"):
        replace(stream.coder, past={"n": past["n"]}).check()
    with pytest.raises(ValueError, match="coder must be of shape"):
        replace(stream, coder=begun("union", 400)[2].coder).check()
    assert isinstance(stream.coder, GateStream)
    assert isinstance(stream.coder.law, GateLaw)
