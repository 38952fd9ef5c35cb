"""The base class of the autoencoders: fitting, coding, decoding, scikit-learn's protocols."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.validation import check_is_fitted

from skvaeense.mixture._rows import warn_of_far
from skvaeense.nets import networks
from skvaeense.nets.models import Model
from skvaeense.samples._rows import FLOATS, as_array, checked_tensor, tensor_as_array, validated
from skvaeense.samples._scaling import Scaling
from skvaeense.samples._sources import Source, open_samples, refuse_loader, rows_of_chunks
from skvaeense.samples._weights import Distinct, checked_weights, distinct_rows
from skvaeense.training import _trainer
from skvaeense.training._data import (
    HELD_OUT,
    RANDOM_STEPS,
    ROWS_OF_A_LATENT,
    Balls,
    FitData,
    PreparedRows,
    prepare_data,
)
from skvaeense.training._diagnosis import Findings, batch_messages, failure_messages
from skvaeense.utils import _callbacks, _torch, _validation
from skvaeense.utils._kept import LEAST_SHARE
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._processes import find_processes
from skvaeense.utils._rows import MIN_ROWS_TO_SPLIT, block_rows
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, SparseArray
from skvaeense.utils._warnings import warn_user

# The fitted attributes that validation sets before training.
FEATURES = ("n_features_in_", "feature_names_in_")
# Share of the peak learning rate that partial_fit keeps once its schedule is over.
PARTIAL_LEARNING_RATE = 0.1


def _is_finite(values: Any) -> bool:
    """Return whether all values are finite. A finite sum proves this at little cost."""
    library: Any = torch if isinstance(values, torch.Tensor) else np
    return bool(library.isfinite(values.sum()) or library.isfinite(values).all())


def needs_gradients(X: Any) -> bool:
    """Return whether results for X are to have gradients: those of a tensor in a graph."""
    return isinstance(X, torch.Tensor) and X.requires_grad and torch.is_grad_enabled()


class WithoutGradients(torch.autograd.Function):
    """Results of a function without gradients, whose backward pass is an error."""

    @staticmethod
    def forward(_: Any, rows: torch.Tensor, function: Callable[[torch.Tensor], Any]) -> Any:
        """Return the results as a tensor on the device of the rows."""
        return torch.as_tensor(function(rows.detach())).to(rows.device)

    @staticmethod
    def backward(_: Any, *gradients: Any) -> Any:
        """Raise an error, since gradients of 0 would be wrong."""
        raise RuntimeError(
            "These codes, reconstructions or scores have no gradients. Take them from a "
            "SparseAutoencoder or a function of tensors, or pass samples without gradients, as in "
            "X.detach()."
        )


def in_chunks(X: Any, n_rows: int, answer: Callable[[Any], Any]) -> Any:
    """Apply a function to successive chunks of rows, and join the results.

    Parameters
    ----------
    X : {ndarray, sparse array, torch.Tensor, Source} of shape (n_samples, ...)
        All rows. The results for a tensor that needs gradients have them.

    n_rows : int
        Number of rows in a chunk.

    answer : callable
        Maps the rows of a chunk to an array or a tensor with the same number of rows.

    Returns
    -------
    ndarray or torch.Tensor
        The results for all rows, for a tensor X on its device. They are in memory only once.
    """
    if needs_gradients(X):
        return torch.cat([answer(rows).to(X.device) for rows in X.split(n_rows)])
    joined: Any = None
    with torch.no_grad():
        for chunk, rows in rows_of_chunks(X, gen_batches(X.shape[0], n_rows)):
            result = answer(rows)
            if joined is None:
                shape = X.shape[0], *result.shape[1:]
                if isinstance(X, torch.Tensor):
                    joined = torch.empty(shape, dtype=result.dtype, device=X.device)
                else:
                    joined = np.empty(shape, result.dtype)
            joined[chunk.start : chunk.start + len(result)] = result
    return joined


class BaseAutoencoder(
    _callbacks.CallbackSupportMixin,
    _validation.DocLinkMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    ABC,
):
    """Fit an autoencoder, code samples with it, and decode them.

    A subclass defines the model and its trainer (`_make_trainer`), and the loss that compares
    epochs (`_validation_loss`).
    """

    # Parameters that a model is built from. They must not change when its training is continued.
    _structural: tuple[str, ...] = ("n_components", "network", "positive_code")
    # Fitted attributes that all methods need.
    _fitted_names: Any = ("module_", "mean_", "scale_")
    # Phases of a fit, as progress names them.
    _phases: Any = ("samples", "codes", "checks")
    # How many rows are held out.
    _held_out = HELD_OUT
    # Number of training steps for a new model, and the share of its epochs, from the first on,
    # whose losses are not compared.
    _n_steps, _unwatched = RANDOM_STEPS, 0.0
    # Whether the "error" of the loss is a sum over features, or else their mean.
    _sums_features = True
    # Whether features of several modules of a network have one scale for each module.
    _scales_modules = False
    # Advice in the error of `transform_l0`, if the model was not trained for a length of codes.
    _length_cure: str

    device: str
    transform_l0: float | None

    # Fitted attributes that users see.
    module_: Annotated[Model, "d k"]
    mean_: Annotated[DoubleArray, "d"]
    scale_: Annotated[float | DoubleArray, "d >0"]
    # Only if codes are decoded to a target.
    target_mean_: Annotated[DoubleArray, "t"]
    target_scale_: Annotated[float | DoubleArray, "t >0"]
    n_components_: int
    n_iter_: int
    history_: _trainer.History
    # The structural parameters that the model was built from.
    _structure_: dict[str, Any]
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints = _trainer.TRAINING_CONSTRAINTS | {
        "n_components": [_validation.AT_LEAST_ONE, None],
        "transform_l0": [_validation.POSITIVE, None],
        "network": [_validation.AliasOf(networks.Network), networks.Network],
        "positive_code": ["boolean"],
        "sparse_output": ["boolean"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "dtype": [_validation.StrOptions(set(_torch.DTYPES))],
        "device": [str],
        "random_state": _validation.RANDOM_STATE,
    }

    # --- what a subclass defines --------------------------------------------------------------

    @abstractmethod
    def _make_trainer(
        self, data: FitData, seeds: tuple[int, int], init: int = 0, model: Any = None
    ) -> _trainer.Trainer:
        """Return the trainer of a new model, or of a model from an earlier fit.

        The first seed is for order and noise, the second for the weights.
        """

    @abstractmethod
    def _validation_loss(self, model: Any, x: torch.Tensor) -> float:
        """Return the loss that compares epochs; lower is better."""

    def _columns(self) -> DoubleArray:
        """Return the columns of a linear decoder, in units of what is decoded."""
        decoder = getattr(vars(self).get("module_"), "linear_decoder", None)
        if decoder is None:
            raise AttributeError(
                f"This {type(self).__name__} has no components_: it is not fitted, or has no "
                "linear decoder."
            )
        columns: DoubleArray = decoder.weight.detach().numpy().T.astype(np.float64)
        columns *= self._scaling.decoded.scale
        return columns

    # Made when it is read first, since it can be as large as all other attributes.
    components_: Annotated[DoubleArray, "k t"] = cached_property(_columns)  # type: ignore[assignment]

    @property
    def loss_curve_(self) -> list[float]:
        """The loss of each epoch of the kept model."""
        curve: list[float] = self.history_["loss"][self.history_.kept].tolist()
        return curve

    @property
    def _training(self) -> Any:
        """What has the parameters of training: optimizer, batch size, number of epochs."""
        return self

    def _finish(self, model: Any, trainer: _trainer.Trainer, data: FitData) -> dict[str, Any]:
        """Complete a model after training, and return further fitted attributes."""
        return {}

    def _complete(self, data: FitData) -> None:
        """Run the last step of `fit`, after its result is stored."""

    def _findings(self, model: Any, data: FitData, x: torch.Tensor) -> Findings:
        """Return what training came to, measured on some samples."""
        return Findings()

    def _with_target(self, X: Any, y: object, *, continues: bool) -> Any:
        """Return samples, with the target columns appended if y is a target that is used."""
        return X

    def _without_far(self, rows: Distinct) -> Distinct:
        """Leave out samples that are far from all others, with a warning."""
        is_near = Balls(rows.X, self._parts(rows.X)).near_of(rows.X, rows.weights)
        if is_near.all():
            return rows
        # The last entry is for rows of weight 0, whose place is -1.
        given = is_near if isinstance(rows.places, slice) else np.r_[is_near, True][rows.places]
        warn_of_far(np.flatnonzero(~given), len(given))
        weights = rows.weights if rows.weights is None else rows.weights[is_near]
        return rows._replace(X=rows.X[is_near], weights=weights)

    def _parts(self, X: Any) -> list[slice]:
        """Return the columns of samples and of their target, if there is one, or of each module."""
        n = self.n_features_in_, X.shape[1] - self.n_features_in_
        ends = np.cumsum([0, *(getattr(X, "widths", None) or filter(None, n))]).tolist()
        return list(map(slice, ends[:-1], ends[1:]))

    # --- fitting ------------------------------------------------------------------------------

    @_callbacks.with_callbacks
    @_validation.fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike | SparseArray,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit the autoencoder.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training samples, in any units: `fit` centres them and scales them by one factor. A
            torch tensor works too. Large sparse samples become dense only a few rows at a time.
            Samples that are not in memory are read as needed: a memory map, an array of zarr, h5py
            or Dask, a folder or a list of files (.npy, or .safetensors with one tensor in each), a
            torch dataset, or a loader with a length.

        y : array-like of shape (n_samples, n_targets) or None, default=None
            For a SparseAutoencoder, floats in two or more columns are a target, to which codes are
            decoded. A target is an array, a tensor, a memory map or files, and X then no loader; or
            both are `Activations` of the same positions. Any other y, such as labels, is ignored; a
            VAEenseTransformer ignores every y.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each sample counts, at least 0. A whole number n counts as n copies,
            and only ratios matter. An epoch repeats each sample as often as its weight says,
            rounded up or down at random. Samples from a loader cannot have weights.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X has infinite values, or NaN where missing values are not supported, or fewer than
            two samples; if a pass over a loader gives fewer samples than the first one; if a weight
            is negative, or all are 0; or if, with ``warm_start=True``, a parameter that the model
            was built from has changed.

        TypeError
            If X is an iterable without a length, or a loader together with a target or weights, or
            has items that are neither samples nor tuples that begin with samples.

        FloatingPointError
            If the loss of every init, or later of the best one, becomes NaN or infinite. Earlier
            fitted attributes are kept.

        Warns
        -----
        ConvergenceWarning
            If the fitted model shows a sign of failure; the message names the cure.

        UserWarning
            If Ctrl-C (a KeyboardInterrupt) ends training. The best model so far is kept.
        """
        is_first = find_processes().is_first
        with (
            _validation.all_or_nothing(self),
            _callbacks.fit_progress(self, self._phases, is_first=is_first) as progress,
        ):
            progress.begin(self._phases[0])
            self._fit(X, y, sample_weight, progress)
        return self

    def _fit(self, X: Any, y: object, sample_weight: Any, progress: _callbacks.FitProgress) -> None:
        """Fit by gradients."""
        processes = find_processes()
        continues = self.warm_start and hasattr(self, "module_")
        samples = self._check_samples(X, least=2, reset=not continues)
        samples = self._with_target(tensor_as_array(samples), y, continues=continues)
        if sample_weight is not None:
            refuse_loader(samples, "sample_weight")
        weights = checked_weights(sample_weight, samples)
        with _torch.threads_of_all(samples.shape):
            rows = self._prepared(samples, weights, continues=continues)
            model = self.module_ if continues else None
            session = _trainer.FitSession(self, rows, model, progress=progress, processes=processes)
            data = prepare_data(self, rows, session.random_state)
            training = self._training
            plan = _trainer.Plan(
                self._epochs(data),
                data.batch_size,
                training.tol,
                training.n_iter_no_change,
                unwatched=0.0 if continues else self._unwatched,
            )
            make = partial(self._next_trainer, data, continues=continues)
            n_inits = 1 if continues else getattr(training, "n_inits", 1)
            trainer = session.train(data, make, n_inits, plan)
            progress.begin("checks")
            self._store(self._attributes(trainer, data))
            self._complete(data)
            if processes.is_first:
                course = {} if continues else self._course(trainer, data)
                self._warn(failure_messages(self._found(data, course)))

    def _prepared(
        self, samples: Any, weights: DoubleArray | None, *, continues: bool
    ) -> PreparedRows:
        """Leave out samples far from all others, and find the centre and the scale."""
        balls = None
        if isinstance(samples, Source):
            balls = Balls(samples, self._parts(samples))
        else:
            rows = self._without_far(distinct_rows(samples, weights))
            samples, weights = rows.X, rows.weights
        if continues:
            scaling = self._scaling
        else:
            n_targets = samples.shape[1] - self.n_features_in_
            near = None if balls is None else balls.near
            widths = getattr(samples, "widths", None) if self._scales_modules else None
            scaling = Scaling.from_data(samples, weights, n_targets, near, widths)
        if balls is not None and balls.far:
            far = np.array(sorted(balls.far))
            warn_of_far(far, len(samples), samples.described(far.tolist()))
        return PreparedRows(samples, scaling, weights, balls)

    def _epochs(self, data: FitData) -> int:
        """Return `max_iter`; "auto" means the epochs that amount to the steps of a new model."""
        max_iter = self._training.max_iter
        return math.ceil(self._steps(data) / data.n_steps) if max_iter == "auto" else max_iter

    def _steps(self, data: FitData) -> int:
        """Return the number of training steps for a new model."""
        return self._n_steps

    @_validation.fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike | SparseArray,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn from one more batch of samples.

        The first call fixes the centre, the scale and the number of components, so its batch
        should be a fair sample of the data. For the flat parts and gates of a VAEenseTransformer
        this call is a `fit`, and later calls add sums over their samples; sums over very many
        samples fade. Training by gradients takes steps. Settings that change during it, such as the
        learning rate, follow the schedule of one init of `fit`, counted in steps over all calls.
        After that they keep their last values. The learning rate never falls below a tenth of its
        peak.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples; each call is one pass over them.

        y : array-like of shape (n_samples, n_targets) or None, default=None
            The target of these samples, as for `fit`.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each sample counts, as for `fit`. Only ratios within a batch matter.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If X has infinite values, or NaN where missing values are not supported, or fewer than
            two samples at the first call; or if a parameter that the model was built from changed.

        FloatingPointError
            If the loss becomes NaN or infinite. The estimator stays as it was before the call.

        Warns
        -----
        ConvergenceWarning
            If the batch is unlike those before it, if steps are too large, or if the schedule ends
            with a sign of failure; the message names the cure.
        """
        with _validation.all_or_nothing(self):
            self._partial_fit(X, y, sample_weight)
        return self

    def _partial_fit(self, X: Any, y: object, sample_weight: Any) -> None:
        """Train by gradients on one more batch."""
        first = not hasattr(self, "module_")
        batch = validated(self, tensor_as_array(X), least=1 + first, reset=first)
        with _torch.threads_of_all(batch.shape):
            samples: FloatArray = self._with_target(as_array(batch), y, continues=not first)
            n_targets = samples.shape[1] - batch.shape[1]
            rows = distinct_rows(samples, checked_weights(sample_weight, samples))
            samples, weights, _ = self._without_far(rows)
            scaling = Scaling.from_data(samples, weights, n_targets) if first else self._scaling
            data = FitData.of_batch(self, samples, scaling, weights)
            trainer, known = _trainer.LIVE.pop(self, (None, None))
            parameters, undo = clone(self).get_params(), None
            state: Any = getattr(self, "_partial_state_", None)
            if (
                trainer is not None
                and trainer.model is self.module_
                and _validation.are_equal(known, parameters)
            ):
                undo, trainer.log = copy.deepcopy(state), []
                trainer.model.train()
            else:
                trainer = self._trainer_of_batches(data, state)
            try:
                self._learn_batch(trainer, data)
            except BaseException:
                if undo is not None:
                    state.update(undo)
                    self.module_.eval().load_state_dict(undo["model"])
                raise
            # It trains the module in place, as long as parameters and module are the same.
            _trainer.LIVE[self] = trainer, parameters

    def _trainer_of_batches(self, data: FitData, state: Any) -> _trainer.Trainer:
        """Return the trainer that goes on from a state of `partial_fit`, or from a fit."""
        continues = hasattr(self, "module_")
        random_state = check_random_state(self.random_state if state is None else 0)
        trainer = self._next_trainer(data, _torch.draw_seeds(random_state), continues=continues)
        trainer.least_factor = PARTIAL_LEARNING_RATE
        if state is not None:
            trainer.load_state_dict(state)
        elif continues:
            trainer.n_steps = self._planned_steps(data)  # The schedule of `fit` is over.
        return trainer

    def _planned_steps(self, data: FitData) -> int:
        """Return the number of steps of the whole training; `partial_fit` is only a part of one."""
        if not data.is_batch:
            return self._epochs(data) * data.n_steps
        planned = self._training.n_samples_planned
        return self._n_steps if planned is None else max(planned // data.batch_size, 1)

    def _learn_batch(self, trainer: _trainer.Trainer, data: FitData) -> None:
        """Take the steps of a batch, and store what they came to."""
        begun, planned = trainer.n_steps, self._planned_steps(data)
        ends = begun, begun + len(data.train) // data.batch_size
        span = min(ends[0] / planned, 1.0), min(ends[1] / planned, 1.0)
        trainer.fit(data.train, _trainer.Plan(1, data.batch_size, span=span))
        # A few rows show whether the last step led out of range.
        loss = self._validation_loss(trainer.model, data.valid[:MIN_ROWS_TO_SPLIT])
        if not (trainer.is_finite and math.isfinite(loss)):
            raise FloatingPointError(_trainer.diverged("The loss"))
        attributes = self._attributes(trainer, data)
        if hasattr(self, "_partial_state_"):
            added = attributes["history_"]
            attributes["history_"] = self.history_.extended(added)
            attributes["n_iter_"] = self.n_iter_ + 1
        attributes["_partial_state_"] = trainer.state_dict() | {"log": []}
        earlier = getattr(self, "_batches_", None)
        messages, course, attributes["_batches_"] = self._course_of_batches(trainer, data)
        self._store(attributes)
        is_over = begun < planned <= trainer.n_steps and earlier is not None
        is_shown = is_over and len(data.valid) >= ROWS_OF_A_LATENT * self.n_components_
        findings = self._found(data, course) if is_shown else Findings(**course)
        self._warn(messages or failure_messages(findings))

    def _next_trainer(
        self, data: FitData, seeds: tuple[int, int], init: int = 0, *, continues: bool
    ) -> _trainer.Trainer:
        """Return a trainer of the fitted model, or of a new model."""
        model = self._copy_of_model() if continues else None
        trainer = self._make_trainer(data, seeds, init, model)
        self._check_length(trainer.model)
        return trainer

    def _check_samples(self, X, *, reset, least=1):
        """Return samples as a valid array or tensor, or as a source that checks what it reads."""
        # What numpy holds in memory needs no opening.
        X = X if type(X) is np.ndarray else open_samples(X)
        head = as_array(X[:least]) if isinstance(X, Source | torch.Tensor) else X
        head = validated(self, head, least=least, reset=reset, takes_missing=head is X)
        if isinstance(X, Source | torch.Tensor):
            return X
        # A data frame with sparse columns becomes a sparse array.
        return as_array(head)

    def _structure(self) -> dict[str, Any]:
        """Return the values of the parameters that a model is built from."""
        return {name: clone(getattr(self, name), safe=False) for name in self._structural}

    def _check_structure(self) -> None:
        """Raise an error if a parameter that the fitted model was built from has changed."""
        values = self._structure()
        for name, before in getattr(self, "_structure_", {}).items():
            now = values.get(name)
            if not _validation.are_equal(before, now):
                raise ValueError(
                    f"{name}={now!r} does not match the fitted model, which was made with "
                    f"{name}={before!r}. Restore that value, or call fit with warm_start=False to "
                    "train a new model."
                )

    def _copy_of_model(self) -> Any:
        """Return a copy of the fitted model; raise an error if a structural parameter changed."""
        self._check_structure()
        device = _torch.resolve_device(self.device)
        return copy.deepcopy(self.module_).to(device=device, dtype=_torch.DTYPES[self.dtype])

    def _attributes(self, trainer: _trainer.Trainer, data: FitData) -> dict[str, Any]:
        """Return all fitted attributes, with the model on the CPU: a copy after `fit`."""
        is_shared = data.is_batch and trainer.weights.device.type == "cpu"
        model: Any = trainer.model if is_shared else copy.deepcopy(trainer.model)
        model.eval()
        further = self._finish(model, trainer, data)
        rows, units = [], {"n_features": data.valid.shape[1], "scale": data.scaling.scale}
        for epoch in (*trainer.other_log, *trainer.log):
            rows.append(dict(trainer.loss.in_user_units(epoch, **units)))
            for name in _trainer.TAGS:
                rows[-1][name] = epoch[name]
        return (
            self._model_attributes(model.cpu(), data.scaling, _trainer.History.from_log(rows))
            | further
        )

    def _model_attributes(
        self, model: Any, scaling: Scaling, history: _trainer.History
    ) -> dict[str, Any]:
        """Return the fitted attributes of a model on the CPU."""
        attributes = {
            "module_": model,
            "mean_": scaling.mean,
            "scale_": scaling.scale,
            "n_components_": model.n_components,
            "n_iter_": math.ceil(max(history["epoch"][history.kept], default=0)),
            "history_": history,
            "_structure_": self._structure(),
        }
        if scaling.target is not None:
            attributes["target_mean_"] = scaling.target.mean
            attributes["target_scale_"] = scaling.target.scale
        return attributes

    def _store(self, attributes: dict[str, Any]) -> None:
        # An earlier fit, for instance with another network, can have set attributes that this
        # fit does not set.
        for name in _validation.fitted(self).keys() - {*attributes, *FEATURES}:
            delattr(self, name)
        self.__dict__.update(attributes)

    def _course(self, trainer: _trainer.Trainer, data: FitData) -> dict[str, Any]:
        """Return findings about training: shares of the variance that its epochs left."""
        unit = data.valid.shape[1] if self._sums_features else 1
        errors = [epoch.get("error", math.nan) / unit for epoch in trainer.log]
        done = 1.0
        if self._training.max_iter != "auto":
            done = self._training.max_iter * data.n_steps / self._steps(data)
        fallen = 1 - errors[-1] / (errors[0] or 1.0)
        return {"done": done, "fallen": fallen, "peak": max(errors), "last": errors[-1]}

    def _course_of_batches(
        self, trainer: _trainer.Trainer, data: FitData
    ) -> tuple[list[str], dict[str, Any], dict[str, torch.Tensor]]:
        """Return messages and findings about a batch, and the summary of all batches so far."""
        x, decoded = data.valid, len(data.scaling.decoded.mean)
        before = getattr(self, "_batches_", None)
        is_first = not hasattr(self, "module_")
        messages, batches = batch_messages(x, before, decoded, is_first=is_first)
        error = self._course(trainer, data)["last"]
        batches["first_error"] = torch.tensor(error) if before is None else before["first_error"]
        size = max(float(batches["size"]), float(x[:, -decoded:].square().mean()))
        # Samples that all equal the mean have no variance to explain.
        course = {
            "peak": error / size if size > ROUNDING else 0.0,
            "fallen": 1 - error / float(batches["first_error"] or 1.0),
        }
        return messages, course, batches

    def _found(self, data: FitData, course: dict[str, Any]) -> Findings:
        """Return findings in held-out samples; if they are few, training samples count too."""
        x = data.shown(MIN_ROWS_TO_SPLIT)
        if not bool((x != x[0]).any()):
            return Findings()  # Identical samples have no latent to find.
        with torch.no_grad():
            return replace(self._findings(self._placed_model(x.dtype), data, x), **course)

    def _warn(self, messages: list[str]) -> None:
        for message in messages:
            warn_user(message, ConvergenceWarning)

    # --- coding and decoding ------------------------------------------------------------------

    @property
    def _scaling(self) -> Scaling:
        target = None
        if hasattr(self, "target_mean_"):
            target = Scaling(self.target_mean_, self.target_scale_)
        return Scaling(self.mean_, self.scale_, target)

    def _draft(self, attributes):
        """Return a clone of the estimator with these fitted attributes."""
        draft = clone(self)
        vars(draft).update((k, v) for k, v in vars(self).items() if k in FEATURES)
        vars(draft).update(attributes)
        return draft

    def _placed_model(self, dtype):
        """Return the model in the precision of the samples, so that results have the same one."""
        dtype = dtype if isinstance(dtype, torch.dtype) else _torch.DTYPES[np.dtype(dtype).name]
        device = _torch.resolve_device(self.device)
        parameter = next(self.module_.parameters())
        if parameter.dtype == dtype and parameter.device.type == device.type:
            return self.module_
        return copy.deepcopy(self.module_).to(device=device, dtype=dtype)

    def _by_chunks(self, X: Any, law: Any, function: Callable[[Any], Any]) -> Any:
        """Apply a function of a law or a model to chunks of rows, and join the results.

        Parameters
        ----------
        X : {ndarray, sparse array, torch.Tensor, Source} of shape (n_samples, ...)
            All rows.

        law : law, density or Model
            What the function belongs to; its size limits the rows of a chunk. Results of a `Model`
            alone have gradients, if X needs them.

        function : callable
            Maps rows to an array or a tensor.

        Returns
        -------
        ndarray or torch.Tensor
            The results; floats in the precision of the rows. A tensor X gives a tensor.

        Raises
        ------
        ValueError
            If a result is not finite, unless the weights are not finite either.
        """

        def answer(rows: Any) -> Any:
            rows = rows if isinstance(rows, torch.Tensor) else as_array(rows)
            work = len(rows) * X.shape[1] * n_entries
            errors = np.errstate(over="ignore", invalid="ignore")
            with (
                _torch.torch_threads_for(work),
                _torch.memory_errors(len(rows)),
                errors,
            ):
                result = function(rows)
                # The rows themselves can be read-only, which torch does not support.
                if isinstance(rows, torch.Tensor):
                    result = torch.as_tensor(result)
                    result = result.to(rows.dtype) if result.is_floating_point() else result
                else:
                    result = as_array(result)
                    is_float = result.dtype.kind == "f"
                    result = result.astype(rows.dtype, copy=False) if is_float else result
                # Callbacks can see a model that has diverged; then the samples are not to blame.
                weights = self.module_.parameters() if hasattr(self, "module_") else ()
                if not _is_finite(result) and all(map(_is_finite, weights)):
                    raise _validation.too_far(rows.dtype)
            return result

        n_entries = getattr(law, "n_entries", getattr(law, "n_components", 1))
        n_rows = block_rows(X.shape[1], n_entries)
        if needs_gradients(X) and not isinstance(law, Model):
            return WithoutGradients.apply(X, lambda rows: in_chunks(rows, n_rows, answer))
        return in_chunks(X, n_rows, answer)

    def _by_model(
        self, X: Any, model: Model, function: Callable[[Any, torch.Tensor], torch.Tensor]
    ) -> Any:
        """Apply a function of the model to chunks of scaled rows, which can include the target.

        Gradients reach X alone.
        """
        model = model.frozen() if needs_gradients(X) else model
        scaling, parameters = self._scaling, list(model.parameters())
        if scaling.target is not None and X.shape[1] == len(scaling.mean):
            scaling = replace(scaling, target=None)
        kind: Any = {"dtype": parameters[0].dtype, "device": parameters[0].device}

        def of_rows(rows: Any) -> torch.Tensor:
            x = scaling.apply(rows, **kind)
            if not _is_finite(x):
                raise _validation.too_far(rows.dtype)
            return function(model, x)

        return self._by_chunks(X, model, of_rows)

    def transform(
        self, X: ArrayLike | SparseArray
    ) -> FloatArray | sparse.csr_array | sparse.csr_matrix:
        """Return the codes of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples in the units of the training samples, in any form that `fit` takes. Codes of a
            loader have the order of a pass over it. Codes of a tensor that needs gradients have
            them, as those of `inverse_transform` do: the gradients reach the tensor alone, not the
            weights. Only a SparseAutoencoder has them, without ``sparse_output=True``; for other
            models, the backward pass is an error.

        Returns
        -------
        {ndarray, sparse matrix} of shape (n_samples, n_components)
            The codes. With ``sparse_output=True`` they are a CSR matrix, or a CSR array if
            scikit-learn's ``sparse_interface`` is "sparray". Otherwise, if X is a tensor, codes are
            a tensor on the same device, as in other methods.

        Raises
        ------
        ValueError
            If samples are too far from the training samples for their precision, or if the model
            cannot have codes of the length `transform_l0`.

        TypeError
            If X is a sparse tensor.
        """
        codes = self._codes(X)
        if self.sparse_output:
            return _validation.align_api_if_sparse(sparse.csr_array(as_array(codes)))
        return codes

    if TYPE_CHECKING:
        # The inherited method has no annotations.
        def fit_transform(
            self, X: ArrayLike | SparseArray, y: object = None
        ) -> FloatArray | sparse.csr_array | sparse.csr_matrix: ...

    def active_dimensions(self, X: ArrayLike | SparseArray) -> BoolArray:
        """Return which latents are active for each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples, seen or unseen.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_components)
            True where the latent is active.
        """
        return self._active_mask(X)

    def _codes(self, X: Any) -> Any:
        return self._by_model(*self._check_for_coding(X), lambda model, x: model.code(x))

    def _active_mask(self, X: Any) -> Any:
        return self._by_model(*self._check_for_coding(X), lambda model, x: model.code(x) != 0)

    def inverse_transform(self, X: ArrayLike | SparseArray) -> FloatArray:
        """Return the reconstructions that codes decode to.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)
            Codes, as `transform` returns them. Set latents to 0 to see what the others hold.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Reconstructions in the units of the training samples.

        Raises
        ------
        ValueError
            If X does not have `n_components_` columns, or has NaN or infinite values.
        """
        check_is_fitted(self)
        if isinstance(X, torch.Tensor):
            codes = checked_tensor(X)
            _validation.check_array(as_array(codes[:1]))
        else:
            codes = _validation.check_array(X, dtype=FLOATS, accept_sparse="csr")
        _validation.check_n_components(codes, self)
        return self._decoded(codes)

    def _decoded(self, codes: Any) -> Any:
        # The decoder does not depend on the length of codes.
        model = self._placed_model(codes.dtype)
        model = model.frozen() if needs_gradients(codes) else model
        device, scaling = next(model.parameters()).device, self._scaling.decoded

        def decode(rows: Any) -> torch.Tensor:
            # A copy, because torch warns about read-only arrays.
            rows = rows if isinstance(rows, torch.Tensor) else torch.tensor(rows)
            return scaling.undo(model.decode(rows.to(device)))

        return self._by_chunks(codes, model, decode)

    def _with_length(self, model: Any) -> Any:
        """Return a model for codes of the length `transform_l0`; the fitted model is unchanged."""
        if self.transform_l0 is None:
            return model
        self._check_length(model)
        return model.shortened(self.transform_l0)

    def _check_length(self, model: Any) -> None:
        """Raise an error if `transform_l0` is given and the model has no codes of that length."""
        if self.transform_l0 is None:
            return
        if model.length is None:
            raise ValueError(
                f"transform_l0={self.transform_l0!r} can only shorten codes of a model that was "
                f"fitted for a given length. {self._length_cure}, or leave transform_l0=None."
            )
        self._check_shorter(model.length)

    def _check_shorter(self, longest: float) -> None:
        """Raise an error unless `transform_l0` is one of a range of lengths."""
        length: Any = self.transform_l0
        least = longest * LEAST_SHARE
        if not (_validation.POSITIVE.is_satisfied_by(length) and least <= length <= longest):
            raise ValueError(
                f"transform_l0={length!r} must be a number from {least:.3g} to {longest:g}, the "
                "length that the model was fitted for."
            )

    def _check_for_coding(self, X: Any) -> tuple[FloatArray, Any]:
        """Return valid samples and the model."""
        X = self._checked(X)
        return X, self._with_length(self._placed_model(X.dtype))

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._check_samples(X, reset=False)

    # --- scikit-learn's protocols -------------------------------------------------------------

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "module_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
