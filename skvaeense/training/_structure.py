"""Latents that the data suggests: independent components, or bases of subspaces."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils import check_random_state

from skvaeense.training._components import (
    active_scale,
    coactivity,
    independent_components,
    modes,
)
from skvaeense.training._spectrum import dimension_holding, signal_rank
from skvaeense.utils._principal import principal_directions

# Rows that the structure is computed from.
MAX_ROWS = 4096
# A row whose distance from the centre is more than this many times the median distance is left out.
FAR = 6.0
# More rows than this share are never left out.
MAX_FAR_SHARE = 0.05
# Contrasts of the candidates.
CONTRASTS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


@dataclass(frozen=True)
class Candidate:
    """One way to turn a structure into weights.

    Attributes
    ----------
    kind : {"grouped", "single", "open"}
        What opens a latent: its own component or one that is active together with it, its own
        component alone, or every sample.

    contrast : float
        How steeply a latent opens as its component leaves 0.
    """

    kind: str
    contrast: float = 0.0


@dataclass(frozen=True)
class Structure:
    """Independent components of the leading principal subspace, r of them in R^d.

    The components of x are ``S = encoder @ x - modes``, and x is about ``origin + S @ atoms``.

    Attributes
    ----------
    encoder : ndarray of shape (r, d)
        Rows that give the components.

    atoms : ndarray of shape (r, d)
        Direction of each component, its length included.

    modes : ndarray of shape (r,)
        Value of ``encoder @ x`` at which a component is inactive.

    origin : ndarray of shape (d,)
        Point at which all components are inactive.

    coactive : ndarray of bool of shape (r, r)
        Whether column j is nearly always active where row i is clearly active.

    location : ndarray of shape (d,)
        Mean of the rows that are not far away.

    directions : ndarray of shape (r, d)
        Principal directions.

    variances : ndarray of shape (r,)
        Variances along them.

    common_noise : float
        The noise level that was asked for.

    noise : float
        Noise level at which candidates are to be compared: `common_noise`, or more where the
        components leave more.

    seed : int
        Seed of the random weights that `install` leaves.
    """

    encoder: np.ndarray
    atoms: np.ndarray
    modes: np.ndarray
    origin: np.ndarray
    coactive: np.ndarray
    location: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    common_noise: float
    noise: float
    seed: int

    @property
    def rank(self) -> int:
        """Number of components."""
        return len(self.encoder)

    def candidates(self) -> list[Candidate]:
        """Return the candidates, of which the caller keeps the best."""
        kinds = ["grouped"] * (not np.array_equal(self.coactive, np.eye(self.rank))) + ["single"]
        return [Candidate(kind, c) for kind in kinds for c in CONTRASTS] + [Candidate("open")]

    def noise_of(self, candidate: Candidate) -> float:
        """Return the common noise level that training from a candidate is to use."""
        return self.common_noise if candidate.kind == "open" else self.noise


def find_structure(
    Z: torch.Tensor,
    n_components: int,
    linear_dimension: int,
    common_noise: float,
    random_state: int | np.random.RandomState,
    *,
    rotate: bool = True,
) -> Structure:
    """Compute initial latents from the data.

    Parameters
    ----------
    Z : tensor of shape (n_samples, n_features)
        Samples in random order, centred and scaled by one scalar. The first 4,096 are used.

    n_components : int
        Number of latents, of which the structure has at most as many.

    linear_dimension : int
        Number of principal components that hold 99 % of the variance.

    common_noise : float
        Noise variance at which the caller compares candidates.

    random_state : int or RandomState
        Seed or generator of the components' first guess and of the random weights.

    rotate : bool, default=True
        Whether to look for independent components; otherwise they are the principal ones.

    Returns
    -------
    Structure
        Finite in every entry, whatever the data.
    """
    rng = check_random_state(random_state)
    rows = Z[:MAX_ROWS].detach().cpu().double().numpy()
    typical = typical_rows(rows)
    location = rows[typical].mean(axis=0) if not typical.all() else rows.mean(axis=0)
    rows = rows[typical] - location
    variances, directions = principal_directions(rows)
    if not typical.all():
        linear_dimension = dimension_holding(variances, 0.99)
    rank = min(signal_rank(variances, linear_dimension), n_components)
    residual = max(float(variances[rank:].sum()), 0.0) / rows.shape[1]
    directions, variances = directions[:rank], variances[:rank]
    whitener = directions / np.sqrt(variances)[:, None]
    rotation = np.eye(rank)
    if rotate:
        rotation = independent_components((rows @ whitener.T).astype(np.float32), rng)
    S = rows @ (rotation @ whitener).T
    inactive = modes(S)
    S -= inactive
    scale = active_scale(S)
    S *= scale
    encoder = scale[:, None] * (rotation @ whitener)
    atoms = np.linalg.pinv(rotation * scale[:, None]).T @ (directions * np.sqrt(variances)[:, None])
    inactive = inactive * scale
    return Structure(
        encoder=encoder,
        atoms=atoms,
        modes=inactive + encoder @ location,
        origin=location + inactive @ atoms,
        coactive=coactivity(S),
        location=location,
        directions=directions,
        variances=variances,
        common_noise=common_noise,
        noise=max(common_noise, 1.2 * residual),
        seed=rng.randint(np.iinfo(np.int32).max),
    )


def typical_rows(rows: np.ndarray) -> np.ndarray:
    """Return which rows are not far away from most others.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
        Samples.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        False where a row is more than 6 times as far from the centre as the median row. All True
        where more than 5 % are, which are a part of the data, or where most rows are equal.
    """
    typical = np.ones(len(rows), dtype=bool)
    for _ in range(5):
        distance = np.linalg.norm(rows - rows[typical].mean(axis=0), axis=1)
        median = np.median(distance[typical])
        near = distance <= FAR * median if median > 0 else typical
        if np.array_equal(near, typical):
            return typical
        typical = near
        if typical.mean() < 1 - MAX_FAR_SHARE:
            return np.ones(len(rows), dtype=bool)
    return typical
