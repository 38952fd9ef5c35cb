"""Prefixes of the dictionary that are dictionaries themselves."""

import torch

from skvaeense.penalties._base import Penalty
from skvaeense.penalties._batch_topk import KeepBatchTop
from skvaeense.utils._validation import AT_LEAST_ONE


class Matryoshka(Penalty):
    """BatchTopK in which the first latents must also reconstruct by themselves.

    Training minimises the sum, over m nested prefixes of the latents, of the squared error of
    the reconstruction from that prefix alone. The prefixes are the first 1/2^(m-1), ..., 1/2
    and all of the latents. General features then come first, and are not split up among special
    ones.

    Parameters
    ----------
    k : int, default=32
        Mean number of active latents, of all. A k above the number of latents is clipped to it.

    n_prefixes : int, default=5
        Number of prefixes, all of the latents included.

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

    revival = "auxiliary"

    _parameter_constraints = {"k": [AT_LEAST_ONE], "n_prefixes": [AT_LEAST_ONE]}

    def __init__(self, k=32, n_prefixes=5):
        self.k = k
        self.n_prefixes = n_prefixes

    def build(self, n_components, *, unit, positive):
        """Make the map from pre-activations to codes."""
        return KeepBatchTop(min(self.k, n_components), positive)

    def calibrate(self, activation, preactivation):
        """Set the threshold at which samples have k active latents on average."""
        activation.calibrate(preactivation)

    def prefixes(self, n_components):
        """Return the sizes of the prefixes but for the last, which is all latents.

        Parameters
        ----------
        n_components : int
            Number of latents.

        Returns
        -------
        list of int
            Rising sizes, each at least 1 and below `n_components`.
        """
        sizes = {n_components >> i for i in range(1, self.n_prefixes)}
        return sorted(sizes - {0, n_components})

    def auxiliary_error(self, module, x, coding):
        """Return the sum of the squared errors of the prefixes."""
        error = x.new_zeros(len(x))
        latent = torch.arange(coding.code.shape[1], device=x.device)
        for size in self.prefixes(coding.code.shape[1]):
            reconstruction = module.decode(coding.code * (latent < size))
            error = error + (x - reconstruction).square().sum(dim=1)
        return error
