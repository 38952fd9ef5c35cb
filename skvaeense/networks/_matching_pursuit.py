"""An encoder that takes one atom at a time."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from skvaeense.networks._base import Autoencoder, Network
from skvaeense.networks._layers import N_ACTIVE, POSITIVE_CODE, check_n_active, dictionary_layer
from skvaeense.utils._budget import Lengths
from skvaeense.utils._typing import Auto


class MatchingPursuit(Network):
    """Linear decoder, and an encoder that takes one atom at a time.

    With the columns of the decoder W, scaled to norm 1, in A, and the residual ``r = x - b`` of a
    sample, matching pursuit repeats::

        j = the index of the largest |a_j . r|,   z_j += a_j . r,   r -= (a_j . r) a_j

    So each atom is chosen by the residual of the previous atoms, not by the sample alone. The
    encoder has no weights besides the decoder. It is for sparse autoencoders whose penalty has a k,
    such as `TopK`.

    Parameters
    ----------
    n_active : "auto" or float, default="auto"
        Number of repetitions. "auto" means the `target_l0` of the estimator, or the largest k
        of its penalty, and a tenth of the latents if the estimator has neither.

    positive : "auto" or bool, default="auto"
        Whether only atoms with positive products are taken. "auto" means the estimator's
        `positive_code`, and False without an estimator.

    See Also
    --------
    Unrolled : Corrects the whole code a few times, which is faster for long codes.

    Notes
    -----
    An atom can be taken again, so that a code has at most `n_active` entries. Inner products of the
    atoms update the products with the residual. Their memory grows with the square of the number of
    latents.

    References
    ----------
    .. [1] S. Mallat and Z. Zhang, "Matching pursuits with time-frequency dictionaries", IEEE
       Transactions on Signal Processing 41, 1993.
    .. [2] V. Costa et al., "From flat to hierarchical: extracting sparse representations with
       matching pursuit", 2025, arXiv:2506.03093.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.networks import MatchingPursuit
    >>> from skvaeense.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(6), max_iter=20, random_state=0)
    >>> single = sae.fit(X).score(X)
    >>> sae.set_params(network=MatchingPursuit()).fit(X).score(X) > single
    True
    """

    _parameter_constraints = {"n_active": N_ACTIVE, "positive": POSITIVE_CODE}

    def __init__(
        self, *, n_active: Auto | Lengths = "auto", positive: Auto | bool = "auto"
    ) -> None:
        self.n_active = n_active
        self.positive = positive

    def build(
        self, n_features: int, n_components: int, *, n_heads: int, generator: torch.Generator | None
    ) -> nn.Module:
        """Make the module with random weights."""
        if n_heads != 1:
            raise ValueError(
                "MatchingPursuit is for sparse autoencoders only, since it has no gates. Use "
                "network='auto' for a variational autoencoder."
            )
        n_active = check_n_active(self.n_active, n_components)
        n_steps = min(math.ceil(np.max(n_active)), n_components)
        decoder = dictionary_layer(n_components, n_features, generator)
        return PursuitAutoencoder(decoder, n_steps, positive=self.positive is True)


class PursuitAutoencoder(Autoencoder):
    """A linear decoder, and matching pursuit over its columns.

    Parameters
    ----------
    decoder : torch.nn.Linear
        Map from codes to samples.

    n_steps : int
        Number of atoms that are taken.

    positive : bool
        Whether only atoms with positive products are taken.
    """

    def __init__(self, decoder: nn.Linear, n_steps: int, *, positive: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.n_steps = n_steps
        self.positive = positive

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the codes, in a tuple with one entry for the only head."""
        weight: Any = self.decoder.weight
        norm = weight.norm(dim=0)
        atoms = weight / norm
        products = (x - self.decoder.bias) @ atoms
        overlap = atoms.T @ atoms
        code = torch.zeros_like(products)
        for _ in range(self.n_steps):
            size = products if self.positive else products.abs()
            taken = size.argmax(dim=1, keepdim=True)
            value = products.gather(1, taken)
            if self.positive:
                value = value.relu()
            code = code.scatter_add(1, taken, value)
            products = products - value * overlap[taken[:, 0]]
        return (code / norm,)
