"""Initial weights computed from the data, for the gated model with a linear decoder.

`find_data_init` says which latents the data suggests, and what opens them; `install` writes them
into a network, and `learning_rates` says how fast each weight may then learn.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from skvaeense.training._noise import selection_loss, validation_terms
from skvaeense.training._structure import Candidate, Structure, find_structure

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


@dataclass(frozen=True)
class DataInit:
    """Initial weights that were computed from the data.

    Attributes
    ----------
    structure : Structure
        What they are made of.

    candidate : Candidate
        The way they are made.
    """

    structure: Structure
    candidate: Candidate

    @property
    def noise(self) -> float:
        """Noise level that training is to use."""
        return self.structure.noise_of(self.candidate)


def find_data_init(
    model: Any,
    rows: torch.Tensor,
    valid: torch.Tensor,
    *,
    linear_dimension: int,
    common_noise: float,
    seed: int,
    rotate: bool = True,
) -> DataInit:
    """Compute initial weights from the data.

    Independent components of the leading principal subspace are tried beside principal directions
    that are always open, and have to be clearly better.

    Parameters
    ----------
    model : VAE
        Its network is one of `install`. Its weights are overwritten.

    rows : tensor of shape (n_samples, n_features)
        Training samples in random order.

    valid : tensor of shape (n_valid, n_features)
        Samples by which candidates are compared.

    linear_dimension : int
        Number of principal components that hold 99 % of the variance.

    common_noise : float
        Noise variance at which candidates are compared.

    seed : int
        Seed of all that is drawn.

    rotate : bool, default=True
        Whether to look for independent components.

    Returns
    -------
    DataInit
        The best one.
    """
    n_components, n_features = model.n_components, valid.shape[1]

    structure = find_structure(
        rows, n_components, linear_dimension, common_noise, seed, rotate=rotate
    )
    # -2 ELBO of each candidate as it would be at a common noise level.
    losses = {}
    for candidate in structure.candidates():
        install(model.network, structure, candidate)
        terms = validation_terms(model, valid)
        losses[candidate] = selection_loss(terms, structure.noise, structure.noise, n_features)
    opened, best = Candidate("open"), min(losses, key=losses.__getitem__)
    is_clear = losses[opened] - losses[best] > CLEAR_GAIN * n_features
    return DataInit(structure, best if is_clear else opened)


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
    the precision of an open one. The first layer holds each absolute value as a pair of units, the
    second the two ends of the clamp. Latents for which the layers are too narrow are open for all
    samples.
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
