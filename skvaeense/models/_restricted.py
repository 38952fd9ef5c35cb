"""Codes of given supports: least squares on the latents that are open."""

import torch

from skvaeense.networks._mean_field import overlap


def restricted_code(
    code: torch.Tensor,
    is_open: torch.Tensor,
    seen: torch.Tensor,
    weight: torch.Tensor,
    ridge: torch.Tensor,
    n_steps: int,
) -> torch.Tensor:
    """Return codes that are nearer to the best ones with the same open latents.

    For the open latents S of a sample these solve ``(W_S'W_S + ridge_S) e = seen_S``. Conjugate
    gradient steps, each with as many products as a look of an encoder, never make it worse.

    Parameters
    ----------
    code : torch.Tensor of shape (n_samples, n_components)
        Where to start.

    is_open : torch.Tensor of bool of shape (n_samples, n_components)
        The open latents.

    seen : torch.Tensor of shape (n_samples, n_components)
        Right-hand sides.

    weight : torch.Tensor of shape (n_features, n_components)
        Decoder columns W.

    ridge : torch.Tensor of shape (n_components,)
        What is added to the diagonal.

    n_steps : int
        Number of steps.

    Returns
    -------
    torch.Tensor of shape (n_samples, n_components)
        The codes, exactly 0 where a latent is not open.
    """
    mask = is_open.to(code)
    gram = overlap(weight)
    unit = 1 / (weight.square().sum(dim=0) + ridge).clamp_min(torch.finfo(code.dtype).tiny)

    def system(e: torch.Tensor) -> torch.Tensor:
        product = e @ gram if gram is not None else (e @ weight.T) @ weight
        return (product + ridge * e) * mask

    code = code * mask
    left = seen * mask - system(code)
    direction = unit * left
    size = torch.linalg.vecdot(left, direction)
    least = torch.finfo(code.dtype).tiny
    for _ in range(n_steps):
        image = system(direction)
        length = size / torch.linalg.vecdot(direction, image).clamp_min(least)
        code = torch.addcmul(code, length[:, None], direction)
        left = torch.addcmul(left, length[:, None], image, value=-1)
        last, size = size, torch.linalg.vecdot(left, unit * left)
        share = size / last.clamp_min(least)
        direction = torch.addcmul(unit * left, share[:, None], direction)
    return code
