"""Bounds and invariances of the metrics."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from strategies import LAYOUTS, SEEDS, rotation, samples

from skvaeense import metrics

DOUBLES = samples(rows=(1, 20), dtypes=("float64",))
FACTORS = st.integers(-100, 100).map(lambda exponent: 2.0**exponent)
CODES = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.integers(0, 1),
)
OF_PAIRS = [metrics.fvu, metrics.explained_variance]


@st.composite
def pairs(draw):
    """Return samples and random reconstructions."""
    X, rng = draw(DOUBLES), np.random.default_rng(draw(SEEDS))
    size = np.abs(X).max()
    return X, X * draw(st.sampled_from([0, 0.5, 1])) + size * rng.standard_normal(X.shape)


def value_of(metric, X, restored):
    """Return a finite value, or None if the metric raises an error because X is constant."""
    try:
        value = metric(X, restored)
    except ValueError as error:
        if not str(error).startswith("X is constant over its"):
            raise
        return None
    assert isinstance(value, float)
    assert np.isfinite(value)
    return value


@pytest.mark.parametrize("metric", OF_PAIRS)
@given(pair=pairs(), seed=SEEDS, layout=st.sampled_from(sorted(LAYOUTS)), factor=FACTORS)
def test_rows_features_rotations_and_units(metric, pair, seed, layout, factor):
    """The order of rows, the axes and the layout in memory do not matter."""
    X, restored = pair
    value = value_of(metric, X, restored)
    scaled = value_of(metric, factor * X, factor * restored)
    assume(value is not None)
    assert scaled == pytest.approx(value, rel=1e-12)
    rows = np.random.default_rng(seed).permutation(len(X))
    moved = (LAYOUTS[layout](values[rows]) for values in pair)
    assert value_of(metric, *moved) == pytest.approx(value, rel=1e-9)
    # Rounding gives constant columns some variance, so more variance than that is required.
    assume(np.linalg.norm(X - X.mean(axis=0)) > 1e-6 * np.abs(X).max())
    turn = rotation(X.shape[1], seed)
    assert value_of(metric, X @ turn, restored @ turn) == pytest.approx(value, rel=1e-5)


@given(pair=pairs())
def test_bounds_and_perfect_reconstructions(pair):
    for metric, low, high, best in [
        (metrics.fvu, 0, np.inf, 0),
        (metrics.explained_variance, -np.inf, 1, 1),
    ]:
        value, perfect = value_of(metric, *pair), value_of(metric, pair[0], pair[0])
        assert value is None or low <= value <= high
        assert perfect is None or perfect == pytest.approx(best, abs=1e-12)


@given(codes=CODES, seed=SEEDS, layout=st.sampled_from(sorted(LAYOUTS)))
def test_sparsity(codes, seed, layout):
    """Counts of dense and sparse codes agree, in any order."""
    n, k = codes.shape
    density = (codes != 0).mean(axis=0)
    assert metrics.l0(codes) == pytest.approx(density.sum())
    assert metrics.l0(codes) == np.count_nonzero(codes) / n
    assert metrics.dead_fraction(codes) == np.mean(density == 0)
    rng = np.random.default_rng(seed)
    other = LAYOUTS[layout](codes[rng.permutation(n)][:, rng.permutation(k)])
    for metric in (metrics.l0, metrics.dead_fraction):
        assert metric(sparse.csr_array(codes)) == metric(other) == metric(codes)


@given(atoms=DOUBLES, learned=DOUBLES, seed=SEEDS, signed=st.booleans())
def test_dictionaries(atoms, learned, seed, signed):
    """The order, norms and (unless signed) signs of atoms do not matter, nor do the axes."""
    d = min(atoms.shape[1], learned.shape[1])
    atoms, learned = atoms[:, :d], learned[:, :d]
    atoms = atoms[np.linalg.norm(atoms, axis=1) > 0]
    assume(len(atoms))
    rng = np.random.default_rng(seed)

    def similarity(true, found):
        return metrics.mean_max_cosine_similarity(true, found, signed=signed)

    value = similarity(atoms, learned)
    assert (-1 if signed else 0) <= value <= 1
    assert similarity(atoms, atoms) == pytest.approx(1)
    sizes = rng.uniform(0.1, 9, len(learned)) * (1 if signed else rng.choice([-1, 1], len(learned)))
    assert similarity(atoms, (learned * sizes[:, None])[::-1]) == pytest.approx(value, abs=1e-9)
    turn = rotation(d, seed)
    assert similarity(atoms @ turn, learned @ turn) == pytest.approx(value, abs=1e-9)
    assert similarity(atoms, np.concatenate([learned, atoms])) == pytest.approx(1)
