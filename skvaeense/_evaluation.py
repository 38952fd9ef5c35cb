"""How a fitted model answers for samples: in their precision, and some at a time."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from skvaeense.models import Model
from skvaeense.training._devices import DTYPES, is_out_of_memory, resolve_device
from skvaeense.training._locations import Locations
from skvaeense.training._scaling import Scaling
from skvaeense.training._sources import as_array
from skvaeense.training._threads import suited_threads
from skvaeense.utils._blocks import block_rows
from skvaeense.utils._callbacks import row_chunks
from skvaeense.utils._typing import DoubleArray, IntArray

FLOATS = (np.float64, np.float32)
# Of the fitted attributes, those that validation sets before training.
FEATURES = ("n_features_in_", "feature_names_in_")


class ModelEvaluation:
    """For estimators with the fitted attributes `module_`, `mean_` and `scale_`."""

    device: str
    module_: Model
    mean_: DoubleArray
    scale_: float
    # Only if the samples that were fitted lie apart.
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
        """Return the estimator as it would be with these fitted attributes."""
        draft = clone(self)
        vars(draft).update((k, v) for k, v in vars(self).items() if k in FEATURES)
        vars(draft).update(attributes)
        return draft

    def _model_for(self, dtype):
        """Return the model in the precision of the samples: the answer is then as precise."""
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
        """Apply a function of the model to scaled rows, some at a time, and join the results.

        Samples in a tensor give a tensor, others an array. Beside them there may be their target.

        Where rows are at several locations, `at_locations` makes the result of the function's and
        of the indices of their locations. With `out`, which can be written by slices, results go
        there. Where memory is used up, rows are taken by halves.
        """
        scaling, parameters = self._scaling, list(model.parameters())
        if scaling.target is not None and X.shape[1] == len(scaling.mean):
            scaling = replace(scaling, target=None)
        kind = {"dtype": parameters[0].dtype, "device": parameters[0].device}

        def answer(rows: Any) -> torch.Tensor:
            # What overflows is found out below.
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
                return torch.cat([answer(half) for half in halves(rows)])
            # A model that diverges, as callbacks may see it, says nothing of the samples.
            if not (_is_finite(x) and _is_finite(result)) and all(map(_is_finite, parameters)):
                raise too_far(rows.dtype)
            if labels is not None and at_locations is not None:
                result = at_locations(result, labels)
            return result

        answers, n_rows = Answers(X, out), n_rows or rows_at_a_time(X, model)
        with torch.no_grad(), row_chunks(self, X.shape[0], n_rows) as chunks:
            for chunk in chunks:
                answers.append(answer(X[chunk]))
        return answers.joined


def rows_at_a_time(X, model):
    """Return how many rows are coded or decoded at a time, as the widest layer allows."""
    return block_rows(X.shape[1], *(width for p in model.parameters() for width in p.shape))


def too_far(dtype: Any) -> ValueError:
    """Return the error for samples whose answers are not finite."""
    return ValueError(
        f"X has samples too far from the training samples for {dtype}: what is computed of them is "
        "not finite. Leave them out, or give X in double precision."
    )


def _is_finite(values):
    """Return whether all values are finite; their sum tells first, at little cost."""
    return bool(values.sum().isfinite() or values.isfinite().all())


def halves(rows: Any) -> tuple[Any, Any]:
    """Return the first and the second half of rows that take too much memory together."""
    if rows.shape[0] == 1:
        raise MemoryError("There is too little memory to compute one sample at a time.")
    half = rows.shape[0] // 2
    return rows[:half], rows[half:]


def like(X: Any, values: Any) -> Any:
    """Return an array as a tensor where X is one, on its device, and else as it is."""
    return torch.as_tensor(values).to(X.device) if isinstance(X, torch.Tensor) else values


class Answers:
    """What a method gives for some rows of X after the other, joined.

    Parameters
    ----------
    X : {ndarray, sparse array, torch.Tensor, Source} of shape (n_samples, ...)
        All rows.

    out : array or None, default=None
        Where answers are written. None makes an array, or a tensor where X is one, on its device.

    Attributes
    ----------
    joined : array, torch.Tensor or None
        The answers so far; None before the first one.
    """

    def __init__(self, X: Any, out: Any = None) -> None:
        self.n_samples, self.out = X.shape[0], out
        self.joined: Any = None
        self.device = X.device if isinstance(X, torch.Tensor) and out is None else None
        self.n_written = 0

    def append(self, result: Any) -> None:
        """Write the answer for the next rows."""
        result = as_array(result) if self.device is None else torch.as_tensor(result)
        shape = self.n_samples, *result.shape[1:]
        if self.joined is None:
            if self.out is not None:
                check_out(self.out, shape, result.dtype)
                self.joined = self.out
            elif self.device is not None:
                self.joined = torch.empty(shape, dtype=result.dtype, device=self.device)
            else:
                self.joined = np.empty(shape, result.dtype)
        self.joined[self.n_written : self.n_written + len(result)] = result
        self.n_written += len(result)


def check_out(out, shape, dtype):
    """Raise an error unless `out` has this shape, and can hold this kind of numbers."""
    if isinstance(out, torch.Tensor):
        raise TypeError("out must be an array; got a tensor, whose .numpy() shares its memory.")
    if tuple(getattr(out, "shape", ())) != shape:
        raise ValueError(
            f"out must be an array of shape {shape}, in memory or elsewhere; got "
            f"{getattr(out, 'shape', type(out).__name__)}."
        )
    if not np.can_cast(dtype, out.dtype, casting="same_kind"):
        raise ValueError(f"out must hold floats, as {dtype}; got an array of {out.dtype}.")
