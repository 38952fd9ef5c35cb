"""Random unions of manifolds whose dimension is known at every sample.

Every generator returns the same tuple ``(X, manifold, dimension)``: the samples, the
manifold that each sample was drawn from, and the dimension of that manifold. To get training and
test samples of the same manifolds, draw one set and split it.

To add a generator, write one function in a new file, and import it here.
"""

from skvaeense.datasets._datasets import (
    make_linear_subspaces,
    make_ppca,
    make_sparse_dictionary,
    make_spheres,
)

__all__ = [
    "make_linear_subspaces",
    "make_ppca",
    "make_sparse_dictionary",
    "make_spheres",
]
