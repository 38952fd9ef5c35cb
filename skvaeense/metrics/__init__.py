"""Measures of sparsity, reconstruction and dictionaries, on plain arrays.

Sparsity metrics take codes or boolean masks of active latents, dense or sparse. An entry
counts as active if it is not exactly zero.

Metrics of samples take a `sample_weight`: how often each sample counts.
"""

from skvaeense.metrics._metrics import (
    dead_fraction,
    explained_variance,
    explained_variance_at,
    fvu,
    l0,
    mean_max_cosine_similarity,
)

__all__ = [
    "dead_fraction",
    "explained_variance",
    "explained_variance_at",
    "fvu",
    "l0",
    "mean_max_cosine_similarity",
]
