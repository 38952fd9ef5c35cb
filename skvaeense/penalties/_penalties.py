"""Penalties: prices of active latents, and constraints on their number."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.func import functional_call

from skvaeense.penalties._base import (
    Coding,
    GatedReLU,
    HardThreshold,
    KeepBatchTop,
    KeepsLargest,
    KeepTop,
    Penalty,
    Shrinkage,
)
from skvaeense.utils._validation import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE, SIZES, StrOptions


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
    >>> from skvaeense.penalties import L1
    >>> SparseAutoencoder(penalty=L1(0.2)).get_params()["penalty__alpha"]
    0.2
    """

    alias = "l1"

    _parameter_constraints = {"alpha": [NON_NEGATIVE]}

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    def entry_cost(self, size: torch.Tensor) -> torch.Tensor:
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
    >>> from skvaeense.penalties import Log
    >>> SparseAutoencoder(penalty=Log(alpha=0.02)).get_params()["penalty__eps"]
    0.1
    """

    alias = "log"

    _parameter_constraints = {"alpha": [NON_NEGATIVE], "eps": [POSITIVE]}

    def __init__(self, alpha: float = 0.01, eps: float = 0.1) -> None:
        self.alpha = alpha
        self.eps = eps

    def entry_cost(self, size: torch.Tensor) -> torch.Tensor:
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

    anneal : float, default=0.0
        Share of the training, at most 0.7, over which the number of active latents falls from all
        to k. 0 means k from the first step. See the notes.

    See Also
    --------
    BatchTopK : The same number on average, more for samples that need more.

    Notes
    -----
    Keeping the k largest is the projection on codes with k entries, ``argmin ||z - h||^2``. An
    auxiliary loss trains dead latents to reconstruct the residual of the other latents [1]_.

    With `anneal`, the number of active latents falls to k by the same factor in each step; in
    other libraries, such as dictionary_learning (``k_anneal_steps``), it falls linearly. A fit that
    continues with ``warm_start=True`` uses k throughout.

    References
    ----------
    .. [1] L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.penalties import TopK
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
    k : int, list of int or None, default=None
        Mean number of active latents. A k above the number of latents is clipped to it. In a list,
        each k holds for an equal part of every batch in training. Codes then have the largest k,
        unless the estimator's `transform_l0` says otherwise.

    anneal : float, default=0.0
        Share of the training over which the number of active latents falls from all to k; see
        `TopK`.

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
    >>> from skvaeense.penalties import BatchTopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=BatchTopK(8), max_iter=50, random_state=0).fit(X)
    >>> round(float((sae.transform(X) > 0).sum(axis=1).mean()))
    8
    """

    alias = "batch_topk"
    _activation = KeepBatchTop

    def n_kept(self, activation: Any) -> float | None:
        """Return the current mean number of kept entries."""
        return float(activation.share * activation.k)

    def calibrate(self, activation: Any, preactivation: torch.Tensor) -> None:
        """Set the threshold at which samples have k active latents on average."""
        activation.calibrate(preactivation)


class Matryoshka(BatchTopK):
    """BatchTopK whose first latents must also reconstruct samples on their own.

    Training minimises the sum, over m nested prefixes of the latents, of the squared error of
    the reconstruction from that prefix alone. The prefixes are the first 1/2^(m-1), ..., 1/2
    and all of the latents. General features then come first, and are not split up among specific
    features.

    Parameters
    ----------
    k : int, list of int or None, default=None
        Mean number of active latents, among all latents; see `BatchTopK`.

    n_prefixes : int, default=5
        Number of prefixes, including all of the latents.

    widths : sequence of int or None, default=None
        Sizes of the prefixes in place of halves, such as ``(64, 256, 1024)``. All of the latents
        are a prefix in any case.

    anneal : float, default=0.0
        Share of the training over which the number of active latents falls from all to k; see
        `TopK`.

    See Also
    --------
    BatchTopK : Without prefixes.

    References
    ----------
    B. Bussmann, N. Nabeshima, A. Karvonen and N. Nanda, "Learning multi-level features with
    Matryoshka sparse autoencoders", 2025, arXiv:2503.17547.

    Examples
    --------
    >>> from skvaeense.penalties import Matryoshka
    >>> Matryoshka(n_prefixes=3).prefixes(64)
    [16, 32]
    """

    alias = "matryoshka"

    _parameter_constraints = BatchTopK._parameter_constraints | {
        "n_prefixes": [AT_LEAST_ONE],
        "widths": [SIZES, None],
    }

    def __init__(
        self,
        k: int | Sequence[int] | None = None,
        n_prefixes: int = 5,
        *,
        widths: Sequence[int] | None = None,
        anneal: float = 0.0,
    ) -> None:
        super().__init__(k, anneal=anneal)
        self.n_prefixes = n_prefixes
        self.widths = widths

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

    def auxiliary_error(self, network: Any, x: torch.Tensor, coding: Coding) -> torch.Tensor:
        """Return the sum of the squared errors of the prefixes."""
        error = x.new_zeros(len(x))
        latent = torch.arange(coding.n_components, device=x.device)
        for size in self.prefixes(len(latent)):
            reconstruction = coding.decoded(network, latent < size)
            error = error + (x - reconstruction).square().sum(dim=1)
        return error
