"""The number of directions that columns span, and how evenly columns span them."""

import torch


def rank(gram: torch.Tensor, active: torch.Tensor, tol: float) -> torch.Tensor:
    """Return the rank of the active columns of matrices, scaled to unit length.

    Parameters
    ----------
    gram : torch.Tensor of shape (n_samples or 1, n_components, n_components)
        Inner products of the columns of each matrix, or of one matrix for all samples.

    active : torch.Tensor of bool of shape (n_samples, n_components)
        Mask of the active columns. Columns of zeros do not count.

    tol : float
        Singular values of at most this share of the largest count as 0.

    Returns
    -------
    torch.Tensor of int64 of shape (n_samples,)
        The ranks.
    """
    length = gram.diagonal(dim1=1, dim2=2).sqrt()
    active = active & (length > 0)
    counts = active.sum(dim=1)
    ranks = torch.zeros_like(counts)
    # Samples with the same number of columns have matrices of one size, decomposed together.
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

    With variances v and columns J, the ratio is ``tr(C)^2 / tr(C^2)`` for ``C = J diag(v) J'``. It
    needs no eigenvalues.

    Parameters
    ----------
    gram : torch.Tensor of shape (n_samples or 1, n_components, n_components)
        Inner products of the columns of each matrix, or of one matrix for all samples.

    variance : torch.Tensor of shape (n_samples, n_components)
        Variance of the factor of each column.

    Returns
    -------
    torch.Tensor of shape (n_samples,)
        The ratios; 0 where nothing varies.
    """
    trace = (variance * gram.diagonal(dim1=1, dim2=2)).sum(dim=1)
    trace_of_square = ((variance[:, None] @ gram.square())[:, 0] * variance).sum(dim=1)
    return trace.square() / trace_of_square.where(trace_of_square > 0, 1.0)
