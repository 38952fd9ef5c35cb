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
MAX_BATCH = 256
MIN_BATCH = 32
# Steps of each random init, and of the last phase, in which the best of them is trained on.
INIT_STEPS = 1000
FINAL_STEPS = 1500
# Steps from an init that was computed from the data, and from one that is exact already.
DATA_STEPS = 600
EXACT_STEPS = 60
# Steps of a VAE with a given mean number of active latents, which has one init.
BUDGET_STEPS = 2000
# Steps of a sparse autoencoder, which has one init.
SPARSE_STEPS = 3000
# Steps of a score network.
SCORE_STEPS = 3000
# Their learning rate, and up to how many latents they keep it.
SPARSE_RATE = 0.008
FULL_RATE_COMPONENTS = 512
# Share of the last phase after which it comes to its end, be it early or late: the learning rate
# falls to nothing, and the noise variance rises to the error.
SETTLING = 0.7
# Share of max_iter that goes to each random init.
INIT_SHARE = 0.4
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


class InitConfig(NamedTuple):
    """How one random init differs from the others, besides its weights.

    Attributes
    ----------
    eigenvalue : {"mean", "bulk"}
        The eigenvalue of the covariance that the first noise variance is a fraction of.

    noise : float
        Factor on that fraction.

    learning_rate : float
        Factor on learning_rate_init.
    """

    eigenvalue: str
    noise: float
    learning_rate: float


# Init i takes entry i, and over again. Fast steps sort out unions of subspaces, slow ones sparse
# dictionaries. Where few directions have much of the variance, as in images, only noise that is
# small beside the bulk of them lets more than these few open. Where all directions are alike, and
# mean and bulk are the same, less noise keeps isotropic data from staying half open.
INIT_CONFIGS = (
    InitConfig("mean", 1.0, 1.0),
    InitConfig("bulk", 0.7, 1.5),
    InitConfig("mean", 1.0, 1.5),
    InitConfig("bulk", 0.7, 1.5),
    InitConfig("mean", 1.0, 1.0),
)
# First noise variance of a random init, as a fraction of that eigenvalue.
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

    def first_noise(self, config):
        """Return the first noise variance of a random init."""
        eigenvalues = {"mean": self.mean_eigenvalue, "bulk": self.bulk_eigenvalue}
        return FIRST_NOISE * config.noise * eigenvalues[config.eigenvalue]


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


def default_batch_size(n_samples):
    """Return 256, or an eighth of the samples where they are few, at least 32."""
    return max(1, min(MAX_BATCH, max(MIN_BATCH, n_samples // 8), n_samples))


def resolve_batch_size(batch_size, n_samples):
    """Return the batch size as a number that the samples can fill."""
    return default_batch_size(n_samples) if batch_size == "auto" else min(batch_size, n_samples)


def split_epochs(max_iter, n_samples, batch_size):
    """Return the epochs of each init, and of the last phase.

    Training needs a number of steps, whatever the number of samples; "auto" gives the epochs
    that amount to them.
    """
    if max_iter == "auto":
        steps = max(1, n_samples // batch_size)
        return math.ceil(INIT_STEPS / steps), math.ceil(FINAL_STEPS / steps)
    n_init = max(1, round(INIT_SHARE * max_iter))
    return n_init, max_iter - n_init


def n_epochs(max_iter, n_samples, batch_size, n_steps=SPARSE_STEPS):
    """Return the epochs of a training that has one init; "auto" amounts to `n_steps`."""
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
