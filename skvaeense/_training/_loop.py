"""The loop: epochs of Adam steps on shuffled mini-batches."""

import math
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch

from skvaeense._kernels import Workspace
from skvaeense._training._batches import TensorBatches
from skvaeense._training._threads import suited_threads
from skvaeense.utils._ranks import ALONE


class EpochLoss(NamedTuple):
    """Means over one epoch, in units of the scaled data."""

    error: float
    cost: float
    trade_off: float


# Steps after which the loop comes back in the middle of an epoch, as for what keeps the training.
STRETCH = 500


@dataclass
class Position:
    """How far the loop has come, between two steps.

    Attributes
    ----------
    epoch, step : int
        Epochs that are over, and steps of the one that is not.

    error, cost : float or torch.Tensor
        Sums over these steps.

    order : torch.Tensor or None
        The state of the generator from which the order of the epoch was drawn.
    """

    epoch: int = 0
    step: int = 0
    error: float | torch.Tensor = 0.0
    cost: float | torch.Tensor = 0.0
    order: torch.Tensor | None = None


@dataclass(frozen=True)
class LearningRate:
    """A short rise to `peak`, rest until `hold`, then half a cosine down to `floor` times it."""

    peak: float
    floor: float = 0.0
    warmup: float = 0.1
    hold: float = 0.1

    def at(self, progress):
        """Return the learning rate at this point of the run."""
        if progress < self.warmup:
            return self.peak * min(1.0, 0.04 + progress / self.warmup)
        if progress < self.hold:
            return self.peak
        angle = math.pi * (progress - self.hold) / (1 - self.hold)
        return self.peak * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(angle)))


# Inputs of a layer beyond which its learning rate falls, and by which power of their number.
FULL_RATE_INPUTS = 256
RATE_POWER = 1.5


def make_optimizer(module, *, full_rate=False):
    """Return Adam over all parameters; the loop sets the learning rate.

    Adam moves every weight by about the learning rate, so what a unit gives moves by that times
    the sum of its inputs. Layers with many inputs take smaller steps, or training on wide data
    misses its patterns; a power over 1 was steadier there than 1. With `full_rate` all layers take
    full steps: few of a sparse code's entries add up.
    """
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for parameter in module.parameters():
        # The weights of a convolution have the shape (n_out, n_in, height, width).
        n_inputs = parameter.shape[1:].numel()
        factor = 1.0 if full_rate else min(1.0, FULL_RATE_INPUTS / n_inputs) ** RATE_POWER
        groups.setdefault(factor, []).append(parameter)
    by_factor = [{"params": members, "factor": factor} for factor, members in groups.items()]
    return torch.optim.Adam(by_factor, lr=1e-3, fused=True)


def iterate_epochs(
    module,
    objective,
    X,
    *,
    n_epochs,
    batch_size,
    learning_rate,
    generator,
    optimizer=None,
    span=(0.0, 1.0),
    position=None,
    ranks=ALONE,
):
    """Train, and yield the losses of each epoch.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place.

    objective : Objective
        Gives the loss of a batch.

    X : Batches or torch.Tensor of shape (n_samples, n_features)
        Centred and scaled samples, on the module's device.

    n_epochs : int
        Number of passes over the samples.

    batch_size : int
        Samples in each step; what is left of a pass is dropped, and another order is drawn.

    learning_rate : LearningRate
        The learning rate as a function of progress.

    generator : torch.Generator
        The source of order and noise, on the module's device.

    optimizer : torch.optim.Optimizer or None
        To go on with an optimizer's state.

    span : tuple of two floats, default=(0.0, 1.0)
        Progress at the first step and after the last, where these epochs are part of a longer
        schedule.

    position : Position or None, default=None
        Where to go on; None begins. It is moved as the training moves.

    ranks : Ranks, default=ALONE
        The processes that train together.

    Yields
    ------
    EpochLoss or None
        The losses after each epoch, and None after so many steps inside one.
    """
    optimizer = make_optimizer(module) if optimizer is None else optimizer
    position = Position() if position is None else position
    workspace = Workspace()
    batches = TensorBatches(X) if isinstance(X, torch.Tensor) else X
    batch_size = min(batch_size, len(X))
    n_steps = len(X) // batch_size
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    first, last = span

    def take_step(batch, progress, noise):
        loss = objective.loss(
            module, batch, progress=progress, generator=noise, workspace=workspace
        )
        # By hand: where steps are small, what zero_grad does besides is felt.
        for parameter in parameters:
            parameter.grad = None
        loss.total.backward()
        ranks.average(_shared(module, parameters, loss))
        if loss.seen is not None:
            objective.observe(loss.seen, n_samples=batch_size, progress=progress)
        objective.before_step(module)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate.at(progress) * group["factor"]
        optimizer.step()
        drawn = objective.after_step(module, optimizer, progress=progress, generator=noise)
        if drawn:
            ranks.take_from_first(parameters)
        return loss

    while position.epoch < n_epochs:
        coming = _batches_from(position, batches, batch_size, generator, ranks)
        noise = ranks.generator(generator)
        while position.step < n_steps:
            with suited_threads(module, batch_size):
                for batch in islice(coming, min(STRETCH, n_steps - position.step)):
                    done = (position.epoch + position.step / n_steps) / n_epochs
                    loss = take_step(batch, first + (last - first) * done, noise)
                    # Sums stay on the device: reading them would wait for it at every step.
                    position.error = position.error + loss.error
                    position.cost = position.cost + loss.cost
                    position.step += 1
            if position.step < n_steps:
                yield None
        sums = torch.stack([position.error, position.cost]).double()
        ranks.average([sums])
        error, cost = (sums / n_steps).tolist()
        position.epoch, position.step = position.epoch + 1, 0
        position.error = position.cost = 0.0
        yield EpochLoss(error, cost, objective.trade_off)


def _shared(module, parameters, loss):
    """Yield what is averaged over all processes: gradients, statistics, and what layers keep."""
    yield from (parameter.grad for parameter in parameters if parameter.grad is not None)
    yield from (buffer for buffer in module.buffers() if buffer.is_floating_point())
    if loss.seen is not None:
        yield loss.seen


def _batches_from(position, batches, batch_size, generator, ranks):
    """Return the batches of an epoch that are to come: all, or those after some steps."""
    if position.step == 0:
        position.order = generator.get_state()
        return batches.epoch(batch_size, generator, ranks)
    now = generator.get_state()
    generator.set_state(position.order.cpu())
    coming = batches.epoch(batch_size, generator, ranks)
    for _ in range(position.step):
        next(coming)
    generator.set_state(now)
    return coming
