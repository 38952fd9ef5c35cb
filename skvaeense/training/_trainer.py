"""The one training loop, the inits of a fit, and the checkpoints that it resumes from."""

import copy
import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from itertools import islice
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.optim.adamw import adamw

from skvaeense.nets.losses import Loss, Terms
from skvaeense.samples._scaling import Batches
from skvaeense.samples._sources import Source, digest
from skvaeense.utils._callbacks import CALLBACKS
from skvaeense.utils._files import optional_import
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._records import Kept
from skvaeense.utils._torch import draw_seeds, memory_errors, restore_generator, suited_threads
from skvaeense.utils._typing import BoolArray, DoubleArray
from skvaeense.utils._validation import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE, StrOptions
from skvaeense.utils._warnings import warn_user

if TYPE_CHECKING:
    import pandas as pd
# Fraction done at which the last stage starts, also after an early stop: the learning rate falls to
# 0, and the noise variance rises to the error.
SETTLING = 0.7
# Steps of a long epoch between two records in the log, after which training can be left.
STRIDE = 100
# Share of the training over which the learning rate, and the coefficient of a penalty, rise.
WARMUP = 0.1
# What a log says about each record besides means.
TAGS = ("init", "epoch", "step")
# Attributes of a trainer that describe its progress.
PROGRESS = (
    *("learning_rate", "log", "n_steps", "n_epochs", "epoch"),
    *("best_loss", "best_state", "reference", "n_waited"),
)


class Plan(NamedTuple):
    """How long a training lasts: until the held-out loss no longer falls, then its last 30 %.

    Attributes
    ----------
    n_epochs : int
        Maximum number of passes over the samples.

    batch_size : int
        Samples in each step. An incomplete last batch is dropped; each pass has a new order.

    tol : float, default=0.0
        Least decrease of the held-out loss that counts.

    patience : float, default=inf
        Number of losses without such a decrease after which training skips to its last part.

    unwatched : float, default=0.0
        Share of the epochs, from the first on, whose losses are not compared.

    span : tuple of two floats, default=(0.0, 1.0)
        Fractions done at the first step and after the last one, if these epochs are a part of a
        longer training.
    """

    n_epochs: int
    batch_size: int
    tol: float = 0.0
    patience: float = math.inf
    unwatched: float = 0.0
    span: tuple[float, float] = (0.0, 1.0)

    @property
    def turn(self) -> int:
        """The epoch at which the last part begins, in which the learning rate falls to 0."""
        return self.n_epochs - math.ceil((1 - SETTLING) * self.n_epochs)

    def is_watched(self, epoch: int) -> bool:
        """Return whether the loss after this number of epochs is compared."""
        return epoch > min(math.ceil(self.unwatched * self.n_epochs), self.turn)


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

    hooks : sequence, default=()
        What adapts during training. Each hook has `before_loss`, which sets attributes of the model
        that the loss reads; `after_step`, which sees the batch, the terms of its loss and the share
        of the training that is over; and `values`, which the history records. Attributes of hooks
        are a part of the state.

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

    n_steps, n_epochs : int
        Steps and epochs so far.

    best_loss, best_state : float and dict or None
        The least held-out loss so far, and the state of the model at it.

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
    hooks: Sequence[Any] = ()
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
        given, self.rates = self.rates, None
        if given:
            rates = [torch.ones_like(p) * given.get(p, 1.0) for p in self.model.parameters()]
            self.rates = torch.cat([rate.detach().reshape(-1) for rate in rates])
        self.weights: Any = flat_weights(self.model)
        self.optimizer = make_optimizer(self.optimizer, [self.weights], self.learning_rate)
        # Records of this training, and of other inits of the same fit.
        self.log: list[dict[str, float]] = []
        self.other_log: list[dict[str, float]] = []
        self.n_steps = self.n_epochs = self.n_waited = 0
        # The position in the current series of epochs.
        self.epoch = self.step = 0
        self.least_factor = 0.0
        self.best_loss = self.reference = math.inf
        self.best_state: dict[str, torch.Tensor] | None = None

    def fit(
        self,
        train: Batches,
        plan: Plan,
        *,
        validate: Callable[[Any], float] | None = None,
        on_record: Callable[[], bool] | None = None,
        until: int | None = None,
    ) -> Self:
        """Train for a series of epochs; it ends early if the loss is not finite.

        It goes on from `epoch`: where it paused, or where a loaded state was.

        Parameters
        ----------
        train : Batches
            Centred and scaled samples.

        plan : Plan
            How long the training lasts.

        validate : callable or None, default=None
            Maps the model to its held-out loss, after each epoch.

        on_record : callable or None, default=None
            Called after each epoch, and after every hundred steps within a long one; it returns
            whether to stop.

        until : int or None, default=None
            The epoch at which the series pauses.

        Returns
        -------
        Trainer
            The trainer itself.
        """
        batch_size = min(plan.batch_size, len(train))
        n_steps, (start, stop) = len(train) // batch_size, plan.span
        while self.epoch < (until or plan.n_epochs) and self.is_finite:
            if self.step == 0:
                batches = train.epoch(batch_size, self.generator)
            # They stay on the device, because reading them would wait for it at every step.
            sums: Terms = {}
            with suited_threads(self.model, batch_size):
                for batch in islice(batches, STRIDE):
                    done = (self.epoch + self.step / n_steps) / plan.n_epochs
                    terms = self._take_step(batch, start + (stop - start) * done)
                    for name, term in terms.items():
                        if term.ndim == 0:
                            sums[name] = sums[name] + term if name in sums else term
            self._record(sums, self.n_epochs + self.step / n_steps)
            if self.step >= n_steps:
                self.epoch, self.n_epochs, self.step = self.epoch + 1, self.n_epochs + 1, 0
                if validate is not None and plan.is_watched(self.epoch):
                    self.compare(validate(self.model), plan)
            if on_record is not None and on_record():
                break
        if until is None:
            self.epoch = self.step = 0
        return self

    def _take_step(self, batch: torch.Tensor, fraction_done: float) -> Terms:
        """Take a step, and return the terms of its loss; every process has a part of the batch."""
        for hook in self.hooks:
            hook.before_loss(self.model, fraction_done)
        is_shared = self.processes.world_size > 1
        x = self.processes.part(batch) if is_shared else batch
        terms = self.loss.gradient(self.model, x, self.generator)
        gradient: Any = self.weights.grad
        if is_shared:
            # Buffers of layers, too.
            buffers = [b for b in self.model.buffers() if b.ndim and b.is_floating_point()]
            self.processes.all_reduce_mean([gradient, *terms.values(), *buffers])
        self.model.adjust(gradient)
        self._move(self.learning_rate * max(self.schedule(fraction_done), self.least_factor))
        self.model.renormalize()
        for hook in self.hooks:
            hook.after_step(batch, terms, fraction_done)
        self.step += 1
        self.n_steps += 1
        return terms

    def _record(self, sums: Terms, n_epochs: float) -> None:
        """Add the steps since the last record to the log."""
        n_steps = (self.step - 1) % STRIDE + 1
        means = {name: float(total) / n_steps for name, total in sums.items()}
        for hook in self.hooks:
            means |= hook.values()
        tags = {"init": float(self.init), "epoch": n_epochs, "step": float(self.n_steps)}
        self.log.append(means | tags)

    def compare(self, loss: float, plan: Plan) -> None:
        """Keep the best state by a loss, and skip to the last part if losses no longer fall."""
        if loss < self.best_loss:
            self.best_loss = loss
            # After the last epoch the model itself is in its best state.
            state = self.model.state_dict() if self.epoch < plan.n_epochs else {}
            self.best_state = copy.deepcopy(dict(state))
        is_lower = loss < self.reference - plan.tol
        self.reference = loss if is_lower else self.reference
        self.n_waited = 0 if is_lower else self.n_waited + 1
        if self.n_waited >= plan.patience:
            self.epoch = max(self.epoch, plan.turn)

    def restore_best(self) -> None:
        """Restore the best state of the model."""
        if self.best_state:
            self.model.load_state_dict(self.best_state)
        self.best_state = None

    @torch.no_grad()
    def _move(self, learning_rate: float) -> None:
        """Take a step of the optimizer; each weight moves by the share given by its rate."""
        # Torch may reject a larger learning rate, or its quotient by the corrections of the first
        # steps. Such a rate would take weights out of range anyway.
        kind = torch.finfo(self.weights.dtype)
        learning_rate = min(learning_rate, kind.eps * kind.max)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self.rates is None and not self.bounded:
            self.optimizer.step()
            return
        values = self.weights.detach()
        before = values.clone()
        self.optimizer.step()
        if self.bounded:
            torch.clamp(values, before - learning_rate, before + learning_rate, out=values)
        if self.rates is not None:
            torch.lerp(before, values, self.rates, out=values)

    @property
    def is_finite(self) -> bool:
        """Whether the terms of the last epoch are finite."""
        return not self.log or all(map(math.isfinite, self.log[-1].values()))

    def state_dict(self) -> dict[str, Any]:
        """Return the state that training can resume from: tensors, numbers and containers.

        Returns
        -------
        dict
            The state. It shares its tensors with the training: copy them to keep their values.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": {"state": {0: dict(self.optimizer.state[self.weights])}},
            "hooks": [dict(vars(hook)) for hook in self.hooks],
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
        try:
            for group in self.optimizer.param_groups:
                group["lr"] = 0.0
            # A step that moves nothing creates the memory of the optimizer.
            self.optimizer.step()
            own = self.state_dict()
            own["best_state"] = own["model"] if state["best_state"] else state["best_state"]
            own["log"] = [dict.fromkeys(record) for record in state["log"]]
            # The generator can come from another device.
            del own["generator"]
            given = {name: state[name] for name in own}
            # Files of earlier versions hold hooks that have no state.
            given["hooks"] = [values for values in given["hooks"] if values]
            found = fitted_state(own, given, "state", self.weights.device)
            self.model.load_state_dict(found.pop("model"))
            self.optimizer.state[self.weights].update(found.pop("optimizer")["state"][0])
            for hook, values in zip(self.hooks, found.pop("hooks"), strict=True):
                vars(hook).update(values)
            restore_generator(self.generator, state["generator"])
            vars(self).update(found)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"The state of the training is damaged, or belongs to other parameters: {error}."
            ) from error


def fitted_state(own: Any, given: Any, where: str, device: torch.device) -> Any:
    """Return a copy of a state on a device; raise an error unless it has a trainer's own layout.

    A state can come from any file. Torch writes out of bounds if moments of an optimizer are
    shorter than the weights. A number, None and a tensor without dimensions can stand for one
    another.
    """
    if isinstance(own, dict) and isinstance(given, dict) and own.keys() == given.keys():
        parts = own.items()
        return {k: fitted_state(v, given[k], f"{where}.{k}", device) for k, v in parts}
    if isinstance(own, list) and isinstance(given, list) and len(own) == len(given):
        pairs = enumerate(zip(own, given, strict=True))
        return [fitted_state(*pair, f"{where}.{i}", device) for i, pair in pairs]
    is_leaf = not isinstance(own, dict | list)
    if is_leaf and getattr(given, "shape", ()) == getattr(own, "shape", ()):
        if isinstance(given, int | float | None):
            return given
        if not given.ndim or given.is_floating_point() == own.is_floating_point():
            return given.clone().to(getattr(own, "device", device))
    raise ValueError(f"{where} does not fit")


def diverged(subject: str) -> str:
    """Return the message for a loss that is not finite."""
    return (
        f"{subject} became NaN or infinite. Lower learning_rate_init, or look for samples far from "
        "all others: X is scaled by one number, so an outlier of many standard deviations makes "
        "gradients explode."
    )


# --- optimizers and schedules ---------------------------------------------------------------------

Optimizer: TypeAlias = str | type[torch.optim.Optimizer] | partial[Any]
Schedule: TypeAlias = Literal["auto", "constant", "cosine"] | Callable[[float], float]

# Optimizers that need several evaluations of the loss, matrices, or sparse gradients.
UNSUITED = "LBFGS", "Muon", "SparseAdam"


def flat_weights(model: torch.nn.Module) -> torch.nn.Parameter:
    """Lay all parameters of a model, and their gradients, side by side in memory.

    The model's own tensors become views. One operation then covers all parameters: a step of the
    optimizer, or a mean over processes.

    Parameters
    ----------
    model : torch.nn.Module
        The model. Its parameters have one type and one device.

    Returns
    -------
    torch.nn.Parameter of shape (n_weights,)
        All weights, with all gradients as its `grad`.
    """
    parameters, start = list(model.parameters()), 0
    values = torch.nn.utils.parameters_to_vector(parameters).detach()
    weights = torch.nn.Parameter(values)
    weights.grad = grads = torch.zeros_like(values)
    for parameter in parameters:
        place = slice(start, start + parameter.numel())
        parameter.data = values[place].view(parameter.shape)
        parameter.grad = grads[place].view(parameter.shape)
        start = place.stop
    return weights


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
        (weights,) = parameters
        zeros = torch.zeros_like(weights.detach())
        step = torch.zeros((), device=weights.device)
        self.state = {weights: {"step": step, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}}

    @torch.no_grad()
    def step(self) -> None:
        """Take a step, with the defaults of torch.optim.Adam."""
        options: Any = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
        options |= {"amsgrad": False, "maximize": False, "fused": True}
        weights: Any
        ((weights, memory),) = self.state.items()
        moments: Any = [memory["exp_avg"]], [memory["exp_avg_sq"]], [], [memory["step"]]
        rate = self.param_groups[0]["lr"]
        adamw([weights], [weights.grad], *moments, lr=rate, **options)


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


# The constraints on parameters of training.
TRAINING_CONSTRAINTS: dict[str, list[Any]] = {
    "optimizer": [OptimizerOptions(set(NAMED))],
    "schedule": [StrOptions({"auto", "constant", "cosine"}), callable],
    "learning_rate_init": [POSITIVE],
    "batch_size": [AT_LEAST_ONE, StrOptions({"auto"})],
    "max_iter": [AT_LEAST_ONE, StrOptions({"auto"})],
    "tol": [NON_NEGATIVE],
    "n_iter_no_change": [AT_LEAST_ONE],
    "n_samples_planned": [AT_LEAST_ONE, None],
}


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


def cosine(fraction_done: float, hold: float = WARMUP, *, first: float = 0.04) -> float:
    """Return a factor of the learning rate: it rises to 1, stays there, and falls to 0.

    It rises from `first` during the warm-up, stays until `hold`, and falls by half a cosine.
    """
    if fraction_done < hold:
        return min(1.0, first + fraction_done / WARMUP)
    return 0.5 * (1 + math.cos(math.pi * (fraction_done - hold) / (1 - hold)))


def find_schedule(schedule: Schedule, hold: float = WARMUP) -> Callable[[float], float]:
    """Return the function that a schedule means; with "auto", the rate stays until `hold`."""
    if schedule == "auto":
        return partial(cosine, hold=hold)
    if schedule == "cosine":
        return cosine
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


# --- history --------------------------------------------------------------------------------------


class History(Kept, dict[str, DoubleArray]):
    """Hold one 1-d float64 array for each quantity, with one entry for each epoch.

    Long epochs have several entries. The epochs of inits that were not kept come first, one init
    after the other. The epochs of the kept model come last.
    """

    @classmethod
    def from_log(cls, log):
        """Return the history of epochs.

        Parameters
        ----------
        log : list of dict of float
            The quantities of each epoch, including "init", the index of its init.

        Returns
        -------
        History
            One array for each quantity.
        """
        names = log[0] if log else ("loss", "init", "epoch", "step")
        return cls({name: np.array([epoch[name] for epoch in log], dtype=float) for name in names})

    def extended(self, added: "History") -> "History":
        """Return the history with further entries."""
        return type(self)({name: np.append(own, added[name]) for name, own in self.items()})

    @property
    def kept(self) -> BoolArray:
        """Mask of the epochs of the kept model, whose init comes last."""
        return self["init"] == self["init"][-1:]

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas.DataFrame with a row for each epoch; raise ImportError without pandas."""
        frame: pd.DataFrame = optional_import("pandas", "to_frame", "pandas").DataFrame(dict(self))
        return frame

    def __repr__(self) -> str:
        n_epochs = len(next(iter(self.values()), ()))
        return f"<{type(self).__name__} of {n_epochs} epochs: {', '.join(self)}>"


# Attribute of an estimator in a checkpoint that holds the training state.
STATE = "_training_state_"
# Names of the two trainers in a training state: of the best init, and of the one that was begun.
KEPT = "best", "begun"
# Trainers of `partial_fit` between calls, and the parameters of their estimators. Copies and files
# of an estimator have the state of its trainer instead.
LIVE: Any = WeakKeyDictionary()


class FitSession:
    """Train the inits of one fit: report each epoch, keep checkpoints, and resume from them.

    Parameters
    ----------
    estimator : estimator
        The estimator before its fit. `_validation_loss` compares epochs, `_init_loss` compares the
        trainers of several inits, and `_attributes` returns the fitted attributes as if training
        ended now.

    rows : PreparedRows
        Training samples, their scaling and their weights.

    model : Model or None, default=None
        The earlier model, if its training goes on.

    progress : FitProgress
        The progress of the fit, which training reports to.

    processes : Processes
        The processes that train together. A ValueError is raised if their samples differ.

    Attributes
    ----------
    random_state : RandomState
        The source of all randomness of the fit.

    best : Trainer or None
        The trainer of the best init so far.

    log : list of dict of float
        The records of all inits that were compared, until then.
    """

    def __init__(self, estimator, rows, model=None, *, progress, processes):
        self.estimator, self.progress, self.processes = estimator, progress, processes
        self.stopped, self.log = False, []
        self.best: Any = None
        self.trainer: Any = None
        samples, scaling = rows.samples, rows.scaling
        processes.check_equal(
            [*samples.shape, float((scaling.mean + scaling.scale).sum())],
            "All processes that train together must be given the same samples. Each process "
            "takes its own part of them.",
        )
        callbacks = vars(estimator).get(CALLBACKS, ())
        self.keeper: Any = next((c for c in callbacks if hasattr(c, "keep")), None)
        self.last_kept, self.state = time.monotonic(), None
        if self.keeper is not None:
            samples = digest(samples) if isinstance(samples, Source) else samples
            # What the outcome depends on, besides the parameters.
            facts = [samples, scaling.mean, scaling.scale, model, rows.weights]
            self.name = self.keeper.name(estimator, facts)
            kept: Any = self.keeper.latest(self.name)
            self.state = None if kept is None else vars(kept)[STATE]
        # Training advances the user's own RandomState, as in scikit-learn.
        given = check_random_state(estimator.random_state)
        given = given if self.state is None else self.state["random_state"]
        self.random_state = processes.from_first(given)
        self.begun_random_state = copy.deepcopy(self.random_state)

    def train(self, data: Any, make: Callable[..., Trainer], n_inits: int, plan: Plan) -> Trainer:
        """Train each init until its last part, and the best one to the end; return its trainer.

        Parameters
        ----------
        data : FitData
            The samples.

        make : callable
            Maps the seeds and the index of an init to its trainer, before training. The first seed
            is for order and noise, the second for weights.

        n_inits : int
            Number of inits.

        plan : Plan
            How long each of them is trained.

        Returns
        -------
        Trainer
            The trainer, in its best state. Its `other_log` has the records of the other inits.
        """
        self.data, begun, is_over = data, None, False
        seeds = [draw_seeds(self.random_state) for _ in range(n_inits)]
        turn = max(plan.turn, 1)
        n_epochs = n_inits * turn + plan.n_epochs - turn
        self.progress.begin("codes", n_epochs * -(-data.n_steps // STRIDE))
        if self.state is not None:
            self.log = self.state["log"]
            self.best, begun = (self._resumed(self.state[name], make, seeds) for name in KEPT)
            is_over = begun is None
        n_compared = len({record["init"] for record in self.log})
        with memory_errors(data.batch_size):
            for init in range(n_compared, n_inits):
                trainer, begun = begun or make(seeds[init], init), None
                if self._run(trainer, plan, turn):
                    self.best = self._better(trainer)
                    self.log += trainer.log
                if self.stopped:
                    break
            kept: Any = begun or self.best
            kept.other_log = [record for record in self.log if record["init"] != kept.init]
            if not (self.stopped or is_over):
                self.best = None
                self._run(kept, plan)
        if not (kept.is_finite and (math.isfinite(kept.best_loss) or kept.n_waited == 0)):
            raise FloatingPointError(diverged("The loss"))
        kept.restore_best()
        self.best = kept
        if self.keeper and not (self.stopped or is_over):
            self._keep(kept, None)
        return kept

    def _run(self, trainer: Trainer, plan: Plan, until: int | None = None) -> bool:
        """Train an init, and return whether it is to be compared; Ctrl-C may keep another one."""
        self.trainer, trainer.processes = trainer, self.processes
        try:
            trainer.fit(
                self.data.train, plan, validate=self._loss, on_record=self._recorded, until=until
            )
        except KeyboardInterrupt:
            # Inits are compared at the same epoch.
            shown = self.best if self.best and self.best.is_finite else trainer
            if not (shown.log and shown.is_finite):
                raise
            self._stop_at(shown)
            return shown is trainer
        return True

    def _resumed(
        self, state: Any, make: Callable[..., Trainer], seeds: list[tuple[int, int]]
    ) -> Trainer | None:
        """Return the trainer of a state of a checkpoint, or None if there is no state."""
        if state is None:
            return None
        init = int(state["log"][-1]["init"])
        trainer = make(seeds[init], init)
        trainer.load_state_dict(state)
        return trainer

    def _better(self, trainer: Trainer) -> Trainer:
        """Return the better one of the best init so far and one more."""

        def loss(of: Trainer) -> float:
            found = float(self.processes.from_first(self.estimator._init_loss(of, self.data.valid)))
            return found if of.is_finite and math.isfinite(found) else math.inf

        is_better = self.best is None or loss(trainer) < loss(self.best)
        return trainer if is_better else self.best

    def _stop_at(self, shown: Trainer) -> None:
        """Warn that Ctrl-C ends training, and which model is kept."""
        # The checkpoint is not marked as over, so that the fit can be resumed.
        self.stopped = True
        warn_user(
            f"Training was interrupted after {len(shown.log)} epoch(s) of the best model. The "
            "estimator keeps this model."
        )

    def _loss(self, model: Any) -> float:
        """Return the held-out loss of a model."""
        loss = self.estimator._validation_loss(model, self.data.valid)
        return float(self.processes.from_first(loss))

    def _recorded(self) -> bool:
        """Report an epoch, keep a checkpoint if it is time, and return whether to stop."""
        trainer = self.trainer
        stops = self.progress.step(lambda: self.estimator._attributes(trainer, self.data))
        self.stopped = bool(self.processes.from_first(stops))
        seconds = time.monotonic() - self.last_kept
        if self.keeper and seconds >= self.keeper.interval and trainer.step == 0:
            self._keep(trainer, trainer)
        return self.stopped

    def _keep(self, shown: Trainer, begun: Trainer | None) -> None:
        """Write a checkpoint: the estimator as if training ended now, and the state of the fit."""
        if not self.processes.is_first:
            return
        estimator = self.estimator._draft(self.estimator._attributes(shown, self.data))
        state = {
            "random_state": self.begun_random_state,
            "log": self.log,
            "best": self.best and self.best.state_dict(),
            "begun": begun and begun.state_dict(),
        }
        setattr(estimator, STATE, state)
        self.keeper.keep(self.name, estimator)
        self.last_kept = time.monotonic()
