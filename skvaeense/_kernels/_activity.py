"""How often latents are active."""

import torch

from skvaeense._kernels._tiles import tiles


def count_active(code: torch.Tensor) -> torch.Tensor:
    """Return for how many samples each entry of the codes is not 0.

    Parameters
    ----------
    code : torch.Tensor of shape (n_samples, n_components)
        Codes, without a gradient.

    Returns
    -------
    torch.Tensor of shape (n_components,)
        The numbers, in the type of the codes.
    """
    counts = code.new_zeros(code.shape[1])
    for rows in tiles(code):
        part = code[rows]
        counts += torch.ne(part, 0, out=torch.empty_like(part)).sum(dim=0)
    return counts
