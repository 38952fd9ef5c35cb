"""Initial weights computed from the data, for the gated model with a linear decoder.

Independent components of the leading principal subspace are the latents; which of them are active
together says when each is to open. `find_structure` computes them, `install` writes them into a
network, and `learning_rates` says how fast each weight may then learn. Of the few candidates, the
caller keeps the one whose held-out bound is best at one common noise level.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from skvaeense.training._structure import (
    Candidate,
    Structure,
    find_dictionary_structure,
    find_structure,
    find_subspace_structure,
    typical_rows,
)

__all__ = [
    "Candidate",
    "Structure",
    "best_candidate",
    "find_dictionary_structure",
    "find_structure",
    "find_subspace_structure",
    "install",
    "learning_rates",
    "typical_rows",
]

# The steepest first layer. What is missing to the contrast, the second layer adds.
MAX_SLOPE = 60.0
# By how much per feature a candidate has to be better than principal directions, always open.
CLEAR_GAIN = 0.25
# Gate logit of a latent that is closed for a sample, and of one that is closed for all.
CLOSED = 6.0
# Shares of random weights that stay, so that units which start with no task can differ.
HIDDEN_SHARE = 0.1
SPARE_DECODER_SHARE = 0.05
SPARE_ENCODER_SHARE = 0.03


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


class _Layers(NamedTuple):
    """The linear layers of a network."""

    first: nn.Linear
    second: nn.Linear
    heads: nn.Linear
    decoder: nn.Linear

    @classmethod
    def of(cls, network: nn.Module) -> "_Layers":
        """Return the layers of a network by their names."""
        return cls(*(getattr(network, name) for name in cls._fields))


@torch.no_grad()
def install(network: nn.Module, structure: Structure, candidate: Candidate) -> None:
    """Write initial weights into a network, in place.

    All weights are written, so that candidates can be installed one after the other. Spare latents
    are closed and, as hidden units without a task, keep small random weights.

    Parameters
    ----------
    network : module
        Its linear layers are `first` (hidden units, then the shortcut of the mean), `second`,
        `heads` (mean, then gate logit) and `decoder`, with SiLU after the first two.

    structure : Structure
        What `find_structure` returned.

    candidate : Candidate
        One of its candidates.

    Notes
    -----
    The gate logit of latent j is ``t - clamp(c sum_i R_ij |S_i|, 0, t + L_j)``, with c the
    contrast, R the coactivity and t the logit of a closed latent. L_j = log(1 + |D_j|² / noise) is
    the precision of an open one. Latents of a subspace have the logit
    ``clamp(c (sum_q |n_q'x| - level), 0, t + L) - L_j``, with n_q some of the subspace's normals.
    The first layer holds each absolute value as a pair of units, the second the two ends of the
    clamp. Latents for which the layers are too narrow are open for all samples.
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
    n_latents, rank = decoder.in_features, len(encoder)
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
    if candidate.kind == "subspaces":
        _write_subspace_gates(layers, structure, candidate, precision)
    elif not is_open:
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


def _write_subspace_gates(
    layers: _Layers, structure: Structure, candidate: Candidate, precision: np.ndarray
) -> None:
    """Let the latents of a subspace close for samples that are not in it."""
    first, second, heads, _ = layers
    n_latents = heads.out_features // 2
    n_out = min(len(structure.subspaces), second.out_features // 2, second.in_features // 2)
    if n_out == 0:
        return
    subspaces = structure.subspaces[:n_out]
    n_each = [min(second.in_features // 2 // n_out, len(s.normals)) for s in subspaces]
    parts = [s.normals[:n] for s, n in zip(subspaces, n_each, strict=True)]
    normals = np.concatenate(parts) @ structure.directions
    n_in = len(normals)
    slope = min(candidate.contrast, MAX_SLOPE)
    for units, sign in ((slice(n_in), slope), (slice(n_in, 2 * n_in), -slope)):
        _write(first.weight[units], sign * normals)
        _write(first.bias[units], -sign * normals @ structure.location)
    second.weight[:, : 2 * n_in].mul_(HIDDEN_SHARE / slope)
    second.weight[: 2 * n_out] = 0
    weights = candidate.contrast / slope * np.repeat(np.eye(n_out), n_each, axis=1)
    _write(second.weight[: 2 * n_out, : 2 * n_in], np.tile(weights, (2, 2)))
    levels = np.array([s.level(n) for s, n in zip(subspaces, n_each, strict=True)])
    levels *= candidate.contrast
    _write(second.bias[:n_out], -levels)
    _write(second.bias[n_out : 2 * n_out], -levels - CLOSED - precision.max())
    heads.weight[:, : 2 * n_out] = 0
    owner = np.repeat(np.arange(n_out), [len(s.basis) for s in subspaces])
    latents = n_latents + torch.arange(len(owner))
    heads.weight[latents, torch.from_numpy(owner)] = 1.0
    heads.weight[latents, n_out + torch.from_numpy(owner)] = -1.0


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
def learning_rates(network: nn.Module, X: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return by which factor the learning rate of each weight is to be multiplied.

    Adam moves every weight by about the learning rate. On weights from `install` that would be a
    leap wherever a unit's inputs are large, so that a weight's rate falls with the size of its
    input, and a first-layer weight's with what its unit moves in the second layer.

    Parameters
    ----------
    network : module
        As in `install`.

    X : tensor of shape (n_samples, n_features)
        Samples as the network sees them.

    Returns
    -------
    dict of str to tensor
        For the name of each parameter, factors in (0, 1] that broadcast to it.
    """
    first, second, _, decoder = _Layers.of(network)
    width = first.out_features - decoder.in_features
    inner = functional.silu(first(X)[:, :width])
    outer = functional.silu(second(inner))
    moves = second.weight.abs().sum(dim=0) / math.sqrt(second.out_features)
    units = torch.cat([1 / (1 + moves), moves.new_ones(decoder.in_features)])
    rates = {name: p.new_ones((1,) * p.ndim) for name, p in network.named_parameters()}
    rates["first.weight"], rates["first.bias"] = units[:, None], units
    rates["second.weight"] = 1 / (1 + inner.square().mean(dim=0).sqrt())[None]
    rates["heads.weight"] = 1 / (1 + outer.square().mean(dim=0).sqrt())[None]
    return rates
