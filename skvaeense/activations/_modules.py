"""Runs of a model, and the places of activations in it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import torch
from torch import nn

from skvaeense.utils._torch import evaluating

# Ending of names that mean the input of a module.
INPUT = ":input"


def find_module(model: nn.Module, name: str) -> nn.Module:
    """Return the module that a name means, or raise an error that lists known names."""
    module_name = name.removesuffix(INPUT)
    modules = dict(model.named_modules())
    if module_name not in modules:
        some = [own for own in modules if own][:10]
        raise ValueError(
            f"{type(model).__name__} has no module {module_name!r}. Give a name from "
            f"named_modules(), such as {some}."
        )
    return modules[module_name]


def first_tensor(value: Any, name: str) -> torch.Tensor:
    """Return the first tensor of an input or output: a tensor, a sequence or a dict."""
    values = value.values() if isinstance(value, Mapping) else value
    if isinstance(values, torch.Tensor):
        return values
    for item in values if isinstance(values, Iterable) else ():
        if isinstance(item, torch.Tensor):
            return item
    raise TypeError(f"{name!r} has no tensor in its {type(value).__name__}.")


def with_first(value: Any, tensor: torch.Tensor) -> Any:
    """Return the output of a module with its first tensor replaced."""
    if isinstance(value, torch.Tensor):
        return tensor
    if isinstance(value, Mapping):
        kind: Any = type(value)
        other = kind(value)
        other[next(k for k, v in value.items() if isinstance(v, torch.Tensor))] = tensor
        return other
    i = next(i for i, item in enumerate(value) if isinstance(item, torch.Tensor))
    items = [*value[:i], tensor, *value[i + 1 :]]
    # A named tuple takes its items one by one.
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def run(model: nn.Module, batch: Any) -> Any:
    """Return the output of a model for a batch: a tensor, a sequence or dict of arguments."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def there(value: Any) -> Any:
        return value.to(device) if isinstance(value, torch.Tensor) else value

    if isinstance(batch, Mapping):
        return model(**{name: there(value) for name, value in batch.items()})
    if isinstance(batch, tuple | list):
        return model(*map(there, batch))
    return model(there(batch))


class _AllFoundError(Exception):
    """All activations have been found, so that the rest of the model need not run."""


def capture(model: nn.Module, modules: dict[str, nn.Module], batch: Any) -> dict[str, torch.Tensor]:
    """Return the activations of some modules of a model, by their names."""
    found: dict[str, torch.Tensor] = {}

    def note(name: str, _: nn.Module, args: Any, kwargs: Any, *output: Any) -> None:
        value = output[0] if output else [*args, *kwargs.values()]
        found.setdefault(name, first_tensor(value, name).detach())
        if len(found) == len(modules):
            raise _AllFoundError

    with ExitStack() as hooks, suppress(_AllFoundError), evaluating(model):
        for name, module in modules.items():
            register: Any = module.register_forward_hook
            if name.endswith(INPUT):
                register = module.register_forward_pre_hook
            hooks.enter_context(register(partial(note, name), with_kwargs=True))
        run(model, batch)
    missing = [name for name in modules if name not in found]
    if missing:
        raise ValueError(f"The model did not run its module(s) {missing} for a batch.")
    return found


def kept_positions(
    values: torch.Tensor, batch: Any, skip: Sequence[int], mask: str | None
) -> torch.Tensor | slice:
    """Return an index of the positions that count.

    Parameters
    ----------
    values : torch.Tensor of shape (n_texts, n_positions, n_features) or (n_samples, n_features)
        The activations.

    batch : object
        Input of the model.

    skip : sequence of int
        Positions that do not count; negative ones count from the end.

    mask : str or None
        Name of the argument that is 0 at padding, if the batch has it.

    Returns
    -------
    torch.Tensor of bool of shape (n_texts, n_positions), or slice
        True where a position counts; all samples for activations without positions.
    """
    if values.ndim == 2:
        return slice(None)
    if values.ndim != 3:
        raise ValueError(
            "Activations must have the shape (n_samples, n_features) or (n_texts, n_positions, "
            f"n_features), got {tuple(values.shape)}; choose a module with features on its last "
            "axis."
        )
    n_positions = values.shape[1]
    kept = torch.ones(values.shape[:2], dtype=torch.bool)
    kept[:, [i for i in skip if -n_positions <= i < n_positions]] = False
    if mask is not None and isinstance(batch, Mapping) and mask in batch:
        kept &= torch.as_tensor(batch[mask]).cpu() != 0
    return kept.to(values.device)
