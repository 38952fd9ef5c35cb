"""Import of sparse autoencoders of SAELens as fitted estimators."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors import SafetensorError
from safetensors.torch import load_file

from skvaeense._sparse_autoencoder import SparseAutoencoder
from skvaeense.export._saelens import TRANSCODERS
from skvaeense.nets.models import SparseCoder
from skvaeense.nets.networks import SingleLayer
from skvaeense.nets.penalties import L1, Gated, JumpReLU, Penalty, TopK
from skvaeense.samples._scaling import Scaling
from skvaeense.samples._sources import open_target
from skvaeense.training._trainer import History
from skvaeense.utils._files import check_regular
from skvaeense.utils._torch import DTYPES, make_generator
from skvaeense.utils._typing import PathName, SparseArray
from skvaeense.utils._validation import AT_LEAST_ONE

Weights = dict[str, torch.Tensor]


def from_saelens(
    folder: PathName, X: ArrayLike | SparseArray | None = None, y: ArrayLike | None = None
) -> SparseAutoencoder:
    """Read a sparse autoencoder in the format of SAELens 6.

    `transform` and `inverse_transform` of the result return the same as `encode` and `decode` of
    SAELens, up to rounding. The architectures are "standard" (read with the penalty L1), "topk",
    "jumprelu" and "gated", with or without ``apply_b_dec_to_input``, and "transcoder" and
    "jumprelu_transcoder", with or without a skip connection, whose `predict` returns the output of
    SAELens. Norms that a "topk" autoencoder multiplies its activations by are folded into the
    weights.

    Parameters
    ----------
    folder : str or path-like
        A folder with ``cfg.json`` and ``sae_weights.safetensors``.

    X : {array-like, sparse matrix} of shape (n_samples, n_features) or None, default=None
        Samples that set the centre and the scale, in any form that `fit` takes. Codes do not depend
        on X. With X, `score_samples` is relative to its variance, and training can continue by
        ``warm_start=True`` or `partial_fit`. None takes samples as they are.

    y : array-like of shape (n_samples, n_targets) or None, default=None
        Target of a transcoder, if X is given. It has its own centre and scale.

    Returns
    -------
    SparseAutoencoder
        A fitted estimator.

    Raises
    ------
    OSError
        If the files cannot be read, or are no regular files.

    ValueError
        If the files have another architecture, if weights are missing, have another shape or are
        not finite, or if activations are to be normalised: fold the norms into the weights first,
        by ``fold_activation_norm_scaling_factor`` of SAELens.

    See Also
    --------
    to_saelens : Export to SAELens.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.export import from_saelens, to_saelens
    >>> from skvaeense.nets.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=10, random_state=0).fit(X)
    >>> with TemporaryDirectory() as parent:
    ...     to_saelens(sae, f"{parent}/digits")
    ...     again = from_saelens(f"{parent}/digits", X)
    >>> bool(np.allclose(again.score_samples(X), sae.score_samples(X), atol=1e-3))
    True
    """
    config, weights = _read(Path(folder))
    architecture = config.get("architecture", "standard")
    if architecture not in [*ARCHITECTURES]:
        raise ValueError(
            f"The architecture must be one of {sorted(ARCHITECTURES)}, got {architecture!r}."
        )
    normalisation = config.get("normalize_activations", "none")
    if normalisation != "none":
        raise ValueError(
            f"normalize_activations must be 'none', got {normalisation!r}. Fold the norms into the "
            "weights by SAELens' fold_activation_norm_scaling_factor, and save again."
        )
    has_target, has_skip = "transcoder" in architecture, "skip" in architecture
    read_codes, of_latents = CODES[ARCHITECTURES[architecture]]
    _check_weights(weights, of_latents, has_target, has_skip)
    penalty, activation = read_codes(config, weights)
    subtracts_bias = config.get("apply_b_dec_to_input", True) or has_target
    estimator = SparseAutoencoder(
        len(weights["W_dec"]),
        penalty=penalty,
        network=SingleLayer(subtract_bias=subtracts_bias),
        skip_connection=has_skip,
        dtype="float64" if weights["W_dec"].dtype is torch.float64 else "float32",
    )
    scaling = _scaling(estimator, X, len(weights["W_enc"]))
    if has_target:
        scaling = replace(scaling, target=_target_scaling(X, y, len(weights["b_dec"])))
    model = _model(estimator, weights, activation, scaling)
    attributes = estimator._model_attributes(model, scaling, History.from_log([]))
    estimator.__dict__.update(attributes, n_features_in_=model.n_features)
    if penalty.alpha is not None:
        estimator.alpha_ = float(penalty.alpha)
    return estimator


def _read(folder: Path, *, most_bytes: int = 2**24) -> tuple[dict[str, Any], Weights]:
    """Return the settings, of at most some bytes, and the weights, in single precision at least."""
    for path in (folder / "cfg.json", folder / "sae_weights.safetensors"):
        check_regular(path)
    with open(folder / "cfg.json", "rb") as file:
        text = file.read(most_bytes + 1)
    if len(text) > most_bytes:
        raise ValueError(
            f"cfg.json has more than {most_bytes // 2**20} MB, but settings have some "
            "kilobytes. Give a folder that SAELens has written."
        )
    try:
        config = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"cfg.json is not valid JSON, or is nested too deeply: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"cfg.json must hold a JSON object, got {type(config).__name__}.")
    try:
        weights = load_file(folder / "sae_weights.safetensors")
    except SafetensorError as error:
        raise ValueError(f"sae_weights.safetensors is damaged: {error}") from error
    return config, {
        name: value.float() if value.is_floating_point() and value.itemsize < 4 else value
        for name, value in weights.items()
    }


def _check_weights(
    weights: Weights, of_latents: Sequence[str], has_target: bool, has_skip: bool
) -> None:
    """Raise an error unless all weights are there, with matching shapes, and finite."""
    needed = ["b_dec", "W_dec", "W_enc", *(["W_skip"] if has_skip else []), *of_latents]
    for name in needed:
        if name not in weights:
            raise ValueError(
                f"sae_weights.safetensors has no {name}, which its architecture needs."
            )
        if not (weights[name].is_floating_point() and weights[name].isfinite().all()):
            raise ValueError(f"{name} has entries that are NaN, infinite or not floats.")
    n_targets, n_components = weights["b_dec"].numel(), weights["W_dec"].shape[:1].numel()
    n_features = weights["W_enc"].shape[:1].numel() if has_target else n_targets
    if not (n_features and n_targets and n_components):
        raise ValueError("The weights must have at least one feature and one latent.")
    shapes = {
        "b_dec": (n_targets,),
        "W_dec": (n_components, n_targets),
        "W_enc": (n_features, n_components),
        "W_skip": (n_targets, n_features),
    } | dict.fromkeys(of_latents, (n_components,))
    for name in needed:
        found = tuple(weights[name].shape)
        if found != shapes[name]:
            raise ValueError(f"{name} has the shape {found}, not {shapes[name]}.")


def _scaling(estimator: SparseAutoencoder, X: Any, n_features: int) -> Scaling:
    if X is None:
        return Scaling(np.zeros(n_features), 1.0)
    samples = estimator._check_samples(X, reset=True, least=2)
    if samples.shape[1] != n_features:
        raise ValueError(
            f"X has {samples.shape[1]} features, but the autoencoder is expecting {n_features} "
            "features as input."
        )
    return Scaling.from_data(samples)


def _target_scaling(X: Any, y: Any, n_targets: int) -> Scaling:
    if X is None or y is None:
        return Scaling(np.zeros(n_targets), 1.0)
    target = open_target(y)
    if target is None or target.shape[1] != n_targets:
        raise ValueError(
            f"y must be a target of {n_targets} features, like the output of the transcoder."
        )
    return Scaling.from_data(target)


def _model(
    estimator: SparseAutoencoder, weights: Weights, activation: Weights, scaling: Scaling
) -> SparseCoder:
    """Return the model for centred and scaled samples that gives the codes of the weights."""
    network: Any = estimator.network
    penalty: Any = estimator.penalty
    n_components, n_targets = weights["W_dec"].shape
    decoded = scaling.decoded
    has_target = scaling.target is not None
    model = SparseCoder(
        network,
        len(scaling.mean),
        n_components,
        penalty=penalty,
        generator=make_generator(0),
        n_targets=n_targets if has_target else None,
        skip_connection=estimator.skip_connection,
    )
    mean, scale = torch.from_numpy(scaling.mean), scaling.scale
    encoder, decoder_bias = weights["W_enc"].double().T, weights["b_dec"].double()
    bias = weights["b_enc"].double()
    if has_target or not network.subtract_bias:
        bias = bias + encoder @ mean
    state = {}
    if estimator.skip_connection:
        skip = weights["W_skip"].double()
        decoder_bias = decoder_bias + skip @ mean
        state["skip.weight"] = skip * (scale / decoded.scale)
    state |= {
        "network.encoder.weight": encoder * scale,
        "network.encoder.bias": bias,
        "network.decoder.weight": weights["W_dec"].double().T / decoded.scale,
        "network.decoder.bias": (decoder_bias - torch.from_numpy(decoded.mean)) / decoded.scale,
    } | {f"activation.{name}": value for name, value in activation.items()}
    model = model.to(DTYPES[estimator.dtype])
    model.load_state_dict(model.state_dict() | state)
    values = *model.parameters(), *(v.exp() for k, v in activation.items() if k == "log_gain")
    # Samples can be in single precision, whatever the precision of the weights.
    if not all(value.float().isfinite().all() for value in values):
        raise ValueError("The weights lead to numbers beyond the range of single precision.")
    return model.eval()


# --- one function for each architecture: the penalty, and the weights of its activation ----------


def _standard(config: dict[str, Any], weights: Weights) -> tuple[Penalty, Weights]:
    return L1(), {}


def _topk(config: dict[str, Any], weights: Weights) -> tuple[Penalty, Weights]:
    if config.get("rescale_acts_by_decoder_norm", False):
        norm = weights["W_dec"].norm(dim=1)
        weights["W_enc"] = weights["W_enc"] * norm
        weights["b_enc"] = weights["b_enc"] * norm
        # The activation of an atom of norm 0 is 0, whatever its direction.
        weights["W_dec"] = weights["W_dec"] / norm.where(norm > 0, 1.0)[:, None]
    k: Any = config.get("k")
    # Some programs write whole numbers as floats.
    k = int(k) if isinstance(k, float) and k.is_integer() else k
    if not AT_LEAST_ONE.is_satisfied_by(k):
        raise ValueError(f"k in cfg.json must be an int, at least 1; got {k!r}.")
    return TopK(min(k, len(weights["W_dec"]))), {}


def _jump_relu(config: dict[str, Any], weights: Weights) -> tuple[Penalty, Weights]:
    # A threshold below 0 acts like the threshold of a ReLU.
    least = torch.finfo(torch.float32).tiny
    return JumpReLU(), {"log_threshold": weights["threshold"].clamp_min(least).log()}


def _gated(config: dict[str, Any], weights: Weights) -> tuple[Penalty, Weights]:
    gain, gate = weights["r_mag"].double(), weights["b_gate"].double()
    weights["b_enc"] = gate
    bias = weights["b_mag"].double() - gain.exp() * gate
    return Gated(), {"log_gain": gain, "bias": bias}


# The function of each kind of codes, and the weights that it has for each latent.
CODES: dict[str, tuple[Callable[[dict[str, Any], Weights], tuple[Penalty, Weights]], Any]] = {
    "gated": (_gated, ("b_gate", "b_mag", "r_mag")),
    "jumprelu": (_jump_relu, ("b_enc", "threshold")),
    "standard": (_standard, ("b_enc",)),
    "topk": (_topk, ("b_enc",)),
}
# The kind of codes of each architecture.
ARCHITECTURES = {name: name for name in CODES} | {
    transcoder: name for name, transcoders in TRANSCODERS.items() for transcoder in transcoders
}
