"""scikit-learn's own checks, with no failure expected."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer

# Two epochs are too few to train well; what is asked here is the interface.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"max_iter": 2, "n_init": 1, "random_state": 0}

ESTIMATORS = [
    VAEenseTransformer(**QUICK),
    VAEenseTransformer(gated=False, **QUICK),
    VAEenseTransformer(network="mlp", **QUICK),
    VAEenseTransformer(network="mlp", gated=False, **QUICK),
    VAEenseTransformer(threshold="otsu", hard=True, **QUICK),
    VAEenseTransformer(threshold="fixed_variance", hard=True, **QUICK),
    VAEenseTransformer(threshold="contribution", hard=True, **QUICK),
    IntrinsicDimensionEstimator(VAEenseTransformer(**QUICK)),
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_compatible(estimator, check):
    check(estimator)
