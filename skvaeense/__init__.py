"""Sparse codes with an adaptive number of active dimensions, as scikit-learn estimators."""

import importlib
import pkgutil
from typing import Any

from skvaeense._diffusion_dimension import DiffusionDimensionEstimator
from skvaeense._intrinsic_dimension import IntrinsicDimensionEstimator
from skvaeense._sparse_autoencoder import SparseAutoencoder
from skvaeense._vaeense import VAEenseTransformer
from skvaeense.persistence import Checkpoint, load, save

__version__ = "0.1.0.dev0"

__all__ = [
    "Checkpoint",
    "DiffusionDimensionEstimator",
    "IntrinsicDimensionEstimator",
    "SparseAutoencoder",
    "VAEenseTransformer",
    "__version__",
    "load",
    "save",
]


def _subpackages() -> set[str]:
    """Return the names of the public subpackages."""
    found = {module.name for module in pkgutil.iter_modules(__path__) if module.ispkg}
    return found - {"training", "utils"}


def __getattr__(name: str) -> Any:
    """Import a subpackage when it is first used, as in SPEC 1."""
    if name in _subpackages():
        return importlib.import_module(f"skvaeense.{name}")
    raise AttributeError(f"module 'skvaeense' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, with the subpackages that are not imported yet."""
    return [*__all__, *_subpackages()]
