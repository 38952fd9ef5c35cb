"""The largest pre-activations of a whole batch."""

from typing import Any

import torch

from skvaeense.penalties._topk import _KeepsLargest
from skvaeense.utils._kept_entries import BatchThreshold


class KeepBatchTop(BatchThreshold):
    """Keep the k n largest entries of n samples; outside training, entries over a threshold."""

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        code = preactivation.relu() if self.positive else preactivation
        return code * self.mask(preactivation)


class BatchTopK(_KeepsLargest):  # numpydoc ignore=PR02
    """Keep k active latents for each sample on average, more for samples that need more.

    In training, the ``k * n_samples`` largest pre-activations of a batch are kept. Afterwards each
    sample is coded separately: pre-activations over one threshold are kept. The threshold is
    learned as the running mean of the smallest kept pre-activation, which lags behind. So at the
    end it is set to the value at which held-out samples have k active latents on average.

    Parameters
    ----------
    k : int or list of int, default=32
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
