"""The values of "auto": sizes that follow from the data's shape and spectrum."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from skvaeense.samples._scaling import SPECTRUM_ROWS
from skvaeense.utils._linalg import principal_directions
from skvaeense.utils._rows import MIN_ROWS_TO_SPLIT

MAX_COMPONENTS = 256
# Least number of rows for each direction of samples that are checked for a collapse.
ROWS_OF_A_LATENT = 10
MAX_BATCH = 256
# Steps of a sparse autoencoder.
LONG_STEPS = 3000
# Share of the training of a random init, from its start, in which losses are not compared.
ANNEALED = 0.5
# Steps from a random init of a VAE, with learned noise or a given mean number of active latents.
RANDOM_STEPS = 2000
# Fraction done at which the last stage starts, also after an early stop: the learning rate falls to
# 0, and the noise variance rises to the error.
SETTLING = 0.7


class HeldOut(NamedTuple):
    """The number of held-out rows: a share of all rows, up to a limit."""

    share: float
    at_most: int
    # Whether the sizes of held-out rows are spread like those of all rows.
    is_spread: bool = False

    def of(self, n_samples):
        """Return the number of held-out rows; 0 if there are very few rows."""
        if n_samples < MIN_ROWS_TO_SPLIT:
            return 0
        return min(max(1, int(self.share * n_samples)), self.at_most)

    def first(self, rows, random_state):
        """Return rows, which are ordered by their sizes, with random held-out ones first."""
        n_out = self.of(len(rows))
        if n_out and self.is_spread:
            # One row of each size, so that few rows have codes of typical lengths.
            ends = np.linspace(0, len(rows), n_out + 1).astype(int)
            places = random_state.randint(ends[:-1], ends[1:])
            return np.concatenate([rows[places], random_state.permutation(np.delete(rows, places))])
        return random_state.permutation(rows) if n_out else rows


# Held-out rows that compare inits, and from which the noise variance is learned.
HELD_OUT = HeldOut(0.1, 2500)
# Held-out rows that only decide when to stop. They are few: training of many latents misses them.
SPARSE_HELD_OUT = HeldOut(0.05, 1000, is_spread=True)


@dataclass(frozen=True)
class Spectrum:
    """Summary of the covariance of the scaled data.

    Attributes
    ----------
    linear_dimension : int
        Number of principal components that hold 99 % of the variance.

    mean_eigenvalue : float
        Mean of the eigenvalues of the covariance, each weighted by itself: the variance along a
        direction in which the data varies. It is d / r for r equal directions in R^d.

    bulk_eigenvalue : float
        The least of the largest eigenvalues that together hold 80 % of the variance.
    """

    linear_dimension: int
    mean_eigenvalue: float
    bulk_eigenvalue: float

    @classmethod
    def of(cls, Z, *, bulk_share=0.8):
        """Return the spectrum of centred and scaled samples."""
        rows = Z[:SPECTRUM_ROWS].double().cpu()
        rows = rows - rows.mean(dim=0)
        eigenvalues = torch.linalg.svdvals(rows).square() / len(rows)
        total = float(eigenvalues.sum())
        if total <= 1e-12:
            return cls(1, 1.0, 1.0)
        held = torch.cumsum(eigenvalues, 0) / total
        linear_dimension = int((held < 0.99).sum()) + 1
        bulk = float(eigenvalues[(held < bulk_share).sum()])
        return cls(linear_dimension, float(eigenvalues.square().sum()) / total, bulk)

    def first_noise(self, init, *, share=0.1):
        """Return the first noise variance of a random init: a share of an eigenvalue.

        It is the mean one for even inits, and that of the bulk for odd ones. If few directions have
        much of the variance, as in images, more than these few open only if the noise is small
        compared with the bulk.
        """
        return share * (self.bulk_eigenvalue if init % 2 else self.mean_eigenvalue)


def linear_residual(Z, n_components, trained=None):
    """Return the fraction of the variance of samples that principal components leave.

    The components are computed from the samples `trained`, or from Z, which leaves less.
    """
    trained = Z if trained is None else trained
    rows, trained = (some[:SPECTRUM_ROWS].double().cpu().numpy() for some in (Z, trained))
    mean = trained.mean(axis=0)
    directions = principal_directions(trained - mean)[1][:n_components]
    total, left = np.square(rows - rows.mean(axis=0)).sum(), rows - mean
    left = left - (left @ directions.T) @ directions
    return float(np.square(left).sum() / max(total, 1e-300))


def default_n_components(spectrum):
    """Return twice the linear dimension, at most 256.

    The spare latents matter: with none, a direction that training misses once stays missed.
    """
    return min(2 * spectrum.linear_dimension, MAX_COMPONENTS)


def resolve_batch_size(batch_size, n_samples, *, least=32):
    """Return the batch size as a number, at most the number of samples.

    "auto" means 256, or, if samples are few, an eighth of their number, at least `least`.
    """
    if batch_size == "auto":
        batch_size = min(MAX_BATCH, max(least, n_samples // 8))
    return min(batch_size, n_samples)


def steps_of_epoch(n_samples, batch_size):
    """Return the number of steps of an epoch; fewer samples than a batch are one step."""
    return max(1, n_samples // batch_size)


def n_epochs(max_iter, n_samples, batch_size, n_steps):
    """Return the number of epochs of a training; "auto" gives at least `n_steps` steps."""
    if max_iter == "auto":
        return math.ceil(n_steps / steps_of_epoch(n_samples, batch_size))
    return max_iter


def sparse_learning_rate(
    batch_size, n_components, n_steps, *, rate=0.008, full_rate_components=512
):
    """Return the learning rate of a sparse autoencoder for a training of `n_steps` steps.

    It is `rate` for the largest batches by default, few latents and few steps. The noise of
    gradients falls with the root of the batch size, and Adam can take steps that are larger by that
    factor. Many latents get in one another's way. Noisy steps drive out latents for rare features
    in the long run, and many steps can be smaller.
    """
    crowding = min(1.0, full_rate_components / n_components)
    haste = min(1.0, LONG_STEPS / n_steps)
    return rate * math.sqrt(batch_size / MAX_BATCH * crowding * haste)
