"""Faults that are injected into trainings, each in a few lines: the tests run them, and the guide
lists them.

A fault is a function of a monkeypatch that makes something fail.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from skvaeense.training import _batches, _loop, _run


class Fault(NamedTuple):
    """What goes wrong, the error that `fit` raises, and what its message says.

    A fit with several starts survives a fault of one start: it raises nothing then.
    """

    what: str
    error: type[Exception]
    message: str
    of_one_start: bool
    inject: Callable


# The step in which something happens, of those of one run.
STEP = 7


def _steps(monkeypatch, change):
    """Call `change(module, loss, step)` in each step of each run, before gradients are taken."""
    epochs = _loop.iterate_epochs

    def changed(module, objective, X, **settings):
        loss, count = objective.loss, iter(range(10**9))

        def spoilt(*arguments, **details):
            return change(module, loss(*arguments, **details), next(count))

        objective.loss = spoilt
        try:
            yield from epochs(module, objective, X, **settings)
        finally:
            del objective.loss

    monkeypatch.setattr(_run, "iterate_epochs", changed)


def _first_run_only(change):
    """Return a change that only the first run meets."""
    met = []

    def of_first(module, loss, step):
        if not met:
            met.append(module)
        return change(module, loss, step) if met[0] is module else loss

    return of_first


def nan_loss(monkeypatch, wrap=_first_run_only):
    def change(module, loss, step):
        return loss._replace(total=loss.total * math.nan) if step == STEP else loss

    _steps(monkeypatch, wrap(change))


def nan_gradients(monkeypatch):
    def change(module, loss, step):
        if step == STEP:
            weight = next(p for p in module.parameters() if p.ndim == 2)
            weight.register_hook(lambda gradient: gradient * math.nan)
        return loss

    _steps(monkeypatch, _first_run_only(change))


def overflow(monkeypatch):
    def change(module, loss, step):
        if step == STEP:
            for parameter in module.parameters():
                parameter.data *= 1e30
        return loss

    _steps(monkeypatch, _first_run_only(change))


def nan_loss_everywhere(monkeypatch):
    nan_loss(monkeypatch, wrap=lambda change: change)


def raising(error):
    """Return a fault that raises an error in a step of each run."""

    def inject(monkeypatch):
        def change(module, loss, step):
            if step == STEP:
                raise error
            return loss

        _steps(monkeypatch, change)

    return inject


no_memory = raising(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 TB"))
no_memory_on_a_gpu = raising(torch.cuda.OutOfMemoryError("CUDA out of memory."))
other_error = raising(RuntimeError("something else"))


def unreadable_samples(monkeypatch):
    def fail(self, batch_size, generator, ranks=None):
        yield self.X[:batch_size]
        raise OSError("the disk is gone")

    monkeypatch.setattr(_batches.TensorBatches, "epoch", fail)


DIVERGED = "became NaN or infinite. Lower learning_rate_init"
NO_MEMORY = "takes more memory than there is. Lower batch_size, n_components or the width"

FAULTS = (
    Fault("the loss of a start becomes NaN", FloatingPointError, DIVERGED, True, nan_loss),
    Fault("gradients of a start become NaN", FloatingPointError, DIVERGED, True, nan_gradients),
    Fault("weights of a start overflow", FloatingPointError, DIVERGED, True, overflow),
    Fault("every loss becomes NaN", FloatingPointError, DIVERGED, False, nan_loss_everywhere),
    Fault("memory is used up", MemoryError, NO_MEMORY, False, no_memory),
    Fault("memory of a GPU is used up", MemoryError, NO_MEMORY, False, no_memory_on_a_gpu),
    Fault("torch fails otherwise", RuntimeError, "something else", False, other_error),
    Fault("samples cannot be read", OSError, "the disk is gone", False, unreadable_samples),
)
