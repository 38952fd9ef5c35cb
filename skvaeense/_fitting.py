"""How the autoencoders are fitted: starts, the best of them, and its last phase."""

import copy
import math
import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from skvaeense import networks
from skvaeense._course import Course, begin_or_go_on, diverged
from skvaeense._training._batches import TensorBatches, split_samples
from skvaeense._training._defaults import (
    HELD_OUT,
    SETTLING,
    Spectrum,
    default_n_components,
    resolve_batch_size,
)
from skvaeense._training._devices import DTYPES, draw_seed, make_generator, resolve_device
from skvaeense._training._history import History
from skvaeense._training._loop import make_optimizer
from skvaeense._training._opening import open_samples
from skvaeense._training._scaling import Scaling
from skvaeense._training._sources import Source
from skvaeense._training._stopping import Plateau
from skvaeense.utils._callbacks import CallbackSupportMixin, with_callbacks
from skvaeense.utils._typing import DoubleArray
from skvaeense.utils._validation import (
    AT_LEAST_ONE,
    NON_NEGATIVE,
    POSITIVE,
    StrOptions,
    fit_context,
)

FLOATS = (np.float64, np.float32)
# What partial_fit keeps of the peak learning rate once its schedule is over.
PARTIAL_LEARNING_RATE = 0.1
# Fitted attributes that depend on the parameters.
OPTIONAL_ATTRIBUTES = ("alpha_", "components_")


@contextmanager
def all_or_nothing(estimator):
    """Give the estimator its fitted attributes back if fitting fails."""
    before = _fitted(estimator)
    try:
        yield
    except BaseException:
        for name in _fitted(estimator):
            delattr(estimator, name)
        vars(estimator).update(before)
        raise


def _fitted(estimator):
    return {k: v for k, v in vars(estimator).items() if k.endswith("_") and not k.startswith("__")}


class AutoencoderFit(CallbackSupportMixin, ABC):
    """Fit an autoencoder.

    A subclass says what a run minimises, how runs are judged, and what is kept of the best one.
    Training has two phases: starts, the best of which is chosen, and its last phase.
    """

    # Steps over which `partial_fit` walks through the schedule of a new run.
    _schedule_steps: int
    # How many rows do not train.
    _held_out = HELD_OUT

    # Fitted attributes that users see.
    n_components_: int
    components_: DoubleArray
    n_iter_: int
    loss_curve_: list[float]
    history_: History
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints = {
        "n_components": [AT_LEAST_ONE, None],
        "network": [StrOptions(set(networks.ALIASES)), networks.Network],
        "learning_rate_init": [POSITIVE],
        "batch_size": [AT_LEAST_ONE, StrOptions({"auto"})],
        "max_iter": [AT_LEAST_ONE, StrOptions({"auto"})],
        "tol": [NON_NEGATIVE],
        "n_iter_no_change": [AT_LEAST_ONE],
        "warm_start": ["boolean"],
        "dtype": [StrOptions(set(DTYPES))],
        "device": [str],
        "random_state": ["random_state"],
    }

    # --- what a subclass says -----------------------------------------------------------------

    @abstractmethod
    def _split_epochs(self, n_samples, batch_size):
        """Return the epochs of each start, 0 if there is but one run, and of the last phase."""

    @abstractmethod
    def _start_runs(self, shape, n_components, spectrum, scaling, random_state):
        """Yield one Run for each start, at random weights; shape is that of the training data."""

    @abstractmethod
    def _resumed_run(self, module, generator, n_samples):
        """Return a Run that goes on from the fitted attributes, with this copy of the module."""

    @abstractmethod
    def _set_final_phase(self, run):
        """Give the chosen run what its last phase minimises, and at what learning rate."""

    def _judge(self, run, held_out):
        """Return the loss by which starts are compared; lower is better."""
        return self._held_out_loss(run, held_out)

    @abstractmethod
    def _held_out_loss(self, run, held_out):
        """Return the loss by which the last phase sees a plateau; lower is better."""

    @abstractmethod
    def _loss_terms(self, losses, n_features, scale):
        """Return the quantities of a History as a NamedTuple of arrays, `loss` among them."""

    @abstractmethod
    def _outcome(self, run, held_out, scaling):
        """Return the fitted attributes of this kind of autoencoder as a dict."""

    @abstractmethod
    def _failure_signs(self, module, held_out):
        """Return a message for each sign of failure that held-out samples show."""

    # --- fitting ------------------------------------------------------------------------------

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit the autoencoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training samples, in any units: they are centred and scaled by one factor inside. Those
            that are not in memory are read as they are needed: a memory map, an array of zarr,
            h5py or Dask, a folder or a list of files (.npy, or .safetensors with one tensor in
            each), a dataset or a loader of torch, or another iterable of batches.

        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X holds NaN or infinity, is sparse, or has fewer than two samples, or if it can be
            gone through only once.

        FloatingPointError
            If the loss of every start becomes NaN or infinite. Attributes of an earlier fit stay.

        Warns
        -----
        ConvergenceWarning
            If the fitted model shows a sign of failure; the message names the cure.

        UserWarning
            If Ctrl-C, a KeyboardInterrupt, has ended training: what was learned until then stays.
        """
        with all_or_nothing(self):
            continues = self.warm_start and hasattr(self, "module_")
            samples = self._check_samples(X, ensure_min_samples=2, reset=not continues)
            scaling = Scaling(self.mean_, self.scale_) if continues else Scaling.from_data(samples)
            begin = begin_or_go_on(self, samples, scaling, self.module_ if continues else None)
            train, held_out = self._split(samples, scaling, begin.random_state)
            course = self._course(begin, train, held_out, scaling, continues)
            if continues:
                runs = iter([self._continued_run(len(train), begin.random_state)])
            else:
                runs = self._new_runs(train, scaling, begin.random_state)
            run = course.complete(runs, Plateau(self.tol, self.n_iter_no_change))
            self.__dict__.pop("_partial_run_", None)
            self._keep(run, held_out, scaling)
            if begin.ranks.is_first:
                self._warn_of_failure(held_out)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on one more batch of samples.

        The first call fixes the centre, the scale and the number of components, so its batch
        should be a fair sample of the data. What changes in the course of training, as the learning
        rate does, follows the schedule of one start of `fit`, counted in steps over all calls, and
        then stays at its end.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; each call is one pass over them in mini-batches.

        y : None
            Ignored.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If X holds NaN or infinity, is sparse, or has fewer than two samples at the first call.

        FloatingPointError
            If the loss becomes NaN or infinite. The estimator stays as it was before the call.
        """
        with all_or_nothing(self):
            first = not hasattr(self, "module_")
            X = validate_data(self, X, dtype=FLOATS, ensure_min_samples=1 + first, reset=first)
            scaling = Scaling.from_data(X) if first else Scaling(self.mean_, self.scale_)
            Z = scaling.apply(X, dtype=DTYPES[self.dtype], device=resolve_device(self.device))
            run = self._partial_run(Z, scaling)
            batch_size = resolve_batch_size(self.batch_size, len(Z))
            ends = run.n_steps, run.n_steps + len(Z) // batch_size
            span = tuple(min(n_steps / self._schedule_steps, 1.0) for n_steps in ends)
            for _ in run.epochs(Z, n_epochs=1, batch_size=batch_size, span=span):
                pass
            if not (run.is_finite and math.isfinite(self._held_out_loss(run, Z))):
                raise FloatingPointError(diverged("The loss"))
            self._keep(run, Z, scaling)
            self._partial_run_ = run
        return self

    def _check_samples(self, X, *, reset, ensure_min_samples=1):
        """Return samples as a valid array, or as a source whose rows are checked when read."""
        X = open_samples(X)
        head = X.head(ensure_min_samples) if isinstance(X, Source) else X
        head = validate_data(
            self, head, dtype=FLOATS, ensure_min_samples=ensure_min_samples, reset=reset
        )
        return X if isinstance(X, Source) else head

    def _split(self, X, scaling, random_state):
        """Return the rows that train, and those by which starts and epochs are judged."""
        dtype, device = DTYPES[self.dtype], resolve_device(self.device)
        return split_samples(
            X, scaling, random_state, dtype=dtype, device=device, rule=self._held_out
        )

    def _course(self, begin, train, held_out, scaling, continues):
        """Return the way of a fit: starts unless it continues, and the last phase in two parts."""
        batch_size = resolve_batch_size(self.batch_size, len(train))
        start_epochs, final_epochs = self._split_epochs(len(train), batch_size)
        if continues:
            start_epochs, final_epochs = 0, max(final_epochs, 1)
        n_last = math.ceil((1 - SETTLING) * final_epochs)
        parts = (final_epochs - n_last, (0.0, SETTLING)), (n_last, (SETTLING, 1.0))
        return Course(
            self,
            begin,
            train=train,
            held_out=held_out,
            scaling=scaling,
            batch_size=batch_size,
            n_starts=self._n_starts(),
            start_epochs=start_epochs,
            parts=parts if final_epochs else (),
        )

    def _n_starts(self):
        return 1

    def _new_runs(self, batches, scaling, random_state):
        """Return the starts for these samples, one after the other."""
        spectrum = Spectrum.of(batches.head)
        n_components = self.n_components or default_n_components(spectrum)
        return self._start_runs(batches.shape, n_components, spectrum, scaling, random_state)

    def _make_generators(self, random_state):
        """Return a generator on the device for training, and one on the CPU for weights."""
        device = resolve_device(self.device)
        return make_generator(draw_seed(random_state), device), make_generator(
            draw_seed(random_state)
        )

    def _place(self, module):
        return module.to(device=resolve_device(self.device), dtype=DTYPES[self.dtype])

    def _partial_run(self, Z, scaling):
        """Return the run that `partial_fit` goes on with: its own, a fitted one, or a new one."""
        if hasattr(self, "_partial_run_"):
            # A copy is trained, so that a failure loses nothing.
            return copy.deepcopy(self._partial_run_)
        random_state = check_random_state(self.random_state)
        if hasattr(self, "module_"):
            run = self._continued_run(len(Z), random_state)
            run.n_steps = self._schedule_steps
        else:
            run = next(iter(self._new_runs(TensorBatches(Z), scaling, random_state)))
        run.learning_rate = replace(run.learning_rate, floor=PARTIAL_LEARNING_RATE)
        if run.optimizer is None:
            run.optimizer = make_optimizer(run.module)
        return run

    def _continued_run(self, n_samples, random_state):
        generator, _ = self._make_generators(random_state)
        return self._resumed_run(self._place(copy.deepcopy(self.module_)), generator, n_samples)

    def _attributes(self, run, held_out, scaling):
        """Return all fitted attributes, from a copy of the module on the CPU."""
        # A copy, since it may be calibrated, and training may go on.
        module = copy.deepcopy(run.module)
        outcome = self._outcome(replace(run, module=module), held_out, scaling)
        module = module.cpu().eval()
        epochs = [*run.rivals, *run.trail]
        losses = [epoch.loss for epoch in epochs]
        terms = self._loss_terms(losses, held_out.shape[1], scaling.scale)
        history = History.from_epochs(epochs, terms)
        shared = {
            "module_": module,
            "mean_": scaling.mean,
            "scale_": scaling.scale,
            "n_components_": module.heads[0].out_features,
            "n_iter_": len(run.losses),
            "loss_curve_": history["loss"][history.kept].tolist(),
            "history_": history,
        }
        if module.has_linear_decoder:
            weight = module.decoder.weight.detach().numpy()
            shared["components_"] = weight.T.astype(np.float64) * scaling.scale
        return shared | outcome

    def _keep(self, run, held_out, scaling):
        attributes = self._attributes(run, held_out, scaling)
        # An earlier fit may have left what this one has not, as with another network.
        for name in OPTIONAL_ATTRIBUTES:
            self.__dict__.pop(name, None)
        self.__dict__.update(attributes)

    def _warn_of_failure(self, held_out):
        """Warn if held-out samples show a sign of failure."""
        if not bool((held_out != held_out[0]).any()):
            return  # Samples that are all the same have no latent to find.
        module = self._place(copy.deepcopy(self.module_))
        with torch.no_grad():
            messages = self._failure_signs(module, held_out)
        for message in messages:
            warnings.warn(message, ConvergenceWarning, stacklevel=5)
