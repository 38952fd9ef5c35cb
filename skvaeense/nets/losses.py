"""Losses that training minimises: functions of a model and a batch that return named terms.

To add a loss, derive a class from `Loss`.
"""

import math
from abc import abstractmethod
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor

from skvaeense.utils._kept import KeptCodes, keep_largest
from skvaeense.utils._validation import NON_NEGATIVE, Specification

__all__ = ["ELBO", "Loss", "PenalizedReconstruction"]

Terms: TypeAlias = dict[str, Tensor]


class Loss(Specification):
    """A function of a model and a batch that returns named terms.

    To add a loss, derive from this class and write `terms`. A loss holds parameters, but no state.

    See Also
    --------
    ELBO : The loss of variational autoencoders.
    PenalizedReconstruction : The loss of sparse autoencoders.

    Examples
    --------
    A variational autoencoder whose divergence counts four times:

    >>> from skvaeense import VAEase
    >>> from skvaeense.nets.losses import Loss
    >>> class BetaELBO(Loss):
    ...     def terms(self, model, x, *, generator):
    ...         error, kl = (term.mean() for term in model.elbo(x, generator=generator))
    ...         loss = error / model.noise_variance + 2 * 4 * kl
    ...         return {"loss": loss, "error": error, "kl": kl}
    >>> VAEase(loss=BetaELBO())
    VAEase(loss=BetaELBO())
    """

    # Name of the method that a model must have; None if any model will do.
    method: str | None = None

    @abstractmethod
    def terms(self, model: Any, x: Tensor, *, generator: Generator) -> Terms:
        """Return the terms of a batch.

        Parameters
        ----------
        model : Model
            The model, in training mode.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        generator : torch.Generator
            The source of noise.

        Returns
        -------
        dict of torch.Tensor
            "loss", without dimensions, is minimised. The history records it and all other terms
            without dimensions, as means over each epoch. For a VAE, "error" is the mean squared
            error of a sample, which the noise variance follows. For a sparse coder, "active_share"
            of shape (n_components,) is the share of the samples for which each latent is active;
            without it, dead latents are not counted, and no target for active latents is met.
        """

    def gradient(self, model: Any, x: Tensor, generator: Generator) -> Terms:
        """Compute the terms of a batch, and gradients.

        By default it uses autograd. Override this method to compute gradients faster.

        Parameters
        ----------
        model : Model
            The model that is trained. The `grad` of each of its parameters is set.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        generator : torch.Generator
            The source of noise.

        Returns
        -------
        dict of torch.Tensor
            The detached terms.
        """
        model.zero_grad(set_to_none=False)
        terms = self.terms(model, x, generator=generator)
        terms["loss"].backward()
        return {name: term.detach() for name, term in terms.items()}

    def in_user_units(
        self, means: dict[str, float], *, n_features: int, scale: float
    ) -> dict[str, float]:
        """Return the values that the history records for an epoch.

        Parameters
        ----------
        means : dict of float
            Means of the terms over the epoch in units of the scaled samples, and the numbers that
            changed during training: "noise_variance" or "alpha".

        n_features : int
            Number of features of a sample.

        scale : float
            Root mean square of the centred training samples, in the user's units.

        Returns
        -------
        dict of float
            The values in the user's units; by default unchanged.
        """
        return means


class ELBO(Loss):
    """Negative evidence lower bound, times two, without its constant.

    For a sample x with expected squared error E and divergence KL, at the noise variance g::

        E / g + 2 beta KL

    With a linear decoder the expectation is exact. Otherwise it is taken at one draw of the noise.

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the divergence. Values other than 1 do not give a bound. Values above 1 open fewer
        latents [1]_.

    See Also
    --------
    skvaeense.nets.models.VAE : Definition of the terms.

    References
    ----------
    .. [1] I. Higgins et al., "beta-VAE: learning basic visual concepts with a constrained
       variational framework", ICLR 2017.

    Examples
    --------
    >>> from skvaeense import VAEase
    >>> from skvaeense.nets.losses import ELBO
    >>> VAEase(loss=ELBO(beta=4.0)).get_params()["loss__beta"]
    4.0
    """

    alias = "elbo"

    method = "elbo"
    _parameter_constraints = {"beta": [NON_NEGATIVE]}

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def terms(self, model: Any, x: Tensor, *, generator: Generator) -> Terms:
        """Return "loss", "error" and "kl" of a batch."""
        error, kl = (term.mean() for term in model.elbo(x, generator=generator))
        loss = error / model.noise_variance + 2 * self.beta * kl
        return {"loss": loss, "error": error, "kl": kl}

    def in_user_units(
        self, means: dict[str, float], *, n_features: int, scale: float
    ) -> dict[str, float]:
        """Return the negative bound in nats, and squared errors in squared units of X."""
        error, kl = means["error"] * scale**2, means["kl"]
        noise = means["noise_variance"] * scale**2
        loss = 0.5 * (error / noise + n_features * math.log(2 * math.pi * noise)) + kl
        return {"loss": loss, "error": error, "kl": kl, "noise_variance": noise}


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
        Factor of the decoder's squared weights. If it is 0, a SparseAutoencoder keeps the columns
        of a linear decoder at norm 1: otherwise codes could shrink while the decoder grows, and
        the penalty would mean nothing.

    See Also
    --------
    ELBO : The loss of variational autoencoders.

    References
    ----------
    Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.nets.losses import PenalizedReconstruction
    >>> from skvaeense.nets.models import SparseCoder
    >>> from skvaeense.nets.networks import SingleLayer
    >>> from skvaeense.nets.penalties import L1
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = SparseCoder(SingleLayer(), 5, 3, penalty=L1(), generator=generator)
    >>> terms = PenalizedReconstruction().terms(model, torch.ones(4, 5), generator=generator)
    >>> sorted(terms)
    ['active_share', 'error', 'l0', 'loss', 'penalty']
    """

    alias = "penalized_reconstruction"

    method = "coding"
    _parameter_constraints = {"decay": [NON_NEGATIVE]}

    def __init__(self, decay: float = 0.0) -> None:
        self.decay = decay

    def terms(self, model: Any, x: Tensor, *, generator: Generator) -> Terms:
        """Return "loss", "error", "penalty", "l0" and "active_share" of a batch; nothing is drawn.

        "active_share" has the shape (n_components,): the fraction of samples for which each latent
        is active. If the model decodes codes to a target, x has the columns of samples and target,
        which the model's `split` separates.
        """
        x, target = model.split(x)
        coding: Any = _few_codes(model, x) or model.coding(x)
        residual = target - coding.decoded(model.network)
        error, cost = residual.square().mean(), model.penalty.cost(coding).sum() / len(x)
        total = error + model.alpha * cost
        auxiliary = model.penalty.auxiliary_error(model.network, target, coding)
        if auxiliary is not None:
            total = total + auxiliary.mean() / target.shape[1]
        dead = model.dead_latents
        if dead is not None:
            answers = hasattr(model.network, "answer")
            of_dead = model.network.answer(residual, dead) if answers else coding.outputs(dead)
            total = total + auxiliary_loss(model, of_dead, residual)
        if self.decay:
            decoder = getattr(model.network, "decoder", model.network)
            weights = (p for p in decoder.parameters() if p.ndim > 1)
            total = total + self.decay * sum(w.square().sum() for w in weights)
        share = (coding.n_active() / len(x)).to(x.dtype)
        terms = {"loss": total, "error": error, "penalty": cost}
        return terms | {"l0": share.sum(), "active_share": share}


def _few_codes(model: Any, x: Tensor) -> "FewCodes | None":
    """Return codes that hold their few entries alone; None if dense products are as fast."""
    n_kept = model.penalty.n_kept(model.activation)
    if (
        n_kept is None
        or n_kept > FEW * model.n_components
        or model.n_components < MANY_LATENTS
        or model.linear_decoder is None
        or not hasattr(model.network, "kept_codes")
        or model.linear_decoder.weight.device.type != "cpu"
    ):
        return None
    kept = model.network.kept_codes(x, model.activation.kept)
    return None if kept is None else FewCodes(model, kept)


class FewCodes:
    """Codes with few entries, with the interface that losses and constraints need of a `Coding`."""

    def __init__(self, model: Any, kept: KeptCodes) -> None:
        self.code = kept.values.relu() if model.positive else kept.values
        self.entries, self.outputs = kept.entries, kept.preactivation
        self.columns = model.linear_decoder.weight.T.contiguous()
        self.n_components = len(self.columns)
        self.bias = model.linear_decoder.bias

    def decoded(self, network: Any, latents: Tensor | None = None) -> Tensor:
        """Return the reconstruction from some latents alone; None means all."""
        code = self.code if latents is None else self.code * latents[self.entries.columns]
        return self.entries.times(code, self.columns) + self.bias

    def n_active(self) -> Tensor:
        """Return the number of samples for which each latent is active."""
        return self.entries.column_sums((self.code.detach() != 0).to(self.code.dtype))


def auxiliary_loss(
    model: Any, preactivation: Tensor, residual: Tensor, *, weight: float = 1 / 8
) -> Tensor:
    """Return the weighted error of the residual's reconstruction from dead latents alone.

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

    weight : float, default=1/8
        Weight in a loss that is a fraction of the variance.

    Returns
    -------
    torch.Tensor without dimensions
        Fraction of the residual's mean square that dead latents leave, plus the squares of negative
        pre-activations, as a fraction of the same mean square, times the weight.
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
    return weight * squares / residual.square().sum().clamp_min(1e-30)
