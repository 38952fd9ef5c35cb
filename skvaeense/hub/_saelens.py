"""A SAELens class for estimators that SAELens has no architecture for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from skvaeense.export._onnx import Transform
from skvaeense.export._saelens import common_settings
from skvaeense.persistence import load, save
from skvaeense.utils._files import optional_import

ARCHITECTURE = "skvaeense"


def registered_files(
    estimator: Any, metadata: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return settings and weights of any autoencoder, for the class that `register_saelens` adds.

    The weights include the bytes of the estimator's file as numbers, since SAELens downloads no
    other file. SAELens converts all tensors to one type, which represents these numbers exactly.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "estimator.safetensors"
        save(estimator, path)
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    dtype = next(estimator.module_.parameters()).dtype
    bias = estimator.inverse_transform(np.zeros((1, estimator.n_components_)))[0]
    # Tools that inspect directions read W_dec; a decoder with hidden layers has no directions.
    directions = getattr(estimator, "components_", np.zeros((estimator.n_components_, len(bias))))
    name = str(dtype).removeprefix("torch.")
    weights = {"W_dec": directions, "b_dec": bias}
    tensors = {key: np.ascontiguousarray(value, dtype=name) for key, value in weights.items()}
    settings = {"architecture": ARCHITECTURE, "apply_b_dec_to_input": False, "d_out": len(bias)}
    return common_settings(estimator, name, metadata) | settings, tensors | {"estimator": data}


def read_estimator(data: torch.Tensor) -> Any:
    """Return the estimator from a tensor of the bytes of its file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "estimator.safetensors"
        path.write_bytes(data.detach().cpu().round().to(torch.uint8).numpy().tobytes())
        return load(path, device="cpu")


class EstimatorModule(nn.Module):
    """What a module of SAELens does with a fitted estimator; SAELens defines the rest of it."""

    def initialize_weights(self: Any) -> None:
        """Create weights, whose values a file holds."""
        width = self.cfg.d_out or self.cfg.d_in
        settings = {"dtype": self.dtype, "device": self.device}
        self.W_dec = nn.Parameter(torch.zeros((self.cfg.d_sae, width), **settings))
        self.b_dec = nn.Parameter(torch.zeros(width, **settings))

    def load_state_dict(
        self: Any, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Restore the estimator, and the weights that tools read."""
        state = dict(state_dict)
        self.estimator = read_estimator(state.pop("estimator"))
        result = super().load_state_dict(state, strict=strict, assign=assign)
        self.transform = Transform(self.estimator, self.W_dec.dtype)
        return result

    def process_state_dict_for_saving(self: Any, state_dict: dict[str, Any]) -> None:
        """Put the estimator in the place of its module."""
        for name in [name for name in state_dict if name.startswith("transform.")]:
            del state_dict[name]
        _, tensors = registered_files(self.estimator)
        state_dict["estimator"] = torch.from_numpy(tensors["estimator"].copy())

    def encode(self: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the codes of samples."""
        seen = self.hook_sae_input(x.to(self.dtype))
        self.transform.dtype = self.W_dec.dtype
        codes = self.transform(seen.reshape(-1, seen.shape[-1]))
        return self.hook_sae_acts_post(codes.reshape(*seen.shape[:-1], -1))

    def decode(self: Any, feature_acts: torch.Tensor) -> torch.Tensor:
        """Return the samples that codes describe, by the weights where these are enough."""
        if hasattr(self.estimator, "components_"):
            return self.hook_sae_recons(feature_acts @ self.W_dec + self.b_dec)
        scaling = self.estimator._scaling.decoded
        flat = feature_acts.reshape(-1, feature_acts.shape[-1])
        decoded = scaling.undo(self.transform.model.decode(flat)).to(feature_acts.dtype)
        return self.hook_sae_recons(decoded.reshape(*feature_acts.shape[:-1], -1))

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        """Return reconstructions, or the target of a transcoder with its skip connection."""
        explained = super().forward(x)
        skip = getattr(self.transform.model, "skip", None)
        if skip is None:
            return explained
        est = self.estimator
        centred = (x.double() - torch.as_tensor(est.mean_, device=x.device)) / est.scale_
        added = skip(centred.to(skip.weight.dtype)) * est.target_scale_
        return explained + added.to(explained.dtype)


def register_saelens() -> None:
    """Register a class with SAELens, for estimators that SAELens has no architecture for.

    ``SAE.load_from_disk`` and ``SAE.from_pretrained`` then read folders of `save_pretrained` with
    unrolled encoders, variational autoencoders and everything else. `encode` of the result returns
    the same as `transform`, and `decode` the same as `inverse_transform`. Both have gradients,
    except for hard codes of gates with a prior and codes of a search. A second call has no effect.

    Raises
    ------
    ImportError
        If sae-lens is not installed: ``pip install skvaeense[saelens]``.

    See Also
    --------
    save_pretrained : Write such folders.
    skvaeense.export.to_saelens : Export to an architecture of SAELens itself.

    Examples
    --------
    >>> from skvaeense.hub import register_saelens
    >>> try:
    ...     register_saelens()
    ... except ImportError as error:
    ...     print("pip install skvaeense[saelens]" in str(error))
    True
    """
    registry = optional_import("sae_lens.registry", "register_saelens", "saelens")
    if ARCHITECTURE in registry.SAE_CLASS_REGISTRY:
        return
    from sae_lens.saes.sae import SAE, SAEConfig

    @dataclass
    class EstimatorConfig(SAEConfig):
        d_out: int = 0

        @classmethod
        def architecture(cls) -> str:
            return ARCHITECTURE

    class EstimatorSAE(EstimatorModule, SAE):
        """A fitted estimator, as a module of SAELens."""

    registry.register_sae_class(ARCHITECTURE, EstimatorSAE, EstimatorConfig)
