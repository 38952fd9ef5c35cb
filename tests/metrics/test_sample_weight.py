"""The meaning of a weight is the same in all metrics with weights."""

import inspect

import numpy as np
import pytest
from helpers import each_once
from scipy import sparse

from skvaeense import metrics

WEIGHTED = [
    metric
    for metric in (getattr(metrics, name) for name in metrics.__all__)
    if "sample_weight" in inspect.signature(metric).parameters
]
N = 30
WEIGHTS = np.random.default_rng(1).integers(0, 4, size=N)


def _arguments(metric):
    """Return random arguments for a metric. The last latent is active in one sample."""
    rng = np.random.default_rng(0)
    name = next(iter(inspect.signature(metric).parameters))
    if name == "codes":
        codes = rng.normal(size=(N, 9)) * (rng.uniform(size=(N, 9)) < np.linspace(0.05, 0.5, 9))
        codes[:, -1] = np.arange(N) == np.flatnonzero(WEIGHTS == 0)[0]
        return (codes,)
    X = rng.normal(size=(N, 5)) + 1
    return X, 0.8 * X + 0.3 * rng.normal(size=X.shape)


def test_all_metrics_but_those_of_models_and_dictionaries_take_weights_by_keyword():
    assert set(metrics.__all__) - {metric.__name__ for metric in WEIGHTED} == {
        "explained_variance_at",
        "mean_max_cosine_similarity",
    }
    for metric in WEIGHTED:
        parameter = inspect.signature(metric).parameters["sample_weight"]
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default is None


def test_weights_are_numbers_of_copies(subtests):
    for metric in WEIGHTED:
        with subtests.test(metric=metric):
            arrays = _arguments(metric)
            value = metric(*arrays, sample_weight=WEIGHTS)
            repeated = metric(*(np.repeat(array, WEIGHTS, axis=0) for array in arrays))
            assert type(value) is type(repeated)
            np.testing.assert_allclose(value, repeated, rtol=1e-12)
            # This ensures that weights are not ignored.
            assert not np.allclose(value, metric(*arrays), rtol=1e-6)


def test_samples_of_weight_0_are_left_out(subtests):
    """This holds even if their values allow no ratio or percentile."""
    for metric in WEIGHTED:
        with subtests.test(metric=metric):
            arrays = _arguments(metric)
            empty = [np.concatenate([array, np.zeros_like(array[:4])]) for array in arrays]
            weights = np.concatenate([WEIGHTS + 1, np.zeros(4)])
            np.testing.assert_array_equal(
                metric(*empty, sample_weight=weights), metric(*arrays, sample_weight=WEIGHTS + 1)
            )


def test_the_scale_of_weights_does_not_matter(subtests):
    for metric, factor in each_once(WEIGHTED, [1e-9, 7.0, 1e9]):
        with subtests.test(metric=metric, factor=factor):
            arrays = _arguments(metric)
            value = metric(*arrays, sample_weight=WEIGHTS)
            scaled = metric(*arrays, sample_weight=factor * WEIGHTS)
            np.testing.assert_allclose(scaled, value, rtol=1e-12)


def test_equal_weights_change_nothing(subtests):
    for metric in WEIGHTED:
        with subtests.test(metric=metric):
            arrays = _arguments(metric)
            for ones in (1, np.ones(N), [1] * N, np.ones(N, dtype=bool)):
                np.testing.assert_allclose(
                    metric(*arrays, sample_weight=ones), metric(*arrays), rtol=1e-12
                )


BAD_WEIGHTS = [
    (np.ones(N - 1), rf"sample_weight.shape == \({N - 1},\), expected \({N},\)!"),
    (np.ones((N, 1)), "Sample weights must be 1D array or scalar, got 2D array"),
    (np.where(np.arange(N) == 3, -1.0, 1.0), "Negative values in data passed to `sample_weight`"),
    (-1, "Negative values in data passed to `sample_weight`"),
    (np.zeros(N), "Sample weights must contain at least one non-zero number"),
    (np.where(np.arange(N) == 3, np.nan, 1.0), "Input sample_weight contains NaN"),
    (np.nan, "Input sample_weight contains NaN"),
    (np.inf, "Input sample_weight contains infinity"),
    (["much"] * N, "could not convert string to float"),
]


def test_bad_weights(subtests):
    for metric, bad in each_once(WEIGHTED, BAD_WEIGHTS):
        with subtests.test(metric=metric):
            weights, match = bad
            with pytest.raises(ValueError, match=match):
                metric(*_arguments(metric), sample_weight=weights)


OF_CODES = [metric for metric in WEIGHTED if len(_arguments(metric)) == 1]
CONTAINERS = [sparse.csr_array, sparse.csr_matrix, sparse.coo_array]


def test_sparse_codes(subtests):
    for metric, container in each_once(OF_CODES, CONTAINERS):
        with subtests.test(metric=metric, container=container):
            (codes,) = _arguments(metric)
            np.testing.assert_allclose(
                metric(container(codes), sample_weight=WEIGHTS),
                metric(codes, sample_weight=WEIGHTS),
            )


def test_data_are_constant_where_only_equal_samples_have_weight():
    with pytest.raises(ValueError, match=r"^X is constant over its 2 sample\(s\)"):
        metrics.fvu([[1.0], [1.0], [2.0]], [[1.0], [1.0], [1.0]], sample_weight=[0.1, 0.7, 0])
