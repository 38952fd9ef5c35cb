"""Reconstruction error plus a penalty: the objective of sparse autoencoders."""

import math
from typing import Any

import torch

from skvaeense.objectives._base import BatchLoss, Objective
from skvaeense.objectives._dead_latents import DeadLatents
from skvaeense.objectives._price import Price

# Weight of the auxiliary loss, which trains dead latents on what the others leave.
AUXILIARY_WEIGHT = 1 / 32
# When dead latents are drawn anew, as shares of the training.
RESAMPLE_AT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


class PenalisedReconstruction(Objective):
    """Squared error as a fraction of the variance, plus the price of the code.

    For d features, of samples that are scaled to a mean squared norm of d, with code z, decoder f
    and penalty h::

        E ||x - f(z)||^2 / d + alpha * E h(z / sqrt(d)) + decay * ||decoder's weights||^2

    Without more, codes could shrink while the decoder grows, and the penalty would mean nothing.
    So either the columns of a linear decoder are kept at norm 1, and their gradients
    orthogonal to them, or its weights have a price, `decay`.

    Parameters
    ----------
    penalty : Penalty
        What makes codes sparse.

    price : Price
        The factor alpha, and how it changes during training.

    positive : bool, default=True
        Whether codes are not negative.

    decay : float or None, default=None
        Factor of the decoder's squared weights; None keeps the norm of its columns at 1.

    References
    ----------
    Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.networks import SingleLayer
    >>> from skvaeense.objectives import PenalisedReconstruction, Price
    >>> from skvaeense.penalties import L1
    >>> generator = torch.Generator().manual_seed(0)
    >>> module = SingleLayer().build(5, 3, n_heads=1, generator=generator)
    >>> module.activation = L1().build(3, unit=5**0.5, positive=True)
    >>> objective = PenalisedReconstruction(L1(), Price(0.1))
    >>> loss = objective.loss(module, torch.ones(4, 5), progress=0.0, generator=generator)
    >>> loss.total.shape
    torch.Size([])
    """

    n_heads = 1

    def __init__(
        self, penalty: Any, price: Price, *, positive: bool = True, decay: float | None = None
    ) -> None:
        self.penalty = penalty
        self.price = price
        self.positive = positive
        self.decay = decay
        self.dead: DeadLatents | None = None
        self._last_price = price.at(0.0)
        self._last_batch: tuple[torch.Tensor, torch.Tensor] | None = None
        self._to_resample = list(RESAMPLE_AT)

    @property
    def trade_off(self) -> float:
        """The price of the code that the last loss was computed at."""
        return float(self._last_price)

    @property
    def dead_fraction(self) -> float:
        """Fraction of the latents that were silent for the last samples of the training."""
        return self.dead.fraction if self.dead else 0.0

    def coding(self, module: Any, x: torch.Tensor) -> Any:
        """Return how samples are coded.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder, with `encode` and `activation`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        Coding
            Pre-activations and codes.
        """
        (preactivation,) = module.encode(x)
        return self.penalty.coding(module.activation, preactivation, math.sqrt(x.shape[1]))

    def loss(
        self, module: Any, x: torch.Tensor, *, progress: float, generator: torch.Generator
    ) -> BatchLoss:
        """Compute the loss of a batch.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder, with `encode`, `activation` and `decode`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        progress : float
            How much of the training is done, in [0, 1).

        generator : torch.Generator
            Unused: nothing is drawn.

        Returns
        -------
        BatchLoss
            The loss and its parts.
        """
        coding = self.coding(module, x)
        residual = x - module.decode(coding.code)
        error = residual.square().sum(dim=1).mean()
        cost = self.penalty.cost(coding).mean()
        code = coding.code.detach()
        if self.dead is None:
            self.dead = DeadLatents(code.shape[1], module.activation, code.device)
        self.dead.observe(code)
        self._last_price = self.price.at(progress)
        self.price.observe(code, progress)
        self._last_batch = x, residual.detach()
        total = error / x.shape[1] + self._last_price * cost
        auxiliary = self.penalty.auxiliary_error(module, x, coding)
        if auxiliary is not None:
            total = total + auxiliary.mean() / x.shape[1]
        if self.penalty.revival == "auxiliary" and self.dead.n_dead:
            dead_loss = self.dead.auxiliary_loss(
                module, coding.preactivation, residual, self.positive
            )
            total = total + AUXILIARY_WEIGHT * dead_loss
        if self.decay:
            weights = (p for p in module.decoder.parameters() if p.ndim > 1)
            total = total + self.decay * sum(w.square().sum() for w in weights)
        return BatchLoss(total, error.detach(), cost.detach())

    @torch.no_grad()
    def held_out_terms(self, module: Any, x: torch.Tensor) -> tuple[float, float, float]:
        """Return means over samples that do not train.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        error : float
            Squared error as a fraction of the training variance.

        cost : float
            What the codes cost, before it is multiplied by the price.

        l0 : float
            Number of active latents.
        """
        training = module.training
        module.eval()
        coding = self.coding(module, x)
        error = (x - module.decode(coding.code)).square().mean()
        l0 = torch.count_nonzero(coding.code) / len(x)
        module.train(training)
        return float(error), float(self.penalty.cost(coding).mean()), float(l0)

    @torch.no_grad()
    def calibrate(self, module: Any, x: torch.Tensor) -> None:
        """Set what the activation uses after training.

        Parameters
        ----------
        module : torch.nn.Module
            The trained autoencoder.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples that did not train.
        """
        self.penalty.calibrate(module.activation, module.encode(x)[0])

    @torch.no_grad()
    def before_step(self, module: Any) -> None:
        """Take from the gradients of the decoder's columns what would change their norm."""
        if self.decay is None:
            weight = module.decoder.weight
            weight.grad -= weight * (weight * weight.grad).sum(dim=0)

    @torch.no_grad()
    def after_step(
        self,
        module: Any,
        optimizer: torch.optim.Optimizer,
        *,
        progress: float,
        generator: torch.Generator,
    ) -> None:
        """Bring the decoder's columns back to norm 1, and draw dead latents anew at times."""
        if self._to_resample and progress >= self._to_resample[0]:
            self._to_resample.pop(0)
            revives = self.penalty.revival == "resampling" and module.has_linear_decoder
            if revives and self.dead and self._last_batch:
                self.dead.resample(module, optimizer, *self._last_batch, generator)
        self._last_batch = None
        self.constrain(module)

    @torch.no_grad()
    def constrain(self, module: Any) -> None:
        """Bring the decoder's columns to norm 1, unless its weights have a price instead.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder; with the constraint its decoder is linear.
        """
        if self.decay is None:
            weight = module.decoder.weight
            weight /= weight.norm(dim=0).clamp_min(torch.finfo(weight.dtype).tiny)
