"""SubspaceMixture: components that it finds, kinds of data, and missing values."""

import pickle
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest, multivariate_normal, poisson
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from sklearn.mixture import GaussianMixture

from skvaeense.datasets import make_linear_subspaces
from skvaeense.mixture import SubspaceMixture


def fit(X, seed=0, sample_weight=None, **parameters):
    """Return a mixture fitted to these rows, after a check of its density."""
    mixture = SubspaceMixture(random_state=seed, **parameters)
    mixture.fit(X, sample_weight=sample_weight)
    mixture.density_.check()
    assert np.isfinite(mixture.score_samples(X)).all()
    return mixture


def subspaces(n_samples=600, dims=(1, 3), n_features=8, noise=0.05, seed=0):
    """Return samples of a union of subspaces, and the subspace of each sample."""
    X, y, _ = make_linear_subspaces(
        n_samples, dims=dims, n_features=n_features, noise=noise, random_state=seed
    )
    return X, y


def flats(n_each, dims, n_features, noise=0.05, seed=0):
    """Return samples of affine parts that lie apart, and the part of each sample."""
    rng, parts = np.random.default_rng(seed), []
    for dim in dims:
        basis = np.linalg.qr(rng.standard_normal((n_features, dim)))[0]
        x = rng.standard_normal((n_each, dim)) @ basis.T + 2 * rng.standard_normal(n_features)
        parts.append(x + noise * rng.standard_normal(x.shape))
    return np.concatenate(parts), np.repeat(np.arange(len(dims)), n_each)


UNION = subspaces()[0]


@pytest.fixture(scope="module")
def mixture():
    """Return a mixture of a line and a three-dimensional subspace."""
    return fit(UNION)


def holed(X, share=0.3, seed=0):
    """Return the same rows with missing values."""
    return np.where(np.random.default_rng(seed).uniform(size=X.shape) < share, np.nan, X)


# --- what it finds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "dims", "d", "noise", "seed"),
    [
        (1000, (3, 5, 9), 20, 0, 0),
        (1000, (3, 5, 9), 20, 0.05, 2),
        (3000, (8, 16, 24), 60, 0.05, 0),
        pytest.param(6000, (4,) * 30, 40, 0.05, 0, marks=pytest.mark.slow),
    ],
)
def test_ranks_of_subspaces_are_found(n, dims, d, noise, seed):
    X, y = subspaces(n, dims, d, noise, seed)
    mixture = fit(X, seed)
    assert sorted(mixture.ranks_) == list(dims)
    assert adjusted_rand_score(y, mixture.predict(X)) > (0.99 if len(dims) == 3 else 0.9)


def test_affine_parts_are_found_up_to_a_number():
    X, y = flats(200, [2] * 8, 10)
    mixture = fit(X)
    assert_array_equal(mixture.ranks_, [2] * 8)
    assert_allclose(mixture.noise_variances_, 0.05**2, rtol=0.2)
    assert adjusted_rand_score(y, mixture.predict(X)) > 0.95
    assert fit(X, max_components=2).n_components_ <= 2


def test_bases_span_the_subspaces():
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.standard_normal((8, rank)))[0].T for rank in (1, 3)]
    X = np.concatenate([3 * rng.standard_normal((300, len(basis))) @ basis for basis in bases])
    X += 5 + 0.05 * rng.standard_normal(X.shape)
    mixture = fit(X)
    order = mixture.ranks_.argsort()
    assert_allclose(mixture.means_, 5, atol=0.7)
    assert_allclose(mixture.weights_, 0.5, atol=0.05)
    for c, basis in zip(order, bases, strict=True):
        found = mixture.bases_[c]
        assert_allclose(found @ found.T, np.eye(len(basis)), atol=1e-10)
        assert_allclose(np.linalg.svd(found @ basis.T)[1], 1, atol=1e-3)


def test_rows_off_all_parts_join_no_component():
    X, _ = subspaces(1000, (3, 5, 9), 20)
    X[:10] = 2 * np.random.default_rng(0).standard_normal((10, 20))
    mixture = fit(X)
    assert sorted(mixture.ranks_) == [3, 5, 9]
    assert mixture.density_.background_weight == pytest.approx(0.01, rel=0.1)
    assert (mixture.outlier_p_values(X[:10]) < 0.03).all()


def test_far_rows_join_no_component():
    X, _ = subspaces(1000, (3, 5, 9), 20)
    X[:10] = 100 * np.random.default_rng(0).standard_normal((10, 20))
    with pytest.warns(UserWarning, match="^10 of 1000 samples are far") as record:
        mixture = fit(X)
    assert record[0].filename == __file__
    assert sorted(mixture.ranks_) == [3, 5, 9]
    assert (mixture.outlier_p_values(X[:10]) < 0.03).all()


def test_the_density_is_near_the_true_one():
    X, _ = subspaces(4000, noise=0.1)
    mixture = fit(X[:2000])
    truth = [
        multivariate_normal(np.zeros(8), np.cov(X[i == mixture.predict(X)].T)) for i in range(2)
    ]
    true = np.logaddexp(*[normal.logpdf(X[2000:]) + np.log(0.5) for normal in truth])
    assert mixture.score(X[2000:]) == pytest.approx(true.mean(), abs=0.1)


@pytest.mark.parametrize("seed", range(2))
def test_a_normal_distribution_is_one_component(seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2400, 4)) @ rng.standard_normal((4, 4)) + 3
    normal = multivariate_normal(np.full(4, 3), np.cov(X.T))
    # Values may be missing in the second half of the training rows.
    for train, lost in ((X[:400], 0.06), (np.r_[X[:200], holed(X[200:400])], 0.15)):
        mixture = fit(train)
        assert mixture.n_components_ == 1
        assert_allclose(mixture.means_[0], 3, atol=0.5)
        assert mixture.score(X[400:]) > normal.logpdf(X[400:]).mean() - lost


@pytest.mark.parametrize("n", [500, 2000])
def test_a_small_gain_among_many_trials_is_chance(n):
    # With these rows, the best of several components gains more than half a standard error.
    X = np.random.default_rng(3).standard_normal((n, 2))
    assert fit(X).n_components_ == 1


@pytest.mark.parametrize("noise", [0, 1e-5])
def test_a_plane_with_hardly_any_noise_is_one_component(noise):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((30, 2)))[0]
    X = rng.standard_normal((300, 2)) @ basis.T + noise * rng.standard_normal((300, 30))
    assert_array_equal(fit(X).ranks_, [2])


def test_clusters_of_common_shape_are_found_beside_rounded_copies():
    """Rounded copies tempt the search to stop at one component with many directions."""
    rng = np.random.default_rng(1)
    shape, centers = rng.standard_normal((8, 8)), 2 * rng.standard_normal((6, 8))
    labels = rng.integers(6, size=480)
    X = centers[labels] + rng.standard_normal((480, 8)) @ shape
    X = np.c_[X, np.round(X[:, :2]), rng.integers(2, size=(480, 2))]
    mixture = fit(X[:240])
    assert mixture.n_components_ > 2
    assert mixture.score(X[240:]) > fit(X[:240], n_components=1).score(X[240:]) + 0.3


@pytest.mark.parametrize("k", [1, 3])
def test_the_number_of_components_may_be_given(k):
    mixture = fit(UNION, n_components=k)
    assert mixture.n_components_ == k
    assert len(mixture.ranks_) == len(mixture.bases_) == len(mixture.weights_) == k


@pytest.mark.slow
def test_many_directions_are_kept_if_there_are_rows_for_them():
    """Images of a spot have no noise, and vary in many directions."""
    rng, grid = np.random.default_rng(0), np.arange(12)
    row, column, width = rng.uniform([[2], [2], [1]], [[10], [10], [2]], (3, 1000))[..., None, None]
    squares = (grid[:, None] - row) ** 2 + (grid - column) ** 2
    X = np.exp(-squares / (2 * width**2)).reshape(1000, -1)
    mixture = GaussianMixture(4, reg_covar=1e-6 * X.var(), random_state=0).fit(X[:700])
    assert fit(X[:700]).score(X[700:]) > mixture.score(X[700:])


def test_thin_curved_sheets_are_not_a_few_flat_parts():
    """The Lorenz attractor: flat parts leave noise, and many parts with all directions do not."""
    X = np.random.default_rng(1).standard_normal((1500, 3)) * 5 + [0, 0, 25]
    for _ in range(2000):
        x, y, z = X.T
        X = X + 0.005 * np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], axis=1)
    gaussians = GaussianMixture(16, random_state=0).fit(X[:1000])
    assert fit(X[:1000], seed=1).score(X[1000:]) > gaussians.score(X[1000:])


# --- weights and order ------------------------------------------------------------------------


def assert_same(first, second, X):
    """Check that two mixtures are equal."""
    assert_array_equal(first.ranks_, second.ranks_)
    for name in ("weights_", "means_", "noise_variances_"):
        assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-7, atol=1e-12)
    assert_allclose(first.score_samples(X), second.score_samples(X), rtol=1e-7)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_whole_weights_are_repeated_rows_in_any_order(share):
    X = holed(subspaces(120)[0], share)
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    repeated = np.random.default_rng(1).permutation(np.repeat(X, weights, axis=0))
    mixture = fit(X, sample_weight=weights)
    assert_same(mixture, fit(repeated), X)
    assert_allclose(mixture.score(X, sample_weight=weights), mixture.score(repeated), rtol=1e-12)


def test_only_ratios_of_weights_matter_and_they_may_be_0_or_large():
    (X, y), rng = subspaces(200), np.random.default_rng(0)
    weights = (y == 0) * rng.integers(1, 4, 200)
    mixture = fit(X, sample_weight=weights)
    for factor in (1e-300, 1e300):
        assert_same(fit(X, sample_weight=factor * weights), mixture, X)
    assert_same(fit(X[y == 0], sample_weight=weights[y == 0]), mixture, X)
    fit(X, sample_weight=10.0 ** rng.integers(-20, 20, 200))


# --- odd data ---------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
PLAIN = RNG.standard_normal((300, 4))
ODD = {
    "all the same": np.ones((50, 3)),
    "one feature": PLAIN[:, :1],
    "whole numbers": RNG.poisson(3, (300, 3)),
    "two values": RNG.integers(0, 2, (300, 6)),
    "repeated rows": np.repeat(PLAIN[:60], 5, axis=0),
    "two rows, repeated": np.repeat(PLAIN[:2], 50, axis=0),
    "two samples": PLAIN[:2],
    "two samples that are the same": np.ones((2, 3)),
    "three samples": PLAIN[:3],
    "more features than samples": RNG.standard_normal((12, 130)),
    "many features": RNG.standard_normal((100, 140)),
    "many features, all the same": np.ones((9, 140)),
    "a dependent column": np.c_[PLAIN, PLAIN.sum(axis=1)],
    "two values that depend": np.eye(40)[RNG.integers(40, size=60)],
    "heavy tails": RNG.standard_cauchy((300, 3)),
    "one far row": np.r_[PLAIN, np.full((1, 4), 1e9)],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_data_has_a_density(name):
    X, has_far = ODD[name], name in ("heavy tails", "one far row")
    with pytest.warns(UserWarning, match="are far from all") if has_far else nullcontext():
        mixture = fit(X)
    assert np.isfinite(mixture.sample(10, random_state=0)[0]).all()
    proba = mixture.predict_proba(X)
    assert_allclose(proba.sum(axis=1), 1)
    p_values = mixture.outlier_p_values(X)
    assert ((p_values > 0) & (p_values <= 1)).all()
    holes = np.array(X, dtype=float)
    holes[::2, 0] = np.nan
    assert np.isfinite(mixture.impute(holes)).all()
    assert np.isfinite(mixture.score_samples(holes)).all()
    if name in ("whole numbers", "two samples", "more features than samples"):
        holes = np.where(np.arange(np.size(X)).reshape(np.shape(X)) == 1, np.nan, X)
        assert np.isfinite(fit(holes).impute(holes)).all()


@pytest.mark.slow
def test_columns_of_codes_have_a_density():
    rng = np.random.default_rng(0)
    codes = [np.eye(k)[rng.integers(k, size=100)] for k in (8, 30, 60)]
    X = np.hstack(codes)
    assert np.isfinite(fit(X).score_samples(X)).all()


def test_a_constant_column_changes_nothing():
    X = np.c_[PLAIN, np.full(300, 7.0)]
    mixture = fit(X)
    assert mixture.n_components_ == 1
    nothing_known = np.c_[PLAIN, np.full(300, np.nan)]
    assert mixture.score(nothing_known) == pytest.approx(fit(PLAIN).score(PLAIN), abs=0.05)
    # A new value in this column is not extremely improbable, either.
    assert mixture.score(np.c_[PLAIN, np.full(300, 8.0)]) > -100


@pytest.mark.parametrize(
    ("scale", "offset"), [(1, 1e6), (1, -1e8), (1e-148, 0), (1e-110, 0), (1e30, 0), (1e148, 0)]
)
def test_units_do_not_matter(scale, offset, mixture):
    """Variances that are shares of others, and multiples of them, stay within the range."""
    X = scale * UNION + offset
    found = fit(X)
    assert_array_equal(found.predict(X), mixture.predict(UNION))
    expected = mixture.score(UNION) - 8 * np.log(scale)
    assert found.score(X) == pytest.approx(expected, abs=1e-3)
    assert_allclose(found.outlier_p_values(X), mixture.outlier_p_values(UNION), rtol=0.1)
    assert (found.noise_variances_ > 0).all()


def test_scales_of_columns_hardly_matter(mixture):
    scales = np.logspace(-6, 6, 8)
    scaled = fit(UNION * scales)
    assert scaled.n_components_ == 2
    expected = mixture.score(UNION) - np.log(scales).sum()
    assert scaled.score(UNION * scales) == pytest.approx(expected, abs=0.2)


# --- outliers ---------------------------------------------------------------------------------


def test_p_values_of_new_samples_are_uniform():
    X, _ = subspaces(5000)
    mixture = fit(X[:3000])
    found = kstest(mixture.outlier_p_values(X[3000:]), "uniform").statistic
    # The p-values compare with this number of held-out rows.
    n_held_out = len(mixture.density_.held_out)
    assert found < 1.7 * np.sqrt(1 / 2000 + 1 / n_held_out)
    assert (mixture.outlier_p_values(X[3000:] + 10) < 0.01).all()


def test_outliers_that_are_alike_are_outliers_among_training_rows_too():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(1000, 10))
    centers = rng.normal(size=(6, 10))
    centers *= 9 / np.linalg.norm(centers, axis=1, keepdims=True)
    alike = np.repeat(centers, 16, axis=0) + 0.05 * rng.normal(size=(96, 10))
    mixture = fit(np.vstack([X[:600], alike[::2]]))
    new, is_outlier = np.vstack([X[600:], alike[1::2]]), np.arange(448) >= 400
    # They have components of their own, so their density is high.
    assert roc_auc_score(is_outlier, -mixture.score_samples(new)) < 0.2
    assert roc_auc_score(is_outlier, -mixture.outlier_p_values(new)) > 0.9
    # A shift of all values by half a standard deviation is noticed, too.
    X, _ = subspaces(800)
    assert np.median(fit(X[:600]).outlier_p_values(X[600:] + 0.5)) < 0.01


def test_outliers_are_found_if_one_in_seven_training_rows_is_one():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(900, 6)) @ np.diag([3.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    outliers = 0.5 * rng.normal(size=(200, 6)) + [0, 0, 8, 0, 0, 0]
    mixture = fit(np.vstack([X[:600], outliers[:100]]))
    assert (mixture.outlier_p_values(X[600:]) <= 0.05).mean() < 0.1
    assert (mixture.outlier_p_values(outliers[100:]) <= 0.05).mean() > 0.4
    assert mixture.density_.core is not None
    # Their density is as high as that of other rows.
    assert mixture.score(outliers[100:]) > mixture.score(X[600:])


def test_p_values_need_complete_samples(mixture):
    with pytest.raises(ValueError, match=r"missing values\. .* impute"):
        mixture.outlier_p_values(holed(UNION))
    with pytest.raises(ValueError, match=r"missing values\. .* impute"):
        fit(holed(UNION[:60])).outlier_p_values(UNION)


# --- missing values ---------------------------------------------------------------------------


@pytest.mark.slow
def test_holes_are_better_left_than_filled_with_means():
    X, _ = subspaces(900, noise=0.1)
    train = holed(X[:300])
    mean = np.where(np.isnan(train), np.nanmean(train, axis=0), train)
    score = fit(train).score(X[300:])
    assert score > fit(mean).score(X[300:]) + 2
    assert score > fit(X[:300]).score(X[300:]) - 0.5


def test_imputed_features_are_near_the_true_ones(mixture):
    X, _ = subspaces(900)
    holes = holed(X[600:], 0.2)
    missing = np.isnan(holes)
    error = (mixture.impute(holes) - X[600:])[missing].std()
    assert error < 0.5 * X[600:][missing].std()


@pytest.mark.parametrize("name", ["nothing in common", "heavy tails"])
def test_imputed_features_are_no_worse_than_column_means(name):
    """Nothing is learned from columns with nothing in common, and nothing is made up."""
    rng = np.random.default_rng(0)
    X = (
        rng.standard_normal((150, 6))
        if name == "nothing in common"
        else rng.standard_t(2, (150, 6))
    )
    holes = holed(X, 0.2)
    missing = np.isnan(holes)
    means = np.broadcast_to(np.nanmean(holes, axis=0), X.shape)
    filled = SubspaceMixture(random_state=0).fit(holes).impute(holes)
    error, most = (np.square(Y - X)[missing].mean() for Y in (filled, means))
    assert error < 1.03 * most


def test_patterns_of_holes_may_be_few_or_many():
    """Rows that miss the same features share a system; other rows do not change them."""
    X, _ = subspaces(400)
    mixture = fit(X)
    few, many = np.where(np.arange(8) < 3, np.nan, X[:50]), holed(X[50:], 0.4)
    alone = mixture.impute(few)
    assert_allclose(mixture.impute(np.r_[few, many])[:50], alone, rtol=1e-9)
    assert_allclose(mixture.score_samples(np.r_[many, few])[-50:], mixture.score_samples(few))


def test_data_frames_stay_as_they_are():
    frame = pd.DataFrame(UNION[:100], columns=list("abcdefgh"), index=np.arange(100) + 7)
    frame["b"] = frame["b"].astype(np.float32)
    mixture = fit(frame)
    assert_array_equal(mixture.feature_names_in_, list("abcdefgh"))
    holes = frame.mask(np.isnan(holed(frame, 0.1)))
    for filled in (mixture.impute(holes), *mixture.impute(holes, n_draws=2, random_state=0)):
        assert isinstance(filled, pd.DataFrame)
        assert filled.columns.equals(frame.columns)
        assert filled.index.equals(frame.index)
        assert (filled.dtypes == frame.dtypes).all()
        assert not filled.isna().any(axis=None)
        pd.testing.assert_frame_equal(filled.where(holes.notna()), holes)


def test_draws_differ_where_features_are_missing(mixture):
    holes = holed(UNION[:200])
    before, known = holes.copy(), ~np.isnan(holes)
    draws = mixture.impute(holes, n_draws=3, random_state=0)
    assert len(draws) == 3
    for filled in (mixture.impute(holes), *draws):
        assert_array_equal(filled[known], UNION[:200][known])
    assert_array_equal(holes, before)
    assert not (draws[0] == draws[1])[~known].any()
    assert_array_equal(draws, mixture.impute(holes, n_draws=3, random_state=0))
    mean = np.mean(mixture.impute(holes[:5], n_draws=300, random_state=0), axis=0)
    assert_allclose(mean, mixture.impute(holes[:5]), atol=0.3)


def test_columns_without_values_are_named_and_leave_nothing_behind():
    X = PLAIN.copy()
    X[:, 2] = np.nan
    mixture = SubspaceMixture()
    for rows, name in ((X, "2"), (pd.DataFrame(X, columns=list("abcd")), "'c'")):
        with pytest.raises(ValueError, match=rf"only NaN in column\(s\) {name}\."):
            mixture.fit(rows)
        with pytest.raises(NotFittedError, match="This SubspaceMixture instance is not fitted"):
            mixture.predict(PLAIN)


# --- the interface ----------------------------------------------------------------------------


def test_bad_arguments(mixture):
    """Other bad input is refused as in all estimators: see the checks of scikit-learn."""
    with pytest.raises(ValueError, match="must contain at least one non-zero number"):
        SubspaceMixture().fit(UNION, sample_weight=np.zeros(600))
    with pytest.raises(ValueError, match="n_samples must be at least 1, got"):
        mixture.sample(0)
    with pytest.raises(ValueError, match="n_draws must be at least 1, got 0"):
        mixture.impute(UNION, n_draws=0)
    for method in ("outlier_p_values", "impute", "sample"):
        with pytest.raises(NotFittedError, match="This SubspaceMixture instance is not fitted yet"):
            getattr(SubspaceMixture(), method)(*[PLAIN] * (method != "sample"))


def test_draws_are_those_of_the_density(mixture):
    X, y = mixture.sample(2000, random_state=0)
    assert X.shape == (2000, 8)
    assert mixture.score(X) == pytest.approx(mixture.score(UNION), abs=0.3)
    assert adjusted_rand_score(y, mixture.predict(X)) > 0.9
    assert_array_equal(mixture.predict(X), mixture.predict_proba(X).argmax(axis=1))
    assert mixture.score(X) == pytest.approx(mixture.score_samples(X).mean())
    assert_array_equal(mixture.sample(5, random_state=1)[0], mixture.sample(5, random_state=1)[0])


def test_mixtures_are_pickled_and_cloned(mixture):
    loaded = pickle.loads(pickle.dumps(mixture))
    assert_array_equal(loaded.score_samples(UNION), mixture.score_samples(UNION))
    assert_array_equal(loaded.outlier_p_values(UNION), mixture.outlier_p_values(UNION))
    assert not hasattr(clone(mixture), "density_")


def test_rows_that_stand_many_times_among_many():
    """Components grow from a subset of rows, in which few rows may have most of the weight."""
    X = np.random.default_rng(0).standard_normal((3000, 4)) * [1.0, 1.0, 0.1, 0.1]
    heavy = np.repeat(X[:20], 200, axis=0)
    mixture = SubspaceMixture(random_state=0).fit(np.r_[X, heavy])
    assert np.isfinite(mixture.score(X))


@pytest.mark.parametrize(
    ("n", "d", "rank", "noise"), [(40, 500, 5, 0.1), (40, 500, 5, 0.5), (100, 1500, 3, 0.1)]
)
def test_fewer_rows_than_features(n, d, rank, noise):
    """Directions found in few rows contain some of their noise, but none of that of new rows."""
    rng = np.random.default_rng(0)
    loadings = rng.standard_normal((rank, d))
    X = rng.standard_normal((n + 200, rank)) @ loadings
    X += noise * rng.standard_normal(X.shape)
    train, test = X[:n], X[n:]
    mixture = SubspaceMixture(random_state=0).fit(train)
    assert mixture.ranks_.tolist() == [rank]
    # The expected score: principal components of the true number, and noise from their residual.
    centred = train - train.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    variances = sizes[:rank] ** 2 / n
    g = np.square(sizes[rank:]).sum() / (d - rank) / (n - rank - 1)
    code = (test - train.mean(axis=0)) @ directions[:rank].T
    left = np.square(test - train.mean(axis=0)).sum(axis=1) - np.square(code).sum(axis=1)
    determinant = np.log(variances).sum() + (d - rank) * np.log(g) + d * np.log(2 * np.pi)
    known = -0.5 * (np.square(code) @ (1 / variances) + left / g + determinant)
    assert mixture.score(test) > known.mean() - 0.02 * d


@pytest.mark.parametrize(
    ("n", "d", "rank"), [(300, 200, 20), pytest.param(600, 300, 150, marks=pytest.mark.slow)]
)
def test_many_features_are_as_probable_as_under_principal_components(n, d, rank):
    """Directions of the density come from all rows; a search has only those not held out."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) / np.sqrt(rank)
    X += 0.3 * rng.standard_normal(X.shape)
    train, test = X[: 3 * n // 4], X[3 * n // 4 :]
    assert fit(train).score(test) > PCA(rank).fit(train).score(test)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_p_values_of_many_features_compare_with_rows_that_are_held_out(scale):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 200)) @ np.diag(np.geomspace(1, scale, 200))
    p_values = fit(X[:300]).outlier_p_values(X[300:])
    assert (p_values <= 0.05).mean() < 0.1
    assert 0.4 < p_values.mean() < 0.65


def test_components_of_many_features_have_a_dimension_each():
    X, _ = subspaces(300, dims=(2, 2, 3), n_features=150, noise=0.3)
    with pytest.warns(ConvergenceWarning, match="of n_components=12 were found"):
        mixture = fit(X, n_components=12)
    assert len(mixture.ranks_) == len(mixture.weights_)


# --- the range of float64 -----------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_units_beyond_the_range_of_float64(share, subtests):
    far = np.where(np.arange(600)[:, None] < 300, UNION, 1e200 + UNION)
    for scale, X in ((1e-300, UNION), (1e-160, UNION), (1e155, UNION), (1e300, UNION), (1.0, far)):
        with (
            subtests.test(scale=scale),
            pytest.raises(ValueError, match="beyond the range of float64"),
        ):
            fit(holed(scale * X, share))


@pytest.mark.parametrize(("size", "share"), [(1e50, 0.2), (1e150, 0.0), (1e300, 0.2)])
def test_a_far_row_does_not_change_the_parts(size, share):
    X = holed(UNION, share)
    far = np.where(np.isnan(X[:1]), X[:1], size)
    with pytest.warns(UserWarning, match="1 of 601 samples are far .* rows 600"):
        mixture = SubspaceMixture(random_state=0).fit(np.r_[X, far])
    assert sorted(mixture.ranks_) == [1, 3]
    assert np.isfinite(mixture.score_samples(X)).all()


def test_large_numbers_have_a_density():
    X = np.random.default_rng(0).standard_normal((40, 150))
    far = np.where(np.arange(40)[:, None] == 5, 1e300, X)
    with pytest.warns(UserWarning, match="1 of 40 samples are far .* rows 5"):
        mixture = SubspaceMixture(random_state=0).fit(far)
    assert np.isfinite(mixture.score_samples(np.delete(X, 5, axis=0))).all()
    fit(np.full((50, 3), 1.7e308))


def test_answers_that_are_not_finite_are_refused(mixture):
    near = UNION[:2].copy()
    near[0] = 1e100
    holes = np.where(np.arange(8) == 0, np.nan, 1e200)[None]
    for method in (
        "score_samples",
        "score",
        "predict",
        "predict_proba",
        "outlier_p_values",
        "impute",
    ):
        ask = getattr(mixture, method)
        assert np.isfinite(ask(near)).all()
        with pytest.raises(ValueError, match="X has samples too far from the training samples"):
            ask(holes if method == "impute" else np.r_[near, np.full((1, 8), 1e200)])


# --- the number of components -------------------------------------------------------------------


def test_more_components_than_samples():
    weights = np.r_[np.ones(5), np.zeros(5)]
    for parameters in ({"X": PLAIN[:5]}, {"X": PLAIN[:10], "sample_weight": weights}):
        with pytest.raises(ValueError, match=r"got n_components = 6, n_samples = 5\. Set"):
            SubspaceMixture(6).fit(**parameters)


@pytest.mark.parametrize(("X", "k"), [(UNION, 70), (np.ones((50, 3)), 2)])
def test_components_that_are_not_found_are_counted(X, k):
    message = rf"Only \d+ components of n_components={k}"
    with pytest.warns(ConvergenceWarning, match=message) as record:
        mixture = SubspaceMixture(k, random_state=0).fit(X)
    # The warning points to this file, and not into a library.
    assert record[0].filename == __file__
    assert mixture.n_components_ < k


# --- columns with a step ------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1.0, 0.25])
def test_scores_of_counts_are_probabilities(step):
    rng = np.random.RandomState(0)
    group = rng.randint(2, size=600)
    counts = rng.poisson(np.where(group[:, None], [0.3, 4], [2, 0.5]))
    mixture = fit(step * counts)
    grid = np.stack(np.meshgrid(np.arange(-9, 25), np.arange(-9, 25)), axis=-1).reshape(-1, 2)
    probabilities = np.exp(mixture.score_samples(step * grid)) * step**2
    # The rest lies beyond the grid, under the background.
    assert probabilities.sum() == pytest.approx(1, abs=0.04)
    true = np.mean(
        [poisson.pmf(counts, rates).prod(axis=1) for rates in ([0.3, 4], [2, 0.5])], axis=0
    )
    lost = np.log(true) - mixture.score_samples(step * counts) - 2 * np.log(step)
    assert lost.mean() < 0.5


def test_a_constant_pattern_is_no_spike():
    rng = np.random.RandomState(0)
    X = np.c_[rng.normal(size=(300, 2)), rng.randint(2, size=300)]
    mixture = fit(X)
    # Half a step is the least standard deviation along a column.
    assert min(mixture.density_.covariance(c)[2, 2] for c in range(len(mixture.density_))) > 0.24
