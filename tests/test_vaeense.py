"""What a VAEenseTransformer answers: codes, scores, samples."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, quick_vaeense
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.decomposition import PCA

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_ppca
from skvaeense.metrics import pattern_adaptivity
from skvaeense.networks import MLP, Linear
from skvaeense.thresholds import FixedVariance

X_ALL, _, DIMENSION = make_linear_subspaces(
    2500, dims=(1, 2), n_features=8, noise=0.01, random_state=0
)
X, X_NEW = X_ALL[:300], X_ALL[2000:]
MLP_SMALL = MLP((16,), encoder_layer_sizes=(16,))
BOTH = pytest.mark.parametrize("network", [Linear((16,)), MLP_SMALL], ids=["linear", "mlp"])
GATED = pytest.mark.parametrize("gated", [True, False], ids=["gated", "ungated"])


def fit_quick(X=X, **params):
    return fit_unwarned(quick_vaeense(**params), X)


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


# --- codes ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["linear", "mlp"])
def fitted(request):
    """Return a small gated fit, to be read only."""
    network = Linear((16,)) if request.param == "linear" else MLP_SMALL
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
    estimator = fit_quick(network=Linear((16,)))
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
    estimator = quick_vaeense(max_iter=50)
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


# --- sampling -------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [Linear((16,)), MLP_SMALL, "single_layer"])
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


# --- devices --------------------------------------------------------------------------------


def test_cpu_is_a_device():
    assert_array_equal(fit_quick(device="cpu").transform(X_NEW), fit_quick().transform(X_NEW))


def test_unknown_device():
    with pytest.raises(ValueError, match=r"device must be .*got 'toaster'"):
        quick_vaeense(device="toaster").fit(X)


def test_cuda_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch finds no CUDA device"):
        quick_vaeense(device="cuda").fit(X)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(default_fit):
    on_cuda = VAEenseTransformer(random_state=0, device="cuda").fit(X_ALL[:2000])
    assert next(on_cuda.module_.parameters()).device.type == "cpu"
    assert on_cuda.score(X_NEW) == pytest.approx(default_fit.score(X_NEW), abs=2)
    moved = with_parameters(on_cuda, device="cpu")
    assert_allclose(moved.transform(X_NEW), on_cuda.transform(X_NEW), rtol=1e-6, atol=1e-8)
