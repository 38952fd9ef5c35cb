"""The read-outs of the dimension, asked of scores that are known exactly."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

from skvaeense._read_outs import (
    MAX_EXACT,
    N_PROBES,
    flipd,
    normal_bundle,
    perturbation_directions,
    trace_probes,
)

N_FEATURES = 7


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Mixture:
    """Equal parts of centred Gaussians on random subspaces, with their score under noise."""

    def __init__(self, dims, n_features=N_FEATURES, seed=0):
        rng = np.random.default_rng(seed)
        self.bases = [np.linalg.qr(rng.standard_normal((n_features, r)))[0].T for r in dims]
        self.covariances = [basis.T @ basis for basis in self.bases]
        self.n_features, self.rng = n_features, rng

    def sample(self, i, n_samples):
        """Return samples of one part."""
        basis = self.bases[i]
        return self.rng.standard_normal((n_samples, len(basis))) @ basis

    def log_density(self, x, level):
        """Return the log-density of noisy samples by scipy."""
        noise = level**2 * np.eye(self.n_features)
        parts = [multivariate_normal(cov=c + noise).logpdf(x) for c in self.covariances]
        return np.logaddexp.reduce(parts, axis=0)

    def noise(self, level):
        """Return the function that predicts noise at a level."""
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


def ask_flipd(mixture, x, level):
    probes = trace_probes(mixture.n_features, make_generator())
    return flipd(mixture.noise(level), torch.tensor(x), level, probes).numpy()


def ask_normal_bundle(mixture, x, level):
    directions = perturbation_directions(mixture.n_features, make_generator())
    return normal_bundle(mixture.noise(level), torch.tensor(x), level, directions).numpy()


@pytest.mark.parametrize("level", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("dims", [(3,), (1, 3), (2, 4, 5)])
def test_flipd_is_the_slope_of_the_log_density(dims, level):
    """At any level and any point: this is an identity, the heat equation."""
    mixture = Mixture(dims)
    x = mixture.sample(0, 20) + 0.5 * level * mixture.rng.standard_normal((20, N_FEATURES))
    h = 1e-4
    up, down = (mixture.log_density(x, level * math.exp(step)) for step in (h, -h))
    slope = (up - down) / (2 * h)
    assert_allclose(ask_flipd(mixture, x, level), N_FEATURES + slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dim", range(1, N_FEATURES + 1))
@pytest.mark.parametrize("read_out", [ask_flipd, ask_normal_bundle])
def test_dimension_of_a_subspace(read_out, dim):
    mixture = Mixture((dim,))
    dimension = read_out(mixture, mixture.sample(0, 30), 0.01)
    assert_allclose(dimension, dim, atol=1e-2)


@pytest.mark.parametrize("read_out", [ask_flipd, ask_normal_bundle])
def test_dimension_of_a_union(read_out):
    """Samples away from the origin, where the subspaces meet, know which one they lie on."""
    mixture = Mixture((1, 3, 5))
    for i, dim in enumerate((1, 3, 5)):
        x = mixture.sample(i, 40)
        x = 2 * x / np.linalg.norm(x, axis=1, keepdims=True)
        dimension = read_out(mixture, x, 0.01)
        assert np.mean(np.abs(dimension - dim) < 0.1) >= 0.9


@pytest.mark.parametrize("level", [0.2, 0.5])
def test_flipd_of_a_gaussian_follows_its_formula(level):
    """Each direction of variance 1 counts 1 / (1 + t^2), plus what the sample's place adds."""
    mixture = Mixture((3,))
    x = mixture.sample(0, 10)
    shrunk = 1 / (1 + level**2)
    place = (level * shrunk) ** 2 * np.square(x).sum(axis=1)
    assert_allclose(ask_flipd(mixture, x, level), 3 * shrunk + place, rtol=1e-9)


@pytest.mark.parametrize("level", [0.1, 3.0])
def test_one_point_has_dimension_zero(level):
    def noise(z):
        return z / level

    x = torch.zeros(4, 3, dtype=torch.float64)
    directions = perturbation_directions(3, make_generator())
    assert normal_bundle(noise, x, level, directions).tolist() == [0] * 4
    probes = trace_probes(3, make_generator())
    assert_allclose(flipd(noise, x, level, probes), 0, atol=1e-12)


def test_normal_bundle_counts_below_the_largest_gap():
    """Singular values are those of the noise's Jacobian, and values over 1 count as 1."""
    jacobian = torch.diag(torch.tensor([7.0, 3.0, 0.9, 0.4, 0.3], dtype=torch.float64))
    directions = perturbation_directions(5, make_generator(1))
    x = torch.zeros(2, 5, dtype=torch.float64)
    assert normal_bundle(lambda z: z @ jacobian, x, 1.0, directions).tolist() == [2, 2]


def test_normal_bundle_ignores_what_all_scores_share():
    jacobian = torch.diag(torch.tensor([1.0, 1.0, 0.1]))
    directions = perturbation_directions(3, make_generator()).float()
    x = torch.zeros(2, 3)
    assert normal_bundle(lambda z: z @ jacobian + 5.0, x, 1.0, directions).tolist() == [1, 1]


def test_huge_scores_do_not_overflow():
    directions = perturbation_directions(3, make_generator()).float()
    jacobian = torch.diag(torch.tensor([1e30, 1e30, 0.0]))
    x = torch.zeros(2, 3)
    assert normal_bundle(lambda z: z @ jacobian, x, 1.0, directions).tolist() == [1, 1]


def test_directions_stand_for_noise():
    directions = perturbation_directions(6, make_generator())
    assert_allclose(directions.mean(dim=0), np.zeros(6), atol=1e-12)
    assert_allclose(np.cov(directions.T, ddof=0), np.eye(6), atol=1e-12)
    assert_allclose(directions.norm(dim=1), math.sqrt(6))
    # Turned at random: no direction is a feature.
    assert (directions.abs().amax(dim=1) < 0.99 * math.sqrt(6)).all()
    assert not torch.equal(directions, perturbation_directions(6, make_generator(1)))


@pytest.mark.parametrize("n_features", [1, 5, MAX_EXACT])
def test_probes_give_the_exact_trace(n_features):
    matrix = np.random.default_rng(0).standard_normal((n_features, n_features))
    probes = trace_probes(n_features, make_generator()).numpy()
    assert_allclose(np.einsum("ki,ij,kj", probes, matrix, probes), np.trace(matrix), rtol=1e-9)


def test_probes_of_many_features():
    n_features = 3 * MAX_EXACT
    probes = trace_probes(n_features, make_generator()).numpy()
    assert probes.shape == (N_PROBES, n_features)
    # The diagonal counts in full, the rest by chance.
    diagonal = np.diag(np.arange(n_features))
    assert_allclose(np.einsum("ki,ij,kj", probes, diagonal, probes), np.trace(diagonal))
    other = trace_probes(n_features, make_generator(1)).numpy()
    assert not np.array_equal(probes, other)
    ones = np.ones((n_features, n_features))
    estimates = [
        np.einsum("ki,ij,kj", p, ones, p)
        for p in (trace_probes(n_features, make_generator(seed)).numpy() for seed in range(200))
    ]
    # The estimate has a standard deviation of about sqrt(2 / N_PROBES) n_features.
    error = math.sqrt(2 / N_PROBES) * n_features / math.sqrt(200)
    assert np.mean(estimates) == pytest.approx(n_features, abs=4 * error)


def test_flipd_of_many_features():
    mixture = Mixture((4,), n_features=2 * MAX_EXACT)
    dimension = ask_flipd(mixture, mixture.sample(0, 10), 0.01)
    assert_allclose(dimension, 4, atol=4.0)
    assert np.ptp(dimension) < 0.1


@pytest.mark.parametrize("read_out", [ask_flipd, ask_normal_bundle])
def test_a_sample_does_not_depend_on_the_others(read_out):
    mixture = Mixture((1, 4))
    x = np.concatenate([mixture.sample(0, 5), mixture.sample(1, 5)])
    together = read_out(mixture, x, 0.2)
    assert_allclose(read_out(mixture, x[::-1].copy(), 0.2), together[::-1], rtol=1e-9)
    assert_array_equal([len(np.unique(together)) > 1], [True])
    for i in range(10):
        assert_allclose(read_out(mixture, x[i : i + 1], 0.2), together[i : i + 1], rtol=1e-9)
