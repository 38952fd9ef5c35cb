"""Reconstruction error plus a penalty: the objective of sparse autoencoders."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from skvaeense._kernels import Workspace, count_active, decode_entries, encode_top, squared_error
from skvaeense.objectives._base import BatchLoss, Objective
from skvaeense.objectives._dead_latents import DeadLatents
from skvaeense.objectives._price import Price
from skvaeense.utils._typing import DoubleArray

# Weight of the auxiliary loss, which trains dead latents on what the others leave.
AUXILIARY_WEIGHT = 1 / 32
# Share of the latents up to which kept entries are decoded by themselves, as benchmarks/speed.py
# measured.
FEW = 0.125
# When dead latents are drawn anew, as shares of the training.
RESAMPLE_AT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


class _Pass(NamedTuple):
    """What became of a batch on its way through the autoencoder."""

    reconstruction: torch.Tensor
    # Cost of the code, and further squared error or None, of each sample.
    cost: torch.Tensor
    auxiliary: torch.Tensor | None
    # For how many samples each latent is active.
    n_active: torch.Tensor
    # From the indices of latents to their pre-activations.
    preactivation: Callable[[torch.Tensor], torch.Tensor]


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
        self,
        module: Any,
        x: torch.Tensor,
        *,
        progress: float,
        generator: torch.Generator,
        workspace: Workspace | None = None,
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

        workspace : Workspace or None, default=None
            Memory to use again.

        Returns
        -------
        BatchLoss
            The loss and its parts.
        """
        workspace = Workspace() if workspace is None else workspace
        if self._keeps_few(module):
            done = self._pass_of_few(module, x, workspace)
        else:
            done = self._pass(module, x, workspace)
        errors, residual = squared_error(x, done.reconstruction, workspace=workspace)
        error, cost = errors.mean(), done.cost.mean()
        if self.dead is None:
            self.dead = DeadLatents(len(done.n_active), module.activation, x.device)
        self._last_price = self.price.at(progress)
        self._last_batch = x, residual
        total = error / x.shape[1] + self._last_price * cost
        if done.auxiliary is not None:
            total = total + done.auxiliary.mean() / x.shape[1]
        if self.penalty.revival == "auxiliary" and self.dead.n_dead:
            total = total + AUXILIARY_WEIGHT * self.dead.auxiliary_loss(
                module, done.preactivation(self.dead.latents), residual, self.positive
            )
        if self.decay:
            weights = (p for p in module.decoder.parameters() if p.ndim > 1)
            total = total + self.decay * sum(w.square().sum() for w in weights)
        return BatchLoss(total, error.detach(), cost.detach(), (done.n_active / len(x)).to(x.dtype))

    @torch.no_grad()
    def observe(self, seen: torch.Tensor, *, n_samples: int, progress: float) -> None:
        """Let the price follow the number of active latents, and count who is silent.

        Parameters
        ----------
        seen : torch.Tensor of shape (n_components,)
            The fraction of samples that each latent is active for.

        n_samples : int
            Samples of the batch.

        progress : float
            How much of the training is done, in [0, 1).
        """
        if self.dead is not None:
            self.dead.observe(seen > 0, n_samples)
        self.price.observe(seen.sum(), progress)

    def _pass(self, module: Any, x: torch.Tensor, workspace: Workspace) -> _Pass:
        """Code and decode a batch by the activation and the cost that the penalty gives."""
        (preactivation,) = module.encode(x)
        coding, cost = self.penalty.priced_coding(
            module.activation, preactivation, math.sqrt(x.shape[1]), workspace
        )
        return _Pass(
            reconstruction=module.decode(coding.code),
            cost=cost,
            auxiliary=self.penalty.auxiliary_error(module, x, coding),
            n_active=count_active(coding.code.detach()),
            preactivation=lambda latents: preactivation[:, latents],
        )

    def _keeps_few(self, module: Any) -> bool:
        """Whether codes have so few entries that these are best decoded by themselves."""
        n_top, head = self.penalty.n_top(module.activation), module.heads[0]
        return (
            n_top is not None
            and n_top <= FEW * head.out_features
            and module.has_linear_decoder
            and module.skip is None
            and head.weight.device.type == "cpu"
        )

    def _pass_of_few(self, module: Any, x: torch.Tensor, workspace: Workspace) -> _Pass:
        """Code and decode a batch by the largest pre-activations."""
        hidden, head, decoder = module.body(x), module.heads[0], module.decoder
        bias = module.head_bias(head)
        kept, entries = encode_top(
            hidden,
            head.weight,
            bias,
            n_kept=self.penalty.n_top(module.activation),
            positive=self.positive,
            workspace=workspace,
        )
        values = kept.relu() if self.positive else kept
        active = (values.detach() != 0).to(values.dtype)
        return _Pass(
            reconstruction=decode_entries(values, entries, decoder.weight, decoder.bias),
            cost=values.new_zeros(len(x)),
            auxiliary=None,
            n_active=entries.column_sums(active),
            preactivation=lambda latents: F.linear(hidden, head.weight[latents], bias[latents]),
        )

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
    ) -> bool:
        """Bring the decoder's columns back to norm 1, and draw dead latents anew at times."""
        draws = False
        if self._to_resample and progress >= self._to_resample[0]:
            self._to_resample.pop(0)
            revives = self.penalty.revival == "resampling" and module.has_linear_decoder
            if revives and self.dead and self._last_batch:
                self.dead.resample(module, optimizer, *self._last_batch, generator)
                draws = True
        self._last_batch = None
        self.constrain(module)
        return draws

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


class PenalisedTerms(NamedTuple):
    """Loss and error as fractions of the variance, penalty and its price, by epoch."""

    loss: DoubleArray
    error: DoubleArray
    penalty: DoubleArray
    price: DoubleArray


def penalised_terms(losses: Sequence[Sequence[float]], n_features: int) -> PenalisedTerms:
    """Return the terms of the objective, without that of the decoder's weights."""
    error, penalty, price = np.reshape(losses, (-1, 3)).T
    error = error / n_features
    return PenalisedTerms(error + price * penalty, error, penalty, price)
