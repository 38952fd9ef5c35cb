"""The density of a mixture of normal distributions, compared with direct evaluations."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax
from scipy.stats import kstest, multivariate_normal

from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._density import MANY_COMPONENTS, products_of

N_FEATURES = 6


def make_density(n_directions=N_FEATURES, n_components=3, max_rank=3, *, seed=0):
    """Return a mixture whose components have 1, 2, ... directions."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((N_FEATURES, n_directions)))[0]
    noise = rng.uniform(0.1, 0.5, n_components)
    directions = np.linalg.qr(rng.standard_normal((n_components, n_directions, n_directions)))[0]
    directions = directions[:, :, :max_rank].copy()
    variances = rng.uniform(1.0, 4.0, (n_components, max_rank))
    for c in range(n_components):
        directions[c, :, c + 1 :] = 0
        variances[c, c + 1 :] = noise[c]
    return MixtureDensity(
        rng.standard_normal(N_FEATURES),
        basis,
        rng.dirichlet(np.full(n_components, 5.0)),
        rng.standard_normal((n_components, n_directions)),
        directions,
        variances,
        noise,
    )


SCALE = np.array([0.01, 0.5, 1.0, 2.0, 30.0, 1.0])
BROAD = make_density(n_components=2, max_rank=1, seed=5)
DENSITIES = {
    "plain": make_density(),
    "few directions": make_density(3),
    "no directions": make_density(3, max_rank=0),
    "all directions": make_density(max_rank=N_FEATURES),
    "scaled": replace(make_density(), scale=SCALE),
    "background": replace(make_density(4), background=BROAD, background_weight=0.2),
    "all": replace(
        make_density(4),
        scale=SCALE,
        background=replace(BROAD, scale=SCALE),
        background_weight=0.2,
    ),
}


@pytest.fixture(params=["few directions", "no directions", "all directions", "all"])
def density(request):
    """Return one of several densities. The last one combines the features of the others."""
    return DENSITIES[request.param]


def normals(density, share=1.0):
    """Return weights, means and covariances of the components, followed by the background."""
    scale = np.ones(N_FEATURES) if density.scale is None else density.scale
    found = []
    for c, weight in enumerate(density.weights):
        U, noise = density.basis @ density.directions[c], density.noise_variances[c]
        covariance = U * (density.variances[c] - noise) @ U.T + noise * np.eye(N_FEATURES)
        mean = density.center + scale * (density.basis @ density.means[c])
        own = share * (1 - density.background_weight) * weight
        found.append((own, mean, covariance * np.outer(scale, scale)))
    if density.background is not None:
        found += normals(density.background, density.background_weight)
    return found


def direct(density, x):
    """Return the log-density of the known features with each normal distribution."""
    joint = np.zeros((len(x), len(normals(density))))
    for c, (weight, mean, covariance) in enumerate(normals(density)):
        for i, row in enumerate(x):
            o = ~np.isnan(row)
            joint[i, c] = np.log(weight)
            if o.any():
                known = multivariate_normal(mean[o], covariance[np.ix_(o, o)])
                joint[i, c] += known.logpdf(row[o])
    return joint


def samples(density, n_samples=12, seed=0):
    """Return samples, and the same samples with missing features: some, all but one, or all."""
    x = density.sample(n_samples, np.random.RandomState(seed))[0]
    holed = np.where(np.random.default_rng(seed).uniform(size=x.shape) < 0.4, np.nan, x)
    holed[0] = np.nan
    holed[1, 1:] = np.nan
    holed[2] = x[2]
    return x, holed


# --- log-densities ----------------------------------------------------------------------------


def test_log_densities_are_those_of_explicit_covariances(density):
    for x in samples(density):
        expected = direct(density, x)
        assert_allclose(density.log_joint(x), expected[:, : len(density)], rtol=1e-8, atol=1e-8)
        assert_allclose(density.log_prob(x), logsumexp(expected, axis=1), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_log_densities_follow_from_products_of_coordinates(scale):
    density = make_density(5, MANY_COMPONENTS, 5)
    density = replace(density, noise_variances=scale * density.noise_variances)
    h, off = np.random.default_rng(1).standard_normal((50, 5)), np.linspace(0, 1, 50)
    one_by_one = density.log_joint_along(h, off)
    assert_allclose(density.log_joint_along(h, off, products_of(h)), one_by_one, rtol=1e-6)


def test_noise_may_be_lost_in_rounding():
    density = make_density(n_components=1)
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((N_FEATURES, 5)))[0][None]
    density = replace(
        density,
        directions=directions,
        variances=np.full((1, 5), 1e12),
        noise_variances=np.array([1e-8]),
    )
    x, holed = samples(density)
    missing = np.isnan(holed)
    assert np.isfinite(density.log_joint(holed)).all()
    filled = density.impute(holed)
    assert np.isfinite(filled).all()
    assert_array_equal(filled[~missing], x[~missing])


@pytest.mark.parametrize("n_missing", [1, 3])
def test_means_are_precise_where_there_is_hardly_any_noise(n_missing):
    """Means agree with least squares, also if there are more directions than known features."""
    noise, variances = 1e-22, np.array([18.0, 4.0, 1.0, 0.1, 1e-2, 1e-3])
    rng = np.random.default_rng(0)
    density = replace(
        make_density(n_components=1),
        directions=np.linalg.qr(rng.standard_normal((1, N_FEATURES, N_FEATURES)))[0],
        variances=variances[None],
        noise_variances=np.array([noise]),
    )
    x = rng.standard_normal((50, N_FEATURES))
    known = np.arange(N_FEATURES) >= n_missing
    mean = density.center + density.basis @ density.means[0]
    loadings = density.basis @ density.directions[0] * np.sqrt(variances)
    root = np.vstack([loadings[known], np.sqrt(noise) * np.eye(N_FEATURES)])
    target = np.vstack([(x - mean)[:, known].T, np.zeros((N_FEATURES, len(x)))])
    w = np.linalg.lstsq(root, target)[0]
    expected = np.where(known, x, mean + w.T @ loadings.T)
    filled = density.impute(np.where(known, x, np.nan))
    assert_allclose(filled, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_rows_are_computed_as_one_by_one(density, monkeypatch):
    complete, x = samples(density)
    assert_array_equal(density.impute(complete), complete)
    # A row without known features has probability one.
    assert_allclose(density.log_prob(np.full((1, N_FEATURES), np.nan)), 0, atol=1e-10)
    before = [(rows, density.log_prob(rows), density.impute(rows)) for rows in (complete, x)]
    monkeypatch.setattr("skvaeense.utils._rows.BLOCK_ENTRIES", 1)
    for rows, log_prob, filled in before:
        assert_allclose(density.log_prob(rows), log_prob, rtol=1e-12, atol=1e-10)
        alone = [density.log_prob(row[None])[0] for row in rows]
        assert_allclose(alone, log_prob, rtol=1e-12, atol=1e-10)
        assert_allclose(density.impute(rows), filled, rtol=1e-12)


# --- missing features -------------------------------------------------------------------------


def test_imputed_features_are_conditional_means(density):
    _, x = samples(density)
    filled = density.impute(x)
    shares = softmax(direct(density, x), axis=1)
    for i, row in enumerate(x):
        o, m = ~np.isnan(row), np.isnan(row)
        assert_array_equal(filled[i, o], row[o])
        expected = np.zeros(m.sum())
        for share, (_, mean, C) in zip(shares[i], normals(density), strict=True):
            gain = C[np.ix_(m, o)] @ np.linalg.inv(C[np.ix_(o, o)])
            expected += share * (mean[m] + gain @ (row[o] - mean[o]))
        assert_allclose(filled[i, m], expected, rtol=1e-7, atol=1e-9)


def test_imputed_features_are_averages_of_two_conditional_means_and_the_mean(density):
    x = samples(density)[1]
    every = [(weight, mean, C) for weight, mean, C in normals(replace(density, background=None))]
    weights = np.array([weight for weight, *_ in every]) / sum(weight for weight, *_ in every)
    mean = sum(weight * m for weight, (_, m, _) in zip(weights, every, strict=True))
    total = sum(
        weight * (C + np.outer(m - mean, m - mean))
        for weight, (_, m, C) in zip(weights, every, strict=True)
    )
    pulled = replace(density, pulls=np.array([0.5, 0.3])).impute(x)
    alone = density.impute(x)
    for i, row in enumerate(x):
        o, m = ~np.isnan(row), np.isnan(row)
        one = mean[m] + total[np.ix_(m, o)] @ np.linalg.solve(total[np.ix_(o, o)], row[o] - mean[o])
        assert_array_equal(pulled[i, o], row[o])
        expected = 0.5 * alone[i, m] + 0.3 * one + 0.2 * mean[m]
        assert_allclose(pulled[i, m], expected, rtol=1e-7, atol=1e-9)


def test_rows_near_a_component_do_not_draw_from_the_background():
    """The background is broad: its draws would be far from all samples."""
    density = DENSITIES["background"]
    broad = density.background
    wide = replace(
        broad, variances=1e12 * broad.variances, noise_variances=1e12 * broad.noise_variances
    )
    nothing = np.full((200, N_FEATURES), np.nan)
    drawn = replace(density, background=wide).impute(nothing, np.random.RandomState(0))
    assert np.abs(drawn).max() < 100


def test_imputed_draws_have_the_distribution_of_what_is_missing(density):
    x = samples(density, 3)[0]
    x[:, [1, 3]] = np.nan
    row = np.repeat(x[:1], 2000, axis=0)
    drawn = density.impute(row, np.random.RandomState(0))
    assert_array_equal(drawn[:, 0], row[:, 0])
    # The distribution function at draws from the same distribution is uniform.
    shares = softmax(direct(density, x[:1]), axis=1)[0]
    for j in (1, 3):
        below = np.zeros(len(drawn))
        for share, (_, mean, C) in zip(shares, normals(density), strict=True):
            o = ~np.isnan(x[0])
            gain = C[j, o] @ np.linalg.inv(C[np.ix_(o, o)])
            normal = multivariate_normal(
                mean[j] + gain @ (x[0, o] - mean[o]), C[j, j] - gain @ C[o, j]
            )
            below += share * normal.cdf(drawn[:, j, None])
        assert kstest(below, "uniform").pvalue > 1e-3


# --- draws and p-values -----------------------------------------------------------------------


def test_draws_have_the_moments_of_their_components(density):
    x, labels = density.sample(40_000, np.random.RandomState(0))
    scale = np.ones(N_FEATURES) if density.scale is None else density.scale
    every = normals(density)
    for c, (weight, mean, covariance) in enumerate(every[: len(density)]):
        own = x[labels == c]
        # Samples are not drawn from the background.
        share = 1 - (density.background_weight if density.background is not None else 0.0)
        assert len(own) / len(x) == pytest.approx(weight / share, abs=0.01)
        assert_allclose(own.mean(axis=0) / scale, mean / scale, atol=0.1)
        scales = np.outer(scale, scale)
        assert_allclose(np.cov(own.T) / scales, covariance / scales, atol=0.25)
    assert set(labels) == set(range(len(density)))


def test_p_values_of_draws_are_uniform(density):
    rng = np.random.RandomState(0)
    held_out = density.log_probs(density.sample(2000, rng)[0])
    known = replace(density, held_out=held_out)
    known.check()
    p_values = known.p_values(density.sample(1000, rng)[0])
    assert kstest(p_values, "uniform").pvalue > 1e-3
    far = known.p_values(density.center[None] + 1e6)
    assert far == pytest.approx(1 / 2001)


# --- other mixtures ---------------------------------------------------------------------------


def test_components_may_be_taken():
    density = DENSITIES["all"]
    x = samples(density)[0]
    every = direct(density, x)[:, [2, 0]]
    weight = density.weights[[2, 0]].sum()
    taken = replace(density, dimensions=np.array([4, 5, 6])).take(np.array([2, 0]))
    assert_allclose(taken.log_joint(x), every - np.log(weight), rtol=1e-8)
    assert_array_equal(taken.ranks, [6, 4])
    masked = density.take(np.array([True, False, True]))
    assert_array_equal(masked.noise_variances, density.noise_variances[[0, 2]])


def test_components_may_be_joined():
    first = DENSITIES["plain"]
    second = make_density(n_components=2, max_rank=5, seed=1)
    second = replace(second, center=first.center, basis=first.basis)
    x = samples(first)[0]
    for one, other in ((first, second), (second, first)):
        both = one.join(other, 0.3)
        both.check()
        expected = np.logaddexp(one.log_prob(x) + np.log(0.7), other.log_prob(x) + np.log(0.3))
        assert_allclose(both.log_prob(x), expected, rtol=1e-9)


def test_variances_may_be_raised():
    density = DENSITIES["few directions"]
    traces = np.array([np.trace(covariance) for *_, covariance in normals(density)])
    assert_allclose(density.spreads, traces / N_FEATURES)
    raised = density.raised(0.5)
    for spread, (*_, old), (*_, new) in zip(
        density.spreads, normals(density), normals(raised), strict=True
    ):
        expected = np.maximum(np.linalg.eigvalsh(old), 0.5 * spread)
        assert_allclose(np.linalg.eigvalsh(new), np.sort(expected))


def test_mixture_may_be_blurred(density):
    blurred = density.blurred(2.0)
    assert blurred.background is None
    parts = normals(replace(density, background=None, background_weight=0.0))
    mean = sum(weight * mean for weight, mean, _ in parts)
    total = sum(w * (cov + np.outer(m - mean, m - mean)) for w, m, cov in parts)
    squares = np.square(density.unit)
    noise = 2.0 * (np.diag(total) / squares).mean() * np.diag(squares)
    for (_, mean, before), (_, moved, after) in zip(parts, normals(blurred), strict=True):
        assert_allclose(moved, mean)
        assert_allclose(after, before + noise, rtol=1e-8, atol=1e-8)


def test_units_may_change(density):
    center, scale = np.arange(6.0), 7.0
    held_out = np.array([[-3.0, -4.0], [-1.0, -5.0]])
    known = replace(density, held_out=held_out, core=density.blurred(0.5))
    moved = known.in_units(center, scale)
    moved.check()
    for x in samples(density):
        change = np.log(scale) * (~np.isnan(x)).sum(axis=1)
        assert_allclose(moved.log_prob(center + scale * x), density.log_prob(x) - change, atol=1e-8)
    x = samples(density)[0]
    assert_array_equal(moved.p_values(center + scale * x), known.p_values(x))


def test_quotients_may_be_those_of_samples():
    density = DENSITIES["background"]
    shift = replace(density, center=np.zeros(6), background=replace(BROAD, center=np.zeros(6)))
    divided = shift.divided_by(SCALE)
    divided.check()
    x = samples(shift)[0]
    assert_allclose(divided.log_prob(x * SCALE), shift.log_prob(x) - np.log(SCALE).sum())


# --- files and damage -------------------------------------------------------------------------


def test_densities_are_shared_and_pickled(density):
    assert copy.deepcopy(density) is density
    loaded = pickle.loads(pickle.dumps(density))
    x = samples(density)[1]
    assert_array_equal(loaded.log_prob(x), density.log_prob(x))


def test_damaged_densities_are_found(subtests):
    for density in DENSITIES.values():
        density.check()
    for name, value in (
        ("center", np.zeros(3)),
        ("weights", np.full(3, 0.5)),
        ("weights", np.array([1.5, -0.25, -0.25])),
        ("noise_variances", np.array([0.1, 0.0, 0.1])),
        ("variances", np.full((3, 3), -1.0)),
        ("means", np.full((3, 4), np.nan)),
        ("basis", np.ones((N_FEATURES, 4))),
        ("directions", np.zeros((3, 4, 2))),
        ("scale", np.zeros(N_FEATURES)),
        ("scale", np.ones(3)),
        ("held_out", np.full((3, 2), np.nan)),
        ("held_out", np.zeros((2, 3))),
        ("dimensions", np.array([1, 2])),
        ("dimensions", np.array([1, 2, -1])),
        ("dimensions", np.ones(3)),
        ("background_weight", 0.0),
        ("background_weight", 1.0),
        ("background", DENSITIES["background"]),
        ("background", replace(BROAD, center=np.zeros(3))),
    ):
        with subtests.test(name=name, value=value), pytest.raises(ValueError, match="must"):
            replace(DENSITIES["all"], **{name: value}).check()
