"""Measures of sparsity, reconstruction, dictionaries and intrinsic dimension, on plain arrays.

Sparsity metrics take codes or boolean masks of active latents, dense or sparse. An entry
counts as active if it is not exactly zero.

Metrics of samples take a `sample_weight`: how often each sample counts.
"""

from skvaeense.metrics._dictionaries import mean_max_cosine_similarity, sparse_probing
from skvaeense.metrics._dimension import dimension_accuracy, dimension_error, mean_percentage_error
from skvaeense.metrics._reconstruction import (
    cosine_similarity,
    explained_variance,
    explained_variance_at,
    fvu,
    l2_ratio,
    shrinkage,
    squared_error,
)
from skvaeense.metrics._sparsity import (
    active_union,
    dead_fraction,
    dense_fraction,
    feature_density,
    l0,
    pattern_adaptivity,
)

__all__ = [
    "active_union",
    "cosine_similarity",
    "dead_fraction",
    "dense_fraction",
    "dimension_accuracy",
    "dimension_error",
    "explained_variance",
    "explained_variance_at",
    "feature_density",
    "fvu",
    "l0",
    "l2_ratio",
    "mean_max_cosine_similarity",
    "mean_percentage_error",
    "pattern_adaptivity",
    "shrinkage",
    "sparse_probing",
    "squared_error",
]
