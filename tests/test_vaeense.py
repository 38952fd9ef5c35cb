import copy
import math
import pickle
import random

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import fit_unwarned
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvaeense import VAEenseTransformer
from skvaeense._training._defaults import split_epochs
from skvaeense.datasets import make_linear_subspaces, make_ppca
from skvaeense.metrics import pattern_adaptivity
from skvaeense.networks import MLP, Linear
from skvaeense.thresholds import FixedVariance

X_ALL, MANIFOLD, DIMENSION = make_linear_subspaces(
    2500, dims=(1, 2), n_features=8, noise=0.01, random_state=0
)
X, X_NEW = X_ALL[:300], X_ALL[2000:]
LINEAR = Linear((16,))
MLP_SMALL = MLP((16,), encoder_layer_sizes=(16,))
BOTH = pytest.mark.parametrize("network", [LINEAR, MLP_SMALL], ids=["linear", "mlp"])
GATED = pytest.mark.parametrize("gated", [True, False], ids=["gated", "ungated"])


def quick(network=LINEAR, **params):
    """Return a small estimator that trains in a fraction of a second."""
    settings = {"n_components": 4, "n_init": 1, "max_iter": 20, "random_state": 0}
    return VAEenseTransformer(network=network, **(settings | params))


def fit_quick(X=X, **params):
    return fit_unwarned(quick(**params), X)


@pytest.fixture(scope="module")
def default_fit():
    """Return a fit of two subspaces of dimensions 1 and 2 with the default settings."""
    return VAEenseTransformer(random_state=0).fit(X_ALL[:2000])


@pytest.fixture(scope="module")
def ppca_split():
    samples, _, _ = make_ppca(6000, n_components=4, n_features=12, random_state=0)
    return samples[:4000], samples[4000:]


@pytest.fixture(scope="module")
def ungated_fit(ppca_split):
    return VAEenseTransformer(4, gated=False, n_init=1, random_state=0).fit(ppca_split[0])


# --- the answers ----------------------------------------------------------------------------


def test_counts_the_dimensions_of_subspaces(default_fit):
    n_active = default_fit.active_dimensions(X_NEW).sum(axis=1)
    truth = DIMENSION[2000:]
    for dimension in (1, 2):
        assert n_active[truth == dimension].mean() == pytest.approx(dimension, abs=0.25)


def test_explains_subspaces(default_fit):
    reconstruction = default_fit.inverse_transform(default_fit.transform(X_NEW))
    assert np.square(X_NEW - reconstruction).sum() < 0.01 * np.square(X_NEW).sum()


def test_pattern_differs_between_samples(default_fit):
    assert pattern_adaptivity(default_fit.active_dimensions(X_NEW)) > 0.2


def test_ungated_scores_as_pca_does(ppca_split, ungated_fit):
    train, test = ppca_split
    assert ungated_fit.score(test) == pytest.approx(PCA(4).fit(train).score(test), abs=0.1)


def test_ungated_finds_the_noise_variance(ungated_fit):
    assert ungated_fit.noise_variance_ == pytest.approx(0.1, rel=0.15)


def test_ungated_has_one_pattern(ppca_split, ungated_fit):
    active = ungated_fit.active_dimensions(ppca_split[1])
    assert active.any()
    assert pattern_adaptivity(active) == 0


def test_learned_noise_variance_is_the_held_out_error(default_fit):
    mean, std = default_fit.posterior(X_NEW)
    residual = X_NEW - default_fit.inverse_transform((1 - std) * mean)
    spread = np.square((1 - std) * std) @ np.square(default_fit.components_).sum(axis=1)
    error = np.square(residual).sum(axis=1) + spread
    # The held-out rows of the fit are others, from the same population.
    assert default_fit.noise_variance_ == pytest.approx(error.mean() / X.shape[1], rel=0.5)


# --- units and precision --------------------------------------------------------------------


def test_units_do_not_matter():
    fitted, moved = fit_quick(max_iter=40), fit_quick(1000 * X + 7, max_iter=40)
    active = fitted.active_dimensions(X_NEW)
    assert np.mean(active == moved.active_dimensions(1000 * X_NEW + 7)) > 0.99
    shift = moved.score(1000 * X_NEW + 7) - fitted.score(X_NEW)
    assert shift == pytest.approx(-X.shape[1] * math.log(1000), rel=1e-3)


@BOTH
def test_a_power_of_two_changes_nothing(network):
    """Multiplying by it is exact in floating point, so that training is the same to the bit."""
    fitted, scaled = fit_quick(network=network), fit_quick(1024 * X, network=network)
    assert_array_equal(fitted.transform(X_NEW), scaled.transform(1024 * X_NEW))
    assert_allclose(scaled.noise_variance_, 1024**2 * fitted.noise_variance_)
    assert_allclose(scaled.scale_, 1024 * fitted.scale_)
    assert_allclose(scaled.mean_, 1024 * fitted.mean_)
    shift = scaled.score(1024 * X_NEW) - fitted.score(X_NEW)
    assert shift == pytest.approx(-X.shape[1] * math.log(1024))
    assert_allclose(
        scaled.loss_curve_, np.add(fitted.loss_curve_, X.shape[1] * math.log(1024)), rtol=1e-6
    )


@BOTH
@GATED
def test_codes_agree_between_float32_and_float64(network, gated):
    fitted = fit_quick(network=network, gated=gated)
    single = fitted.transform(X_NEW.astype(np.float32))
    assert_allclose(single, fitted.transform(X_NEW), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("trained", ["float32", "float64"])
def test_outputs_keep_the_dtype_of_x(dtype, trained):
    fitted = fit_quick(X.astype(dtype), dtype=trained)
    codes = fitted.transform(X_NEW.astype(dtype))
    assert codes.dtype == dtype
    assert fitted.inverse_transform(codes).dtype == dtype
    assert all(array.dtype == dtype for array in fitted.posterior(X_NEW.astype(dtype)))


def test_trains_in_double_precision():
    single = fit_quick(max_iter=60, dtype="float32")
    double = fit_quick(max_iter=60, dtype="float64")
    assert next(double.module_.parameters()).dtype == torch.float64
    assert double.score(X_NEW) == pytest.approx(single.score(X_NEW), abs=2.0)


# --- randomness -----------------------------------------------------------------------------


@BOTH
def test_a_seed_fixes_every_bit(network):
    params = {"network": network, "n_init": 2, "max_iter": 6}
    one, two = fit_quick(**params), fit_quick(**params)
    assert_array_equal(one.transform(X_NEW), two.transform(X_NEW))
    assert one.loss_curve_ == two.loss_curve_


def test_another_seed_trains_another_model():
    one, two = (fit_quick(random_state=seed, max_iter=2) for seed in (0, 1))
    assert not np.allclose(one.transform(X_NEW), two.transform(X_NEW))


def global_states():
    numpy_state = np.random.get_state()  # noqa: NPY002
    return [
        torch.random.get_rng_state().tolist(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in numpy_state],
        random.getstate(),
    ]


@BOTH
def test_global_generators_are_not_touched(network):
    before = global_states()
    fitted = fit_quick(network=network)
    fitted.transform(X_NEW)
    fitted.active_dimensions(X_NEW)
    fitted.score(X_NEW)
    fitted.sample(3, random_state=0)
    fitted.partial_fit(X)
    assert global_states() == before


def test_no_seed_leaves_the_generator_of_torch_alone():
    """numpy's global one is the source then, by scikit-learn's convention."""
    before = torch.random.get_rng_state()
    fit_quick(random_state=None).sample(3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_global_seeds_have_no_say():
    one = fit_quick()
    torch.manual_seed(12345)
    random.seed(12345)
    assert_array_equal(one.transform(X_NEW), fit_quick().transform(X_NEW))


# --- codes ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["linear", "mlp"])
def fitted(request):
    """Return a small gated fit, to be read only."""
    network = LINEAR if request.param == "linear" else MLP_SMALL
    return fit_quick(network=network, max_iter=50)


def with_parameters(fitted, **params):
    return copy.copy(fitted).set_params(**params)


def test_code_follows_from_the_posterior(fitted):
    mean, std = fitted.posterior(X_NEW)
    assert ((std > 0) & (std < 1)).all()
    assert_allclose(fitted.transform(X_NEW), (1 - std) * mean, rtol=1e-6, atol=1e-9)


def test_ungated_code_is_the_posterior_mean():
    fitted = fit_quick(gated=False)
    assert_array_equal(fitted.transform(X_NEW), fitted.posterior(X_NEW)[0])


def test_reconstruction_is_close(fitted):
    reconstruction = fitted.inverse_transform(fitted.transform(X_NEW))
    assert reconstruction.shape == X_NEW.shape
    assert np.square(X_NEW - reconstruction).sum() < 0.2 * np.square(X_NEW).sum()


@GATED
def test_reconstruction_of_a_linear_network(gated):
    """The components carry the units, the offset is what the code 0 stands for."""
    fitted = fit_quick(gated=gated)
    codes = fitted.transform(X_NEW)
    offset = fitted.inverse_transform(np.zeros((1, 4)))
    assert fitted.components_.shape == (4, 8)
    assert_allclose(
        fitted.inverse_transform(codes), codes @ fitted.components_ + offset, rtol=1e-6, atol=1e-6
    )


def test_no_components_without_a_linear_decoder():
    fitted = fit_quick(network=MLP_SMALL)
    assert not hasattr(fitted, "components_")


def test_no_components_are_left_of_an_earlier_fit():
    """A refit replaces what is fitted, it does not mix two fits."""
    estimator = fit_quick(network=LINEAR)
    fit_unwarned(estimator.set_params(network=MLP_SMALL), X)
    assert not hasattr(estimator, "components_")


@pytest.mark.parametrize("threshold", ["contribution", "fixed_variance", "otsu"])
def test_hard_code_is_the_code_of_the_active_latents(fitted, threshold):
    fitted = with_parameters(fitted, threshold=threshold)
    active = fitted.active_dimensions(X_NEW)
    assert active.dtype == bool
    assert 0 < active.mean() < 1
    codes = fitted.transform(X_NEW)
    hard = with_parameters(fitted, hard=True).transform(X_NEW)
    assert_array_equal(hard, codes * active)
    assert_array_equal(fitted.inverse_transform(codes * active), fitted.inverse_transform(hard))


@BOTH
def test_hard_code_of_an_mlp_raises_no_warning(network):
    """The scales of a nonlinear decoder come from its Jacobian; not every way to it is silent."""
    fitted = fit_quick(network=network, hard=True, threshold="contribution")
    assert fitted.transform(X_NEW).shape == (len(X_NEW), 4)


def test_sparse_output_is_the_hard_code(fitted):
    codes = with_parameters(fitted, sparse_output=True).transform(X_NEW)
    assert sparse.issparse(codes)
    assert codes.format == "csr"
    hard = with_parameters(fitted, hard=True).transform(X_NEW)
    assert_array_equal(codes.toarray(), hard)
    assert codes.nnz == np.count_nonzero(hard)
    assert_allclose(fitted.inverse_transform(codes), fitted.inverse_transform(hard), rtol=1e-12)


def test_threshold_level_has_its_say(fitted):
    counts = [
        with_parameters(fitted, threshold=FixedVariance(level)).active_dimensions(X_NEW).sum()
        for level in (0.01, 0.5, 0.99)
    ]
    assert counts[0] < counts[1] < counts[2]


def test_chunks_do_not_matter(fitted, monkeypatch):
    codes, scores = fitted.transform(X_NEW), fitted.score_samples(X_NEW)
    reconstruction = fitted.inverse_transform(codes)
    monkeypatch.setattr("skvaeense._evaluation.CODE_ROWS", 7)
    assert_allclose(fitted.transform(X_NEW), codes, rtol=1e-9, atol=1e-12)
    assert_allclose(fitted.score_samples(X_NEW), scores, rtol=1e-9)
    assert_allclose(fitted.inverse_transform(codes), reconstruction, rtol=1e-9, atol=1e-12)


def test_fit_transform_is_fit_and_transform():
    estimator = quick(max_iter=50)
    codes = estimator.fit_transform(X)
    assert_array_equal(codes, estimator.transform(X))


# --- scores ---------------------------------------------------------------------------------


def test_score_is_the_mean_over_samples(fitted):
    scores = fitted.score_samples(X_NEW)
    assert scores.shape == (len(X_NEW),)
    assert fitted.score(X_NEW) == pytest.approx(scores.mean())


def test_score_of_a_sample_depends_on_it_alone(fitted):
    order = np.random.default_rng(0).permutation(len(X_NEW))
    scores = fitted.score_samples(X_NEW)
    assert_allclose(fitted.score_samples(X_NEW[order]), scores[order], rtol=1e-9)
    assert_allclose(fitted.score_samples(X_NEW[3:4]), scores[3:4], rtol=1e-9)


def test_score_follows_its_formula():
    """Everything in it is public for a linear decoder."""
    fitted = fit_quick(max_iter=50)
    mean, std = fitted.posterior(X_NEW)
    residual = X_NEW - fitted.inverse_transform((1 - std) * mean)
    spread = np.square((1 - std) * std) @ np.square(fitted.components_).sum(axis=1)
    error = np.square(residual).sum(axis=1) + spread
    kl = (std**2 + mean**2 - 1 - np.log(std**2)).sum(axis=1)
    g = fitted.noise_variance_
    expected = -0.5 * (error / g + 8 * np.log(2 * np.pi * g) + kl)
    assert_allclose(fitted.score_samples(X_NEW), expected, rtol=1e-5)


def test_loss_curve_has_one_entry_for_each_epoch():
    fitted = fit_quick(n_init=2)
    assert len(fitted.loss_curve_) == fitted.n_iter_
    assert np.isfinite(fitted.loss_curve_).all()
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


# --- noise variance -------------------------------------------------------------------------


def test_a_given_noise_variance_is_kept():
    fitted = fit_quick(noise_variance=0.02, learn_noise_variance=False)
    assert fitted.noise_variance_ == pytest.approx(0.02)


def test_a_given_start_is_only_a_start():
    fitted = fit_quick(max_iter=60, noise_variance=0.02)
    assert fitted.noise_variance_ != pytest.approx(0.02, rel=1e-3)


def test_a_fixed_noise_variance_needs_a_number():
    with pytest.raises(ValueError, match="noise_variance must be a number"):
        quick(learn_noise_variance=False).fit(X)


# --- going on -------------------------------------------------------------------------------


def test_warm_start_goes_on():
    estimator = fit_quick(warm_start=True)
    mean, scale = estimator.mean_.copy(), estimator.scale_
    before, score = copy.deepcopy(estimator.module_.state_dict()), estimator.score(X)
    fit_unwarned(estimator.set_params(max_iter=60), 2 * X + 1)
    assert_array_equal(estimator.mean_, mean)
    assert estimator.scale_ == scale
    after = estimator.module_.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    # The new samples differ: the model has moved to them.
    assert estimator.score(2 * X + 1) > score - 50


def test_warm_start_improves_the_model():
    estimator = fit_quick(warm_start=True, max_iter=5)
    score = estimator.score(X_NEW)
    fit_unwarned(estimator.set_params(max_iter=60), X)
    assert estimator.score(X_NEW) > score + 0.5


def test_warm_start_refuses_other_features():
    estimator = fit_quick(warm_start=True)
    with pytest.raises(ValueError, match="8 features"):
        estimator.fit(X[:, :5])


def test_without_warm_start_fit_begins_anew():
    estimator = fit_quick()
    codes = estimator.transform(X_NEW)
    assert_array_equal(fit_unwarned(estimator, X).transform(X_NEW), codes)


def test_partial_fit_learns_batch_by_batch():
    estimator = quick(batch_size=32)
    estimator.partial_fit(X)
    scale, first = estimator.scale_, estimator.score(X_NEW)
    for i in range(80):
        estimator.partial_fit(X_ALL[(i % 6) * 300 : (i % 6 + 1) * 300])
    assert estimator.score(X_NEW) > first + 1
    assert estimator.scale_ == scale
    assert estimator.n_iter_ == 81


def test_partial_fit_after_fit_goes_on():
    estimator = fit_quick(max_iter=60)
    before = copy.deepcopy(estimator)
    estimator.partial_fit(X)
    assert not np.array_equal(estimator.transform(X_NEW), before.transform(X_NEW))
    assert estimator.scale_ == before.scale_
    # One more epoch at a small learning rate does not throw the fit away.
    assert estimator.score(X_NEW) > before.score(X_NEW) - 3


def test_partial_fit_takes_a_single_row_later():
    estimator = quick().partial_fit(X)
    assert estimator.partial_fit(X[:1]).n_iter_ == 2


def test_partial_fit_refuses_other_features():
    estimator = quick().partial_fit(X)
    before = estimator.transform(X_NEW)
    with pytest.raises(ValueError, match="8 features"):
        estimator.partial_fit(X[:, :5])
    assert_array_equal(estimator.transform(X_NEW), before)


def test_fit_after_partial_fit_begins_anew():
    estimator = quick().partial_fit(X)
    fit_unwarned(estimator, X)
    assert_array_equal(estimator.transform(X_NEW), fit_quick().transform(X_NEW))


def test_a_copy_takes_partial_fit_on_its_own():
    estimator = quick().partial_fit(X)
    codes = estimator.transform(X_NEW)
    copy.deepcopy(estimator).partial_fit(X)
    assert_array_equal(estimator.transform(X_NEW), codes)


# --- sampling -------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [LINEAR, MLP_SMALL, "single_layer"])
def test_positive_codes(network):
    model = fit_quick(network=network, positive_code=True)
    mean, std = model.posterior(X_NEW)
    codes = model.transform(X_NEW)
    assert (mean >= 0).all()
    assert (mean > 0).any()
    assert_allclose(codes, (1 - std) * mean, rtol=1e-5, atol=1e-7)
    assert (fit_quick(network=network).transform(X_NEW) < 0).any()


def test_samples_are_drawn_from_positive_codes(monkeypatch):
    model = fit_quick(positive_code=True)
    drawn, decode = [], model.inverse_transform
    monkeypatch.setattr(model, "inverse_transform", lambda code: decode(drawn.append(code) or code))
    model.sample(50, random_state=0)
    assert (drawn[0] >= 0).all()
    assert (drawn[0] > 0).any()


def test_samples_have_the_scale_of_the_data(default_fit):
    samples = default_fit.sample(4000, random_state=0)
    assert samples.shape == (4000, 8)
    assert np.linalg.norm(samples.mean(axis=0)) < 0.3 * default_fit.scale_ * math.sqrt(8)
    # A gate is drawn beside a latent as if they had nothing to do with each other, so that samples
    # are smaller than the data: by a third, or by a half in a poor fit.
    assert 0.4 < samples.std() / X_NEW.std() < 0.9


def test_ungated_samples_have_the_covariance_of_the_data(ppca_split, ungated_fit):
    samples = ungated_fit.sample(20000, random_state=0)
    truth = np.cov(ppca_split[0], rowvar=False)
    assert np.linalg.norm(np.cov(samples, rowvar=False) - truth) < 0.2 * np.linalg.norm(truth)
    assert_allclose(samples.mean(axis=0), ppca_split[0].mean(axis=0), atol=0.15)


def test_a_seed_fixes_the_samples(fitted):
    assert_array_equal(fitted.sample(5, random_state=3), fitted.sample(5, random_state=3))
    assert not np.array_equal(fitted.sample(5, random_state=3), fitted.sample(5, random_state=4))
    assert fitted.sample().shape == (1, 8)


# --- scikit-learn ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    ["transform", "active_dimensions", "posterior", "score", "score_samples", "inverse_transform"],
)
def test_asks_to_be_fitted_first(method):
    with pytest.raises(NotFittedError):
        getattr(quick(), method)(X)


def test_sample_asks_to_be_fitted_first():
    with pytest.raises(NotFittedError):
        quick().sample()


def test_feature_names(fitted):
    names = ["vaeensetransformer0", "vaeensetransformer1"]
    assert fitted.get_feature_names_out()[:2].tolist() == names
    assert not hasattr(fitted, "feature_names_in_")


def test_pandas_in_and_out():
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(8)], index=np.arange(300) + 5)
    estimator = quick().set_output(transform="pandas")
    fit_unwarned(estimator, frame)
    codes = estimator.transform(frame)
    assert estimator.feature_names_in_.tolist() == frame.columns.tolist()
    assert codes.columns.tolist() == estimator.get_feature_names_out().tolist()
    assert_array_equal(codes.index, frame.index)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(frame.rename(columns={"x0": "y0"}))


def test_clone_and_nested_parameters():
    estimator = quick(threshold=FixedVariance(0.3))
    cloned = clone(estimator).set_params(network__hidden_layer_sizes=(8,), threshold__level=0.2)
    assert estimator.network.hidden_layer_sizes == (16,)
    assert estimator.threshold.level == 0.3
    assert fit_unwarned(cloned, X).module_.body[0].out_features == 8
    assert not hasattr(clone(cloned), "module_")


def test_fit_leaves_parameters_alone():
    estimator = quick(n_components=None, threshold=FixedVariance(0.3))
    before = estimator.get_params()
    fit_unwarned(estimator, X)
    after = estimator.get_params()
    assert all(after[name] is before[name] for name in before)


def test_pickle_joblib_and_deep_copy(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    copies = [
        pickle.loads(pickle.dumps(fitted)),
        joblib.load(tmp_path / "model.joblib"),
        copy.deepcopy(fitted),
    ]
    for copied in copies:
        assert_array_equal(copied.transform(X_NEW), fitted.transform(X_NEW))
        assert_array_equal(copied.sample(3, random_state=0), fitted.sample(3, random_state=0))
        assert copied.score(X_NEW) == fitted.score(X_NEW)


def test_pickle_keeps_the_state_of_partial_fit():
    estimator = quick().partial_fit(X)
    copied = pickle.loads(pickle.dumps(estimator))
    estimator.partial_fit(X)
    copied.partial_fit(X)
    assert_array_equal(copied.transform(X_NEW), estimator.transform(X_NEW))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_grid_search_in_a_pipeline_over_processes():
    pipeline = make_pipeline(
        quick(max_iter=2, hard=True, threshold=FixedVariance()), LogisticRegression()
    )
    grid = {
        "vaeensetransformer__n_components": [2, 4],
        "vaeensetransformer__network__hidden_layer_sizes": [(8,), (16,)],
        "vaeensetransformer__threshold__level": [0.3, 0.6],
    }
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, MANIFOLD[:300])
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert 0 < search.score(X_NEW, MANIFOLD[2000:]) <= 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_grid_search_by_its_own_score():
    """Four latents hold the data, one does not."""
    search = GridSearchCV(quick(max_iter=60), {"n_components": [1, 4]}, cv=2).fit(X)
    assert search.best_params_ == {"n_components": 4}


# --- epochs, starts, callbacks --------------------------------------------------------------


class Recorder:
    """Note every task that ends, and ask to stop after some epochs."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.n_epochs = 0
        self.is_set_up = False
        self.is_torn_down = False

    def setup(self, estimator, context):
        self.is_set_up = True

    def teardown(self, estimator, context):
        self.is_torn_down = True

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name != "epoch":
            return False
        self.n_epochs += 1
        return self.stop_after is not None and self.n_epochs >= self.stop_after


class Scorer(Recorder):
    """Note the score of the estimator as it would be if it stopped now."""

    def __init__(self, X):
        super().__init__()
        self.X = X
        self.scores = []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(self.X))


def test_progress_bar_changes_nothing(capsys):
    pytest.importorskip("rich")
    estimator = quick(n_init=2).set_callbacks(ProgressBar())
    assert_array_equal(
        fit_unwarned(estimator, X).transform(X_NEW), fit_quick(n_init=2).transform(X_NEW)
    )
    assert "VAEenseTransformer" in capsys.readouterr().out


def test_callback_sees_every_epoch():
    recorder = Recorder()
    fitted = fit_unwarned(quick(n_init=2).set_callbacks(recorder), X)
    assert recorder.is_set_up
    assert recorder.is_torn_down
    assert fitted.n_iter_ == 20
    start_epochs, final_epochs = split_epochs(20, n_samples=270, batch_size=33)
    assert recorder.n_epochs == 2 * start_epochs + final_epochs


def test_callback_gets_a_fitted_estimator():
    scorer = Scorer(X_NEW)
    fitted = fit_unwarned(quick().set_callbacks(scorer), X)
    assert len(scorer.scores) >= 20
    assert np.isfinite(scorer.scores).all()
    assert scorer.scores[19] > scorer.scores[0]
    assert fitted.score(X_NEW) >= scorer.scores[0]


def test_callback_can_stop_the_training():
    recorder = Recorder(stop_after=3)
    fitted = fit_unwarned(quick().set_callbacks(recorder), X)
    assert fitted.n_iter_ < 20
    assert fitted.transform(X_NEW).shape == (len(X_NEW), 4)


@pytest.mark.parametrize("max_iter", [1, 2, 7])
@pytest.mark.parametrize("n_init", [1, 2])
def test_max_iter_bounds_the_epochs(max_iter, n_init):
    assert fit_quick(max_iter=max_iter, n_init=n_init, tol=0).n_iter_ == max_iter


def test_a_large_tol_stops_early():
    assert fit_quick(tol=1e6, n_iter_no_change=3).n_iter_ < fit_quick().n_iter_


def test_the_start_of_least_loss_is_kept(monkeypatch):
    judged = []
    judge = VAEenseTransformer._judge

    def spy(self, run, held_out):
        loss = judge(self, run, held_out)
        judged.append((loss, list(run.losses)))
        return loss

    monkeypatch.setattr(VAEenseTransformer, "_judge", spy)
    kept = []
    final = VAEenseTransformer._set_final_phase
    monkeypatch.setattr(
        VAEenseTransformer,
        "_set_final_phase",
        lambda self, run: (kept.append(list(run.losses)), final(self, run)),
    )
    fit_quick(n_init=4)
    assert len(judged) == 4
    assert kept == [min(judged, key=lambda pair: pair[0])[1]]


def test_batch_size_has_its_say():
    small, large = fit_quick(batch_size=16), fit_quick(batch_size=10**6)
    assert not np.allclose(small.transform(X_NEW), large.transform(X_NEW))


def test_default_number_of_components():
    """Twice the principal components that hold 99 % of the variance, here three."""
    assert fit_quick(n_components=None).n_components_ == 6


# --- devices --------------------------------------------------------------------------------


def test_cpu_is_a_device():
    assert_array_equal(fit_quick(device="cpu").transform(X_NEW), fit_quick().transform(X_NEW))


def test_unknown_device():
    with pytest.raises(ValueError, match=r"device must be .*got 'toaster'"):
        quick(device="toaster").fit(X)


def test_cuda_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch finds no CUDA device"):
        quick(device="cuda").fit(X)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(default_fit):
    on_cuda = VAEenseTransformer(random_state=0, device="cuda").fit(X_ALL[:2000])
    assert next(on_cuda.module_.parameters()).device.type == "cpu"
    assert on_cuda.score(X_NEW) == pytest.approx(default_fit.score(X_NEW), abs=2)
    moved = with_parameters(on_cuda, device="cpu")
    assert_allclose(moved.transform(X_NEW), on_cuda.transform(X_NEW), rtol=1e-6, atol=1e-8)
