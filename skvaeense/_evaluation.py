"""Evaluation of a fitted model: in the precision of the samples, in chunks of rows."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from skvaeense.explanations._locations import Locations
from skvaeense.models import Model
from skvaeense.samples._devices import DTYPES, is_out_of_memory, resolve_device
from skvaeense.samples._rows import as_array
from skvaeense.samples._scaling import Scaling
from skvaeense.samples._sources import rows_of_chunks
from skvaeense.training._threads import suited_threads
from skvaeense.utils._callbacks import row_chunks
from skvaeense.utils._rows import block_rows
from skvaeense.utils._typing import DoubleArray, IntArray
from skvaeense.utils._validation import too_far

# The fitted attributes that validation sets before training.
FEATURES = ("n_features_in_", "feature_names_in_")


class ModelEvaluation:
    """Mixin for estimators with the fitted attributes `module_`, `mean_` and `scale_`."""

    device: str
    module_: Model
    mean_: DoubleArray
    scale_: float
    # Only if the training samples have several locations.
    _locations_: Locations
    # Only if codes are decoded to a target.
    target_mean_: DoubleArray
    target_scale_: float

    @property
    def _scaling(self) -> Scaling:
        target = None
        if hasattr(self, "target_mean_"):
            target = Scaling(self.target_mean_, self.target_scale_)
        return Scaling(self.mean_, self.scale_, getattr(self, "_locations_", None), target)

    def _draft(self, attributes):
        """Return a clone of the estimator with these fitted attributes."""
        draft = clone(self)
        vars(draft).update((k, v) for k, v in vars(self).items() if k in FEATURES)
        vars(draft).update(attributes)
        return draft

    def _model_for(self, dtype):
        """Return the model in the precision of the samples, so that results have the same one."""
        dtype = dtype if isinstance(dtype, torch.dtype) else DTYPES[np.dtype(dtype).name]
        device = resolve_device(self.device)
        parameter = next(self.module_.parameters())
        if parameter.dtype == dtype and parameter.device.type == device.type:
            return self.module_
        return copy.deepcopy(self.module_).to(device=device, dtype=dtype)

    def _by_chunks(
        self,
        X: Any,
        model: Model,
        function: Callable[[Any, torch.Tensor], torch.Tensor],
        n_rows: int | None = None,
        out: Any = None,
        at_locations: Callable[[torch.Tensor, IntArray], torch.Tensor] | None = None,
    ) -> Any:
        """Apply a function of the model to chunks of scaled rows, and join the results.

        A tensor gives a tensor, other samples an array. X can include the target columns.

        If there are several locations, `at_locations` computes the result from the output of the
        function and the index of each row's location. Results are written to slices of `out`, if
        it is given. A chunk that runs out of memory is split in half.
        """
        scaling, parameters = self._scaling, list(model.parameters())
        if scaling.target is not None and X.shape[1] == len(scaling.mean):
            scaling = replace(scaling, target=None)
        kind: Any = {"dtype": parameters[0].dtype, "device": parameters[0].device}

        def answer(rows: Any) -> torch.Tensor:
            # Overflow is detected below.
            labels = scaling.locate(rows)
            result = None
            try:
                x = scaling.apply(rows, **kind, labels=labels)
                with suited_threads(model, len(x)):
                    result = function(model, x)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if result is None:
                if rows.shape[0] == 1:
                    raise MemoryError("There is too little memory to compute one sample at a time.")
                half = rows.shape[0] // 2
                return torch.cat([answer(rows[:half]), answer(rows[half:])])
            # Callbacks can see a model that has diverged; then the samples are not to blame.
            if not (_is_finite(x) and _is_finite(result)) and all(map(_is_finite, parameters)):
                raise too_far(rows.dtype)
            if labels is not None and at_locations is not None:
                result = at_locations(result, labels)
            return result

        return in_chunks(self, X, n_rows or rows_at_a_time(X, model), answer, out)


def rows_at_a_time(X, model):
    """Return the number of rows in a chunk, as the widest layer allows."""
    return block_rows(X.shape[1], *(width for p in model.parameters() for width in p.shape))


def _is_finite(values):
    """Return whether all values are finite. A finite sum proves this at little cost."""
    return bool(values.sum().isfinite() or values.isfinite().all())


def in_chunks(
    estimator: Any, X: Any, n_rows: int, answer: Callable[[Any], Any], out: Any = None
) -> Any:
    """Apply a function to successive chunks of rows, and join the results.

    Parameters
    ----------
    estimator : estimator
        The estimator that is evaluated.

    X : {ndarray, sparse array, torch.Tensor, Source} of shape (n_samples, ...)
        All rows.

    n_rows : int
        Number of rows in a chunk.

    answer : callable
        Maps the rows of a chunk to an array or a tensor with the same number of rows.

    out : array or None, default=None
        Array for the results. None makes a new array, or for a tensor X a tensor on its device.

    Returns
    -------
    array or torch.Tensor
        The results for all rows. They are in memory only once.
    """
    if out is not None:
        check_writable(out)
    device = X.device if isinstance(X, torch.Tensor) and out is None else None
    joined = None
    with torch.no_grad(), row_chunks(estimator, X.shape[0], n_rows) as chunks:
        for chunk, rows in rows_of_chunks(X, chunks):
            result = answer(rows)
            result = as_array(result) if device is None else torch.as_tensor(result)
            shape = X.shape[0], *result.shape[1:]
            if joined is None and out is not None:
                check_out(out, shape, result.dtype)
                joined = out
            elif joined is None and device is not None:
                joined = torch.empty(shape, dtype=result.dtype, device=device)
            elif joined is None:
                joined = np.empty(shape, result.dtype)
            joined[chunk.start : chunk.start + len(result)] = result
    return joined


def check_writable(out):
    """Raise an error unless rows can be written to `out`, before any are computed."""
    if isinstance(out, torch.Tensor) or hasattr(out, "iloc"):
        raise TypeError(
            f"out must be an array, got a {type(out).__name__}. Pass an array such as "
            "numpy.empty(shape), or the .numpy() of a tensor, which shares its memory."
        )
    flags, file = getattr(out, "flags", None), getattr(out, "file", None)
    # As numpy, zarr and h5py tell it.
    is_closed = not getattr(flags, "writeable", True) or getattr(out, "read_only", False)
    if is_closed or getattr(file, "mode", "") == "r":
        raise ValueError(
            f'out is a read-only {type(out).__name__}. Open it with mode="r+", or pass a copy.'
        )


def check_out(out, shape, dtype):
    """Raise an error unless `out` has this shape and can hold this type of numbers."""
    if tuple(getattr(out, "shape", ())) != shape:
        raise ValueError(
            f"out must be an array of shape {shape}, in memory or elsewhere; got "
            f"{getattr(out, 'shape', type(out).__name__)}."
        )
    if not np.can_cast(dtype, out.dtype, casting="same_kind"):
        raise ValueError(f"out must have a floating dtype such as {dtype}, got {out.dtype}.")
