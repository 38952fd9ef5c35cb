"""The samples of one fit: held-out samples, and batches of training samples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from skvaeense.samples._scaling import SPECTRUM_ROWS, Batches, Scaling, SourceBatches, TensorBatches
from skvaeense.samples._sources import IN_MEMORY, Source
from skvaeense.samples._weights import drawn, own_order
from skvaeense.training import _trainer
from skvaeense.training._far import Balls
from skvaeense.training._sizes import (
    MAX_BATCH,
    Spectrum,
    resolve_batch_size,
    steps_of_epoch,
)
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._torch import DTYPES, resolve_device
from skvaeense.utils._typing import BoolArray, DoubleArray, IntArray


class Part(NamedTuple):
    """Centred and scaled samples, each once, with their weights if these differ."""

    x: torch.Tensor
    weights: DoubleArray | None

    def at(self, rows: Any) -> Self:
        """Return the samples at some positions."""
        return type(self)(self.x[rows], None if self.weights is None else self.weights[rows])

    def drawn(self) -> torch.Tensor:
        """Return samples, repeated as often as their weights say."""
        return self.x if self.weights is None else self.x[drawn(self.weights)]


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

    parts : sequence of Part
        A few thousand samples: held-out samples first, then training samples.

    processes : Processes
        The processes that train together.

    is_batch : bool
        Whether these are the samples of one batch, which are all in `train` and in `valid`.

    valid : torch.Tensor of shape (n_valid, n_features)
        Samples that compare inits and epochs. Samples of more weight occur more often.
    """

    train: Batches
    scaling: Scaling
    batch_size: int
    parts: Sequence[Part]
    processes: Processes = SINGLE_PROCESS
    is_batch: bool = False

    def __post_init__(self) -> None:
        self.valid = self.parts[0].drawn()

    @classmethod
    def of_batch(
        cls, estimator: Any, X: np.ndarray, scaling: Scaling, weights: DoubleArray | None
    ) -> Self:
        """Scale the samples of a batch, which are both training and validation samples."""
        part = _scaled(estimator, X, scaling, weights, np.arange(len(X)))
        train = TensorBatches(part.x, weights=weights)
        size = resolve_batch_size(estimator._training.batch_size, len(train))
        return cls(train, scaling, size, [part], is_batch=True)

    def some(self) -> tuple[DoubleArray, DoubleArray]:
        """Return a few thousand samples, held-out samples first, and how often each counts."""
        x = np.concatenate([part.x.cpu().double().numpy() for part in self.parts])
        weights = [
            np.ones(len(part.x)) if part.weights is None else part.weights for part in self.parts
        ]
        return x, np.concatenate(weights)

    def shown(self, least: int) -> torch.Tensor:
        """Return held-out samples, and training samples if those are few."""
        if len(self.valid) >= least or len(self.parts) == 1:
            return self.valid
        return torch.cat([part.drawn() for part in self.parts])

    @property
    def n_records(self) -> int:
        """The number of records of an epoch in the log."""
        return -(-steps_of_epoch(len(self.train), self.batch_size) // _trainer.STRIDE)

    @property
    def n_features(self) -> int:
        """The number of features of a sample, without the columns of a target."""
        return self.train.shape[1] - self.scaling.n_targets

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


def prepare_data(estimator, given, random_state, processes=SINGLE_PROCESS):
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

    processes : Processes, default=SINGLE_PROCESS
        The processes that train together.

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
        n_head = min(SPECTRUM_ROWS, max(MAX_BATCH, IN_MEMORY // n_bytes))
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
        train: Any = SourceBatches(X, positions[left_out], scaling, head, processes, weights)
        if reach is not None:
            train = replace(train, counts=reach.near, n_left_out=len(reach.far))
    else:
        n_out = held_out.of(len(X))
        # If there are very few rows, all are both training and held-out rows.
        order = own_order(X[:, : len(scaling.mean)], scaling.mean, scaling.scale)
        order = held_out.first(order, random_state)
        rows = _scaled(estimator, X, scaling, weights, order)
        parts = _split(rows, n_out)
        train = TensorBatches(parts[1].x, processes, parts[1].weights)
        parts[1] = parts[1].at(slice(SPECTRUM_ROWS))
    size = resolve_batch_size(estimator._training.batch_size, len(train))
    return FitData(train, scaling, size, parts, processes)


def _scaled(
    estimator: Any, X: np.ndarray, scaling: Scaling, weights: DoubleArray | None, order: IntArray
) -> Part:
    """Return samples in an order, centred and scaled, in the precision of an estimator."""
    dtype, device = DTYPES[estimator.dtype], resolve_device(estimator.device)
    # Samples are put in order while they are scaled, which saves a copy.
    x = scaling.apply(X, dtype=dtype, device=device, order=order)
    return Part(x, None if weights is None else weights[order])


def _split(rows: Part, n_out: int) -> list[Part]:
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
    is_out, share = np.arange(len(rows.x)) < n_out, n_out / len(rows.x)
    return [
        rows._replace(weights=np.where(is_heavy, own * rows.weights, rows.weights)).at(
            chosen | is_heavy
        )
        for chosen, own in ((is_out, share), (~is_out, 1 - share))
    ]


def _chosen(part: Part, is_chosen: BoolArray) -> Part:
    """Return the chosen samples that have any weight; all the chosen samples, if none has."""
    counts = is_chosen if part.weights is None else is_chosen & (part.weights > 0)
    return part.at(counts) if counts.any() else part._replace(weights=None).at(is_chosen)
