"""Random tables, parameters and calls, to find crashes, hangs, and answers that are not finite.

    python -m benchmarks fuzz [--minutes 60] [--first 0]
    python -m benchmarks fuzz --seed 123

A seed draws a case: a table as users may have it, an estimator with parameters from the types and
ranges that its class declares, and several calls, one after the other. The estimators are
VAEenseTransformer, with a VAEase in some of the cases, SparseAutoencoder, SubspaceMixture,
GateDictionary and IntrinsicDimensionEstimator. Tables have one-hot blocks, constant columns, at
most 20 distinct rows, rows that are up to 1e100 times the others, units of 1e-160 to 1e300, and
more. A call may return finite answers, or raise an error of the package or of scikit-learn's
validation. It may also warn with a message of either. Everything else is a finding: a process that
ends or hangs, NaN or infinity, an error or warning from inside torch, numpy, scipy or joblib, or a
copy that answers differently.

Cases run in separate processes with limited time and memory. results/fuzz.json has, for each run,
the number of cases, the outcomes of their calls, and the seeds of the findings. ``--seed`` runs one
case again and prints it. A seed may draw a different case after a later commit. The benchmark needs
the packages that the tests need, since it draws tables from the tests.
"""

import copy
import dis
import faulthandler
import inspect
import math
import multiprocessing
import numbers
import pickle
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import HasMethods

import skvaeense
from benchmarks.common import ROOT, load, make_parser, write
from skvaeense import (
    dimension,
    explanations,
    inspection,
    language,
    mixture,
)
from skvaeense.nets import losses, networks, penalties, priors, thresholds
from skvaeense.utils._validation import Interval, StrOptions

sys.path.append(str(ROOT / "tests"))
from strategies import KINDS, LAYOUTS, TABLES

# Limits of a case: CPU seconds, wall-clock seconds (more, as other processes may slow a case down),
# and memory beyond the memory of an idle process.
MOST_CPU_SECONDS, MOST_SECONDS, MOST_BYTES = 120, 1200, 2 * 2**30
# A process is replaced after this many cases, so that leftovers of a case affect few others.
# Results are written after the same number of cases.
N_CASES = 100
# Largest number of seeds that are saved for one sort of finding.
N_SEEDS = 5

PACKAGE = Path(skvaeense.__file__).parent
# The files of scikit-learn that raise errors meant for users.
SKLEARN = Path(sklearn.__file__).parent
VALIDATION = [SKLEARN / name for name in ("utils", "base.py", "pipeline.py", "preprocessing")]
RAISE = dis.opmap["RAISE_VARARGS"]


# --- tables -----------------------------------------------------------------------------------


def one_in(rng, n):
    """Return True with probability 1 / n."""
    return bool(rng.random() * n < 1)


def pick(rng, values):
    """Return a random one of the values."""
    values = list(values)
    return values[rng.integers(len(values))]


def spoil_cell(rng, X):
    X[rng.integers(len(X)), rng.integers(X.shape[1])] = pick(rng, (math.nan, math.nan, math.inf))
    return X


def with_holes(rng, X):
    X[rng.random(X.shape) < 0.1] = math.nan
    return X


def with_column(value):
    """Return a change that fills a column with a value, or with the draws of a function."""

    def change(rng, X):
        X[:, rng.integers(X.shape[1])] = value(rng, len(X)) if callable(value) else value
        return X

    return change


def with_far_rows(rng, X):
    X[rng.integers(len(X), size=rng.integers(1, 4))] *= 10.0 ** rng.integers(2, 101)
    return X


def in_extreme_units(rng, X):
    return X * pick(rng, (1e-160, 1e160, 1e300))


def of_few_rows(rng, X):
    return X[rng.integers(min(len(X), rng.integers(1, 21)), size=len(X))]


# name: change of a table
CHANGES = {
    "scaled": lambda rng, X: X * 10.0 ** rng.integers(-40, 41),
    "moved": lambda rng, X: X + 10.0 ** rng.integers(0, 9),
    "one cell": spoil_cell,
    "holes": with_holes,
    "constant column": with_column(lambda rng, n: 10.0 ** rng.integers(-5, 6)),
    "NaN column": with_column(math.nan),
    "huge column": with_column(lambda rng, n: 10.0 ** rng.integers(3, 30) * rng.random(n)),
    "tiny column": with_column(lambda rng, n: 10.0 ** -rng.integers(3, 30) * rng.random(n)),
    "far rows": with_far_rows,
    "extreme units": in_extreme_units,
    "few distinct rows": of_few_rows,
    "few rows": lambda rng, X: X[: rng.integers(1, 6)],
    "repeated rows": lambda rng, X: X[rng.integers(max(1, len(X) // 4), size=len(X))],
    "copied columns": lambda rng, X: X[:, rng.integers(X.shape[1], size=X.shape[1])],
    "half precision": lambda rng, X: X.astype(np.float16).astype(np.float64),
    "one column": lambda rng, X: X[:, :1],
    "rounded": lambda rng, X: np.round(X),
    "zero": lambda rng, X: np.zeros_like(X),
}
CONTAINERS = {
    "float32": lambda X: X.astype(np.float32),
    "frame": lambda X: pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]),
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "list": lambda X: X.tolist(),
    "tensor": torch.tensor,
    "float32 tensor": lambda X: torch.tensor(X, dtype=torch.float32),
    "integers": lambda X: np.nan_to_num(X).clip(-1e6, 1e6).astype(np.int64),
    "objects": lambda X: X.astype(object),
} | LAYOUTS
ANY_TABLE = {**KINDS, **TABLES}


class Table(NamedTuple):
    """Training rows and new rows, words for how they were made, and their container."""

    words: str
    X: np.ndarray
    X_new: np.ndarray
    contain: Any


def changed(rng, name, X):
    """Return a table after a named change."""
    with np.errstate(all="ignore"):
        return CHANGES[name](rng, X)


def draw_table(rng):
    """Return a random table, half of the time with one or more changes."""
    kind = pick(rng, ANY_TABLE)
    n, d = pick(rng, (2, 3, 5, 8, 20, 40, 80, 150, 300)), pick(rng, (1, 2, 3, 5, 8, 16, 40))
    words = [kind]
    with np.errstate(all="ignore"):
        X = np.float64(ANY_TABLE[kind](rng, n, d))
    while one_in(rng, 2) and len(words) < 4:
        words.append(pick(rng, CHANGES))
        X = changed(rng, words[-1], X)
    X_new = X[rng.permutation(len(X))[: pick(rng, (1, 3, 20, len(X)))]]
    if one_in(rng, 2):
        words.append("new: " + pick(rng, CHANGES))
        X_new = changed(rng, words[-1].removeprefix("new: "), X_new.copy())
    container = pick(rng, CONTAINERS) if one_in(rng, 2) else "C"
    words.append(container)
    return Table(f"{', '.join(words)}: {X.shape}, {X_new.shape}", X, X_new, CONTAINERS[container])


# --- estimators -------------------------------------------------------------------------------

ESTIMATORS = (
    skvaeense.VAEenseTransformer,
    skvaeense.SparseAutoencoder,
    skvaeense.IntrinsicDimensionEstimator,
    mixture.SubspaceMixture,
    explanations.GateDictionary,
)
AUTOENCODERS = ESTIMATORS[:2]
# The share of each estimator among all cases.
ESTIMATOR_SHARES = 0.4, 0.2, 0.2, 0.1, 0.1
ROOMS = skvaeense, dimension, losses, networks, penalties, priors, thresholds
SIZES = ("auto", (), 1, (8,), [4, 3], 0)
# Values of parameters without declared types, and of parameters whose declared range includes
# values that take long or that suit few tables.
VALUES = {
    "hidden_layer_sizes": SIZES,
    "encoder_layer_sizes": SIZES,
    "skip": (True, False, "first"),
    "noise_variance": ("auto", 1e-3, 1.0, 1e-30, 1e30),
    "max_iter": (1, 2, 2, 3, 3, 6, 6, 20),
    "device": ("cpu", "auto"),
    "optimizer": ("adam", "sgd", "radam", torch.optim.NAdam),
    "schedule": ("auto", "constant", "cosine"),
    "levels": ([0.15], (0.1, 0.3)),
    "target_l0": (0.3, 1, 1.5, 2.0, 1e300),
    "target_explained_variance": ("auto", None, 1e-8, 0.5, 0.9, 1 - 1e-9),
    "transform_l0": (None, 0.5, 1, 1.5),
}


def kinds_of(base):
    """Return the public, concrete subclasses of a base class of parts."""
    found = {getattr(room, name) for room in ROOMS for name in room.__all__}
    classes = {cls for cls in found if inspect.isclass(cls) and issubclass(cls, base)}
    return sorted((c for c in classes if not inspect.isabstract(c)), key=lambda c: c.__name__)


def draw_number(rng, interval):
    """Return a number from an interval: an end, a number near an end, or any number."""
    is_whole = interval.type is numbers.Integral
    low, high = interval.left, interval.right
    if is_whole:
        return int(pick(rng, {low, low + 1, low + rng.integers(10), min(high or 40, low + 40)}))
    ends = {"left": [low], "right": [high], "both": [low, high], "neither": []}[interval.closed]
    start, stop = low or 0.0, high or math.inf
    inside = [start + 1e-300, start + 1e-8, start + 10.0 ** rng.uniform(-3, 1), start + 1e8, 1e300]
    inside += [start + (min(stop, 1e3) - start) * rng.random()] * 3
    if high is not None:
        inside.append(math.nextafter(high, -math.inf))
    return float(pick(rng, [x for x in ends if x is not None] + [x for x in inside if x < stop]))


def draw_value(rng, name, constraints):
    """Return a value of a parameter that satisfies its constraints."""
    if name in VALUES:
        return copy.copy(pick(rng, VALUES[name]))
    if name == "loss" and one_in(rng, 2):
        return pick(rng, constraints[0].options)
    if name == "model":
        model = pick(rng, ("auto", "auto", "mixture", "gates", "vaease"))
        return draw_part(rng, skvaeense.VAEase) if model == "vaease" else model
    constraint = pick(rng, constraints)
    if isinstance(constraint, Interval):
        return draw_number(rng, constraint)
    if isinstance(constraint, StrOptions):
        return pick(rng, sorted(constraint.options))
    if isinstance(constraint, HasMethods):
        return draw_estimator(rng, pick(rng, AUTOENCODERS))
    if constraint == "boolean":
        return one_in(rng, 2)
    if constraint in (list, tuple):
        values = rng.integers(1, 6, 2) if one_in(rng, 2) else 5 * rng.random(2)
        return constraint(sorted(values.tolist()))
    if constraint is np.random.RandomState:
        return np.random.RandomState(int(rng.integers(100)))
    if inspect.isclass(constraint) and issubclass(constraint, BaseEstimator):
        return draw_part(rng, pick(rng, kinds_of(constraint)))
    return None


def draw_params(rng, cls, share):
    """Return values for the required parameters of a class, and for a share of the others."""
    constraints = getattr(cls, "_parameter_constraints", {})
    drawn = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        is_needed = parameter.default is inspect.Parameter.empty
        is_known = name in constraints or name in VALUES
        if is_needed or (is_known and rng.random() < share):
            drawn[name] = draw_value(rng, name, constraints.get(name, [None]))
    return drawn


def draw_part(rng, cls):
    """Return a part of an estimator, with random parameters and a short training."""
    return make(cls, draw_params(rng, cls, 0.3))


def draw_estimator(rng, cls):
    """Return an estimator that trains for a short time."""
    chosen = {"max_iter": pick(rng, VALUES["max_iter"])}
    if cls is skvaeense.VAEenseTransformer:
        chosen["model"] = draw_value(rng, "model", ())
    if cls is skvaeense.IntrinsicDimensionEstimator:
        chosen["autoencoder"] = draw_estimator(rng, pick(rng, AUTOENCODERS))
    return make(cls, chosen | draw_params(rng, cls, pick(rng, (0.0, 0.1, 0.2, 0.4))))


def make(cls, params):
    """Return an instance with a short training, and those of `params` that its class has."""
    short = {"max_iter": 3, "random_state": 0} | params
    return cls(**{k: v for k, v in short.items() if k in inspect.signature(cls).parameters})


# --- calls ------------------------------------------------------------------------------------

# Methods that take only samples.
ASK = (
    "active_dimensions",
    "assign",
    "dimension_scale",
    "elbo_samples",
    "outlier_p_values",
    "posterior",
    "predict",
    "predict_proba",
    "reliability",
    "score",
    "score_samples",
    "transform",
)
LEARN = ("fit", "partial_fit", "fit_transform", "fit_predict")
# Calls whose answers are NaN where they are unknown.
PARTLY_KNOWN = "dimension_scale", "reliability", "inspection"
# call: method that the estimator must have for this call. All other calls need only `fit`.
METHODS = {name: name for name in (*ASK, *LEARN, "inverse_transform", "impute", "sample")} | {
    "names": "get_feature_names_out",
    "codes as a frame": "transform",
    "before a scaler": "transform",
    "score weighted": "set_score_request",
    "transform out": "active_dimensions",
    "checkpoint": "active_dimensions",
    "inspection": "active_dimensions",
}
INSPECTIONS = {
    "top_activating": lambda fitted, X, y: language.top_activating(fitted, X),
    "sparsity_curve": lambda fitted, X, y: dict(
        enumerate(inspection.reconstruction_sparsity_curve(fitted, X)[:2])
    ),
}


class Case:
    """An estimator and a table drawn by a seed, and their state after the calls so far."""

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        self.table = draw_table(rng)
        self.estimator = draw_estimator(rng, rng.choice(ESTIMATORS, p=ESTIMATOR_SHARES))
        self.has_scaler = one_in(rng, 6)
        if self.has_scaler:
            self.estimator = make_pipeline(StandardScaler(), self.estimator)
        self.calls = [pick(rng, ("fit", "fit", "fit", "fit weighted", "partial_fit"))]
        can = list(filter(self.has, CALLS))
        if self.calls[0] not in can:
            self.calls = ["fit"]
        self.calls += [pick(rng, can) for _ in range(rng.integers(2, 10))]

    def __str__(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return f"{self.table.words}\n{self.estimator}\n{', '.join(self.calls)}"

    @property
    def last(self):
        """The estimator, without the scaler that may come before it."""
        return self.estimator[-1] if self.has_scaler else self.estimator

    def given(self, X):
        with np.errstate(all="ignore"):
            return self.table.contain(X)

    def has(self, call):
        """Return whether the estimator, with any scaler before it, supports a call."""
        return all(hasattr(part, METHODS.get(call, "fit")) for part in (self.estimator, self.last))

    def simplify(self):
        """Replace the estimator by one with default parameters, except for a short training."""
        self.estimator, self.has_scaler = make(type(self.last), {}), False

    def learn(self, method, **params):
        return self.method(method)(self.given(self.table.X), **params)

    def method(self, name):
        return getattr(self.estimator, name)

    def codes(self):
        return self.method("transform")(self.given(self.table.X_new))

    def same(self, other):
        """Switch to a copy, and return its answers; raise DifferenceError if they differ."""
        mine, before = self.answers(), self.estimator
        self.estimator = other
        theirs = self.answers()
        if mine is not None and not np.array_equal(mine, theirs, equal_nan=True):
            self.estimator = before
            raise DifferenceError("A copy answers differently.")
        return theirs

    def answers(self):
        names = [n for n in ("transform", "score_samples") if hasattr(self.estimator, n)]
        X = self.given(self.table.X_new)
        return dense(self.method(names[0])(X)) if names else None


class DifferenceError(AssertionError):
    """Raised if a copy of an estimator answers differently."""


def dense(answer):
    return answer.toarray() if hasattr(answer, "toarray") else np.asarray(answer)


def draw_weights(rng, n):
    weights = [rng.random(n), rng.integers(0, 3, n), np.eye(n)[0], np.zeros(n), np.ones(n)]
    weights += [np.full(n, 1e300), np.full(n, 1e-300), 10.0 ** rng.integers(-20, 20, n)]
    return pick(rng, weights)


def weighted(case):
    weight = draw_weights(case.rng, len(case.table.X))
    prefix = f"{case.estimator.steps[-1][0]}__" if case.has_scaler else ""
    return case.learn("fit", **{f"{prefix}sample_weight": weight})


def batches(case):
    if case.has_scaler:
        return case.learn("fit")
    parts = np.array_split(case.table.X, 2) if one_in(case.rng, 2) else [case.table.X]
    for part in parts:
        case.estimator.partial_fit(case.given(part))
    return None


def inverse(case):
    codes = case.codes()
    if one_in(case.rng, 4):
        codes = 10.0 ** case.rng.integers(0, 30) * dense(codes)
    return case.method("inverse_transform")(codes)


def score_weighted(case):
    X = case.table.X_new
    return case.last.score(case.given(X), sample_weight=draw_weights(case.rng, len(X)))


def other_table(case):
    case.table = draw_table(case.rng)
    return case.learn("fit") if one_in(case.rng, 2) else case.answers()


def kept(case):
    with tempfile.TemporaryDirectory() as folder:
        estimator = clone(case.last)
        seeds = [name for name in estimator.get_params() if name.endswith("random_state")]
        estimator.set_params(**dict.fromkeys(seeds, 0))
        estimator.set_callbacks(skvaeense.Checkpoint(folder, interval=0))
        twice = [clone(estimator).fit(case.given(case.table.X)) for _ in range(2)]
    codes = [dense(fitted.transform(case.given(case.table.X))) for fitted in twice]
    if not np.array_equal(*codes, equal_nan=True):
        raise DifferenceError("A fit from a checkpoint answers differently.")


def inspected(case):
    X = case.given(case.table.X_new)
    name, ask = pick(case.rng, INSPECTIONS.items())
    case.calls[case.calls.index("inspection")] = name
    return tuple(ask(case.last, X, np.arange(len(case.table.X_new)) % 2).values())


def impute(case):
    X = case.table.X_new.copy()
    return case.method("impute")(case.given(CHANGES["holes"](case.rng, X)))


def saved(case):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "estimator.safetensors"
        skvaeense.save(case.last, path)
        loaded = skvaeense.load(path)
    if case.has_scaler:
        loaded = Pipeline([*case.estimator.steps[:-1], (case.estimator.steps[-1][0], loaded)])
    return case.same(loaded)


def warm(case):
    case.last.set_params(warm_start=True)
    return case.learn("fit")


def scaled(case):
    return make_pipeline(clone(case.estimator), StandardScaler()).fit_transform(
        case.given(case.table.X)
    )


def set_params(case):
    params = draw_params(case.rng, type(case.last), 0.15)
    case.last.set_params(**{k: v for k, v in params.items() if k != "autoencoder"})
    case.calls[case.calls.index("set_params")] = f"set_params({params})"


def cloned(case):
    case.estimator = clone(case.estimator)
    return case.learn("fit")


CALLS = {
    **{name: lambda case, name=name: case.learn(name) for name in LEARN},
    **{
        name: lambda case, name=name: case.method(name)(case.given(case.table.X_new))
        for name in ASK
    },
    "fit weighted": weighted,
    "partial_fit": batches,
    "inverse_transform": inverse,
    "impute": impute,
    "sample": lambda case: case.method("sample")(5),
    "save, load": saved,
    "pickle": lambda case: case.same(pickle.loads(pickle.dumps(case.estimator))),
    "deepcopy": lambda case: case.same(copy.deepcopy(case.estimator)),
    "clone, fit": cloned,
    "warm start": warm,
    "before a scaler": scaled,
    "set_params": set_params,
    "codes as a frame": lambda case: (
        clone(case.estimator).set_output(transform="pandas").fit_transform(case.given(case.table.X))
    ),
    "score weighted": score_weighted,
    "other table": other_table,
    "checkpoint": kept,
    "inspection": inspected,
    "repr": lambda case: repr(case.estimator) and case.last._repr_html_() and None,
    "names": lambda case: case.method("get_feature_names_out")() is None,
}


# --- what comes of a call ---------------------------------------------------------------------


class Outcome(NamedTuple):
    """The outcome of a call: its kind, the call, its message, and its place in the code."""

    kind: str
    call: str
    words: str = ""
    place: str = ""

    @property
    def sort(self):
        """The key that outcomes with the same cause share."""
        return self.kind, self.place or self.call, re.sub(r"[-+.e\d]+|'\w+'", "#", self.words)[:80]


# Kinds of outcomes that are no findings.
FINE = "answered", "refused", "warned"


def is_in(filename, *places):
    """Return whether a file lies in one of these folders, or is one of these files."""
    return any(Path(filename).is_relative_to(place) for place in places)


def is_refusal(tb):
    """Return whether an error was raised on purpose, by the package or by validation.

    An error of C code, such as an index out of bounds, ends in the frame of its Python caller. The
    last instruction of this frame is then a call, and not a raise.
    """
    while tb.tb_next:
        tb = tb.tb_next
    code = tb.tb_frame.f_code
    is_raised = code.co_code[tb.tb_lasti] == RAISE
    return is_in(code.co_filename, *VALIDATION) or (is_raised and is_in(code.co_filename, PACKAGE))


def of_error(call, error):
    """Return the outcome of a call that raised an error."""
    words = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, DifferenceError):
        return Outcome("differs", call, str(error))
    if is_refusal(error.__traceback__):
        return Outcome("refused", call, words)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if is_in(f.filename, PACKAGE)] or frames
    return Outcome("raw error", call, words, place_of(ours[-1]))


def of_warning(call, message, category):
    """Return the outcome of a call that warned; warnings of validation or a scaler are fine."""
    words = f"{category.__name__}: {message}"[:300]
    known = [f for f in traceback.extract_stack() if is_in(f.filename, PACKAGE, *VALIDATION)]
    if issubclass(category, UserWarning) or not known or is_in(known[-1].filename, *VALIDATION):
        return Outcome("warned", call, words)
    return Outcome("raw warning", call, words, place_of(known[-1]))


def place_of(frame):
    return f"{Path(frame.filename).name}:{frame.lineno}"


def floats_of(value):
    """Yield the float arrays in an answer, which may be nested."""
    if isinstance(value, tuple | list):
        for part in value:
            yield from floats_of(part)
    elif isinstance(value, pd.DataFrame | np.ndarray | torch.Tensor | float):
        value = np.asarray(value)
        if value.dtype.kind == "f":
            yield value
    elif sparse.issparse(value):
        yield from floats_of(value.data)


def fitted_numbers(estimator):
    """Return the fitted attributes that must be finite."""
    names = sorted(vars(estimator).keys() - {"dimension_std_", "history_"})
    return [vars(estimator)[k] for k in names if k.endswith("_") and not k.startswith("_")]


def attempt(case, call):
    """Call an estimator, and return the outcomes."""
    answer, outcomes = None, {}
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, category, *where: outcomes.setdefault(
            of_warning(call, message, category)
        )
        try:
            answer = CALLS[call](case)
        except Exception as error:
            outcomes[of_error(call, error)] = None
    for what, value in (("answer", answer), ("attributes", fitted_numbers(case.last))):
        knows_all = np.isfinite if what == "attributes" or call not in PARTLY_KNOWN else not_inf
        if not all(knows_all(x).all() for x in floats_of(value)):
            outcomes[Outcome("not finite", call, what)] = None
    if all(outcome.kind == "warned" for outcome in outcomes):
        outcomes[Outcome("answered", call)] = None
    return list(outcomes)


def not_inf(x):
    return ~np.isinf(x)


def run(seed):
    """Run a case, and return the case and the outcomes of its calls."""
    case, outcomes = Case(seed), []
    first, *others = list(case.calls)
    outcomes += attempt(case, first)
    if any(outcome.kind == "refused" for outcome in outcomes):
        # Most other calls would be refused, too.
        case.simplify()
        outcomes += attempt(case, "fit")
    for call in others:
        if case.has(call):
            outcomes += attempt(case, call)
    return case, outcomes


# --- processes --------------------------------------------------------------------------------


def work(connection, log):
    """Run the cases of the seeds from a connection, and send back their outcomes."""
    torch.set_num_threads(1)
    with open(log, "w", buffering=1, encoding="utf-8") as file:
        faulthandler.enable(file)
        # The signal writes the traceback to the log, and then ends the process.
        faulthandler.register(signal.SIGPROF, file, chain=True)
        run(0)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES,) * 2)
        for seed in iter(connection.recv, None):
            faulthandler.dump_traceback_later(MOST_SECONDS, exit=True, file=file)
            signal.setitimer(signal.ITIMER_PROF, MOST_CPU_SECONDS)
            begin = time.process_time()
            case, outcomes = run(seed)
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
            connection.send((str(case), outcomes, time.process_time() - begin))


class Worker:
    """A process that runs cases, and that is started again after it ends."""

    def __init__(self, log):
        self.log, self.process = log, None

    def begin(self):
        self.connection, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=work, args=(theirs, self.log), daemon=True)
        self.process.start()
        theirs.close()
        self.n_cases = 0

    def run(self, seed):
        """Run a case; return its description, the outcomes of its calls, and its CPU seconds."""
        if self.process is None:
            self.begin()
        self.connection.send(seed)
        try:
            answer = self.connection.recv()
        except EOFError:
            self.process.join()
            code, self.process = self.process.exitcode, None
            kind = "hang" if code in (1, -signal.SIGPROF) else "crash"
            frames = Path(self.log).read_text(encoding="utf-8")
            ours = re.search(rf'"{PACKAGE}(\S+)", line (\d+)', frames)
            place = ":".join(ours.groups()) if ours else ""
            return (
                str(Case(seed)),
                [Outcome(kind, "", f"exit code {code}", place)],
                MOST_CPU_SECONDS,
            )
        self.n_cases += 1
        if self.n_cases == N_CASES:
            self.end()
        return answer

    def end(self):
        if self.process is not None:
            self.connection.send(None)
            self.process.join()
            self.process = None


def fuzz(seeds, until, folder, note):
    """Run cases until a given time, print new findings, and save the counts at intervals."""
    worker, counts, findings, seconds = Worker(Path(folder) / "log"), Counter(), {}, []
    for seed in seeds:
        words, outcomes, duration = worker.run(seed)
        counts.update(outcome.kind for outcome in outcomes)
        seconds.append(duration)
        for outcome in outcomes:
            if outcome.kind in FINE:
                continue
            if outcome.sort not in findings:
                print(f"\n--- seed {seed}\n{words}\n{' | '.join(outcome)}", flush=True)
            findings.setdefault(outcome.sort, (outcome, set()))[1].add(seed)
        is_over = time.monotonic() > until
        if is_over or len(seconds) % N_CASES == 0:
            note(counts, findings, seconds)
        if is_over:
            break
    worker.end()


def show(seed):
    """Run one case, and print it with its outcomes."""
    torch.set_num_threads(1)
    case, outcomes = run(seed)
    print(case, *(" | ".join(outcome) for outcome in outcomes), sep="\n")


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, out="fuzz.json")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--first", type=int, help="the first seed; by default a new one")
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        show(arguments.seed)
        return
    runs = load(arguments.out).get("runs", [])
    ends = [0, *(run["first_seed"] + run["cases"] for run in runs)]
    first = max(ends) if arguments.first is None else arguments.first
    begin = time.monotonic()

    def note(counts, findings, seconds):
        done = {
            "minutes": round((time.monotonic() - begin) / 60, 1),
            "first_seed": first,
            "cases": len(seconds),
            "median_cpu_seconds": float(np.median(seconds)),
            "worst_cpu_seconds": max(seconds),
            "worst_seed": first + int(np.argmax(seconds)),
            "calls": {kind: counts[kind] for kind in sorted(counts)},
            "findings": [
                outcome._asdict() | {"cases": len(found), "seeds": sorted(found)[:N_SEEDS]}
                for outcome, found in findings.values()
            ],
            "commit": subprocess.getoutput(f"git -C {ROOT} rev-parse --short HEAD"),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        every = [*runs, done]
        totals = {name: round(sum(run[name] for run in every), 1) for name in ("minutes", "cases")}
        write(arguments.out, totals | {"runs": every})

    with tempfile.TemporaryDirectory() as folder:
        seeds = range(first, sys.maxsize)
        fuzz(seeds, begin + 60 * arguments.minutes, folder, note)
