"""Weights for exact inference in flat parts."""

from typing import Any

import numpy as np
import torch

from skvaeense.explanations._explain import Explained
from skvaeense.explanations._locations import meeting_point
from skvaeense.networks import Subspaces


def subspace_network(explained: Explained) -> Subspaces:
    """Return the network for the flat parts of samples.

    Parameters
    ----------
    explained : Explained
        The explanation of the samples.

    Returns
    -------
    Subspaces
        A network with a latent for each direction of each part.
    """
    return Subspaces(
        tuple(part.rank for part in explained.parts),
        subspaces=tuple(explained.groups.tolist()),
        n_directions=tuple(part.rank for part in explained.pieces),
    )


@torch.no_grad()
def install_subspaces(network: Any, explained: Explained, n: int) -> None:
    """Write the weights of exact inference into a network, in place.

    Let u be a direction of a part, with variance v along u and noise variance g, and let c be the
    coordinate of the part's mean along u, relative to the part's location. The posterior of a
    standard normal latent has the variance g / v. With ``L^2 = v - g + c^2``, its mean m and its
    decoder column W are::

        m = [c + (1 - g / v) u'(x - mean)] / L,    W = u L / (1 - (g / v)^(1/2))

    Parameters
    ----------
    network : SubspaceAutoencoder
        The module of `subspace_network`.

    explained : Explained
        The explanation of the samples, in units of the network.

    n : int
        Number of samples.
    """
    pieces, locations = explained.pieces, explained.locations
    if locations is None:
        origin = meeting_point(explained.parts, n)[0]
        shifts = np.zeros((len(pieces), len(origin)))
    else:
        origin = np.zeros(locations.points.shape[1])
        shifts = locations.points[locations.groups]
    d = len(origin)
    linear, constant, log_precision, factors, offsets = [], [], [], [], []
    for part, shift in zip(pieces, shifts, strict=True):
        mean, noise, variances = part.mean - shift, part.noise_variance, part.variances
        variances = np.maximum(variances, noise * (1 + np.finfo(np.float32).eps))
        gain = np.sqrt(1 / noise - 1 / variances)[:, None] * part.basis
        log_volume = np.log(variances).sum() + (d - len(variances)) * np.log(noise)
        linear.append(mean / noise)
        constant.append(np.log(part.weight) - 0.5 * (log_volume + mean @ mean / noise))
        log_precision.append(-np.log(noise))
        factors.append(gain)
        offsets.append(-gain @ mean)
    rows, biases, columns, logits = [], [], [], []
    for k, part in enumerate(explained.parts):
        mean = part.mean - shifts[np.flatnonzero(explained.groups == k)[0]]
        noise = part.noise_variance
        variances = np.maximum(part.variances, noise * (1 + np.finfo(np.float32).eps))
        c = part.basis @ (mean - origin)
        length = np.sqrt(variances - noise + np.square(c))
        row = ((1 - noise / variances) / length)[:, None] * part.basis
        rows.append(row)
        biases.append(c / length - row @ mean)
        columns.append((length / (1 - np.sqrt(noise / variances)))[:, None] * part.basis)
        logits.append(np.log(noise) - np.log(variances - noise))
    _write(network.linear.weight, np.array(linear))
    # A constant that all components share has no effect.
    _write(network.linear.bias, np.array(constant) - np.max(constant))
    _write(network.log_precision, np.array(log_precision))
    _write(network.factors.weight, np.concatenate(factors))
    _write(network.factors.bias, np.concatenate(offsets))
    _write(network.means.weight, np.concatenate(rows))
    _write(network.means.bias, np.concatenate(biases))
    _write(network.open_logit, np.concatenate(logits))
    _write(network.decoder.weight.T, np.concatenate(columns))
    _write(network.decoder.bias, origin)


def _write(target: torch.Tensor, values: np.ndarray) -> None:
    """Copy values into the first rows of a parameter, and 0 into the others."""
    target.zero_()
    target[: len(values)] = torch.from_numpy(values)
