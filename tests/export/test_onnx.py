"""onnxruntime computes the same codes from the ONNX file as transform."""

import copy
import os
import sys
from functools import cache, partial

import numpy as np
import pytest
import torch
from helpers import PENALTIES, fit_unwarned, quick_sae
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer
from skvaeense.export import to_onnx
from skvaeense.export._onnx import Transform, _active_of, to_bytes
from skvaeense.networks import MLP, Linear, Unrolled
from skvaeense.priors import SpikeSlab
from skvaeense.thresholds import Contribution, FixedVariance, Latents, Otsu, ThresholdRule

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def samples(seed=0, n_samples=80):
    """Return samples that are far from 0, and whose scale is not 1."""
    map_ = np.random.default_rng(0).normal(size=(3, 6))
    return 30.0 * np.random.default_rng(seed).normal(size=(n_samples, 3)) @ map_ + 100.0


quick_vae = partial(
    VAEenseTransformer, network=Linear((5,)), n_components=4, n_init=1, max_iter=30, random_state=0
)


def session_of(model):
    """Return a session on one thread, without busy waiting of idle threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def transform_of(estimator, X):
    codes = estimator.transform(X)
    return codes.toarray() if estimator.sparse_output else codes


ESTIMATORS = {
    # Log and Matryoshka have the activations of L1 and BatchTopK.
    **{p: quick_sae(PENALTIES[p]) for p in PENALTIES if p not in ("log", "matryoshka")},
    "signed_topk": quick_sae(PENALTIES["topk"], positive_code=False),
    "signed_batch_topk": quick_sae(PENALTIES["batch_topk"], positive_code=False),
    "signed_jump_relu": quick_sae(PENALTIES["jump_relu"], positive_code=False),
    "sae_mlp": quick_sae("l1", network=MLP((5,), skip=True)),
    "sae_unrolled": quick_sae(PENALTIES["batch_topk"], network=Unrolled(2, n_refinements=1)),
    "soft": quick_vae(),
    "cut_target": quick_vae(
        target_l0=2, transform_l0=1.3, network="auto", prior=SpikeSlab(search=False)
    ),
    "cut_topk": quick_sae(PENALTIES["topk"], transform_l0=2),
    "hard_target": quick_vae(target_l0=2, network="auto", prior=SpikeSlab(search=False), hard=True),
    "without_gate": quick_vae(gated=False, network=MLP((5,))),
    "fixed_variance": quick_vae(hard=True, learning_rate_init=0.05, threshold=FixedVariance(0.5)),
    "contribution": quick_vae(hard=True, learning_rate_init=0.05, threshold=Contribution(1.0)),
    "otsu": quick_vae(sparse_output=True, learning_rate_init=0.05, threshold="otsu"),
    "one_component": quick_vae(n_components=1, hard=True, threshold="otsu"),
}


class AllTransforms(nn.Module):
    """The transforms of many estimators in one module, since each export takes a second."""

    def __init__(self, estimators, dtype):
        super().__init__()
        self.transforms = nn.ModuleList(Transform(e, dtype) for e in estimators)

    def forward(self, X):
        return tuple(transform(X) for transform in self.transforms)


@cache
def fitted(name):
    """Return an estimator, fitted once."""
    return fit_unwarned(clone(ESTIMATORS[name]), samples())


@pytest.mark.parametrize(
    "names",
    [
        ["topk", "signed_jump_relu", "sae_unrolled", "soft", "contribution", "otsu"],
        pytest.param([*ESTIMATORS], marks=pytest.mark.slow),
    ],
    ids=["some", "all"],
)
def test_codes(names):
    module = AllTransforms(map(fitted, names), torch.float64)
    session = session_of(to_bytes(module, 6, torch.float64, names, 18))
    for n_samples in (80, 7, 1):
        X = samples(seed=n_samples, n_samples=n_samples)
        for name, codes in zip(names, session.run(names, {"X": X}), strict=True):
            expected = transform_of(fitted(name), X)
            assert codes.dtype == expected.dtype == np.float64
            np.testing.assert_allclose(codes, expected, atol=1e-12, err_msg=name)
            np.testing.assert_array_equal(codes != 0, expected != 0, err_msg=name)


def test_otsu_takes_values_whose_squares_overflow():
    rule = _active_of(Otsu())
    values = torch.tensor(np.random.default_rng(0).normal(size=(20, 6)))
    ones = torch.ones(6, dtype=torch.float64)
    active = [rule(Latents(scale * values, values, ones, 0.1)) for scale in (1.0, 1e300)]
    assert torch.equal(*active)


def test_gates_that_are_searched_for_cannot_be_exported(tmp_path):
    searched = fit_unwarned(quick_vae(target_l0=2, network="auto"), samples())
    with pytest.raises(ValueError, match=r"Set prior=SpikeSlab\(search=False\)"):
        to_onnx(searched, tmp_path / "vae.onnx")
    assert not (tmp_path / "vae.onnx").exists()


def test_hard_codes_have_zeros():
    """Otherwise the test above would not test the rules."""
    for name in ("fixed_variance", "contribution", "otsu"):
        codes = transform_of(fitted(name), samples(1))
        assert (codes == 0).any()
        assert (codes != 0).any()


@pytest.mark.parametrize(
    ("name", "options", "dtype"),
    [
        ("contribution", {"dtype": "float64", "opset_version": 20}, "float64"),
        ("soft", {}, "float32"),
    ],
)
def test_file(name, options, dtype, tmp_path):
    path, X = tmp_path / "model.onnx", samples(1).astype(dtype)
    path.write_text("an older file")
    to_onnx(fitted(name), path, **options)
    assert os.listdir(tmp_path) == ["model.onnx"]
    model = onnx.load(path)
    assert model.opset_import[0].version == options.get("opset_version", 18)
    (codes,) = session_of(path).run(["codes"], {"X": X})
    assert codes.dtype == dtype
    np.testing.assert_allclose(codes, fitted(name).transform(X), atol=1e-4)


class OwnRule(ThresholdRule):
    """A custom rule."""

    def active(self, latents):
        return latents.code > 0


def test_what_cannot_be_exported(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(TypeError, match="Only the transform of a VAEenseTransformer"):
        to_onnx(IntrinsicDimensionEstimator(), path)
    with pytest.raises(NotFittedError):
        to_onnx(SparseAutoencoder(), path)
    with pytest.raises(ValueError, match="dtype must be one of"):
        to_onnx(fitted("l1"), path, dtype="float16")
    with pytest.raises(ValueError, match=r"OwnRule\(\) cannot be exported; Contribution"):
        to_onnx(copy.copy(fitted("otsu")).set_params(threshold=OwnRule()), path)
    assert os.listdir(tmp_path) == []


def test_missing_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install skvaeense\[onnx\]"):
        to_onnx(fitted("l1"), tmp_path / "model.onnx")


def test_failure_leaves_the_old_file(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("No space left on device")

    path = tmp_path / "model.onnx"
    path.write_text("an older file")
    monkeypatch.setattr("skvaeense.export._onnx.to_bytes", lambda *args: b"model")
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        to_onnx(fitted("l1"), path)
    assert os.listdir(tmp_path) == ["model.onnx"]
    assert path.read_text() == "an older file"
