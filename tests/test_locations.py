"""Samples that lie apart, and few samples that are far from all others."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers import fit_unwarned
from numpy.testing import assert_allclose, assert_array_equal
from strategies import TABLES

from skvaeense import Checkpoint, IntrinsicDimensionEstimator, VAEenseTransformer, load, save
from skvaeense.datasets import make_affine_subspaces, make_linear_subspaces, make_sparse_dictionary
from skvaeense.explanations._rows import find_far_rows
from skvaeense.export import to_onnx
from skvaeense.inspection import LatentDisplay, latent_ablation, reconstruction_sparsity_curve
from skvaeense.metrics import fvu

X, MANIFOLD, DIMENSION = make_affine_subspaces(
    3000, dims=(1, 3), n_features=12, offset_scale=3.0, random_state=0
)
X_NEW, NEW_MANIFOLD, NEW_DIMENSION = X[2000:], MANIFOLD[2000:], DIMENSION[2000:]
X = X[:2000]


@pytest.fixture(scope="module")
def fitted():
    return VAEenseTransformer(random_state=0).fit(X)


def counts(fitted, X):
    return fitted.active_dimensions(X).sum(axis=1)


# --- locations ----------------------------------------------------------------------------------


def test_offsets_are_no_dimensions(fitted):
    assert np.abs(counts(fitted, X_NEW) - NEW_DIMENSION).mean() < 0.05


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


def test_last_columns_of_codes_say_where_samples_are(fitted):
    codes = fitted.transform(X_NEW)
    assert codes.shape[1] == fitted.n_components_ == fitted.module_.n_components + 2
    hot = codes[:, -2:]
    assert_array_equal(np.sort(hot, axis=1), [[0.0, 1.0]] * len(hot))
    assert len(np.unique(np.c_[hot.argmax(axis=1), NEW_MANIFOLD], axis=0)) == 2
    assert not fitted.active_dimensions(X_NEW)[:, -2:].any()
    assert_array_equal(fitted.components_[-2:], fitted.locations_ - fitted.mean_)
    names = fitted.get_feature_names_out()
    assert names[0] == "vaeensetransformer0"
    assert names[-2:].tolist() == ["vaeensetransformer_location0", "vaeensetransformer_location1"]
    assert len(fitted.get_feature_names_out()) == codes.shape[1]


def test_codes_times_components_are_the_reconstruction(fitted):
    codes = fitted.transform(X_NEW)
    reconstructed = fitted.inverse_transform(codes)
    offset = fitted.inverse_transform(np.zeros((1, codes.shape[1])))
    assert_allclose(codes @ fitted.components_ + offset, reconstructed, atol=1e-10)
    assert np.square(X_NEW - reconstructed).mean() < 1e-3 * fitted.scale_**2


def test_hard_sparse_and_single_precision_codes_keep_the_locations(fitted):
    hot = fitted.transform(X_NEW)[:, -2:]
    hard = pickle.loads(pickle.dumps(fitted)).set_params(hard=True)
    assert_array_equal(hard.transform(X_NEW)[:, -2:], hot)
    out = np.empty((len(X_NEW), fitted.n_components_))
    assert_array_equal(hard.transform(X_NEW, out=out), hard.transform(X_NEW))
    sparse = hard.set_params(sparse_output=True).transform(X_NEW)
    assert_array_equal(sparse.toarray()[:, -2:], hot)
    assert_allclose(hard.inverse_transform(sparse), fitted.inverse_transform(sparse), rtol=1e-12)
    single = fitted.transform(X_NEW.astype(np.float32))
    assert single.dtype == fitted.score_samples(X_NEW.astype(np.float32)).dtype == np.float32
    assert_array_equal(single[:, -2:], hot)


def test_posterior_is_certain_of_locations(fitted):
    mean, std = fitted.posterior(X_NEW)
    assert mean.shape == std.shape == (len(X_NEW), fitted.n_components_)
    assert_array_equal(mean[:, -2:], fitted.transform(X_NEW)[:, -2:])
    assert_array_equal(std[:, -2:], 0)


def test_posterior_of_gates_is_certain_of_locations():
    points = TABLES["points"](np.random.default_rng(0), 40, 2)[:20]
    gates = fit_unwarned(VAEenseTransformer(max_iter=3, random_state=0), points)
    assert len(gates.locations_) == 2
    probability, mean, std = gates.posterior(points)
    assert probability.shape == mean.shape == std.shape == (20, gates.n_components_)
    assert_array_equal(probability[:, -2:], mean[:, -2:])
    assert_array_equal(std[:, -2:], 0)


def test_bounds_include_the_share_of_the_location(fitted):
    x = fitted._scaling.apply(X_NEW, dtype=next(fitted.module_.parameters()).dtype, device="cpu")
    error, kl = (term.detach().double().numpy() for term in fitted.module_.elbo(x))
    noise = fitted.noise_variance_
    within = -0.5 * error * fitted.scale_**2 / noise - kl - 6 * np.log(2 * np.pi * noise)
    share = np.bincount(NEW_MANIFOLD) / len(X_NEW)
    assert_allclose(
        fitted.elbo_samples(X_NEW.astype(np.float32)),
        within + np.log(share)[NEW_MANIFOLD],
        rtol=0.01,
        atol=0.2,
    )


def test_drawn_samples_lie_where_training_samples_do(fitted):
    samples = fitted.sample(4000, random_state=0)
    # A few samples are from the broad distribution, which is for samples unlike all others.
    broad = fitted.score_samples(samples) < fitted.score_samples(X_NEW).min() - 20
    assert broad.mean() < 0.005
    samples = samples[~broad]
    distance = np.square(samples[:, None] - fitted.locations_).sum(axis=2)
    nearest = fitted.locations_[distance.argmin(axis=1)]
    variances = [
        np.linalg.eigvalsh(np.cov((samples - nearest)[distance.argmin(axis=1) == i].T))
        for i in range(2)
    ]
    assert sorted(int((v > 0.1).sum()) for v in variances) == [1, 3]
    assert_allclose(np.bincount(distance.argmin(axis=1)) / len(samples), 0.5, atol=0.03)


def test_units_do_not_matter(fitted):
    other = VAEenseTransformer(random_state=0).fit(1000 * X + 7)
    assert_allclose(other.locations_, 1000 * fitted.locations_ + 7, rtol=1e-6)
    assert np.abs(counts(other, 1000 * X_NEW + 7) - NEW_DIMENSION).mean() < 0.05


@pytest.mark.parametrize(
    "parameters", [{"network": "mlp", "max_iter": 2}, {"gated": False, "max_iter": 2}]
)
def test_other_models_have_one_location(parameters):
    fitted = VAEenseTransformer(4, random_state=0, **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(X[:200])
    assert fitted.n_components_ == 4
    assert not hasattr(fitted, "locations_")


def test_what_meets_has_no_locations():
    rows, *_ = make_linear_subspaces(1000, dims=(1, 2), n_features=8, random_state=0)
    with_search = VAEenseTransformer(max_iter=3, random_state=0).fit(rows)
    assert not hasattr(with_search, "locations_")
    assert with_search.n_components_ == with_search.module_.n_components
    assert_allclose(with_search.mean_, rows.mean(axis=0))


def test_points_over_and_over_have_one_location():
    rows = np.repeat(np.eye(3), 60, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = VAEenseTransformer(max_iter=3, random_state=0).fit(rows)
    assert not hasattr(fitted, "locations_")
    assert np.isfinite(fitted.transform(rows)).all()


# --- going on, and files ------------------------------------------------------------------------


def test_later_training_keeps_the_locations(fitted):
    more = pickle.loads(pickle.dumps(fitted)).set_params(warm_start=True, max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        more.fit(X)
        assert_array_equal(more.locations_, fitted.locations_)
        more.partial_fit(X[:100])
    assert_array_equal(more.locations_, fitted.locations_)
    assert more.transform(X_NEW).shape[1] == fitted.n_components_


def test_new_fit_forgets_the_locations(fitted):
    again = pickle.loads(pickle.dumps(fitted)).set_params(max_iter=2)
    again.fit(X[MANIFOLD[:2000] == 1])
    assert not hasattr(again, "locations_")
    assert again.n_components_ == again.module_.n_components


def test_first_partial_fit_has_one_location():
    fitted = VAEenseTransformer(random_state=0).partial_fit(X[:200])
    assert not hasattr(fitted, "locations_")


def test_saved_and_pickled_models_answer_alike(fitted, tmp_path):
    save(fitted, tmp_path / "model.safetensors")
    for other in (load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(fitted))):
        assert_array_equal(other.locations_, fitted.locations_)
        assert_array_equal(other.transform(X_NEW), fitted.transform(X_NEW))
        assert_array_equal(other.score_samples(X_NEW), fitted.score_samples(X_NEW))
        assert_array_equal(other.sample(9, random_state=0), fitted.sample(9, random_state=0))


def _damaged(fitted, change):
    broken = pickle.loads(pickle.dumps(fitted))
    broken._locations_ = change(broken._locations_)
    return broken


def _with_density(locations, **changes):
    return replace(locations, density=replace(locations.density, **changes))


DAMAGES = {
    "points of other samples": lambda kept: replace(kept, points=np.zeros((2, 5))),
    "no numbers": lambda kept: replace(kept, points=np.full((2, 12), np.nan)),
    "no such location": lambda kept: replace(kept, groups=np.array([0, 7])),
    "one is missing": lambda kept: replace(kept, groups=np.array([0, 0])),
    "no integers": lambda kept: replace(kept, groups=np.array([0.0, 1.0])),
    "too few components": lambda kept: replace(kept, groups=np.array([0])),
    "no density": lambda kept: replace(kept, density=None),
    "basis": lambda kept: _with_density(kept, basis=np.zeros((9, 12))),
    "no orthonormal basis": lambda kept: _with_density(kept, basis=2 * kept.density.basis),
    "variances": lambda kept: _with_density(kept, variances=-kept.density.variances),
    "weights": lambda kept: _with_density(kept, weights=np.zeros(1)),
    "no noise": lambda kept: _with_density(kept, noise_variances=None),
}


def test_damaged_locations_are_refused(fitted, tmp_path, subtests):
    for damage, change in DAMAGES.items():
        with subtests.test(damage):
            save(_damaged(fitted, change), tmp_path / "model.safetensors")
            with pytest.raises(ValueError, match=r"damaged|has the wrong type"):
                load(tmp_path / "model.safetensors")


def test_damaged_labels_are_refused(fitted, tmp_path, subtests):
    for labels in (np.full(1000, 2), np.zeros(3, dtype=int), np.zeros(1000)):
        with subtests.test(dtype=labels.dtype, size=len(labels)):
            broken = pickle.loads(pickle.dumps(fitted))
            broken._gate_labels_ = labels
            save(broken, tmp_path / "model.safetensors")
            with pytest.raises(ValueError, match="_gate_labels_"):
                load(tmp_path / "model.safetensors")


def test_checkpoint_of_a_complete_fit_has_the_locations(tmp_path):
    def fit():
        estimator = VAEenseTransformer(max_iter=3, random_state=0)
        return estimator.set_callbacks(Checkpoint(tmp_path, interval=0)).fit(X)

    first, again = fit(), fit()
    assert_array_equal(again.locations_, first.locations_)
    assert_array_equal(again.transform(X_NEW), first.transform(X_NEW))


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-3), ("float64", 1e-9)])
def test_exported_model_finds_the_location(fitted, tmp_path, dtype, atol):
    onnxruntime = pytest.importorskip("onnxruntime")
    to_onnx(fitted, tmp_path / "model.onnx", dtype=dtype)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (codes,) = session.run(["codes"], {"X": X_NEW.astype(dtype)})
    assert_allclose(codes, fitted.transform(X_NEW.astype(dtype)), atol=atol)


# --- inspection ---------------------------------------------------------------------------------


def test_curve_keeps_the_locations(fitted):
    n_active, error, own = reconstruction_sparsity_curve(fitted, X_NEW)
    assert n_active[-1] <= fitted.module_.n_components
    # Without latents, reconstructions are the locations. With all latents there is no error.
    assert 0.7 * fitted.scale_**2 < error[0] * X_NEW.var(axis=0).mean() < 1.3 * fitted.scale_**2
    assert error[-1] < 1e-3
    assert own[0] == pytest.approx(counts(fitted, X_NEW).mean())
    assert own[1] < 0.01


def test_displays_show_latents_only(fitted):
    pytest.importorskip("matplotlib")
    shown = LatentDisplay.from_estimator(fitted)
    assert len(shown.latents) == fitted.module_.n_components


def test_ablation_of_a_location_moves_its_samples_to_the_mean(fitted):
    result = latent_ablation(fitted, X_NEW, latents=[fitted.n_components_ - 1])
    expected = np.square(fitted.locations_[-1] - fitted.mean_).sum() / 2
    assert_allclose(result.change, expected, rtol=0.1)


# --- far rows -----------------------------------------------------------------------------------


def _with_far_rows(distance):
    rows, _, dimension = make_linear_subspaces(2500, dims=(2, 4), n_features=20, random_state=0)
    far = np.arange(5, 2000, 100)
    spread = np.sqrt(np.square(rows).mean())
    noise = np.random.default_rng(0).standard_normal((len(far), 20))
    rows[far] = distance * spread * noise
    return rows[:2000], rows[2000:], dimension[2000:], far


@pytest.mark.parametrize("distance", [20, 1000])
def test_far_rows_are_named_and_left_out(distance):
    rows, new, dimension, far = _with_far_rows(distance)
    message = "^20 of 2000 samples are far from all others.*: rows 5, 105, 205, 305, 405, ..."
    with pytest.warns(UserWarning, match=message) as record:
        fitted = VAEenseTransformer(random_state=0).fit(rows)
    assert record[0].filename == __file__
    assert np.abs(counts(fitted, new) - dimension).mean() < 0.05
    assert fitted.scale_ == pytest.approx(
        np.sqrt(np.square(new - new.mean(axis=0)).mean()), rel=0.1
    )
    scores = fitted.score_samples(rows)
    assert set(np.argsort(scores)[: len(far)]) == set(far)


def test_far_rows_do_not_change_the_dimension_of_others():
    rows, new, dimension, _ = _with_far_rows(20)
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
    constant = np.zeros((50, 3))
    for rows in (tails, parts, constant, np.ones((1, 3))):
        assert len(find_far_rows(rows)) == 0
