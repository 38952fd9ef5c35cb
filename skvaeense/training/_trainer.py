"""The trainer: epochs of steps on shuffled mini-batches, and hooks around each step."""

import copy
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import chain, islice
from typing import Any, NamedTuple, TypeAlias

import torch

from skvaeense.losses import Loss, Terms
from skvaeense.samples._scaling import Batches
from skvaeense.training._optimizers import FlatParameters, make_optimizer
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._torch import restore_generator, suited_threads

# Steps of a long epoch between two records in the log, after which a series of epochs can be left.
STRIDE = 100
# What a log says about each record besides means.
TAGS = ("init", "epoch", "step")
# Attributes of a trainer that describe its progress.
PROGRESS = ("learning_rate", "log", "n_steps", "epoch", "step", "sums", "order")
# Fractions done at the first step of a series of epochs, and after the last one.
Span: TypeAlias = tuple[float, float]


class Step(NamedTuple):
    """The inputs and results of one step of the trainer."""

    # The batch, and the terms of its loss.
    x: torch.Tensor
    terms: Terms
    # Share of the training that is over.
    fraction_done: float


class Resumable:
    """Have a state from which an interrupted training can be resumed."""

    # The attributes that are the state; None means all.
    saved: tuple[str, ...] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        return {name: getattr(self, name) for name in self.saved or vars(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a copy of a state."""
        vars(self).update(copy.deepcopy(state))


class Hook(Resumable):
    """Take part in training; every method does nothing by default."""

    def before_loss(self, trainer: "Trainer", fraction_done: float) -> None:
        """Set the attributes of the model that the loss reads."""

    def before_step(self, trainer: "Trainer") -> None:
        """Change the gradients before the optimizer uses them."""

    def after_step(self, trainer: "Trainer", step: Step) -> None:
        """Change weights, or record the terms, which are means over the whole batch."""

    def values(self) -> dict[str, float]:
        """Return the numbers that the history records at the end of an epoch."""
        return {}


@dataclass(eq=False)
class Trainer:
    """Train a model, in one series of epochs or in several.

    Attributes
    ----------
    model : Model
        The model, trained in place.

    loss : Loss
        The loss that is minimised.

    optimizer : str, class or functools.partial
        The optimizer of the weights: see `make_optimizer`, whose result replaces it.

    learning_rate : float
        Peak learning rate.

    schedule : callable
        Function from the share of the training that is done to the factor of the learning rate.

    generator : torch.Generator
        The source of order and noise, on the model's device.

    hooks : sequence of Hook, default=()
        Hooks that are called around each step.

    rates : dict of Parameter to float or tensor, default=None
        Factors on the learning rate of single weights, which broadcast to their parameter. One
        tensor for all weights replaces them.

    bounded : bool, default=False
        Whether no weight moves by more than its learning rate in a step.

    processes : Processes, default=SINGLE_PROCESS
        The processes that train together.

    init : int, default=0
        Index of the init that is trained; recorded in the log.

    log : list of dict of float
        For each epoch, or part of a long epoch, the means of the loss terms, the values of the
        hooks, and the number of epochs and of steps so far.

    other_log : list of dict of float
        The same for other inits, which were not kept.

    n_steps : int
        Steps so far.

    least_factor : float
        Lower limit of the learning rate, as a share of its peak.
    """

    model: Any
    loss: Loss
    _: KW_ONLY
    optimizer: Any
    learning_rate: float
    schedule: Callable[[float], float]
    generator: torch.Generator
    hooks: Sequence[Hook] = ()
    rates: Any = None
    bounded: bool = False
    processes: Processes = SINGLE_PROCESS
    init: int = 0

    def __post_init__(self) -> None:
        if self.loss.method is not None and not hasattr(self.model, self.loss.method):
            raise ValueError(
                f"loss={self.loss!r} needs the method {self.loss.method!r}, which "
                f"{type(self.model).__name__} does not have. Set another loss."
            )
        self.model.train()
        self.parameters = FlatParameters(self.model)
        given, self.rates = self.rates, None
        if given:
            self.rates = torch.ones_like(self.parameters.grads)
            for parameter, rate in given.items():
                self.parameters.part(self.rates, parameter)[...] = rate
        weights = [self.parameters.values]
        self.optimizer = make_optimizer(self.optimizer, weights, self.learning_rate)
        self.gradient = self.loss.gradient(self.model)
        self.log: list[dict[str, float]] = []
        self.other_log: list[dict[str, float]] = []
        self.n_steps, self.least_factor = 0, 0.0
        self._reset_position()

    def _reset_position(self) -> None:
        """Reset the position to the start of a series of epochs."""
        self.epoch = self.step = 0
        # Sums of the terms over the steps of the current epoch. They stay on the device, because
        # reading them would wait for it at every step.
        self.sums: Terms = {}
        # The state of the generator from which the order of the current epoch was drawn.
        self.order: torch.Tensor | None = None

    def epochs(
        self, train: Batches, *, n_epochs: int, batch_size: int, span: Span = (0.0, 1.0)
    ) -> Generator[bool, None, None]:
        """Train for a series of epochs; it ends early if the loss is not finite.

        After `load_state_dict`, it resumes from the loaded state. To end a series early, close the
        generator.

        Parameters
        ----------
        train : Batches
            Centred and scaled samples.

        n_epochs : int
            Passes over the samples.

        batch_size : int
            Samples in each step. An incomplete last batch is dropped; each pass has a new order.

        span : tuple of two floats, default=(0.0, 1.0)
            Fractions done at the first step and after the last one, if these epochs are part of a
            longer training.

        Yields
        ------
        bool
            True after each epoch, and False after every hundred steps within a long epoch.
        """
        batch_size = min(batch_size, len(train))
        n_steps = len(train) // batch_size
        first, n_done = self.epoch, math.floor(self.log[-1].get("epoch", 0) if self.log else 0)
        try:
            while self.epoch < n_epochs and self.is_finite:
                batches = self._batches(train, batch_size)
                noise = self.processes.generator(self.generator)
                while self.step < n_steps:
                    with suited_threads(self.model, batch_size):
                        for batch in islice(batches, STRIDE):
                            done = (self.epoch + self.step / n_steps) / n_epochs
                            self._take_step(batch, span[0] + (span[1] - span[0]) * done, noise)
                    is_whole = self.step >= n_steps
                    self._record(n_done + self.epoch - first + self.step / n_steps)
                    if is_whole:
                        self.epoch += 1
                        self.step, self.order = 0, None
                    yield is_whole
                    if is_whole:
                        break
        finally:
            self._reset_position()

    def fit(
        self, train: Batches, *, n_epochs: int, batch_size: int, span: Span = (0.0, 1.0)
    ) -> None:
        """Train for a series of epochs: see `epochs`."""
        for _ in self.epochs(train, n_epochs=n_epochs, batch_size=batch_size, span=span):
            pass

    def _batches(self, train: Batches, batch_size: int) -> Iterator[torch.Tensor]:
        """Return the remaining batches of an epoch: all, or the batches after some steps."""
        if self.order is None:
            self.order = self.generator.get_state()
            return train.epoch(batch_size, self.generator)
        now = self.generator.get_state()
        restore_generator(self.generator, self.order)
        batches = train.epoch(batch_size, self.generator)
        for _ in range(self.step):
            next(batches)
        self.generator.set_state(now)
        return batches

    def _take_step(self, x: torch.Tensor, fraction_done: float, noise: torch.Generator) -> None:
        for hook in self.hooks:
            hook.before_loss(self, fraction_done)
        terms = self.gradient(x, noise)
        # Buffers of layers, too.
        buffers = (b for b in self.model.buffers() if b.ndim and b.is_floating_point())
        self.processes.all_reduce_mean(chain([self.parameters.grads], terms.values(), buffers))
        for hook in self.hooks:
            hook.before_step(self)
        factor = max(self.schedule(fraction_done), self.least_factor)
        self._move(self.learning_rate * factor)
        for hook in self.hooks:
            hook.after_step(self, Step(x, terms, fraction_done))
        for name, term in terms.items():
            if term.ndim == 0:
                self.sums[name] = self.sums[name] + term if name in self.sums else term
        self.step += 1
        self.n_steps += 1

    @torch.no_grad()
    def _move(self, learning_rate: float) -> None:
        """Take a step of the optimizer; each weight moves by the share given by its rate."""
        # Torch may reject a larger learning rate, or its quotient by the corrections of the first
        # steps. Such a rate would take weights out of range anyway.
        kind = torch.finfo(self.parameters.values.dtype)
        learning_rate = min(learning_rate, kind.eps * kind.max)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self.rates is None and not self.bounded:
            self.optimizer.step()
            return
        values = self.parameters.values.detach()
        before = values.clone()
        self.optimizer.step()
        if self.bounded:
            torch.clamp(values, before - learning_rate, before + learning_rate, out=values)
        if self.rates is not None:
            torch.lerp(before, values, self.rates, out=values)

    def _record(self, n_epochs: float) -> None:
        """Add the steps since the last record to the log."""
        n_steps = (self.step - 1) % STRIDE + 1
        means = {name: float(total) / n_steps for name, total in self.sums.items()}
        for hook in self.hooks:
            means |= hook.values()
        tags = {"init": float(self.init), "epoch": n_epochs, "step": float(self.n_steps)}
        self.log.append(means | tags)
        self.sums = {}

    @property
    def is_finite(self) -> bool:
        """Whether the terms of the last epoch are finite."""
        return not self.log or all(map(math.isfinite, self.log[-1].values()))

    def hook(self, kind: type[Hook]) -> Any:
        """Return the hook of a class.

        Parameters
        ----------
        kind : type
            The class.

        Returns
        -------
        Hook
            The first hook of that class.
        """
        return next(hook for hook in self.hooks if isinstance(hook, kind))

    def state_dict(self) -> dict[str, Any]:
        """Return the state that training can resume from: tensors, numbers and containers.

        Returns
        -------
        dict
            The state. It shares its tensors with the training: copy them to keep their values.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "hooks": [hook.state_dict() for hook in self.hooks],
            "generator": self.generator.get_state(),
        } | {name: getattr(self, name) for name in PROGRESS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from a trainer with the same parts.

        Parameters
        ----------
        state : dict
            The state. It is copied, so that it can be used again.

        Raises
        ------
        ValueError
            If the state does not fit this trainer.
        """
        device = self.parameters.values.device
        try:
            hooks = zip(self.hooks, state["hooks"], strict=True)
            state = state | {"hooks": [with_earlier(hook, own) for hook, own in hooks]}
            self._check_state(state)
            self.model.load_state_dict(state["model"])
            # Without a copy, torch would train on the tensors of the given state.
            memory = copy.deepcopy(state["optimizer"]["state"])
            self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": memory})
            for hook, own in zip(self.hooks, state["hooks"], strict=True):
                hook.load_state_dict(on_device(own, device))
            restore_generator(self.generator, state["generator"])
            vars(self).update(on_device({name: state[name] for name in PROGRESS}, device))
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"The state of the training is damaged, or belongs to other parameters: {error}."
            ) from error

    def _check_state(self, state: dict[str, Any]) -> None:
        """Raise an error unless a state fits this trainer; a state can come from any file.

        Torch does not check this, and writes out of bounds if moments of the optimizer are shorter
        than the weights.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        # A step that moves nothing creates the state of the optimizer.
        self.optimizer.step()
        own = self.state_dict()
        if state["optimizer"]["state"]:
            check_layout(own["optimizer"]["state"], state["optimizer"]["state"], "optimizer")
        # The order, like the generator, can come from another device.
        for name in {"hooks", *PROGRESS} - {"order"}:
            check_layout(own[name], state[name], name)


def with_earlier(hook: Hook, given: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a hook, with those entries of an earlier version that it still has."""
    return hook.state_dict() | {k: v for k, v in given.items() if hasattr(hook, k)}


def check_layout(own: Any, given: Any, where: str) -> None:
    """Raise an error unless a state has the names and shapes of this trainer's own state.

    A number or None in `own` can be a number, a tensor without dimensions or None in `given`.
    """
    if isinstance(own, torch.Tensor) and own.ndim:
        fits = isinstance(given, torch.Tensor) and given.shape == own.shape
        fits = fits and given.is_floating_point() == own.is_floating_point()
    elif isinstance(given, dict) and isinstance(own, dict | None):
        fits = not own or own.keys() == given.keys()
        for name, part in given.items() if fits else ():
            check_layout((own or {}).get(name), part, f"{where}.{name}")
    elif isinstance(given, list) and isinstance(own, list | None):
        fits = True
        for i, part in enumerate(given):
            check_layout((own or [])[i] if i < len(own or []) else None, part, f"{where}.{i}")
    else:
        number = getattr(given, "ndim", None) == 0 or isinstance(given, int | float | None)
        fits = number and not isinstance(own, dict | list)
    if not fits:
        raise ValueError(f"{where} does not fit")


def on_device(value: Any, device: torch.device) -> Any:
    """Return a state with copies of its containers, and with its tensors on a device."""
    if isinstance(value, dict):
        return {key: on_device(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_device(item, device) for item in value)
    return value.to(device) if isinstance(value, torch.Tensor) else value


def diverged(subject: str) -> str:
    """Return the message for a loss that is not finite."""
    return (
        f"{subject} became NaN or infinite. Lower learning_rate_init, or look for samples far from "
        "all others: X is scaled by one number, so an outlier of many standard deviations makes "
        "gradients explode."
    )
