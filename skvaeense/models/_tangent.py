"""The derivative of a decoder along given directions."""

from collections.abc import Callable
from typing import Any

import torch

TensorMap = Callable[[torch.Tensor], torch.Tensor]


def tangent(f: TensorMap, points: torch.Tensor) -> tuple[torch.Tensor, TensorMap]:
    """Return the values of a function of rows, and its derivative as a linear function of rows.

    Rows do not depend on each other, so that one derivative serves all rows. Reverse
    differentiation, which gives the transpose, is applied twice: forward differentiation costs no
    less, and compiles its rules at the first call.
    """
    pulled: Any = torch.func.vjp(f, points)
    values, pull = pulled
    pushed: Any = torch.func.vjp(lambda outer: pull(outer)[0], torch.zeros_like(values))
    return values, lambda direction: pushed[1](direction)[0]
