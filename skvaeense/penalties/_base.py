"""The base classes of penalties, the codes that they see, and the maps that make codes."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from skvaeense.utils._kept import BatchThreshold, Budget, KeptEntries, check_lengths, keep_largest
from skvaeense.utils._linalg import TINY
from skvaeense.utils._validation import AT_LEAST_ONE, Interval, Specification


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


class Cut(nn.Module):
    """Pass entries whose margin is over a cut, which is 0 until codes are given a length.

    A derived class defines `margin`, which is over 0 where codes of training are active. The cut
    does not count in training.

    Attributes
    ----------
    cut : torch.Tensor without dimensions
        The cut, set by `meet`.
    """

    cut: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cut", torch.zeros(()))

    def margin(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return by how much entries are active: the pre-activations themselves."""
        return preactivation

    @property
    def current(self) -> Any:
        """The cut that counts now."""
        return 0.0 if self.training else self.cut

    def rectified(self, margin: torch.Tensor) -> torch.Tensor:
        """Return the positive part of margins over the cut, or of margins minus a cut below 0."""
        if self.training:
            return margin.relu()
        return (margin - self.cut.clamp_max(0)).relu() * (margin > self.cut)

    def rescale(self, factors: torch.Tensor) -> None:
        """Multiply weights in units of pre-activations by a factor for each latent."""
        return

    @torch.no_grad()
    def meet(self, preactivation: torch.Tensor, length: float | None) -> None:
        """Set the cut at which samples have `length` active latents on average; 0 for None."""
        self.cut.zero_()
        if length is None:
            return
        margins = self.margin(preactivation).flatten()
        n_active = max(round(length * len(preactivation)), 1)
        if n_active >= len(margins):
            self.cut.copy_(margins.min() - 1)
            return
        # Halfway, so that neither rounding nor another precision moves an entry over the cut.
        edge = margins.topk(n_active + 1, sorted=False).values.topk(2, largest=False).values
        self.cut.copy_(edge.mean())

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # Earlier versions had no cut, and SAELens has none.
        state_dict.setdefault(f"{prefix}cut", torch.zeros(()))
        super()._load_from_state_dict(state_dict, prefix, *args)


class Rectifier(Cut):
    """Pass positive entries, or entries over the cut."""

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        return self.rectified(preactivation)


class LearnedThreshold(Cut):
    """Hold a positive threshold for each latent, stored as a logarithm."""

    def __init__(self, n_components: int, start: float) -> None:
        super().__init__()
        self.log_threshold = nn.Parameter(torch.full((n_components,), math.log(start)))

    @property
    def threshold(self) -> torch.Tensor:
        """The thresholds, shape (n_components,)."""
        return self.log_threshold.exp()

    def rescale(self, factors: torch.Tensor) -> None:
        """Multiply the thresholds."""
        self.log_threshold.data += factors.log()


class SoftThreshold(LearnedThreshold):
    """Shrink pre-activations of either sign towards 0, by a learned amount for each latent."""

    def margin(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return by how much sizes exceed the thresholds."""
        return preactivation.abs() - self.threshold

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        return preactivation.sign() * self.rectified(self.margin(preactivation))


class Shrinkage(Penalty):
    """Penalty on single entries, which shrinks each entry towards 0."""

    # First threshold of signed codes, in units of the samples' norm.
    first_threshold = 0.01

    @abstractmethod
    def entry_cost(self, size: torch.Tensor) -> torch.Tensor:
        """Return the cost of each entry.

        Parameters
        ----------
        size : torch.Tensor of shape (n_samples, n_components)
            Absolute values of codes, in units of the samples' norm.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Costs.
        """

    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        """Make the map: ReLU, with the encoder's bias as threshold, or a map for both signs."""
        return Rectifier() if positive else SoftThreshold(n_components, self.first_threshold * unit)

    def cost(self, coding: Coding) -> torch.Tensor:
        """Return the sum of each sample's costs."""
        size = coding.code if isinstance(coding.activation, Rectifier) else coding.code.abs()
        return self.entry_cost(size / coding.unit).sum(dim=1)


class HardThreshold(LearnedThreshold):
    """Keep entries over a learned threshold as they are.

    The jump has no useful derivative in the threshold; a straight-through estimate takes its
    place: the mean slope over a box of width `bandwidth` around the threshold.
    """

    def __init__(self, n_components: int, start: float, bandwidth: float, positive: bool) -> None:
        super().__init__(n_components, start)
        self.bandwidth = bandwidth
        self.positive = positive

    def margin(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of sizes in units of the thresholds."""
        return self._size(preactivation).clamp_min(TINY).log() - self.log_threshold

    def _size(self, preactivation: torch.Tensor) -> torch.Tensor:
        return (preactivation if self.positive else preactivation.abs()).detach()

    @property
    def threshold(self) -> torch.Tensor:
        """The thresholds that count now, shape (n_components,)."""
        return (self.log_threshold + self.current).exp()

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        # The value at the jump multiplies the step's derivative.
        return preactivation * self.is_over(preactivation)

    def is_over(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return 1 for entries over the threshold, and 0 for others."""
        size, threshold = self._size(preactivation), self.threshold
        # 0, with a box in place of the derivative of the step by the threshold.
        step = (threshold.detach() - threshold) / self.bandwidth
        is_near = (size - threshold).abs() < 0.5 * self.bandwidth
        return (size > threshold).to(size.dtype) + torch.where(is_near, step, 0.0)


class GatedReLU(Cut):
    """Let ``relu(exp(r) h + c)`` pass where h is over the cut, with r and c for each latent."""

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(n_components))
        self.bias = nn.Parameter(torch.zeros(n_components))

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        magnitude = torch.relu(torch.addcmul(self.bias, self.log_gain.exp(), preactivation))
        return magnitude * (preactivation > self.current)

    def rescale(self, factors: torch.Tensor) -> None:
        """Multiply the bias."""
        self.bias.data *= factors


class KeepTop(Budget):
    """Keep the k largest entries of each sample, or the k largest in magnitude."""

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        if self.training and len(self.budgets) > 1:
            parts = self.parts(preactivation)
            return torch.cat([self._keep(part, _rounded(k)) for k, part in parts])
        return self._keep(preactivation, self.n_kept)

    @property
    def n_kept(self) -> int:
        """The number of kept entries of each sample; the largest number if there are several."""
        return _rounded(self.share * self.k)

    def _keep(self, preactivation: torch.Tensor, n_kept: int) -> torch.Tensor:
        code = keep_largest(preactivation, n_kept, positive=self.positive)
        return code.relu() if self.positive else code

    def kept(self, preactivation: torch.Tensor) -> KeptEntries:
        """Return the positions of pre-activations that can be in the codes."""
        return KeptEntries.largest(preactivation, self.n_kept, positive=self.positive)


def _rounded(k: float) -> int:
    return max(round(k), 1)


class KeepsLargest(Penalty):
    """Constraint on the code: about k pre-activations of each sample are kept."""

    _parameter_constraints = {
        "k": [AT_LEAST_ONE, list, tuple, None],
        # Annealing ends before the learning rate falls.
        "anneal": [Interval(Real, 0, 0.7, closed="both")],
    }
    # Number of active latents if no other is given, and there are enough latents.
    default_k = 32
    # Makes the activation, given k and whether codes are positive.
    _activation: Callable[[Any, bool], nn.Module]

    def __init__(self, k: int | Sequence[int] | None = None, *, anneal: float = 0.0) -> None:
        self.k = k
        self.anneal = anneal

    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        """Make the map from pre-activations to codes."""
        return type(self)._activation(self.lengths(n_components), positive)

    def lengths(self, n_components: int) -> Any:
        """Return k, at most the number of latents.

        Parameters
        ----------
        n_components : int
            Number of latents.

        Returns
        -------
        int or list of int
            The number, or numbers, of pre-activations that are kept of each sample.
        """
        if self.k is None:
            return min(self.default_k, max(n_components // 4, 1))
        if not isinstance(self.k, Real):
            check_lengths("k", self.k, AT_LEAST_ONE)
        return np.minimum(self.k, n_components).tolist()


class KeepBatchTop(BatchThreshold):
    """Keep the k n largest entries of n samples; outside training, entries over a threshold."""

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        code = preactivation.relu() if self.positive else preactivation
        return code * self.mask(preactivation)
