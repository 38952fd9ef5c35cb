"""The specification that estimators hold, and the module that it builds."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from torch import nn

from skvaeense.utils._repr import DocLinkMixin


class Autoencoder(nn.Module):
    """An encoder with one or more heads, and a decoder.

    Parameters
    ----------
    body : nn.Module
        Maps samples to hidden features.

    heads : list of nn.Linear
        Each maps the hidden features to one number per latent.

    skip : nn.Linear or None
        A linear map of the sample whose outputs are added to the heads', one head after the other.

    decoder : nn.Module
        Maps codes to samples.

    subtract_bias : bool, default=False
        Whether the bias of a linear decoder is subtracted from samples before they are encoded.
        The heads must then see the samples themselves: `body` is an identity.
    """

    # torch knows the attributes of a module only as tensors or modules: less than is needed here.
    body: Any
    heads: Any
    decoder: Any

    def __init__(
        self,
        body: nn.Module,
        heads: Iterable[nn.Linear],
        skip: nn.Linear | None,
        decoder: nn.Module,
        *,
        subtract_bias: bool = False,
    ) -> None:
        super().__init__()
        self.subtract_bias = subtract_bias
        self.body = body
        self.heads = nn.ModuleList(heads)
        self.skip = skip
        self.decoder = decoder

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the heads see of samples."""
        return self.body(x - self.decoder.bias if self.subtract_bias else x)

    def head_bias(self, head: Any) -> torch.Tensor:
        """Return the bias of a head on the samples as they are.

        What subtracting the decoder's bias b from the samples would do is part of it: with weights
        A it is ``a - A b``. To subtract b itself would take a gradient for each sample.
        """
        bias: torch.Tensor = head.bias
        return bias - head.weight @ self.decoder.bias if self.subtract_bias else bias

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return one tensor of shape (n_samples, n_components) per head."""
        hidden = self.body(x)
        outputs = [F.linear(hidden, head.weight, self.head_bias(head)) for head in self.heads]
        if self.skip is None:
            return tuple(outputs)
        shortcuts = self.skip(x).split(outputs[0].shape[1], dim=1)
        # It may be for the first head alone.
        added = [a + b for a, b in zip(outputs, shortcuts, strict=False)]
        return (*added, *outputs[len(added) :])

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of a code, shape (n_samples, n_features)."""
        return self.decoder(code)

    @property
    def has_linear_decoder(self) -> bool:
        """Whether the decoder is one linear layer."""
        return isinstance(self.decoder, nn.Linear)

    @torch.no_grad()
    def code_scale(self) -> torch.Tensor:
        """Return how far the output moves per unit of each latent, shape (n_components,).

        These are the norms of the columns of the decoder's Jacobian at the code 0; for a linear
        decoder, the norms of its columns.
        """
        if self.has_linear_decoder:
            return self.decoder.weight.norm(dim=0)
        parameter = next(self.parameters())
        origin = parameter.new_zeros(self.heads[0].out_features)
        return torch.func.jacrev(self.decoder)(origin).norm(dim=0)


class Network(DocLinkMixin, BaseEstimator, ABC):
    """Specify an encoder and a decoder without holding any weights.

    It derives from scikit-learn's BaseEstimator, so that it can be cloned, and so that a grid
    search reaches its parameters (``network__hidden_layer_sizes``). Derive from it and write
    `build` to add an architecture.

    See Also
    --------
    Linear : Linear decoder.
    MLP : Decoder with hidden layers.
    Conv : Convolutions, for images.

    Examples
    --------
    >>> from skvaeense.networks import Linear, Network
    >>> isinstance(Linear(), Network)
    True
    """

    @abstractmethod
    def build(
        self, n_features: int, n_components: int, *, n_heads: int, generator: torch.Generator
    ) -> Autoencoder:
        """Make the module with random weights.

        Parameters
        ----------
        n_features : int
            Number of features of a sample.

        n_components : int
            Number of latents.

        n_heads : int
            Number of outputs of the encoder for each latent: 2 for a mean and a variance.

        generator : torch.Generator
            The source of the random weights; torch's global one is left alone.

        Returns
        -------
        Autoencoder
            A torch module with `encode` and `decode`.
        """
