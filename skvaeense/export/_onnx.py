"""Export of the transform of an autoencoder to ONNX, for programs without Python."""

import copy
import logging
import warnings
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skvaeense._base import BaseAutoencoder
from skvaeense._sparse_autoencoder import SparseAutoencoder
from skvaeense._vaeense import VAEenseTransformer
from skvaeense.models import VAE
from skvaeense.samples._devices import DTYPES
from skvaeense.thresholds import Contribution, FixedVariance, Latents, Otsu, ThresholdRule
from skvaeense.utils._files import optional_import, whole_file
from skvaeense.utils._typing import PathName, Precision


def to_onnx(
    estimator: VAEenseTransformer | SparseAutoencoder,
    path: PathName,
    *,
    opset_version: int = 18,
    dtype: Precision = "float32",
) -> None:
    """Write the transform of a fitted autoencoder as an ONNX file.

    The model has the input ``X`` of shape (n_samples, n_features), with any number of samples, in
    the units of the training samples: centring and scaling are part of the model. Its output
    ``codes`` of shape (n_samples, n_components) is the output of `transform`, up to rounding, as a
    dense array. So for a VAEenseTransformer `hard` and `sparse_output` decide whether codes are
    hard, and `transform_l0` sets their length.

    The packages of ``pip install skvaeense[onnx]`` are required. An existing file is replaced in
    one step, and stays if anything fails.

    Parameters
    ----------
    estimator : VAEenseTransformer or SparseAutoencoder
        A fitted autoencoder, with any network and any penalty. The threshold rule of hard codes
        must be one of this package.

    path : str or path-like
        The file. Its name usually ends in ".onnx".

    opset_version : int, default=18
        Version of the ONNX operator set.

    dtype : {"float32", "float64"}, default="float32"
        Precision of X, of the codes and of all computations in between. Some programs, such as
        onnxruntime, have convolutions in float32 only.

    Raises
    ------
    ImportError
        If a required package is not installed.

    NotFittedError
        If the estimator is not fitted.

    TypeError
        If the estimator is of another class.

    ValueError
        If `dtype` is unknown, or the threshold rule or the search for gates cannot be written.

    OSError
        If the file cannot be written.

    See Also
    --------
    skvaeense.save : Save an estimator for this package.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> import onnxruntime
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.export import to_onnx
    >>> from skvaeense.penalties import TopK
    >>> X = load_digits().data.astype(np.float32)
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=10, random_state=0).fit(X)
    >>> with TemporaryDirectory() as folder:
    ...     to_onnx(sae, f"{folder}/sae.onnx")
    ...     session = onnxruntime.InferenceSession(f"{folder}/sae.onnx")
    >>> (codes,) = session.run(["codes"], {"X": X})
    >>> bool(np.allclose(codes, sae.transform(X), atol=1e-4))
    True
    """
    if not isinstance(estimator, BaseAutoencoder):
        raise TypeError(
            "Only the transform of a VAEenseTransformer or a SparseAutoencoder can be exported, "
            f"got {estimator!r}."
        )
    check_is_fitted(estimator)
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {sorted(DTYPES)}, got {dtype!r}.")
    for package in ("onnx", "onnxscript"):
        optional_import(package, "to_onnx", "onnx")
    if estimator.module_.searches:
        raise ValueError(
            "The search for open gates takes more steps for some samples than for others, which "
            "ONNX cannot express. Set prior=SpikeSlab(search=False), which takes gates from the "
            "encoder, and fit again."
        )
    transform = Transform(estimator, DTYPES[dtype])
    model = to_bytes(transform, estimator.n_features_in_, DTYPES[dtype], ["codes"], opset_version)
    with whole_file(path) as file:
        file.write(model)


def to_bytes(module, n_features, dtype, outputs, opset_version):
    """Return the ONNX file of a module that maps samples to the named outputs."""
    # Two arbitrary samples; their number is not part of the model.
    example = torch.zeros((2, n_features), dtype=dtype)
    with torch.no_grad(), _quiet():
        program: Any = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("n_samples")},),
            input_names=["X"],
            output_names=outputs,
            opset_version=opset_version,
            verbose=False,
        )
    return program.model_proto.SerializeToString()


class Transform(nn.Module):
    """Module of the transform, from samples in the user's units to codes."""

    def __init__(self, estimator, dtype):
        super().__init__()
        model = copy.deepcopy(estimator.module_).to(device="cpu", dtype=dtype)
        self.model = estimator._with_length(model)
        # As tensors, since a Python number would be rounded to float32.
        self.register_buffer("mean", torch.tensor(estimator.mean_))
        self.register_buffer("scale", torch.tensor(estimator.scale_, dtype=torch.float64))
        self.locate = None
        if hasattr(estimator, "_locations_"):
            self.locate = Locate(estimator._locations_)
            self.register_buffer("points", torch.tensor(estimator.locations_))
        self.dtype = dtype
        self.is_vae = isinstance(estimator, VAEenseTransformer)
        is_hard = self.is_vae and estimator._is_hard(self.model)
        self.encode = getattr(self.model, "code" if is_hard else "soft_code", self.model.code)
        self.active = None
        # If gates have a prior, the model itself makes codes hard.
        if is_hard and type(self.model) is VAE:
            self.active = _active_of(ThresholdRule.resolve(estimator.threshold))
            self.noise_variance = estimator.noise_variance_
            self.register_buffer("code_scale", self.model.code_scale().double() * estimator.scale_)

    def forward(self, X):
        """Return the codes of samples."""
        # As in training, centring and scaling are done in float64 and rounded once.
        X = X.double()
        at = None if self.locate is None else self.locate(X)
        center = self.mean if at is None else at @ self.points
        x = ((X - center) / self.scale).to(self.dtype)
        if not self.is_vae:
            return self.model.code(x)
        posterior = self.model.inferred(x)
        code = self.encode(posterior)
        if self.active is not None:
            seen: Any = posterior.log_variance, code, self.code_scale, self.noise_variance
            code = code * self.active(Latents(*seen))
        return code if at is None else torch.cat([code, at.to(self.dtype)], dim=1)


class Locate(nn.Module):
    """Module that gives the location of samples, as columns that are 1 or 0."""

    def __init__(self, locations):
        super().__init__()
        density = locations.density
        noise = density.noise_variances
        log_volume = len(density.center) * np.log(noise)
        log_volume += np.log(density.variances / noise[:, None]).sum(axis=1)
        groups = locations.groups[:, None] == np.arange(len(locations))
        names = "center", "unit", "basis", "directions", "means"
        buffers = {name: getattr(density, name) for name in names} | {
            "shifts": np.einsum("kp,kpr->kr", density.means, density.directions),
            "noise": noise,
            "gain": 1 / noise[:, None] - 1 / density.variances,
            "constant": np.log(density.weights) - 0.5 * log_volume,
            "outside": np.where(groups, 0.0, -np.inf),
        }
        for name, value in buffers.items():
            self.register_buffer(name, torch.tensor(value))

    def forward(self, X):
        """Return the location of each sample."""
        y = (X - self.center) / self.unit
        h = y @ self.basis
        along: Any = torch.einsum("np,kpr->nkr", h, self.directions)
        along = along - self.shifts
        explained = (along.square() * self.gain).sum(dim=2)
        distance = (h[:, None] - self.means).square().sum(dim=2)
        distance = distance + (y.square().sum(dim=1) - h.square().sum(dim=1))[:, None]
        log_joint = self.constant - 0.5 * (distance / self.noise - explained)
        log_densities = torch.logsumexp(log_joint[:, :, None] + self.outside, dim=1)
        best = log_densities.argmax(dim=1, keepdim=True)
        return (best == torch.arange(log_densities.shape[1])).to(X.dtype)


@contextmanager
def _quiet():
    """Hide log messages and deprecation warnings of torch's exporter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _active_of(rule):
    """Return a threshold rule as a function from `Latents` of tensors to the mask."""
    if type(rule) not in (Contribution, FixedVariance, Otsu):
        raise ValueError(
            f"The threshold rule {rule!r} cannot be exported; Contribution, FixedVariance and Otsu "
            "can. Set one of these, or hard=False and sparse_output=False: soft codes need no rule."
        )
    if type(rule) is Otsu:
        return _otsu
    # In double precision, so that levels are not rounded.
    return lambda latents: rule.active(latents._replace(log_variance=latents.log_variance.double()))


def _otsu(latents):
    """Return Otsu's mask, by the formula of the rule in numpy."""
    ordered = latents.log_variance.sort(dim=1).values
    n = ordered.shape[1]
    if n == 1:
        return torch.zeros_like(ordered, dtype=torch.bool)
    size = ordered.abs().amax(dim=1, keepdim=True)
    centred = ordered / torch.where(size == 0, 1, size)
    centred = centred - centred.mean(dim=1, keepdim=True)
    sizes = torch.arange(1, n, dtype=ordered.dtype)
    sums = centred.cumsum(dim=1)[:, :-1]
    best = (sums**2 / (sizes * (n - sizes))).argmax(dim=1, keepdim=True)
    return latents.log_variance < (ordered.gather(1, best) + ordered.gather(1, best + 1)) / 2
