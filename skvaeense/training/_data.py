"""The samples of one fit, and the sizes that follow from their shape and spectrum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from skvaeense.mixture._rows import MAX_FAR_SHARE, Reach
from skvaeense.samples._scaling import Batches, Scaling, SourceBatches, TensorBatches
from skvaeense.samples._sources import Source
from skvaeense.samples._weights import own_order
from skvaeense.utils._linalg import principal_directions
from skvaeense.utils._rows import (
    IN_MEMORY,
    MANY_ROWS,
    MAX_ENTRIES,
    MIN_ROWS_TO_SPLIT,
    SEARCH_ROWS,
    SOME_ROWS,
)
from skvaeense.utils._torch import DTYPES, resolve_device
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray

MAX_COMPONENTS = 256
# Least number of rows for each direction of samples that are checked for a collapse.
ROWS_OF_A_LATENT = 10
MAX_BATCH = 256
# Steps of a sparse autoencoder.
LONG_STEPS = 3000
# Most steps from a random init of a VAE.
RANDOM_STEPS = 6000


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
SPARSE_HELD_OUT = HeldOut(0.05, SOME_ROWS, is_spread=True)


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
    """

    linear_dimension: int
    mean_eigenvalue: float

    @classmethod
    def of(cls, Z):
        """Return the spectrum of centred and scaled samples."""
        rows = Z[:SEARCH_ROWS].double().cpu()
        rows = rows - rows.mean(dim=0)
        eigenvalues = torch.linalg.svdvals(rows).square() / len(rows)
        total = float(eigenvalues.sum())
        if total <= 1e-12:
            return cls(1, 1.0)
        held = torch.cumsum(eigenvalues, 0) / total
        linear_dimension = int((held < 0.99).sum()) + 1
        return cls(linear_dimension, float(eigenvalues.square().sum()) / total)

    def first_noise(self, depth, *, share=0.1):
        """Return the first noise variance of a random init: a share of the mean eigenvalue.

        The share is divided by the number of layers of the decoder, because deeper ones bend: parts
        whose latents are all closed at first would take the image of the code 0.
        """
        return share / depth * self.mean_eigenvalue


def linear_residual(Z, n_components, trained=None):
    """Return the fraction of the variance of samples that principal components leave.

    The components are computed from the samples `trained`, or from Z, which leaves less.
    """
    trained = Z if trained is None else trained
    rows = Z[:SEARCH_ROWS].double().cpu().numpy()
    trained = trained[:SEARCH_ROWS].double().cpu().numpy()
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


def random_steps(n_steps, *, most_epochs=250, least=2000):
    """Return the number of steps from a random init of a VAE, whose epochs have `n_steps`.

    Few samples get fewer steps, so that training does not learn them by heart.
    """
    return min(max(most_epochs * n_steps, least), RANDOM_STEPS)


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


class Balls:
    """Balls that hold all rows but those far from all others: of samples, and of their target.

    Parameters
    ----------
    X : ndarray or Source of shape (n_samples, n_features)
        The rows, some of which are looked at.

    parts : sequence of slice
        Columns of the samples, and of their target, each of which has its own ball.

    Attributes
    ----------
    far : set of int
        Positions of the far rows that were seen.
    """

    def __init__(self, X: Any, parts: list[slice]) -> None:
        self.far: set[int] = set()
        rng, n_rows = np.random.RandomState(0), max(MAX_ENTRIES // X.shape[1], 1)
        n_rows = min(MANY_ROWS, n_rows, X.shape[0])
        if isinstance(X, Source):
            sample = X.take(X.draw(n_rows, rng))
        else:
            sample = X[rng.permutation(len(X))[:n_rows]]
        self.balls, ones = [], np.ones(len(sample))
        for part in parts:
            columns = sample[:, part]
            self.balls.append((part, Reach.of(columns, ones, np.median(columns, axis=0))))

    def near(self, rows: FloatArray, start: int | None = None) -> BoolArray:
        """Return the mask of rows that are not far; note others if their start is given."""
        is_near = np.ones(len(rows), dtype=bool)
        for part, reach in self.balls:
            is_near &= reach.shares(rows[:, part]) > 0
        if start is not None:
            self.far.update((start + np.flatnonzero(~is_near)).tolist())
        return is_near

    def near_of(self, X: FloatArray, weights: DoubleArray | None = None) -> BoolArray:
        """Return the mask of rows of an array that are not far; all, if others count for many."""
        is_near = self.near(X)
        share = np.average(~is_near, weights=weights)
        return is_near if share <= MAX_FAR_SHARE else np.ones_like(is_near)


@dataclass
class FitData:
    """The samples of one fit.

    Attributes
    ----------
    train : Batches
        Most of the samples, centred and scaled.

    scaling : Scaling
        The map between the user's units and the units of training.

    batch_size : int
        Samples in each step.

    parts : sequence of TensorBatches
        A few thousand samples: held-out samples first, then training samples.

    is_batch : bool
        Whether these are the samples of one batch, which are all in `train` and in `valid`.

    valid : torch.Tensor of shape (n_valid, n_features)
        Samples that compare inits and epochs. Samples of more weight occur more often.

    n_steps : int
        Steps of an epoch.

    n_features : int
        Features of a sample, without the columns of a target.
    """

    train: Batches
    scaling: Scaling
    batch_size: int
    parts: Sequence[TensorBatches]
    is_batch: bool = False

    def __post_init__(self) -> None:
        self.valid = self.parts[0].drawn()
        # Fewer samples than a batch are one step.
        self.n_steps = max(1, len(self.train) // self.batch_size)
        self.n_features = self.train.shape[1] - self.scaling.n_targets

    @classmethod
    def of_batch(
        cls, estimator: Any, X: np.ndarray, scaling: Scaling, weights: DoubleArray | None
    ) -> Self:
        """Scale the samples of a batch, which are both training and validation samples."""
        train = _scaled(estimator, X, scaling, weights, np.arange(len(X)))
        size = resolve_batch_size(estimator._training.batch_size, len(train))
        return cls(train, scaling, size, [train], is_batch=True)

    def some(self) -> tuple[DoubleArray, DoubleArray]:
        """Return a few thousand samples, held-out samples first, and how often each counts."""
        x = np.concatenate([part.X.cpu().double().numpy() for part in self.parts])
        weights = [
            np.ones(len(part.X)) if part.weights is None else part.weights for part in self.parts
        ]
        return x, np.concatenate(weights)

    def shown(self, least: int) -> torch.Tensor:
        """Return held-out samples, and training samples if those are few."""
        if len(self.valid) >= least or len(self.parts) == 1:
            return self.valid
        return torch.cat([part.drawn() for part in self.parts])

    @cached_property
    def spectrum(self) -> Spectrum:
        """The spectrum of the training samples, without their target."""
        return Spectrum.of(self.train.head[:, : self.n_features])


class PreparedRows(NamedTuple):
    """Samples in the user's units before they are scaled, and what is known about them.

    Attributes
    ----------
    samples : ndarray or Source of shape (n_samples, n_features)
        The samples; in memory each once, without rows that are far from all others.

    scaling : Scaling
        Centre and scale.

    weights : ndarray of shape (n_samples,) or None
        How often each sample counts; above 0 if samples are in memory.

    reach : Balls or None
        What tells which rows of a source are far from all others.
    """

    samples: Any
    scaling: Scaling
    weights: DoubleArray | None = None
    reach: Balls | None = None


def prepare_data(estimator, given, random_state):
    """Scale samples, and hold some out.

    Parameters
    ----------
    estimator : estimator
        The estimator that is fitted, with its batch size, precision, device and number of held-out
        rows.

    given : PreparedRows
        The samples.

    random_state : RandomState
        The source of randomness that draws the rows.

    Returns
    -------
    FitData
        The samples of a fit.
    """
    X, scaling, weights, reach = given
    held_out = estimator._held_out
    if isinstance(X, Source):
        n_out = max(held_out.of(len(X)), 1)
        # At least a batch, which is in memory anyway.
        n_bytes = X.shape[1] * np.finfo(np.float64).bits // 8
        n_head = min(SEARCH_ROWS, max(MAX_BATCH, IN_MEMORY // n_bytes))
        positions = X.draw(n_out + min(n_head, len(X) - n_out), random_state)
        taken = X.take(positions)
        if reach is not None:
            is_near = reach.near(taken)
            positions, taken = positions[is_near], taken[is_near]
        out = random_state.permutation(len(positions))[:n_out]
        own = None if weights is None else weights[positions]
        rows = _scaled(estimator, taken, scaling, own, np.arange(len(positions)))
        left_out = np.zeros(len(positions), dtype=bool)
        left_out[out] = True
        parts = [_chosen(rows, some) for some in (left_out, ~left_out)]
        head = parts[1].drawn()
        train: Any = SourceBatches(X, positions[left_out], scaling, head, weights)
        if reach is not None:
            train = replace(train, counts=reach.near, n_left_out=len(reach.far))
    else:
        n_out = held_out.of(len(X))
        # If there are very few rows, all are both training and held-out rows.
        order = own_order(X[:, : len(scaling.mean)], scaling.mean, scaling.scale)
        order = held_out.first(order, random_state)
        rows = _scaled(estimator, X, scaling, weights, order)
        parts = _split(rows, n_out)
        train = parts[1]
        parts[1] = train.at(slice(SEARCH_ROWS))
    size = resolve_batch_size(estimator._training.batch_size, len(train))
    return FitData(train, scaling, size, parts)


def _scaled(
    estimator: Any, X: np.ndarray, scaling: Scaling, weights: DoubleArray | None, order: IntArray
) -> TensorBatches:
    """Return samples in an order, centred and scaled, in the precision of an estimator."""
    dtype, device = DTYPES[estimator.dtype], resolve_device(estimator.device)
    # Samples are put in order while they are scaled, which saves a copy.
    x = scaling.apply(X, dtype=dtype, device=device, order=order)
    return TensorBatches(x, weights=None if weights is None else weights[order])


def _split(rows: TensorBatches, n_out: int) -> list[TensorBatches]:
    """Return the first `n_out` rows, and the others; all rows twice, if none are held out.

    A row that counts for more than one held-out row stands for many copies, of which a random split
    would hold out some. So both parts have a share of its weight.
    """
    parts = [rows.at(slice(n_out or None)), rows.at(slice(n_out, None))]
    if rows.weights is None or n_out == 0:
        return parts
    is_heavy = rows.weights * n_out > rows.weights.sum()
    if not is_heavy.any():
        return parts
    is_out, share = np.arange(len(rows.X)) < n_out, n_out / len(rows.X)
    return [
        replace(rows, weights=np.where(is_heavy, own * rows.weights, rows.weights)).at(
            chosen | is_heavy
        )
        for chosen, own in ((is_out, share), (~is_out, 1 - share))
    ]


def _chosen(part: TensorBatches, is_chosen: BoolArray) -> TensorBatches:
    """Return the chosen samples that have any weight; all the chosen samples, if none has."""
    counts = is_chosen if part.weights is None else is_chosen & (part.weights > 0)
    return part.at(counts) if counts.any() else replace(part, weights=None).at(is_chosen)
