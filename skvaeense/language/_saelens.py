"""Sparse autoencoders with one layer each way as folders of SAELens, written and read."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skvaeense._sparse_autoencoder import SparseAutoencoder
from skvaeense.nets import penalties
from skvaeense.nets.models import SparseCoder
from skvaeense.nets.networks import DenseAutoencoder, SingleLayer
from skvaeense.nets.penalties import L1, Gated, JumpReLU, Penalty, TopK
from skvaeense.samples._scaling import Scaling
from skvaeense.samples._sources import open_target
from skvaeense.training._trainer import History
from skvaeense.utils._files import check_regular, whole_folder
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._records import check_fields
from skvaeense.utils._torch import DTYPES, make_generator
from skvaeense.utils._typing import PathName, SparseArray
from skvaeense.utils._validation import AT_LEAST_ONE

Weights = dict[str, torch.Tensor]

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
# The tensors of a model whose weights all architectures have.
TENSORS = {
    "W_enc": "network.encoder.weight",
    "W_dec": "network.decoder.weight",
    "b_enc": "network.encoder.bias",
    "b_dec": "network.decoder.bias",
    "W_skip": "skip.weight",
}
# The weights of each architecture besides those that all have. A transcoder predicts a target.
ARCHITECTURES = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
    "transcoder": ("b_enc",),
    "skip_transcoder": ("b_enc", "W_skip"),
    "jumprelu_transcoder": ("b_enc", "threshold"),
    "jumprelu_skip_transcoder": ("b_enc", "threshold", "W_skip"),
    # Of a training. They become "jumprelu" for inference.
    "batchtopk": ("b_enc",),
    "matryoshka_batchtopk": ("b_enc",),
}


class Shapes:
    """The shapes of weights: d features, k latents, and t targets, which can be the features."""

    b_dec: Annotated[torch.Tensor, "t"]
    W_dec: Annotated[torch.Tensor, "k t"]
    W_enc: Annotated[torch.Tensor, "d k"]
    W_skip: Annotated[torch.Tensor, "t d"]
    b_enc: Annotated[torch.Tensor, "k"]
    b_gate: Annotated[torch.Tensor, "k"]
    b_mag: Annotated[torch.Tensor, "k"]
    r_mag: Annotated[torch.Tensor, "k"]
    threshold: Annotated[torch.Tensor, "k"]


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
    from_saelens : Import from SAELens.
    skvaeense.save : Write any estimator to a file.

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
    >>> from skvaeense.language import to_saelens
    >>> from skvaeense.nets.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=10, random_state=0).fit(X)
    >>> with TemporaryDirectory() as parent:
    ...     to_saelens(sae, f"{parent}/digits")
    ...     sorted(path.name for path in Path(f"{parent}/digits").iterdir())
    ['cfg.json', 'sae_weights.safetensors']
    """
    config, weights = _converted(estimator, metadata)
    with whole_folder(folder) as draft:
        (draft / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
        (draft / WEIGHTS).write_bytes(save(weights))


def _converted(
    estimator: Any, metadata: Mapping[str, Any] | None
) -> tuple[dict[str, Any], Weights]:
    """Return the settings and the weights of an estimator that SAELens has an architecture for."""
    if not isinstance(estimator, SparseAutoencoder):
        raise TypeError(
            f"Only a SparseAutoencoder can be exported to SAELens, got {estimator!r}: SAELens has "
            "no architecture for other estimators."
        )
    check_is_fitted(estimator)
    model: Any = estimator._with_length(estimator.module_)
    network = model.network
    if not (isinstance(network, DenseAutoencoder) and isinstance(network.encoder, nn.Linear)):
        raise ValueError(
            f"The network {estimator.network!r} has more than one layer in its encoder or decoder, "
            'which SAELens does not support. Fit with network="single_layer".'
        )
    has_target, dtype = model.n_targets is not None, network.decoder.weight.dtype
    weights = _in_units(_weights_of(model), estimator._scaling, not has_target)
    kind, of_latents = _exported(estimator, model.activation, weights.pop("b_enc"))
    config = {
        "architecture": kind,
        "d_in": estimator.n_features_in_,
        "d_sae": estimator.n_components_,
        "dtype": str(dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": not has_target,
        "normalize_activations": "none",
        "reshape_activations": "none",
        # The version that defines the format.
        "metadata": {"sae_lens_version": "6.0.0"} | dict(metadata or {}),
    }
    if has_target:
        name = "transcoder" if model.skip is None else "skip_transcoder"
        config["architecture"] = name if kind == "standard" else f"{kind}_{name}"
        config["d_out"] = model.n_targets
    if kind == "topk":
        norms = weights["W_dec"].norm(dim=1)
        # Latents of other norms, beyond rounding, would be ranked in another order.
        is_equal = bool((norms / norms.mean() - 1).abs().max() < 10 * ROUNDING)
        config |= {"k": model.activation.n_kept, "rescale_acts_by_decoder_norm": is_equal}
    weights |= of_latents
    if config.get("rescale_acts_by_decoder_norm", True):
        weights = _with_unit_directions(weights)
    return config, {name: w.detach().to(dtype).contiguous() for name, w in weights.items()}


def _weights_of(model: Any) -> Weights:
    """Return the weights of a model under the names of SAELens."""
    state = model.state_dict()
    # In double precision, so that products are rounded only once.
    weights = {own: state[name].double() for own, name in TENSORS.items() if name in state}
    weights |= {name: weights[name].T for name in ("W_enc", "W_dec")}
    if model.n_targets is None and not model.network.subtract_bias:
        # The settings tell SAELens to subtract the decoder bias.
        weights["b_enc"] = weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
    return weights


def _in_units(weights: Weights, scaling: Scaling, subtracts_bias: bool) -> Weights:
    """Return the weights for samples ``x * scale + mean``, given the weights for samples x.

    If the decoder bias is subtracted from samples, the encoder bias does not depend on the units.
    """
    both = scaling, scaling.decoded
    mean, decoded_mean = (torch.from_numpy(own.mean) for own in both)
    scale, decoded_scale = (torch.tensor(own.scale, dtype=torch.float64) for own in both)
    weights = weights | {
        "W_enc": weights["W_enc"] / scale[..., None],
        "W_dec": weights["W_dec"] * decoded_scale,
        "b_dec": weights["b_dec"] * decoded_scale + decoded_mean,
    }
    if not subtracts_bias:
        weights["b_enc"] = weights["b_enc"] - mean @ weights["W_enc"]
    if "W_skip" in weights:
        weights["W_skip"] = weights["W_skip"] * (decoded_scale[..., None] / scale)
        weights["b_dec"] = weights["b_dec"] - weights["W_skip"] @ mean
    return weights


def _with_unit_directions(weights: Weights) -> Weights:
    """Return weights whose directions have norm 1, for codes that are multiplied by the norms.

    The code of an atom of norm 0 is then 0, whatever its direction.
    """
    norms = weights["W_dec"].norm(dim=1)
    unit = weights["W_dec"] / norms.where(norms > 0, 1.0)[:, None]
    scaled = weights.keys() - {"W_dec", "W_skip", "b_dec", "r_mag"}
    return weights | {"W_dec": unit} | {name: weights[name] * norms for name in scaled}


def _exported(estimator: Any, activation: Any, bias: torch.Tensor) -> tuple[str, Weights]:
    """Return the kind of codes of an activation, and its weights for each latent."""
    kind = type(activation) if getattr(activation, "positive", True) else None
    if hasattr(estimator, "target_mean_") and kind in (penalties.KeepTop, penalties.GatedReLU):
        kind = None
    if kind is penalties.KeepTop:
        return "topk", {"b_enc": bias}
    if kind is penalties.Rectifier:
        cut = activation.cut.double()
        if cut > 0:
            return "jumprelu", {"b_enc": bias, "threshold": cut.expand(len(bias))}
        return "standard", {"b_enc": bias - cut}
    if kind is penalties.HardThreshold:
        return "jumprelu", {"b_enc": bias, "threshold": activation.threshold}
    if kind is penalties.KeepBatchTop:
        # Codes at the threshold pass here, but not in SAELens.
        threshold = activation.threshold
        below = torch.nextafter(threshold, torch.full_like(threshold, -torch.inf))
        return "jumprelu", {"b_enc": bias, "threshold": below.expand(len(bias))}
    if kind is penalties.GatedReLU:
        gain, gate = activation.log_gain.double(), bias - activation.cut.double()
        magnitude = gain.exp() * bias + activation.bias.double()
        return "gated", {"r_mag": gain, "b_gate": gate, "b_mag": magnitude}
    raise ValueError(
        f"SAELens has no architecture for codes of the penalty {estimator.penalty!r} with "
        f"positive_code={estimator.positive_code!r}. It has ReLU, TopK, JumpReLU and gates, all "
        "with non-negative codes, and for transcoders ReLU and JumpReLU."
    )


def from_saelens(
    folder: PathName, X: ArrayLike | SparseArray | None = None, y: ArrayLike | None = None
) -> SparseAutoencoder:
    """Read a sparse autoencoder in the format of SAELens 6.

    `transform` and `inverse_transform` of the result return the same as `encode` and `decode` of
    SAELens, up to rounding. The architectures are "standard" (read with the penalty L1), "topk",
    "jumprelu" and "gated", with or without ``apply_b_dec_to_input``, and "transcoder" and
    "jumprelu_transcoder", with or without a skip connection, whose `predict` returns the output of
    SAELens. Norms that a "topk" autoencoder multiplies its activations by are folded into the
    weights. A folder that SAELens writes during training, with the architecture "batchtopk" or
    "matryoshka_batchtopk", gives the "jumprelu" autoencoder that SAELens makes of it for inference.
    "matching_pursuit" and "temporal" autoencoders, which have no single layer as encoder, are
    refused.

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
    >>> from skvaeense.language import from_saelens, to_saelens
    >>> from skvaeense.nets.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=10, random_state=0).fit(X)
    >>> with TemporaryDirectory() as parent:
    ...     to_saelens(sae, f"{parent}/digits")
    ...     again = from_saelens(f"{parent}/digits", X)
    >>> bool(np.allclose(again.score_samples(X), sae.score_samples(X), atol=1e-3))
    True
    """
    config, stored = _read(Path(folder))
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
    has_target = "transcoder" in architecture
    weights = _checked(stored, architecture)
    if "batchtopk" in architecture:
        if config.get("rescale_acts_by_decoder_norm", True):
            weights = _with_unit_directions(weights)
        threshold = stored.get("topk_threshold", torch.tensor([]))
        if threshold.numel() != 1:
            raise ValueError(f"{WEIGHTS} has no number topk_threshold, which training writes.")
        weights["threshold"] = threshold.reshape(1).expand_as(weights["b_enc"])
    penalty, activation = _imported(config, weights)
    subtracts_bias = config.get("apply_b_dec_to_input", True) or has_target
    estimator = SparseAutoencoder(
        len(weights["W_dec"]),
        penalty=penalty,
        network=SingleLayer(subtract_bias=subtracts_bias),
        skip_connection="W_skip" in weights,
        dtype="float64" if weights["W_dec"].dtype is torch.float64 else "float32",
    )
    samples = None if X is None else estimator._check_samples(X, reset=True, least=2)
    scaling = _scaling("X", samples, len(weights["W_enc"]))
    if has_target:
        target: Any = y
        target = target.as_source() if hasattr(target, "as_source") else open_target(target)
        # One number for each sample is no target, but the user has given it.
        target = np.reshape(y, (-1, 1)) if target is None and y is not None else target
        own = _scaling("y", None if X is None else target, len(weights["b_dec"]))
        scaling = replace(scaling, target=own)
    model = _model(estimator, weights, activation, scaling)
    attributes = estimator._model_attributes(model, scaling, History.from_log([]))
    estimator.__dict__.update(attributes, n_features_in_=model.n_features)
    if penalty.alpha is not None:
        estimator.alpha_ = float(penalty.alpha)
    return estimator


def _read(folder: Path) -> tuple[dict[str, Any], Weights]:
    """Return the settings, of at most 16 MB, and the weights, in single precision at least."""
    for name in (CONFIG, WEIGHTS):
        check_regular(folder / name)
    if (folder / CONFIG).stat().st_size > 2**24:
        raise ValueError(
            f"{CONFIG} has more than 16 MB, but settings have some kilobytes. Give a folder that "
            "SAELens has written."
        )
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{CONFIG} is not valid JSON, or is nested too deeply: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG} must hold a JSON object, got {type(config).__name__}.")
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{WEIGHTS} is damaged: {error}") from error
    return config, {
        name: value.float() if value.is_floating_point() and value.itemsize < 4 else value
        for name, value in weights.items()
    }


def _checked(stored: Weights, architecture: str) -> Weights:
    """Return the weights that an architecture needs, or raise an error unless they fit together."""
    needed = "b_dec", "W_dec", "W_enc", *ARCHITECTURES[architecture]
    for name in needed:
        if name not in stored:
            raise ValueError(f"{WEIGHTS} has no {name}, which its architecture needs.")
    weights = {name: stored[name] for name in needed}
    n_features = weights["b_dec"].numel()
    sizes = {} if "transcoder" in architecture else {"d": n_features, "t": n_features}
    if 0 in check_fields(Shapes, weights, sizes).values():
        raise ValueError("The weights must have at least one feature and one latent.")
    return weights


def _imported(config: dict[str, Any], weights: Weights) -> tuple[Penalty, Weights]:
    """Return the penalty of an autoencoder, and the weights of its activation."""
    if "threshold" in weights:
        # A threshold below 0 acts like the threshold of a ReLU.
        least = torch.finfo(torch.float32).tiny
        return JumpReLU(), {"log_threshold": weights["threshold"].clamp_min(least).log()}
    if "b_gate" in weights:
        gain, gate = weights["r_mag"].double(), weights["b_gate"].double()
        weights["b_enc"] = gate
        return Gated(), {"log_gain": gain, "bias": weights["b_mag"].double() - gain.exp() * gate}
    if config.get("architecture") != "topk":
        return L1(), {}
    if config.get("rescale_acts_by_decoder_norm", False):
        weights |= _with_unit_directions(weights)
    k: Any = config.get("k")
    # Some programs write whole numbers as floats.
    k = int(k) if isinstance(k, float) and k.is_integer() else k
    if not AT_LEAST_ONE.is_satisfied_by(k):
        raise ValueError(f"k in {CONFIG} must be an int, at least 1; got {k!r}.")
    return TopK(min(k, len(weights["W_dec"]))), {}


def _scaling(name: str, samples: Any, n_features: int) -> Scaling:
    """Return the scaling of samples; without samples, the one that changes nothing."""
    if samples is None:
        return Scaling(np.zeros(n_features), 1.0)
    if samples.shape[1] != n_features:
        raise ValueError(
            f"{name} has {samples.shape[1]} features, but the autoencoder is expecting "
            f"{n_features} features as {'input' if name == 'X' else 'target'}."
        )
    return Scaling.from_data(samples, widths=getattr(samples, "widths", None))


def _inverse(scaling: Scaling) -> Scaling:
    """Return the scaling that undoes another one."""
    target = None if scaling.target is None else _inverse(scaling.target)
    return Scaling(-scaling.mean / scaling.scale, 1 / scaling.scale, target)


def _model(
    estimator: SparseAutoencoder, weights: Weights, activation: Weights, scaling: Scaling
) -> SparseCoder:
    """Return the model for centred and scaled samples that gives the codes of the weights."""
    network: Any = estimator.network
    penalty: Any = estimator.penalty
    has_target = scaling.target is not None
    model = SparseCoder(
        network,
        len(scaling.mean),
        len(weights["W_dec"]),
        penalty=penalty,
        generator=make_generator(0),
        n_targets=scaling.n_targets or None,
        skip_connection=estimator.skip_connection,
    )
    weights = {name: weights[name].double() for name in TENSORS if name in weights}
    weights = _in_units(weights, _inverse(scaling), not has_target and network.subtract_bias)
    weights |= {name: weights[name].T for name in ("W_enc", "W_dec")}
    state = {f"activation.{name}": value for name, value in activation.items()}
    state |= {TENSORS[name]: value for name, value in weights.items()}
    model = model.to(DTYPES[estimator.dtype])
    model.load_state_dict(model.state_dict() | state)
    values = *model.parameters(), *(v.exp() for k, v in activation.items() if k == "log_gain")
    # Samples can be in single precision, whatever the precision of the weights.
    if not all(value.float().isfinite().all() for value in values):
        raise ValueError("The weights lead to numbers beyond the range of single precision.")
    return model.eval()
