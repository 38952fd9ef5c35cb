import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skvaeense.nets.thresholds import Contribution, FixedVariance, Latents, Otsu


def make_latents(variance, code=None, code_scale=None, noise_variance=0.1):
    variance = np.atleast_2d(variance)
    return Latents(
        log_variance=np.log(variance),
        code=np.ones(variance.shape) if code is None else np.atleast_2d(code),
        code_scale=np.ones(variance.shape[1]) if code_scale is None else np.asarray(code_scale),
        noise_variance=noise_variance,
    )


def draw_latents(n_samples=50, n_components=9, seed=0):
    rng = np.random.default_rng(seed)
    return make_latents(
        rng.beta(0.3, 0.3, size=(n_samples, n_components)).clip(1e-6, 1 - 1e-6),
        rng.normal(size=(n_samples, n_components)),
        rng.uniform(0.5, 2, size=n_components),
    )


def within_group_variance(row, n_lower):
    ordered = np.sort(row)
    groups = ordered[:n_lower], ordered[n_lower:]
    return sum(np.square(group - group.mean()).sum() for group in groups)


# --- Otsu -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_components", [2, 3, 17])
def test_otsu_is_the_best_of_all_cuts(n_components):
    latents = draw_latents(n_components=n_components)
    active = Otsu().active(latents)
    for row, mask in zip(latents.log_variance, active, strict=True):
        best = min(within_group_variance(row, m) for m in range(1, n_components))
        assert 0 < mask.sum() < n_components
        assert within_group_variance(row, mask.sum()) == pytest.approx(best)
        # The group with the lower variances is active.
        assert row[mask].max() < row[~mask].min()


def test_otsu_finds_two_groups_where_there_is_one_but_for_equals():
    """For one group this is wrong, as the docstring says."""
    assert Otsu().active(make_latents([0.01, 0.02, 0.015])).sum() in (1, 2)
    assert Otsu().active(make_latents([0.97, 0.99, 0.98])).sum() in (1, 2)
    for variance in ([0.3], [0.3, 0.3], [0.01] * 5):
        assert not Otsu().active(make_latents(variance)).any()


def of_log_variance(values):
    values = np.asarray(values)
    return Latents(values, np.ones_like(values), np.ones(values.shape[1]), 0.1)


def test_otsu_follows_shifts_and_scales():
    values = np.random.default_rng(0).normal(size=(20, 6))
    expected = Otsu().active(of_log_variance(values))
    assert_array_equal(Otsu().active(of_log_variance(3 * values - 7)), expected)
    scales = 10.0 ** np.linspace(-200, 200, 20)[:, np.newaxis]
    assert_array_equal(Otsu().active(of_log_variance(scales * values)), expected)
    # Squares of these overflow.
    active = Otsu().active(of_log_variance(np.float32([[-3e38, -1.0, -2e38]])))
    assert active.tolist() == [[True, False, True]]


def test_otsu_splits_many_rows_as_few():
    values = np.random.default_rng(0).normal(size=(50_000, 3))
    active = Otsu().active(of_log_variance(values))
    for rows in (slice(0, 10), slice(21_840, 21_850), slice(-10, None)):
        assert_array_equal(active[rows], Otsu().active(of_log_variance(values[rows])))
    for n_components in (1, 3):
        assert Otsu().active(of_log_variance(np.empty((0, n_components)))).size == 0


def test_fixed_variance_is_a_comparison():
    latents = draw_latents()
    expected = np.exp(latents.log_variance) < 0.3
    assert 0 < expected.mean() < 1
    assert_array_equal(FixedVariance(0.3).active(latents), expected)
    # If the output of an encoder is 0, the variance of the latent is 0.5.
    assert not FixedVariance(0.5).active(make_latents([0.5])).any()
    assert FixedVariance().active(make_latents([0.01, 0.02, 0.1])).all()
    assert not FixedVariance().active(make_latents([0.9, 0.99, 0.999])).any()


def test_contribution_compares_with_the_noise():
    """The code times the norm of its column is compared with two standard deviations of 0.5."""
    latents = make_latents(
        [0.5] * 4, code=[-3, 0.9, 0.6, 0], code_scale=[1, 1, 2, 9], noise_variance=0.25
    )
    assert Contribution().active(latents).tolist() == [[True, False, True, False]]
    assert Contribution(4).active(latents).tolist() == [[True, False, False, False]]
    support = make_latents([0.5] * 3, code=[0.0, -1e-9, 2.0])
    assert Contribution(0).active(support).tolist() == [[False, True, True]]
    # Variances do not matter.
    other = latents._replace(log_variance=latents.log_variance - 3)
    assert_array_equal(Contribution().active(latents), Contribution().active(other))


@pytest.mark.parametrize("rule", [FixedVariance(0), FixedVariance(1), Contribution(-1e-9)])
def test_levels_out_of_their_range(rule):
    with pytest.raises(ValueError, match=f"'level' parameter of {type(rule).__name__}"):
        rule.active(draw_latents())
