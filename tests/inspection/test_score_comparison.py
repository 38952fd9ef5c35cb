import re

import numpy as np
import pandas as pd
import pytest
from helpers import quick_sae, quick_vaeense
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, RepeatedKFold, ShuffleSplit
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted

from skvaeense.inspection import ScoreComparisonDisplay, compare_scores

# Options that leave samples unchanged.
EXACT = {"dequantize": None, "noise_floor": 0.0}


class Normal(BaseEstimator):
    """A fixed normal density."""

    def __init__(self, loc=0.0, scale=1.0):
        self.loc = loc
        self.scale = scale

    def fit(self, X, y=None):
        return self

    def score_samples(self, X):
        return norm.logpdf(X, self.loc, self.scale).sum(axis=1)


class TotalNormal(Normal):
    """A normal density whose only score is the sum over samples."""

    score_samples = property()

    def score(self, X, y=None):
        return norm.logpdf(X, self.loc, self.scale).sum()


class Column(Normal):
    """A column as scores, which shows the samples that estimators get."""

    def score_samples(self, X):
        return X[:, self.loc]


class Uniform(Normal):
    """A density with bounded support."""

    def score_samples(self, X):
        return np.where((np.abs(X) < self.scale).all(axis=1), 0.0, -np.inf)


@pytest.fixture(scope="module")
def correlated():
    """Return correlated samples of different scales, away from the origin."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((90, 3)) @ rng.standard_normal((3, 3)) * [1, 20, 0.1] + [5, 300, 2]


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(1).standard_normal((400, 2))


def seen(X, **params):
    """Return the samples that estimators get."""
    columns = {f"{j}": Column(j) for j in range(np.shape(X)[1])}
    return compare_scores(columns, X, **params).sample_scores.T


def test_known_normal_densities(normal):
    estimators = {"truth": Normal(), "shifted": Normal(0.3), "wide": Normal(scale=2.0)}
    result = compare_scores(estimators, normal, random_state=0, **EXACT)
    expected = np.array([e.score_samples(normal) for e in estimators.values()])
    assert result.names == ["truth", "shifted", "wide"]
    assert result.reference == "truth"
    assert_allclose(result.sample_scores, expected)
    assert_allclose(result.mean, expected.mean(axis=1))
    assert_allclose(result.std_error, expected.std(axis=1, ddof=1) / 20)
    # log N(x; 0.3, 1) - log N(x; 0, 1), summed over two columns.
    paired = (0.3 * normal - 0.045).sum(axis=1)
    assert result.difference[1] == pytest.approx(paired.mean())
    assert result.difference_std_error[1] == pytest.approx(paired.std(ddof=1) / 20)
    assert result.difference_std_error[1] < 0.5 * result.std_error[1]


def test_scores_of_folds(normal):
    splits = list(KFold(4).split(normal))
    estimators = {"a": Normal(), "b": Normal(0.3)}
    result = compare_scores(estimators, normal, cv=splits, reference="b", **EXACT)
    paired = (0.045 - 0.3 * normal).sum(axis=1)
    by_fold = paired.reshape(4, 100).mean(axis=1)
    assert_allclose(np.diff(result.fold_scores[::-1], axis=0)[0], by_fold, atol=1e-12)
    assert_allclose(result.fold_scores[0], norm.logpdf(normal).sum(1).reshape(4, 100).mean(1))


def test_score_may_be_a_mean_or_a_sum(normal):
    result = compare_scores([Normal(), TotalNormal()], normal, random_state=0, **EXACT)
    assert_allclose(result.sample_scores[1], result.sample_scores[0])


def test_units_shift_all_scores_alike(correlated):
    estimators = [EmpiricalCovariance(), GaussianMixture(reg_covar=0)]
    result = compare_scores(estimators, correlated, random_state=0)
    assert_allclose(result.sample_scores[0], result.sample_scores[1])
    scaled = compare_scores(estimators, 10 * correlated, random_state=0)
    assert_allclose(scaled.sample_scores, result.sample_scores - 3 * np.log(10))


def test_affine_steps_do_not_change_a_full_normal_density(correlated, subtests):
    """A full normal density is equivariant, so scores differ only by the log-determinant."""
    for step in (
        StandardScaler(with_std=False),
        MinMaxScaler((-1, 3)),
        MaxAbsScaler(),
        RobustScaler(unit_variance=True),
        RobustScaler(with_scaling=False),
        PCA(),
        make_pipeline(StandardScaler(), "passthrough", PCA(whiten=True)),
    ):
        with subtests.test(step=step):
            density = GaussianMixture(reg_covar=0)
            estimators = {
                "without": density,
                "with": Pipeline([("step", step), ("density", density)]),
            }
            result = compare_scores(estimators, correlated, random_state=0, **EXACT)
            assert_allclose(result.sample_scores[1], result.sample_scores[0])


def test_pipeline_is_the_density_of_samples_that_are_scaled_by_hand(correlated):
    train, test = np.arange(60), np.arange(60, 90)
    pipeline = make_pipeline(StandardScaler(), PCA(1))
    result = compare_scores([pipeline], correlated, cv=[(train, test)], **EXACT)
    mean, std = correlated[train].mean(axis=0), correlated[train].std(axis=0)
    pca = PCA(1).fit((correlated[train] - mean) / std)
    expected = pca.score_samples((correlated[test] - mean) / std) - np.log(std).sum()
    assert_allclose(result.sample_scores[0, test], expected)
    assert np.isnan(result.sample_scores[0, train]).all()


def test_steps_can_hand_on_data_frames(correlated):
    steps = MinMaxScaler(), StandardScaler(), GaussianMixture(random_state=0)
    plain = make_pipeline(*steps)
    framed = make_pipeline(*map(clone, steps)).set_output(transform="pandas")
    result = compare_scores([plain, framed], correlated, random_state=0)
    assert_allclose(result.sample_scores[0], result.sample_scores[1])


def test_search_is_made_in_each_fold(correlated):
    inside = make_pipeline(StandardScaler(), GridSearchCV(KernelDensity(), {"bandwidth": [0.3, 1]}))
    assert compare_scores([inside], correlated, random_state=0).names == ["KernelDensity"]
    search = GridSearchCV(make_pipeline(StandardScaler(), PCA()), {"pca__n_components": [1, 2]})
    folds = list(KFold(3).split(correlated))
    result = compare_scores([search], correlated, cv=folds, **EXACT)
    assert result.names == ["PCA"]
    for k, (train, test) in enumerate(folds):
        search.fit(correlated[train])
        scale = search.best_estimator_[0].scale_
        expected = search.best_estimator_.score(correlated[test]) - np.log(scale).sum()
        assert result.fold_scores[0, k] == pytest.approx(expected)


def test_given_estimators_are_not_fitted(correlated):
    pipeline = make_pipeline(StandardScaler(), PCA(1))
    estimators = {"a": pipeline, "b": FactorAnalysis(1)}
    compare_scores(estimators, correlated)
    assert estimators["a"] is pipeline
    for estimator in (pipeline, pipeline[0], pipeline[1], estimators["b"]):
        assert not [name for name in vars(estimator) if name.endswith("_")]
    with pytest.raises(ValueError, match="not fitted"):
        check_is_fitted(pipeline[1])


def test_autoencoders_take_part(subspaces):
    X, _ = subspaces
    estimators = [quick_vaeense(max_iter=3), quick_vaeense(max_iter=3, gated=False), PCA(2)]
    folds = [(np.arange(150), np.arange(150, 300))]
    with pytest.warns(match="max_iter"):
        result = compare_scores(estimators, X, cv=folds, **EXACT)
    assert result.names == ["VAEenseTransformer 1", "VAEenseTransformer 2", "PCA"]
    assert result.sample_scores.dtype == np.float64
    expected = PCA(2).fit(X[:150]).score(X[150:])
    assert result.mean[2] == pytest.approx(expected)
    assert np.isfinite(result.mean).all()


def test_samples_that_are_held_out_several_times_or_never(normal):
    rng = np.random.default_rng(0)
    splitter = RepeatedKFold(n_splits=2, n_repeats=2, random_state=0)
    result = compare_scores([FactorAnalysis(1)], normal, cv=splitter, **EXACT)
    each = np.empty((2, len(normal)))
    for k, (train, test) in enumerate(splitter.split(normal)):
        each[k // 2, test] = FactorAnalysis(1).fit(normal[train]).score_samples(normal[test])
    assert_allclose(result.sample_scores[0], each.mean(axis=0))
    part = ShuffleSplit(1, test_size=0.25, random_state=int(rng.integers(100)))
    result = compare_scores([Normal()], normal, cv=part, **EXACT)
    assert np.isfinite(result.sample_scores).sum() == 100
    assert result.mean == pytest.approx(np.nanmean(result.sample_scores))


def test_rows_are_shuffled_into_folds():
    X = np.sort(np.random.default_rng(0).standard_normal(100))[:, np.newaxis]
    result = compare_scores([Column(0)], X, random_state=0, **EXACT)
    assert np.ptp(result.fold_scores) < 1
    again = compare_scores([Column(0)], X, random_state=0, **EXACT)
    assert_array_equal(result.fold_scores, again.fold_scores)


def test_workers_give_the_same_scores(correlated):
    estimators = [PCA(1), FactorAnalysis(1)]
    one = compare_scores(estimators, correlated, random_state=0)
    with parallel_config(backend="threading"):
        two = compare_scores(estimators, correlated, random_state=0, n_jobs=2)
    assert_array_equal(one.sample_scores, two.sample_scores)


def test_whole_numbers_are_dequantized():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(-3, 17, 500), rng.standard_normal(500), np.full(500, 7)])
    noisy = seen(X, noise_floor=0, random_state=0)
    noise = noisy - X
    assert_array_equal(noisy[:, 1], X[:, 1])
    for j in (0, 2):
        assert ((noise[:, j] >= 0) & (noise[:, j] < 1)).all()
        assert noise[:, j].mean() == pytest.approx(0.5, abs=0.05)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 2])[0, 1]) < 0.15
    result = compare_scores([Normal()], pd.DataFrame(X, columns=["a", "b", "c"]))
    assert result.dequantized == ["a", "c"]
    # A density on (7, 8) has at most the score of the uniform density.
    assert compare_scores([GaussianMixture()], X[:, [2]], random_state=0).mean[0] < 0


def test_dequantized_score_is_below_the_log_probability():
    X = np.random.default_rng(0).integers(0, 4, (2000, 1))
    result = compare_scores([KernelDensity(bandwidth=0.05)], X, random_state=0)
    assert -np.log(4) - 0.1 < result.mean[0] < -np.log(4)


def test_given_widths_are_used(subtests):
    for dequantize in (0.1, [0.1, 0.5]):
        with subtests.test(dequantize=dequantize):
            X = np.tile([[0.1, 1.5], [0.3, 2.0]], (100, 1))
            noise = seen(X, dequantize=dequantize, noise_floor=0) - X
            widths = np.broadcast_to(dequantize, 2)
            assert (noise >= 0).all()
            assert (noise < widths).all()
            assert (noise.max(axis=0) > 0.9 * widths).all()


def test_noise_floor_is_a_fraction_of_each_column(correlated):
    scale = [1.0, 1e6, 1e-6]
    X = np.tile(correlated * scale, (30, 1))
    noise = seen(X, noise_floor=0.1, random_state=0) - X
    assert_allclose(noise.std(axis=0), 0.1 * X.std(axis=0), rtol=0.05)


def test_noise_floor_bounds_the_score_of_a_constant():
    X = np.full((2000, 1), 0.3)
    with pytest.warns(UserWarning, match="these columns: x0"):
        result = compare_scores([GaussianMixture(reg_covar=0)], X, noise_floor=1e-2)
    assert result.mean[0] == pytest.approx(-np.log(1e-2 * np.sqrt(2 * np.pi * np.e)), abs=0.1)


def test_discrete_columns_are_named():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.standard_normal((100, 3)), columns=["free", "sex", "zeros"])
    X["sex"] = np.where(X["sex"] > 0, 0.05, -0.045)
    X.loc[:20, "zeros"] = 0.0
    with pytest.warns(UserWarning, match="columns: sex, zeros.*bounded only by noise_floor"):
        result = compare_scores([Normal()], X)
    assert result.dequantized == []
    with pytest.warns(UserWarning, match="noise_floor=0"):
        compare_scores([Normal()], X, noise_floor=0)
    with pytest.warns(UserWarning, match="x9 and 2 more"):
        compare_scores([Normal()], np.full((20, 12), 0.5))
    result = compare_scores([Normal()], X[["free", "sex"]], dequantize=[0, 0.095])
    assert result.dequantized == ["sex"]


def test_densities_with_bounded_support(normal):
    result = compare_scores([Uniform(scale=0.1), Uniform(scale=0.2), Normal()], normal)
    assert_array_equal(result.mean[:2], [-np.inf, -np.inf])
    assert result.reference == "Normal"
    display = ScoreComparisonDisplay(result).plot()
    display.figure_.canvas.draw()
    assert np.isfinite(display.ax_.get_xlim()).all()
    outside = compare_scores({"a": Uniform(scale=0.1), "b": Normal()}, normal, reference="a")
    with pytest.raises(ValueError, match="The reference 'a' has the mean score -inf"):
        ScoreComparisonDisplay(outside).plot()


def test_steps_without_a_log_determinant_are_named(correlated, subtests):
    for step, error, message in (
        (Normalizer(), TypeError, "step Normalizer() of mine"),
        (PowerTransformer(), TypeError, "must be instances of PCA, MaxAbsScaler, MinMaxScaler"),
        (make_pipeline(Normalizer()), TypeError, "step Normalizer() of mine"),
        (MinMaxScaler(clip=True), ValueError, "Set clip=False"),
        (PCA(2), ValueError, "keeps 2 of 3 dimensions"),
    ):
        with subtests.test(message=message):
            pipeline = Pipeline([("step", step), ("density", GaussianMixture())])
            with pytest.raises(error, match=re.escape(message)):
                compare_scores({"mine": pipeline}, correlated)


class Spike(Normal):
    """A density with infinite values."""

    def score_samples(self, X):
        return np.full(len(X), np.inf)


class Unfittable(Normal):
    def fit(self, X, y=None):
        raise AssertionError("Fitted before the others were checked.")


def test_what_is_no_density_is_refused_before_anything_is_fitted(correlated, subtests):
    for estimator in (
        make_pipeline(Normalizer(), PCA()),
        StandardScaler(),
        IsolationForest(),
        LogisticRegression(),
        make_pipeline(StandardScaler(), GridSearchCV(KMeans(), {"n_clusters": [2]})),
        quick_sae(),
    ):
        with subtests.test(estimator=estimator), pytest.raises(TypeError, match="mine"):
            compare_scores({"first": Unfittable(), "mine": estimator}, correlated)


def test_bad_parameters(correlated, subtests):
    for estimators, params, message in (
        ([], {}, "at least one estimator"),
        ([PCA()], {"reference": "GMM"}, r"reference must be one of \['PCA'\]"),
        ([PCA()], {"dequantize": "always"}, "dequantize must be"),
        ([PCA()], {"dequantize": [1.0]}, "dequantize must be 'auto', None, one non-negative width"),
        ([PCA()], {"noise_floor": -1}, "noise_floor must be"),
        ([PCA()], {"noise_floor": "auto"}, "noise_floor must be"),
        ([GridSearchCV(PCA(), {}, refit=False)], {}, "refit=True"),
        ([Normal(np.nan)], {}, "Normal gave a held-out sample"),
        ([Spike()], {}, "NaN or infinite"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            compare_scores(estimators, correlated, **params)
    for estimators in (make_pipeline(StandardScaler(), PCA()), [("a", PCA())]):
        with pytest.raises(TypeError, match="a list or a dict"):
            compare_scores(estimators, correlated)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        compare_scores([PCA()], [[np.nan], [1.0], [2.0]])
    with pytest.raises(ValueError, match="splits=5 greater than"):
        compare_scores([PCA()], np.eye(3))


def test_picture(normal):
    estimators = {"far": Normal(1.0), "best": Normal(), "near": Normal(0.2)}
    result = compare_scores(estimators, normal, random_state=0, **EXACT)
    display = ScoreComparisonDisplay(result).plot()
    names = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert names == ["best", "near", "far"]
    order = [1, 2, 0]
    points, _, (bars,) = display.points_
    assert_allclose(points.get_xdata(), result.mean[order])
    assert display.ax_.yaxis_inverted()
    widths = [np.ptp(segment[:, 0]) for segment in bars.get_segments()]
    assert_allclose(widths, 4 * result.difference_std_error[order], atol=1e-12)
    widths = [np.ptp(segment[:, 0]) for segment in display.intervals_[2][0].get_segments()]
    assert_allclose(widths, 4 * result.std_error[order])
    offsets = display.folds_.get_offsets()[:, 0].reshape(3, 5)
    assert_allclose(offsets, result.mean[1] + (result.fold_scores - result.fold_scores[1])[order])
    labels = [text.get_text() for text in display.ax_.texts]
    assert labels[0] == "reference"
    assert labels[1].replace("\N{MINUS SIGN}", "-").startswith(f"{result.difference[2]:+.2f}")
