"""scikit-learn's own checks, with no failure expected."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvaeense import (
    DiffusionDimensionEstimator,
    IntrinsicDimensionEstimator,
    SparseAutoencoder,
    VAEenseTransformer,
)
from skvaeense.penalties import ALIASES

# Two epochs are too few to train well; what is asked here is the interface.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK_SPARSE = {"max_iter": 2, "random_state": 0}
QUICK = QUICK_SPARSE | {"n_init": 1}
# A gate opens on one side, so codes of both signs are no option of it.
SIGNED = sorted(set(ALIASES) - {"gated"})
PRICED = sorted(alias for alias, penalty in ALIASES.items() if penalty().alpha is not None)

ESTIMATORS = [
    DiffusionDimensionEstimator(**QUICK_SPARSE),
    DiffusionDimensionEstimator("flipd", **QUICK_SPARSE),
    VAEenseTransformer(**QUICK),
    VAEenseTransformer(gated=False, **QUICK),
    VAEenseTransformer(network="mlp", **QUICK),
    VAEenseTransformer(network="mlp", gated=False, **QUICK),
    VAEenseTransformer(threshold="otsu", hard=True, **QUICK),
    VAEenseTransformer(threshold="fixed_variance", hard=True, **QUICK),
    VAEenseTransformer(threshold="contribution", hard=True, **QUICK),
    IntrinsicDimensionEstimator(VAEenseTransformer(**QUICK)),
    *(SparseAutoencoder(penalty=alias, **QUICK_SPARSE) for alias in sorted(ALIASES)),
    *(SparseAutoencoder(penalty=p, positive_code=False, **QUICK_SPARSE) for p in SIGNED),
    *(SparseAutoencoder(penalty=p, target_l0=1, **QUICK_SPARSE) for p in PRICED),
    SparseAutoencoder(network="linear", **QUICK_SPARSE),
    SparseAutoencoder(network="mlp", **QUICK_SPARSE),
    SparseAutoencoder(sparse_output=True, **QUICK_SPARSE),
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_compatible(estimator, check):
    check(estimator)
