"""A row of the table of bad input, and shared parts of rows: samples, files, messages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import helpers
import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from sklearn.utils._param_validation import InvalidParameterError

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEase, VAEenseTransformer

# A VAEase stands for a VAEenseTransformer whose model it is.
VAEENSE, VAEASE, SPARSE = (VAEenseTransformer,), (VAEase,), (SparseAutoencoder,)
INTRINSIC = (IntrinsicDimensionEstimator,)
# Estimators that are trained by gradients.
TRAINED = VAEASE + SPARSE
AUTOENCODERS = VAEENSE + TRAINED
EVERY = AUTOENCODERS + INTRINSIC

# Groups of methods. An estimator may have only some of a group.
FIT = ("fit", "partial_fit")
ASK = (
    "transform",
    "active_dimensions",
    "posterior",
    "score",
    "score_samples",
    "predict",
    "dimension_scale",
    "reliability",
)
BACK = ("inverse_transform",)

X = np.random.default_rng(0).standard_normal((12, 4))
NAMED = pd.DataFrame(X, columns=list("abcd"))


class BadInput(NamedTuple):
    """A row of the table.

    `given` describes the input in words. `call` passes the input to one of the `methods` of the
    `estimators`. `params` are set before. `before` is the data that the estimator was fitted to, or
    None.
    """

    given: str
    estimators: tuple[type, ...]
    methods: tuple[str, ...]
    call: Callable[[Any], Any]
    error: type[Exception]
    message: str
    params: dict[str, Any] = {}
    before: Any = None

    @property
    def cases(self):
        """Return the estimators and methods that the input is given to, as pairs."""
        return [
            (kind, method)
            for kind in self.estimators
            for method in self.methods
            if hasattr(VAEenseTransformer if kind is VAEase else kind, method)
        ]


def to_fit(given, call, message, estimators=EVERY, methods=FIT, *, error=ValueError):
    """Return a row for samples passed to fit."""
    return BadInput(given, estimators, methods, call, error, message)


def after_fit(
    given, call, message, estimators=EVERY, methods=ASK, *, error=ValueError, before=X, **params
):
    """Return a row for an input of a fitted estimator."""
    return BadInput(given, estimators, methods, call, error, message, params, before)


def parameter(estimators, must, **params):
    """Return a row for one parameter that scikit-learn's validation refuses."""
    ((name, value),) = params.items()
    message = f"The {name!r} parameter of … must be {must}. Got {value!r} instead."
    return together(estimators, message, InvalidParameterError, **params)


def together(estimators, message, error=ValueError, **params):
    """Return a row for parameters that `fit` refuses."""
    given = ", ".join(f"{name}={value!r}" for name, value in params.items())
    return BadInput(given, estimators, FIT, lambda fit: fit(X), error, message, params)


def with_entry(value, dtype=float):
    """Return samples with one entry set."""
    return helpers.with_entry(X, value, dtype)


def file(name, content):
    """Return the name of a file with this content in the working directory."""
    if isinstance(content, dict):
        save_file({k: torch.tensor(v) for k, v in content.items()}, name)
    elif isinstance(content, str):
        Path(name).write_text(content, encoding="utf-8")
    else:
        np.save(name, content)
    return name


def folder(name):
    """Return the name of an empty folder in the working directory."""
    Path(name).mkdir()
    return name


class Loader:
    """Batches that can be read several times, with a length."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


NAN = "Input X contains NaN.…"
INFINITY = "Input X contains infinity or a value too large for dtype(…)."
FLAT = "Expected 2D array, got 1D array instead:…Reshape your data…"
DEEP = "Found array with dim 3, while dim <= 2 is required by …."
DENSE = (
    "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert to a "
    "dense numpy array."
)
TOO_FEW = "Found array with {} sample(s) (shape={}) while a minimum of {} is required by …."
SCALE = (
    "X has a standard deviation of …, so the noise variance, in squared units of X, is beyond the "
    "range of float64. Multiply X by a constant first."
)
ITERATOR = (
    "X is an iterable without a length (…), so nothing tells whether a pass over it is complete. "
    "Give a torch DataLoader or Dataset with a length, or call partial_fit with each batch."
)
SUFFIX = "Samples can only be read from files that end in ('.npy', '.safetensors'), got data.csv."
DIVERGED = (
    "The loss … NaN or infinite. Lower learning_rate_init, or look for samples far from all "
    "others: X is scaled by one number, so an outlier of many standard deviations makes gradients "
    "explode."
)
FAR = (
    "X has samples too far from the training samples: results in … are not finite. Leave these "
    "samples out, or give X in double precision."
)
NAMES = "The feature names should match those that were passed during fit.…"
