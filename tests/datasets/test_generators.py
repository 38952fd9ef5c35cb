"""Rules that every generator follows."""

import inspect

import numpy as np
import pytest

import skvaeense.datasets
from skvaeense.datasets import (
    make_linear_subspaces,
    make_ppca,
    make_sparse_dictionary,
    make_spheres,
)

# The arguments of each generator, and the dimension of each of its manifolds.
CASES = {
    make_linear_subspaces: ({"dims": (2, 4), "n_features": 9}, (2, 4)),
    make_ppca: ({"n_components": 3, "n_features": 9}, (3,)),
    make_sparse_dictionary: ({"n_active": (1, 2, 4), "n_features": 9}, (1, 2, 4)),
    make_spheres: ({"dims": (1, 2, 5), "n_features": 9}, (1, 2, 5)),
}
EACH = pytest.mark.parametrize(("make", "arguments", "dims"), [(k, *v) for k, v in CASES.items()])
OF_DIMS = [make_linear_subspaces, make_spheres]


def test_every_generator_is_tested():
    assert sorted(make.__name__ for make in CASES) == skvaeense.datasets.__all__


@EACH
def test_samples_dimensions_and_equal_shares_of_manifolds_in_random_order(make, arguments, dims):
    X, manifold, dimension = make(50, **arguments, random_state=0)
    assert X.shape == (50, 9)
    assert X.dtype == np.float64
    assert np.isfinite(X).all()
    for labels in (manifold, dimension):
        assert labels.shape == (50,)
        assert np.issubdtype(labels.dtype, np.integer)
    np.testing.assert_array_equal(dimension, np.asarray(dims)[manifold])
    counts = np.bincount(manifold, minlength=len(dims))
    assert counts.max() - counts.min() <= 1
    if len(dims) > 1:
        assert np.count_nonzero(np.diff(manifold)) > len(dims)
    X, manifold, dimension = make(1, **arguments, random_state=0)
    assert (X.shape, manifold.tolist(), dimension.tolist()) == ((1, 9), [0], [dims[0]])


@EACH
def test_defaults_and_keywords(make, arguments, dims):
    X, _, _ = make(random_state=0)
    first, *others = inspect.signature(make).parameters.values()
    assert first.name == "n_samples"
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others)
    defaults = {parameter.name: parameter.default for parameter in others}
    assert X.shape == (first.default, defaults["n_features"])


@EACH
def test_random_state(make, arguments, dims):
    before = np.random.get_state()  # noqa: NPY002
    first, again = (make(30, **arguments, random_state=7) for _ in range(2))
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(first[0], make(30, **arguments, random_state=8)[0])
    rng = np.random.RandomState(7)
    np.testing.assert_array_equal(first[0], make(30, **arguments, random_state=rng)[0])
    assert not np.allclose(first[0], make(30, **arguments, random_state=rng)[0])


@EACH
def test_numpy_integers_are_integers(make, arguments, dims):
    as_numpy = {name: np.asarray(value)[()] for name, value in arguments.items()}
    X, _, _ = make(np.int32(20), **as_numpy, random_state=0)
    np.testing.assert_array_equal(X, make(20, **arguments, random_state=0)[0])


@pytest.mark.parametrize(
    "make", [make for make in CASES if make is not make_ppca], ids=lambda make: make.__name__
)
def test_noise_is_a_fraction_of_the_root_mean_square(make):
    arguments = CASES[make][0]
    clean, *labels = make(20_000, **arguments, random_state=0)
    noisy, *same_labels = make(20_000, **arguments, noise=0.3, random_state=0)
    rms = np.sqrt(np.mean((clean - clean.mean(axis=0)) ** 2))
    # One seed draws the same samples at every noise level, so the difference is the noise.
    noise = (noisy - clean) / rms
    np.testing.assert_allclose(noise.std(axis=0), 0.3, rtol=0.03)
    np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=0.01)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.03
    np.testing.assert_array_equal(labels, same_labels)


BAD = [
    *((make, {"n_samples": value}) for make in CASES for value in (0, 10.0, True)),
    *((make, {"n_features": 9.0}) for make in CASES),
    *(
        (make, {"noise": value})
        for make in set(CASES) - {make_ppca}
        for value in (-0.1, np.nan, np.inf, "0.1")
    ),
    *((make, {"dims": value}) for make in OF_DIMS for value in ((), (2, 0), (2, 2.5), 4, "44")),
    *((make, {"shared": value}) for make in OF_DIMS[:1] for value in (-1, 1.0)),
    *((make, {"orthogonal": 1}) for make in OF_DIMS[:1]),
    (make_linear_subspaces, {"offset_scale": -1}),
    *((make_sparse_dictionary, {"n_active": value}) for value in (0, True, (), 2.0, "2")),
    (make_sparse_dictionary, {"n_atoms": 0}),
    (make_sparse_dictionary, {"signed": 1}),
    (make_sparse_dictionary, {"return_atoms": "no"}),
    (make_ppca, {"n_components": 0}),
    *((make_ppca, {"noise_variance": value}) for value in (0.0, np.nan, "1")),
    (make_ppca, {"return_parameters": "yes"}),
]


def test_values_of_another_kind_or_range(subtests):
    for make, arguments in BAD:
        (name,) = arguments
        message = f"The '{name}' parameter of {make.__name__} must be"
        for error in (TypeError, ValueError):
            with (
                subtests.test(make=make.__name__, arguments=arguments, error=error),
                pytest.raises(error, match=message),
            ):
                make(**{"n_samples": 10} | arguments)


def test_dimensions_that_do_not_fit(subtests):
    for make, arguments, message in (
        *((make, {"dims": (2, 50)}, "dimension 50 needs at least") for make in OF_DIMS),
        *((make, {"shared": 3, "dims": (2, 4)}, "shared=3 directions") for make in OF_DIMS[:1]),
        *(
            (
                make,
                {"orthogonal": True, "dims": (4, 4), "shared": 1, "n_features": 6},
                "orthogonal=True with .* needs at least 7 features, got n_features=6: raise",
            )
            for make in OF_DIMS[:1]
        ),
        (make_spheres, {"dims": (2, 5), "n_features": 5}, "dimension 5 needs at least 6 features"),
        (make_ppca, {"n_components": 21}, "A model with 21 components needs at least 21"),
        (
            make_sparse_dictionary,
            {"n_active": 21},
            "n_active=21 atoms cannot be drawn from n_atoms",
        ),
        (make_sparse_dictionary, {"n_active": (2, 30)}, "n_active=30 atoms cannot be drawn"),
        (make_sparse_dictionary, {"n_active": 6, "n_features": 5}, "n_active=6 needs at least 6"),
    ):
        if "shared" not in message:
            arguments = {"n_features": 20} | arguments
        with subtests.test(make=make.__name__), pytest.raises(ValueError, match=message):
            make(10, **arguments)
