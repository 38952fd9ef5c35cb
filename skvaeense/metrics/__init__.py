"""Measures of sparsity, reconstruction, dictionaries and intrinsic dimension, on plain arrays.

Sparsity metrics take codes or boolean masks of active latents, dense or sparse. An entry
counts as active if it is not exactly zero.

Metrics of samples take a `sample_weight`: how often each sample counts.
"""

from skvaeense.metrics._metrics import (
    dead_fraction,
    dimension_accuracy,
    dimension_error,
    explained_variance,
    explained_variance_at,
    feature_density,
    fvu,
    l0,
    mean_max_cosine_similarity,
    pattern_adaptivity,
    sparse_probing,
)

__all__ = [
    "dead_fraction",
    "dimension_accuracy",
    "dimension_error",
    "explained_variance",
    "explained_variance_at",
    "feature_density",
    "fvu",
    "l0",
    "mean_max_cosine_similarity",
    "pattern_adaptivity",
    "sparse_probing",
]
