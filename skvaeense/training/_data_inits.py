"""Initial weights computed from the data, for the gated model with a linear decoder.

Independent components of the leading principal subspace are the latents; which of them are active
together says when each is to open. `find_structure` computes them, `install` writes them into a
network, and `learning_rates` says how fast each weight may then learn. Of the few candidates, the
caller keeps the one whose held-out bound is best at one common noise level.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn
from torch.nn import functional

from skvaeense.training._components import (
    active_scale,
    coactivity,
    independent_components,
    modes,
    non_gaussianity,
)
from skvaeense.training._noise import selection_loss, validation_terms
from skvaeense.training._spectrum import dimension_holding, principal_directions, signal_rank

# Rows that the structure is computed from.
MAX_ROWS = 4096
# A row whose distance from the centre is more than this many times the median distance is left out.
FAR = 6.0
# More rows than this share are never left out.
MAX_FAR_SHARE = 0.05
# Contrasts of the candidates: how steeply a latent opens as its component leaves 0.
CONTRASTS = (10.0, 30.0, 100.0, 300.0)
# The steepest first layer. What is missing to the contrast, the second layer adds.
MAX_SLOPE = 60.0
# By how much per feature a candidate has to be better than principal directions, always open.
CLEAR_GAIN = 0.25
# Mean absolute excess kurtosis under which components count as normal.
GAUSSIAN = 0.5
# Gate logit of a latent that is closed for a sample, and of one that is closed for all.
CLOSED = 6.0
# Shares of random weights that stay, so that units which start with no task can differ.
HIDDEN_SHARE = 0.1
SPARE_DECODER_SHARE = 0.05
SPARE_ENCODER_SHARE = 0.03


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

    non_gaussianity : float
        Mean absolute excess kurtosis of the components.

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
    non_gaussianity: float
    seed: int

    @property
    def is_gaussian(self) -> bool:
        """Whether the components are about normal, so that there are none to be told apart."""
        return self.non_gaussianity < GAUSSIAN

    @property
    def rank(self) -> int:
        """Number of components."""
        return len(self.variances)

    def candidates(self) -> list[Candidate]:
        """Return the candidates, of which the caller keeps the best."""
        kinds = ["grouped"] * (not np.array_equal(self.coactive, np.eye(self.rank))) + ["single"]
        return [Candidate(kind, c) for kind in kinds for c in CONTRASTS] + [Candidate("open")]

    def noise_of(self, candidate: Candidate) -> float:
        """Return the common noise level that training from a candidate is to use."""
        return self.common_noise if candidate.kind == "open" else self.noise


def best_candidate(bounds: dict[Candidate, float], n_features: int) -> Candidate:
    """Return the candidate to train.

    Parameters
    ----------
    bounds : dict of Candidate to float
        Held-out -2 ELBO of each candidate, all at the noise level `Structure.noise`.

    n_features : int
        Number of features.

    Returns
    -------
    Candidate
        The least of the bounds, or the open one where no other is clearly better.
    """
    best = min(bounds, key=lambda candidate: bounds[candidate])
    plain = next((c for c in bounds if c.kind == "open"), best)
    return best if bounds[best] < bounds[plain] - CLEAR_GAIN * n_features else plain


@torch.no_grad()
def install_best(model: Any, structure: "Structure", valid: torch.Tensor) -> Candidate:
    """Install the candidate whose held-out bound is best at one common noise level, and return it.

    Parameters
    ----------
    model : VAE
        Its network is written to, in place.

    structure : Structure
        What `find_structure` returned.

    valid : tensor of shape (n_samples, n_features)
        Held-out samples.

    Returns
    -------
    Candidate
        The one that is installed.
    """
    bounds, n_features = {}, valid.shape[1]
    for candidate in structure.candidates():
        install(model.network, structure, candidate)
        terms = validation_terms(model, valid)
        bounds[candidate] = selection_loss(terms, structure.noise, structure.noise, n_features)
    best = best_candidate(bounds, n_features)
    install(model.network, structure, best)
    return best


def find_structure(
    Z: torch.Tensor,
    n_components: int,
    linear_dimension: int,
    common_noise: float,
    random_state: int | np.random.RandomState,
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
        non_gaussianity=non_gaussianity(S),
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


class _Layers(NamedTuple):
    """The linear layers of a network."""

    first: Any
    second: Any
    heads: Any
    decoder: Any

    @classmethod
    def of(cls, network: Any) -> "_Layers":
        """Return the layers of a network with two hidden ones."""
        first, second = network.layers
        return cls(first, second, network.heads, network.decoder)


@torch.no_grad()
def install(network: nn.Module, structure: Structure, candidate: Candidate) -> None:
    """Write initial weights into a network, in place.

    All weights are written, so that candidates can be installed one after the other. Spare latents
    are closed and, as hidden units without a task, keep small random weights.

    Parameters
    ----------
    network : module
        A DenseAutoencoder with two hidden layers, a linear decoder, and a shortcut to the mean.

    structure : Structure
        What `find_structure` returned.

    candidate : Candidate
        One of its candidates.

    Notes
    -----
    The gate logit of latent j is ``t - clamp(c sum_i R_ij |S_i|, 0, t + L_j)``, with c the
    contrast, R the coactivity and t the logit of a closed latent. L_j = log(1 + |D_j|² / noise) is
    the precision of an open one. The first layer holds |S_i| as a pair of units, the second the
    two ends of the clamp. Latents for which the layers are too narrow are open for all samples.
    """
    _randomise(network, structure.seed)
    is_open = candidate.kind == "open"
    encoder, atoms, modes, origin = (
        (*_open_code(structure), structure.location)
        if is_open
        else (structure.encoder, structure.atoms, structure.modes, structure.origin)
    )
    layers = _Layers.of(network)
    first, heads, decoder = layers.first, layers.heads, layers.decoder
    n_latents, rank = decoder.in_features, structure.rank
    width = first.out_features - n_latents
    first.weight[width:].mul_(SPARE_ENCODER_SHARE)
    _write(first.weight[width : width + rank], encoder)
    decoder.weight.mul_(SPARE_DECODER_SHARE)
    _write(decoder.weight[:, :rank], atoms.T)
    _write(decoder.bias, origin)
    heads.weight[:n_latents] = 0
    heads.weight[n_latents:].mul_(HIDDEN_SHARE**2)
    _write(heads.bias[:rank], -modes)
    heads.bias[n_latents:] = CLOSED
    precision = np.log1p(np.square(atoms).sum(axis=1) / structure.noise_of(candidate))
    _write(heads.bias[n_latents : n_latents + rank], -precision)
    if not is_open:
        _write_gates(layers, structure, candidate, precision)


def _write_gates(
    layers: _Layers, structure: Structure, candidate: Candidate, precision: np.ndarray
) -> None:
    """Let latents open and close with their components, as far as the layers are wide enough."""
    first, second, heads, _ = layers
    n_latents = heads.out_features // 2
    n_in = min(structure.rank, second.in_features // 2)
    n_out = min(n_in, second.out_features // 2)
    slope = min(candidate.contrast, MAX_SLOPE)
    for units, sign in ((slice(n_in), slope), (slice(n_in, 2 * n_in), -slope)):
        _write(first.weight[units], sign * structure.encoder[:n_in])
        _write(first.bias[units], -sign * structure.modes[:n_in])
    second.weight[:, : 2 * n_in].mul_(HIDDEN_SHARE / slope)
    second.weight[: 2 * n_out] = 0
    opens = structure.coactive if candidate.kind == "grouped" else np.eye(structure.rank)
    weights = candidate.contrast / slope * opens[:n_in, :n_out].T
    _write(second.weight[: 2 * n_out, : 2 * n_in], np.tile(weights, (2, 2)))
    second.bias[: 2 * n_out] = 0
    _write(second.bias[n_out : 2 * n_out], -(CLOSED + precision[:n_out]))
    heads.weight[:, : 2 * n_out] = 0
    latents = torch.arange(n_out)
    heads.weight[n_latents + latents, latents] = -1.0
    heads.weight[n_latents + latents, n_out + latents] = 1.0
    heads.bias[n_latents : n_latents + n_out] = CLOSED


def _open_code(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return encoder, atoms and modes of the principal directions."""
    scale = np.sqrt(structure.variances)[:, None]
    encoder = structure.directions / scale
    return encoder, structure.directions * scale, encoder @ structure.location


def _randomise(network: nn.Module, seed: int) -> None:
    """Draw weights uniformly within 1 / sqrt(inputs), and set biases to 0."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        draws = torch.zeros(parameter.shape)
        if parameter.ndim == 2:
            draws.uniform_(-1, 1, generator=generator).div_(math.sqrt(parameter.shape[1]))
        parameter.copy_(draws)


def _write(target: torch.Tensor, values: np.ndarray) -> None:
    """Copy values into a slice of a parameter, whatever its dtype and device."""
    target.copy_(torch.from_numpy(np.ascontiguousarray(values)))


@torch.no_grad()
def learning_rates(network: nn.Module, x: torch.Tensor) -> dict[nn.Parameter, float | torch.Tensor]:
    """Return by which factor the learning rate of each weight is to be multiplied.

    Adam moves every weight by about the learning rate. On weights from `install` that would be a
    leap wherever a unit's inputs are large, so that a weight's rate falls with the size of its
    input, and a first-layer weight's with what its unit moves in the second layer.

    Parameters
    ----------
    network : module
        As in `install`.

    x : tensor of shape (n_samples, n_features)
        Samples as the network sees them.

    Returns
    -------
    dict of parameter to tensor
        Factors in (0, 1] that broadcast to their parameter; those that are left out have 1.
    """
    first, second, heads, decoder = _Layers.of(network)
    width = first.out_features - decoder.in_features
    inner = functional.silu(first(x)[:, :width])
    outer = functional.silu(second(inner))
    moves = second.weight.abs().sum(dim=0) / math.sqrt(second.out_features)
    units = torch.cat([1 / (1 + moves), moves.new_ones(decoder.in_features)])
    rates: dict[nn.Parameter, float | torch.Tensor] = {
        first.weight: units[:, None],
        first.bias: units,
        second.weight: 1 / (1 + inner.square().mean(dim=0).sqrt()),
        heads.weight: 1 / (1 + outer.square().mean(dim=0).sqrt()),
    }
    return rates
