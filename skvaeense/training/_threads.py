"""How many of torch's threads a training uses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skvaeense.utils._threads import WORK_OF_A_THREAD, restored_threads


@contextmanager
def suited_threads(
    model: torch.nn.Module, n_samples: int, *, n_products: int = 3
) -> Iterator[None]:
    """Use no more threads inside than a model has work for.

    A matrix has three products in a step of training, and one where nothing is learned. What
    convolutions do is not known from their weights, and they are not limited.
    """
    with restored_threads() as n_threads:
        if all(parameter.ndim <= 2 for parameter in model.parameters()):
            n_weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
            wanted = max(1, n_products * n_weights * n_samples // WORK_OF_A_THREAD)
            torch.set_num_threads(min(wanted, n_threads))
        yield
