"""Prefixes of the dictionary that are dictionaries themselves."""

from collections.abc import Sequence
from typing import Any

import torch

from skvaeense.penalties._base import Coding
from skvaeense.penalties._batch_topk import BatchTopK
from skvaeense.utils._validation import AT_LEAST_ONE


class Matryoshka(BatchTopK):
    """BatchTopK whose first latents must also reconstruct samples on their own.

    Training minimises the sum, over m nested prefixes of the latents, of the squared error of
    the reconstruction from that prefix alone. The prefixes are the first 1/2^(m-1), ..., 1/2
    and all of the latents. General features then come first, and are not split up among specific
    features.

    Parameters
    ----------
    k : int or list of int, default=32
        Mean number of active latents, among all latents; see `BatchTopK`.

    n_prefixes : int, default=5
        Number of prefixes, including all of the latents.

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

    _parameter_constraints = BatchTopK._parameter_constraints | {"n_prefixes": [AT_LEAST_ONE]}

    def __init__(
        self, k: int | Sequence[int] = 32, n_prefixes: int = 5, *, anneal: float = 0.0
    ) -> None:
        super().__init__(k, anneal=anneal)
        self.n_prefixes = n_prefixes

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
