"""Processes that train one model together, by torch.distributed."""

import atexit
import multiprocessing
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed

# Variables that torchrun sets in the environment of each process that it starts.
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

Value = TypeVar("Value")
# The process that has loaded this module. A fork has a copy of its group, and must not use it.
_process_id = os.getpid()


@dataclass(frozen=True)
class Processes:
    """The processes that train together, and the index of this process.

    Each process has the same model and all samples, and takes its part of every batch. With a
    single process nothing is sent, and nothing changes.

    Attributes
    ----------
    world_size : int
        Number of processes.

    rank : int
        Index of this process, from 0. The first process decides, reports and writes.
    """

    world_size: int = 1
    rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that decides."""
        return self.rank == 0

    def part(self, batch: Any) -> Any:
        """Return the rows of a batch that this process takes, as many as every other one."""
        n_rows = len(batch) // self.world_size
        return batch[self.rank * n_rows :][:n_rows]

    @torch.no_grad()
    def all_reduce_mean(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace tensors by their means over all processes."""
        if self.world_size == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.world_size
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def from_first(self, value: Value) -> Value:
        """Return the value of the first process, such as a number or a random state."""
        shared = [value]
        if self.world_size > 1:
            distributed.broadcast_object_list(shared)
        return shared[0]

    def check_equal(self, value: object, message: str) -> None:
        """Raise a ValueError in all processes if values differ between processes."""
        values: list[object] = [value] * self.world_size
        if self.world_size > 1:
            distributed.all_gather_object(values, value)
        if values.count(value) < self.world_size:
            raise ValueError(message)


SINGLE_PROCESS = Processes()


def find_processes() -> Processes:
    """Return the processes of the current group, or of the group that torchrun has started.

    Child processes, such as the workers of joblib, train alone.
    """
    if not distributed.is_available() or os.getpid() != _process_id:
        return SINGLE_PROCESS
    if not distributed.is_initialized():
        if (
            not os.environ.keys() >= set(TORCHRUN)
            or int(os.environ["WORLD_SIZE"]) <= 1
            or multiprocessing.parent_process() is not None
        ):
            return SINGLE_PROCESS
        # Functions of torch.distributed.nn keep the group at import as their default for ever. A
        # group that is never destroyed has threads when Python ends, and Python can then abort.
        import torch.distributed.nn

        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
            distributed.init_process_group("nccl")
        else:
            distributed.init_process_group("gloo")
        atexit.register(distributed.destroy_process_group)
    return Processes(distributed.get_world_size(), distributed.get_rank())
