"""How a fitted module is asked about samples: in their precision, and some at a time."""

import copy

import numpy as np
import torch
from torch import nn

from skvaeense._training._devices import DTYPES, resolve_device
from skvaeense._training._scaling import Scaling
from skvaeense.utils._typing import DoubleArray

# Rows taken at a time: bounds the memory of transform and score.
CODE_ROWS = 8192


class ModuleEvaluation:
    """For estimators with the fitted attributes `module_`, `mean_` and `scale_`."""

    device: str
    module_: nn.Module
    mean_: DoubleArray
    scale_: float

    def _module_for(self, dtype):
        """Return the module in the precision of the samples: the answer is then as precise."""
        dtype = DTYPES[np.dtype(dtype).name]
        device = resolve_device(self.device)
        parameter = next(self.module_.parameters())
        if parameter.dtype == dtype and parameter.device.type == device.type:
            return self.module_
        return copy.deepcopy(self.module_).to(device=device, dtype=dtype)

    def _by_chunks(self, X, module, function, n_rows=None):
        """Apply a function of tensors to scaled rows, some at a time, and join the results."""
        scaling, n_rows = Scaling(self.mean_, self.scale_), n_rows or CODE_ROWS
        parameter = next(module.parameters())
        results = []
        with torch.no_grad():
            for start in range(0, len(X), n_rows):
                rows = X[start : start + n_rows]
                x = scaling.apply(rows, dtype=parameter.dtype, device=parameter.device)
                results.append(function(x).cpu().numpy())
        return np.concatenate(results)
