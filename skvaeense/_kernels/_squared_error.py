"""The squared error of reconstructions."""

import torch

from skvaeense._kernels._tiles import tiles
from skvaeense._kernels._workspace import Workspace


def squared_error(
    x: torch.Tensor, reconstruction: torch.Tensor, *, workspace: Workspace
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the squared error of each sample, summed over the features, and the residuals.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Samples.

    reconstruction : torch.Tensor of shape (n_samples, n_features)
        What stands for them.

    workspace : Workspace
        Memory for residuals and their gradient.

    Returns
    -------
    error : torch.Tensor of shape (n_samples,)
        Squared errors.

    residual : torch.Tensor of shape (n_samples, n_features)
        ``x - reconstruction``, without a gradient.
    """
    error: torch.Tensor
    residual: torch.Tensor
    error, residual = _SquaredError.apply(x, reconstruction, workspace)
    return error, residual


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, reconstruction, workspace):
        residual = workspace.like(reconstruction, "residual")
        error = reconstruction.new_empty(len(reconstruction))
        for rows in tiles(reconstruction):
            part = torch.sub(x[rows], reconstruction[rows], out=residual[rows])
            error[rows] = part.square().sum(dim=1)
        ctx.mark_non_differentiable(residual)
        ctx.save_for_backward(residual)
        ctx.workspace = workspace
        return error, residual

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, error_grad, _):
        (residual,) = ctx.saved_tensors
        grad = ctx.workspace.like(residual, "residual_grad")
        return None, torch.mul(residual, -2 * error_grad[:, None], out=grad), None
