"""Samples and small fitted estimators for the tests of this folder."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import fit_unwarned, quick_sae, quick_vaeense, with_net
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skvaeense import IntrinsicDimensionEstimator
from skvaeense.datasets import make_linear_subspaces


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def subspaces():
    """Return samples of two subspaces, and the subspace of each sample."""
    X, label, _ = make_linear_subspaces(300, dims=(1, 2), n_features=6, random_state=0)
    return X, np.array(["line", "plane"])[label]


@pytest.fixture(scope="session")
def vaeense(subspaces):
    """Return a VAEenseTransformer with two inits, after a short training."""
    estimator = with_net(5, n_init=2, max_iter=25, random_state=0)
    return fit_unwarned(estimator, subspaces[0])


@pytest.fixture(scope="session")
def nonlinear(subspaces):
    """Return a VAEenseTransformer whose decoder has a hidden layer."""
    return fit_unwarned(quick_vaeense(network="mlp", max_iter=10), subspaces[0])


@pytest.fixture(scope="session")
def sae(subspaces):
    """Return a SparseAutoencoder after a short training."""
    return fit_unwarned(quick_sae(n_components=8, max_iter=30), subspaces[0])


@pytest.fixture(scope="session")
def dimension_estimator(subspaces):
    """Return an IntrinsicDimensionEstimator with a small autoencoder."""
    estimator = IntrinsicDimensionEstimator(quick_vaeense(max_iter=5), random_state=0)
    return fit_unwarned(estimator, subspaces[0])


@pytest.fixture(scope="session")
def halving(vaeense):
    """Return a pipeline that halves samples before `vaeense` sees them."""
    return make_pipeline(FunctionTransformer(lambda X: X / 2), vaeense)
