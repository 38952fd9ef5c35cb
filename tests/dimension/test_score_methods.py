"""Methods that use a score, tested with scores that are known exactly."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

from skvaeense.dimension import FLIPD, NormalBundle

BOTH = pytest.mark.parametrize("method", [FLIPD(), NormalBundle()], ids=repr)
N_FEATURES = 7


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Mixture:
    """An equal mixture of centred Gaussians on random subspaces, with their scores under noise."""

    def __init__(self, dims, n_features=N_FEATURES, seed=0):
        rng = np.random.default_rng(seed)
        self.bases = [np.linalg.qr(rng.standard_normal((n_features, r)))[0].T for r in dims]
        self.covariances = [basis.T @ basis for basis in self.bases]
        self.n_features, self.rng = n_features, rng

    def sample(self, i, n_samples):
        """Return samples of one component."""
        basis = self.bases[i]
        return self.rng.standard_normal((n_samples, len(basis))) @ basis

    def log_density(self, x, level):
        """Return the log-density of noisy samples, computed with scipy."""
        noise = level**2 * np.eye(self.n_features)
        parts = [multivariate_normal(cov=c + noise).logpdf(x) for c in self.covariances]
        return np.logaddexp.reduce(parts, axis=0)

    def noise(self, level):
        """Return the function that predicts the noise at a level."""
        eye = torch.eye(self.n_features, dtype=torch.float64)
        noisy = [torch.tensor(c) + level**2 * eye for c in self.covariances]
        precisions = [torch.linalg.inv(c) for c in noisy]

        def predict(z):
            scores = torch.stack([-z @ precision for precision in precisions])
            logs = [
                -0.5 * ((z @ p * z).sum(dim=1) + torch.logdet(c))
                for p, c in zip(precisions, noisy, strict=True)
            ]
            weights = torch.softmax(torch.stack(logs), dim=0)
            return -level * (weights[:, :, None] * scores).sum(dim=0)

        return predict


def ask(method, noise, x, level):
    x = torch.as_tensor(x)
    vectors = method.vectors(x.shape[1], make_generator()).to(x)
    return method.estimate(noise, x, level, vectors).numpy()


def ask_mixture(method, mixture, x, level):
    return ask(method, mixture.noise(level), x, level)


def test_flipd_is_the_slope_of_the_log_density(subtests):
    """This is an identity at any level and any point, the heat equation."""
    for dims in ((3,), (1, 3), (2, 4, 5)):
        for level in (0.01, 0.3, 2.0):
            with subtests.test(level=level, dims=dims):
                mixture = Mixture(dims)
                x = mixture.sample(0, 20) + 0.5 * level * mixture.rng.standard_normal(
                    (20, N_FEATURES)
                )
                h = 1e-4
                up, down = (mixture.log_density(x, level * math.exp(step)) for step in (h, -h))
                slope = (up - down) / (2 * h)
                assert_allclose(
                    ask_mixture(FLIPD(), mixture, x, level),
                    N_FEATURES + slope,
                    rtol=1e-4,
                    atol=1e-4,
                )


@BOTH
def test_dimension_of_a_subspace(method):
    for dim in range(1, N_FEATURES + 1):
        mixture = Mixture((dim,))
        dimension = ask_mixture(method, mixture, mixture.sample(0, 30), 0.01)
        assert_allclose(dimension, dim, atol=1e-2)


@BOTH
def test_dimension_of_a_union(method):
    """Away from the origin, where the subspaces meet, samples show which one they lie on."""
    mixture = Mixture((1, 3, 5))
    for i, dim in enumerate((1, 3, 5)):
        x = mixture.sample(i, 40)
        x = 2 * x / np.linalg.norm(x, axis=1, keepdims=True)
        dimension = ask_mixture(method, mixture, x, 0.01)
        assert np.mean(np.abs(dimension - dim) < 0.1) >= 0.9


@pytest.mark.parametrize("level", [0.2, 0.5])
def test_flipd_of_a_gaussian_follows_its_formula(level):
    """Each direction of variance 1 adds 1 / (1 + t^2), and the sample's place adds the rest."""
    mixture = Mixture((3,))
    x = mixture.sample(0, 10)
    shrunk = 1 / (1 + level**2)
    place = (level * shrunk) ** 2 * np.square(x).sum(axis=1)
    assert_allclose(ask_mixture(FLIPD(), mixture, x, level), 3 * shrunk + place, rtol=1e-9)


@BOTH
@pytest.mark.parametrize("level", [0.1, 3.0])
def test_one_point_has_dimension_zero(method, level):
    x = torch.zeros(4, 3, dtype=torch.float64)
    assert_allclose(ask(method, lambda z: z / level, x, level), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("singular_values", "shared", "expected"),
    [
        ([7.0, 3.0, 0.9, 0.4, 0.3], 0.0, 2),
        ([1.0, 1.0, 0.1], 5.0, 1),
        ([1e30, 1e30, 0.0], 0.0, 1),
        ([0.0, 0.0], 0.0, 2),
        ([math.nan, 1.0], 0.0, math.nan),
    ],
    ids=["largest gap", "what all scores share", "huge", "tangent", "not finite"],
)
def test_normal_bundle_counts_small_singular_values(singular_values, shared, expected):
    """These are the singular values of the noise's Jacobian. Values above 1 count as 1."""
    jacobian = torch.diag(torch.tensor(singular_values))
    x = torch.zeros(2, len(singular_values))
    found = ask(NormalBundle(), lambda z: z @ jacobian + shared, x, 1.0)
    assert_array_equal(found, [expected] * 2)


def test_directions_stand_for_noise():
    directions = NormalBundle().vectors(6, make_generator())
    assert_allclose(directions.mean(dim=0), np.zeros(6), atol=1e-12)
    assert_allclose(np.cov(directions.T, ddof=0), np.eye(6), atol=1e-12)
    assert_allclose(directions.norm(dim=1), math.sqrt(6))
    # Directions are rotated at random, so none is a feature.
    assert (directions.abs().amax(dim=1) < 0.99 * math.sqrt(6)).all()
    assert not torch.equal(directions, NormalBundle().vectors(6, make_generator(1)))


def test_as_many_probes_as_features_give_the_exact_trace(subtests):
    for n_features, n_probes in ((1, "auto"), (5, 9), (64, "auto"), (70, 70)):
        with subtests.test(n_features=n_features, n_probes=n_probes):
            probes = FLIPD(n_probes).vectors(n_features, make_generator())
            assert torch.equal(probes, torch.eye(n_features, dtype=torch.float64))


@pytest.mark.parametrize(("n_features", "n_probes", "expected"), [(65, "auto", 64), (20, 8, 8)])
def test_fewer_probes_give_the_trace_on_average(n_features, n_probes, expected):
    many = [FLIPD(n_probes).vectors(n_features, make_generator(seed)) for seed in range(200)]
    assert many[0].shape == (expected, n_features)
    assert not torch.equal(many[0], many[1])
    # The diagonal counts fully, and other entries by chance.
    diagonal = torch.arange(n_features, dtype=torch.float64)
    assert_allclose((many[0].square() @ diagonal).sum(), diagonal.sum())
    # The trace of a matrix of ones is n_features.
    estimates = np.array([float(probes.sum(dim=1).square().sum()) for probes in many])
    spread = math.sqrt(2 / expected) * n_features
    assert estimates.mean() == pytest.approx(n_features, abs=4 * spread / math.sqrt(200))
    assert estimates.std() == pytest.approx(spread, rel=0.25)


def test_flipd_of_many_features():
    mixture = Mixture((4,), n_features=128)
    dimension = ask_mixture(FLIPD(), mixture, mixture.sample(0, 10), 0.01)
    assert_allclose(dimension, 4, atol=4.0)
    assert np.ptp(dimension) < 0.1


@BOTH
def test_a_sample_does_not_depend_on_the_others(method):
    mixture = Mixture((1, 4))
    x = np.concatenate([mixture.sample(0, 5), mixture.sample(1, 5)])
    together = ask_mixture(method, mixture, x, 0.2)
    assert_allclose(ask_mixture(method, mixture, x[::-1].copy(), 0.2), together[::-1], rtol=1e-9)
    assert_array_equal([len(np.unique(together)) > 1], [True])
    for i in range(10):
        assert_allclose(
            ask_mixture(method, mixture, x[i : i + 1], 0.2), together[i : i + 1], rtol=1e-9
        )
