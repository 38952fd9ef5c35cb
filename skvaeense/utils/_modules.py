"""Evaluation mode of torch modules."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Compute in evaluation mode without gradients, then restore the modes of all submodules."""
    training = [own for own in module.modules() if own.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for own in training:
            own.training = True
