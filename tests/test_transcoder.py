"""SparseAutoencoder.fit(X, Y): codes of samples that are decoded to a target."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import PENALTIES, each_once, fit_unwarned, quick_sae
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch.utils.data import DataLoader, TensorDataset

from skvaeense import Checkpoint, load, save
from skvaeense.inspection import ReconstructionSparsityDisplay
from skvaeense.nets import losses
from skvaeense.nets.models import SparseCoder
from skvaeense.nets.networks import MLP, Linear, SingleLayer
from skvaeense.nets.penalties import BatchTopK, Matryoshka, TopK
from skvaeense.samples import _sources
from skvaeense.utils import _rows


def pairs(n_samples=800, n_features=8, n_targets=5, seed=0):
    """Return samples and a target that depend on the same sparse codes, in other units."""
    maps = np.random.default_rng(0)
    A, B = maps.normal(size=(12, n_features)), maps.normal(size=(12, n_targets))
    rng = np.random.default_rng(seed)
    Z = np.where(
        rng.uniform(size=(n_samples, 12)) < 0.2, np.abs(rng.normal(1, 0.5, (n_samples, 12))), 0
    )
    return 3.0 * Z @ A + 5.0, 100.0 * Z @ B - 7.0


X, Y = pairs()
X_NEW, Y_NEW = pairs(seed=1)


def fit(penalty="l1", samples=X, target=Y, **params):
    settings = {"max_iter": 30, "learning_rate_init": 0.01} | params
    return fit_unwarned(quick_sae(penalty, **settings), samples, y=target)


@pytest.fixture(scope="module", params=each_once([*PENALTIES], [False, True]), ids=str)
def fitted(request):
    """Return a small fit of every penalty, with or without skip connection; tests only read it."""
    penalty, skips = request.param
    return fit(PENALTIES[penalty], skip_connection=skips)


@pytest.fixture(scope="module")
def short():
    """Return a fit of three epochs, which tests must not change."""
    return fit(TopK(3), max_iter=3)


def test_the_target_is_predicted(fitted):
    assert fitted.predict(X_NEW).shape == Y_NEW.shape
    score = fitted.score(X_NEW, Y_NEW)
    assert score > 0.3
    expected = r2_score(Y_NEW, fitted.predict(X_NEW), multioutput="variance_weighted")
    assert score == pytest.approx(expected, abs=1e-5)
    # The score is the mean of the scores of training samples.
    assert fitted.score_samples(X, Y).mean() == pytest.approx(fitted.score(X, Y), abs=1e-4)


def test_a_code_is_decoded_to_the_target_in_its_units(fitted):
    assert fitted.n_features_in_ == 8
    assert fitted.components_.shape == (12, 5)
    assert_allclose(fitted.mean_, X.mean(axis=0))
    assert_allclose(fitted.target_mean_, Y.mean(axis=0))
    assert fitted.target_scale_ == pytest.approx((Y - Y.mean(axis=0)).std())
    norms = np.linalg.norm(fitted.components_, axis=1)
    assert_allclose(norms, fitted.target_scale_, rtol=1e-5)
    codes = fitted.transform(X_NEW)
    decoded = fitted.inverse_transform(codes)
    bias = fitted.inverse_transform(np.zeros((1, 12)))
    assert_allclose(decoded, codes @ fitted.components_ + bias, rtol=1e-4, atol=1e-2)
    left = np.abs(fitted.predict(X_NEW) - decoded).max()
    assert (left > 1) if fitted.skip_connection else (left < 1e-3)


@pytest.mark.parametrize("fitted", [("gated", True), ("topk", False)], indirect=True)
def test_units_change_nothing(fitted):
    params = {"skip_connection": fitted.skip_connection}
    other = fit(fitted.penalty, 7.0 * X - 3.0, 0.001 * Y + 2.0, **params)
    assert_allclose(
        other.predict(7.0 * X_NEW - 3.0), 0.001 * fitted.predict(X_NEW) + 2.0, rtol=1e-3, atol=1e-3
    )


def test_the_skip_connection_explains_what_is_linear():
    linear = X @ np.random.default_rng(3).normal(size=(8, 4))
    plain, skipping = (
        fit("l1", target=linear, target_l0=1, skip_connection=skip, max_iter=60)
        for skip in (False, True)
    )
    assert skipping.score(X, linear) > 0.97 > 0.92 > plain.score(X, linear)


@pytest.mark.parametrize(
    "network", [SingleLayer(), Linear((16,)), MLP((16,), encoder_layer_sizes=(16,))]
)
def test_networks(network):
    assert fit("l1", network=network, max_iter=60).score(X_NEW, Y_NEW) > 0.3


@pytest.mark.parametrize("penalty", [TopK(1), BatchTopK(1), Matryoshka(1)])
def test_few_entries_of_many_latents_are_decoded_to_the_same(penalty, monkeypatch):
    expected = fit(penalty, max_iter=4, dtype="float64", skip_connection=True)
    monkeypatch.setattr(losses, "MANY_LATENTS", 0)
    found = fit(penalty, max_iter=4, dtype="float64", skip_connection=True)
    assert_allclose(found.predict(X_NEW), expected.predict(X_NEW), rtol=1e-6)


def test_an_autoencoder_predicts_nothing():
    autoencoder = fit(TopK(3), target=None, max_iter=3)
    with pytest.raises(AttributeError) as error:
        _ = autoencoder.predict
    assert "fit(X, Y)" in str(error.value.__cause__)


# --- what is a target -------------------------------------------------------------------------


IGNORED = {
    "labels": np.arange(800) % 3,
    "floats": np.linspace(0, 1, 800),
    "a column": np.linspace(0, 1, 800)[:, None],
    "whole numbers": np.arange(1600).reshape(800, 2),
    "booleans": np.ones((800, 3), dtype=bool),
    "texts": ["a", "b"] * 400,
    "lists of other lengths": [[1.0], [1.0, 2.0]] * 400,
}


def test_what_is_no_target_is_ignored(subtests):
    same = fit(TopK(3), target=None, max_iter=3)
    for name, y in IGNORED.items():
        with subtests.test(name):
            assert_array_equal(fit(TopK(3), target=y, max_iter=3).transform(X), same.transform(X))
            assert same.score(X, y) == same.score(X)


TARGETS = {
    "array": Y,
    "list": Y.tolist(),
    "tensor": torch.tensor(Y),
    "float32": Y.astype(np.float32),
    "frame": pd.DataFrame(Y),
}


def test_forms_of_a_target(short, subtests):
    for name, target in TARGETS.items():
        with subtests.test(name):
            fitted = fit(TopK(3), target=target, max_iter=3)
            assert fitted.components_.shape == (12, 5)
            assert fitted.score(X, target) == pytest.approx(fitted.score(X, Y), abs=1e-5)
    scores = short.score_samples(torch.tensor(X), torch.tensor(Y))
    assert isinstance(scores, torch.Tensor)
    assert_allclose(scores.numpy(), short.score_samples(X, Y))


def test_bad_targets(short, subtests):
    with_nan = np.where(np.arange(5) == 2, np.nan, Y)
    ones, expected = np.ones_like(Y), "fitted with a target of 5 features"
    for call, match in (
        (lambda: fit(TopK(3), target=Y[:-1]), "inconsistent numbers of samples"),
        (lambda: fit(TopK(3), target=with_nan), "NaN"),
        (lambda: fit(TopK(3), target="nowhere.npy"), "nowhere"),
        (lambda: fit(TopK(3), network="unrolled"), "target"),
        (lambda: short.score(X, None), expected),
        (lambda: short.score_samples(X, Y[:, :3]), expected),
        (lambda: short.score(X, np.arange(800)), expected),
        (lambda: short.score(X, ones), "y is constant"),
        (lambda: ReconstructionSparsityDisplay.from_estimator(short, X), "decodes codes to a t"),
    ):
        with subtests.test(match), pytest.raises((ValueError, OSError), match=match):
            call()


# --- scikit-learn's tools ---------------------------------------------------------------------


def test_a_search_scores_by_the_target():
    search = GridSearchCV(quick_sae(TopK(3), max_iter=20), {"penalty__k": [1, 4]}, cv=2)
    assert fit_unwarned(search, X, y=Y).best_params_ == {"penalty__k": 4}


def test_a_pipeline_hands_the_target_on_and_weights_are_those_of_pairs():
    pipeline = make_pipeline(quick_sae(TopK(3)), Ridge())
    assert fit_unwarned(pipeline, X, y=Y).score(X_NEW, Y_NEW) > 0.3
    assert pipeline[0].module_.n_targets == 5
    weights = np.arange(len(X)) % 3
    fitted = fit_unwarned(quick_sae(TopK(3), max_iter=3), X, y=Y, sample_weight=weights)
    assert_allclose(fitted.target_mean_, np.average(Y, axis=0, weights=weights))
    repeated = fitted.score(np.repeat(X, weights, axis=0), np.repeat(Y, weights, axis=0))
    assert fitted.score(X, Y, weights) == pytest.approx(repeated, abs=1e-5)


# --- going on, files, sources -----------------------------------------------------------------


def test_partial_fit():
    sae = quick_sae(TopK(3))
    for _ in range(60):
        fit_unwarned(sae, X, "partial_fit", y=Y)
    assert sae.score(X_NEW, Y_NEW) > 0.3
    with pytest.raises(ValueError, match=r"y is no target, but .* a target of 5 features"):
        sae.partial_fit(X)


def test_warm_start_and_a_fit_without_a_target_that_forgets_the_last_one():
    sae = fit(TopK(3), max_iter=5, warm_start=True)
    before = sae.score(X, Y)
    assert fit_unwarned(sae.set_params(max_iter=30), X, y=Y).score(X, Y) > before
    with pytest.raises(ValueError, match=r"a target of 3 features, but .* a target of 5 features"):
        sae.fit(X, Y[:, :3])
    fit_unwarned(sae.set_params(warm_start=False, max_iter=2), X)
    assert not hasattr(sae, "target_mean_")
    assert np.isfinite(sae.score(X))


@pytest.mark.parametrize("fitted", [("gated", True), ("topk", False)], indirect=True)
def test_files(fitted, tmp_path):
    save(fitted, tmp_path / "transcoder")
    again = load(tmp_path / "transcoder")
    assert_array_equal(again.predict(X_NEW), fitted.predict(X_NEW))
    assert again.score(X_NEW, Y_NEW) == fitted.score(X_NEW, Y_NEW)


def test_a_checkpoint_tells_targets_apart(tmp_path):
    other = Y + X[:, :5]
    for target in (Y, other, Y):
        expected = fit(TopK(3), target=target, max_iter=3)
        sae = quick_sae(TopK(3), max_iter=3, learning_rate_init=0.01)
        sae.set_callbacks(Checkpoint(tmp_path))
        fit_unwarned(sae, X, y=target)
        assert_array_equal(sae.predict(X), expected.predict(X))


@pytest.fixture
def _elsewhere(monkeypatch):
    """Treat all samples as large, and read few rows at a time."""
    monkeypatch.setattr(_sources, "IN_MEMORY", 0)
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 1300)


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("kind", ["files", "array and file", "file and array", "dataset and file"])
def test_samples_elsewhere(kind, tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    files = tmp_path / "x.npy", tmp_path / "y.npy"
    given = {
        "files": files,
        "array and file": (X, files[1]),
        "file and array": (files[0], Y),
        "dataset and file": (TensorDataset(torch.tensor(X)), files[1]),
    }[kind]
    fitted = fit(BatchTopK(3), *given, max_iter=60)
    assert_allclose(fitted.target_mean_, Y.mean(axis=0))
    assert fitted.score(X_NEW, Y_NEW) > 0.3
    assert fitted.score(*given) == pytest.approx(fitted.score(X, Y), abs=1e-6)


def test_a_loader_has_no_target_and_is_none():
    loader = DataLoader(TensorDataset(torch.tensor(X)), batch_size=64)
    with pytest.raises(TypeError, match=r"cannot have a target\. Give X as a dataset"):
        fit(TopK(3), loader, Y)
    for y in (loader, TensorDataset(torch.tensor(Y)), iter([Y])):
        with pytest.raises(TypeError, match=r"target y must be an array.*Write X and y to files"):
            fit(TopK(3), X, y)


# --- the model --------------------------------------------------------------------------------


def test_the_model_splits_rows():
    generator = torch.Generator().manual_seed(0)
    model = SparseCoder(
        SingleLayer(), 3, 6, penalty=TopK(2), generator=generator, n_targets=2, skip_connection=True
    )
    rows = torch.arange(10.0).reshape(2, 5)
    x, target = model.split(rows)
    assert_array_equal(x, rows[:, :3])
    assert_array_equal(target.detach(), rows[:, 3:])  # The skip connection starts at 0.
    torch.nn.init.ones_(model.skip.weight)
    left = model.split(rows)[1] - model.decode(model.code(x))
    assert_allclose((rows[:, 3:] - model.predict(x)).detach(), left.detach(), rtol=1e-5)
