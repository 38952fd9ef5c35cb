import numpy as np
import pytest

from skvaeense.dimension._rank import Quadrics


def draw(name, n_samples=1000, seed=0):
    """Return samples of a set, and their dimensions."""
    rng = np.random.default_rng(seed)
    if name == "sphere":
        X, dimension = rng.standard_normal((n_samples, 9)), 8
        X /= np.linalg.norm(X, axis=1, keepdims=True)
    elif name == "rank 1":
        X, dimension = rng.standard_normal((n_samples, 4, 1)) * rng.standard_normal((1000, 1, 5)), 8
    elif name == "frames":
        X, dimension = np.linalg.qr(rng.standard_normal((n_samples, 5, 2)))[0], 7
    else:
        X, dimension = np.zeros((n_samples, 7)), np.arange(n_samples) % 2 * 2 + 2
        X[::2, :2] = rng.standard_normal((n_samples // 2, 2))
        X[1::2, 3:] = rng.standard_normal((n_samples // 2, 4))
    return X.reshape(n_samples, -1), np.broadcast_to(dimension, n_samples)


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("name", ["sphere", "rank 1", "frames", "two subspaces"])
def test_sets_of_second_degree(name, noise):
    X, dimension = draw(name)
    X = X + noise * X.std() * np.random.default_rng(1).standard_normal(X.shape)
    found = Quadrics(X).dimensions(X)
    known = np.isfinite(found)
    assert known.mean() > 0.8
    assert (found == dimension)[known].mean() > 0.99


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_do_not_matter(factor):
    X, _ = draw("frames")
    np.testing.assert_array_equal(
        Quadrics(X).dimensions(X), Quadrics(factor * X).dimensions(factor * X)
    )


def test_sets_without_equations():
    """Solid sets, constant ones, few samples, and products with directions of noise have none."""
    rng = np.random.default_rng(0)
    noisy = np.pad(rng.uniform(-1, 1, (1000, 3)), [(0, 0), (0, 5)])
    noisy += 0.02 * rng.standard_normal(noisy.shape)
    solid = rng.standard_normal((1000, 8)), rng.random((1000, 3)) ** 3
    for X in (*solid, noisy, np.ones((50, 3)), draw("sphere")[0][:100]):
        assert Quadrics(X).n_equations == 0
        assert np.isinf(Quadrics(X).dimensions(X)).all()


@pytest.mark.parametrize("n_features", [3, 8])
def test_thin_directions_are_no_equations(n_features):
    X = np.random.default_rng(0).uniform(-1, 1, (1000, 3)) * (1, 1, 0.03)
    assert Quadrics(np.pad(X, [(0, 0), (0, n_features - 3)])).n_equations == 0
