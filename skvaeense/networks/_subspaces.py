"""Linear decoder, and an encoder that infers which subspace of a union a sample is in."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from skvaeense.networks._base import MAX_GRADIENT_NORM, Autoencoder, Network, linear_layer
from skvaeense.utils._validation import AT_LEAST_ZERO


class SubspaceAutoencoder(Autoencoder):
    """Infer codes in a mixture of normal distributions, each with its own few directions.

    With the components c of the subspace k, the responsibilities, means and variances of latent j
    of that subspace are::

        log p_c = a_c'x + b_c - |x|^2 exp(l_c) / 2 + |F_c x + f_c|^2 / 2,   r = softmax(log p)
        m_j = r_k (u_j'x + v_j),    s_j^2 = 1 - r_k (1 - sigmoid(h_j)),    r_k = sum of r_c

    so that all latents of a subspace close together if a sample is in another subspace.

    Parameters
    ----------
    ranks : sequence of int
        Number of latents of each subspace.

    subspaces : sequence of int
        Index of the subspace of each component.

    n_directions : sequence of int
        Number of directions of each component.

    n_features : int
        Number of features.

    n_components : int
        Number of latents.

    generator : torch.Generator or None
        The source of random weights.
    """

    # With next to no noise, gradients have no bound.
    max_gradient_norm = MAX_GRADIENT_NORM

    def __init__(
        self,
        ranks: Sequence[int],
        subspaces: Sequence[int],
        n_directions: Sequence[int],
        n_features: int,
        n_components: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.ranks, self.subspaces, self.n_directions = ranks, subspaces, n_directions
        self.linear = linear_layer(n_features, len(n_directions), generator)
        self.log_precision = nn.Parameter(torch.zeros(len(n_directions)))
        self.factors = linear_layer(n_features, max(sum(n_directions), 1), generator)
        self.means = linear_layer(n_features, n_components, generator)
        self.open_logit = nn.Parameter(torch.zeros(n_components))
        self.decoder = linear_layer(n_components, n_features, generator)

    @cached_property
    def sums(self) -> torch.Tensor:
        """Mask of the component of each direction, shape (n_directions, n_parts)."""
        return owners(self.n_directions, self.factors.out_features)

    @cached_property
    def opens(self) -> torch.Tensor:
        """Mask of the components that open each latent, shape (n_parts, n_components)."""
        subspaces = owners(self.ranks, self.open_logit.numel())
        return subspaces[:, [*self.subspaces]].T.contiguous()

    def log_responsibilities(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logarithms of the responsibilities of components for samples."""
        squares = x.square().sum(dim=1, keepdim=True)
        factors = self.factors(x).square() @ self.sums.to(x)
        quadratic = factors - squares * self.log_precision.exp()
        return torch.log_softmax(self.linear(x) + 0.5 * quadratic, dim=1)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return means and gate logits, of shape (n_samples, n_components) each."""
        responsibilities, opens = self.log_responsibilities(x).exp(), self.opens.to(x)
        # Both are sums, because differences would suffer from rounding.
        r, others = responsibilities @ opens, responsibilities @ (1 - opens)
        variance = others + r * torch.sigmoid(self.open_logit)
        openness = r * torch.sigmoid(-self.open_logit)
        tiny = torch.finfo(x.dtype).tiny
        gate_logit = variance.clamp(min=tiny).log() - openness.clamp(min=tiny).log()
        return r * self.means(x), gate_logit


def owners(counts: Sequence[int], n_entries: int) -> torch.Tensor:
    """Return the mask of the owner of each entry, given the number of entries of each owner.

    The first owner has the first entries, and so on; the last entries can be without an owner.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    mask = np.zeros((n_entries, len(counts)), dtype=np.float32)
    mask[np.arange(len(owner)), owner] = 1.0
    return torch.from_numpy(mask)


@dataclass(eq=False, repr=False)
class Subspaces(Network):  # numpydoc ignore=PR02
    """Linear decoder; the encoder infers which subspace of a union a sample is in.

    A default fit takes this network if a few flat parts explain samples best. Before training, it
    gives the network the weights of exact inference in a mixture of these parts.

    Parameters
    ----------
    ranks : tuple of int
        Number of latents of each subspace.

    subspaces : tuple of int or None, default=None
        Index of the subspace of each component of the mixture; None means one component for each
        subspace.

    n_directions : tuple of int or None, default=None
        Number of directions in which each component varies freely; None means the number of latents
        of its subspace.

    See Also
    --------
    Linear : An encoder that does not assume subspaces.
    skvaeense.mixture.SubspaceMixture : The mixture.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.models import VAE
    >>> from skvaeense.networks import Subspaces
    >>> model = VAE(Subspaces((1, 2)), 5, 3, generator=torch.Generator().manual_seed(0))
    >>> model.posterior(torch.ones(4, 5)).mean.shape
    torch.Size([4, 3])
    """

    is_exact = True

    _parameter_constraints = {
        "ranks": [list, tuple],
        "subspaces": [list, tuple, None],
        "n_directions": [list, tuple, None],
    }

    ranks: Sequence[int]
    _: KW_ONLY
    subspaces: Sequence[int] | None = None
    n_directions: Sequence[int] | None = None

    def build(
        self, n_features: int, n_components: int, *, n_heads: int, generator: torch.Generator | None
    ) -> nn.Module:
        """Make the module with random weights."""
        for name, values in self.get_params(deep=False).items():
            if not all(map(AT_LEAST_ZERO.is_satisfied_by, values or ())):
                raise ValueError(f"{name} must hold ints, at least 0, got {values!r}.")
        subspaces = range(len(self.ranks)) if self.subspaces is None else self.subspaces
        if not len(subspaces) or max(subspaces) >= len(self.ranks):
            raise ValueError(
                "subspaces must hold at least one index, and all indices must be below "
                f"{len(self.ranks)}, the length of ranks."
            )
        n_directions = self.n_directions
        if n_directions is None:
            n_directions = [self.ranks[k] for k in subspaces]
        if len(n_directions) != len(subspaces):
            raise ValueError("n_directions must have a number for each component.")
        if n_heads != 2:
            raise ValueError("Subspaces needs gates; use network='linear' instead.")
        if sum(self.ranks) > n_components:
            raise ValueError(
                f"n_components={n_components} must be at least {sum(self.ranks)}, the total number "
                "of directions of the subspaces."
            )
        return SubspaceAutoencoder(
            self.ranks, subspaces, n_directions, n_features, n_components, generator
        )
