"""Export of sparse autoencoders with one layer each way to SAELens."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as to_bytes
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skvaeense._sparse_autoencoder import SparseAutoencoder
from skvaeense.nets.networks import DenseAutoencoder
from skvaeense.nets.penalties import (
    GatedReLU,
    HardThreshold,
    KeepBatchTop,
    KeepTop,
    Rectifier,
)
from skvaeense.utils._files import whole_folder
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._typing import PathName

# Version of SAELens that defines the format.
SAELENS_VERSION = "6.0.0"


def to_saelens(
    estimator: SparseAutoencoder, folder: PathName, *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a fitted sparse autoencoder in the format of SAELens 6.

    The folder holds ``cfg.json`` and ``sae_weights.safetensors``, and SAELens reads it by
    ``SAE.load_from_disk(folder)``. Directions have norm 1 there, as tools expect: `encode` of
    SAELens returns the codes of `transform` times the norms of the rows of `components_`, and
    `decode` of these codes the same as `inverse_transform`, up to rounding. Samples are in the
    units of the training samples: centring and scaling are folded into the weights.

    ========================  ===========================================================
    Penalty                   Architecture
    ========================  ===========================================================
    L1, Log                   "standard", or "jumprelu" if codes were cut to a `target_l0`
    TopK                      "topk"
    BatchTopK, Matryoshka     "jumprelu", with the single threshold used after training
    JumpReLU                  "jumprelu"
    Gated                     "gated"
    ========================  ===========================================================

    A transcoder, which was fitted with a target, becomes a "transcoder", or a "jumprelu_transcoder"
    if its codes have thresholds. With a skip connection it becomes a "skip_transcoder" or a
    "jumprelu_skip_transcoder". SAELens has no transcoders for TopK and Gated.

    Parameters
    ----------
    estimator : SparseAutoencoder
        A fitted sparse autoencoder with the network "single_layer", non-negative codes, and a
        penalty of the table.

    folder : str or path-like
        A new folder. It is written completely or not at all.

    metadata : dict or None, default=None
        Information on the samples for SAELens, such as ``{"model_name": "gpt2-small", "hook_name":
        "blocks.6.hook_resid_pre"}``.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If the estimator is of another class.

    ValueError
        If SAELens has no architecture for the estimator; the message says why.

    FileExistsError
        If the folder already exists.

    OSError
        If the folder cannot be written.

    See Also
    --------
    skvaeense.hub.save_pretrained : Write any autoencoder for a class that SAELens can register.

    Notes
    -----
    With the encoder ``A (x' - b) + a`` of samples ``x' = (x - mean) / scale`` and the decoder
    ``W z + b``, the weights are ``W_enc = A^T n / scale``, ``b_enc = n a``, ``W_dec = scale W^T /
    n`` and ``b_dec = scale b + mean``, where n has the norms of the rows of ``scale W^T``. With
    TopK and rows of different norms, n is 1, as the largest codes would be others.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.export import to_saelens
    >>> from skvaeense.nets.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=10, random_state=0).fit(X)
    >>> with TemporaryDirectory() as parent:
    ...     to_saelens(sae, f"{parent}/digits")
    ...     sorted(path.name for path in Path(f"{parent}/digits").iterdir())
    ['cfg.json', 'sae_weights.safetensors']
    """
    config, tensors = saelens_files(estimator, metadata)
    with whole_folder(folder) as draft:
        write_files(draft, config, tensors)


def write_files(folder: Path, config: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write settings and weights under the names that SAELens expects."""
    (folder / "cfg.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "sae_weights.safetensors").write_bytes(to_bytes(tensors))


def saelens_files(
    estimator: Any, metadata: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings and the weights of an estimator that SAELens has an architecture for."""
    if not isinstance(estimator, SparseAutoencoder):
        raise TypeError(
            f"Only a SparseAutoencoder can be exported to SAELens, got {estimator!r}: SAELens has "
            "no architecture for other estimators."
        )
    check_is_fitted(estimator)
    model: Any = estimator._with_length(estimator.module_)
    network, activation = model.network, model.activation
    if not (isinstance(network, DenseAutoencoder) and isinstance(network.encoder, nn.Linear)):
        raise ValueError(
            f"The network {estimator.network!r} has more than one layer in its encoder or decoder, "
            'which SAELens does not support. Fit with network="single_layer".'
        )
    if type(activation) not in ARCHITECTURES or not getattr(activation, "positive", True):
        raise ValueError(
            f"SAELens has no architecture for codes of the penalty {estimator.penalty!r} with "
            f"positive_code={estimator.positive_code!r}. It has ReLU, TopK, JumpReLU and gates, "
            "all with non-negative codes."
        )
    weights, bias = _folded(estimator, network)
    own_weights, settings = ARCHITECTURES[type(activation)](activation, bias)
    if model.n_targets is not None:
        settings = _transcoder(estimator, settings["architecture"], weights)
    norms = weights["W_dec"].norm(dim=1)
    if isinstance(activation, KeepTop):
        # Latents of other norms, beyond rounding, would be ranked in another order.
        is_equal = (norms / norms.mean() - 1).abs().max() < 10 * ROUNDING
        settings["rescale_acts_by_decoder_norm"] = bool(is_equal)
    if settings.get("rescale_acts_by_decoder_norm", True):
        norms = norms.where(norms > 0, 1.0)
        weights["W_dec"] = weights["W_dec"] / norms[:, None]
        weights["W_enc"] = weights["W_enc"] * norms
        for name in own_weights.keys() - {"r_mag"}:
            own_weights[name] = own_weights[name] * norms
    tensors = {
        name: np.ascontiguousarray(value.detach().to(network.decoder.weight.dtype).numpy())
        for name, value in (weights | own_weights).items()
    }
    name = tensors["W_dec"].dtype.name
    return common_settings(estimator, name, metadata) | settings, tensors


def _folded(estimator: Any, network: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return weights for samples in the user's units, and the bias of the encoder."""
    # In double precision, so that products are rounded only once.
    in_double = copy.deepcopy(network).double()
    encoder, decoder, decoded = in_double.encoder, in_double.decoder, estimator._scaling.decoded
    bias = encoder.bias
    if hasattr(estimator, "target_mean_"):
        bias = bias - encoder.weight @ torch.tensor(estimator.mean_) / estimator.scale_
    elif not network.subtract_bias:
        # The settings tell SAELens to subtract the decoder bias.
        bias = bias + encoder.weight @ decoder.bias
    return {
        "W_enc": encoder.weight.T / estimator.scale_,
        "W_dec": decoder.weight.T * decoded.scale,
        "b_dec": decoder.bias * decoded.scale + torch.tensor(decoded.mean),
    }, bias


def common_settings(
    estimator: Any, dtype: str, metadata: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the settings that all architectures have."""
    return {
        "d_in": estimator.n_features_in_,
        "d_sae": estimator.n_components_,
        "dtype": dtype,
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": SAELENS_VERSION} | dict(metadata or {}),
    }


def _transcoder(estimator, architecture, weights):
    """Return the settings of a transcoder, and add a skip connection to its weights."""
    if architecture not in TRANSCODERS:
        raise ValueError(
            f"SAELens has no transcoder for codes of the penalty {estimator.penalty!r}, only for "
            "ReLU and JumpReLU."
        )
    skip, decoded = estimator.module_.skip, estimator._scaling.decoded
    if skip is not None:
        weights["W_skip"] = skip.weight.double() * (decoded.scale / estimator.scale_)
        weights["b_dec"] = weights["b_dec"] - weights["W_skip"] @ torch.tensor(estimator.mean_)
    return {
        "architecture": TRANSCODERS[architecture][skip is not None],
        "d_out": len(decoded.mean),
        "apply_b_dec_to_input": False,
    }


# --- one function for each activation ---------------------------------------------------------


def _standard(activation, bias):
    cut = activation.cut.double()
    if cut > 0:
        weights = {"b_enc": bias, "threshold": cut.expand(len(bias))}
        return weights, {"architecture": "jumprelu"}
    return {"b_enc": bias - cut}, {"architecture": "standard"}


def _topk(activation, bias):
    return {"b_enc": bias}, {"architecture": "topk", "k": activation.n_kept}


def _thresholds(activation, bias):
    threshold = activation.threshold
    if isinstance(activation, KeepBatchTop):
        # Codes at the threshold pass here, but not in SAELens.
        below = torch.nextafter(threshold, torch.full_like(threshold, -torch.inf))
        threshold = below.expand(len(bias))
    return {"b_enc": bias, "threshold": threshold}, {"architecture": "jumprelu"}


def _gated(activation, bias):
    gain = activation.log_gain.double()
    weights = {
        "r_mag": gain,
        "b_gate": bias - activation.cut.double(),
        "b_mag": gain.exp() * bias + activation.bias.double(),
    }
    return weights, {"architecture": "gated"}


# For each architecture, its transcoders without and with a skip connection.
TRANSCODERS = {
    "jumprelu": ("jumprelu_transcoder", "jumprelu_skip_transcoder"),
    "standard": ("transcoder", "skip_transcoder"),
}
ARCHITECTURES = {
    GatedReLU: _gated,
    HardThreshold: _thresholds,
    KeepBatchTop: _thresholds,
    KeepTop: _topk,
    Rectifier: _standard,
}
