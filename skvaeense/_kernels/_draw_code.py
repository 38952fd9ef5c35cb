"""A draw of gated codes, with the divergence of the posterior."""

import torch

from skvaeense._kernels._tiles import tiles
from skvaeense._kernels._workspace import Workspace


def draw_code(
    mean: torch.Tensor,
    opening: torch.Tensor,
    eps: torch.Tensor,
    *,
    gated: bool,
    workspace: Workspace,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a draw of the codes, and the divergence of the posterior from the prior.

    With the variance ``s^2 = sigmoid(h)``, and the factor (1 - s) only if gated::

        e = (1 - s) (m + s eps)
        KL = sum_j (s_j^2 + m_j^2 - 1 - log s_j^2) / 2

    Parameters
    ----------
    mean, opening : torch.Tensor of shape (n_samples, n_components)
        The posterior mean m, and h.

    eps : torch.Tensor of shape (n_samples, n_components)
        Standard normal noise.

    gated : bool
        Whether codes are gated.

    workspace : Workspace
        Memory for the codes and for gradients.

    Returns
    -------
    code : torch.Tensor of shape (n_samples, n_components)
        Codes.

    kl : torch.Tensor of shape (n_samples,)
        Divergence in nats.
    """
    code: torch.Tensor
    kl: torch.Tensor
    code, kl = _DrawCode.apply(mean, opening, eps, gated, workspace)
    return code, kl


class _DrawCode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mean, opening, eps, gated, workspace):
        # The gate 1 - s is kept beside s: near 0 it could not be told from s.
        code, deviation, gate = (
            workspace.like(mean, name) for name in ("code", "deviation", "gate")
        )
        kl, least = mean.new_empty(len(mean)), torch.finfo(mean.dtype).tiny
        # Sums of short rows take half the time as a product.
        ones = mean.new_ones(mean.shape[1])
        for rows in tiles(mean):
            m, h, s, g = mean[rows], opening[rows], deviation[rows], gate[rows]
            variance = torch.sigmoid(h).clamp_min_(least)
            torch.mv(torch.addcmul(variance, m, m).sub_(variance.log()), ones, out=kl[rows])
            torch.sqrt(variance, out=s)
            torch.div(torch.sigmoid(-h), s + 1, out=g)
            z = torch.addcmul(m, s, eps[rows], out=code[rows])
            if gated:
                z.mul_(g)
        ctx.save_for_backward(mean, deviation, gate, eps)
        ctx.gated, ctx.workspace = gated, workspace
        return code, kl.sub_(mean.shape[1]).mul_(0.5)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, code_grad, kl_grad):
        mean, deviation, gate, eps = ctx.saved_tensors
        mean_grad, opening_grad = (
            ctx.workspace.like(mean, name) for name in ("mean_grad", "opening_grad")
        )
        for rows in tiles(mean):
            m, s, g, e = mean[rows], deviation[rows], gate[rows], eps[rows]
            by_code, by_kl = code_grad[rows], kl_grad[rows, None]
            by_mean = torch.mul(m, by_kl, out=mean_grad[rows])
            if ctx.gated:
                by_mean.addcmul_(by_code, g)
                by_deviation = torch.addcmul(e, e, s, value=-2).sub_(m).mul_(by_code)
            else:
                by_mean.add_(by_code)
                by_deviation = e * by_code
            # 1 - s^2. With it ds/dh = s (1 - s^2) / 2 and dKL/dh = -(1 - s^2)^2 / 2.
            closedness = torch.addcmul(g, g, s).mul_(0.5)
            by_opening = by_deviation.mul_(s).addcmul_(closedness, by_kl, value=-2)
            torch.mul(by_opening, closedness, out=opening_grad[rows])
        return mean_grad, opening_grad, None, None, None
