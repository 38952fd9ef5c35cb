"""Runs of a model on reconstructions of its activations, and the loss that they cause."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from skvaeense.activations._modules import (
    INPUT,
    as_arguments,
    find_module,
    first_tensor,
    kept_positions,
    mask_of,
    run,
    with_first,
)
from skvaeense.utils._torch import evaluating


@contextmanager
def replaced(
    model: nn.Module,
    module_name: str,
    by: Any,
    *,
    skip: Sequence[int] = (0,),
    mask: str | None = "attention_mask",
) -> Iterator[None]:
    """Replace the activations of a module of a model while the context lasts.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    module_name : str
        Name, as in ``named_modules``, of the module whose output is replaced: the first tensor that
        the module returns, of the shape (n_texts, n_positions, n_features) or (n_samples,
        n_features).

    by : estimator or callable
        A fitted estimator with `transform` and `inverse_transform`, whose reconstructions replace
        the activations. An estimator that was fitted with a target predicts them from the input of
        the module. Or a function from a tensor of shape (n_rows, n_features) to another tensor or
        to an array.

    skip : sequence of int, default=(0,)
        Positions of each text that are not replaced, such as those that `Activations` leaves out.

    mask : str or None, default="attention_mask"
        Name of an argument of the model that is 0 at padding. Padding on either side is not
        replaced, and positions count from the first token of a text.

    Yields
    ------
    None
        After the context, the model is as before, whatever happens inside.

    Raises
    ------
    ValueError
        If there is no such module, or if the replacement has another shape.

    See Also
    --------
    loss_recovered : Measure the loss that reconstructions cause.

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
    module = find_module(model, module_name)
    if module_name.endswith(INPUT):
        raise ValueError(
            "module_name must name a module whose output is replaced, got the input "
            f"{module_name!r}."
        )
    takes_input = hasattr(by, "predict") and hasattr(by, "target_mean_")
    function = by if callable(by) else _reconstruction(by, takes_input)

    masks: list[torch.Tensor | None] = [None]

    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        masks[0] = mask_of(model, mask, args, kwargs)

    def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        given = first_tensor(output, module_name)
        seen = first_tensor([*args, *kwargs.values()], module_name) if takes_input else given
        where = kept_positions(given, masks[0], skip)
        new = torch.as_tensor(function(seen[where].detach())).to(given)
        if new.shape != given[where].shape:
            raise ValueError(
                f"Activations of shape {tuple(given[where].shape)} must be replaced by the same "
                f"shape, got shape {tuple(new.shape)}."
            )
        result = given.clone()
        result[where] = new
        return with_first(output, result)

    with (
        model.register_forward_pre_hook(note, with_kwargs=True),
        module.register_forward_hook(hook, with_kwargs=True),
    ):
        yield


def _reconstruction(estimator: Any, takes_input: bool) -> Callable[[torch.Tensor], Any]:
    """Return a function from samples to reconstructions, or to the predicted target."""
    if takes_input:
        return lambda rows: estimator.predict(_given(rows))
    for name in ("transform", "inverse_transform"):
        if not hasattr(estimator, name):
            raise TypeError(
                f"{type(estimator).__name__} has no {name}. Give a fitted estimator with {name}, "
                "or a function."
            )
    return lambda rows: estimator.inverse_transform(estimator.transform(_given(rows)))


def _given(rows: torch.Tensor) -> torch.Tensor:
    """Return rows in a precision that estimators take."""
    return rows if rows.dtype is torch.float64 else rows.float()


class LossRecovered(NamedTuple):
    """Losses of a model with and without reconstructions of its activations.

    Attributes
    ----------
    loss : float
        Mean loss of the model, in nats.

    replaced_loss : float
        Mean loss with reconstructions.

    ablated_loss : float
        Mean loss without the activations: with zeros, or their mean, in their place.

    recovered : float
        ``(ablated_loss - replaced_loss) / (ablated_loss - loss)``: 1 if nothing is lost, 0 if
        reconstructions are no better than no activations.

    kl : float
        Mean Kullback-Leibler divergence, in nats, of the model's predictions with reconstructions
        from its predictions without them.

    Examples
    --------
    >>> from skvaeense.activations import LossRecovered
    >>> LossRecovered(2.0, 2.5, 6.0, 0.875, 0.3).recovered
    0.875
    """

    loss: float
    replaced_loss: float
    ablated_loss: float
    recovered: float
    kl: float


def loss_recovered(
    model: nn.Module,
    module_name: str,
    by: Any,
    batches: Iterable[Any],
    *,
    loss: Callable[[torch.Tensor, Any], torch.Tensor] | None = None,
    ablation: Literal["zero", "mean"] = "zero",
    skip: Sequence[int] = (0,),
    mask: str | None = "attention_mask",
) -> LossRecovered:
    """Measure the share of a model's loss that reconstructions of its activations recover.

    Parameters
    ----------
    model : torch.nn.Module
        Any model. Its output, the `logits` of its output, or the first tensor in its output must be
        logits of shape (..., n_classes).

    module_name : str
        Name of the module whose output is replaced, as for `replaced`.

    by : estimator or callable
        Source of the reconstructions, as for `replaced`.

    batches : iterable
        Inputs of the model: tensors of tokens, tuples of arguments, or dicts.

    loss : callable or None, default=None
        Function of the logits and the batch that returns the losses, a tensor of any shape, which
        is averaged. None means the negative log-probability of the next token, in nats. The tokens
        are the batch, the first of its arguments, or "input_ids". Neither padding nor predictions
        from padding count.

    ablation : {"zero", "mean"}, default="zero"
        Replacement of activations in `ablated_loss`: zeros, as is usual, or the mean of the rows of
        each batch, which leaves more, so that less is recovered.

    skip : sequence of int, default=(0,)
        Positions whose activations stay as they are, in all three runs.

    mask : str or None, default="attention_mask"
        Name of the argument that is 0 at padding, as for `replaced`.

    Returns
    -------
    LossRecovered
        The losses, the share that is recovered, and the divergence.

    Raises
    ------
    ValueError
        If there is no such module, no batch, or `ablation` is neither of the two.

    See Also
    --------
    skvaeense.metrics.fvu : Share of the activations themselves that is lost.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.activations import loss_recovered
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50))
    >>> texts = torch.randint(50, (10, 8))
    >>> found = loss_recovered(model, "0", lambda rows: rows, texts.split(5))
    >>> found.recovered, found.kl
    (1.0, 0.0)
    """
    if ablation not in ("zero", "mean"):
        raise ValueError(f"ablation must be 'zero' or 'mean', got {ablation!r}.")

    def ablated(rows: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(rows) if ablation == "zero" else rows.mean(0).expand_as(rows)

    own = partial(next_token_loss, model, mask) if loss is None else loss
    sums, kl, n_losses, n_rows = np.zeros(3), 0.0, 0, 0
    with evaluating(model):
        for batch in batches:
            logits = [_logits(model, batch)]
            for function in (by, ablated):
                with replaced(model, module_name, function, skip=skip, mask=mask):
                    logits.append(_logits(model, batch))
            losses = [own(given, batch) for given in logits]
            sums += [float(some.sum()) for some in losses]
            n_losses += losses[0].numel()
            is_token = _is_token(model, mask, batch)
            clean, other = (g[is_token].float().log_softmax(-1) for g in logits[:2])
            kl += float(F.kl_div(other, clean, reduction="sum", log_target=True))
            n_rows += clean[..., 0].numel()
    if n_losses == 0:
        raise ValueError("batches is empty; at least one batch with a loss is needed.")
    clean_loss, replaced_loss, ablated_loss = (sums / n_losses).tolist()
    span = ablated_loss - clean_loss
    recovered = (ablated_loss - replaced_loss) / span if span else float("nan")
    return LossRecovered(clean_loss, replaced_loss, ablated_loss, recovered, kl / n_rows)


def next_token_loss(
    model: nn.Module, mask: str | None, logits: torch.Tensor, batch: Any
) -> torch.Tensor:
    """Return the negative log-probability of each next token, as predicted from a token."""
    tokens = batch.get("input_ids", batch) if isinstance(batch, Mapping) else batch
    tokens = first_tensor(tokens, "the batch").to(logits.device)
    losses = F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="none"
    ).view(len(tokens), -1)
    is_token = _is_token(model, mask, batch)
    if is_token is ...:
        return losses.flatten()
    return losses[is_token[:, :-1] & is_token[:, 1:]]


def _is_token(model: nn.Module, mask: str | None, batch: Any) -> Any:
    """Return the index of positions that are no padding: all, if nothing marks padding."""
    found = mask_of(model, mask, *as_arguments(batch))
    return ... if found is None else torch.as_tensor(found) != 0


def _logits(model: nn.Module, batch: Any) -> torch.Tensor:
    output = run(model, batch)
    return first_tensor(getattr(output, "logits", output), "the output of the model")
