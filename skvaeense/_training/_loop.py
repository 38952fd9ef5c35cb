"""The loop: epochs of Adam steps on shuffled mini-batches."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from skvaeense._kernels import Workspace
from skvaeense._training._batches import TensorBatches
from skvaeense._training._threads import suited_threads


class EpochLoss(NamedTuple):
    """Means over one epoch, in units of the scaled data."""

    error: float
    cost: float
    trade_off: float


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

    Yields
    ------
    EpochLoss
        After each epoch.
    """
    optimizer = make_optimizer(module) if optimizer is None else optimizer
    workspace = Workspace()
    batches = TensorBatches(X) if isinstance(X, torch.Tensor) else X
    batch_size = min(batch_size, len(X))
    n_steps = len(X) // batch_size
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    first, last = span

    def take_step(batch, progress):
        loss = objective.loss(
            module, batch, progress=progress, generator=generator, workspace=workspace
        )
        # By hand: where steps are small, what zero_grad does besides is felt.
        for parameter in parameters:
            parameter.grad = None
        loss.total.backward()
        objective.before_step(module)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate.at(progress) * group["factor"]
        optimizer.step()
        objective.after_step(module, optimizer, progress=progress, generator=generator)
        return loss

    for epoch in range(n_epochs):
        with suited_threads(module, batch_size):
            # Sums stay on the device: reading them would wait for it at every step.
            error, cost = 0.0, 0.0
            for step, batch in enumerate(batches.epoch(batch_size, generator)):
                done = (epoch + step / n_steps) / n_epochs
                loss = take_step(batch, first + (last - first) * done)
                error += loss.error
                cost += loss.cost
        yield EpochLoss(float(error) / n_steps, float(cost) / n_steps, objective.trade_off)
