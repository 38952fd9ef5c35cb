"""Reconstruction error plus a penalty: the loss of sparse autoencoders."""

from typing import Any

import torch

from skvaeense.losses._base import Loss, Terms
from skvaeense.utils._kept_entries import KeptCodes, keep_largest
from skvaeense.utils._validation import NON_NEGATIVE

# Only kept entries are decoded if they are at most this share of the latents, and there are at
# least this many latents: otherwise dense products are as fast.
FEW, MANY_LATENTS = 0.125, 512


class PenalizedReconstruction(Loss):
    """Squared error as a fraction of the variance, plus the penalty on the code.

    For samples of d features, scaled to a mean squared norm of d, with code z, decoder f, penalty h
    and the coefficient alpha of the model::

        E ||x - f(z)||^2 / d + alpha * E h(z / sqrt(d)) + decay * ||decoder's weights||^2

    Parameters
    ----------
    decay : float, default=0.0
        Factor of the decoder's squared weights. If it is 0, the columns of the decoder must be kept
        at norm 1: otherwise codes could shrink while the decoder grows, and the penalty would mean
        nothing.

    See Also
    --------
    ELBO : The loss of variational autoencoders.

    References
    ----------
    Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.losses import PenalizedReconstruction
    >>> from skvaeense.models import SparseCoder
    >>> from skvaeense.networks import SingleLayer
    >>> from skvaeense.penalties import L1
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = SparseCoder(SingleLayer(), 5, 3, penalty=L1(), generator=generator)
    >>> terms = PenalizedReconstruction().terms(model, torch.ones(4, 5), generator=generator)
    >>> sorted(terms)
    ['active_share', 'error', 'loss', 'penalty']
    """

    alias = "penalized_reconstruction"

    method = "coding"
    _parameter_constraints = {"decay": [NON_NEGATIVE]}

    def __init__(self, decay: float = 0.0) -> None:
        self.decay = decay

    def terms(self, model: Any, x: torch.Tensor, *, generator: torch.Generator) -> Terms:
        """Return "loss", "error", "penalty" and "active_share" of a batch; nothing is drawn.

        "active_share" has the shape (n_components,): the fraction of samples for which each latent
        is active. If the model decodes codes to a target, x has the columns of samples and target,
        which the model's `split` separates.
        """
        x, target = model.split(x)
        kept = model.network.kept_codes(x, model.activation.kept) if _keeps_few(model) else None
        coding: Any
        if kept is None:
            coding = model.coding(x)
            n_active = torch.count_nonzero(coding.code.detach(), dim=0)
            reconstruction, cost = model.decode(coding.code), model.penalty.cost(coding).mean()
        else:
            coding = _FewCoding(model, kept)
            n_active = coding.entries.column_sums((coding.values.detach() != 0).to(x.dtype))
            reconstruction, cost = coding.decoded(model.network), x.new_zeros(())
        residual = target - reconstruction
        error = residual.square().mean()
        total = error + model.alpha * cost
        auxiliary = model.penalty.auxiliary_error(model.network, target, coding)
        if auxiliary is not None:
            total = total + auxiliary.mean() / target.shape[1]
        dead = model.dead_latents
        if dead is not None and not model.resamples_dead_latents:
            of_dead = coding.preactivation[:, dead] if kept is None else kept.preactivation(dead)
            total = total + AUXILIARY_WEIGHT * auxiliary_loss(model, of_dead, residual)
        if self.decay:
            decoder = getattr(model.network, "decoder", model.network)
            weights = (p for p in decoder.parameters() if p.ndim > 1)
            total = total + self.decay * sum(w.square().sum() for w in weights)
        share = (n_active / len(x)).to(x.dtype)
        return {"loss": total, "error": error, "penalty": cost, "active_share": share}


def _keeps_few(model: Any) -> bool:
    """Return whether codes have so few entries that it is best to decode only these."""
    n_kept = model.penalty.n_kept(model.activation)
    return (
        n_kept is not None
        and n_kept <= FEW * model.n_components
        and model.n_components >= MANY_LATENTS
        and model.linear_decoder is not None
        and hasattr(model.network, "kept_codes")
        and model.linear_decoder.weight.device.type == "cpu"
    )


class _FewCoding:
    """Codes with few entries, with the interface that a penalty needs of a `Coding`."""

    def __init__(self, model: Any, kept: KeptCodes) -> None:
        self.values = kept.values.relu() if model.positive else kept.values
        self.entries = kept.entries
        self.columns = model.linear_decoder.weight.T.contiguous()
        self.n_components = len(self.columns)
        self.bias = model.linear_decoder.bias

    def decoded(self, network: Any, latents: torch.Tensor | None = None) -> torch.Tensor:
        values = self.values
        if latents is not None:
            values = values * latents[self.entries.columns]
        return self.entries.times(values, self.columns) + self.bias


# Weight of the auxiliary loss in a loss that is a fraction of the variance.
AUXILIARY_WEIGHT = 1 / 32


def auxiliary_loss(model: Any, preactivation: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """Return the error of the residual's reconstruction from dead latents alone.

    Each sample uses the dead latents with the largest pre-activations, at most half the number of
    features. A rectified latent whose pre-activation is negative for all samples would have no
    gradient. So the squares of negative pre-activations are added, for each latent at the n samples
    with its largest pre-activations. On average a latent is active for n samples.

    Parameters
    ----------
    model : SparseCoder
        The model, with the indices of its dead latents.

    preactivation : torch.Tensor of shape (n_samples, n_dead)
        Pre-activations of the dead latents.

    residual : torch.Tensor of shape (n_samples, n_features)
        Residual of the samples from the other latents.

    Returns
    -------
    torch.Tensor without dimensions
        Fraction of the residual's mean square that dead latents leave, plus the squares of negative
        pre-activations, as a fraction of the same mean square.
    """
    residual, dead = residual.detach(), model.dead_latents
    code = preactivation.relu() if model.positive else preactivation
    n_used = max(1, residual.shape[1] // 2)
    if n_used < len(dead):
        code = keep_largest(code, n_used, positive=model.positive)
    decoder = model.linear_decoder
    if decoder is not None:
        explained = code @ decoder.weight[:, dead].T
    else:
        whole = code.new_zeros((len(code), model.n_components)).index_copy(1, dead, code)
        explained = model.decode(whole) - model.decode(torch.zeros_like(whole[:1]))
    squares = (residual - explained).square().sum()
    if model.positive:
        n_raised = max(1, round(len(code) * (model.length or 1) / model.n_components))
        highest = preactivation.topk(n_raised, dim=0, sorted=False).values
        squares = squares + highest.clamp_max(0).square().sum()
    return squares / residual.square().sum().clamp_min(1e-30)
