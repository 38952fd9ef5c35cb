import numpy as np
import pytest

from skvaeense.dimension._rank import NoiseFloor, typical_noise
from skvaeense.mixture._em import edge

N_SAMPLES, N_FEATURES = 2000, 30


def draw(dimension, noise, n_samples=N_SAMPLES, seed=0):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((N_FEATURES, dimension)))[0]
    clean = rng.standard_normal((n_samples, dimension)) @ basis.T
    return clean, clean + noise * rng.standard_normal(clean.shape)


def one_group(X):
    return np.zeros(len(X), dtype=int)


@pytest.mark.parametrize("n_samples", [100, 200, 5000])
def test_noise_alone_ends_at_the_edge(n_samples):
    noise = 3 * np.random.default_rng(0).standard_normal((n_samples, N_FEATURES))
    largest = np.linalg.norm(noise, 2) ** 2 / n_samples
    assert 0.8 * edge(9.0, N_FEATURES, n_samples) < largest < edge(9.0, N_FEATURES, n_samples)


@pytest.mark.parametrize("n_samples", [100, 300, N_SAMPLES])
def test_variance_and_directions(n_samples):
    clean, noisy = draw(4, 0.1, n_samples)
    floor = NoiseFloor(noisy, one_group(noisy))
    assert floor.variance == pytest.approx(0.01, rel=0.3)
    assert floor.most == floor.variance
    points, n_directions = floor.take_off(noisy, one_group(noisy))
    assert (n_directions == 4).all()
    before, after = np.square(noisy - clean).mean(), np.square(points - clean).mean()
    assert after < 2 * 4 / N_FEATURES * before


def test_groups_have_directions_of_their_own():
    parts = [draw(d, 0.05, seed=d)[1] + 10 * d for d in (1, 3)]
    X, groups = np.vstack(parts), np.repeat([0, 1], N_SAMPLES)
    floor = NoiseFloor(X, groups)
    assert floor.variance == pytest.approx(0.0025, rel=0.05)
    points, n_directions = floor.take_off(X, groups)
    assert n_directions.tolist() == [1] * N_SAMPLES + [3] * N_SAMPLES
    assert np.abs(points - X).max() < 0.5


@pytest.mark.parametrize("dimension", [N_FEATURES - 3, N_FEATURES])
def test_a_few_directions_are_no_noise(dimension):
    _, X = draw(dimension, 0.01)
    floor = NoiseFloor(X, one_group(X))
    assert floor.variance == 0
    assert 0 < floor.most < 1.5
    np.testing.assert_array_equal(floor.take_off(X, one_group(X))[0], X)
    clean = draw(4, 0.0)[0]
    assert NoiseFloor(clean, one_group(clean)).most < 1e-12


def test_noise_of_groups_that_fill_the_space_together():
    parts = [draw(4, 0.1, 300, seed)[1] for seed in range(9)]
    assert NoiseFloor(np.vstack(parts), np.zeros(2700, dtype=int)).variance == 0
    assert typical_noise(parts) == pytest.approx(0.01, rel=0.2)
    assert typical_noise([draw(4, 0.0, 300)[0]]) < 1e-9
    # The directions of a box differ in their extent. With 16 of them, eight would look like noise.
    box = np.random.default_rng(0).uniform(-1, 1, (300, 16)) * np.geomspace(1, 0.01, 16)
    assert typical_noise([box]) == 0.0


def test_a_few_samples_far_away_leave_the_limit_of_noise():
    """A group of fewer samples than features says nothing about the noise of the others."""
    X = np.vstack([draw(4, 0.0, 300)[0], draw(4, 0.0, 3)[0] + 100])
    floor = NoiseFloor(X, np.repeat([0, 1], [300, 3]))
    assert floor.limit < 1e-12
    assert np.isinf(NoiseFloor(X[300:], np.zeros(3, dtype=int)).limit)
