"""A learned threshold for each latent, and a price for latents over it."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import torch
from torch import nn

from skvaeense.penalties._base import Coding, LearnedThreshold, Penalty
from skvaeense.utils._validation import NON_NEGATIVE, POSITIVE, StrOptions


class HardThreshold(LearnedThreshold):
    """Keep entries over a learned threshold as they are.

    The jump has no useful derivative in the threshold; a straight-through estimate takes its
    place: the mean slope over a box of width `bandwidth` around the threshold.
    """

    def __init__(self, n_components: int, start: float, bandwidth: float, positive: bool) -> None:
        super().__init__(n_components, start)
        self.bandwidth = bandwidth
        self.positive = positive

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        # The value at the jump multiplies the step's derivative.
        return preactivation * self.is_over(preactivation)

    def is_over(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return 1 for entries over the threshold, and 0 for others."""
        size = (preactivation if self.positive else preactivation.abs()).detach()
        threshold = self.threshold
        # 0, with a box in place of the derivative of the step by the threshold.
        step = (threshold.detach() - threshold) / self.bandwidth
        is_near = (size - threshold).abs() < 0.5 * self.bandwidth
        return (size > threshold).to(size.dtype) + torch.where(is_near, step, 0.0)


@dataclass(eq=False, repr=False)
class JumpReLU(Penalty):  # numpydoc ignore=PR02
    """Learned threshold for each latent, and a price on the number of active latents.

    The code is ``z_j = h_j`` where the pre-activation h_j is over the threshold t_j, and 0
    elsewhere. For a sample x with reconstruction f(z), where the training samples have the
    mean squared norm v once centred, training minimises the mean of ::

        ||x - f(z)||^2 / v + alpha * sum_j [z_j != 0]                 loss="l0"
        ||x - f(z)||^2 / v + alpha * sum_j tanh(|z_j| / (s sqrt(v)))   loss="tanh"

    Parameters
    ----------
    alpha : float, default=0.005
        The price of an active latent, as a fraction of the variance.

    loss : {"l0", "tanh"}, default="l0"
        The quantity with a price: the count, whose derivative reaches only the thresholds, or a
        smooth substitute, whose derivative reaches the encoder too.

    bandwidth : float, default=0.05
        Width of the box, in fractions of the samples' norm, in which pre-activations move the
        threshold.

    threshold : float, default=0.02
        First value of the thresholds, in fractions of the samples' norm.

    tanh_scale : float, default=0.1
        The scale s in the formula above.

    See Also
    --------
    BatchTopK : One threshold for all latents, and a fixed count.

    Notes
    -----
    Keeping entries over sqrt(2 a) is the proximal operator of the count,
    ``argmin_z (z - h)^2 / 2 + a [z != 0]``.

    References
    ----------
    S. Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU
    sparse autoencoders", 2024, arXiv:2407.14435.

    T. Conerly et al., "Dictionary learning optimization techniques", Transformer Circuits
    Thread, 2025, for the tanh.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.penalties import JumpReLU
    >>> SparseAutoencoder(penalty=JumpReLU(0.01)).get_params()["penalty__loss"]
    'l0'
    """

    alias = "jump_relu"

    # Small pre-activations would all start under the threshold.
    init_norm = 1.0
    _parameter_constraints = {
        "alpha": [NON_NEGATIVE],
        "loss": [StrOptions({"l0", "tanh"})],
        "bandwidth": [POSITIVE],
        "threshold": [POSITIVE],
        "tanh_scale": [POSITIVE],
    }

    alpha: float = 0.005
    _: KW_ONLY
    loss: Literal["l0", "tanh"] = "l0"
    bandwidth: float = 0.05
    threshold: float = 0.02
    tanh_scale: float = 0.1

    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        """Make the map from pre-activations to codes."""
        return HardThreshold(n_components, self.threshold * unit, self.bandwidth * unit, positive)

    def cost(self, coding: Coding) -> torch.Tensor:
        """Return the number of active latents of each sample, or its smooth substitute."""
        if self.loss == "l0":
            activation: Any = coding.activation
            return activation.is_over(coding.preactivation).sum(dim=1)
        return torch.tanh(coding.code.abs() / (self.tanh_scale * coding.unit)).sum(dim=1)
