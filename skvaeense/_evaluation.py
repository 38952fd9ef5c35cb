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
from skvaeense.utils._callbacks import map_chunks
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
        function: Callable[[torch.Tensor], torch.Tensor],
        n_rows: int | None = None,
        out: Any = None,
        at_locations: Callable[[torch.Tensor, IntArray], torch.Tensor] | None = None,
    ) -> Any:
        """Apply a function of tensors to scaled rows, some at a time, and join the results.

        Samples in a tensor give a tensor, others an array. Beside them there may be their target.

        Where rows are at several locations, `at_locations` makes the result of the function's and
        of the indices of their locations. With `out`, which can be written by slices, results go
        there. Where memory is used up, rows are taken by halves.
        """
        scaling, parameters = self._scaling, list(model.parameters())
        if scaling.target is not None and X.shape[1] == len(scaling.mean):
            scaling = replace(scaling, target=None)
        parameter = parameters[0]

        def evaluate(rows):
            try:
                return answer(rows)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if len(rows) == 1:
                raise MemoryError("There is too little memory to compute one sample at a time.")
            half = len(rows) // 2
            return joined([evaluate(rows[:half]), evaluate(rows[half:])], rows)

        def answer(rows):
            # What overflows is found out below.
            labels = scaling.locate(rows)
            x = scaling.apply(rows, dtype=parameter.dtype, device=parameter.device, labels=labels)
            with suited_threads(model, len(x)):
                result = function(x)
            # A model that diverges, as callbacks may see it, says nothing of the samples.
            if not (_is_finite(x) and _is_finite(result)) and all(map(_is_finite, parameters)):
                raise too_far(rows.dtype)
            if labels is not None and at_locations is not None:
                result = at_locations(result, labels)
            return result if isinstance(rows, torch.Tensor) else result.cpu().numpy()

        n_rows = n_rows or rows_at_a_time(X, model)
        with torch.no_grad():
            return joined_chunks(self, evaluate, X, n_rows, out)


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


def joined_chunks(estimator, function, X, n_rows, out=None):
    """Write what a function gives for some rows of X at a time to `out`, or to what is made for it.

    That is a tensor where X is one, on its device, else an array.
    """
    is_given, n_written = out is not None, 0
    gives_tensor = isinstance(X, torch.Tensor) and not is_given

    def write(rows):
        nonlocal out, n_written
        result = (torch.as_tensor if gives_tensor else as_array)(function(rows))
        if n_written == 0:
            shape = X.shape[0], *result.shape[1:]
            if is_given:
                check_out(out, shape, result.dtype)
            elif gives_tensor:
                out = torch.empty(shape, dtype=result.dtype, device=X.device)
            else:
                out = np.empty(shape, result.dtype)
        out[n_written : n_written + len(result)] = result
        n_written += len(result)

    map_chunks(estimator, write, X, n_rows)
    return out


def joined(parts, X):
    """Return parts of an answer in one: a tensor where X is one, on its device, else an array."""
    if isinstance(X, torch.Tensor):
        return torch.cat([torch.as_tensor(part).to(X.device) for part in parts])
    return np.concatenate(parts)


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
