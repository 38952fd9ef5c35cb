"""Samples with weights."""

from functools import partial

import numpy as np
import pytest
from dask import array as dask_array
from helpers import fit_unwarned, with_net
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.metrics import fvu, l0
from skvaeense.samples import _sources

X, _, DIMENSION = make_linear_subspaces(400, dims=(1, 3), n_features=8, noise=0.05, random_state=0)
WEIGHTS = np.random.default_rng(0).integers(0, 4, len(X))
COPIES = X.repeat(WEIGHTS, axis=0)

ESTIMATORS = [
    VAEenseTransformer(random_state=0),
    VAEenseTransformer(target_l0=2, random_state=0),
    with_net(3, max_iter=5, random_state=0),
    with_net(network="mlp", max_iter=2, n_init=1, random_state=0),
    SparseAutoencoder(8, max_iter=3, random_state=0),
    IntrinsicDimensionEstimator(random_state=0),
]


def answers(estimator):
    for name in ("transform", "score_samples", "predict", "reliability"):
        if hasattr(estimator, name):
            yield name, getattr(estimator, name)(X[:50])
    for name in ("dimension_", "dimension_std_", "noise_variance_", "components_"):
        if hasattr(estimator, name):
            yield name, getattr(estimator, name)
    if hasattr(estimator, "autoencoder_"):
        for name, answer in answers(estimator.autoencoder_):
            yield f"autoencoder {name}", answer


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_a_whole_weight_is_as_good_as_copies(estimator):
    order = np.random.default_rng(1).permutation(len(X))
    weighted = fit_unwarned(clone(estimator), X[order], sample_weight=WEIGHTS[order])
    expected = dict(answers(weighted))
    for name, answer in answers(fit_unwarned(clone(estimator), COPIES)):
        assert_allclose(answer, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
    # A score is a weighted mean.
    score = weighted.score(X, sample_weight=WEIGHTS)
    assert_allclose(score, weighted.score(COPIES), rtol=1e-6)
    if isinstance(estimator, IntrinsicDimensionEstimator):
        score = weighted.score(X, DIMENSION, sample_weight=WEIGHTS)
        assert_allclose(score, weighted.score(COPIES, DIMENSION.repeat(WEIGHTS)), rtol=1e-9)


def test_a_dimension_is_that_of_weighted_samples():
    estimator = IntrinsicDimensionEstimator(aggregate="median", random_state=0)
    weights = np.where(DIMENSION == 3, 0.9, 0.1)
    dimension = fit_unwarned(estimator, X, sample_weight=weights).dimension_
    assert dimension == pytest.approx(3, abs=0.05)


def test_fractions_move_the_density():
    X, labels, _ = make_linear_subspaces(
        600, dims=(1, 2), n_features=6, offset_scale=4, noise=0.05, random_state=0
    )
    weights = np.where(labels == 0, 0.45, 4.05)
    vaeense = fit_unwarned(VAEenseTransformer(random_state=0), X, sample_weight=weights)
    share = weights[labels == 0].sum() / weights.sum()
    draws = vaeense.sample(4000, random_state=0)
    mean = np.average(X, axis=0, weights=weights)
    assert_allclose(draws.mean(axis=0), mean, atol=0.02 * np.ptp(X, axis=0).max())
    drawn = vaeense.predict(draws)
    is_first = drawn == vaeense.predict(X[labels == 0][:1])
    assert is_first.mean() == pytest.approx(share, abs=0.02)


def test_samples_of_weight_0_are_not_trained_on(monkeypatch):
    """This holds for arrays and for samples that are read during training."""

    def error(estimator):
        return np.square(X - estimator.inverse_transform(estimator.transform(X))).mean()

    rng = np.random.default_rng(0)
    others = X @ np.linalg.qr(rng.standard_normal((8, 8)))[0]
    both = np.concatenate([X, 5 * others])
    weights = np.repeat([1.0, 0.0], len(X))
    make = partial(VAEenseTransformer, target_l0=2, random_state=0)
    alone, of_others = (fit_unwarned(make(), samples) for samples in (X, others))
    monkeypatch.setattr(_sources, "IN_MEMORY", 0)
    for given in (both, dask_array.from_array(both)):
        estimator = fit_unwarned(make(), given, sample_weight=weights)
        # What the rows were centred at and divided by.
        assert_allclose(estimator._units_.center, alone._units_.center, atol=1e-9)
        assert estimator._units_.scale == pytest.approx(alone._units_.scale)
        assert error(estimator) < 2 * error(alone) < error(of_others) / 2


def test_partial_fit_takes_weights():
    weighted, copies = (VAEenseTransformer(4, random_state=0) for _ in range(2))
    for _ in range(2):
        weighted.partial_fit(X, sample_weight=WEIGHTS)
        copies.partial_fit(COPIES)
        assert_array_equal(weighted.mean_, copies.mean_)
        assert_allclose(weighted.transform(X), copies.transform(X), rtol=1e-9)


def test_far_samples_are_named_as_they_were_given():
    far = np.concatenate([X, X[:1], 1e5 + X[:1]])
    weights = np.r_[np.ones(len(X)), 3, 1]
    with pytest.warns(UserWarning, match=r"1 of 402 samples .* rows 401\."):
        VAEenseTransformer(random_state=0).fit(far, sample_weight=weights)


# --- metadata routing -------------------------------------------------------------------------


class Recorder(BaseEstimator):
    """An autoencoder that records the weights it gets."""

    def fit(self, X, y=None, sample_weight=None):
        self.weights_ = sample_weight
        return self

    def active_dimensions(self, X):
        return np.ones((len(X), 2), dtype=bool)


class Weightless(Recorder):
    """An autoencoder that takes no weights."""

    def fit(self, X, y=None):
        return self


def test_weights_reach_the_autoencoder():
    estimator = IntrinsicDimensionEstimator(Recorder(), method="count")
    assert_array_equal(estimator.fit(X, sample_weight=WEIGHTS).autoencoder_.weights_, WEIGHTS)
    assert estimator.fit(X).autoencoder_.weights_ is None
    with config_context(enable_metadata_routing=True):
        estimator.autoencoder.set_fit_request(sample_weight=True)
        assert_array_equal(estimator.fit(X, sample_weight=WEIGHTS).autoencoder_.weights_, WEIGHTS)
        estimator.autoencoder.set_fit_request(sample_weight=False)
        assert estimator.fit(X, sample_weight=WEIGHTS).autoencoder_.weights_ is None
    weightless = IntrinsicDimensionEstimator(Weightless(), method="count").fit(X)
    with pytest.raises(ValueError, match="Weightless does not support sample weights"):
        weightless.fit(X, sample_weight=WEIGHTS)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_are_routed_through_pipelines_and_splits():
    with config_context(enable_metadata_routing=True):
        vaeense = with_net(3, max_iter=2, random_state=0)
        vaeense.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), vaeense)
        found, other = (
            cross_validate(pipeline, X, cv=2, params={"sample_weight": weights})["test_score"]
            for weights in (WEIGHTS, np.ones(len(X)))
        )
        assert np.isfinite(found).all()
        assert not np.allclose(found, other)
        estimator = IntrinsicDimensionEstimator(random_state=0)
        assert fit_unwarned(estimator, X, sample_weight=WEIGHTS).dimension_ > 1


def test_a_target_counts_copies():
    """A row with many copies is both a training row and a held-out row."""
    X, *_ = make_sparse_dictionary(2000, n_atoms=32, n_active=4, n_features=16, random_state=0)
    X = np.vstack([X, np.repeat(X[:1], 600, axis=0) / 8])
    sae = SparseAutoencoder(32, target_l0=4, max_iter=20, random_state=0).fit(X)
    assert l0(sae.transform(X)) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("target", [{"target_l0": 3}, {"target_explained_variance": 0.7}])
def test_a_target_of_gates_counts_copies(target):
    """A fifth of the rows, the largest ones, hold three quarters of the weight.

    A target is meant for new samples.
    """
    X, *_ = make_sparse_dictionary(
        4000, n_atoms=32, n_active=(1, 7), n_features=16, noise=0.02, random_state=0
    )
    squares = np.square(X).sum(axis=1)
    weights = np.where(squares > np.quantile(squares, 0.8), 12.0, 1.0)
    vaeense = VAEenseTransformer(32, random_state=0, **target)
    vaeense.fit(X[:2000], sample_weight=weights[:2000])
    codes = vaeense.transform(X[2000:])
    if "target_l0" in target:
        length = np.average((codes != 0).sum(axis=1), weights=weights[2000:])
        assert length == pytest.approx(3, rel=0.1)
    else:
        decoded = vaeense.inverse_transform(codes)
        left = fvu(X[2000:], decoded, sample_weight=weights[2000:])
        assert left == pytest.approx(0.3, rel=0.1)
