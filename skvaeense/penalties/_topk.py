"""The k largest pre-activations of each sample."""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import nn

from skvaeense.penalties._base import Penalty
from skvaeense.utils._kept_entries import Budget, KeptEntries, check_lengths, keep_largest
from skvaeense.utils._validation import AT_LEAST_ONE, Interval


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


class _KeepsLargest(Penalty):
    """Constraint on the code: about k pre-activations of each sample are kept."""

    dead_latents = "auxiliary"
    _parameter_constraints = {
        "k": [AT_LEAST_ONE, list, tuple],
        # Annealing ends before the learning rate falls.
        "anneal": [Interval(Real, 0, 0.7, closed="both")],
    }
    # Makes the activation, given k and whether codes are positive.
    _activation: Callable[[Any, bool], nn.Module]

    def __init__(self, k: int | Sequence[int] = 32, *, anneal: float = 0.0) -> None:
        self.k = k
        self.anneal = anneal

    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        """Make the map from pre-activations to codes."""
        check_lengths("k", self.k, AT_LEAST_ONE)
        return type(self)._activation(np.minimum(self.k, n_components).tolist(), positive)


class TopK(_KeepsLargest):  # numpydoc ignore=PR02
    """At most k active latents for each sample: the ones with the largest pre-activations.

    Training minimises the squared error alone. A sample has fewer than k active latents if fewer
    pre-activations are positive.

    Parameters
    ----------
    k : int or list of int, default=32
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
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=5, random_state=0).fit(X)
    >>> int((sae.transform(X) > 0).sum(axis=1).max())
    8
    """

    alias = "topk"
    _activation = KeepTop

    def n_kept(self, activation: Any) -> float | None:
        """Return the current number of kept entries; None if there are several k."""
        return activation.n_kept if len(activation.budgets) == 1 else None
