"""The samples of one fit: what trains, and what is held out."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch

from skvaeense.training._batches import Batches, SourceBatches, TensorBatches
from skvaeense.training._exploration import Exploration
from skvaeense.training._scaling import Scaling
from skvaeense.training._sizes import (
    HELD_OUT,
    SPECTRUM_ROWS,
    HeldOut,
    Spectrum,
    resolve_batch_size,
    split_rows,
)
from skvaeense.training._sources import Source
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._typing import Auto

# Entries of the training samples that are kept in memory where the others are elsewhere, and the
# least rows, of samples with many features.
HEAD_ENTRIES, LEAST_HEAD_ROWS = 2**25, 256


@dataclass
class FitData:
    """The samples of one fit.

    Attributes
    ----------
    train : Batches
        Most of the samples, centred and scaled.

    valid : torch.Tensor of shape (n_valid, n_features)
        Those by which inits and epochs are compared.

    scaling : Scaling
        Between their units and the user's.

    batch_size : int
        Samples in each step.

    processes : Processes
        The processes that train together.

    valid_labels : ndarray of int of shape (n_valid,) or None
        Which location those of `valid` are at; None if there is one for all.

    head_labels : ndarray of int of shape (n_rows,) or None
        The same for those of ``train.head``.

    is_batch : bool
        Whether these are the samples of one batch, which are in both.

    explored : Exploration or None
        What is in the samples, in their units here, if somebody has looked.
    """

    train: Batches
    valid: torch.Tensor
    scaling: Scaling
    batch_size: int
    processes: Processes = SINGLE_PROCESS
    valid_labels: np.ndarray | None = None
    head_labels: np.ndarray | None = None
    is_batch: bool = False
    explored: Exploration | None = None

    @classmethod
    def of_batch(
        cls, X: np.ndarray, scaling: Scaling, *, batch_size: Auto | int, dtype: Any, device: Any
    ) -> Self:
        """Scale samples that are all trained on, and all looked at."""
        labels = scaling.locate(X)
        x = scaling.apply(X, dtype=dtype, device=device, labels=labels)
        size = resolve_batch_size(batch_size, len(x))
        return cls(
            TensorBatches(x),
            x,
            scaling,
            size,
            valid_labels=labels,
            head_labels=labels,
            is_batch=True,
        )

    def some(self) -> tuple[np.ndarray, np.ndarray]:
        """Return some thousand of the samples, and their locations: what is held out comes first.

        Returns
        -------
        x : ndarray of shape (n_rows, n_features)
            Centred and scaled samples.

        labels : ndarray of int of shape (n_rows,)
            Which location each is at; 0 if there is one for all.
        """
        parts = [(self.valid, self.valid_labels), (self.train.head, self.head_labels)]
        parts = parts[:1] if self.is_batch else parts
        x = np.concatenate([x.cpu().numpy() for x, _ in parts])
        labels = [np.zeros(len(x), int) if own is None else own for x, own in parts]
        return x, np.concatenate(labels)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The spectrum of the training samples."""
        return Spectrum.of(self.train.head)


def prepare_data(
    X: np.ndarray | Source,
    scaling: Scaling,
    random_state: np.random.RandomState,
    *,
    batch_size: Auto | int,
    dtype: torch.dtype,
    device: torch.device,
    held_out: HeldOut = HELD_OUT,
    processes: Processes = SINGLE_PROCESS,
    explored: Exploration | None = None,
) -> FitData:
    """Scale samples, and hold some out.

    Parameters
    ----------
    X : ndarray or Source of shape (n_samples, n_features)
        Samples in the user's units.

    scaling : Scaling
        Centre and scale.

    random_state : RandomState
        What draws the rows.

    batch_size : "auto" or int
        Samples in each step.

    dtype : torch.dtype
        Precision of training.

    device : torch.device
        Where training is.

    held_out : HeldOut, default=HELD_OUT
        How many rows are held out.

    processes : Processes, default=SINGLE_PROCESS
        The processes that train together.

    explored : Exploration or None, default=None
        What is in the samples, in the user's units.

    Returns
    -------
    FitData
        The samples of a fit.
    """
    train: Batches
    if isinstance(X, Source):
        n_out = max(held_out.of(len(X)), 1)
        n_head = min(SPECTRUM_ROWS, max(LEAST_HEAD_ROWS, HEAD_ENTRIES // X.shape[1]))
        positions = X.draw(n_out + min(n_head, len(X) - n_out), random_state)
        taken = X.take(positions)
        labels = scaling.locate(taken)
        rows = scaling.apply(taken, dtype=dtype, device=device, labels=labels)
        out = np.sort(random_state.permutation(len(positions))[:n_out])
        head = rows[torch.from_numpy(np.delete(np.arange(len(positions)), out))]
        train = SourceBatches(X, positions[out], scaling, head, processes)
        valid = rows[torch.from_numpy(out)]
        valid_labels = None if labels is None else labels[out]
        head_labels = None if labels is None else np.delete(labels, out)
    else:
        split = split_rows(len(X), random_state, held_out)
        labels = scaling.locate(X)
        x = scaling.apply(X, dtype=dtype, device=device, order=split.order, labels=labels)
        train, valid = TensorBatches(x[split.train], processes), x[split.valid]
        in_order = labels if labels is None or split.order is None else labels[split.order]
        valid_labels = None if in_order is None else in_order[split.valid]
        head_labels = None if in_order is None else in_order[split.train][: len(train.head)]
    size = resolve_batch_size(batch_size, len(train))
    if explored is not None:
        explored = explored.within(scaling.mean, scaling.scale)
    return FitData(
        train,
        valid,
        scaling,
        size,
        processes,
        valid_labels,
        head_labels,
        explored=explored,
    )
