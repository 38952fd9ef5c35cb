import copy

import numpy as np
import pytest
from helpers import each_once
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skvaeense.inspection import latent_ablation
from skvaeense.metrics import fvu, squared_error

METRICS = {"fvu": fvu, "squared_error": squared_error}
X = np.array([[3.0, 0.0, 1.0], [0.0, 0.0, 2.0], [-4.0, 0.0, 0.0], [1.0, 0.0, 0.0]])


class Identity(BaseEstimator):
    """Codes are the samples. Decoded codes are recorded."""

    def __init__(self, convert=np.asarray):
        self.convert = convert

    def fit(self, X, y=None):
        self.decoded_ = []
        return self

    def transform(self, X):
        return self.convert(X)

    def inverse_transform(self, X):
        X = X.toarray() if sparse.issparse(X) else np.array(X)
        self.decoded_.append(X)
        return X


def decode_without(estimator, X, latent):
    codes = estimator.transform(X)
    codes = codes.toarray() if sparse.issparse(codes) else codes.copy()
    codes[:, latent] = 0
    return estimator.inverse_transform(codes)


def test_each_latent_holds_its_own_feature():
    estimator = Identity().fit(X)
    result = latent_ablation(estimator, X)
    # Only samples that change are decoded.
    for decoded, expected in zip(
        estimator.decoded_, (X, X[[0, 2, 3]] * [0, 1, 1], X[[0, 1]] * [1, 1, 0]), strict=True
    ):
        assert_array_equal(decoded, expected)
    assert result.baseline == 0
    assert_array_equal(result.latents, [0, 1, 2])
    assert_array_equal(result.ablated, [26 / 4, 0, 5 / 4])
    assert_array_equal(result.change, result.ablated)
    assert_allclose(result.change_where_active, [26 / 3, np.nan, 5 / 2])
    assert_array_equal(result.use, [3 / 4, 0, 1 / 2])


@pytest.mark.parametrize(
    ("kind", "metric"), each_once(["vaeense", "hard", "mlp", "sae", "sparse", "pca"], [*METRICS])
)
def test_change_is_that_of_a_column_of_zeros(subspaces, vaeense, nonlinear, sae, kind, metric):
    X, _ = subspaces
    estimator = {
        "vaeense": lambda: vaeense,
        "hard": lambda: copy.deepcopy(vaeense).set_params(hard=True),
        "mlp": lambda: nonlinear,
        "sae": lambda: sae,
        "sparse": lambda: copy.deepcopy(sae).set_params(sparse_output=True),
        "pca": lambda: PCA(4, whiten=True).fit(X),
    }[kind]()
    result = latent_ablation(estimator, X, metric)
    codes = estimator.transform(X)
    assert result.baseline == pytest.approx(METRICS[metric](X, estimator.inverse_transform(codes)))
    expected = [METRICS[metric](X, decode_without(estimator, X, j)) for j in range(codes.shape[1])]
    assert_allclose(result.ablated, expected)
    assert np.ptp(result.change) > 0.01 * result.baseline
    if hasattr(estimator, "active_dimensions"):
        assert_array_equal(result.use, estimator.active_dimensions(X).mean(axis=0))


def test_change_where_active_is_of_the_active_samples(subspaces, vaeense):
    X, _ = subspaces
    result = latent_ablation(vaeense, X)
    active = vaeense.active_dimensions(X)
    whole = vaeense.inverse_transform(vaeense.transform(X))
    for j in np.flatnonzero(active.any(axis=0)):
        rows = active[:, j]
        without = decode_without(vaeense, X, j)
        expected = squared_error(X[rows], without[rows]) - squared_error(X[rows], whole[rows])
        assert result.change_where_active[j] == pytest.approx(expected)
    assert 0 < active.mean() < 1


def test_downstream_classifier(subspaces, sae):
    X, y = subspaces
    classifier = LogisticRegression().fit(X**2, y)
    rows, truth = np.arange(len(y)), np.searchsorted(classifier.classes_, y)

    def losses(X_reconstructed):
        return -classifier.predict_log_proba(X_reconstructed**2)[rows, truth]

    def loss(X_reconstructed):
        return log_loss(y, classifier.predict_proba(X_reconstructed**2))

    by_sample, by_mean = latent_ablation(sae, X, losses), latent_ablation(sae, X, loss)
    expected = [loss(decode_without(sae, X, j)) for j in range(sae.n_components_)]
    assert_allclose(by_sample.ablated, expected)
    assert_allclose(by_mean.ablated, expected)
    assert by_sample.baseline == pytest.approx(loss(sae.inverse_transform(sae.transform(X))))
    assert np.isnan(by_mean.change_where_active).all()
    # A sample in which a latent is 0 does not change. So the changes of the other samples are the
    # sum.
    used = by_sample.use > 0
    assert_allclose((by_sample.change_where_active * by_sample.use)[used], by_sample.change[used])


def test_function_may_keep_or_change_what_it_is_given():
    given = []

    def total(X_reconstructed):
        given.append(X_reconstructed.copy())
        X_reconstructed[:] = np.nan
        return given[-1].sum(axis=1)

    result = latent_ablation(Identity().fit(X), X, total)
    assert_array_equal(result.ablated, X.sum() / 4 - X.sum(axis=0) / 4)
    assert_array_equal(given, [X, X * [0, 1, 1], X * [1, 1, 0]])


def test_sparse_codes(subtests):
    for convert in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array):
        with subtests.test(convert=convert):
            expected = latent_ablation(Identity().fit(X), X)
            result = latent_ablation(Identity(convert).fit(X), X)
            for name in expected:
                assert_array_equal(result[name], expected[name])


def test_stored_zeros_are_not_active():
    def with_zeros(X):
        codes = sparse.csr_array(np.ones_like(X))
        codes.data[:] = X.ravel()
        return codes

    estimator = Identity(with_zeros).fit(X)
    assert_array_equal(latent_ablation(estimator, X).use, [3 / 4, 0, 1 / 2])
    assert len(estimator.decoded_) == 3


def test_latents_that_are_asked_for(subspaces, sae):
    X, _ = subspaces
    result, every = latent_ablation(sae, X, latents=[5, 2]), latent_ablation(sae, X)
    assert_array_equal(result.latents, [5, 2])
    for name in ("ablated", "change", "change_where_active", "use"):
        assert_array_equal(result[name], every[name][[5, 2]])


def test_bad_parameters(subtests):
    for params, message in (
        ({"metric": "rmse"}, r"metric must be one of \['fvu', 'squared_error'\] or a callable"),
        ({"metric": None}, "or a callable, got None"),
        ({"metric": lambda X: X}, r"array of shape \(4,\), got shape \(4, 3\)"),
        ({"metric": lambda X: X[1:, 0]}, r"got shape \(3,\)"),
        ({"latents": [3]}, "latents must be from 0 to 2"),
        ({"latents": [[0]]}, "1d array of integers"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            latent_ablation(Identity().fit(X), X, **params)
    with pytest.raises(ValueError, match="X is constant"):
        latent_ablation(Identity().fit(X), np.ones((4, 3)), "fvu")
