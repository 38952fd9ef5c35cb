"""Imports of packages that extras install."""

import importlib
from typing import Any


def optional_import(module: str, caller: str, extra: str) -> Any:
    """Return a module, or raise an error that names the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{caller} needs {module.partition('.')[0]}, which is not installed: "
            f"pip install skvaeense[{extra}]"
        ) from error
