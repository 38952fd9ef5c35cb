"""Penalties that make codes of sparse autoencoders sparse, by a price, a constraint, or both.

To add a penalty, derive a class from `Penalty`.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skvaeense.utils import _validation
from skvaeense.utils._kept import BatchThreshold, Budget, KeptEntries, keep_largest
from skvaeense.utils._linalg import TINY
from skvaeense.utils._torch import frozen

__all__ = ["L1", "BatchTopK", "Gated", "JumpReLU", "Log", "Matryoshka", "Penalty", "TopK"]


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
    >>> from skvaeense.nets.penalties import L1, Coding
    >>> code = torch.tensor([[3.0, 0.0, 1.0]])
    >>> L1().cost(Coding(torch.nn.ReLU(), code, code, unit=2.0))
    tensor([2.])
    """

    activation: nn.Module
    preactivation: Tensor
    code: Tensor
    unit: float

    @property
    def n_components(self) -> int:
        """Number of latents."""
        return self.code.shape[1]

    def decoded(self, network: Any, latents: Tensor | None = None) -> Tensor:
        """Return the reconstruction from some latents alone.

        Parameters
        ----------
        network : torch.nn.Module
            Encoder and decoder.

        latents : torch.Tensor of bool of shape (n_components,) or None, default=None
            Mask of the latents; None means all.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features)
            The reconstruction if all other latents are 0.
        """
        return network.decode(self.code if latents is None else self.code * latents)

    def n_active(self) -> Tensor:
        """Return the number of samples for which each latent is active."""
        return torch.count_nonzero(self.code.detach(), dim=0)

    def outputs(self, latents: Tensor) -> Tensor:
        """Return the pre-activations of some latents.

        Parameters
        ----------
        latents : torch.Tensor of int64 of shape (n_latents,)
            Indices of the latents.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_latents)
            The pre-activations.
        """
        return self.preactivation[:, latents]


class Penalty(_validation.Specification):
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
    >>> from skvaeense.nets.penalties import L1, Penalty, TopK
    >>> isinstance(TopK(), Penalty), TopK().alpha is None, L1().alpha > 0
    (True, True, True)
    """

    # The coefficient of the cost in the loss. None for a penalty that is a constraint on the code.
    alpha: float | None = None
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
            Map from pre-activations of shape (n_samples, n_components) to codes of that shape. If
            it has a method `calibrate`, this is called with pre-activations of held-out samples
            after training, to set thresholds and other values.
        """

    def cost(self, coding: Coding) -> Tensor:
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

    def auxiliary_error(self, network: nn.Module, x: Tensor, coding: Coding) -> Tensor | None:
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


class Cut(nn.Module):
    """Pass entries whose margin is over a cut, which is 0 until codes are given a length.

    A derived class defines `margin`, which is over 0 where codes of training are active. The cut
    does not count in training.

    Attributes
    ----------
    cut : torch.Tensor without dimensions
        The cut, set by `meet`.
    """

    cut: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cut", torch.zeros(()))

    def margin(self, preactivation: Tensor) -> Tensor:
        """Return by how much entries are active: the pre-activations themselves."""
        return preactivation

    @property
    def current(self) -> Any:
        """The cut that counts now."""
        return 0.0 if self.training else self.cut

    def rectified(self, margin: Tensor) -> Tensor:
        """Return the positive part of margins over the cut, or of margins minus a cut below 0."""
        if self.training:
            return margin.relu()
        return (margin - self.cut.clamp_max(0)).relu() * (margin > self.cut)

    def rescale(self, factors: Tensor) -> None:
        """Multiply weights in units of pre-activations by a factor for each latent."""
        return

    @torch.no_grad()
    def meet(self, preactivation: Tensor, length: float | None) -> None:
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


class Rectifier(Cut):
    """Pass positive entries, or entries over the cut."""

    def forward(self, preactivation: Tensor) -> Tensor:
        """Return the codes."""
        return self.rectified(preactivation)


class LearnedThreshold(Cut):
    """Hold a positive threshold for each latent, stored as a logarithm."""

    def __init__(self, n_components: int, start: float) -> None:
        super().__init__()
        self.log_threshold = nn.Parameter(torch.full((n_components,), math.log(start)))

    @property
    def threshold(self) -> Tensor:
        """The thresholds, shape (n_components,)."""
        return self.log_threshold.exp()

    def rescale(self, factors: Tensor) -> None:
        """Multiply the thresholds."""
        self.log_threshold.data += factors.log()


class SoftThreshold(LearnedThreshold):
    """Shrink pre-activations of either sign towards 0, by a learned amount for each latent."""

    def margin(self, preactivation: Tensor) -> Tensor:
        """Return by how much sizes exceed the thresholds."""
        return preactivation.abs() - self.threshold

    def forward(self, preactivation: Tensor) -> Tensor:
        """Return the codes."""
        return preactivation.sign() * self.rectified(self.margin(preactivation))


class Shrinkage(Penalty):
    """Penalty on single entries, which shrinks each entry towards 0."""

    @abstractmethod
    def entry_cost(self, size: Tensor) -> Tensor:
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
        return Rectifier() if positive else SoftThreshold(n_components, 0.01 * unit)

    def cost(self, coding: Coding) -> Tensor:
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

    def margin(self, preactivation: Tensor) -> Tensor:
        """Return the logarithm of sizes in units of the thresholds."""
        return self._size(preactivation).clamp_min(TINY).log() - self.log_threshold

    def _size(self, preactivation: Tensor) -> Tensor:
        return (preactivation if self.positive else preactivation.abs()).detach()

    @property
    def threshold(self) -> Tensor:
        """The thresholds that count now, shape (n_components,)."""
        return (self.log_threshold + self.current).exp()

    def forward(self, preactivation: Tensor) -> Tensor:
        """Return the codes."""
        # The value at the jump multiplies the step's derivative.
        return preactivation * self.is_over(preactivation)

    def is_over(self, preactivation: Tensor) -> Tensor:
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

    def forward(self, preactivation: Tensor) -> Tensor:
        """Return the codes."""
        magnitude = torch.relu(torch.addcmul(self.bias, self.log_gain.exp(), preactivation))
        return magnitude * (preactivation > self.current)

    def rescale(self, factors: Tensor) -> None:
        """Multiply the bias."""
        self.bias.data *= factors


class KeepTop(Budget):
    """Keep the k largest entries of each sample, or the k largest in magnitude."""

    def forward(self, preactivation: Tensor) -> Tensor:
        """Return the codes."""
        whole = [(self.share * self.k, preactivation)]
        parts = self.parts(preactivation) if self.training else whole
        codes = [keep_largest(h, max(round(k), 1), positive=self.positive) for k, h in parts]
        code = torch.cat(codes) if len(codes) > 1 else codes[0]
        return code.relu() if self.positive else code

    @property
    def n_kept(self) -> int:
        """The number of kept entries of each sample; the largest number if there are several."""
        return max(round(self.share * self.k), 1)

    def kept(self, preactivation: Tensor) -> KeptEntries:
        """Return the positions of pre-activations that can be in the codes."""
        return KeptEntries.largest(preactivation, self.n_kept, positive=self.positive)


class KeepsLargest(Penalty):
    """Constraint on the code: about k pre-activations of each sample are kept."""

    _parameter_constraints = {"k": [_validation.AT_LEAST_ONE, _validation.SIZES, None]}
    # Makes the activation, given k and whether codes are positive.
    _activation: Callable[[Any, bool], nn.Module]

    def __init__(self, k: float | Sequence[float] | None = None) -> None:
        self.k = k

    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        """Make the map from pre-activations to codes."""
        return type(self)._activation(self.lengths(n_components), positive)

    def lengths(self, n_components: int) -> Any:
        """Return k, at most the number of latents; by default a quarter of them, at most 32.

        Parameters
        ----------
        n_components : int
            Number of latents.

        Returns
        -------
        float or list of float
            The number, or numbers, of pre-activations that are kept of each sample.
        """
        if self.k is None:
            return min(32, max(n_components // 4, 1))
        return np.minimum(self.k, n_components).tolist()


class KeepBatchTop(BatchThreshold):
    """Keep the k n largest entries of n samples; outside training, entries over a threshold."""

    def forward(self, preactivation: Tensor) -> Tensor:
        """Return the codes."""
        code = preactivation.relu() if self.positive else preactivation
        return code * self.mask(preactivation)


class L1(Shrinkage):
    """Penalty on the sum of absolute values.

    For a sample x with code z and reconstruction f(z), where the training samples have the mean
    squared norm v once centred, training minimises the mean of ::

        ||x - f(z)||^2 / v + alpha * sum_j |z_j| / sqrt(v)

    With decoder columns of norm 1, a latent pays for itself if its code is over alpha / 2
    times the typical norm of a sample. Codes of active latents are shrunk by this amount, which
    costs accuracy.

    Parameters
    ----------
    alpha : float, default=0.1
        Coefficient, in fractions of the samples' norm. About the same value suits any number of
        features and any units.

    See Also
    --------
    Log : Shrinks large codes less.
    Gated : Penalizes only the choice of latents.

    Notes
    -----
    Codes are ``relu(h)``, or soft thresholds of h if codes of both signs are allowed. Both maps
    are the proximal operator of the absolute value, ``argmin_z (z - h)^2 / 2 + t |z|``, with
    a learned t for each latent (the encoder's bias in the case of ReLU).

    References
    ----------
    T. Bricken et al., "Towards monosemanticity: decomposing language models with dictionary
    learning", Transformer Circuits Thread, 2023.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.nets.penalties import L1
    >>> SparseAutoencoder(penalty=L1(0.2)).get_params()["penalty__alpha"]
    0.2
    """

    alias = "l1"

    _parameter_constraints = {"alpha": [_validation.NON_NEGATIVE]}

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    def entry_cost(self, size: Tensor) -> Tensor:
        """Return the entries themselves."""
        return size


class Log(Shrinkage):
    """Penalty on the sum of logarithms, closer to a count of active latents than L1.

    For a sample x with code z and reconstruction f(z), where the training samples have the mean
    squared norm v once centred, training minimises the mean of ::

        ||x - f(z)||^2 / v + alpha * sum_j log(1 + |z_j| / (eps sqrt(v)))

    This is ``sum_j log(|z_j| + eps)`` in units of the samples' norm, minus the cost of a code of 0.
    Its derivative is ``alpha / (|z_j| + eps)``: large codes are hardly shrunk.

    Parameters
    ----------
    alpha : float, default=0.01
        Coefficient.

    eps : float, default=0.1
        Codes far below eps, in fractions of the samples' norm, cost the same as with
        ``L1(alpha / eps)``. The smaller eps is, the more local minima there are.

    See Also
    --------
    L1 : The same cost for every further unit.

    References
    ----------
    E. J. Candès et al., "Enhancing sparsity by reweighted l1 minimization", Journal of Fourier
    Analysis and Applications 14, 2008.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.nets.penalties import Log
    >>> SparseAutoencoder(penalty=Log(alpha=0.02)).get_params()["penalty__eps"]
    0.1
    """

    alias = "log"

    _parameter_constraints = {"alpha": [_validation.NON_NEGATIVE], "eps": [_validation.POSITIVE]}

    def __init__(self, alpha: float = 0.01, eps: float = 0.1) -> None:
        self.alpha = alpha
        self.eps = eps

    def entry_cost(self, size: Tensor) -> Tensor:
        """Return the logarithms, which rise more and more slowly."""
        return torch.log1p(size / self.eps)


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
    >>> from skvaeense.nets.penalties import JumpReLU
    >>> SparseAutoencoder(penalty=JumpReLU(0.01)).get_params()["penalty__loss"]
    'l0'
    """

    alias = "jump_relu"

    # Small pre-activations would all start under the threshold.
    init_norm = 1.0
    _parameter_constraints = {
        "alpha": [_validation.NON_NEGATIVE],
        "loss": [_validation.StrOptions({"l0", "tanh"})],
        "bandwidth": [_validation.POSITIVE],
        "threshold": [_validation.POSITIVE],
        "tanh_scale": [_validation.POSITIVE],
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

    def cost(self, coding: Coding) -> Tensor:
        """Return the number of active latents of each sample, or its smooth substitute."""
        if self.loss == "l0":
            activation: Any = coding.activation
            return activation.is_over(coding.preactivation).sum(dim=1)
        return torch.tanh(coding.code.abs() / (self.tanh_scale * coding.unit)).sum(dim=1)


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
    >>> from skvaeense.nets.penalties import Gated
    >>> SparseAutoencoder(penalty=Gated(0.2)).get_params()["penalty__alpha"]
    0.2
    """

    alias = "gated"

    # The gate and its code both grow from the pre-activations, which must not start small.
    init_norm = 1.0
    _parameter_constraints = {"alpha": [_validation.NON_NEGATIVE]}

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

    def cost(self, coding: Coding) -> Tensor:
        """Return the sum of the open gates' pre-activations of each sample."""
        return coding.preactivation.relu().sum(dim=1) / coding.unit

    def auxiliary_error(self, network: Any, x: Tensor, coding: Coding) -> Tensor:
        """Return the squared error of the gate's own reconstruction, with a frozen decoder."""
        with frozen(network):
            reconstruction = network.decode(coding.preactivation.relu())
        return (x - reconstruction).square().sum(dim=1)


class TopK(KeepsLargest):  # numpydoc ignore=PR02
    """At most k active latents for each sample: the ones with the largest pre-activations.

    Training minimises the squared error alone. A sample has fewer than k active latents if fewer
    pre-activations are positive.

    Parameters
    ----------
    k : int, list of int or None, default=None
        Number of active latents. A k above the number of latents is clipped to it. In a list, each
        k holds for an equal part of every batch in training. Codes then have the largest k, unless
        the estimator's `transform_l0` says otherwise.

    See Also
    --------
    BatchTopK : The same number on average, more for samples that need more.

    Notes
    -----
    Keeping the k largest is the projection on codes with k entries, ``argmin ||z - h||^2``. An
    auxiliary loss trains dead latents to reconstruct the residual of the other latents [1]_.

    References
    ----------
    .. [1] L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.nets.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=10, random_state=0).fit(X)
    >>> int((sae.transform(X) > 0).sum(axis=1).max())
    8
    """

    alias = "topk"
    _activation = KeepTop

    def n_kept(self, activation: Any) -> float | None:
        """Return the current number of kept entries; None if there are several k."""
        return activation.n_kept if len(activation.budgets) == 1 else None


class BatchTopK(KeepsLargest):  # numpydoc ignore=PR02
    """Keep k active latents for each sample on average, more for samples that need more.

    In training, the ``k * n_samples`` largest pre-activations of a batch are kept. Afterwards each
    sample is coded separately: pre-activations over one threshold are kept. The threshold is
    learned as the running mean of the smallest kept pre-activation, which lags behind. So at the
    end it is set to the value at which held-out samples have k active latents on average.

    Parameters
    ----------
    k : float, list of float or None, default=None
        Mean number of active latents, not necessarily whole. A k above the number of latents is
        clipped to it. In a list, each k holds for an equal part of every batch in training. Codes
        then have the largest k, unless the estimator's `transform_l0` says otherwise.

    See Also
    --------
    TopK : The same number for every sample.

    References
    ----------
    B. Bussmann, P. Leask and N. Nanda, "BatchTopK sparse autoencoders", 2024, arXiv:2412.06410.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.nets.penalties import BatchTopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=BatchTopK(8), max_iter=50, random_state=0).fit(X)
    >>> round(float((sae.transform(X) > 0).sum(axis=1).mean()))
    8
    """

    alias = "batch_topk"
    _activation = KeepBatchTop
    _parameter_constraints = {"k": [_validation.POSITIVE, _validation.LENGTHS, None]}

    def n_kept(self, activation: Any) -> float | None:
        """Return the current mean number of kept entries."""
        return float(activation.share * activation.k)


@dataclass(eq=False, repr=False)
class Matryoshka(BatchTopK):  # numpydoc ignore=PR02
    """BatchTopK whose first latents must also reconstruct samples on their own.

    Training minimises the sum, over m nested prefixes of the latents, of the squared error of
    the reconstruction from that prefix alone. The prefixes are the first 1/2^(m-1), ..., 1/2
    and all of the latents. General features then come first, and are not split up among specific
    features.

    Parameters
    ----------
    k : float, list of float or None, default=None
        Mean number of active latents, among all latents; see `BatchTopK`.

    n_prefixes : int, default=5
        Number of prefixes, including all of the latents.

    widths : sequence of int or None, default=None
        Sizes of the prefixes in place of halves, such as ``(64, 256, 1024)``. All of the latents
        are a prefix in any case.

    See Also
    --------
    BatchTopK : Without prefixes.

    References
    ----------
    B. Bussmann, N. Nabeshima, A. Karvonen and N. Nanda, "Learning multi-level features with
    Matryoshka sparse autoencoders", 2025, arXiv:2503.17547.

    Examples
    --------
    >>> from skvaeense.nets.penalties import Matryoshka
    >>> Matryoshka(n_prefixes=3).prefixes(64)
    [16, 32]
    """

    alias = "matryoshka"

    _parameter_constraints = BatchTopK._parameter_constraints | {
        "n_prefixes": [_validation.AT_LEAST_ONE],
        "widths": [_validation.SIZES, None],
    }

    k: float | Sequence[float] | None = None
    n_prefixes: int = 5
    _: KW_ONLY
    widths: Sequence[int] | None = None

    def prefixes(self, n_components: int) -> list[int]:
        """Return the sizes of the prefixes, except for the last one, which is all latents.

        Parameters
        ----------
        n_components : int
            Number of latents.

        Returns
        -------
        list of int
            Rising sizes, each at least 1 and below `n_components`.
        """
        if self.widths is not None:
            return sorted({width for width in self.widths if width < n_components})
        n_halvings = min(self.n_prefixes - 1, n_components.bit_length())
        sizes = {n_components >> i for i in range(1, n_halvings + 1)}
        return sorted(sizes - {0, n_components})

    def auxiliary_error(self, network: Any, x: Tensor, coding: Coding) -> Tensor:
        """Return the sum of the squared errors of the prefixes."""
        error = x.new_zeros(len(x))
        latent = torch.arange(coding.n_components, device=x.device)
        for size in self.prefixes(len(latent)):
            reconstruction = coding.decoded(network, latent < size)
            error = error + (x - reconstruction).square().sum(dim=1)
        return error
