"""Training of fitted dictionaries for the predictions of the model that they explain."""

import copy
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skvaeense._sparse_autoencoder import SparseAutoencoder
from skvaeense.language._replaced import is_token_of, logits_of, replaced
from skvaeense.nets.losses import Loss, Terms
from skvaeense.training._data import LONG_STEPS, MAX_BATCH, sparse_learning_rate
from skvaeense.training._trainer import Plan, diverged
from skvaeense.utils._rows import SEARCH_ROWS
from skvaeense.utils._torch import draw_seeds, evaluating, frozen
from skvaeense.utils._typing import Auto
from skvaeense.utils._validation import check_integer


def fine_tuned(
    model: nn.Module,
    module_name: str,
    estimator: SparseAutoencoder,
    batches: Sequence[Any],
    *,
    learning_rate: Auto | float = "auto",
    n_epochs: int = 1,
    skip: Sequence[int] = (0,),
    mask: str | None = "attention_mask",
) -> SparseAutoencoder:
    """Train a fitted sparse autoencoder end to end, for the predictions of the model.

    The model runs on each batch with and without reconstructions. The loss is the loss of the
    autoencoder, plus the Kullback-Leibler divergence of the predictions with reconstructions from
    those without them.

    Parameters
    ----------
    model : torch.nn.Module
        The model, with logits as for `loss_recovered`. It does not change.

    module_name : str
        Name of the module whose activations are replaced, as for `replaced`.

    estimator : SparseAutoencoder
        A sparse autoencoder, or a transcoder, that was fitted to these activations.

    batches : sequence
        Inputs of the model: tensors of tokens, tuples of arguments, or dicts.

    learning_rate : "auto" or float, default="auto"
        Peak learning rate, which follows the schedule of the estimator. "auto" means the
        `learning_rate_init` of the estimator, or if that is "auto", its value for 3,000 steps.

    n_epochs : int, default=1
        Number of passes over the batches, which are shuffled.

    skip : sequence of int, default=(0,)
        Positions of each text that are not replaced.

    mask : str or None, default="attention_mask"
        Name of the argument that is 0 at padding, as for `replaced`.

    Returns
    -------
    SparseAutoencoder
        A fitted copy with other weights. Its centre, its scale and the number of its active latents
        are those of the estimator.

    Raises
    ------
    TypeError
        If the estimator is of another class.

    ValueError
        If there is no such module, or no batch.

    FloatingPointError
        If the loss becomes NaN or infinite.

    See Also
    --------
    loss_recovered : Measure the loss that reconstructions cause.

    Notes
    -----
    In each step the divergence, in nats, is weighted so that it is as large as the error of
    reconstructions [1]_. So it needs no coefficient, reconstructions stay close to the activations,
    and penalties keep their meaning. A short training is enough.

    References
    ----------
    .. [1] A. Karvonen, "Revisiting end-to-end sparse autoencoder training: a short finetune is all
       you need", 2025, arXiv:2503.17272.

    Examples
    --------
    >>> import torch
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.language import Activations, fine_tuned, loss_recovered
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50))
    >>> batches = torch.randint(50, (400, 12)).split(20)
    >>> sae = SparseAutoencoder(30, target_l0=4, max_iter=20, random_state=0)
    >>> _ = sae.fit(Activations(model, "0", batches))
    >>> tuned = fine_tuned(model, "0", sae, batches, n_epochs=5)
    >>> before, after = (loss_recovered(model, "0", own, batches) for own in (sae, tuned))
    >>> after.kl < before.kl
    True
    """
    if not isinstance(estimator, SparseAutoencoder):
        raise TypeError(
            f"Only a SparseAutoencoder has gradients that can train it, got {estimator!r}."
        )
    check_is_fitted(estimator)
    check_integer(n_epochs, "n_epochs", minimum=1)
    if not len(batches):
        raise ValueError("batches is empty; at least one batch is needed.")
    estimator = copy.deepcopy(estimator)
    data: Any = SimpleNamespace(
        train=_Runs(batches), batch_size=1, n_steps=len(batches), is_batch=False
    )
    seeds = draw_seeds(check_random_state(estimator.random_state))
    trainer = estimator._make_trainer(data, seeds, model=estimator._copy_of_model())
    trainer.learning_rate = _rate(estimator) if learning_rate == "auto" else learning_rate
    # Without the count of dead latents, which would need more steps.
    trainer.hooks = (coefficient,) = trainer.hooks[:1]
    loss = _Divergence(model, module_name, estimator._scaling, trainer.loss, skip, mask)
    trainer.loss = loss
    # The model reads codes that are refined, as after training, if the network refines them.
    trainer.model.training = False
    with frozen(model):
        trainer.fit(data.train, Plan(n_epochs, 1))
    if not trainer.is_finite:
        raise FloatingPointError(diverged("The loss"))
    module, x = trainer.model.eval(), torch.cat(loss.rows)
    x, _ = module.split(x)
    module.calibrate(x)
    module.meet(x, estimator.target_l0)
    module.alpha = module.alpha.detach()
    with torch.no_grad():
        dead = (module.code(x) == 0).all(dim=0).double().mean()
    attributes = {"dead_fraction_": float(dead)}
    if module.penalty.alpha is not None:
        attributes["alpha_"] = float(coefficient.alpha)
    history = estimator.history_
    attributes |= estimator._model_attributes(module.cpu(), estimator._scaling, history)
    estimator._store(attributes)
    return estimator


def _rate(estimator: SparseAutoencoder) -> float:
    """Return the peak learning rate of an estimator's own training."""
    rate: Any = estimator.learning_rate_init
    n_components = estimator.n_components_
    return sparse_learning_rate(MAX_BATCH, n_components, LONG_STEPS) if rate == "auto" else rate


class _Runs:
    """Inputs of a model, one of which is a batch of a trainer."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[Any]:
        """Yield the inputs in random order."""
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        yield from (self.batches[i] for i in order.tolist())


class _Divergence(Loss):
    """The loss of an autoencoder, plus the divergence of a model's predictions, equally weighted.

    It keeps the rows of some batches, centred and scaled, as samples for thresholds.
    """

    def __init__(self, net: Any, name: str, scaling: Any, loss: Loss, skip: Any, mask: Any) -> None:
        self.net, self.name, self.scaling, self.loss = net, name, scaling, loss
        self.skip, self.mask = skip, mask
        self.rows: list[torch.Tensor] = []

    def terms(self, model: Any, x: Any, *, generator: torch.Generator) -> Terms:
        """Return the terms of the autoencoder's loss for a batch of inputs, and "kl"."""
        found: list[Terms] = []
        has_target = model.n_targets is not None
        like = next(model.parameters())

        def reconstruct(seen: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
            own = torch.hstack([seen, given]) if has_target else given
            rows = self.scaling.apply(own, dtype=like.dtype, device=like.device)
            self._keep(rows.detach())
            found.append(self.loss.terms(model, rows, generator=generator))
            decoded = model.predict(rows[:, : model.n_features])
            return self.scaling.decoded.undo(decoded)

        is_token = is_token_of(self.net, self.mask, x)
        with evaluating(self.net), torch.enable_grad():
            with torch.no_grad():
                clean = logits_of(self.net, x)[is_token].float().log_softmax(-1)
            by = reconstruct, has_target
            with replaced(self.net, self.name, by, skip=self.skip, mask=self.mask):
                other = logits_of(self.net, x)[is_token].float().log_softmax(-1)
        kl = F.kl_div(other, clean, reduction="sum", log_target=True) / clean[..., 0].numel()
        (terms,) = found
        weight = terms["error"].detach() / kl.detach().clamp_min(torch.finfo(kl.dtype).tiny)
        return terms | {"loss": terms["loss"] + (weight * kl).to(terms["loss"]), "kl": kl}

    def _keep(self, rows: torch.Tensor) -> None:
        """Keep rows up to a number."""
        n_kept = sum(map(len, self.rows))
        if n_kept < SEARCH_ROWS:
            self.rows.append(rows[: SEARCH_ROWS - n_kept])
