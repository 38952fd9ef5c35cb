"""Gate logits that are one number for each latent, beside an encoder that gives codes."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

# The factor 1 - s of the gate is made up for down to this one.
LEAST_OPENNESS = 0.2
# First gate logit: decoders of random weights would hardly see the codes behind more noise.
FIRST_GATE_LOGIT = -8.0


def undo_gate(code: torch.Tensor, gate_logit: torch.Tensor) -> torch.Tensor:
    """Return the posterior mean whose gate gives a code, ``code / (1 - s)``."""
    openness = -torch.expm1(0.5 * F.logsigmoid(gate_logit))
    return code / openness.clamp_min(LEAST_OPENNESS)


class SharedGates(nn.Module):
    """A network whose encoder gives codes, with the same gates for all samples.

    Which latents are open is left to a `target_l0`. The decoder takes codes in a unit such that
    `n_active` latents of variance 1, as in the prior, make up a sample if its columns have norm 1.
    So neither weights nor codes have to grow by that first.

    Parameters
    ----------
    network : torch.nn.Module
        Encoder of one head, and decoder.

    n_features : int
        Number of features of a sample.

    n_components : int
        Number of latents.

    n_active : float
        Mean number of active latents.
    """

    unit: torch.Tensor

    def __init__(self, network: Any, n_features: int, n_components: int, n_active: float) -> None:
        super().__init__()
        self.network = network
        self.gate_logit = nn.Parameter(torch.full((n_components,), FIRST_GATE_LOGIT))
        self.register_buffer("unit", torch.full((1,), math.sqrt(n_features / n_active)))

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return means and gate logits, each of shape (n_samples, n_components)."""
        (code,) = self.network.encode(x)
        return undo_gate(code / self.unit, self.gate_logit), self.gate_logit.expand_as(code)

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of a code, shape (n_samples, n_features)."""
        reconstruction: torch.Tensor = self.network.decode(code * self.unit)
        return reconstruction
