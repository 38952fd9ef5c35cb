"""The base class of the autoencoders: fitting, coding, decoding, scikit-learn's protocols."""

import copy
import math
import time
import warnings
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from skvaeense import networks
from skvaeense._evaluation import FEATURES, ModelEvaluation, in_chunks, rows_at_a_time
from skvaeense.explanations._explain import Explained
from skvaeense.explanations._rows import find_far_rows
from skvaeense.samples._devices import DTYPES, resolve_device
from skvaeense.samples._rows import FLOATS, as_array, checked_tensor, tensor_as_array, validated
from skvaeense.samples._scaling import Scaling
from skvaeense.samples._sources import Source, open_samples, refuse_loader
from skvaeense.samples._weights import Distinct, checked_weights, distinct_rows
from skvaeense.training._data import FitData, PreparedRows, prepare_data
from skvaeense.training._diagnosis import Findings, batch_change, compare_batches, told
from skvaeense.training._far import Reach, warn_of_far
from skvaeense.training._history import History
from skvaeense.training._optimizers import NAMED, OptimizerOptions
from skvaeense.training._session import FitSession
from skvaeense.training._sizes import (
    HELD_OUT,
    RANDOM_STEPS,
    ROWS_OF_A_LATENT,
    n_epochs,
    steps_of_epoch,
)
from skvaeense.training._threads import suited_threads, threads_of_all
from skvaeense.training._trainer import TAGS, Trainer, diverged
from skvaeense.utils._arrays import check_array
from skvaeense.utils._callbacks import CallbackSupportMixin, fit_progress, with_callbacks
from skvaeense.utils._estimators import DocLinkMixin, all_or_nothing, fitted
from skvaeense.utils._kept import SHARES
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._processes import find_processes
from skvaeense.utils._rows import MIN_ROWS_TO_SPLIT
from skvaeense.utils._torch import draw_seed
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray, SparseArray
from skvaeense.utils._validation import (
    AT_LEAST_ONE,
    NON_NEGATIVE,
    POSITIVE,
    RANDOM_STATE,
    AliasOf,
    StrOptions,
    align_api_if_sparse,
    are_equal,
    fit_context,
)

# Share of the peak learning rate that partial_fit keeps once its schedule is over.
PARTIAL_LEARNING_RATE = 0.1


class BaseAutoencoder(
    CallbackSupportMixin,
    ModelEvaluation,
    DocLinkMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    ABC,
):
    """Fit an autoencoder, code samples with it, and decode them.

    A subclass defines the model and its trainer (`_make_trainer`), the phases of a fit (`_train`),
    the loss that compares epochs (`_validation_loss`), and the codes (`_encode`).
    """

    # Parameters that a model is built from. They must not change when its training is continued.
    _structural: tuple[str, ...] = ("n_components", "network", "positive_code")
    # Phases of a fit, as progress names them.
    _phases: tuple[str, ...] = ("samples", "codes", "checks")
    # How many rows are held out.
    _held_out = HELD_OUT
    # Whether the "error" of the loss is a sum over features, or else their mean.
    _sums_features = True
    # Advice in the error of `transform_l0`, if the model was not trained for a length of codes.
    _length_cure: str

    transform_l0: float | None

    # Fitted attributes that users see.
    n_components_: int
    components_: DoubleArray
    n_iter_: int
    loss_curve_: list[float]
    history_: History
    # The structural parameters that the model was built from.
    _structure_: dict[str, Any]
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints = {
        "n_components": [AT_LEAST_ONE, None],
        "transform_l0": [POSITIVE, None],
        "network": [AliasOf(networks.Network), networks.Network],
        "optimizer": [OptimizerOptions(set(NAMED))],
        "schedule": [StrOptions({"auto", "constant", "cosine"}), callable],
        "learning_rate_init": [POSITIVE],
        "batch_size": [AT_LEAST_ONE, StrOptions({"auto"})],
        "max_iter": [AT_LEAST_ONE, StrOptions({"auto"})],
        "tol": [NON_NEGATIVE],
        "n_iter_no_change": [AT_LEAST_ONE],
        "positive_code": ["boolean"],
        "sparse_output": ["boolean"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "dtype": [StrOptions(set(DTYPES))],
        "device": [str],
        "random_state": RANDOM_STATE,
    }

    # `out` is not metadata that a pipeline routes.
    __metadata_request__transform = {"out": UNUSED}
    __metadata_request__inverse_transform = {"out": UNUSED}

    # --- what a subclass defines --------------------------------------------------------------

    @abstractmethod
    def _make_trainer(
        self,
        data: FitData,
        seeds: tuple[int, int],
        init: int = 0,
        model: Any = None,
    ) -> Trainer:
        """Return the trainer of a new model, or of a model from an earlier fit.

        The first seed is for order and noise, the second for the weights.
        """

    @abstractmethod
    def _train(self, data: FitData, session: FitSession, trainer: Trainer | None) -> Trainer:
        """Train through the phases of a new or continued fit; return the kept model's trainer."""

    @abstractmethod
    def _validation_loss(self, model: Any, x: torch.Tensor) -> float:
        """Return the loss that compares epochs; lower is better."""

    @abstractmethod
    def _encode(self, model: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the codes of centred and scaled samples, in the form the user asked for."""

    @property
    def _n_steps(self) -> int:
        """Number of training steps for a new model."""
        return RANDOM_STEPS

    def _active(self, model: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the mask of active latents of centred and scaled samples."""
        return self._encode(model, x) != 0

    def _finish(self, model: Any, trainer: Trainer, data: FitData) -> dict[str, Any]:
        """Complete a model after training, and return further fitted attributes."""
        return {}

    def _complete(self) -> None:
        """Run the last step of `fit`, after its result is stored."""

    def _findings(
        self, model: Any, data: FitData, x: torch.Tensor, labels: IntArray | None
    ) -> Findings:
        """Return what training came to, given samples relative to their locations."""
        return Findings()

    def _prepare_rows(self, rows: Distinct) -> tuple[Distinct, Explained | None]:
        """Return the training samples, and their explanation if the model follows from one.

        Missing values are filled in.
        """
        return rows, None

    def _imputed_rows(self, rows: Distinct) -> Distinct:
        """Return training samples without missing values."""
        return rows

    def _imputed_samples(self, X: FloatArray) -> FloatArray:
        """Return new samples with missing values filled in."""
        return X

    def _with_target(self, X: Any, y: object, *, continues: bool) -> Any:
        """Return samples, with the target columns appended if y is a target that is used."""
        return X

    def _without_far(self, rows: Distinct, stacklevel: int = 7) -> Distinct:
        """Leave out samples that are far from all others, with a warning."""
        rows_far = self._far_rows(rows)
        if len(rows_far) == 0:
            return rows
        is_far = np.zeros(len(rows.X) + 1, dtype=bool)
        is_far[rows_far] = True
        # The last entry is for rows of weight 0, whose place is -1.
        given = is_far[:-1] if isinstance(rows.places, slice) else is_far[rows.places]
        is_near = ~is_far[:-1]
        warn_of_far(np.flatnonzero(given).tolist(), len(given), "", stacklevel)
        weights = rows.weights if rows.weights is None else rows.weights[is_near]
        return rows._replace(X=rows.X[is_near], weights=weights)

    def _near_rows(self, rows: Distinct, stacklevel: int) -> Distinct:
        """Return the rows of a batch that training takes."""
        return rows

    def _far_rows(self, rows: Distinct) -> IntArray:
        """Return the positions of rows that are far from all others."""
        return find_far_rows(rows.X, rows.weights)

    def _parts(self, n_columns: int) -> list[slice]:
        """Return the columns of samples, and of their target, if there is one."""
        ends = self.n_features_in_, n_columns
        return [slice(ends[0])] + ([slice(*ends)] if ends[0] < ends[1] else [])

    # --- fitting ------------------------------------------------------------------------------

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
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
            decoded. A target is an array, a tensor, a memory map or files, and X then no loader.
            Any other y, such as labels, is ignored; a VAEenseTransformer ignores every y.

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
            If the loss of every init becomes NaN or infinite. Earlier fitted attributes are kept.

        Warns
        -----
        ConvergenceWarning
            If the fitted model shows a sign of failure; the message names the cure.

        UserWarning
            If Ctrl-C (a KeyboardInterrupt) ends training. The best model so far is kept.
        """
        with ExitStack() as stack:
            stack.enter_context(all_or_nothing(self))
            processes, begun = find_processes(), time.perf_counter()
            is_first = processes.is_first
            progress = stack.enter_context(fit_progress(self, self._phases, is_first=is_first))
            progress.begin(self._phases[0])
            continues = self.warm_start and hasattr(self, "module_")
            samples, weights = self._given(X, y, sample_weight, continues=continues)
            stack.enter_context(threads_of_all(samples.shape))
            rows = self._prepared(samples, weights, continues=continues)
            explained_at = time.perf_counter()
            session = FitSession(
                self,
                rows.samples,
                rows.scaling,
                rows.weights,
                self.module_ if continues else None,
                progress=progress,
                processes=processes,
            )
            data = prepare_data(self, rows, session.random_state, processes)
            trainer = self._next_trainer(data, session.random_state) if continues else None
            with session.running(data, stacklevel=4):
                session.trainer = self._train(data, session, trainer)
            trainer = session.end()
            progress.begin("checks")
            self._store(self._attributes(trainer, data))
            self._complete()
            if is_first:
                course = {} if continues else self._course(trainer, data)
                self._warn(self._found(data, course), stacklevel=5)
            self._seconds = {
                "explanation": explained_at - begun,
                "codes": time.perf_counter() - explained_at,
            }
        return self

    def _given(
        self, X: Any, y: object, sample_weight: ArrayLike | None, *, continues: bool
    ) -> tuple[Any, DoubleArray | None]:
        """Return valid samples, with the columns of a target, and their weights."""
        samples = self._check_samples(X, least=2, reset=not continues)
        samples = self._with_target(tensor_as_array(samples), y, continues=continues)
        if sample_weight is not None:
            refuse_loader(samples, "sample_weight")
        return samples, checked_weights(sample_weight, samples)

    def _prepared(
        self, samples: Any, weights: DoubleArray | None, *, continues: bool
    ) -> PreparedRows:
        """Explain samples, leave out far ones, and find their centre and scale."""
        reach = explained = None
        if isinstance(samples, Source):
            reach = Reach.of(samples, self._parts(samples.shape[1]))
        else:
            rows, explained = self._prepare_rows(distinct_rows(samples, weights))
            samples, weights = rows.X, rows.weights
        if continues:
            scaling = self._scaling
        else:
            n_targets = samples.shape[1] - self.n_features_in_
            near = None if reach is None else reach.near
            scaling = Scaling.from_data(samples, weights, n_targets, near)
        if reach is not None and reach.far:
            far = sorted(reach.far)
            warn_of_far(far, len(samples), samples.described(far), stacklevel=5)
        if explained is not None and explained.locations is not None and not continues:
            scaling = scaling.at(explained.locations, samples, weights)
            if scaling.locations is None:
                # All samples coincide with their locations.
                coder = explained.coder if explained.gates is not None else "points"
                explained = replace(explained, coder=coder, locations=None)
        return PreparedRows(samples, scaling, weights, explained, reach)

    def _epochs(self, data: FitData, n_steps: int) -> int:
        """Return `max_iter`; "auto" means the epochs that amount to `n_steps`."""
        return n_epochs(self.max_iter, len(data.train), data.batch_size, n_steps)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike | SparseArray,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on one more batch of samples.

        The first call fixes the centre, the scale and the number of components, so its batch
        should be a fair sample of the data. Settings that change during training, such as the
        learning rate, follow the schedule of one init of `fit`, counted in steps over all calls.
        After that they keep their last values. The learning rate never falls below a tenth of its
        peak.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples; each call is one pass over them in mini-batches.

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
        with ExitStack() as stack:
            stack.enter_context(all_or_nothing(self))
            first = not hasattr(self, "module_")
            batch = validated(self, tensor_as_array(X), least=1 + first, reset=first)
            stack.enter_context(threads_of_all(batch.shape))
            samples: FloatArray = self._with_target(as_array(batch), y, continues=not first)
            n_targets = samples.shape[1] - batch.shape[1]
            rows = distinct_rows(samples, checked_weights(sample_weight, samples))
            rows = self._near_rows(rows, stacklevel=5)
            samples = self._imputed_rows(rows).X if first else self._imputed_samples(rows.X)
            weights = rows.weights
            scaling = Scaling.from_data(samples, weights, n_targets) if first else self._scaling
            data = FitData.of_batch(self, samples, scaling, weights)
            trainer = self._next_trainer(data, check_random_state(self.random_state))
            trainer.least_factor = PARTIAL_LEARNING_RATE
            state = getattr(self, "_partial_state_", None)
            if state is not None:
                trainer.load_state_dict(state)
                # Files of earlier versions have a log of all epochs.
                trainer.log = []
            elif not first:
                trainer.n_steps = self._n_steps  # The schedule of `fit` is over.
            ends = trainer.n_steps, trainer.n_steps + len(data.train) // data.batch_size
            start, stop = (min(n_steps / self._n_steps, 1.0) for n_steps in ends)
            batch_size = data.batch_size
            trainer.fit(data.train, n_epochs=1, batch_size=batch_size, span=(start, stop))
            loss = self._validation_loss(trainer.model, data.valid)
            if not (trainer.is_finite and math.isfinite(loss)):
                raise FloatingPointError(diverged("The loss"))
            attributes = self._attributes(trainer, data)
            attributes["_partial_state_"] = copy.deepcopy(trainer.state_dict() | {"log": []})
            if state is not None:
                # A copy of all earlier epochs would make each call slower than the one before.
                added = attributes["history_"]
                added["epoch"] += self.n_iter_
                attributes["history_"] = self.history_.extended(added)
                attributes["loss_curve_"] = self.loss_curve_
                attributes["n_iter_"] = self.n_iter_ + 1
            before = getattr(self, "_batches_", None)
            course, attributes["_batches_"] = self._course_of_batches(trainer, data, before)
            self._store(attributes)
            is_over = ends[0] < self._n_steps <= trainer.n_steps and before is not None
            is_shown = is_over and len(data.valid) >= ROWS_OF_A_LATENT * self.n_components_
            findings = self._found(data, course) if is_shown else Findings(**course)
            self._warn(findings, stacklevel=4)
            # After the warning, which can be an error.
            if state is not None:
                self.loss_curve_.extend(added["loss"].tolist())
        return self

    def _next_trainer(self, data: FitData, random_state: np.random.RandomState) -> Trainer:
        """Return a trainer of the fitted model, or of a new model if none is fitted."""
        model = self._copy_of_model() if hasattr(self, "module_") else None
        trainer = self._make_trainer(data, draw_seeds(random_state), model=model)
        self._check_length(trainer.model)
        return trainer

    def _check_samples(self, X, *, reset, least=1):
        """Return samples as a valid array or tensor, or as a source that checks what it reads."""
        X = open_samples(X)
        head = X
        if isinstance(X, Source):
            head = X.head(least)
        elif isinstance(X, torch.Tensor):
            head = as_array(X[:least])
        head = validated(self, head, least=least, reset=reset, takes_missing=head is X)
        if isinstance(X, Source | torch.Tensor):
            return X
        # A data frame with sparse columns becomes a sparse array.
        return as_array(head)

    def _copy_of_model(self) -> Any:
        """Return a copy of the fitted model; raise an error if a structural parameter changed."""
        for name, before in getattr(self, "_structure_", {}).items():
            now = getattr(self, name)
            if not are_equal(before, now):
                raise ValueError(
                    f"{name}={now!r} does not match the fitted model, which was made with "
                    f"{name}={before!r}. Restore that value, or call fit with warm_start=False to "
                    "train a new model."
                )
        device = resolve_device(self.device)
        return copy.deepcopy(self.module_).to(device=device, dtype=DTYPES[self.dtype])

    def _attributes(self, trainer: Trainer, data: FitData) -> dict[str, Any]:
        """Return all fitted attributes, with a copy of the model on the CPU."""
        model: Any = copy.deepcopy(trainer.model).eval()
        with suited_threads(model, len(data.valid)):
            further = self._finish(model, trainer, data)
        rows = []
        for epoch in (*trainer.other_log, *trainer.log):
            row = trainer.loss.in_user_units(
                epoch, n_features=data.valid.shape[1], scale=data.scaling.scale
            )
            rows.append(row | {name: epoch[name] for name in TAGS})
        return self._model_attributes(model.cpu(), data.scaling, History.from_log(rows)) | further

    def _model_attributes(self, model: Any, scaling: Scaling, history: History) -> dict[str, Any]:
        """Return the fitted attributes of a model on the CPU."""
        loss_curve = history["loss"][history.kept].tolist()
        attributes = {
            "module_": model,
            "mean_": scaling.mean,
            "scale_": scaling.scale,
            "n_components_": model.n_components + len(scaling.offsets),
            "n_iter_": math.ceil(max(history["epoch"][history.kept], default=0)),
            "loss_curve_": loss_curve,
            "history_": history,
            "_structure_": {
                name: clone(getattr(self, name), safe=False) for name in self._structural
            },
        }
        if model.linear_decoder is not None:
            weight = model.linear_decoder.weight.detach().numpy()
            directions = weight.T.astype(np.float64) * scaling.decoded.scale
            attributes["components_"] = np.concatenate([directions, scaling.offsets])
        if scaling.target is not None:
            attributes["target_mean_"] = scaling.target.mean
            attributes["target_scale_"] = scaling.target.scale
        if scaling.locations is not None:
            attributes["_locations_"] = scaling.locations
            attributes["locations_"] = scaling.locations.points
        return attributes

    def _store(self, attributes: dict[str, Any]) -> None:
        # An earlier fit, for instance with another network, can have set attributes that this
        # fit does not set.
        for name in fitted(self).keys() - {*attributes, *FEATURES}:
            delattr(self, name)
        self.__dict__.update(attributes)

    def _errors(self, trainer: Trainer, data: FitData) -> list[float]:
        """Return the share of the variance that each epoch of the kept model left on average."""
        unit = data.valid.shape[1] if self._sums_features else 1
        return [epoch.get("error", math.nan) / unit for epoch in trainer.log]

    def _course(self, trainer: Trainer, data: FitData) -> dict[str, Any]:
        """Return findings about the training of a new model."""
        wanted = getattr(trainer, "n_epochs", None)
        by_gradient, errors = wanted is None, self._errors(trainer, data)
        if by_gradient and trainer.learning_rate == 0:
            return {}  # Exact inference is not trained.
        if by_gradient:
            wanted = self._n_steps / steps_of_epoch(len(data.train), data.batch_size)
        done = 1.0 if self.max_iter == "auto" else self.max_iter / wanted
        if not by_gradient:
            return {"done": done, "by_gradient": False}
        fallen = 1 - errors[-1] / (errors[0] or 1.0)
        return {"done": done, "fallen": fallen, "peak": max(errors), "last": errors[-1]}

    def _course_of_batches(
        self, trainer: Trainer, data: FitData, before: dict[str, torch.Tensor] | None
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Return findings about a batch, and the summary of all batches so far."""
        x, decoded = data.valid, len(data.scaling.decoded.mean)
        distance, batches = compare_batches(x, before, decoded)
        error = self._errors(trainer, data)[-1]
        batches["first_error"] = torch.tensor(error) if before is None else before["first_error"]
        size = max(float(batches["size"]), float(x[:, -decoded:].square().mean()))
        course = {
            "is_constant": not hasattr(self, "module_") and not bool((x != x[0]).any()),
            "change": batch_change(x),
            "distance": distance,
            # Samples that all equal the mean have no variance to explain.
            "peak": error / size if size > ROUNDING else 0.0,
            "fallen": 1 - error / float(batches["first_error"] or 1.0),
            "by_gradient": not hasattr(trainer, "n_epochs"),
        }
        return course, batches

    def _found(self, data: FitData, course: dict[str, Any]) -> Findings:
        """Return findings in held-out samples; if they are few, training samples count too."""
        x, labels = data.shown(MIN_ROWS_TO_SPLIT)
        if not bool((x != x[0]).any()):
            return Findings()  # Identical samples have no latent to find.
        model = copy.deepcopy(self.module_).to(device=x.device, dtype=x.dtype)
        with torch.no_grad():
            return replace(self._findings(model, data, x, labels), **course)

    def _warn(self, findings: Findings, stacklevel: int) -> None:
        for message in told(findings):
            warnings.warn(message, ConvergenceWarning, stacklevel=stacklevel)

    # --- coding and decoding ------------------------------------------------------------------

    def transform(
        self, X: ArrayLike | SparseArray, *, out: Any = None
    ) -> FloatArray | sparse.csr_array | sparse.csr_matrix:
        """Return the codes of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples in the units of the training samples, in any form that `fit` takes. Codes of a
            loader have the order of a pass over it.

        out : array of shape (n_samples, n_components) or None, default=None
            Array that the codes are written to, a few rows at a time: in memory, a memory map, or
            an array of zarr or h5py. None makes a new array.

        Returns
        -------
        {ndarray, sparse matrix} of shape (n_samples, n_components)
            The codes, or `out` if it was given. With ``sparse_output=True`` they are a CSR matrix,
            or a CSR array if scikit-learn's ``sparse_interface`` is "sparray". Otherwise, if X is a
            tensor, codes are a tensor on the same device, as in other methods.

        Raises
        ------
        ValueError
            If `out` has another shape or does not hold floats, or is given together with
            ``sparse_output=True``; if samples are too far from the training samples for their
            precision; or if the model cannot have codes of the length `transform_l0`.

        TypeError
            If `out` is a tensor, or X a sparse tensor.
        """
        if out is not None and self.sparse_output:
            raise ValueError(
                "sparse_output=True returns codes as a new sparse array, so they cannot be written "
                "to out. Set hard=True instead, or leave out=None."
            )
        X, model = self._check_for_coding(X)
        codes = self._by_chunks(X, model, self._encode, out=out, at_locations=self._with_locations)
        if self.sparse_output:
            return align_api_if_sparse(sparse.csr_array(as_array(codes)))
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
        X, model = self._check_for_coding(X)

        def never_active(active, labels):
            return torch.hstack([active, active.new_zeros((len(active), self._n_locations))])

        return self._by_chunks(X, model, self._active, at_locations=never_active)

    def inverse_transform(self, X: ArrayLike | SparseArray, *, out: Any = None) -> FloatArray:
        """Return the reconstructions that codes decode to.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)
            Codes, as `transform` returns them. Set latents to 0 to see what the others hold.

        out : array of shape (n_samples, n_features) or None, default=None
            Array that the reconstructions are written to, as for `transform`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Reconstructions in the units of the training samples, or `out` if it was given.

        Raises
        ------
        ValueError
            If X does not have `n_components_` columns, or has NaN or infinite values.
        """
        check_is_fitted(self)
        if isinstance(X, torch.Tensor):
            codes = checked_tensor(X)
            check_array(as_array(codes[:1]))
        else:
            codes = check_array(X, dtype=FLOATS, accept_sparse="csr")
        if codes.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but this {type(self).__name__} has "
                f"{self.n_components_} components; give codes as transform returns them."
            )
        # The decoder does not depend on the length of codes.
        model = super()._model_for(codes.dtype)
        device = next(model.parameters()).device
        scaling = self._scaling.decoded
        n_latents = self.n_components_ - self._n_locations

        def decode(rows):
            # A copy, because torch warns about read-only arrays.
            rows = rows if isinstance(rows, torch.Tensor) else torch.tensor(as_array(rows))
            given = rows.to(device)
            with suited_threads(model, len(given)):
                decoded = scaling.undo(model.decode(given[:, :n_latents].contiguous()))
            if self._n_locations:
                offsets = torch.as_tensor(scaling.offsets, device=decoded.device)
                decoded += given[:, n_latents:].to(offsets) @ offsets
            return decoded.to(given.dtype)

        return in_chunks(self, codes, rows_at_a_time(codes, model), decode, out)

    @property
    def _n_locations(self) -> int:
        return len(self._scaling.offsets)

    def _with_locations(self, codes: torch.Tensor, labels: IntArray) -> torch.Tensor:
        """Append a column for each location: 1 for the samples at that location, 0 for the rest."""
        there = torch.eye(self._n_locations).to(codes)[torch.as_tensor(labels).to(codes.device)]
        return torch.hstack([codes, there])

    def _model_for(self, dtype):
        return self._with_length(super()._model_for(dtype))

    def _with_length(self, model: Any) -> Any:
        """Return a model for codes of the length `transform_l0`; the fitted model is unchanged."""
        if self.transform_l0 is None:
            return model
        self._check_length(model)
        return model.shortened(self.transform_l0)

    def _check_length(self, model: Any) -> None:
        """Raise an error if `transform_l0` is given and the model has no codes of that length."""
        length, longest = self.transform_l0, model.length
        if length is None:
            return
        if longest is None:
            raise ValueError(
                f"transform_l0={length!r} can only shorten codes of a model that was trained for a "
                f"given length. {self._length_cure}, or leave transform_l0=None."
            )
        least = SHARES[-1] * longest
        if not (POSITIVE.is_satisfied_by(length) and least <= length <= longest):
            raise ValueError(
                f"transform_l0={length!r} must be a number from {least:.3g} to {longest:g}, the "
                "length that the model was trained for."
            )

    def _check_for_coding(self, X: Any, *, fill: bool = True) -> tuple[FloatArray, Any]:
        """Return valid samples, with missing values filled in if `fill` is set, and the model."""
        check_is_fitted(self)
        X = self._check_samples(X, reset=False)
        return self._imputed_samples(X) if fill else X, self._model_for(X.dtype)

    # --- scikit-learn's protocols -------------------------------------------------------------

    @property
    def _n_features_out(self):
        return self.n_components_

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Return the names of the columns of codes.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str of shape (n_columns,)
            The name of the class in lower case, followed by the number of the latent, or by
            "_location" and the number of the location.
        """
        names: np.ndarray = super().get_feature_names_out(input_features)
        n, prefix = len(names) - self._n_locations, type(self).__name__.lower()
        names[n:] = [f"{prefix}_location{g}" for g in range(self._n_locations)]
        return names

    def __sklearn_is_fitted__(self):
        return hasattr(self, "module_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def draw_seeds(random_state: np.random.RandomState) -> tuple[int, int]:
    """Return a seed for order and noise, and one for weights."""
    return draw_seed(random_state), draw_seed(random_state)
