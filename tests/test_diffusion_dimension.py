import math
import pickle

import numpy as np
import pytest
import torch
from helpers import Recorder
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.callback import ProgressBar
from sklearn.model_selection import GridSearchCV

from skvaeense import DiffusionDimensionEstimator
from skvaeense.datasets import make_linear_subspaces
from skvaeense.dimension import FLIPD
from skvaeense.losses import DenoisingScoreMatching

X_ALL, _, TRUE = make_linear_subspaces(1500, dims=(1, 3), n_features=6, random_state=1)
X, X_NEW, TRUE_NEW = X_ALL[:1200], X_ALL[1200:], TRUE[1200:]
METHODS = ["flipd", "normal_bundle"]
BOTH = pytest.mark.parametrize("method", METHODS)


def quick(method="normal_bundle", **params):
    """Return an estimator that trains in a fraction of a second."""
    settings = {"hidden_layer_sizes": (16,), "max_iter": 5, "random_state": 0}
    return DiffusionDimensionEstimator(method, **(settings | params))


def fit_quick(method="normal_bundle", X=X[:200], **params):
    return quick(method, **params).fit(X)


@pytest.fixture(scope="module")
def trained():
    """Return a fit that is good enough to estimate dimensions."""
    sizes = {"hidden_layer_sizes": (96, 96), "max_iter": 120}
    return DiffusionDimensionEstimator(random_state=0, **sizes).fit(X)


@pytest.fixture(params=METHODS)
def fitted(request, trained):
    """Return the same fit with each method."""
    return pickle.loads(pickle.dumps(trained)).set_params(method=request.param)


# --- dimensions -----------------------------------------------------------------------------


def test_dimensions_of_unseen_samples(fitted):
    predicted = fitted.predict(X_NEW)
    assert predicted.shape == (300,)
    assert predicted.dtype == np.float64
    for dimension in (1, 3):
        own = predicted[TRUE_NEW == dimension]
        assert own.mean() == pytest.approx(dimension, abs=0.5)


def test_dimensions_of_the_training_samples(trained):
    assert trained.dimension_pw_.shape == (1200,)
    assert isinstance(trained.dimension_, float)
    assert trained.dimension_ == trained.dimension_pw_.mean()
    assert_array_equal(trained.predict(X), trained.dimension_pw_)
    assert np.abs(trained.dimension_pw_ - TRUE[:1200]).mean() < 0.2


def test_the_normal_bundle_counts(trained):
    assert set(trained.dimension_pw_) <= {0, 1, 2, 3, 4, 5, 6}


@BOTH
def test_dimension_is_between_none_and_all(method):
    """The bounds hold for any output of an untrained network."""
    fitted = fit_quick(method, max_iter=1, learning_rate_init=1e-9)
    dimension = fitted.predict(1e3 * X_NEW)
    assert (dimension >= 0).all()
    assert (dimension <= 6).all()


@BOTH
def test_dimension_of_a_gaussian(method):
    """If there are as many directions as features, all of them count."""
    X = np.random.default_rng(0).standard_normal((800, 4))
    fitted = fit_quick(method, X, max_iter=60, hidden_layer_sizes=(64, 64))
    assert fitted.dimension_ == pytest.approx(4, abs=0.3)


def test_a_sample_does_not_depend_on_the_others(fitted):
    together = fitted.predict(X_NEW[:50])
    assert_allclose(fitted.predict(X_NEW[:50][::-1])[::-1], together, rtol=1e-9)
    alone = [fitted.predict(X_NEW[i : i + 1])[0] for i in range(5)]
    assert_allclose(alone, together[:5], rtol=1e-9)


def test_more_features_than_have_an_exact_trace():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 80))
    fitted = fit_quick("flipd", X, max_iter=40)
    exact = fitted.set_params(method=FLIPD(n_probes=80)).predict(X)
    assert 1e-3 < np.abs(fitted.dimension_pw_ - exact).max() < 0.1 * 80
    assert exact.std() > 0


# --- precision and units --------------------------------------------------------------------


def test_precision_of_the_answer(fitted):
    double, single = fitted.transform(X_NEW), fitted.transform(X_NEW.astype(np.float32))
    assert double.dtype == np.float64
    assert single.dtype == np.float32
    assert double.shape == single.shape == (300, 1)
    assert_array_equal(double[:, 0], fitted.predict(X_NEW))
    assert np.mean(np.abs(single - double) < 1e-2) > 0.99


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precision_of_training(method, dtype):
    fitted = fit_quick(method, dtype=dtype)
    assert next(fitted.module_.parameters()).dtype == getattr(torch, dtype)
    assert np.isfinite(fitted.dimension_pw_).all()


def test_units_do_not_matter():
    plain, scaled = fit_quick("flipd"), fit_quick("flipd", 1000 * X[:200] + 7)
    assert_allclose(scaled.dimension_pw_, plain.dimension_pw_, rtol=1e-3)
    assert scaled.noise_level_ == pytest.approx(1000 * plain.noise_level_)
    assert scaled.scale_ == pytest.approx(1000 * plain.scale_)
    assert_allclose(scaled.mean_, 1000 * plain.mean_ + 7)


def test_noise_level_is_a_fraction_of_the_spread():
    """The spread is that of directions in which the data vary; constant features do not count."""
    X = 5 * np.random.default_rng(0).standard_normal((4000, 3))
    fitted = fit_quick(X=X, max_iter=1, noise_level=0.2)
    padded = fit_quick(X=np.hstack([X, np.zeros((4000, 5))]), max_iter=1, noise_level=0.2)
    assert fitted.noise_level_ == pytest.approx(0.2 * 5, rel=0.05)
    assert padded.noise_level_ == pytest.approx(fitted.noise_level_, rel=0.02)


# --- score ----------------------------------------------------------------------------------


def test_score_without_is_the_denoising_loss(fitted):
    """The best score is minus the mean dimension; a network with little training is far from it."""
    assert fitted.score(X_NEW) == pytest.approx(-TRUE_NEW.mean(), rel=0.15)
    assert fit_quick(max_iter=1).score(X_NEW) < fitted.score(X_NEW) - 1
    assert fitted.score(X_NEW) == pytest.approx(-fitted.loss_curve_[-1], rel=0.1)
    assert fitted.score(X_NEW[::-1]) == pytest.approx(fitted.score(X_NEW), rel=1e-9)


def test_scores_of_models_with_other_seeds_compare(trained):
    """All models see the same noise, with the same level along the data."""
    settings = trained.get_params() | {"random_state": 1}
    other = DiffusionDimensionEstimator(**settings).fit(X)
    assert other.score(X_NEW) == pytest.approx(trained.score(X_NEW), rel=0.05)


def test_grid_search_without_dimensions():
    search = GridSearchCV(quick(max_iter=20), {"learning_rate_init": [1e-9, 1e-2]}, cv=2)
    assert search.fit(X[:300]).best_params_ == {"learning_rate_init": 1e-2}


# --- training -------------------------------------------------------------------------------


def test_loss_curve(trained):
    assert len(trained.loss_curve_) == trained.n_iter_ == 120
    assert all(type(loss) is float for loss in trained.loss_curve_)
    assert trained.loss_curve_[-1] < 0.8 * trained.loss_curve_[0]


def test_default_number_of_epochs(monkeypatch):
    """The number of epochs gives the default number of steps, for any number of samples."""
    monkeypatch.setattr("skvaeense._diffusion_dimension.LONG_STEPS", 30)
    assert fit_quick(max_iter="auto", batch_size=20).n_iter_ == 4  # 9 steps in each epoch.
    assert fit_quick(max_iter="auto", batch_size=60).n_iter_ == 10


def test_the_best_state_on_held_out_rows_is_kept(monkeypatch):
    seen = []
    losses = DenoisingScoreMatching.sample_losses

    def spy(*args):
        result = losses(*args)
        seen.append((float(result.mean()), args))
        return result

    monkeypatch.setattr(DenoisingScoreMatching, "sample_losses", spy)
    # This is far too many steps for few samples, so the last state is not the best.
    X = np.random.default_rng(0).standard_normal((40, 10))
    fitted = fit_quick(
        X=X, max_iter=200, batch_size=6, hidden_layer_sizes=(128,), learning_rate_init=0.01
    )
    values = [value for value, _ in seen]
    assert min(values) < 0.97 * values[-1]
    _, (objective, _, x, noise) = seen[-1]
    kept = losses(objective, fitted.module_, x, noise)
    assert float(kept.mean()) == pytest.approx(min(values), rel=1e-6)


def test_seeds():
    first, same, other = (fit_quick("flipd", random_state=seed) for seed in (0, 0, 1))
    assert_array_equal(first.dimension_pw_, same.dimension_pw_)
    assert not np.array_equal(first.dimension_pw_, other.dimension_pw_)


@BOTH
def test_global_generators_are_left_alone(method):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fit_quick(method).score(X_NEW)
    after = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    for a, b in zip(before, after, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("sizes", [8, (8,), [8, 4], (8, 4, 3)])
def test_hidden_layers(sizes):
    fitted = fit_quick(hidden_layer_sizes=sizes, max_iter=1)
    widths = [layer.out_features // 2 for layer in fitted.module_.hidden]
    assert widths == ([sizes] if isinstance(sizes, int) else list(sizes))


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.full((30, 3), 2.0), 0),
        (np.random.default_rng(0).standard_normal((200, 1)), 1),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), None),
    ],
    ids=["constant", "one-feature", "two-samples"],
)
def test_odd_data(X, expected):
    fitted = fit_quick(X=X, max_iter=300)
    for method in METHODS:
        predicted = fitted.set_params(method=method).predict(X)
        assert np.isfinite(predicted).all()
        if expected is not None:
            assert predicted.mean() == pytest.approx(expected, abs=0.3)


# --- failures -------------------------------------------------------------------------------


def test_divergence_is_an_error_and_leaves_an_earlier_fit():
    fitted = fit_quick()
    dimension, names = fitted.predict(X_NEW), set(vars(fitted))
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        fitted.set_params(learning_rate_init=1e30).fit(X[:100, :4])
    assert_array_equal(fitted.predict(X_NEW), dimension)
    assert set(vars(fitted)) == names
    assert fitted.n_features_in_ == 6


def test_divergence_in_the_middle_is_an_error(monkeypatch):
    """The fit fails, although it has an earlier best state."""
    terms, n_batches = DenoisingScoreMatching.terms, 0

    def spoilt(self, model, x, *, generator):
        nonlocal n_batches
        n_batches += 1
        scale = 1.0 if n_batches <= 5 else math.nan
        return terms(self, model, scale * x, generator=generator)

    monkeypatch.setattr(DenoisingScoreMatching, "terms", spoilt)
    # Each epoch has one batch.
    with pytest.raises(FloatingPointError):
        quick(max_iter=10).fit(X[:100])
    assert n_batches == 6


def test_divergence_leaves_no_half_fitted_estimator():
    estimator = quick(learning_rate_init=1e30)
    with pytest.raises(FloatingPointError):
        estimator.fit(X[:100])
    assert not [name for name in vars(estimator) if name.endswith("_")]


@pytest.mark.parametrize("sizes", [(), (8, 0), (8.5,), ("a",)])
def test_refuses_bad_layers(sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        quick(hidden_layer_sizes=sizes).fit(X)


def test_unknown_device():
    with pytest.raises(ValueError, match=r"device must be .*got 'toaster'"):
        quick(device="toaster").fit(X)


# --- callbacks ------------------------------------------------------------------------------


class TaskRecorder(Recorder):
    """Record the other tasks too, and predict dimensions in every epoch."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name != "epoch":
            self.tasks.append(context.task_name)
            return False
        stops = super().on_fit_task_end(estimator, context, fitted_estimator=fitted_estimator)
        if np.isfinite(self.scores[-1]):
            assert fitted_estimator.predict(self.X[:3]).shape == (3,)
        return stops


def test_callback_sees_every_epoch():
    recorder = TaskRecorder(X_NEW)
    fitted = quick("flipd", max_iter=20).set_callbacks(recorder).fit(X[:200])
    assert recorder.tasks == ["setup", "fit", "teardown"]
    assert len(recorder.scores) == fitted.n_iter_ == 20
    assert recorder.scores[-1] > recorder.scores[0]
    # Callbacks that predict do not change the fit.
    assert_array_equal(fitted.dimension_pw_, fit_quick("flipd", max_iter=20).dimension_pw_)


@pytest.mark.parametrize("stop_after", [1, 3])
def test_callback_can_stop_the_training(stop_after):
    recorder = TaskRecorder(X_NEW, stop_after)
    fitted = quick().set_callbacks(recorder).fit(X[:200])
    assert fitted.n_iter_ == len(fitted.loss_curve_) == stop_after
    assert fitted.dimension_pw_.shape == (200,)


def test_callbacks_are_torn_down_when_training_fails():
    recorder = TaskRecorder(X_NEW)
    with pytest.raises(FloatingPointError):
        quick(learning_rate_init=1e30).set_callbacks(recorder).fit(X[:100])
    assert recorder.tasks == ["setup", "teardown"]


def test_progress_bar_changes_nothing(capsys):
    pytest.importorskip("rich")
    fitted = quick("flipd").set_callbacks(ProgressBar()).fit(X[:200])
    assert_array_equal(fitted.dimension_pw_, fit_quick("flipd").dimension_pw_)
    assert "DiffusionDimensionEstimator" in capsys.readouterr().out


# --- scikit-learn ---------------------------------------------------------------------------
