"""Codes with given supports: least squares on the open latents."""

import torch


def restricted_code(
    code: torch.Tensor,
    is_open: torch.Tensor,
    seen: torch.Tensor,
    weight: torch.Tensor,
    n_steps: int,
    *,
    positive: bool,
) -> torch.Tensor:
    """Return codes with the same open latents and smaller residuals.

    The residual is smallest where ``W_S'W_S e = seen_S`` for the open latents S of a sample.
    Conjugate gradient steps never increase it; each costs about as much as a look of an encoder. No
    step follows a difference of columns that is rounding alone: columns are learned in single
    precision.

    Parameters
    ----------
    code : torch.Tensor of shape (n_samples, n_components)
        Initial codes.

    is_open : torch.Tensor of bool of shape (n_samples, n_components)
        Mask of the open latents.

    seen : torch.Tensor of shape (n_samples, n_components)
        Inner products of the columns and the centred samples.

    weight : torch.Tensor of shape (n_features, n_components)
        Decoder columns W.

    n_steps : int
        Number of steps.

    positive : bool
        Whether entries that would not be positive keep their initial values.

    Returns
    -------
    torch.Tensor of shape (n_samples, n_components)
        The codes, exactly 0 where a latent is not open.
    """
    mask = is_open.to(code)
    gram = overlap(weight)
    # Exported models can hold constants in single precision.
    least, rounding = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).eps
    unit = 1 / weight.square().sum(dim=0).clamp_min(least)

    def system(e: torch.Tensor) -> torch.Tensor:
        product = e @ gram if gram is not None else (e @ weight.T) @ weight
        return product * mask

    # A negative number times 0 would be a negative 0.
    first = code = code.masked_fill(~is_open, 0.0)
    left = seen * mask - system(code)
    direction = unit * left
    size = torch.linalg.vecdot(left, direction)
    for _ in range(n_steps):
        image = system(direction)
        moved = torch.linalg.vecdot(direction, image)
        known = moved > rounding * torch.linalg.vecdot(direction, direction / unit)
        length = known * size / moved.clamp_min(least)
        code = torch.addcmul(code, length[:, None], direction)
        left = torch.addcmul(left, length[:, None], image, value=-1)
        last, size = size, torch.linalg.vecdot(left, unit * left)
        share = size / last.clamp_min(least)
        direction = torch.addcmul(unit * left, share[:, None], direction)
    return torch.where(code > 0, code, first) if positive else code


def overlap(weight: torch.Tensor) -> torch.Tensor | None:
    """Return the inner products of columns, if there are at most two columns for each feature.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_features, n_components)
        Columns.

    Returns
    -------
    torch.Tensor of shape (n_components, n_components) or None
        The inner products; None if two products with the columns are less work.
    """
    return weight.T @ weight if weight.shape[1] <= 2 * weight.shape[0] else None
