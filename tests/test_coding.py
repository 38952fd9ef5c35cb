"""Methods that both autoencoders share: codes, reconstructions, precision, units."""

import tracemalloc

import numpy as np
import pytest
import torch
from helpers import (
    ATOMS,
    MLP_SMALL,
    PENALTIES,
    changed,
    fit_unwarned,
    quick_sae,
    quick_vaeense,
    set_params,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import r2_score

from skvaeense import VAEenseTransformer, _base

X, X_NEW = ATOMS.few, ATOMS.new
SPARSE = {
    # Each penalty once, with codes of one sign or of both signs.
    **{name: quick_sae(PENALTIES[name]) for name in ("batch_topk", "gated", "jump_relu", "l1")},
    **{
        f"{name}-signed": quick_sae(PENALTIES[name], positive_code=False)
        for name in ("log", "matryoshka", "topk")
    },
}
ESTIMATORS = SPARSE | {
    "vaeense": quick_vaeense(),
    "vaeense-mlp": quick_vaeense(network=MLP_SMALL),
    "vaeense-ungated": quick_vaeense(gated=False),
    "mixture": VAEenseTransformer(4, model="mixture", random_state=0),
    "gates": VAEenseTransformer(12, model="gates", random_state=0),
}
# One estimator of each class, for tests of code that is the same for all penalties.
EACH = pytest.mark.parametrize(
    "estimator", [quick_vaeense(max_iter=2), quick_sae(max_iter=2)], ids=["vaeense", "sae"]
)


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    """Return a quick fit of every kind, which tests must not change."""
    return fit_unwarned(clone(ESTIMATORS[request.param]), X)


@pytest.mark.parametrize("fitted", ["vaeense", "mixture", "gates", "batch_topk"], indirect=True)
def test_chunks_do_not_matter(fitted, monkeypatch):
    codes, scores = fitted.transform(X_NEW), fitted.score_samples(X_NEW)
    reconstruction = fitted.inverse_transform(codes)
    monkeypatch.setattr(_base, "block_rows", lambda *widths: 7)
    assert_allclose(fitted.transform(X_NEW), codes, rtol=1e-9, atol=1e-12)
    # Without noise, normal distributions are narrow, and their densities have fewer digits.
    rtol = 1e-7 if hasattr(fitted, "explanation_") else 1e-9
    assert_allclose(fitted.score_samples(X_NEW), scores, rtol=rtol, atol=1e-12)
    assert_allclose(fitted.inverse_transform(codes), reconstruction, rtol=1e-9, atol=1e-12)


# --- codes ----------------------------------------------------------------------------------


def test_components_make_the_reconstruction(fitted):
    """Components have the units of X, and the offset is the reconstruction of the code 0."""
    codes = fitted.transform(X_NEW)
    reconstruction = fitted.inverse_transform(codes)
    offset = fitted.inverse_transform(np.zeros((1, fitted.n_components_)))
    if not hasattr(fitted, "components_"):
        # A decoder with hidden layers is not the sum over its latents.
        double = fitted.inverse_transform(2 * codes)
        assert not np.allclose(double - offset, 2 * (reconstruction - offset), rtol=1e-2)
        return
    assert fitted.components_.shape == (fitted.n_components_, 8)
    assert_allclose(reconstruction, codes @ fitted.components_ + offset, rtol=1e-6, atol=1e-6)


# --- sparse autoencoders --------------------------------------------------------------------


@pytest.mark.parametrize("fitted", SPARSE, indirect=True)
def test_sparse_codes_have_zeros_and_the_signs_they_may_have(fitted):
    codes = fitted.transform(X_NEW)
    assert np.isfinite(codes).all()
    assert 0.01 < np.mean(codes == 0) < 0.99
    assert (codes > 0).any()
    assert (codes < 0).any() != fitted.positive_code
    active = fitted.active_dimensions(X_NEW)
    assert active.dtype == bool
    assert_array_equal(active, codes != 0)


@pytest.mark.parametrize("fitted", SPARSE, indirect=True)
def test_components_have_the_norm_of_the_scale_and_few_are_dead(fitted):
    assert_allclose(np.linalg.norm(fitted.components_, axis=1), fitted.scale_, rtol=1e-5)
    assert 0 <= fitted.dead_fraction_ <= 0.25


@pytest.mark.parametrize("fitted", SPARSE, indirect=True)
def test_score_is_r2_and_score_samples_average_to_it(fitted):
    reconstruction = fitted.inverse_transform(fitted.transform(X_NEW))
    r2 = r2_score(X_NEW, reconstruction, multioutput="variance_weighted")
    assert 0.2 < r2 < 1
    assert fitted.score(X_NEW) == pytest.approx(r2, rel=1e-9)
    explained = 1 - np.square((X_NEW - reconstruction) / fitted.scale_).mean(axis=1)
    assert_allclose(fitted.score_samples(X_NEW), explained, rtol=1e-9, atol=1e-12)
    # The scores of training samples average to the score, since their variance is the scale.
    assert fitted.score_samples(X).mean() == pytest.approx(fitted.score(X), abs=1e-9)
    frames = changed(fitted, sparse_output=True).set_output(transform="pandas")
    assert frames.score(X_NEW) == fitted.score(X_NEW)


# --- precision and units --------------------------------------------------------------------


@pytest.mark.parametrize(
    "fitted", ["vaeense", "vaeense-mlp", "mixture", "gates", "gated", "topk-signed"], indirect=True
)
def test_codes_agree_between_float32_and_float64(fitted):
    single, double = fitted.transform(X_NEW.astype(np.float32)), fitted.transform(X_NEW)
    # An entry at the threshold may be active in one precision and not in the other.
    assert np.mean((single != 0) == (double != 0)) > 0.999
    both = (single != 0) & (double != 0)
    assert_allclose(single[both], double[both], rtol=1e-3, atol=1e-4)


@EACH
@pytest.mark.parametrize(("dtype", "trained"), [(np.float32, "float64"), (np.float64, "float32")])
def test_outputs_keep_the_dtype_of_x(estimator, dtype, trained):
    fitted = fit_unwarned(clone(estimator).set_params(dtype=trained), X.astype(dtype))
    samples = X_NEW.astype(dtype)
    codes = fitted.transform(samples)
    assert next(fitted.module_.parameters()).dtype == getattr(torch, trained)
    assert codes.dtype == fitted.inverse_transform(codes).dtype == dtype
    assert fitted.score_samples(samples).dtype == dtype
    if hasattr(fitted, "posterior"):
        assert {array.dtype for array in fitted.posterior(samples)} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    "fitted",
    ["vaeense", "vaeense-mlp", "mixture", "gates", "jump_relu", "matryoshka-signed"],
    indirect=True,
)
def test_units_do_not_matter(fitted):
    """Training in double precision keeps rounding errors small."""
    is_trained = hasattr(fitted, "module_")
    double = clone(fitted).set_params(dtype="float64")
    if is_trained:
        set_params(double, max_iter=10)
    one, moved = fit_unwarned(clone(double), X), fit_unwarned(double, 7 * X + 5)
    assert_allclose(moved.transform(7 * X_NEW + 5), one.transform(X_NEW), atol=1e-6)
    assert_allclose(moved.mean_, 7 * one.mean_ + 5)
    shift = 8 * np.log(7) if hasattr(one, "noise_variance_") else 0.0
    # The search for the mixture of a trained model can turn on the last digit of its weights.
    abs_tol = 0.05 if is_trained and hasattr(one, "elbo_samples") else 1e-6
    assert moved.score(7 * X_NEW + 5) == pytest.approx(one.score(X_NEW) - shift, abs=abs_tol)
    if hasattr(one, "elbo_samples"):
        bounds = one.elbo_samples(X_NEW) - shift
        assert_allclose(moved.elbo_samples(7 * X_NEW + 5), bounds, atol=1e-6)
    if is_trained:
        assert_allclose(moved.loss_curve_, np.add(one.loss_curve_, shift), rtol=1e-6)
    if hasattr(one, "components_"):
        assert_allclose(moved.components_, 7 * one.components_, rtol=1e-6, atol=1e-8)


# --- devices --------------------------------------------------------------------------------


@EACH
def test_the_cpu_is_a_device(estimator):
    fitted, auto = (
        fit_unwarned(clone(estimator).set_params(device=device), X) for device in ("cpu", "auto")
    )
    if not torch.cuda.is_available():
        assert_array_equal(fitted.transform(X_NEW), auto.transform(X_NEW))
    assert {parameter.device.type for parameter in fitted.module_.parameters()} == {"cpu"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
@EACH
def test_cuda_without_cuda(estimator):
    with pytest.raises(ValueError, match="device must be 'auto' or a torch device that works here"):
        clone(estimator).set_params(device="cuda").fit(X)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@EACH
def test_cuda_agrees_with_the_cpu(estimator):
    on_cuda = fit_unwarned(clone(estimator).set_params(device="cuda"), X)
    assert {parameter.device.type for parameter in on_cuda.module_.parameters()} == {"cpu"}
    moved = changed(on_cuda, device="cpu")
    assert_allclose(moved.transform(X_NEW), on_cuda.transform(X_NEW), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, sparse.csr_array])
def test_codes_are_in_memory_once(kind):
    """Each chunk is written into the result, and no list of chunks is kept."""
    X, ones = kind(np.zeros((4000, 1))), np.ones((100, 200))
    ones = torch.from_numpy(ones) if isinstance(X, torch.Tensor) else ones
    tracemalloc.start()
    try:
        codes = _base.in_chunks(X, 100, lambda rows: ones)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(codes) is (torch.Tensor if isinstance(X, torch.Tensor) else np.ndarray)
    assert codes.shape == (4000, 200)
    assert (codes == 1).all()
    # The memory of a tensor is allocated by torch, and is not traced.
    assert peak < 1.2 * 8 * 4000 * 200
