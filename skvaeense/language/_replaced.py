"""Runs of a model on reconstructions of its activations, and the loss that they cause."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from skvaeense._base import BaseAutoencoder, WithoutGradients
from skvaeense.language import _hooks
from skvaeense.utils._torch import evaluating
from skvaeense.utils._validation import HasMethods


@contextmanager
def replaced(
    model: nn.Module,
    module_name: str | Mapping[str, Any],
    by: Any = None,
    *,
    skip: Sequence[int] = (0,),
    mask: str | None = "attention_mask",
) -> Iterator[None]:
    """Replace the activations of modules of a model while the context lasts.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    module_name : str or dict
        Name, as in ``named_modules``, of the module whose output is replaced, or its input if
        ":input" follows the name: the first tensor, of the shape (n_texts, n_positions, n_features)
        or (n_samples, n_features). A dict from names to replacements replaces several activations
        at once.

    by : estimator, callable or None, default=None
        A fitted estimator with `transform` and `inverse_transform`, whose reconstructions replace
        the activations. An estimator that was fitted with a target predicts them from the input of
        the module. Or a function from a tensor of shape (n_rows, n_features) to another tensor or
        to an array. None if `module_name` is a dict.

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

    RuntimeError
        In the backward pass through the reconstructions of an estimator without gradients.

    See Also
    --------
    loss_recovered : Measure the loss that reconstructions cause.

    Notes
    -----
    Gradients flow through functions of tensors, and through a
    :class:`~skvaeense.SparseAutoencoder`. Other estimators have none, so that a backward pass
    through their reconstructions is an error. Functions of arrays need a run without gradients, by
    ``torch.no_grad()``.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.language import replaced
    >>> model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50))
    >>> texts = torch.zeros((2, 5), dtype=torch.int64)
    >>> with torch.no_grad(), replaced(model, "0", lambda rows: 0 * rows, skip=()):
    ...     logits = model(texts)
    >>> bool(torch.allclose(logits, model[1].bias))
    True

    Two activations at once, the second of which is the input of a module:

    >>> with replaced(model, {"0": torch.tanh, "1:input": torch.relu}, skip=()):
    ...     logits = model(texts)
    >>> bool(torch.allclose(logits, model[1](model[0](texts).tanh().relu())))
    True
    """
    masks: list[torch.Tensor | None] = [None]

    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        masks[0] = _hooks.mask_of(model, mask, args, kwargs)

    def positions(given: torch.Tensor) -> torch.Tensor | slice:
        return _hooks.kept_positions(given, masks[0], skip)

    with ExitStack() as hooks:
        hooks.enter_context(model.register_forward_pre_hook(note, with_kwargs=True))
        for name, source in _sources(module_name, by).items():
            hook = _hook(name, source, positions)
            hooks.enter_context(_hooks.register(model, name, hook))
        yield


def _sources(module_name: str | Mapping[str, Any], by: Any) -> Mapping[str, Any]:
    """Return what replaces the activations of each module."""
    if isinstance(module_name, str):
        return {module_name: by}
    if by is not None:
        raise ValueError(
            "A dict module_name has the replacement of each module, so by must be None; name other "
            f"arguments, as in batches=...; got {type(by).__name__}."
        )
    return module_name


def _replacement(by: Any) -> tuple[Callable[[torch.Tensor, torch.Tensor], Any], bool]:
    """Return what replaces activations, and whether it takes the input of their module.

    The function takes what it reads, which is the input or the activations, and the activations.
    """
    if isinstance(by, tuple):
        return by
    takes_input = hasattr(by, "predict") and hasattr(by, "target_mean_")
    own = by if callable(by) else _reconstruction(by, takes_input)
    return lambda seen, _: own(seen), takes_input


def _hook(name: str, by: Any, positions: Callable[[torch.Tensor], Any]) -> Callable[..., Any]:
    """Return a hook that replaces some positions of the output of a module, or of its input."""
    function, takes_input = _replacement(by)

    def hook(_: nn.Module, args: Any, kwargs: Any, *output: Any) -> Any:
        inputs = [*args, *kwargs.values()]
        given = _hooks.first_tensor(output[0] if output else inputs, name)
        seen = _hooks.first_tensor(inputs, name) if takes_input else given
        where = positions(given)
        new = torch.as_tensor(function(seen[where], given[where])).to(given)
        if new.shape != given[where].shape:
            raise ValueError(
                f"Activations of shape {tuple(given[where].shape)} must be replaced by the same "
                f"shape, got shape {tuple(new.shape)}."
            )
        result = given.clone()
        result[where] = new
        if output:
            return _hooks.with_first(output[0], result)
        if any(isinstance(item, torch.Tensor) for item in args):
            return _hooks.with_first(args, result), kwargs
        return args, _hooks.with_first(kwargs, result)

    return hook


def _reconstruction(estimator: Any, takes_input: bool) -> Callable[[torch.Tensor], Any]:
    """Return a function from samples to reconstructions, or to the predicted target."""
    if not HasMethods(["transform", "inverse_transform"]).is_satisfied_by(estimator):
        raise TypeError(
            f"{type(estimator).__name__} has no transform or no inverse_transform. Give a fitted "
            "estimator with both, or a function."
        )

    def reconstruct(rows: torch.Tensor) -> Any:
        rows = rows if rows.dtype is torch.float64 else rows.float()
        if takes_input:
            return estimator.predict(rows)
        if isinstance(estimator, BaseAutoencoder):
            # Dense codes, which have gradients, whatever the estimator gives its users.
            return estimator._decoded(estimator._codes(rows))
        if rows.requires_grad:
            return WithoutGradients.apply(rows, reconstruct)
        return estimator.inverse_transform(estimator.transform(rows))

    return reconstruct


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
    >>> from skvaeense.language import LossRecovered
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
    module_name: str | Mapping[str, Any],
    by: Any = None,
    batches: Iterable[Any] = (),
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

    module_name : str or dict
        Name of the module whose activations are replaced, or a dict from names to reconstructions,
        as for `replaced`.

    by : estimator, callable or None, default=None
        Source of the reconstructions, as for `replaced`.

    batches : iterable
        Inputs of the model, at least one: tensors of tokens, tuples of arguments, or dicts.

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
        If there is no such module, no batch, no token ids for the default loss, or `ablation` is
        neither of the two.

    See Also
    --------
    skvaeense.metrics.fvu : Share of the activations themselves that is lost.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.language import loss_recovered
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50))
    >>> texts = torch.randint(50, (10, 8))
    >>> found = loss_recovered(model, "0", lambda rows: rows, texts.split(5))
    >>> found.recovered, found.kl
    (1.0, 0.0)

    Reconstructions of two modules at once:

    >>> found = loss_recovered(model, {"0": torch.tanh, "1": torch.tanh}, batches=[texts])
    >>> found.kl > 0
    True
    """
    if ablation not in ("zero", "mean"):
        raise ValueError(f"ablation must be 'zero' or 'mean', got {ablation!r}.")

    def ablated(rows: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(rows) if ablation == "zero" else rows.mean(0).expand_as(rows)

    own = partial(_next_token_loss, model, mask) if loss is None else loss
    sources = _sources(module_name, by)
    sums, kl, n_losses, n_rows = np.zeros(3), 0.0, 0, 0
    with evaluating(model):
        for batch in batches:
            logits = [logits_of(model, batch)]
            for replacements in (sources, dict.fromkeys(sources, ablated)):
                with replaced(model, replacements, skip=skip, mask=mask):
                    logits.append(logits_of(model, batch))
            losses = [own(given, batch) for given in logits]
            sums += [float(some.sum()) for some in losses]
            n_losses += losses[0].numel()
            is_token = is_token_of(model, mask, batch)
            clean, other = (g[is_token].float().log_softmax(-1) for g in logits[:2])
            kl += float(F.kl_div(other, clean, reduction="sum", log_target=True))
            n_rows += clean[..., 0].numel()
    if n_losses == 0:
        raise ValueError("batches is empty; at least one batch with a loss is needed.")
    clean_loss, replaced_loss, ablated_loss = (sums / n_losses).tolist()
    span = ablated_loss - clean_loss
    recovered = (ablated_loss - replaced_loss) / span if span else float("nan")
    return LossRecovered(clean_loss, replaced_loss, ablated_loss, recovered, kl / n_rows)


def _next_token_loss(
    model: nn.Module, mask: str | None, logits: torch.Tensor, batch: Any
) -> torch.Tensor:
    """Return the negative log-probability of each next token, as predicted from a token."""
    tokens = _hooks.token_ids(batch)
    if tokens is None:
        raise ValueError("The batches have no token ids; give loss, a function of the logits.")
    targets = tokens[:, 1:].to(logits.device)
    predicted = logits[:, :-1].flatten(0, 1).float()
    losses = F.cross_entropy(predicted, targets.flatten(), reduction="none").view_as(targets)
    is_token = is_token_of(model, mask, batch)
    return losses if is_token is ... else losses[is_token[:, :-1] & is_token[:, 1:]]


def is_token_of(model: nn.Module, mask: str | None, batch: Any) -> Any:
    """Return the index of positions that are no padding: all, if nothing marks padding."""
    found = _hooks.mask_of(model, mask, *_hooks.as_arguments(batch))
    return ... if found is None else torch.as_tensor(found) != 0


def logits_of(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return the output of a model for a batch, or the logits in it."""
    output = _hooks.run(model, batch)
    return _hooks.first_tensor(getattr(output, "logits", output), "the output of the model")
