"""The density of samples under a mixture over codes, against direct evaluations."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal

from skvaeense.priors import CodedSamples, Mixture, MixtureDensity, StandardNormal
from skvaeense.priors._samples import TrainingRows

N_FEATURES = 7


def make_density(n_features=N_FEATURES, n_directions=4, n_components=3, max_rank=3, seed=0):
    """Return a mixture whose components have 1, 2, ... directions."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n_features, n_directions)))[0]
    noise = rng.uniform(0.1, 0.5, n_components)
    directions = np.linalg.qr(rng.standard_normal((n_components, n_directions, n_directions)))[0]
    directions = directions[:, :, :max_rank].copy()
    variances = rng.uniform(1.0, 4.0, (n_components, max_rank))
    for c in range(n_components):
        directions[c, :, min(c + 1, max_rank) :] = 0
        variances[c, min(c + 1, max_rank) :] = noise[c]
    return MixtureDensity(
        center=rng.standard_normal(n_features),
        basis=basis,
        weights=rng.dirichlet(np.full(n_components, 5.0)),
        means=rng.standard_normal((n_components, n_directions)),
        directions=directions,
        variances=variances,
        noise_variances=noise,
    )


def moments(density):
    """Return means and covariances of the components in the space of samples."""
    means = density.center + density.means @ density.basis.T
    covariances = []
    for c, noise in enumerate(density.noise_variances):
        U = density.basis @ density.directions[c]
        covariances.append(U * (density.variances[c] - noise) @ U.T + noise * np.eye(len(U)))
    return means, covariances


def direct(density, x):
    """Return the log-density with each component by explicit covariances."""
    terms = [
        np.log(w) + multivariate_normal(m, C).logpdf(x)
        for w, m, C in zip(density.weights, *moments(density), strict=True)
    ]
    return np.stack(terms, axis=1)


# --- the density ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_directions", "max_rank"), [(4, 3), (7, 7), (2, 1), (3, 0)])
def test_density_is_that_of_explicit_covariances(n_directions, max_rank, seed):
    density = make_density(n_directions=n_directions, max_rank=max_rank, seed=seed)
    x = 3 * np.random.default_rng(9).standard_normal((20, N_FEATURES))
    expected = direct(density, x)
    assert_allclose(density.log_joint(x), expected, rtol=1e-8)
    assert_allclose(density.log_prob(x), logsumexp(expected, axis=1), rtol=1e-8)


def test_density_integrates_to_one():
    grid, step = np.linspace(-15, 15, 601, retstep=True)
    line = make_density(1, 1, 2, 1)
    assert np.exp(line.log_prob(grid[:, None])).sum() * step == pytest.approx(1, abs=1e-6)
    plane = make_density(2, 1, 3, 1)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    assert np.exp(plane.log_prob(points)).sum() * step**2 == pytest.approx(1, abs=1e-6)


def test_density_turns_with_the_features():
    density, rng = make_density(), np.random.default_rng(1)
    x = rng.standard_normal((10, N_FEATURES))
    turn = np.linalg.qr(rng.standard_normal((N_FEATURES, N_FEATURES)))[0]
    for matrix in (turn, np.eye(N_FEATURES)[rng.permutation(N_FEATURES)]):
        values = vars(density) | {
            "center": matrix @ density.center,
            "basis": matrix @ density.basis,
        }
        turned = MixtureDensity(**values)
        assert_allclose(turned.log_prob(x @ matrix.T), density.log_prob(x), rtol=1e-9)


def test_ranks_are_numbers_of_directions():
    assert_array_equal(make_density().ranks, [1, 2, 3])


def test_draws_have_the_moments_of_their_components():
    density = make_density()
    x, labels = density.sample(60_000, np.random.RandomState(0))
    assert_allclose(np.bincount(labels) / len(x), density.weights, atol=0.01)
    for c, (mean, covariance) in enumerate(zip(*moments(density), strict=True)):
        own = x[labels == c]
        assert_allclose(own.mean(axis=0), mean, atol=0.08)
        assert_allclose(np.cov(own.T), covariance, atol=0.25)


def test_missing_features_become_conditional_means():
    density = make_density()
    x = np.random.default_rng(2).standard_normal((8, N_FEATURES))
    x[0, :3] = x[1, 2] = x[2, 4:] = x[3, :] = np.nan
    filled = density.impute(x)
    known = ~np.isnan(x)
    assert_array_equal(filled[known], x[known])
    means, covariances = moments(density)
    for i in range(4):
        o, m = known[i], ~known[i]
        logs, guesses = np.log(density.weights), []
        for c, (mean, C) in enumerate(zip(means, covariances, strict=True)):
            difference = x[i, o] - mean[o]
            guesses.append(mean[m] + C[np.ix_(m, o)] @ np.linalg.solve(C[np.ix_(o, o)], difference))
            if o.any():
                logs[c] += multivariate_normal(mean[o], C[np.ix_(o, o)]).logpdf(x[i, o])
        assert_allclose(filled[i, m], softmax(logs) @ np.array(guesses), rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("center", np.zeros(3)),
        ("weights", np.full(3, 0.5)),
        ("weights", np.array([1.5, -0.25, -0.25])),
        ("noise_variances", np.array([0.1, 0.0, 0.1])),
        ("variances", np.full((3, 3), -1.0)),
        ("means", np.full((3, 4), np.nan)),
        ("basis", np.ones((N_FEATURES, 4))),
        ("directions", np.zeros((3, 4, 2))),
    ],
)
def test_damaged_densities_are_found(name, value):
    density = make_density()
    density.check(N_FEATURES)
    with pytest.raises(ValueError, match="must"):
        MixtureDensity(**vars(density) | {name: value}).check(N_FEATURES)


def test_rows_are_bounded_and_checked():
    x = np.arange(20_000.0)[:, None].astype(np.float32)
    rows = TrainingRows.of(x[:6], np.zeros(6, int), TrainingRows(x, np.zeros(20_000, int)))
    assert_array_equal(rows.x[:7, 0], [0, 1, 2, 3, 4, 5, 0])
    assert len(rows.x) == len(rows.location) == 8192
    rows.check(1, 0)
    for damaged in (
        TrainingRows(rows.x, rows.location + 1),
        TrainingRows(rows.x[:5], rows.location),
        TrainingRows(rows.x * np.nan, rows.location),
        TrainingRows(rows.x, rows.x[:, 0]),
    ):
        with pytest.raises(ValueError, match="must"):
            damaged.check(1, 0)


# --- fitting --------------------------------------------------------------------------------


def coded(code, weight, noise=0.1, *, is_open=None, location=None, seed=0):
    """Return samples with these codes."""
    rng = np.random.default_rng(seed)
    x = code @ weight.T + 1.0 + np.sqrt(noise) * rng.standard_normal((len(code), len(weight)))
    return CodedSamples(
        x=x,
        code=code,
        code_variance=np.zeros_like(code),
        is_open=code != 0 if is_open is None else is_open,
        weight=weight,
        bias=np.ones(len(weight)),
        noise_variance=noise,
        location=np.zeros(len(code), int) if location is None else location,
        gated=True,
    )


def union(n_samples, noise=0.01, seed=0):
    """Return samples of a line and of a plane, with a latent for each direction."""
    rng = np.random.default_rng(seed)
    code = 2 * rng.standard_normal((n_samples, 3))
    code[: n_samples // 2, 1:] = code[n_samples // 2 :, 0] = 0
    return coded(code, np.eye(N_FEATURES)[:, :3], noise, seed=seed)


def test_a_union_is_found():
    train, test = union(2000), union(2000, seed=1)
    density = Mixture().density(train)
    assert sorted(density.ranks) == [1, 2]
    assert_allclose(density.noise_variances, 0.01, rtol=0.05)
    assert_allclose(density.weights, 0.5, atol=0.03)
    line = np.diag([4.01, *[0.01] * 6])
    plane = np.diag([0.01, 4.01, 4.01, *[0.01] * 4])
    truth = logsumexp(
        [np.log(0.5) + multivariate_normal(np.ones(7), C).logpdf(test.x) for C in (line, plane)],
        axis=0,
    )
    gap = truth - density.log_prob(test.x)
    assert -2 * gap.std() / np.sqrt(len(gap)) < gap.mean() < 0.05


def test_the_number_of_components_may_be_given():
    assert len(Mixture(1).density(union(300))) == 1
    assert len(Mixture(2, shrinkage=1.0).density(union(300))) == 2
    assert len(Mixture(max_components=1).density(union(300))) == 1


def test_fits_are_repeated_exactly():
    first, second = (Mixture().density(union(500)) for _ in range(2))
    assert_array_equal(first.means, second.means)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 5, 20])
def test_few_rows_give_a_finite_density(n_samples):
    samples = union(max(n_samples, 2))
    samples = samples._replace(
        **{name: getattr(samples, name)[:n_samples] for name in samples._fields[:4]},
        location=samples.location[:n_samples],
    )
    density = Mixture().density(samples)
    density.check(N_FEATURES)
    assert np.isfinite(density.log_prob(samples.x)).all()


@pytest.mark.parametrize("n_components", ["auto", 4])
def test_rows_that_are_all_the_same_give_a_finite_density(n_components):
    samples = union(60)
    code = np.ones_like(samples.code)
    samples = samples._replace(x=np.ones_like(samples.x), code=code, is_open=code > 0)
    density = Mixture(n_components).density(samples)
    density.check(N_FEATURES)
    assert np.isfinite(density.log_prob(samples.x)).all()


def closed(samples):
    """Return the same with all latents closed."""
    return samples._replace(is_open=np.zeros_like(samples.is_open))


def test_closed_latents_leave_noise():
    samples = coded(np.zeros((200, 3)), np.eye(N_FEATURES)[:, :3], noise=0.5)
    density = Mixture().density(closed(samples)._replace(noise_variance=1.0))
    density.check(N_FEATURES)
    assert_array_equal(density.ranks, [0])
    assert_allclose(density.noise_variances, np.square(samples.x - 1).mean(), rtol=0.05)


def test_directions_that_the_decoder_misses_are_found():
    train, test = closed(union(2000)), union(2000, seed=1)
    density = Mixture().density(train)
    density.check(N_FEATURES)
    assert density.basis.shape == (N_FEATURES, N_FEATURES)
    spanned = Mixture().density(union(2000))
    assert density.log_prob(test.x).mean() > spanned.log_prob(test.x).mean() - 0.1


def test_noise_off_the_span_of_the_decoder_gets_no_directions():
    assert Mixture().density(union(2000)).basis.shape == (N_FEATURES, 3)


def test_more_features_than_rows_leave_few_directions():
    samples = coded(np.zeros((12, 1)), np.eye(100)[:, :1])
    samples.x[:, 5] += np.linspace(-20, 20, 12)
    density = Mixture().density(closed(samples))
    density.check(100)
    assert density.basis.shape[1] <= 12
    assert np.abs(density.basis[5]).max() > 0.99


@pytest.mark.parametrize("n_components", [30, 64])
def test_one_row_a_component_gives_a_finite_density(n_components):
    samples = union(30)
    density = Mixture(n_components).density(samples)
    density.check(N_FEATURES)
    assert np.isfinite(density.log_prob(union(50, seed=1).x)).all()


def test_noise_is_bounded_from_below():
    samples = union(400, noise=1e-12)._replace(noise_variance=1.0)
    assert (Mixture().density(samples).noise_variances >= 0.02).all()


def test_locations_are_means_and_no_directions():
    rng = np.random.default_rng(0)
    location = np.repeat([0, 1], 300)
    code = np.hstack([rng.standard_normal((600, 1)), np.eye(2)[location]])
    weight = np.zeros((N_FEATURES, 3))
    weight[0, 0], weight[1, 1], weight[2, 2] = 2, 30, 30
    density = Mixture().density(coded(code, weight, location=location))
    assert_array_equal(density.ranks, [1, 1])
    means = density.center + density.means @ density.basis.T
    means = means[means[:, 1].argsort()]
    assert_allclose(means, [[1, 1, 31, *[1] * 4], [1, 31, 1, *[1] * 4]], atol=0.3)


def test_standard_normal_latents_have_a_normal_density():
    rng = np.random.default_rng(0)
    samples = coded(rng.standard_normal((5, 3)), rng.standard_normal((N_FEATURES, 3)), 0.3)
    W = samples.weight
    normal = multivariate_normal(samples.bias, W @ W.T + 0.3 * np.eye(N_FEATURES))
    density = StandardNormal().density(samples)
    assert_allclose(density.log_prob(samples.x), normal.logpdf(samples.x))
    assert StandardNormal().has_density(gated=False)
    assert not StandardNormal().has_density(gated=True)


@pytest.mark.parametrize(
    "parameters", [{"n_components": 0}, {"max_components": 65}, {"shrinkage": -1.0}]
)
def test_bad_parameters(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        Mixture(**parameters).validate()
