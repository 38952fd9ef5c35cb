"""The fitted attributes of an estimator."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
