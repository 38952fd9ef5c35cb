"""A gate that chooses latents, apart from their magnitudes."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from skvaeense.penalties._base import Coding, Penalty
from skvaeense.utils._validation import NON_NEGATIVE


class GatedReLU(nn.Module):
    """Let ``relu(exp(r) h + c)`` pass where h is positive, with r and c for each latent."""

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(n_components))
        self.bias = nn.Parameter(torch.zeros(n_components))

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        magnitude = torch.relu(torch.addcmul(self.bias, self.log_gain.exp(), preactivation))
        return magnitude * (preactivation > 0)


class _Decoder(nn.Module):
    """The decoder of a network, as a module that can be called with other weights."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        return self.network.decode(code)


class Gated(Penalty):
    """Gate that chooses latents by L1, and magnitudes that are not shrunk.

    The pre-activation h opens the gate where it is positive; the code is
    ``z_j = relu(exp(r_j) h_j + c_j)`` there, with learned r and c, and 0 elsewhere. For a sample x
    with reconstruction f(z), where the training samples have the mean squared norm v once
    centred, training minimises the mean of ::

        ||x - f(z)||^2 / v + alpha * sum_j relu(h_j) / sqrt(v) + ||x - f(relu(h))||^2 / v

    where the last term trains h, and leaves the decoder's weights as they are.

    Parameters
    ----------
    alpha : float, default=0.1
        Coefficient, in fractions of the samples' norm.

    See Also
    --------
    L1 : Without the gate.

    Notes
    -----
    Codes are not negative: an estimator with ``positive_code=False`` refuses this penalty.

    References
    ----------
    S. Rajamanoharan et al., "Improving dictionary learning with gated sparse autoencoders",
    2024, arXiv:2404.16014.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.penalties import Gated
    >>> SparseAutoencoder(penalty=Gated(0.2)).get_params()["penalty__alpha"]
    0.2
    """

    alias = "gated"

    # The gate and its code both grow from the pre-activations, which must not start small.
    init_norm = 1.0
    _parameter_constraints = {"alpha": [NON_NEGATIVE]}

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        """Make the map from pre-activations to codes."""
        if not positive:
            raise ValueError(
                "The gated penalty does not allow codes of both signs, because a gate opens on one "
                "side only. Set positive_code=True, or another penalty."
            )
        return GatedReLU(n_components)

    def cost(self, coding: Coding) -> torch.Tensor:
        """Return the sum of the open gates' pre-activations of each sample."""
        return coding.preactivation.relu().sum(dim=1) / coding.unit

    def auxiliary_error(self, network: Any, x: torch.Tensor, coding: Coding) -> torch.Tensor:
        """Return the squared error of the gate's own reconstruction, with a frozen decoder."""
        decoder = _Decoder(network)
        frozen = {name: value.detach() for name, value in decoder.named_parameters()}
        gate = coding.preactivation.relu()
        reconstruction = functional_call(decoder, frozen, (gate,))
        return (x - reconstruction).square().sum(dim=1)
