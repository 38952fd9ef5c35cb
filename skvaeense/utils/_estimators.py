"""What estimators share: representations and fitted attributes."""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# Variable with the place of the documentation: the address of the folder that holds the front page,
# such as "https://example.org/docs", or a path relative to the page that shows an estimator.
DOCS_VARIABLE = "SKVAEENSE_DOCS_URL"


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
                plain = [int(v) if isinstance(v, np.integer) else v for v in value]
                setattr(self, name, type(value)(plain))
        super()._validate_params()  # type: ignore[misc]


class ReprMixin:
    """Show the current arguments of the constructor, and arrays by their shape."""

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        shown = [f"{name}={_shorten(getattr(self, name))}" for name in names if hasattr(self, name)]
        return f"{type(self).__name__}({', '.join(shown)})"


def _shorten(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"<array of shape {value.shape}>"
    if isinstance(value, list | tuple | dict) and len(value) > 4:
        return f"<{type(value).__name__} of {len(value)}>"
    if isinstance(value, list | tuple):
        opening, closing = "[]" if isinstance(value, list) else "()"
        return opening + ", ".join(_shorten(item) for item in value) + closing
    return repr(value)


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
