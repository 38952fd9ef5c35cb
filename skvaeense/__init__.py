"""Sparse codes with an adaptive number of active dimensions, as scikit-learn estimators."""

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
