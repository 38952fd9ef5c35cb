"""Runs of a model, and the places of activations in its modules and in its texts."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

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

    args, kwargs = as_arguments(batch)
    return model(*map(there, args), **{name: there(value) for name, value in kwargs.items()})


class _AllFoundError(Exception):
    """All activations have been found, so that the rest of the model need not run."""


def register(model: nn.Module, name: str, hook: Callable[..., Any]) -> RemovableHandle:
    """Let a hook see, and perhaps replace, the output of the module of a name, or its input."""
    module = find_module(model, name)
    if name.endswith(INPUT):
        return module.register_forward_pre_hook(hook, with_kwargs=True)
    return module.register_forward_hook(hook, with_kwargs=True)


def capture(model: nn.Module, names: Sequence[str], batch: Any) -> dict[str, torch.Tensor]:
    """Return the activations of some modules of a model, by their names."""
    found: dict[str, torch.Tensor] = {}

    def note(name: str, _: nn.Module, args: Any, kwargs: Any, *output: Any) -> None:
        value = output[0] if output else [*args, *kwargs.values()]
        found.setdefault(name, first_tensor(value, name).detach())
        if len(found) == len(names):
            raise _AllFoundError

    with ExitStack() as hooks, suppress(_AllFoundError), evaluating(model):
        for name in names:
            hooks.enter_context(register(model, name, partial(note, name)))
        run(model, batch)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"The model did not run its module(s) {missing} for a batch.")
    return found


def mask_of(model: nn.Module, mask: str | None, args: Any, kwargs: Any) -> torch.Tensor | None:
    """Return the argument of a model that marks padding, if it has this argument."""
    if mask is None or mask in kwargs:
        return kwargs.get(mask)
    names = [*inspect.signature(model.forward).parameters]
    return dict(zip(names, args, strict=False)).get(mask)


def as_arguments(batch: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the positional and the named arguments of a model that a batch means."""
    if isinstance(batch, Mapping):
        return (), batch
    return (tuple(batch) if isinstance(batch, tuple | list) else (batch,)), {}


def token_ids(batch: Any) -> torch.Tensor | None:
    """Return the token ids of a batch, shape (n_texts, n_positions), if it has any."""
    args, kwargs = as_arguments(batch)
    ids = kwargs.get("input_ids", next(iter([*args, *kwargs.values()]), None))
    is_ids = isinstance(ids, torch.Tensor) and ids.ndim == 2 and not ids.is_floating_point()
    return ids.long() if is_ids else None


def text_positions(shape: Sequence[int], mask: torch.Tensor | None) -> torch.Tensor:
    """Return the position of each token in its text, without padding on either side.

    Parameters
    ----------
    shape : (int, int)
        Number of texts, and of positions with padding.

    mask : torch.Tensor of shape (n_texts, n_all) or None
        0 at padding; None if there is none. Only the last positions count, as a model that caches
        earlier tokens is given only new ones.

    Returns
    -------
    torch.Tensor of int of shape (n_texts, n_positions)
        Positions from 0 on; -1 at padding.
    """
    if mask is None:
        return torch.arange(shape[1]).expand(*shape)
    is_token = torch.as_tensor(mask).cpu() != 0
    return torch.where(is_token, is_token.cumsum(dim=1) - 1, -1)[:, -shape[1] :]


def kept_positions(
    values: torch.Tensor, mask: torch.Tensor | None, skip: Sequence[int]
) -> torch.Tensor | slice:
    """Return an index of the positions that count.

    Parameters
    ----------
    values : torch.Tensor of shape (n_texts, n_positions, n_features) or (n_samples, n_features)
        The activations.

    mask : torch.Tensor of shape (n_texts, n_positions) or None
        0 at padding, if there is any.

    skip : sequence of int
        Positions of each text that do not count; negative ones count from its end. Padding is no
        part of a text.

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
    position = text_positions(values.shape[:2], mask)
    from_end = position - position.max(dim=1, keepdim=True).values - 1
    skipped = torch.tensor([*skip], dtype=position.dtype)
    is_skipped = torch.isin(position, skipped) | torch.isin(from_end, skipped)
    return ((position >= 0) & ~is_skipped).to(values.device)
