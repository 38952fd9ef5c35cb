"""Outputs of the density of a fitted transformer: scores, draws, components, p-values."""

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import APART, MLP_SMALL, PAIRS, SUBSPACES, fit_unwarned, fit_vaeense
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris

from skvaeense import IntrinsicDimensionEstimator, VAEase, VAEenseTransformer, load, save
from skvaeense.dimension import ComponentRank
from skvaeense.nets.networks import MLP

X, X_NEW, _, DIMENSION = SUBSPACES


def fit(samples=X, **parameters):
    return fit_unwarned(VAEenseTransformer(random_state=0, **parameters), samples)


def explicit(estimator, samples):
    """Return the log-density in units of the samples, computed from explicit covariances."""
    density = estimator.density_
    unit = np.ones(len(density.center)) if density.scale is None else density.scale
    broad = density.background.log_prob(samples)
    terms = [broad + math.log(density.background_weight)]
    for c, noise in enumerate(density.noise_variances):
        mean = density.center + unit * (density.basis @ density.means[c])
        U = density.basis @ density.directions[c]
        covariance = U * (density.variances[c] - noise) @ U.T + noise * np.eye(len(U))
        normal = multivariate_normal(mean, covariance * np.outer(unit, unit))
        weight = (1 - density.background_weight) * density.weights[c]
        terms.append(np.log(weight) + normal.logpdf(samples))
    return logsumexp(terms, axis=0)


# --- scores ---------------------------------------------------------------------------------


def test_scores_are_those_of_explicit_covariances(union_fit, apart_fit):
    assert_allclose(union_fit.score_samples(X_NEW), explicit(union_fit, X_NEW), rtol=1e-8)
    assert union_fit.score(X_NEW) == pytest.approx(union_fit.score_samples(X_NEW).mean())
    assert len(apart_fit.locations_) == 2
    assert_allclose(apart_fit.score_samples(APART.new), explicit(apart_fit, APART.new), rtol=1e-7)


def test_scores_do_not_exceed_the_truth(union_fit):
    """The truth of a line and a plane with noise is known, except for their bases."""
    noise = np.square(X_NEW @ np.linalg.svd(X[::2], full_matrices=False)[2][3:].T).mean()
    terms = []
    for dimension in (1, 2):
        own = X_NEW[dimension == DIMENSION]
        basis = np.linalg.svd(own, full_matrices=False)[2][:dimension]
        normal = multivariate_normal(np.zeros(8), basis.T @ basis + noise * np.eye(8))
        terms.append(np.log(len(own) / len(X_NEW)) + normal.logpdf(X_NEW))
    gap = logsumexp(terms, axis=0) - union_fit.score_samples(X_NEW)
    assert -2 * gap.std() / math.sqrt(len(gap)) < gap.mean() < 0.3


def test_scores_keep_the_precision(union_fit):
    single, double = (union_fit.score_samples(X_NEW.astype(d)) for d in (np.float32, np.float64))
    assert single.dtype == np.float32
    assert_allclose(single, double, rtol=1e-3, atol=1e-2)
    assert union_fit.score_samples(np.full((1, 8), 10.0))[0] < double.min()
    with pytest.raises(ValueError, match="too far from the training samples"):
        union_fit.score_samples(np.full((1, 8), 1e200))


def test_without_a_gate_the_density_is_that_of_probabilistic_pca(union_fit):
    ungated = fit(n_components=3, model=VAEase(gated=False, n_init=1, max_iter=20))
    W, offset = ungated.components_.T, ungated.inverse_transform(np.zeros((1, 3)))[0]
    normal = multivariate_normal(offset, W @ W.T + ungated.noise_variance_ * np.eye(8))
    assert_allclose(ungated.score_samples(X_NEW), normal.logpdf(X_NEW), rtol=1e-5)
    assert (ungated.elbo_samples(X_NEW) < ungated.score_samples(X_NEW) + 1e-6).all()
    assert union_fit.score(X_NEW) > ungated.score(X_NEW)


@pytest.mark.parametrize("gated", [True, False])
def test_a_nonlinear_decoder_has_a_bound_and_no_density(gated, tmp_path):
    model = fit(X[:300], model=VAEase(MLP((16,)), gated=gated, n_init=1, max_iter=3))
    assert model.density_ is None
    scores = model.score_samples(X_NEW)
    assert_array_equal(scores, model.elbo_samples(X_NEW))
    assert model.score(X_NEW) == pytest.approx(scores.mean())
    drawn = model.sample(50, random_state=0)
    assert drawn.shape == (50, 8)
    for name in ("predict", "predict_proba", "component_ranks", "impute", "outlier_p_values"):
        assert not hasattr(model, name)
    save(model, tmp_path / "model")
    assert_array_equal(load(tmp_path / "model").sample(50, random_state=0), drawn)


# --- components and draws -------------------------------------------------------------------


def test_components_are_subspaces(union_fit, apart_fit):
    assert_array_equal(union_fit.component_ranks()[union_fit.predict(X_NEW)], DIMENSION)
    predicted = apart_fit.predict(APART.new)
    assert len(set(zip(APART.new_label, predicted, strict=True))) == 2
    assert_array_equal(apart_fit.component_ranks()[predicted], APART.new_label)
    probability = apart_fit.predict_proba(APART.new)
    assert_allclose(probability.sum(axis=1), 1)
    assert_array_equal(probability.argmax(axis=1), predicted)


def test_component_rank_is_a_dimension_method():
    estimator = IntrinsicDimensionEstimator(method="component_rank", random_state=0)
    fit_unwarned(estimator, APART.new)
    assert (estimator.dimension_pw_ == APART.new_label).mean() > 0.9


def test_component_rank_tells_how_sure_it_is():
    class TwoComponents:
        def predict_proba(self, X):
            return np.array([[1.0, 0.0], [0.75, 0.25]])

        def component_ranks(self):
            return np.array([2, 4])

    dimension, std = ComponentRank().estimate(TwoComponents(), np.zeros((2, 5)))
    assert_array_equal(dimension, [2, 2])
    assert_allclose(std, [0, 1])


def test_draws_are_likely_and_labelled(union_fit):
    drawn, labels = union_fit.density_.sample(500, np.random.RandomState(0))
    assert_array_equal(drawn, union_fit.sample(500, random_state=0))
    assert (union_fit.predict(drawn) == labels).mean() > 0.98
    assert union_fit.score(drawn) == pytest.approx(union_fit.score(X_NEW), abs=1.0)


# --- further fits, and copies ---------------------------------------------------------------


def test_another_fit_has_another_density():
    vaeense = fit(X[:200])
    first = vaeense.score(X_NEW)
    fit_unwarned(vaeense, X)
    assert vaeense.score(X_NEW) > first


def test_batches_add_up():
    vaeense = VAEenseTransformer(random_state=0)
    for rows in np.split(X[:600], 3):
        vaeense.partial_fit(rows)
    unscored = copy.deepcopy(vaeense).partial_fit(X[600:800])
    vaeense.score(X_NEW)
    assert vaeense.partial_fit(X[600:800]).score(X_NEW) == unscored.score(X_NEW)


def test_copies_and_threads_score_alike(tmp_path):
    vaeense = fit(X[:300])
    save(vaeense, tmp_path / "model.safetensors")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(vaeense.score_samples, [X_NEW, X_NEW])
    assert_array_equal(first, second)
    pickled = pickle.loads(pickle.dumps(vaeense))
    for other in (copy.deepcopy(vaeense), pickled, load(tmp_path / "model.safetensors")):
        assert_array_equal(other.score_samples(X_NEW), first)


def test_a_damaged_density_is_not_loaded(tmp_path):
    vaeense, path = fit(X[:300]), tmp_path / "damaged.safetensors"
    density = vaeense.density_
    for changes in ({"weights": -density.weights}, {"center": density.center[:5]}):
        vaeense.density_ = replace(density, **changes)
        save(vaeense, path)
        with pytest.raises(ValueError, match="damaged"):
            load(path)


# --- difficult tables -----------------------------------------------------------------------


@pytest.mark.parametrize("model", ["auto", VAEase(n_init=1, max_iter=5)], ids=["laws", "net"])
def test_odd_tables_have_finite_scores(model, subtests):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 5))
    for name, samples in {
        "constant features": np.hstack([rows, np.ones((60, 3))]),
        "all constant": np.ones((20, 4)),
        "duplicates": np.repeat(rows[:6], 10, axis=0),
        "fewer rows than features": rng.standard_normal((12, 40)),
        "two rows": rows[:2],
        "one feature": rows[:, :1],
    }.items():
        with subtests.test(name):
            vaeense = fit(samples, model=model)
            holes = samples.copy()
            holes[0, 0] = np.nan
            assert np.isfinite(vaeense.score_samples(samples)).all()
            assert np.isfinite(vaeense.sample(3, random_state=0)).all()
            assert np.isfinite(vaeense.impute(holes)).all()


def test_score_warns_of_repeated_values():
    X = pd.DataFrame(SUBSPACES.few).rename(columns=lambda j: f"c{j}")
    fitted = fit_vaeense(X)
    assert np.isfinite(fitted.score(X))
    X.loc[X.index[::9], "c1"] = 0.0
    with pytest.warns(UserWarning, match="rows or more in these columns: c1. Their") as record:
        fitted.score(X)
    assert record[0].filename == __file__
    # A score that is no density cannot have spikes, so it does not warn.
    assert np.isfinite(fit_vaeense(network=MLP_SMALL).score(X.to_numpy()))


def test_score_warns_where_no_sample_could_be_held_out():
    fitted = fit_vaeense(SUBSPACES.few[:5])
    with pytest.warns(UserWarning, match="learned from .* samples, too few to hold any out"):
        fitted.score(SUBSPACES.few)
    assert np.isfinite(fit_vaeense(SUBSPACES.few[:20]).score(SUBSPACES.few))


# --- default fits ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iris", "union", "apart", "pairs"])
def test_no_training_row_is_in_a_saved_default_fit(name, tmp_path, request):
    """Laws hold parameters, and no samples."""
    if name == "iris":
        X = load_iris().data
        fitted = VAEenseTransformer(random_state=0).fit(X)
    else:
        X = {"union": SUBSPACES, "apart": APART, "pairs": PAIRS}[name].few
        fitted = request.getfixturevalue(f"{name}_fit")
    save(fitted, tmp_path / "model.safetensors")
    written = (tmp_path / "model.safetensors").read_bytes()
    centers = [fitted._units_.center, fitted.mean_, *getattr(fitted, "locations_", [])]
    scaled = np.concatenate([(X - own) / fitted._units_.scale for own in centers])
    for row in (*X, *scaled):
        # Three features in a row are enough to recognise a sample.
        for dtype in (np.float32, np.float64):
            assert row[:3].astype(dtype).tobytes() not in written
    loaded = load(tmp_path / "model.safetensors")
    assert_array_equal(loaded.score_samples(X), fitted.score_samples(X))


def test_the_summary_says_what_was_found(union_fit):
    codes, density, nats, seconds = union_fit.summary().splitlines()
    assert codes.startswith("codes: mixture, ")
    assert codes.endswith("% of the variance")
    assert density.startswith("density: mixture, ")
    assert f"mixture {union_fit.explanation_nats_['mixture']:.2f}" in nats
    assert seconds.startswith("seconds: fit ")
    other = fit_unwarned(VAEenseTransformer(model=VAEase("mlp", max_iter=2)), SUBSPACES.few)
    assert other.summary().startswith("codes: vaease, ")


def test_where_gates_explain_samples_their_bound_counts(pairs_fit):
    fitted, X_new = pairs_fit, PAIRS.new
    assert fitted.explanation_ == fitted.density_name_ == "gates"
    scores = fitted.score_samples(X_new)
    assert_array_equal(scores, fitted.elbo_samples(X_new))
    assert scores.mean() > fitted._mixture_.log_prob(X_new).mean() + 1
    assert fitted.density_.noise_variance == pytest.approx(fitted.noise_variance_)
    with_holes = X_new[:10].copy()
    with_holes[:, 3] = np.nan
    assert np.isfinite(fitted.score_samples(with_holes)).all()
    assert np.isfinite(fitted.score_samples(1e6 * X_new[:10])).all()


def test_the_density_of_gates_has_no_more_than_one_of_mass():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3)) * (rng.random((600, 3)) < 0.4)
    X = X @ rng.standard_normal((3, 2)) + 0.1 * rng.standard_normal((600, 2))
    fitted = fit(X, n_components=3, model="gates")
    ticks = np.linspace(-12, 12, 240)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    mass = np.exp(fitted.elbo_samples(grid)).sum() * (ticks[1] - ticks[0]) ** 2
    assert 0.5 < mass < 1.01


@pytest.mark.parametrize("model", ["auto", VAEase(max_iter=5)], ids=["laws", "net"])
def test_p_values_of_many_features_and_few_latents_are_not_all_small(model):
    """Outside of the latents, the density is fitted without the rows that it is compared with."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4)) @ rng.standard_normal((4, 150))
    X += rng.standard_normal((400, 150))
    fitted = fit(X[:200], n_components=2, model=model)
    p_values = fitted.outlier_p_values(X[200:])
    assert (p_values <= 0.05).mean() < 0.12
    assert p_values.mean() > 0.4
