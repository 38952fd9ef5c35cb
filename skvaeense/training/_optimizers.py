"""The weights of a model as one tensor, their optimizer, and schedules of the learning rate."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any, Literal, TypeAlias

import torch
from torch.optim.adamw import adamw

from skvaeense.utils._validation import StrOptions

Optimizer: TypeAlias = str | type[torch.optim.Optimizer] | partial[Any]
Schedule: TypeAlias = Literal["auto", "constant", "cosine"] | Callable[[float], float]

# Optimizers that need several evaluations of the loss, matrices, or sparse gradients.
UNSUITED = "LBFGS", "Muon", "SparseAdam"


class FlatParameters:
    """Lay all parameters of a model, and their gradients, side by side in memory.

    The model's own tensors become views. One operation then covers all parameters: a step of the
    optimizer, or a mean over processes.

    Parameters
    ----------
    model : torch.nn.Module
        The model. Its parameters have one type and one device.

    Attributes
    ----------
    values : torch.nn.Parameter of shape (n_weights,)
        All weights, with all gradients as its `grad`.

    grads : torch.Tensor of shape (n_weights,)
        The gradients.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        parameters = list(model.parameters())
        self.sizes = [parameter.numel() for parameter in parameters]
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        self.values = torch.nn.Parameter(flat)
        self.values.grad = self.grads = torch.zeros_like(flat)
        self.places = {id(parameter): i for i, parameter in enumerate(parameters)}
        for parameter in parameters:
            parameter.data = self.part(flat, parameter)
            parameter.grad = self.part(self.grads, parameter)

    def part(self, flat: torch.Tensor, parameter: torch.nn.Parameter) -> torch.Tensor:
        """Return the part of a flat tensor that belongs to a parameter, as a view of its shape."""
        return flat.split(self.sizes)[self.places[id(parameter)]].view(parameter.shape)


def layer_rates(
    model: torch.nn.Module, *, full_rate_inputs: int = 256, power: float = 1.5
) -> dict[torch.nn.Parameter, float | torch.Tensor]:
    """Return factors on the learning rate of layers with many inputs.

    Adam moves every weight by about the learning rate, so the output of a unit moves by that rate
    times the sum of its inputs. Without smaller steps for layers with many inputs, training on wide
    data misses patterns. A power above 1 was steadier there than a power of 1.
    """
    # The weights of a convolution have the shape (n_out, n_in, height, width).
    n_inputs = {p: p.shape[1:].numel() for p in model.parameters()}
    return {p: (full_rate_inputs / n) ** power for p, n in n_inputs.items() if n > full_rate_inputs}


class Adam:
    """The part of torch.optim.Adam that a trainer needs, by the same fused torch function.

    The first optimizer that derives from torch.optim.Optimizer in a process loads torch._dynamo,
    which takes longer than the default fit of a small table.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], lr: float) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": parameters, "lr": lr}]
        self.state = {
            parameter: {"step": torch.zeros((), device=parameter.device)}
            | {name: torch.zeros_like(parameter.detach()) for name in ("exp_avg", "exp_avg_sq")}
            for parameter in parameters
        }

    @torch.no_grad()
    def step(self) -> None:
        """Take a step, with the defaults of torch.optim.Adam."""
        options: Any = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
        options |= {"amsgrad": False, "maximize": False, "fused": True}
        for parameter, memory in self.state.items():
            if parameter.grad is not None:
                moments: Any = [memory["exp_avg"]], [memory["exp_avg_sq"]], [], [memory["step"]]
                rate = self.param_groups[0]["lr"]
                adamw([parameter], [parameter.grad], *moments, lr=rate, **options)

    def state_dict(self) -> dict[str, Any]:
        """Return the moments, by the index of the parameter."""
        return {"state": dict(enumerate(self.state.values()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore moments of the same shapes; without any, start from zero."""
        for i, memory in enumerate(self.state.values()):
            for name, own in memory.items():
                own.copy_(state["state"][i][name]) if i in state["state"] else own.zero_()


def is_optimizer(kind: Any) -> bool:
    """Return whether a value is a class of torch's optimizers that can train a model."""
    is_kind = inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)
    return is_kind and kind.__name__ not in ("Optimizer", *UNSUITED)


# The optimizers of torch.optim, and what their names mean in lower case.
OPTIMIZERS = {name: kind for name, kind in vars(torch.optim).items() if is_optimizer(kind)}
NAMED: dict[Any, Any] = {name.lower(): kind for name, kind in OPTIMIZERS.items()}
NAMED |= {"adam": Adam, "sgd": partial(torch.optim.SGD, momentum=0.9)}


class OptimizerOptions(StrOptions):
    """The constraint on a parameter that means an optimizer."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is a name in torch.optim, a class, or a partial of a class."""
        if isinstance(val, str):
            return val.lower() in self.options
        return is_optimizer(val.func if isinstance(val, partial) else val)

    def __str__(self) -> str:
        return (
            f"{super().__str__()}, a class that derives from torch.optim.Optimizer and needs one "
            "gradient in a step, or functools.partial of such a class with its settings"
        )


def make_optimizer(optimizer: Optimizer, parameters: list[torch.nn.Parameter], rate: float) -> Any:
    """Return the torch.optim.Optimizer of some parameters, or the `Adam` above."""
    try:
        return _named(optimizer)(parameters, lr=rate)
    except (TypeError, ValueError) as error:
        raise ValueError(f"optimizer={optimizer!r} has unsuitable settings: {error}.") from error


def is_scale_free(optimizer: Optimizer) -> bool:
    """Return whether steps are about as long as the learning rate, whatever the gradients."""
    kind = _named(optimizer)
    return getattr(kind, "func", kind) in (Adam, torch.optim.Adam, torch.optim.AdamW)


def _named(optimizer: Optimizer) -> Any:
    return NAMED[optimizer.lower()] if isinstance(optimizer, str) else optimizer


def cosine(
    fraction_done: float, hold: float | None = None, *, warmup: float = 0.1, first: float = 0.04
) -> float:
    """Return a factor of the learning rate: it rises to 1, stays there, and falls to 0.

    It rises from `first` during the warm-up, stays until `hold`, if that is given, and falls by
    half a cosine.
    """
    hold = warmup if hold is None else hold
    if fraction_done < hold:
        return min(1.0, first + fraction_done / warmup)
    return 0.5 * (1 + math.cos(math.pi * (fraction_done - hold) / (1 - hold)))


def find_schedule(schedule: Schedule, hold: float | None = None) -> Callable[[float], float]:
    """Return the function that a schedule means; with "auto", the rate stays until `hold`."""
    if schedule == "auto" or schedule == "cosine":
        return partial(cosine, hold=hold if schedule == "auto" else None)
    if schedule == "constant":
        return lambda fraction_done: 1.0
    factor = None if inspect.isclass(schedule) else schedule(0.0)
    if not isinstance(factor, Real) or not 0 <= factor < math.inf:
        raise ValueError(
            "schedule must be a function of the share of the training that is done, in [0, 1), "
            f"that returns the factor of the learning rate, at least 0; {schedule!r} returned "
            f"{factor!r} for 0.0."
        )
    return schedule
