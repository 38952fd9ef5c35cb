"""The base class of penalties, and the codes that they see."""

import math
from abc import abstractmethod
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from skvaeense.utils._validation import Specification


class Coding(NamedTuple):
    """Pre-activations and codes of some samples, and the map between them.

    Attributes
    ----------
    activation : torch.nn.Module
        The map from pre-activations to codes, with its parameters.

    preactivation : torch.Tensor of shape (n_samples, n_components)
        Outputs of the encoder.

    code : torch.Tensor of shape (n_samples, n_components)
        Inputs of the decoder.

    unit : float
        Unit of codes: the root mean square norm of the samples. Costs in this unit mean the same
        for any number of features.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.penalties import L1, Coding
    >>> code = torch.tensor([[3.0, 0.0, 1.0]])
    >>> L1().cost(Coding(torch.nn.ReLU(), code, code, unit=2.0))
    tensor([2.])
    """

    activation: nn.Module
    preactivation: torch.Tensor
    code: torch.Tensor
    unit: float

    @property
    def n_components(self) -> int:
        """Number of latents."""
        return self.code.shape[1]

    def decoded(self, network: Any, latents: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction from some latents alone.

        Parameters
        ----------
        network : torch.nn.Module
            Encoder and decoder.

        latents : torch.Tensor of bool of shape (n_components,)
            Mask of the latents.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features)
            The reconstruction if all other latents are 0.
        """
        return network.decode(self.code * latents)


class Penalty(Specification):
    """Specify how pre-activations become codes, and the cost of codes.

    To add a penalty, derive from this class and write `build`. If the loss has a term for sparsity,
    also write `cost`, and add the parameter `alpha`. A penalty holds no weights: the weights of the
    activation are in the module that `build` returns.

    See Also
    --------
    L1 : The sum of absolute values.
    TopK : A fixed number of active latents.

    Examples
    --------
    >>> from skvaeense.penalties import L1, Penalty, TopK
    >>> isinstance(TopK(), Penalty), TopK().alpha is None, L1().alpha > 0
    (True, True, True)
    """

    # The coefficient of the cost in the loss. None for a penalty that is a constraint on the code.
    alpha: float | None = None
    # Share of the training over which the number of active latents falls to k; 0 for none.
    anneal: float = 0.0
    # The remedy for dead latents: "resampling" them, or an "auxiliary" loss.
    dead_latents: Literal["resampling", "auxiliary"] = "resampling"
    # First norm of the rows of a single layer's encoder; None leaves it to the network.
    init_norm: float | None = None

    @abstractmethod
    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        """Make the map from pre-activations to codes.

        Parameters
        ----------
        n_components : int
            Number of latents.

        unit : float
            Unit of codes, see `Coding`.

        positive : bool
            Whether codes must not be negative.

        Returns
        -------
        torch.nn.Module
            Map from pre-activations of shape (n_samples, n_components) to codes of that shape.
        """

    def cost(self, coding: Coding) -> torch.Tensor:
        """Return the cost of codes, before it is multiplied by `alpha`.

        Parameters
        ----------
        coding : Coding
            Pre-activations and codes of the samples.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            The cost of each sample; 0 if the penalty is a constraint.
        """
        return coding.code.new_zeros(len(coding.code))

    def n_kept(self, activation: nn.Module) -> float | None:
        """Return the number of pre-activations that codes keep unchanged.

        If few are kept, only kept entries are decoded and have gradients. The activation then has a
        method `kept`, from pre-activations to a `KeptEntries`; kept entries pass a ReLU if codes
        are not negative.

        Parameters
        ----------
        activation : torch.nn.Module
            The module that `build` returned.

        Returns
        -------
        float or None
            Mean number for each sample; None if codes are made in another way, or have a cost.
        """
        return None

    def auxiliary_error(
        self, network: nn.Module, x: torch.Tensor, coding: Coding
    ) -> torch.Tensor | None:
        """Return a squared error that is added to the error of the reconstruction.

        Parameters
        ----------
        network : torch.nn.Module
            Encoder and decoder.

        x : torch.Tensor of shape (n_samples, n_features)
            Values to reconstruct: centred and scaled samples, or their target.

        coding : Coding
            Pre-activations and codes of the samples.

        Returns
        -------
        torch.Tensor of shape (n_samples,) or None
            Squared error of each sample, summed over the features; None for no error.
        """
        return None

    def calibrate(self, activation: nn.Module, preactivation: torch.Tensor) -> None:
        """Set values that the activation uses after training, from held-out samples.

        By default, nothing is set.

        Parameters
        ----------
        activation : torch.nn.Module
            The module that `build` returned, after training.

        preactivation : torch.Tensor of shape (n_samples, n_components)
            Outputs of the encoder for the samples.
        """
        return


class LearnedThreshold(nn.Module):
    """Hold a positive threshold for each latent, stored as a logarithm."""

    def __init__(self, n_components: int, start: float) -> None:
        super().__init__()
        self.log_threshold = nn.Parameter(torch.full((n_components,), math.log(start)))

    @property
    def threshold(self) -> torch.Tensor:
        """The thresholds, shape (n_components,)."""
        return self.log_threshold.exp()
