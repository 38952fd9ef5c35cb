"""Searches over many models on a cluster of dask workers."""

import pickle

import pytest
from distributed import Client, LocalCluster
from helpers import fit_unwarned
from joblib import parallel_config
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.networks import Linear
from skvaeense.penalties import TopK

X, *_ = make_sparse_dictionary(300, n_atoms=10, n_active=2, n_features=8, random_state=0)
SAE = SparseAutoencoder(penalty=TopK(2), max_iter=3, random_state=0)
# 12 candidates, and two folds of each.
SEARCH = GridSearchCV(SAE, {"penalty__k": [1, 2, 3, 4], "n_components": [4, 8, 12]}, cv=2)


@pytest.fixture(scope="module")
def _cluster():
    with (
        # A port of its own: tests of another checkout may run beside these.
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        yield


@pytest.mark.usefixtures("_cluster")
def test_a_search_on_a_cluster_is_that_of_one_process():
    alone = fit_unwarned(clone(SEARCH), X)
    with parallel_config("dask", wait_for_workers_timeout=60):
        together = fit_unwarned(clone(SEARCH), X)
    results = [search.cv_results_ for search in (alone, together)]
    assert len(results[1]["params"]) == 12
    for fold in ("split0_test_score", "split1_test_score"):
        assert_allclose(results[1][fold], results[0][fold], rtol=1e-6)
    assert together.best_params_ == alone.best_params_


@pytest.mark.parametrize(
    "estimator",
    [
        VAEenseTransformer(8, network=Linear((16,)), n_init=1, max_iter=2, random_state=0),
        SAE,
    ],
    ids=["vaeense", "sae"],
)
def test_a_fitted_estimator_is_sent_as_little_more_than_its_weights(estimator):
    fitted = fit_unwarned(clone(estimator), X)
    n_bytes = sum(p.numel() * p.element_size() for p in fitted.module_.parameters())
    assert len(pickle.dumps(fitted)) < n_bytes + 40_000
