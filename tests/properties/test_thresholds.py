"""Rules for every threshold rule, on any posterior."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from strategies import LAYOUTS, SEEDS

from skvaeense.nets.thresholds import Contribution, FixedVariance, Latents, Otsu, ThresholdRule

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)
SCALES = st.integers(-30, 30).map(lambda exponent: 2.0**exponent)
DTYPES = st.sampled_from([np.float32, np.float64])


@st.composite
def latents(draw):
    """Return a random posterior: variances from nearly 0 to 1, and codes of any size."""
    shape, dtype = draw(SHAPES), draw(DTYPES)
    layout = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))]
    rng = np.random.default_rng(draw(SEEDS))
    log_variance = -rng.exponential(draw(st.sampled_from([0.0, 1e-6, 1.0, 30.0, 1e37])), shape)
    code = draw(SCALES) * rng.standard_normal(shape) * (rng.random(shape) < 0.8)
    return Latents(
        log_variance=layout(log_variance.astype(dtype)),
        code=layout(code.astype(dtype)),
        code_scale=draw(SCALES) * rng.random(shape[1]),
        noise_variance=draw(SCALES),
    )


def of_columns(given_latents, columns):
    return given_latents._replace(
        log_variance=given_latents.log_variance[:, columns],
        code=given_latents.code[:, columns],
        code_scale=given_latents.code_scale[columns],
    )


@given(found=latents(), name=st.sampled_from(sorted(ThresholdRule.aliases)), seed=SEEDS)
def test_rows_and_latents_come_in_any_order(found, name, seed):
    before = found.log_variance.copy(), found.code.copy()
    active = ThresholdRule.aliases[name]().active(found)
    assert_array_equal((found.log_variance, found.code), before)
    assert active.dtype == bool
    assert active.shape == found.code.shape
    rng = np.random.default_rng(seed)
    columns = rng.permutation(active.shape[1])
    if name != "otsu":  # Otsu's sums over a row are rounded differently in another order.
        assert_array_equal(
            ThresholdRule.aliases[name]().active(of_columns(found, columns)), active[:, columns]
        )
    rows = rng.permutation(len(active))[: rng.integers(1, len(active) + 1)]
    some = found._replace(log_variance=found.log_variance[rows], code=found.code[rows])
    assert_array_equal(ThresholdRule.aliases[name]().active(some), active[rows])


@given(found=latents(), levels=st.tuples(st.floats(1e-9, 0.999), st.floats(1e-9, 0.999)))
def test_more_latents_are_active_under_a_higher_variance(found, levels):
    low, high = (FixedVariance(level).active(found) for level in sorted(levels))
    assert not (low & ~high).any()


@given(found=latents(), levels=st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), factor=SCALES)
def test_contribution_falls_with_its_level_and_has_no_unit(found, levels, factor):
    low, high = (Contribution(level).active(found) for level in sorted(levels))
    assert not (high & ~low).any()
    scaled = found._replace(
        code_scale=factor * found.code_scale, noise_variance=factor**2 * found.noise_variance
    )
    assert_array_equal(Contribution(max(levels)).active(scaled), high)


@given(found=latents(), factor=st.integers(-30, 0).map(lambda exponent: 2.0**exponent))
def test_otsu_splits_rows_that_are_not_constant(found, factor):
    active, values = Otsu().active(found), found.log_variance
    differs = np.ptp(values, axis=1) > 0
    assert_array_equal(active.any(axis=1), differs)
    assert not active.all(axis=1).any()
    least_inactive = np.where(active, np.inf, values).min(axis=1)
    assert (np.where(active, values, -np.inf).max(axis=1) <= least_inactive).all()
    assert_array_equal(Otsu().active(found._replace(log_variance=factor * values)), active)
