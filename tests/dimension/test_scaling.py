import numpy as np
import pytest
from scipy.special import digamma
from sklearn.neighbors import NearestNeighbors

from skvaeense.dimension._scaling import SCALES, Calibration, inverse_dimensions


def distances_of(X, n_neighbors=70):
    return NearestNeighbors(n_neighbors=n_neighbors).fit(X).kneighbors()[0]


def cube(n_samples, dimension, seed=0):
    return np.random.default_rng(seed).random((n_samples, dimension))


def test_inverse_is_unbiased_where_samples_are_spread_evenly(subtests):
    for dimension in (1, 2, 3):
        for k in SCALES:
            with subtests.test(k=k, dimension=dimension):
                inverse = inverse_dimensions(distances_of(cube(2000, dimension)), k)
                assert inverse.mean() == pytest.approx(1 / dimension, rel=0.15)


def test_formula():
    distances = np.array([[1.0, 2.0, 3.0, 8.0], [1.0, 1.0, 1.0, 1.0]])
    expected = np.log(8 / 1) / (digamma(4) - digamma(1))
    np.testing.assert_allclose(inverse_dimensions(distances, 4), [expected, 0])
    # Samples that coincide give no estimate.
    assert np.isnan(inverse_dimensions(np.array([[0.0, 0.0, 1.0, 2.0]]), 4)).all()


def test_calibration_corrects_cubes(subtests):
    """In many dimensions raw estimates for few samples are far too low. Cubes differ from balls."""
    for dimension in (5, 40):
        with subtests.test(dimension=dimension):
            inverse = inverse_dimensions(distances_of(cube(1500, dimension, seed=1)), SCALES[0])
            raw = 1 / inverse.mean()
            corrected = Calibration(1500, 250, 64).correct(np.array([raw]), 0)[0]
            assert abs(corrected - dimension) < abs(raw - dimension)
            assert corrected == pytest.approx(dimension, rel=0.15)


def test_calibration_rises_and_measures_only_what_it_needs():
    calibration = Calibration(500, 80, 100)
    low = calibration.correct(np.array([0.9, 1.5]), 0)
    n_measured = len(calibration.estimates[0])
    assert (np.diff(low) > 0).all()
    calibration.correct(np.array([1.2]), 0)
    assert len(calibration.estimates[0]) == n_measured
    high = calibration.correct(np.array([1.5, 12.0, 500.0]), 0)
    assert len(calibration.estimates[0]) > n_measured
    assert high[0] == pytest.approx(low[1])
    assert (np.diff(high) > 0).all()
    for n_neighbors, scales in ((128, [4, 16, 64]), (80, [4, 16]), (4, [4])):
        assert Calibration(500, n_neighbors, 10).scales == scales
    # No calibration ball has more than twice as many dimensions as the space.
    assert len(calibration.estimates[0]) == 8
