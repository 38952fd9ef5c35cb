"""Warnings that point to the line of the user, however deep the code that gives them."""

import sys
import warnings

# Packages whose frames lie between the user's call and a warning.
BETWEEN = "skvaeense", "sklearn", "contextlib", "joblib"


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line outside this package and the libraries that call it."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
