"""Fits to samples with missing values, and outputs for such samples."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import fit_unwarned, fit_vaeense, shares_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEase, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.explanations import GateDictionary
from skvaeense.inspection import ActiveDimensionDisplay
from skvaeense.metrics import fvu
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.networks import MLP, Linear

X, _, DIMENSION = make_linear_subspaces(900, dims=(1, 3), n_features=8, noise=0.05, random_state=0)
MISSING = np.random.default_rng(0).uniform(size=X.shape) < 0.15
HOLED = np.where(MISSING, np.nan, X)
TRAIN, NEW = slice(0, 400), slice(400, None)
FEW = HOLED[:120]
NAMES = list("abcdefgh")
QUICK = VAEenseTransformer(4, model="mixture", random_state=0)


@pytest.fixture(scope="module")
def complete():
    """Return a default fit to complete samples."""
    return VAEenseTransformer(random_state=0).fit(X[TRAIN])


@pytest.fixture(scope="module")
def dimension():
    """Return a default dimension estimator fitted to the same samples with missing values."""
    return IntrinsicDimensionEstimator(random_state=0).fit(HOLED[TRAIN])


@pytest.fixture(scope="module")
def holed(dimension):
    """Return its default autoencoder."""
    return dimension.autoencoder_


@pytest.fixture(scope="module")
def quick():
    """Return a fit to few samples with missing values."""
    return clone(QUICK).fit(FEW)


# --- what is learned --------------------------------------------------------------------------


def test_codes_are_as_long_as_without_holes(complete, holed):
    for fitted, samples, tolerance in (
        (complete, X[NEW], 0.1),
        (holed, X[NEW], 0.1),
        (holed, HOLED[NEW], 0.2),
    ):
        active = fitted.active_dimensions(samples).sum(axis=1)
        means = [active[DIMENSION[NEW] == r].mean() for r in (1, 3)]
        assert_allclose(means, [1, 3], atol=tolerance)
    assert holed.score(X[NEW]) == pytest.approx(complete.score(X[NEW]), abs=0.2)


def test_codes_of_samples_with_holes_are_those_of_filled_ones(holed):
    codes = holed.transform(HOLED[NEW])
    assert np.isfinite(codes).all()
    assert_array_equal(codes, holed.transform(holed.impute(HOLED[NEW])))
    error = np.square(holed.inverse_transform(codes) - X[NEW]).mean()
    assert error < 0.02 * X.var()


def test_scores_and_components_are_those_of_what_is_known(holed):
    scores = holed.score_samples(HOLED[NEW])
    is_whole = ~MISSING[NEW].any(axis=1)
    assert_allclose(scores[is_whole], holed.score_samples(X[NEW])[is_whole], rtol=1e-10)
    assert_allclose(holed.score_samples(np.full((1, 8), np.nan)), 0, atol=1e-8)
    # The density of one feature integrates to 1, even if the parts are narrow.
    one = np.full((2001, 8), np.nan)
    one[:, 0] = np.linspace(-10, 10, 2001)
    assert np.trapezoid(np.exp(holed.score_samples(one)), one[:, 0]) == pytest.approx(1, abs=0.01)
    assert (holed.predict(HOLED[NEW]) == holed.predict(X[NEW])).mean() > 0.97
    assert_allclose(holed.predict_proba(HOLED[NEW]).sum(axis=1), 1)


def test_dimensions_are_found_through_holes(dimension):
    found = dimension.predict(HOLED[NEW])
    for r in (1, 3):
        assert found[DIMENSION[NEW] == r].mean() == pytest.approx(r, abs=0.4)
    assert np.isfinite(dimension.reliability(HOLED[NEW])).all()


def test_batches_and_later_fits_may_have_holes():
    vaeense = clone(QUICK)
    for batch in (FEW[:48], FEW[48:], X[:60]):
        vaeense.partial_fit(batch)
    for model in (vaeense, clone(QUICK).set_params(warm_start=True).fit(X[:120]).fit(FEW)):
        assert np.isfinite(model.transform(FEW)).all()


# --- what is filled in ------------------------------------------------------------------------


def test_imputed_features_are_near_the_true_ones_and_what_is_known_stays(complete, holed):
    missing, samples = MISSING[NEW], HOLED[NEW].copy()
    filled = [fitted.impute(samples) for fitted in (complete, holed)]
    errors = [np.square(found - X[NEW])[missing].mean() for found in filled]
    assert max(errors) < 0.02 * X.var()
    assert errors[1] < 1.2 * errors[0]
    assert_array_equal(samples, HOLED[NEW])
    assert_array_equal(filled[1][~missing], X[NEW][~missing])
    assert_array_equal(holed.impute(X[NEW]), X[NEW])


def test_draws_vary_about_the_mean(holed):
    few, missing = HOLED[NEW][:20], MISSING[NEW][:20]
    draws = holed.impute(few, n_draws=60, random_state=0)
    assert len(draws) == 60
    assert_array_equal(draws, holed.impute(few, n_draws=60, random_state=0))
    assert_array_equal(np.ptp(draws, axis=0)[~missing], 0)
    assert (np.ptp(draws, axis=0)[missing] > 0.01).all()
    z = (np.mean(draws, axis=0) - holed.impute(few))[missing]
    assert_allclose(z / np.std(draws, axis=0)[missing], 0, atol=4 / np.sqrt(60))
    with pytest.raises(ValueError, match="n_draws must be at least 1, got 0"):
        holed.impute(few, n_draws=0)


def test_draws_have_the_spread_of_the_truth(holed):
    """The rank of the true value among the draws is uniform."""
    draws = holed.impute(HOLED[NEW], n_draws=19, random_state=0)
    ranks = np.sum([draw < X[NEW] for draw in draws], axis=0)[MISSING[NEW]]
    assert_allclose(np.bincount(ranks // 5, minlength=4) / len(ranks), 0.25, atol=0.06)


def test_types_stay(quick):
    assert quick.impute(FEW.astype(np.float32)).dtype == np.float32
    assert quick.transform(FEW.astype(np.float32)).dtype == np.float32
    filled = quick.impute(torch.from_numpy(FEW))
    assert isinstance(filled, torch.Tensor)
    assert_allclose(filled.numpy(), quick.impute(FEW))


def test_p_values_of_new_samples_are_uniform(complete, holed):
    for fitted in (complete, holed):
        p_values = fitted.outlier_p_values(X[NEW])
        for level in (0.05, 0.2, 0.5, 0.8):
            assert (shares_of(p_values) <= level).mean() == pytest.approx(level, abs=0.09)
        assert fitted.outlier_p_values(X[NEW] + 3).max() < 0.02
    with pytest.raises(ValueError, match=r"missing values; fill them first, with impute"):
        holed.outlier_p_values(HOLED)


# --- beside scikit-learn ----------------------------------------------------------------------


def test_data_frames_come_out_as_they_came_in():
    frame = pd.DataFrame(FEW, columns=NAMES, index=np.arange(len(FEW)) + 7)
    vaeense = clone(QUICK).set_output(transform="pandas")
    codes = vaeense.fit_transform(frame)
    assert codes.index.equals(frame.index)
    assert not codes.isna().any(axis=None)
    for filled in (vaeense.impute(frame), *vaeense.impute(frame, n_draws=2, random_state=0)):
        assert not filled.isna().any(axis=None)
        pd.testing.assert_frame_equal(filled.where(frame.notna()), frame)


def test_pipelines_and_searches_take_holes():
    pipe = make_pipeline(StandardScaler(), clone(QUICK))
    grid = {"vaeensetransformer__n_components": [2, 4]}
    search = fit_unwarned(GridSearchCV(pipe, grid, cv=2), FEW[:48])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.isfinite(search.transform(FEW)).all()


def test_tags_and_errors_say_who_takes_holes(subtests):
    for takes in (VAEenseTransformer(), IntrinsicDimensionEstimator()):
        assert get_tags(takes).input_tags.allow_nan
    for refuses in (
        VAEenseTransformer(model="vaease"),
        VAEenseTransformer(model=VAEase("mlp")),
        SparseAutoencoder(),
        IntrinsicDimensionEstimator(SparseAutoencoder()),
        IntrinsicDimensionEstimator(VAEenseTransformer(model=VAEase("mlp"))),
    ):
        with subtests.test(estimator=refuses):
            assert not get_tags(refuses).input_tags.allow_nan
            with pytest.raises(ValueError, match="Input X contains NaN"):
                refuses.fit(FEW)


# --- errors -----------------------------------------------------------------------------------


def test_models_trained_by_gradients_take_no_holes_later():
    for network in (Linear((4,)), MLP((4,))):
        fitted = fit_vaeense(X[:120], network=network, max_iter=2)
        with pytest.raises(ValueError, match="Input X contains NaN"):
            fitted.transform(FEW)
        # Only a linear decoder has a density.
        assert hasattr(fitted, "impute") == isinstance(network, Linear)


def test_columns_that_are_never_seen_are_named_and_may_be_missing_later(quick, subtests):
    samples = FEW.copy()
    samples[:, 3] = np.nan
    assert np.isfinite(quick.transform(samples)).all()
    assert np.isfinite(quick.impute(samples)).all()
    # Rows without weight do not count.
    samples[0, 3] = 1.0
    weights = np.r_[0.0, np.ones(len(FEW) - 1)]
    for kind in (VAEenseTransformer, IntrinsicDimensionEstimator, SubspaceMixture):
        with subtests.test(kind=kind):
            with pytest.raises(ValueError, match=r"only NaN in column\(s\) 3"):
                kind().fit(samples, sample_weight=weights)
            with pytest.raises(ValueError, match=r"only NaN in column\(s\) 'd'\."):
                kind().fit(pd.DataFrame(samples[1:], columns=NAMES))


def test_infinity_is_not_missing(quick, subtests):
    samples = FEW.copy()
    samples[3, 2] = -np.inf
    for method in ("fit", "partial_fit", "transform", "score", "impute"):
        with (
            subtests.test(method=method),
            pytest.raises(ValueError, match="Input X contains infinity"),
        ):
            getattr(clone(quick) if "fit" in method else quick, method)(samples)


def test_sparse_samples_have_no_holes(quick):
    for call in (clone(quick).fit, quick.transform):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            call(sparse.csr_array(FEW))


# --- masks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        QUICK,
        SubspaceMixture(random_state=0),
        IntrinsicDimensionEstimator(QUICK, random_state=0),
    ],
    ids=["vaeense", "mixture", "dimension"],
)
def test_masked_entries_are_missing(estimator):
    masked = np.ma.masked_array(np.where(MISSING, 1e3, X), MISSING)[:120]
    ask = "predict" if isinstance(estimator, IntrinsicDimensionEstimator) else "score_samples"
    expected = fit_unwarned(clone(estimator), FEW)
    fitted = fit_unwarned(clone(estimator), masked)
    for samples, given in ((FEW[:20], masked[:20]), (FEW[:20], [*masked[:20]])):
        assert_array_equal(getattr(fitted, ask)(given), getattr(expected, ask)(samples))
    if hasattr(fitted, "impute"):
        assert_array_equal(fitted.impute(masked[:20]), expected.impute(FEW[:20]))
    if hasattr(fitted, "partial_fit"):
        first, second = (clone(estimator).partial_fit(own) for own in (masked, FEW))
        assert_array_equal(first.mean_, second.mean_)


def test_masks_are_refused_where_nothing_may_be_missing(quick, subtests):
    masked = np.ma.masked_array(X[:60], MISSING[:60])
    complete = X[:60]
    whole = np.ma.masked_array(complete, False)
    sae = SparseAutoencoder(4, max_iter=2, random_state=0)
    gates = GateDictionary(4, random_state=0).fit(complete)
    calls = {
        "X": lambda X: clone(sae).fit(X),
        "X of a batch": lambda X: clone(sae).partial_fit(X),
        "y": lambda X: clone(sae).fit(complete, X),
        "weights": lambda X: clone(sae).fit(complete, sample_weight=np.abs(X[:, 0])),
        "gates": lambda X: clone(gates).fit(X),
        "codes": lambda X: gates.inverse_transform(X[:, : gates.n_components_]),
        "codes of a model": lambda X: quick.inverse_transform(X[:, : quick.n_components_]),
        "a metric": lambda X: fvu(X, complete),
        "weights of a metric": lambda X: fvu(complete, complete + 1, sample_weight=abs(X[:, 0])),
        "labels": lambda X: ActiveDimensionDisplay(complete[:, 0], X[:, 0] > 0),
    }
    for name, call in calls.items():
        with subtests.test(name), pytest.raises(ValueError, match=r"has \d+ masked entries"):
            call(masked)
        with subtests.test(f"{name}, without a masked entry"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(whole)
