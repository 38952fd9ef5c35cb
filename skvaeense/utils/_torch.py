"""Seeded generators of torch, and evaluation mode of its modules."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from torch import nn

# One thread at a time may borrow torch's global generator.
_lock = Lock()


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new seeded generator; torch's global generator is left alone."""
    return torch.Generator(device=device).manual_seed(seed)


def draw_seed(random_state: np.random.RandomState) -> int:
    """Return a seed for torch, drawn from a numpy RandomState."""
    return int(random_state.randint(2**31 - 1))


def seed_from(generator: torch.Generator) -> int:
    """Return the seed that a generator would draw next; the generator does not change."""
    copy = generator.clone_state()
    return int(torch.randint(2**31 - 1, (), generator=copy, device=copy.device))


def restore_generator(generator: torch.Generator, state: torch.Tensor) -> None:
    """Let a generator continue from a state.

    Generators of different devices draw different numbers. The state of another kind of generator
    only seeds this one.
    """
    state = state.cpu()
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
    else:
        digest = hashlib.sha256(state.numpy().tobytes()).digest()
        generator.manual_seed(int.from_bytes(digest[:4], "little"))


@contextmanager
def fixed_global_generator(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's global generator from a copy of another one, and restore it afterwards.

    Layers of torch draw their weights from the global generator.
    """
    with _lock, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(generator))
        yield


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
