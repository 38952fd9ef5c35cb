"""The dimension of samples from a score: what a learned and an exact score are asked alike.

A score is given as the noise that it predicts: for samples z = x + t e with standard normal e and
a fixed level t, `noise(z)` is the expectation of e for given z, which is -t times the gradient of
the log-density of z.
"""

import math

import torch

# Up to this many features the trace of the Jacobian is exact; beyond, so many random probes
# estimate it.
MAX_EXACT, N_PROBES = 64, 32


def trace_probes(n_features, generator):
    """Return vectors v with sum_v v' A v = tr A for every A, or on average where they are fewer.

    These are the unit vectors, shape (n_features, n_features), or for many features random signs,
    shape (N_PROBES, n_features).
    """
    if n_features <= MAX_EXACT:
        return torch.eye(n_features, dtype=torch.float64)
    signs = torch.randint(2, (N_PROBES, n_features), generator=generator, dtype=torch.float64)
    return (2 * signs - 1) / math.sqrt(N_PROBES)


def perturbation_directions(n_features, generator):
    """Return the corners of a regular simplex, as far out as noise typically is.

    Their shape is (n_features + 1, n_features), and they are turned at random. They stand for
    draws of noise: their mean is exactly 0, and their covariance the identity. The spread of draws
    would widen the spectrum.
    """
    n_corners = n_features + 1
    # An orthonormal basis of what is orthogonal to the ones; its rows are the corners.
    normal = torch.randn((n_corners, n_corners), generator=generator, dtype=torch.float64)
    normal[:, 0] = 1.0
    return math.sqrt(n_corners) * torch.linalg.qr(normal).Q[:, 1:]


def flipd(noise, x, level, probes):
    """Return the dimension by how the noisy density falls as the noise grows.

    Near a manifold of dimension d in D features the density of x + t e is about t^(d - D) for
    small t. Since the noisy density p_t obeys the heat equation, the slope of its logarithm over
    log t is t^2 (tr grad s + |s|^2), with the score s = grad log p_t = -noise / t. So::

        d = D + t^2 (tr grad s(x) + |s(x)|^2) = D - t tr grad noise(x) + |noise(x)|^2

    This is FLIPD of Kamkari et al. (arXiv:2406.03537) for a process that adds noise and does not
    shrink samples.

    Parameters
    ----------
    noise : callable
        From samples to the noise that is predicted in them, both of shape (n, n_features).

    x : torch.Tensor of shape (n_samples, n_features)
        Samples without noise.

    level : float
        Standard deviation t of the noise.

    probes : torch.Tensor of shape (n_probes, n_features)
        As `trace_probes` returns them.

    Returns
    -------
    torch.Tensor of shape (n_samples,)
        The dimensions.
    """
    predicted, pull_back = torch.func.vjp(noise, x)[:2]
    (rows,) = torch.func.vmap(pull_back)(probes[:, None].expand(-1, *x.shape))
    trace = torch.einsum("knd,kd->n", rows, probes)
    return x.shape[1] - level * trace + predicted.square().sum(dim=1)


def normal_bundle(noise, x, level, directions):
    """Return the dimension by how many directions the score does not point in.

    Around a sample on a manifold the score of the noisy density points back to the manifold, so
    the scores at many perturbations of a sample span its normal space. Their matrix has D - d
    large singular values and d small ones. In units of the noise that was added, a singular value
    is 1 in a normal direction and 0 in a tangent direction, and the dimension is the number of
    singular values below the largest gap. The bounds 1 and 0 belong to the spectrum, so that the
    dimension can be D or 0; what a crooked manifold has above 1 counts as 1. The mean of the
    scores is taken off first: it points to where samples are denser, along the manifold.

    This is the estimator of Stanczuk et al. (arXiv:2212.12611); the bounds, the mean and the
    regular perturbations are ours.

    Parameters
    ----------
    noise : callable
        From samples to the noise that is predicted in them, both of shape (n, n_features).

    x : torch.Tensor of shape (n_samples, n_features)
        Samples without noise.

    level : float
        Standard deviation of the noise.

    directions : torch.Tensor of shape (n_directions, n_features)
        As `perturbation_directions` returns them, the same for every sample.

    Returns
    -------
    torch.Tensor of shape (n_samples,)
        The dimensions, whole numbers; NaN where scores are beyond the precision of x.
    """
    n_samples, n_features = x.shape
    perturbed = x[:, None] + level * directions
    scores = noise(perturbed.reshape(-1, n_features)).reshape(perturbed.shape)
    scores = scores - scores.mean(dim=1, keepdim=True)
    # No eigenvalues can be had of what is not finite.
    known = scores.isfinite().all(dim=2).all(dim=1)
    scores = scores.where(known[:, None, None], 0)
    # Far from the data scores can be so large that their squares overflow.
    size = scores.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1.0)
    scores = scores / size
    # The eigenvalues of the covariance are the squares of the singular values.
    covariance = scores.transpose(1, 2) @ scores / len(directions)
    values = torch.linalg.eigvalsh(covariance).clamp_min(0).sqrt() * size[:, 0]
    values = values.clamp_max(1)
    bounds = values.new_zeros(n_samples, 1), values.new_ones(n_samples, 1)
    spectrum = torch.cat([bounds[0], values, bounds[1]], dim=1)
    dimension = spectrum.diff(dim=1).argmax(dim=1).to(x.dtype)
    return dimension.where(known, math.nan)
