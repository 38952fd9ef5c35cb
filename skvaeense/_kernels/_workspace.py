"""Memory that is used again at every step."""

import torch


class Workspace:
    """Hold tensors by name, and give the same memory again where shape and type are the same.

    New memory of some megabytes costs more than what is computed in it: the system clears it page
    by page. What a tensor holds is lost when its name is asked for again, so one step may ask once.
    """

    def __init__(self) -> None:
        self._tensors: dict[str, torch.Tensor] = {}

    def like(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        """Return memory of the shape, type and device of a tensor, contiguous, holding anything."""
        return self.empty(tuple(tensor.shape), tensor, name)

    def empty(self, shape: tuple[int, ...], tensor: torch.Tensor, name: str) -> torch.Tensor:
        """Return memory of a shape, with the type and device of a tensor."""
        kept = self._tensors.get(name)
        wanted = shape, tensor.dtype, tensor.device
        if kept is None or (tuple(kept.shape), kept.dtype, kept.device) != wanted:
            kept = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
            self._tensors[name] = kept
        # Another tensor with this memory: autograd may make it part of a graph.
        return kept.detach()
