"""Rules that every generator follows."""

import inspect

import numpy as np
import pytest
from helpers import each_once

import skvaeense.datasets
from skvaeense.datasets import (
    make_affine_subspaces,
    make_linear_subspaces,
    make_ppca,
    make_sparse_dictionary,
    make_spheres,
)

# (generator, arguments, dimension of each manifold)
CASES = [
    (make_affine_subspaces, {"dims": (1, 3, 2), "n_features": 9}, (1, 3, 2)),
    (make_linear_subspaces, {"dims": (2, 4), "n_features": 9}, (2, 4)),
    (make_ppca, {"n_components": 3, "n_features": 9}, (3,)),
    (make_sparse_dictionary, {"n_active": (1, 2, 4), "n_features": 9}, (1, 2, 4)),
    (make_spheres, {"dims": (1, 2, 5), "n_features": 9}, (1, 2, 5)),
]
NOISY = [case for case in CASES if case[0] is not make_ppca]


def test_every_generator_is_tested():
    assert sorted(case[0].__name__ for case in CASES) == skvaeense.datasets.__all__


def test_samples_dimensions_and_equal_shares_of_manifolds_in_random_order(subtests):
    for make, arguments, dims in CASES:
        with subtests.test(make=make):
            X, manifold, dimension = make(50, **arguments, random_state=0)
            assert X.shape == (50, 9)
            assert X.dtype == np.float64
            assert np.isfinite(X).all()
            for labels in (manifold, dimension):
                assert labels.shape == (50,)
                assert np.issubdtype(labels.dtype, np.integer)
            np.testing.assert_array_equal(dimension, np.asarray(dims)[manifold])
            counts = np.bincount(manifold)
            assert len(counts) == len(dims)
            assert counts.max() - counts.min() <= 1
            if len(dims) > 1:
                assert np.count_nonzero(np.diff(manifold)) > len(dims)


def test_defaults_work(subtests):
    for make, _arguments, _dims in CASES:
        with subtests.test(make=make):
            X, _, _ = make(random_state=0)
            parameters = inspect.signature(make).parameters
            assert X.shape == (parameters["n_samples"].default, parameters["n_features"].default)


def test_parameters_after_n_samples_are_keyword_only():
    for make, _, _ in CASES:
        first, *others = inspect.signature(make).parameters.values()
        assert first.name == "n_samples"
        assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others)


def test_integer_seed_reproduces(subtests):
    for make, arguments, _dims in CASES:
        with subtests.test(make=make):
            first = make(30, **arguments, random_state=7)
            again = make(30, **arguments, random_state=7)
            other = make(30, **arguments, random_state=8)
            for a, b in zip(first, again, strict=True):
                np.testing.assert_array_equal(a, b)
            assert not np.allclose(first[0], other[0])


def test_random_state_instance_is_used_and_advanced(subtests):
    for make, arguments, _dims in CASES:
        with subtests.test(make=make):
            rng = np.random.RandomState(7)
            first = make(30, **arguments, random_state=rng)[0]
            np.testing.assert_array_equal(first, make(30, **arguments, random_state=7)[0])
            assert not np.allclose(first, make(30, **arguments, random_state=rng)[0])


def test_global_random_state_is_untouched_by_a_seed():
    before = np.random.get_state()  # noqa: NPY002
    for make, arguments, _ in CASES:
        make(30, **arguments, random_state=0)
        after = np.random.get_state()  # noqa: NPY002
        np.testing.assert_array_equal(before[1], after[1], err_msg=make.__name__)
        assert before[2:] == after[2:], make


def test_one_sample_is_enough():
    for make, arguments, dims in CASES:
        X, manifold, dimension = make(1, **arguments, random_state=0)
        assert X.shape == (1, 9)
        assert manifold.tolist() == [0]
        assert dimension.tolist() == [dims[0]], make


def test_numpy_integers_are_integers(subtests):
    for make, arguments, _dims in CASES:
        with subtests.test(make=make):
            as_numpy = {name: np.asarray(value)[()] for name, value in arguments.items()}
            X, _, _ = make(np.int32(20), **as_numpy, random_state=0)
            np.testing.assert_array_equal(X, make(20, **arguments, random_state=0)[0])


BAD_NUMBERS = [
    (0, ValueError, "n_samples must be at least 1, got 0"),
    (10.0, TypeError, "n_samples must be an int, got 10.0 of type float"),
    (True, TypeError, "n_samples must be an int"),
]


def test_bad_number_of_samples(subtests):
    for case, bad in each_once(CASES, BAD_NUMBERS):
        with subtests.test(case=case):
            make, arguments, _ = case
            n_samples, error, match = bad
            with pytest.raises(error, match=match):
                make(n_samples, **arguments)


def test_bad_number_of_features(subtests):
    for make, arguments, _dims in CASES:
        with subtests.test(make=make):
            with pytest.raises(
                ValueError, match=r"needs at least \d+ features, got n_features=1: raise"
            ):
                make(10, **{**arguments, "n_features": 1, **_two_dimensional(make)})
            with pytest.raises(TypeError, match="n_features must be an int"):
                make(10, **{**arguments, "n_features": 9.0})


def _two_dimensional(make):
    return {make_sparse_dictionary: {"n_active": 2}}.get(make, {})


def test_noise_is_a_fraction_of_the_root_mean_square(subtests):
    for make, arguments, _dims in NOISY:
        with subtests.test(make=make):
            clean, *labels = make(20_000, **arguments, random_state=0)
            noisy, *same_labels = make(20_000, **arguments, noise=0.3, random_state=0)
            rms = np.sqrt(np.mean((clean - clean.mean(axis=0)) ** 2))
            # One seed draws the same samples at every noise level, so the difference is the noise.
            noise = (noisy - clean) / rms
            np.testing.assert_allclose(noise.std(axis=0), 0.3, rtol=0.03)
            np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=0.01)
            assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.03
            np.testing.assert_array_equal(labels, same_labels)


BAD_NOISE = [
    (-0.1, ValueError, "noise must be 0 or positive, got -0.1"),
    (np.nan, ValueError, "noise must be finite"),
    (np.inf, ValueError, "noise must be finite"),
    ("0.1", TypeError, "noise must be a float, got '0.1' of type str"),
]


def test_bad_noise(subtests):
    for case, bad in each_once(NOISY, BAD_NOISE):
        with subtests.test(case=case):
            make, arguments, _ = case
            noise, error, match = bad
            with pytest.raises(error, match=match):
                make(10, **arguments, noise=noise)


OF_DIMS = [make_affine_subspaces, make_linear_subspaces, make_spheres]
BAD_DIMS = [
    ((), ValueError, "dims is empty"),
    ((2, 0), ValueError, r"dims\[1\] must be at least 1, got 0"),
    ((2, 2.5), TypeError, r"dims\[1\] must be an int, got 2.5"),
    (4, TypeError, r"dims must be a sequence of int such as \(4, 4, 4\), got 4"),
    ("44", TypeError, "dims must be a sequence of int"),
    ((2, 50), ValueError, "dimension 50 needs at least"),
]


def test_bad_dims(subtests):
    for make, bad in each_once(OF_DIMS, BAD_DIMS):
        with subtests.test(make=make):
            dims, error, match = bad
            with pytest.raises(error, match=match):
                make(10, dims=dims, n_features=40)
