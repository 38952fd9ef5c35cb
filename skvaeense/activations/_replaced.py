"""A model that goes on from reconstructions of its activations."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from skvaeense.activations._modules import find_place, first_tensor, kept_positions, with_first


@contextmanager
def replaced(
    model: nn.Module,
    module_name: str,
    by: Any,
    *,
    skip: Sequence[int] = (0,),
) -> Iterator[None]:
    """Run a model with the activations of a module replaced, as long as the context lasts.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    module_name : str
        Name of a module, as ``named_modules`` gives it, whose output is replaced. It is the first
        tensor that the module returns, of the shape (n_texts, n_positions, n_features) or
        (n_samples, n_features).

    by : estimator or callable
        A fitted estimator with `transform` and `inverse_transform`: its reconstructions take the
        place of activations. One that was fitted with a target predicts them from the input of the
        module. Or a function from a tensor of shape (n_rows, n_features) to another one, or to an
        array.

    skip : sequence of int, default=(0,)
        Positions that stay as they are, as those that an `Activations` leaves out.

    Yields
    ------
    None
        The model is as before after the context, whatever happens inside.

    Raises
    ------
    ValueError
        If there is no such module, or what replaces activations has another shape.

    See Also
    --------
    loss_recovered : What a model loses by it.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.activations import replaced
    >>> model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50))
    >>> texts = torch.zeros((2, 5), dtype=torch.int64)
    >>> with torch.no_grad(), replaced(model, "0", lambda rows: 0 * rows, skip=()):
    ...     logits = model(texts)
    >>> bool(torch.allclose(logits, model[1].bias))
    True
    """
    place = find_place(model, module_name)
    if place.is_input:
        raise ValueError(f"The output of a module is replaced, and {module_name!r} names an input.")
    takes_input = hasattr(by, "predict") and hasattr(by, "target_mean_")
    function = by if callable(by) else _reconstruction(by, takes_input)

    def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        given = first_tensor(output, module_name)
        seen = first_tensor([*args, *kwargs.values()], module_name) if takes_input else given
        kept = kept_positions(given.shape, None, skip, None)
        where = slice(None) if kept is None else kept.to(given.device)
        new = torch.as_tensor(function(seen[where].detach())).to(given)
        if new.shape != given[where].shape:
            raise ValueError(
                f"What replaces activations of shape {tuple(given[where].shape)} has the shape "
                f"{tuple(new.shape)}."
            )
        result = given.clone()
        result[where] = new
        return with_first(output, result)

    handle = place.module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _reconstruction(estimator: Any, takes_input: bool) -> Callable[[torch.Tensor], Any]:
    """Return the function from samples to what an estimator says of them."""
    if takes_input:
        return lambda rows: estimator.predict(_given(rows))
    for name in ("transform", "inverse_transform"):
        if not hasattr(estimator, name):
            raise TypeError(
                f"{type(estimator).__name__} has no {name}; give a fitted estimator that has, or a "
                "function."
            )
    return lambda rows: estimator.inverse_transform(estimator.transform(_given(rows)))


def _given(rows: torch.Tensor) -> torch.Tensor:
    """Return rows in a precision that estimators take."""
    return rows if rows.dtype is torch.float64 else rows.float()
