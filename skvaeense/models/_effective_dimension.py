"""How many directions columns span, and how evenly."""

import torch


def rank(gram: torch.Tensor, active: torch.Tensor, tol: float) -> torch.Tensor:
    """Return the rank of some of the columns of matrices, once these have unit length.

    Parameters
    ----------
    gram : torch.Tensor of shape (n_samples or 1, n_components, n_components)
        Inner products of the columns of each matrix, or of the one that all samples have.

    active : torch.Tensor of bool of shape (n_samples, n_components)
        Which columns take part. Those of zeros never do.

    tol : float
        Singular values at most this share of the largest are taken for 0.

    Returns
    -------
    torch.Tensor of int64 of shape (n_samples,)
        The ranks.
    """
    length = gram.diagonal(dim1=1, dim2=2).sqrt()
    active = active & (length > 0)
    counts = active.sum(dim=1)
    ranks = torch.zeros_like(counts)
    # Samples with as many columns have matrices of one size, which are decomposed at once.
    for count in counts[counts > 0].unique().tolist():
        rows = (counts == count).nonzero()
        columns = active[rows[:, 0]].nonzero()[:, 1].view(-1, count)
        which = rows if len(gram) > 1 else torch.zeros_like(rows)
        own = length[which, columns]
        inner = gram[which[:, :, None], columns[:, :, None], columns[:, None, :]]
        squares = torch.linalg.eigvalsh(inner / (own[:, :, None] * own[:, None, :]))
        ranks[rows[:, 0]] = (squares > tol**2 * squares[:, -1:]).sum(dim=1)
    return ranks


def participation_ratio(gram: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Return the participation ratio of the covariance of sums of independent columns.

    With variances v and columns J it is ``tr(C)^2 / tr(C^2)`` for ``C = J diag(v) J'``; no
    eigenvalues are needed for it.

    Parameters
    ----------
    gram : torch.Tensor of shape (n_samples or 1, n_components, n_components)
        Inner products of the columns of each matrix, or of the one that all samples have.

    variance : torch.Tensor of shape (n_samples, n_components)
        Variance that each column has as a factor.

    Returns
    -------
    torch.Tensor of shape (n_samples,)
        The ratios; 0 where nothing varies.
    """
    trace = (variance * gram.diagonal(dim1=1, dim2=2)).sum(dim=1)
    trace_of_square = ((variance[:, None] @ gram.square())[:, 0] * variance).sum(dim=1)
    return trace.square() / trace_of_square.where(trace_of_square > 0, 1.0)
