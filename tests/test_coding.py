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
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone

from skvaeense import _evaluation

X, X_NEW = ATOMS.few, ATOMS.new
ESTIMATORS = {
    "vaeense": quick_vaeense(),
    "vaeense-mlp": quick_vaeense(network=MLP_SMALL),
    "vaeense-ungated": quick_vaeense(gated=False),
    # Each penalty once, with codes of one sign or of both signs.
    **{name: quick_sae(PENALTIES[name]) for name in ("batch_topk", "gated", "jump_relu", "l1")},
    **{
        f"{name}-signed": quick_sae(PENALTIES[name], positive_code=False)
        for name in ("log", "matryoshka", "topk")
    },
}
# One estimator of each class, for tests of code that is the same for all penalties.
EACH = pytest.mark.parametrize(
    "estimator", [quick_vaeense(max_iter=2), quick_sae(max_iter=2)], ids=["vaeense", "sae"]
)


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    """Return a quick fit of every kind, which tests must not change."""
    return fit_unwarned(clone(ESTIMATORS[request.param]), X)


# --- samples --------------------------------------------------------------------------------


def test_codes_and_scores_of_a_sample_depend_on_it_alone(fitted):
    """BatchTopK ranks a whole batch in training, but must not do so afterwards."""
    order = np.random.default_rng(0).permutation(len(X_NEW))
    codes, scores = fitted.transform(X_NEW), fitted.score_samples(X_NEW)
    assert codes.shape == (len(X_NEW), fitted.n_components_)
    assert scores.shape == (len(X_NEW),)
    for rows in (order, slice(3, 4)):
        assert_allclose(fitted.transform(X_NEW[rows]), codes[rows], rtol=1e-9, atol=1e-12)
        assert_allclose(fitted.score_samples(X_NEW[rows]), scores[rows], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fitted", ["vaeense", "batch_topk"], indirect=True)
def test_chunks_do_not_matter(fitted, monkeypatch):
    codes, scores = fitted.transform(X_NEW), fitted.score_samples(X_NEW)
    reconstruction = fitted.inverse_transform(codes)
    monkeypatch.setattr(_evaluation, "block_rows", lambda *widths: 7)
    assert_allclose(fitted.transform(X_NEW), codes, rtol=1e-9, atol=1e-12)
    assert_allclose(fitted.score_samples(X_NEW), scores, rtol=1e-9, atol=1e-12)
    assert_allclose(fitted.inverse_transform(codes), reconstruction, rtol=1e-9, atol=1e-12)


@EACH
def test_fit_transform_is_fit_and_transform(estimator):
    estimator = clone(estimator)
    codes = fit_unwarned(estimator, X, "fit_transform")
    assert_array_equal(codes, estimator.transform(X))


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


def test_sparse_output_is_the_hard_code(fitted):
    hard = {"hard": True} if hasattr(fitted, "hard") else {}
    dense_output, sparse_output = changed(fitted, **hard), changed(fitted, sparse_output=True)
    for dtype in (np.float32, np.float64):
        samples = X_NEW.astype(dtype)
        dense, codes = dense_output.transform(samples), sparse_output.transform(samples)
        assert isinstance(codes, sparse.csr_matrix)
        assert codes.dtype == dense.dtype == dtype
        assert codes.nnz == np.count_nonzero(dense)
        assert_array_equal(codes.toarray(), dense)
        reconstruction = fitted.inverse_transform(codes)
        assert reconstruction.dtype == dtype
        assert_array_equal(reconstruction, fitted.inverse_transform(dense))
    assert sparse_output.score(X_NEW) == fitted.score(X_NEW)


# --- precision and units --------------------------------------------------------------------


@pytest.mark.parametrize(
    "fitted", ["vaeense", "vaeense-mlp", "gated", "topk-signed"], indirect=True
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


def test_a_power_of_two_changes_nothing(fitted):
    """A multiplication by a power of two is exact, so the training is the same bit for bit."""
    scaled = fit_unwarned(clone(fitted), 1024 * X)
    assert_array_equal(scaled.transform(1024 * X_NEW), fitted.transform(X_NEW))
    assert_allclose(scaled.mean_, 1024 * fitted.mean_)
    assert scaled.scale_ == 1024 * fitted.scale_
    # The score and the loss of a VAEense are log-densities, which change with the units.
    shift = 0.0
    if hasattr(fitted, "noise_variance_"):
        assert_allclose(scaled.noise_variance_, 1024**2 * fitted.noise_variance_)
        shift = 8 * np.log(1024)
    assert scaled.score(1024 * X_NEW) == pytest.approx(fitted.score(X_NEW) - shift)
    assert_allclose(scaled.loss_curve_, np.add(fitted.loss_curve_, shift), rtol=1e-6)
    if hasattr(fitted, "components_"):
        assert_allclose(scaled.components_, 1024 * fitted.components_)


@pytest.mark.parametrize(
    "fitted", ["vaeense", "vaeense-mlp", "jump_relu", "matryoshka-signed"], indirect=True
)
def test_units_do_not_matter(fitted):
    """Training in double precision keeps rounding errors small."""
    double = clone(fitted).set_params(dtype="float64", max_iter=10)
    one, moved = fit_unwarned(clone(double), X), fit_unwarned(double, 7 * X + 5)
    assert_allclose(moved.transform(7 * X_NEW + 5), one.transform(X_NEW), atol=1e-6)
    assert_allclose(moved.mean_, 7 * one.mean_ + 5)
    shift = 8 * np.log(7) if hasattr(one, "noise_variance_") else 0.0
    # The last digits of codes may decide which mixture is found, but its score hardly changes.
    is_found = hasattr(one, "elbo_samples") and one.module_.linear_decoder is None
    tolerance = 0.05 if is_found else 1e-6
    assert moved.score(7 * X_NEW + 5) == pytest.approx(one.score(X_NEW) - shift, abs=tolerance)
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


@EACH
def test_cuda_without_cuda(estimator, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch finds no CUDA device"):
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
    X = kind(np.zeros((4000, 1)))
    tracemalloc.start()
    try:
        codes = _evaluation.in_chunks(None, X, 100, lambda rows: np.ones((100, 200)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(codes) is (torch.Tensor if isinstance(X, torch.Tensor) else np.ndarray)
    assert codes.shape == (4000, 200)
    assert (codes == 1).all()
    # The memory of a tensor is allocated by torch, and is not traced.
    assert peak < 1.2 * 8 * 4000 * 200
