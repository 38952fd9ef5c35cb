"""Sparse codes with an adaptive number of active dimensions, as scikit-learn estimators.

Estimators and subpackages are imported on first use (lazy loading, Scientific Python's SPEC 1).
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skvaeense._intrinsic_dimension import (
        IntrinsicDimensionEstimator as IntrinsicDimensionEstimator,
    )
    from skvaeense._sparse_autoencoder import SparseAutoencoder as SparseAutoencoder
    from skvaeense._vaease import VAEase as VAEase
    from skvaeense._vaeense import VAEenseTransformer as VAEenseTransformer
    from skvaeense.persistence import Checkpoint as Checkpoint
    from skvaeense.persistence import load as load
    from skvaeense.persistence import save as save

__version__ = "0.1.0.dev0"

_MODULES = {
    "Checkpoint": "persistence",
    "IntrinsicDimensionEstimator": "_intrinsic_dimension",
    "SparseAutoencoder": "_sparse_autoencoder",
    "VAEase": "_vaease",
    "VAEenseTransformer": "_vaeense",
    "load": "persistence",
    "save": "persistence",
}

__all__ = ["__version__", *_MODULES]


def _subpackages() -> set[str]:
    """Return the names of the public subpackages."""
    found = {module.name for module in pkgutil.iter_modules(__path__) if module.ispkg}
    return found - {"samples", "training", "utils"}


def __getattr__(name: str) -> Any:
    """Import an estimator, a function or a subpackage on first use."""
    if name in _MODULES:
        module = importlib.import_module(f"skvaeense.{_MODULES[name]}")
        return globals().setdefault(name, getattr(module, name))
    if name in _subpackages():
        return importlib.import_module(f"skvaeense.{name}")
    raise AttributeError(f"module 'skvaeense' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, *_subpackages()]
