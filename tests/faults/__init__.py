"""Faults that are injected into trainings. Tests run them, and the guide lists them.

A fault is a function of a monkeypatch that makes something fail.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from skvaeense.samples._scaling import TensorBatches
from skvaeense.training._trainer import Trainer


class Fault(NamedTuple):
    """A fault: its description, the error that `fit` raises, and the message of the error.

    A fit with several inits survives a fault of one init, and raises no error.
    """

    what: str
    error: type[Exception]
    message: str
    of_one_init: bool
    inject: Callable


# Index of the faulty step among the steps of a trainer.
STEP = 7


def _in_a_step(monkeypatch, change, first_only=False):
    """Call `change(trainer, terms)` in a step of each trainer, or only for the first model.

    At this point terms and gradients are computed, and weights are not yet updated.
    """
    make, models = Trainer.__init__, []

    def make_faulty(self, model, loss, **settings):
        make(self, model, loss, **settings)
        models.append(model)
        compute, count = loss.gradient, itertools.count()

        def gradient(*batch):
            terms = compute(*batch)
            if next(count) == STEP and not (first_only and model is not models[0]):
                change(self, terms)
            return terms

        self.loss.gradient = gradient

    monkeypatch.setattr(Trainer, "__init__", make_faulty)


def nan_loss(monkeypatch, first_only=True):
    def change(trainer, terms):
        terms["loss"] = terms["loss"] * math.nan
        trainer.weights.grad *= math.nan

    _in_a_step(monkeypatch, change, first_only)


def nan_loss_everywhere(monkeypatch):
    nan_loss(monkeypatch, first_only=False)


def nan_gradients(monkeypatch):
    def change(trainer, terms):
        next(p for p in trainer.model.parameters() if p.ndim == 2).grad *= math.nan

    _in_a_step(monkeypatch, change, first_only=True)


def overflow(monkeypatch):
    def change(trainer, terms):
        trainer.weights.data *= 1e30

    _in_a_step(monkeypatch, change, first_only=True)


def raising(error):
    """Return a fault that raises an error in a step of each trainer."""

    def change(trainer, terms):
        raise error

    return lambda monkeypatch: _in_a_step(monkeypatch, change)


no_memory = raising(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 TB"))
no_memory_on_a_gpu = raising(torch.cuda.OutOfMemoryError("CUDA out of memory."))
other_error = raising(RuntimeError("something else"))


def unreadable_samples(monkeypatch):
    def fail(self, batch_size, generator):
        yield self.X[:batch_size]
        raise OSError("the disk is gone")

    monkeypatch.setattr(TensorBatches, "epoch", fail)


DIVERGED = "became NaN or infinite. Lower learning_rate_init"
NO_MEMORY = "need more memory than is available. Lower batch_size, n_components or the width"

FAULTS = (
    Fault("the loss of an init becomes NaN", FloatingPointError, DIVERGED, True, nan_loss),
    Fault("gradients of an init become NaN", FloatingPointError, DIVERGED, True, nan_gradients),
    Fault("weights of an init overflow", FloatingPointError, DIVERGED, True, overflow),
    Fault("every loss becomes NaN", FloatingPointError, DIVERGED, False, nan_loss_everywhere),
    Fault("memory is used up", MemoryError, NO_MEMORY, False, no_memory),
    Fault("memory of a GPU is used up", MemoryError, NO_MEMORY, False, no_memory_on_a_gpu),
    Fault("torch fails otherwise", RuntimeError, "something else", False, other_error),
    Fault("samples cannot be read", OSError, "the disk is gone", False, unreadable_samples),
)
