"""Tensors of torch: the output has the type of the input, without conversions to numpy."""

import copy
import warnings

import numpy as np
import pytest
import torch
from helpers import changed, fit_unwarned
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from strategies import sparse_autoencoder, vaeense

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer, _base
from skvaeense.explanations import GateDictionary
from skvaeense.metrics import fvu
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.penalties import BatchTopK, TopK
from skvaeense.samples._rows import as_array

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 6)).astype(np.float32)
X_NEW = torch.from_numpy(RNG.standard_normal((20, 6)))
APART = X + 40 * (np.arange(120) % 2)[:, None].astype(np.float32)
QUICK = {"n_components": 3, "max_iter": 2, "random_state": 0}
ASK = ("transform", "active_dimensions", "score_samples")


@pytest.fixture(
    scope="module",
    params=[(vaeense, APART), (sparse_autoencoder, X)],
    ids=["vaeense", "sae"],
)
def fitted(request):
    make, samples = request.param
    return fit_unwarned(make(**QUICK), torch.from_numpy(samples)), samples


def test_fits_are_those_of_arrays(fitted):
    model, samples = fitted
    again = fit_unwarned(clone(model), samples)
    assert_array_equal(model.transform(samples), again.transform(samples))


def test_answers_are_tensors_with_the_numbers_of_arrays(fitted, subtests):
    for dtype in (torch.float32, torch.float64):
        with subtests.test(dtype=dtype):
            model, _ = fitted
            given = X_NEW.to(dtype)
            methods = [*ASK, "posterior"] if hasattr(model, "posterior") else ASK
            for method in methods:
                ask = getattr(model, method)
                answers, arrays = ask(given), ask(given.numpy())
                if method != "posterior":
                    answers, arrays = (answers,), (arrays,)
                for answer, array in zip(answers, arrays, strict=True):
                    assert isinstance(answer, torch.Tensor)
                    assert answer.device == given.device
                    assert_array_equal(answer.numpy(), array)
                    assert answer.numpy().dtype == array.dtype
            codes = model.transform(given)
            back = model.inverse_transform(codes)
            assert isinstance(back, torch.Tensor)
            assert back.dtype is dtype
            assert_array_equal(back.numpy(), model.inverse_transform(codes.numpy()))
            assert model.score(given) == pytest.approx(model.score(given.numpy()))


def test_other_precisions_and_graphs(fitted):
    model, _ = fitted
    single = X_NEW.float()
    half = single.bfloat16()
    assert_array_equal(model.transform(half), model.transform(half.float()))
    codes = model.transform(single.clone().requires_grad_())
    assert codes.requires_grad
    assert_array_equal(codes.detach(), model.transform(single))
    whole = (10 * X_NEW).int()
    assert model.transform(whole).dtype is torch.float64


@pytest.mark.parametrize("make", [vaeense, sparse_autoencoder])
def test_codes_do_not_go_through_numpy(make, monkeypatch):
    model = fit_unwarned(make(**QUICK), X)
    if isinstance(model, VAEenseTransformer):
        # Threshold rules and locations use numpy.
        model = changed(model, hard=False)
    codes = model.transform(X_NEW)
    seen = []
    numpy = torch.Tensor.numpy

    def watched(tensor, **kwargs):
        seen.append(len(tensor))
        return numpy(tensor, **kwargs)

    monkeypatch.setattr(torch.Tensor, "numpy", watched)
    assert torch.equal(model.transform(X_NEW), codes)
    model.inverse_transform(codes)
    # Only the first row is converted, with which scikit-learn checks the number of features.
    assert max(seen, default=0) <= 1


def test_codes_that_cannot_be_written_to(fitted):
    model, samples = fitted
    codes = model.transform(samples)
    codes.flags.writeable = False
    back = model.inverse_transform(codes)
    assert_array_equal(back, model.inverse_transform(codes.copy()))


def test_sparse_codes_of_tensors(fitted):
    model, samples = fitted
    thin = fit_unwarned(clone(model).set_params(sparse_output=True), samples)
    assert_array_equal(thin.transform(X_NEW).toarray(), thin.transform(X_NEW.numpy()).toarray())


def test_bad_tensors(fitted):
    for given, match in (
        (X_NEW[0], "Expected 2D array, got 1D array"),
        (X_NEW[None], "Found array with dim 3"),
        (X_NEW[:, :2], "X has 2 features, but"),
        (X_NEW * torch.nan, "Input X contains NaN"),
        (X_NEW.abs() / 0, "Input X contains infinity"),
        (X_NEW + 1j, "Complex data not supported"),
        (X_NEW[:0], r"Found array with 0 sample\(s\)"),
    ):
        with pytest.raises(ValueError, match=match):
            fitted[0].transform(given)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_sparse_tensors_are_refused(fitted):
    model, _ = fitted
    codes = model.transform(X_NEW)
    for ask, given in [
        (model.transform, X_NEW.to_sparse()),
        (model.transform, X_NEW.to_sparse_csr()),
        (model.inverse_transform, codes.to_sparse()),
    ]:
        with pytest.raises(TypeError, match=r"Use '\.to_dense\(\)' to convert to a dense tensor"):
            ask(given)


def test_no_codes(fitted):
    model, _ = fitted
    codes = model.transform(X_NEW)
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        model.inverse_transform(codes[:0])


def test_missing_features_of_tensors():
    model = fit_unwarned(vaeense(**QUICK), X)
    holes = X_NEW.clone()
    holes[:, 0] = torch.nan
    expected = model.impute(holes.numpy())
    for given in (holes, holes.clone().requires_grad_()):
        filled = model.impute(given)
        assert isinstance(filled, torch.Tensor)
        assert not filled.requires_grad
        assert_array_equal(filled.numpy(), expected)
    assert model.impute(holes.bfloat16()).dtype is torch.float32


def test_searches_with_labels_in_tensors():
    y = (torch.from_numpy(X[:, 0]) > 0).long()
    pipeline = make_pipeline(sparse_autoencoder(**QUICK | {"tol": 0}), LogisticRegression())
    search = GridSearchCV(pipeline, {"sparseautoencoder__n_components": [2, 3]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        score = clone(search).fit(torch.from_numpy(X), y).best_score_
        assert score == search.fit(X, y.numpy()).best_score_


def test_tensors_with_a_gradient_or_a_pending_negation(subtests):
    x = torch.tensor(X[:60], dtype=torch.float64)
    plain = (-x).numpy()
    # The imaginary part of a conjugate is negated when it is read.
    negative = torch.complex(torch.zeros_like(x), x).conj().imag
    assert negative.is_neg()
    calls = {
        "VAEenseTransformer": lambda X: vaeense(**QUICK).fit(X).transform(X),
        "SparseAutoencoder": lambda X: sparse_autoencoder(**QUICK).fit(X, X[:, :2]).predict(X),
        "partial_fit": lambda X: sparse_autoencoder(**QUICK).partial_fit(X).transform(X),
        "SubspaceMixture": lambda X: SubspaceMixture(2, random_state=0).fit(X).score_samples(X),
        "GateDictionary": lambda X: GateDictionary(3, random_state=0).fit(X).transform(X),
        "IntrinsicDimensionEstimator": lambda X: (
            IntrinsicDimensionEstimator(vaeense(**QUICK)).fit(X).dimension_pw_
        ),
        "weights": lambda X: (
            sparse_autoencoder(**QUICK).fit(plain, sample_weight=X[:, 0] ** 2).transform(plain)
        ),
        "fvu": lambda X: fvu(X, plain + 1, sample_weight=X[:, 0] ** 2),
    }
    for name, call in calls.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            expected = call(plain)
            for given in (negative, torch.tensor(plain).requires_grad_()):
                with subtests.test(name, is_neg=given.is_neg()):
                    assert_allclose(as_array(call(given)), expected, rtol=1e-12)


def by_hand(sae, x):
    """Return codes and reconstructions of a tensor by the module itself."""
    module = sae.module_.to(x.dtype)
    mean, scale = (torch.tensor(value) for value in (sae.mean_, sae.scale_))
    scaled = ((x.double() - mean) / scale).to(x)
    codes = module.code(scaled)
    mean, scale = (torch.tensor(value) for value in (sae.target_mean_, sae.target_scale_))
    return codes, module.decode(codes) * scale + mean, module.predict(scaled) * scale + mean


@pytest.mark.parametrize(
    ("penalty", "network"),
    [
        ("l1", "single_layer"),
        ("gated", "linear"),
        ("jump_relu", "mlp"),
        (TopK(2), "unrolled"),
        (BatchTopK(2), "single_layer"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_those_of_the_module(penalty, network, dtype, subtests, monkeypatch):
    monkeypatch.setattr(_base, "block_rows", lambda *_: 7)
    y = None if network == "unrolled" else X[:, :3] * 5
    sae = fit_unwarned(
        sparse_autoencoder(**QUICK | {"n_components": 8}, penalty=penalty, network=network), X, y=y
    )
    if y is None:
        sae.target_mean_, sae.target_scale_ = sae.mean_, sae.scale_
    x = X_NEW.to(dtype, copy=True).requires_grad_()
    codes, decoded, predicted = by_hand(copy.deepcopy(sae), x)
    if y is None:
        del sae.target_mean_, sae.target_scale_
    found = sae.transform(x)
    pairs = {
        "transform": (found, codes),
        "inverse_transform": (sae.inverse_transform(found), decoded),
        "score_samples": (sae.score_samples(x, X_NEW[:, :3].to(dtype)), None),
    }
    if y is not None:
        pairs["predict"] = (sae.predict(x), predicted)
    for name, (own, other) in pairs.items():
        with subtests.test(name):
            if other is None:
                target = x if y is None else X_NEW[:, :3].to(dtype)
                scaling = sae._scaling.decoded
                left = (target - predicted) / scaling.scale
                other = 1 - left.square().mean(dim=1)
            assert_allclose(own.detach(), other.detach(), rtol=1e-5, atol=1e-5)
            assert own.dtype is dtype
            slopes = [
                torch.autograd.grad(some.square().sum(), x, retain_graph=True)[0]
                for some in (own, other.to(dtype))
            ]
            assert slopes[1].any()
            size = float(slopes[1].abs().max())
            assert_allclose(slopes[0], slopes[1], rtol=1e-5, atol=1e-5 * size)
    assert all(weight.grad is None for weight in sae.module_.parameters())
    assert all(weight.requires_grad for weight in sae.module_.parameters())


def test_results_without_gradients():
    x = X_NEW.float().requires_grad_()
    sae = fit_unwarned(sparse_autoencoder(**QUICK), X)
    with torch.no_grad():
        assert not sae.transform(x).requires_grad
    assert not sae.active_dimensions(x).requires_grad
    assert not sae.transform(X_NEW).requires_grad
    laws = fit_unwarned(vaeense(**QUICK), X)
    for own in (laws.transform(x), laws.inverse_transform(laws.transform(x))):
        with pytest.raises(RuntimeError, match=r"no gradients.*X\.detach\(\)"):
            own.sum().backward()
    assert not laws.active_dimensions(x).requires_grad
