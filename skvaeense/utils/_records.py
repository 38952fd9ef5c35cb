"""Objects that files hold, and checks of what they are made of: types, shapes and ranges."""

import functools
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

import numpy as np

from skvaeense.utils._validation import fitted

NUMBERS: dict[Any, Any] = {bool: (bool, np.bool_), int: Integral, float: Real}
# The longest signs first.
COMPARISONS: dict[str, Any] = {
    ">=": (np.greater_equal, "at least"),
    "<=": (np.less_equal, "at most"),
    ">": (np.greater, "above"),
    "<": (np.less, "below"),
}
# Sizes of a part, in the order of its axes.
SIZES = "n_features", "n_components"


class Kept:
    """Base of the private classes whose objects files can hold, by their attributes."""


@dataclass(frozen=True, eq=False)
class Record(Kept):
    """Base of immutable objects, which are checked before one is made of what a file holds.

    Since nothing changes it, the deep copy of a record is the record itself.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def arrays(self) -> dict[str, Any]:
        """Return what determines the object, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Return the object that `arrays` has described; it may come from a file."""
        check_types(cls, arrays)
        record = cls(**arrays)
        record.check()
        return record

    def check(self) -> None:
        """Raise an error unless all fields, which can come from a file, fit together."""
        check_fields(type(self), vars(self))


def check_fitted(estimator: Any) -> None:
    """Check that the fitted attributes of an estimator, which can come from a file, fit together.

    In its annotations d is the number of features, k of components, and t of targets, or else of
    features.
    """
    found = fitted(estimator)
    if not found or not hasattr(estimator, "_fitted_names"):
        return
    for name in ("n_features_in_", *estimator._fitted_names):
        if name not in found:
            raise ValueError(f"{name} is missing")
    ours = next(c for c in type(estimator).__mro__ if c.__module__.startswith("skvaeense."))
    check_types(ours, found)
    n_targets = getattr(found.get("module_"), "n_targets", None)
    if (n_targets is not None) != ("target_mean_" in found and "target_scale_" in found):
        raise ValueError("the model does not match its target")
    d, k = found["n_features_in_"], found.get("n_components_")
    check_fields(ours, found, {"d": d, "k": k, "t": n_targets or d})


def check_fields(
    cls: Any, values: Mapping[str, Any], sizes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Check values, which can come from a file, against annotations of a class with shapes.

    Parameters
    ----------
    cls : type
        A class with annotations such as ``Annotated[DoubleArray, "k d >0"]``. A letter or a digit
        is the size along an axis; a number has none. Parts such as laws have the sizes `n_features`
        and `n_components`. A letter stands for one size, that of the first value that has it. Other
        words are bounds, such as ">=0" or "<k"; "int" for integers; "inf" if infinity is valid.

    values : dict
        Arrays, tensors, numbers and parts by name.

    sizes : dict of str to int or None, default=None
        Sizes that are known already.

    Returns
    -------
    dict of str to int
        All sizes.

    Raises
    ------
    ValueError
        If a value is not finite, or does not fit.
    """
    known, arrays = dict(sizes or {}), []
    for name, hint in annotations(cls).items():
        value: Any = values.get(name)
        is_absent = name not in values or (value is None and _allows(hint, None))
        if is_absent or get_origin(hint) is not Annotated:
            continue
        words = hint.__metadata__[0].split()
        axes = [word for word in words if word.isalnum() and len(word) == 1]
        if np.ndim(value) == 0 and _allows(hint, 1.0):
            axes = []  # One number for all entries.
        is_part = hasattr(value, "n_features")
        shape = (
            [getattr(value, size) for size in SIZES[: len(axes)]] if is_part else np.shape(value)
        )
        for axis, size in zip(axes, shape, strict=False):
            known.setdefault(axis, int(axis) if axis.isdigit() else size)
        expected = [known.get(axis, axis) for axis in axes]
        if list(shape) != expected:
            raise ValueError(f"{name} must be of shape {tuple(expected)}, not {tuple(shape)}")
        arrays += [] if is_part else [(name, np.asarray(value), words)]
    for name, array, words in arrays:
        _check_entries(name, array, words, known)
    return known


def _check_entries(name: str, array: Any, words: list[str], sizes: Mapping[str, Any]) -> None:
    """Check that all entries of an array are finite, and within bounds."""
    kinds, what = ("iu", "integers") if "int" in words else ("f", "finite")
    if array.dtype.kind not in kinds or not (np.isfinite(array).all() or "inf" in words):
        raise ValueError(f"{name} must be {what}")
    for word in words:
        sign = next((sign for sign in COMPARISONS if word.startswith(sign)), None)
        if sign is not None:
            compare, told = COMPARISONS[sign]
            bound = sizes.get(word.removeprefix(sign), word.removeprefix(sign))
            if not compare(array, float(bound)).all():
                raise ValueError(f"{name} must be {told} {bound}")


@functools.cache
def annotations(cls: Any) -> dict[str, Any]:
    """Return the annotations of a class or a function."""
    return get_type_hints(cls, include_extras=True)


def check_types(cls: Any, values: Mapping[str, Any]) -> None:
    """Check the types of values that have annotations in a class, or in a function."""
    hints = annotations(cls)
    for name, value in values.items():
        if not _allows(hints.get(name, Any), value):
            raise ValueError(f"{name!r} has the wrong type")


def _allows(hint: Any, value: Any) -> bool:
    """Return whether a value is of an annotated type, with all items of a sequence."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return True
    if kind is Annotated:
        return _allows(arguments[0], value)
    if kind is Literal:
        return value in arguments
    if kind in (Union, types.UnionType):
        return any(_allows(part, value) for part in arguments)
    if not isinstance(value, NUMBERS.get(kind, kind)):
        return False
    is_sequence = kind in (list, tuple, Sequence)
    return not is_sequence or all(any(_allows(a, item) for a in arguments) for item in value)
