"""Samples that lie apart, and few samples that are far from all others."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers import APART, changed, fit_unwarned
from numpy.testing import assert_allclose, assert_array_equal
from strategies import TABLES

from skvaeense import Checkpoint, IntrinsicDimensionEstimator, VAEenseTransformer, load, save
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.explanations._rows import find_far_rows
from skvaeense.export import to_onnx
from skvaeense.inspection import LatentDisplay, latent_ablation, reconstruction_sparsity_curve
from skvaeense.metrics import fvu

X, X_NEW, DIMENSION, NEW_DIMENSION = APART


def counts(fitted, X):
    return fitted.active_dimensions(X).sum(axis=1)


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
def test_parallel_flats_share_their_latents(n_flats, noise):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    flats = 3 * rng.standard_normal((n_flats, 5)) @ axes[4:]
    rows = rng.standard_normal((900, 4)) @ axes[:4] + flats[rng.integers(n_flats, size=900)]
    rows += noise * rng.standard_normal(rows.shape)
    fitted = VAEenseTransformer(random_state=0).fit(rows[:600])
    codes = fitted.transform(rows[600:])
    assert_array_equal((codes != 0).sum(axis=1), 5)
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


def test_last_columns_of_codes_say_where_samples_are(apart_fit):
    codes = apart_fit.transform(X_NEW)
    assert codes.shape[1] == apart_fit.n_components_ == apart_fit.module_.n_components + 2
    hot = codes[:, -2:]
    assert_array_equal(np.sort(hot, axis=1), [[0.0, 1.0]] * len(hot))
    assert len(np.unique(np.c_[hot.argmax(axis=1), NEW_DIMENSION], axis=0)) == 2
    assert not apart_fit.active_dimensions(X_NEW)[:, -2:].any()
    assert_array_equal(apart_fit.components_[-2:], apart_fit.locations_ - apart_fit.mean_)
    names = apart_fit.get_feature_names_out()
    assert names[0] == "vaeensetransformer0"
    assert names[-2:].tolist() == ["vaeensetransformer_location0", "vaeensetransformer_location1"]
    assert len(names) == codes.shape[1]
    mean, std = apart_fit.posterior(X_NEW)
    assert mean.shape == std.shape == codes.shape
    assert_array_equal(mean[:, -2:], hot)
    assert_array_equal(std[:, -2:], 0)


def test_codes_times_components_are_the_reconstruction(apart_fit):
    codes = apart_fit.transform(X_NEW)
    reconstructed = apart_fit.inverse_transform(codes)
    offset = apart_fit.inverse_transform(np.zeros((1, codes.shape[1])))
    assert_allclose(codes @ apart_fit.components_ + offset, reconstructed, atol=1e-10)
    assert np.square(X_NEW - reconstructed).mean() < 1e-3 * apart_fit.scale_**2


def test_hard_sparse_and_single_precision_codes_keep_the_locations(apart_fit):
    hot = apart_fit.transform(X_NEW)[:, -2:]
    hard = changed(apart_fit, hard=True)
    assert_array_equal(hard.transform(X_NEW)[:, -2:], hot)
    out = np.empty((len(X_NEW), apart_fit.n_components_))
    assert_array_equal(hard.transform(X_NEW, out=out), hard.transform(X_NEW))
    sparse = changed(hard, sparse_output=True).transform(X_NEW)
    assert_array_equal(sparse.toarray()[:, -2:], hot)
    decoded = hard.inverse_transform(sparse)
    assert_allclose(decoded, hard.inverse_transform(sparse.toarray()), rtol=1e-12)
    single = apart_fit.transform(X_NEW.astype(np.float32))
    assert single.dtype == apart_fit.score_samples(X_NEW.astype(np.float32)).dtype == np.float32
    assert_array_equal(single[:, -2:], hot)


def test_posterior_of_gates_is_certain_of_locations():
    points = TABLES["points"](np.random.default_rng(0), 40, 2)[:20]
    gates = fit_unwarned(VAEenseTransformer(max_iter=3, random_state=0), points)
    assert len(gates.locations_) == 2
    probability, mean, std = gates.posterior(points)
    assert probability.shape == mean.shape == std.shape == (20, gates.n_components_)
    assert_array_equal(probability[:, -2:], mean[:, -2:])
    assert_array_equal(std[:, -2:], 0)


def test_bounds_include_the_share_of_the_location(apart_fit):
    fitted = apart_fit
    x = fitted._scaling.apply(X_NEW, dtype=next(fitted.module_.parameters()).dtype, device="cpu")
    error, kl = (term.detach().double().numpy() for term in fitted.module_.elbo(x))
    noise = fitted.noise_variance_
    within = -0.5 * error * fitted.scale_**2 / noise - kl - 6 * np.log(2 * np.pi * noise)
    is_plane = (NEW_DIMENSION == 3).astype(int)
    # The shares are those of training samples.
    share = np.bincount((DIMENSION == 3).astype(int)) / len(X)
    expected = within + np.log(share)[is_plane]
    assert_allclose(fitted.elbo_samples(X_NEW), expected, rtol=0, atol=1e-3)


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
    "another network": (X[:200], {"network": "mlp", "max_iter": 2}),
    "no gates": (X[:200], {"gated": False, "max_iter": 2}),
    "parts that meet": (
        make_linear_subspaces(1000, dims=(1, 2), n_features=8, random_state=0)[0],
        {"max_iter": 3},
    ),
    "points over and over": (np.repeat(np.eye(3), 60, axis=0), {"max_iter": 3}),
}


@pytest.mark.parametrize("name", ONE_PLACE)
def test_others_have_one_location(name):
    rows, params = ONE_PLACE[name]
    fitted = VAEenseTransformer(4, random_state=0, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(rows)
    assert not hasattr(fitted, "locations_")
    assert fitted.n_components_ == fitted.module_.n_components
    assert_allclose(fitted.mean_, rows.mean(axis=0))
    assert np.isfinite(fitted.transform(rows)).all()


# --- going on, and files ------------------------------------------------------------------------


def test_later_training_keeps_the_locations_and_a_new_fit_forgets_them(apart_fit):
    more = copied(apart_fit, warm_start=True, max_iter=2)
    for method, rows in (("fit", X), ("partial_fit", X[:100])):
        fit_unwarned(more, rows, method)
        assert_array_equal(more.locations_, apart_fit.locations_)
        assert more.transform(X_NEW).shape[1] == apart_fit.n_components_
    more.set_params(warm_start=False).fit(X[DIMENSION == 3])
    assert not hasattr(more, "locations_")
    assert more.n_components_ == more.module_.n_components
    stream = VAEenseTransformer(random_state=0).partial_fit(X[:200])
    assert not hasattr(stream, "locations_")


def test_saved_and_pickled_models_answer_alike(apart_fit, tmp_path):
    save(apart_fit, tmp_path / "model.safetensors")
    for other in (load(tmp_path / "model.safetensors"), copied(apart_fit)):
        assert_array_equal(other.locations_, apart_fit.locations_)
        assert_array_equal(other.transform(X_NEW), apart_fit.transform(X_NEW))
        assert_array_equal(other.score_samples(X_NEW), apart_fit.score_samples(X_NEW))
        assert_array_equal(other.sample(9, random_state=0), apart_fit.sample(9, random_state=0))


DAMAGES = {
    "points of other samples": {"points": np.zeros((2, 5))},
    "no numbers": {"points": np.full((2, 12), np.nan)},
    "no such location": {"groups": np.array([0, 7])},
    "one is missing": {"groups": np.array([0, 0])},
    "no integers": {"groups": np.array([0.0, 1.0])},
    "too few components": {"groups": np.array([0])},
    "no density": {"density": None},
}
DAMAGES_OF_THE_DENSITY = {
    "basis": lambda density: {"basis": np.zeros((9, 12))},
    "no orthonormal basis": lambda density: {"basis": 2 * density.basis},
    "variances": lambda density: {"variances": -density.variances},
    "weights": lambda density: {"weights": np.zeros(1)},
    "no noise": lambda density: {"noise_variances": None},
}


def test_damaged_locations_are_refused(apart_fit, tmp_path, subtests):
    kept, path = apart_fit._locations_, tmp_path / "model.safetensors"
    damages = {name: replace(kept, **changes) for name, changes in DAMAGES.items()}
    for name, change in DAMAGES_OF_THE_DENSITY.items():
        density = replace(kept.density, **change(kept.density))
        damages[name] = replace(kept, density=density)
    broken = copied(apart_fit)
    for name, damaged in damages.items():
        with subtests.test(name):
            broken._locations_ = damaged
            save(broken, path)
            with pytest.raises(ValueError, match=r"damaged|has the wrong type"):
                load(path)
    broken._locations_ = kept
    for labels in (np.full(1000, 2), np.zeros(3, dtype=int), np.zeros(1000)):
        with subtests.test(dtype=labels.dtype, size=len(labels)):
            broken._gate_labels_ = labels
            save(broken, path)
            with pytest.raises(ValueError, match="_gate_labels_"):
                load(path)


def test_checkpoint_of_a_complete_fit_has_the_locations(tmp_path):
    def fit():
        estimator = VAEenseTransformer(max_iter=3, random_state=0)
        return estimator.set_callbacks(Checkpoint(tmp_path, interval=0)).fit(X[:500])

    first, again = fit(), fit()
    assert_array_equal(again.locations_, first.locations_)
    assert_array_equal(again.transform(X_NEW), first.transform(X_NEW))


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-3), ("float64", 1e-9)])
def test_exported_model_finds_the_location(apart_fit, tmp_path, dtype, atol):
    onnxruntime = pytest.importorskip("onnxruntime")
    to_onnx(apart_fit, tmp_path / "model.onnx", dtype=dtype)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (codes,) = session.run(["codes"], {"X": X_NEW.astype(dtype)})
    assert_allclose(codes, apart_fit.transform(X_NEW.astype(dtype)), atol=atol)


# --- inspection ---------------------------------------------------------------------------------


def test_curve_and_display_are_of_latents_only(apart_fit):
    n_active, error, own = reconstruction_sparsity_curve(apart_fit, X_NEW)
    assert n_active[-1] <= apart_fit.module_.n_components
    # Without latents, reconstructions are the locations. With all latents there is no error.
    squared = error[0] * X_NEW.var(axis=0).mean()
    assert 0.7 * apart_fit.scale_**2 < squared < 1.3 * apart_fit.scale_**2
    assert error[-1] < 1e-3
    assert own[0] == pytest.approx(counts(apart_fit, X_NEW).mean())
    assert own[1] < 0.01
    pytest.importorskip("matplotlib")
    shown = LatentDisplay.from_estimator(apart_fit)
    assert len(shown.latents) == apart_fit.module_.n_components


def test_ablation_of_a_location_moves_its_samples_to_the_mean(apart_fit):
    result = latent_ablation(apart_fit, X_NEW, latents=[apart_fit.n_components_ - 1])
    expected = np.square(apart_fit.locations_[-1] - apart_fit.mean_).sum() / 2
    assert_allclose(result.change, expected, rtol=0.1)


# --- far rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [20, 1000])
def test_far_rows_are_named_and_left_out(distance):
    rows, _, dimension = make_linear_subspaces(1500, dims=(2, 4), n_features=20, random_state=0)
    far = np.arange(5, 1000, 50)
    noise = np.random.default_rng(0).standard_normal((len(far), 20))
    rows[far] = distance * np.sqrt(np.square(rows).mean()) * noise
    rows, new, dimension = rows[:1000], rows[1000:], dimension[1000:]
    message = "^20 of 1000 samples are far from all others.*: rows 5, 55, 105, 155, 205, ..."
    with pytest.warns(UserWarning, match=message) as record:
        fitted = VAEenseTransformer(random_state=0).fit(rows)
    assert record[0].filename == __file__
    assert np.abs(counts(fitted, new) - dimension).mean() < 0.05
    scale = np.sqrt(np.square(new - new.mean(axis=0)).mean())
    assert fitted.scale_ == pytest.approx(scale, rel=0.1)
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
        assert_array_equal(find_far_rows(unit * rows), [3, 9000])
    rows[3] = 1e300
    assert_array_equal(find_far_rows(rows), [3, 9000])


def test_tails_and_parts_are_not_far():
    rng = np.random.default_rng(0)
    tails = rng.standard_t(4, size=(2000, 5))
    parts = np.concatenate([rng.standard_normal((1800, 5)), 50 + rng.standard_normal((200, 5))])
    for rows in (tails, parts, np.zeros((50, 3)), np.ones((1, 3))):
        assert len(find_far_rows(rows)) == 0
