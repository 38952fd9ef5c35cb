"""The auxiliary loss, which trains dead latents on what the others leave."""

from typing import Any

import torch

from skvaeense.utils._kept_entries import keep_largest

# Its weight, where the loss is a fraction of the variance.
AUXILIARY_WEIGHT = 1 / 32


def auxiliary_loss(model: Any, preactivation: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """Return the error of the residual's reconstruction from dead latents alone.

    As many of them as half the number of features are used for each sample, those of the largest
    pre-activations.

    Parameters
    ----------
    model : SparseCoder
        The model, with the indices of its dead latents.

    preactivation : torch.Tensor of shape (n_samples, n_dead)
        Pre-activations of the dead latents.

    residual : torch.Tensor of shape (n_samples, n_features)
        What the other latents leave of the samples.

    Returns
    -------
    torch.Tensor without dimensions
        Fraction of the residual's mean square that is left.
    """
    residual, dead = residual.detach(), model.dead_latents
    code = preactivation.relu() if model.positive else preactivation
    n_used = max(1, residual.shape[1] // 2)
    if n_used < len(dead):
        code = keep_largest(code, n_used, positive=model.positive)
    decoder = model.linear_decoder
    if decoder is not None:
        explained = code @ decoder.weight[:, dead].T
    else:
        whole = code.new_zeros((len(code), model.n_components)).index_copy(1, dead, code)
        explained = model.decode(whole) - model.decode(torch.zeros_like(whole[:1]))
    left = residual - explained
    return left.square().sum() / residual.square().sum().clamp_min(1e-30)
