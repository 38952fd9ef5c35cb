"""Sparse codes with an adaptive number of active dimensions, as scikit-learn estimators."""

__version__ = "0.1.0.dev0"

__all__ = ["__version__"]
