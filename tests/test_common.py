"""scikit-learn's own checks, with no failure expected.

Every estimator passes all checks. Checks of arithmetic also run for other settings. The code for
names, tags and error messages is the same for all settings of an estimator. The property tests
hold other settings to the same rules.
"""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEase, VAEenseTransformer
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.networks import Linear

# Two epochs are too few to train well, but these tests only check the interface.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"max_iter": 2, "random_state": 0}


def net(**params):
    """Return a VAEase that trains for two epochs."""
    return VAEase(**({"network": Linear((8,)), "n_init": 1, "max_iter": 2} | params))


ESTIMATORS = [
    VAEenseTransformer(random_state=0),
    VAEenseTransformer(model=net(), random_state=0),
    VAEenseTransformer(model=net(network="mlp", gated=False), random_state=0),
    IntrinsicDimensionEstimator(random_state=0),
    IntrinsicDimensionEstimator(VAEenseTransformer(model=net()), random_state=0),
    SparseAutoencoder(**QUICK),
    SubspaceMixture(max_components=2, random_state=0),
    GateDictionary(2, random_state=0),
]

# Settings with arithmetic of their own, beside those of the estimators in strategies.
OTHER_SETTINGS = [
    VAEenseTransformer(model="mixture", random_state=0),
    VAEenseTransformer(model="gates", random_state=0),
    VAEenseTransformer(target_l0=1, positive_code=True, hard=False, random_state=0),
    VAEenseTransformer(
        model=net(network="mlp", optimizer="sgd", schedule="constant"), random_state=0
    ),
    SparseAutoencoder(network="unrolled", **QUICK),
    SparseAutoencoder(penalty="gated", target_l0=1, sparse_output=True, **QUICK),
]

# Checks of the numbers that a setting computes: repeated calls, single samples, all precisions and
# very small data.
ARITHMETIC = {
    "check_estimators_dtypes",
    "check_estimators_pickle",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_transformer_general",
    "check_transformer_preserve_dtypes",
}


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_compatible(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", OTHER_SETTINGS, ids=lambda e: "".join(str(e).split()))
def test_other_settings_compute_as_asked(estimator):
    passed = set()
    for copied, check in estimator_checks_generator(estimator):
        if check.func.__name__ in ARITHMETIC and not check.keywords:
            check(copied)
            passed.add(check.func.__name__)
    assert passed == ARITHMETIC
