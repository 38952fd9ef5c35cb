"""All that is built on scikit-learn: checks of parameters and arrays, and bases of estimators.

This is the only importer of private scikit-learn modules. When scikit-learn moves a private name,
only this file needs a change.
"""

import inspect
import os
from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.pipeline import Pipeline
from sklearn.utils import _param_validation, validation
from sklearn.utils._param_validation import HasMethods, Options, StrOptions

from skvaeense.utils._typing import DoubleArray

try:
    from sklearn.utils._sparse import _align_api_if_sparse as align_api_if_sparse
except ImportError:  # Before scikit-learn 1.9 results are matrices.
    from scipy.sparse import csr_matrix as align_api_if_sparse
# Names that other files import from scikit-learn through this file.
__all__ = ["HasMethods", "Options", "StrOptions", "align_api_if_sparse"]

# Variable with the place of the documentation: the address of the folder that holds the front page,
# such as "https://example.org/docs", or a path relative to the page that shows an estimator.
DOCS_VARIABLE = "SKVAEENSE_DOCS_URL"


class Interval(_param_validation.Interval):
    """An interval of numbers without booleans, which are integers in Python."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is a number in the interval."""
        return not isinstance(val, bool) and bool(super().is_satisfied_by(val))


class NumberOfLatents(Interval):
    """A number of latents; the error for another number names the parameter for a share."""

    def __init__(self) -> None:
        super().__init__(Integral, 1, None, closed="left")

    def __str__(self) -> str:
        return f"{super().__str__()} (set target_explained_variance for a share of the variance)"


class Sizes(Interval):
    """A list, tuple or 1-d array of numbers in an interval."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is such a list, with at least one entry."""
        return np.ndim(val) == 1 and len(val) > 0 and all(map(super().is_satisfied_by, val))

    def __str__(self) -> str:
        return f"a list such as [4, 2], each entry {super().__str__()}"


AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
AT_LEAST_ZERO = Interval(Integral, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")
SHARE = Interval(Real, 0, 1, closed="neither")
# Unlike scikit-learn's constraint, this one refuses booleans.
SEED = Interval(Integral, 0, np.iinfo(np.uint32).max, closed="both")
RANDOM_STATE: list[Any] = [SEED, np.random.RandomState, None]
SIZES = Sizes(Integral, 1, None, closed="left")
LENGTHS = Sizes(Real, 0, None, closed="neither")

Method = TypeVar("Method", bound=Callable[..., Any])
# The decorator that validates parameters before a method runs, with a type.
fit_context: Callable[..., Callable[[Method], Method]] = _fit_context


class DocLinkMixin:
    """Link the HTML of an estimator to its page in our documentation, and use plain integers.

    There is a link only if the environment variable SKVAEENSE_DOCS_URL names the place of the
    documentation.
    """

    _doc_link_module = "skvaeense"

    @property
    def _doc_link_template(self) -> str:
        base = os.environ.get(DOCS_VARIABLE, "").rstrip("/")
        return f"{base}/generated/{{estimator_module}}.{{estimator_name}}.html" if base else ""

    def _validate_params(self) -> None:
        """Validate parameters; integers of numpy, which can overflow, become Python's."""
        for name in inspect.signature(type(self)).parameters:
            value = getattr(self, name)
            if isinstance(value, np.integer):
                setattr(self, name, int(value))
            elif isinstance(value, list | tuple) and any(isinstance(v, np.integer) for v in value):
                numbers = (int(v) if isinstance(v, np.integer) else v for v in value)
                setattr(self, name, type(value)(numbers))
        super()._validate_params()  # type: ignore[misc]


class Specification(DocLinkMixin, BaseEstimator, ABC):
    """The choice of a part of an estimator: a class with its own parameters.

    Each kind of part derives from this class. A class of that kind can have an `alias`, a word that
    means the class with its defaults wherever an estimator takes this kind of part.

    Attributes
    ----------
    aliases : dict of str to type
        The classes of a kind, by their aliases.
    """

    # As in scikit-learn's estimators; parameters without a constraint are not checked.
    _parameter_constraints: dict[str, list[Any]] = {}

    alias: ClassVar[str | None] = None
    aliases: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if Specification in cls.__bases__:
            cls.aliases = {}
        alias = vars(cls).get("alias")
        if alias is None:
            return
        other = cls.aliases.setdefault(alias, cls)
        # A notebook cell that runs again defines the same class again.
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"The alias {alias!r} is already used by {other!r}; give {cls!r} another alias."
            )
        cls.aliases[alias] = cls

    @classmethod
    def resolve(cls, value: "str | Self") -> Self:
        """Return an instance of the class that an alias names, or a given instance.

        Parameters
        ----------
        value : str or instance of the class
            An alias, or an instance whose parameters are to be checked.

        Returns
        -------
        instance of the class
            The class that the alias names, with its defaults; or `value`.

        Raises
        ------
        ValueError
            If the alias is unknown, or a parameter is out of its range.

        Examples
        --------
        >>> from skvaeense.nets.penalties import Penalty
        >>> Penalty.resolve("topk")
        TopK()
        """
        if isinstance(value, cls):
            value.validate()
            return value
        if isinstance(value, str) and value in cls.aliases:
            return cls.aliases[value]()
        raise ValueError(
            f"{cls.__name__} must be one of {sorted(cls.aliases)} or an instance of "
            f"{cls.__name__}, got {value!r}."
        )

    def validate(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If a parameter has the wrong type or is out of its range in `_parameter_constraints`.
        """
        self._validate_params()


class AliasOf(StrOptions):
    """The aliases of a kind of part, including classes defined later, and other words.

    Errors do not list the `refused` alias, which an estimator rejects with a reason.
    """

    def __init__(self, kind: type[Specification], *others: str, refused: str | None = None) -> None:
        super().__init__({*others, *kind.aliases} - {refused})
        self.kind, self.refused = kind, refused

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is one of these words."""
        self.options.update(self.kind.aliases.keys() - {self.refused})
        return bool(super().is_satisfied_by(val) or (isinstance(val, str) and val == self.refused))


def validate_params(constraints: dict[str, list[Any]]) -> Callable[[Method], Method]:
    """Return scikit-learn's decorator that validates arguments before a function runs."""
    return _param_validation.validate_params(constraints, prefer_skip_nested_validation=False)


def are_equal(a: Any, b: Any) -> bool:
    """Return whether two values of a parameter are equal, or equal specifications."""
    if isinstance(a, BaseEstimator):
        return type(a) is type(b) and are_equal(*(part.get_params(deep=False) for part in (a, b)))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(are_equal(a[name], b[name]) for name in a)
    return np.array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object))


def plain(X: Any, name: str = "X", *, takes_missing: bool = False) -> Any:
    """Return X in a form that scikit-learn reads rightly.

    scikit-learn ignores masks, and cannot read a tensor with a gradient or a pending negation.

    Parameters
    ----------
    X : object
        Samples, weights or labels in any form.

    name : str, default="X"
        Their name in error messages.

    takes_missing : bool, default=False
        Whether masked entries become NaN, instead of an error.

    Returns
    -------
    object
        A tensor without its graph; an array with NaN for masked entries; anything else as it is.

    Raises
    ------
    ValueError
        If entries are masked, and missing values are not supported.
    """
    if hasattr(X, "resolve_neg"):
        return X.detach().resolve_conj().resolve_neg()
    if isinstance(X, list | tuple) and any(map(np.ma.isMaskedArray, X)):
        X = np.ma.asanyarray(X)
    if not np.ma.is_masked(X):
        return X
    if not takes_missing:
        raise ValueError(
            f"{name} has {np.ma.count_masked(X)} masked entries, but missing values are not "
            f"supported here. Fill them in first, for instance by {name}.filled(value)."
        )
    kind = X.dtype if X.dtype.kind in "fc" else np.float64
    return np.ma.filled(X.astype(kind), np.nan)


def dense(X: Any) -> Any:
    """Return an array, also of a sparse one."""
    return X.toarray() if hasattr(X, "toarray") else np.asarray(X)


def check_array(
    X: Any,
    *,
    dtype: Any = "numeric",
    accept_sparse: Any = False,
    input_name: str = "",
    ensure_min_samples: int = 1,
) -> Any:
    """Return a valid array without missing values, by scikit-learn, of what `plain` reads."""
    names = {"accept_sparse": accept_sparse, "ensure_min_samples": ensure_min_samples}
    X = plain(X, input_name or "X")
    return validation.check_array(X, dtype=dtype, input_name=input_name, **names)


def column_or_1d(y: Any, *, dtype: Any = None, input_name: str = "y", warn: bool = False) -> Any:
    """Return one entry for each sample, by scikit-learn, of what `plain` reads."""
    y = plain(y, input_name)
    return validation.column_or_1d(y, dtype=dtype, input_name=input_name, warn=warn)


def check_weights(sample_weight: Any, X: Any) -> DoubleArray:
    """Return one weight of at least 0 for each sample, in double precision."""
    weights: DoubleArray = validation._check_sample_weight(
        plain(sample_weight, "sample_weight"), X, dtype=np.float64, ensure_non_negative=True
    )
    # scikit-learn does not check a single number for NaN and infinity.
    validation.assert_all_finite(weights, input_name="sample_weight")
    return weights


def check_integer(value: Any, name: str, *, minimum: int) -> int:
    """Return a value as an int of at least `minimum`; booleans are not ints here."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}.")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}.")
    return int(value)


def check_latents(latents: Any, n_components: int) -> Any:
    """Return valid indices of latents; None means all."""
    chosen = np.atleast_1d(np.arange(n_components) if latents is None else np.asarray(latents))
    is_index = chosen.ndim == 1 and chosen.dtype.kind in "iu" and len(chosen)
    if not (is_index and np.isin(chosen, range(n_components)).all()):
        raise ValueError(
            f"latents must be from 0 to {n_components - 1}, a non-empty list of integers; got "
            f"{latents!r}."
        )
    return chosen


def checked_scale(scale: float) -> float:
    """Return a standard deviation; raise an error if its square is out of range of float64."""
    if not 1e-150 < scale < 1e150:
        raise ValueError(
            f"X has a standard deviation of {scale:.3g}, so the noise variance, in squared units "
            "of X, is beyond the range of float64. Multiply X by a constant first."
        )
    return scale


def too_far(dtype: Any) -> ValueError:
    """Return the error for samples whose results are not finite."""
    return ValueError(
        f"X has samples too far from the training samples: results in {dtype} are not finite. "
        "Leave these samples out, or give X in double precision."
    )


def checked_results(values: Any) -> Any:
    """Return results of samples, or raise an error if any is not finite."""
    if not np.isfinite(values).all():
        raise too_far(values.dtype)
    return values


def check_n_components(codes: Any, estimator: Any) -> None:
    """Raise an error unless codes have a column for each component of an estimator."""
    if codes.shape[1] != estimator.n_components_:
        raise ValueError(
            f"X has {codes.shape[1]} columns, but this {type(estimator).__name__} has "
            f"{estimator.n_components_} components; give codes as transform returns them."
        )


def last_step(estimator: Any, X: Any = None) -> tuple[Any, Any]:
    """Return the estimator in a search or at the end of a pipeline, with X as that step sees it."""
    if hasattr(estimator, "refit") and hasattr(estimator, "estimator"):  # a search
        return last_step(getattr(estimator, "best_estimator_", estimator.estimator), X)
    if not isinstance(estimator, Pipeline):
        return estimator, X
    if X is not None and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    return last_step(estimator[-1], X)


def fitted_step(estimator: Any, X: Any = None, *, needs: Sequence[str] = ()) -> tuple[Any, Any]:
    """Return the `last_step` and its samples.

    Raise an error if it is not fitted, or lacks a method or attribute in `needs`.
    """
    step, X = last_step(estimator, X)
    validation.check_is_fitted(step)
    for name in needs:
        require(step, name)
    if "inverse_transform" in needs and hasattr(step, "target_mean_"):
        raise ValueError(
            f"This {type(step).__name__} decodes codes to a target, which cannot be compared with "
            "samples. Use score to compare predictions with the target."
        )
    return step, X


def require(estimator: Any, *names: str) -> None:
    """Raise TypeError unless the estimator has one of these methods or fitted attributes."""
    if not any(hasattr(estimator, name) for name in names):
        raise TypeError(
            f"{type(estimator).__name__} has no {' or '.join(names)}. Give a fitted estimator with "
            f"{' or '.join(names)}."
        )


@contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Restore the fitted attributes of an estimator if fitting fails."""
    before = fitted(estimator)
    try:
        yield
    except BaseException:
        for name in fitted(estimator):
            delattr(estimator, name)
        vars(estimator).update(before)
        raise


def fitted(estimator: Any) -> dict[str, Any]:
    """Return the fitted attributes, whose names end in an underscore."""
    return {k: v for k, v in vars(estimator).items() if k.endswith("_") and not k.startswith("__")}
