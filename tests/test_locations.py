"""Samples that lie apart, and few samples that are far from all others."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers import APART, changed, fit_unwarned, has_net
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from strategies import TABLES

from skvaeense import IntrinsicDimensionEstimator, VAEase, VAEenseTransformer, load, save
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.inspection import LatentDisplay, reconstruction_sparsity_curve
from skvaeense.metrics import fvu
from skvaeense.mixture._rows import Prepared

X, X_NEW, DIMENSION, NEW_DIMENSION = APART


def counts(fitted, X):
    return fitted.active_dimensions(X).sum(axis=1)


def far_rows(rows):
    return Prepared.of(rows, None, np.random.RandomState(0)).far


def copied(fitted, **params):
    return pickle.loads(pickle.dumps(fitted)).set_params(**params)


# --- locations ----------------------------------------------------------------------------------


def test_offsets_are_no_dimensions(apart_fit):
    assert np.abs(counts(apart_fit, X_NEW) - NEW_DIMENSION).mean() < 0.05
    other = VAEenseTransformer(random_state=0).fit(1000 * X + 7)
    assert_allclose(other.locations_, 1000 * apart_fit.locations_ + 7, rtol=1e-6)
    assert np.abs(counts(other, 1000 * X_NEW + 7) - NEW_DIMENSION).mean() < 0.05


@pytest.mark.parametrize("method", ["auto", "count"])
def test_dimension_estimator_decodes_with_locations(method):
    estimator = IntrinsicDimensionEstimator(method=method, random_state=0).fit(X)
    assert np.abs(estimator.predict(X_NEW) - NEW_DIMENSION).mean() < 0.05


@pytest.mark.parametrize(("n_flats", "noise"), [(2, 0.0), (3, 0.01)])
def test_parallel_flats_have_the_dimension_of_one(n_flats, noise):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    flats = 3 * rng.standard_normal((n_flats, 5)) @ axes[4:]
    rows = rng.standard_normal((900, 4)) @ axes[:4] + flats[rng.integers(n_flats, size=900)]
    rows += noise * rng.standard_normal(rows.shape)
    fitted = VAEenseTransformer(random_state=0).fit(rows[:600])
    codes = fitted.transform(rows[600:])
    assert_array_equal((codes != 0).sum(axis=1), 4)
    assert fvu(rows[600:], fitted.inverse_transform(codes)) < max(2 * noise**2, 1e-10)


@pytest.mark.slow
def test_two_dictionaries_are_refined_each_at_its_location():
    parts = [
        make_sparse_dictionary(
            1200, n_atoms=6 + 4 * i, n_active=2 + i, n_features=30, noise=0.02, random_state=i
        )
        for i in range(2)
    ]
    rows = np.concatenate([part[0] + 5 * np.eye(30)[i] for i, part in enumerate(parts)])
    true = np.concatenate([part[2] for part in parts])
    order = np.random.default_rng(0).permutation(len(rows))
    rows, true = rows[order], true[order]
    estimator = IntrinsicDimensionEstimator(random_state=0).fit(rows[:1800])
    assert len(estimator.autoencoder_.locations_) == 2
    assert np.abs(estimator.predict(rows[1800:]) - true[1800:]).mean() < 0.1


def test_active_latents_tell_where_samples_are(apart_fit):
    codes, location = apart_fit.transform(X_NEW), apart_fit.assign(X_NEW)
    # A line and a space of three dimensions have four directions.
    assert codes.shape[1] == apart_fit.n_components_ == 4
    assert apart_fit.locations_.shape == (2, 12)
    assert len(np.unique(np.c_[location, NEW_DIMENSION], axis=0)) == 2
    used = [set(np.flatnonzero((codes[location == i] != 0).any(axis=0))) for i in range(2)]
    assert used[0].isdisjoint(used[1])
    assert sorted(map(len, used)) == [1, 3]
    assert_array_equal(apart_fit.active_dimensions(X_NEW), codes != 0)
    names = apart_fit.get_feature_names_out()
    assert names.tolist() == [f"vaeensetransformer{i}" for i in range(4)]
    openness, mean, std = apart_fit.posterior(X_NEW)
    assert openness.shape == mean.shape == std.shape == codes.shape
    for i in range(2):
        assert_allclose(openness[location == i][:, sorted(used[1 - i])], 0, atol=1e-3)
    assert_array_equal(apart_fit.assign(X_NEW[:7]), location[:7])


def test_codes_times_components_and_a_location_are_the_reconstruction(apart_fit):
    codes = apart_fit.transform(X_NEW)
    reconstructed = apart_fit.inverse_transform(codes)
    origins = apart_fit.locations_[apart_fit.assign(X_NEW)]
    assert_allclose(codes @ apart_fit.components_ + origins, reconstructed, atol=1e-10)
    assert np.square(X_NEW - reconstructed).mean() < 1e-3 * X.var(axis=0).mean()
    # A code of 0 is the first location.
    nothing = apart_fit.inverse_transform(np.zeros((1, 4)))[0]
    assert_allclose(nothing, apart_fit.locations_[0])
    assert_array_equal(apart_fit.mean_, apart_fit.locations_[0])


def test_soft_sparse_and_single_precision_codes_keep_the_locations(apart_fit):
    codes, location = apart_fit.transform(X_NEW), apart_fit.assign(X_NEW)
    reconstructed = apart_fit.inverse_transform(codes)
    soft = changed(apart_fit, hard=False)
    assert_allclose(soft.inverse_transform(soft.transform(X_NEW)), reconstructed, atol=1e-2)
    sparse = changed(apart_fit, sparse_output=True).transform(X_NEW)
    assert_array_equal(sparse.toarray(), codes)
    assert_allclose(apart_fit.inverse_transform(sparse), reconstructed, rtol=1e-12)
    rows = X_NEW.astype(np.float32)
    single = apart_fit.transform(rows)
    assert single.dtype == apart_fit.score_samples(rows).dtype == np.float32
    assert_array_equal(apart_fit.assign(rows), location)
    assert_allclose(apart_fit.inverse_transform(single), reconstructed, atol=1e-3)


def test_gates_have_locations():
    points = TABLES["points"](np.random.default_rng(0), 40, 2)[:20]
    gates = fit_unwarned(VAEenseTransformer(random_state=0), points)
    assert gates.explanation_ == "share"
    probability, mean, std = gates.posterior(points)
    assert probability.shape == mean.shape == std.shape == (20, gates.n_components_)


def test_bounds_include_the_share_of_the_location():
    """The share among training samples adds to the log-density around the location."""
    rng = np.random.default_rng(0)
    # One sample in five is on the line.
    kept = (DIMENSION == 3) | (rng.random(len(X)) < 0.25)
    rows, new = X[kept], X_NEW + 0.05 * rng.standard_normal(X_NEW.shape)
    rows = rows + 0.05 * rng.standard_normal(rows.shape)
    fitted = VAEenseTransformer(random_state=0).fit(rows)
    bounds = fitted.elbo_samples(new)
    for dimension in (1, 3):
        own = rows[DIMENSION[kept] == dimension]
        normal = multivariate_normal(own.mean(axis=0), np.cov(own.T))
        is_own = dimension == NEW_DIMENSION
        expected = np.log(len(own) / len(rows)) + normal.logpdf(new[is_own]).mean()
        assert bounds[is_own].mean() == pytest.approx(expected, abs=0.15)


def test_drawn_samples_lie_where_training_samples_do(apart_fit):
    samples = apart_fit.sample(4000, random_state=0)
    # A few samples are from the broad distribution, which is for samples unlike all others.
    broad = apart_fit.score_samples(samples) < apart_fit.score_samples(X_NEW).min() - 20
    assert broad.mean() < 0.005
    samples = samples[~broad]
    nearest = np.square(samples[:, None] - apart_fit.locations_).sum(axis=2).argmin(axis=1)
    offsets = samples - apart_fit.locations_[nearest]
    variances = [np.linalg.eigvalsh(np.cov(offsets[nearest == i].T)) for i in range(2)]
    assert sorted(int((v > 0.1).sum()) for v in variances) == [1, 3]
    assert_allclose(np.bincount(nearest) / len(samples), 0.5, atol=0.03)


# --- one location -------------------------------------------------------------------------------


ONE_PLACE = {
    "a network": (X[:200], {"model": VAEase("mlp", max_iter=2)}),
    "no gates": (X[:200], {"model": VAEase(gated=False, max_iter=2)}),
    "parts that meet": (
        make_linear_subspaces(1000, dims=(1, 2), n_features=8, random_state=0)[0],
        {},
    ),
    "points over and over": (np.repeat(np.eye(3), 60, axis=0), {}),
}


@pytest.mark.parametrize("name", ONE_PLACE)
def test_others_have_one_location(name):
    rows, params = ONE_PLACE[name]
    fitted = VAEenseTransformer(4, random_state=0, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(rows)
    assert not hasattr(fitted, "locations_")
    assert_array_equal(fitted.assign(rows), 0)
    origin = rows if has_net(fitted) else fitted.inverse_transform(np.zeros((1, 4)))
    assert_allclose(fitted.mean_, origin.mean(axis=0))
    assert np.isfinite(fitted.transform(rows)).all()


# --- going on, and files ------------------------------------------------------------------------


def test_further_samples_keep_the_locations_and_a_new_fit_forgets_them(apart_fit):
    again = copied(apart_fit, warm_start=True).fit(X)
    assert_array_equal(again.locations_, apart_fit.locations_)
    more = copied(apart_fit).partial_fit(X[:100])
    assert_allclose(more.locations_, apart_fit.locations_, atol=0.1)
    assert_array_equal(more.assign(X_NEW), apart_fit.assign(X_NEW))
    more.fit(X[DIMENSION == 3])
    assert not hasattr(more, "locations_")
    assert more.n_components_ == 3


DAMAGES = {
    "points of other samples": {"points": np.zeros((2, 5))},
    "no numbers": {"points": np.full((2, 12), np.nan)},
    "no such location": {"owners": np.array([0, 0, 0, 7])},
    "one is missing": {"owners": np.array([0, 0, 1])},
    "no integers": {"owners": np.array([0.0, 0.0, 0.0, 1.0])},
    "no such part": {"parts": np.array([0, 0, 0, 7])},
    "too few pieces": {"groups": np.array([0])},
    "no noise": {"noise_variance": 0.0},
}
DAMAGES_OF_THE_PIECES = {
    "basis": lambda pieces: {"basis": np.zeros((9, 12))},
    "no orthonormal basis": lambda pieces: {"basis": 2 * pieces.basis},
    "variances": lambda pieces: {"variances": -pieces.variances},
    "weights": lambda pieces: {"weights": np.zeros(1)},
}


def test_damaged_laws_are_refused(apart_fit, tmp_path, subtests):
    law, path = apart_fit.coder_, tmp_path / "model.safetensors"
    damages = {name: replace(law, **changes) for name, changes in DAMAGES.items()}
    for name, change in DAMAGES_OF_THE_PIECES.items():
        damages[name] = replace(law, pieces=replace(law.pieces, **change(law.pieces)))
    broken = copied(apart_fit)
    for name, damaged in damages.items():
        with subtests.test(name):
            broken._coder_ = damaged
            save(broken, path)
            with pytest.raises(ValueError, match="damaged"):
                load(path)


# --- inspection ---------------------------------------------------------------------------------


def test_curve_and_display_of_several_locations(apart_fit):
    n_active, error, own = reconstruction_sparsity_curve(apart_fit, X_NEW)
    assert n_active[-1] <= apart_fit.n_components_
    # Without latents, the first location is decoded. With all of them there is no error.
    first = np.square(X_NEW - apart_fit.locations_[0]).mean() / X_NEW.var(axis=0).mean()
    assert error[0] == pytest.approx(first)
    assert error[-1] < 1e-3
    assert own[0] == pytest.approx(counts(apart_fit, X_NEW).mean())
    assert own[1] < 0.01
    pytest.importorskip("matplotlib")
    shown = LatentDisplay.from_estimator(apart_fit)
    assert len(shown.latents) == apart_fit.n_components_


# --- far rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [20, 1000])
def test_far_rows_are_named_and_left_out(distance):
    rows, _, dimension = make_linear_subspaces(1500, dims=(2, 4), n_features=20, random_state=0)
    far = np.arange(5, 1000, 50)
    noise = np.random.default_rng(0).standard_normal((len(far), 20))
    rows[far] = distance * np.sqrt(np.square(rows).mean()) * noise
    rows, new, dimension = rows[:1000], rows[1000:], dimension[1000:]
    # At the smaller distance, some of them still count for a few hundredths.
    message = "^1. of 1000 samples are far from all others"
    if distance == 1000:
        message = "^20 of 1000 samples are far from all others.*: rows 5, 55, 105, 155, 205, ..."
    with pytest.warns(UserWarning, match=message) as record:
        fitted = VAEenseTransformer(random_state=0).fit(rows)
    assert record[0].filename == __file__
    assert np.abs(counts(fitted, new) - dimension).mean() < 0.05
    spread = fitted.sample(4000, random_state=0).std(axis=0)
    assert np.linalg.norm(spread) == pytest.approx(np.linalg.norm(new.std(axis=0)), rel=0.1)
    scores = fitted.score_samples(rows)
    assert set(np.argsort(scores)[: len(far)]) == set(far)
    if distance == 20:
        with pytest.warns(UserWarning, match="far from all others"):
            estimator = IntrinsicDimensionEstimator(random_state=0).fit(rows)
        assert np.abs(estimator.predict(new) - dimension).mean() < 0.05


def test_far_rows_are_found_in_many_samples_of_any_unit():
    rows = np.random.default_rng(0).standard_normal((10_000, 5))
    rows[[3, 9000]] = 1e4
    for unit in (1e-145, 1.0, 1e100):
        assert_array_equal(far_rows(unit * rows), [3, 9000])
    rows[3] = 1e300
    assert_array_equal(far_rows(rows), [3, 9000])


def test_tails_and_parts_are_not_far():
    rng = np.random.default_rng(0)
    tails = rng.standard_t(4, size=(2000, 5))
    parts = np.concatenate([rng.standard_normal((1800, 5)), 50 + rng.standard_normal((200, 5))])
    for rows in (tails, parts, np.zeros((50, 3)), np.ones((1, 3))):
        assert len(far_rows(rows)) == 0
