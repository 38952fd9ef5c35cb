"""What "auto" means: sizes that follow from the data's shape and spectrum."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from skvaeense.utils._principal import principal_directions

# The spectrum is taken of this many rows.
SPECTRUM_ROWS = 4096
MAX_COMPONENTS = 256
# Rows for each latent at least, where gates have a prior and the number of latents is not given.
ROWS_OF_A_LATENT = 10
MAX_BATCH = 256
MIN_BATCH = 32
# Steps from an init that was computed from the data, and from one that is exact already.
DATA_STEPS = 600
EXACT_STEPS = 60
# Share of learning_rate_init that is the peak where training starts from exact inference.
EXACT_RATE = 0.05
# Steps where gates have a prior, and of a fit that goes on; and those of the default once it knows
# that gates explain samples.
GATE_STEPS, LONG_STEPS = 1000, 3000
# Steps from a random init of a VAE, and with a given mean number of active latents.
RANDOM_STEPS = 2000
# Steps of a sparse autoencoder, which has one init.
SPARSE_STEPS = 3000
# Steps of a score network.
SCORE_STEPS = 3000
# Their learning rate, and up to how many latents they keep it.
SPARSE_RATE = 0.008
FULL_RATE_COMPONENTS = 512
# Share of the training after which it comes to its end, early or late: the learning rate falls to
# nothing, and the noise variance rises to the error.
SETTLING = 0.7
# Fewer rows than this are not split: all of them train, and all are held out.
MIN_ROWS_TO_SPLIT = 20


class HeldOut(NamedTuple):
    """How many rows do not train: a share of them, up to a limit."""

    share: float
    at_most: int

    def of(self, n_samples):
        """Return how many of these rows are held out: none of very few."""
        if n_samples < MIN_ROWS_TO_SPLIT:
            return 0
        return min(max(1, int(self.share * n_samples)), self.at_most)


# Where inits are compared by them, and the noise variance is learned from them.
HELD_OUT = HeldOut(0.1, 2500)
# Where they only tell when to stop. Rows that do not train are missed where latents are many.
SPARSE_HELD_OUT = HeldOut(0.05, 1000)


# First noise variance of random inits, in turns: as a fraction of the mean eigenvalue, and of the
# least one of the bulk. Where few directions have much of the variance, as in images, only noise
# that is small beside the bulk of them lets more than these few open.
FIRST_NOISE = 0.1
# Share of the variance that the directions of the bulk hold.
BULK_SHARE = 0.8


@dataclass(frozen=True)
class Spectrum:
    """What the covariance says of the scaled data.

    Attributes
    ----------
    linear_dimension : int
        Number of principal components that hold 99 % of the variance.

    mean_eigenvalue : float
        Mean of the eigenvalues of the covariance, each weighted by itself: the variance along a
        direction in which the data varies. It is d / r for r equal directions in R^d.

    bulk_eigenvalue : float
        The least of the largest eigenvalues that together hold 80 % of the variance.

    held : torch.Tensor of shape (n_eigenvalues,)
        Share of the variance that each number of principal components holds, from 1.
    """

    linear_dimension: int
    mean_eigenvalue: float
    bulk_eigenvalue: float
    held: torch.Tensor = field(default_factory=lambda: torch.ones(1), compare=False)

    @classmethod
    def of(cls, Z):
        """Return the spectrum of centred and scaled samples."""
        rows = Z[:SPECTRUM_ROWS].double().cpu()
        rows = rows - rows.mean(dim=0)
        eigenvalues = torch.linalg.svdvals(rows).square() / len(rows)
        total = float(eigenvalues.sum())
        if total <= 1e-12:
            return cls(1, 1.0, 1.0)
        held = torch.cumsum(eigenvalues, 0) / total
        linear_dimension = int((held < 0.99).sum()) + 1
        bulk = float(eigenvalues[(held < BULK_SHARE).sum()])
        return cls(linear_dimension, float(eigenvalues.square().sum()) / total, bulk, held)

    def dimension_holding(self, share):
        """Return how many principal components hold a share of the variance."""
        return min(int((self.held < share).sum()) + 1, len(self.held))

    def first_noise(self, init):
        """Return the first noise variance of a random init."""
        return FIRST_NOISE * (self.bulk_eigenvalue if init % 2 else self.mean_eigenvalue)


def linear_residual(Z, n_components, trained=None):
    """Return the fraction of the variance of samples that as many principal components leave.

    Those of others that they were trained on, or of their own, which leave less.
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


def most_latents(data):
    """Return how many latents with gates the rows of a fit can teach, each with some of them."""
    n_rows = len(data.train) + (0 if data.is_batch else len(data.valid))
    return n_rows // ROWS_OF_A_LATENT


def default_batch_size(n_samples):
    """Return 256, or an eighth of the samples where they are few, at least 32."""
    return max(1, min(MAX_BATCH, max(MIN_BATCH, n_samples // 8), n_samples))


def resolve_batch_size(batch_size, n_samples):
    """Return the batch size as a number that the samples can fill."""
    return default_batch_size(n_samples) if batch_size == "auto" else min(batch_size, n_samples)


def n_epochs(max_iter, n_samples, batch_size, n_steps=SPARSE_STEPS):
    """Return the epochs of a training; "auto" amounts to `n_steps`."""
    if max_iter == "auto":
        return math.ceil(n_steps / max(1, n_samples // batch_size))
    return max_iter


def sparse_learning_rate(batch_size, n_components):
    """Return the learning rate of a sparse autoencoder.

    Gradients of larger batches have less noise, by the root of their size, and Adam can take
    steps as much larger. More latents than features are in each other's way.
    """
    crowding = min(1.0, FULL_RATE_COMPONENTS / n_components)
    return SPARSE_RATE * math.sqrt(batch_size / MAX_BATCH * crowding)


class Split(NamedTuple):
    """An order of the rows, and which of them, in that order, train and which are held out."""

    order: np.ndarray | None
    train: slice
    valid: slice


def split_rows(n_samples, random_state, rule=HELD_OUT):
    """Return which rows train and which are held out; very few rows are both, in their own order.

    What the order says is done while samples are scaled, since it would take a copy of its own.
    """
    n_out = rule.of(n_samples)
    if n_out == 0:
        return Split(None, slice(None), slice(None))
    return Split(random_state.permutation(n_samples), slice(n_out, None), slice(n_out))
