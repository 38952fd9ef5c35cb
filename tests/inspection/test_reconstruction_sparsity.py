import numpy as np
import pandas as pd
import pytest
from helpers import changed, fit_unwarned, quick_vaeense
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvaeense.inspection import ReconstructionSparsityDisplay, reconstruction_sparsity_curve
from skvaeense.metrics import fvu
from skvaeense.nets.thresholds import Contribution


class Axes(BaseEstimator):
    """A dictionary whose atoms lie on the axes, with different lengths that divide the codes."""

    lengths = np.array([1.0, 10.0, 0.5])

    def fit(self, X, y=None):
        self.components_ = np.diag(self.lengths)
        return self

    def transform(self, X):
        return X / self.lengths

    def inverse_transform(self, X):
        return X * self.lengths


X = np.array([[3.0, 0.0, 1.0], [0.0, -2.0, 0.0], [-4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_largest_contributions_of_all_samples_are_kept():
    # Contributions are 4, 3, 2, 1 in units of X, although the sample with 3 has not the largest
    # code.
    n_active, error, own = reconstruction_sparsity_curve(Axes().fit(X), X)
    assert_array_equal(n_active, np.arange(5) / 4)
    total = np.square(X - X.mean(axis=0)).sum()
    assert_allclose(error, np.array([30, 14, 5, 1, 0]) / total)
    # Entries that are exactly 0 are not active.
    assert own == (1.0, 0.0)


def test_principal_components_are_kept_in_order():
    random_state = np.random.default_rng(0)
    X = random_state.standard_normal((50, 6)) * np.arange(6, 0, -1)
    for estimator in (PCA().fit(X), TruncatedSVD(5, random_state=0).fit(X)):
        n_active, error, own = reconstruction_sparsity_curve(estimator, X)
        codes = estimator.transform(X)
        expected = []
        for k in range(codes.shape[1] + 1):
            kept = codes.copy()
            kept[:, k:] = 0
            expected.append(fvu(X, estimator.inverse_transform(kept)))
        assert_array_equal(n_active, np.arange(codes.shape[1] + 1))
        assert_allclose(error, expected)
        assert own is None
    shares = 1 - np.cumsum(PCA().fit(X).explained_variance_ratio_)
    assert_allclose(reconstruction_sparsity_curve(PCA().fit(X), X)[1][1:], shares, atol=1e-12)


def test_vaeense_ends_where_nothing_is_left_out(subspaces, vaeense, nonlinear, subtests):
    for network in ("linear", "mlp"):
        with subtests.test(network=network):
            X, _ = subspaces
            estimator = {"linear": vaeense, "mlp": nonlinear}[network]
            n_active, error, own = reconstruction_sparsity_curve(estimator, X)
            codes, active = estimator.transform(X), estimator.active_dimensions(X)
            assert (n_active[0], n_active[-1]) == (0, (codes != 0).sum(axis=1).mean())
            assert (np.diff(n_active) > 0).all()
            assert error[-1] == pytest.approx(fvu(X, estimator.inverse_transform(codes)))
            assert not active.all()
            assert own[0] == active.sum(axis=1).mean()
            assert own[1] == pytest.approx(fvu(X, estimator.inverse_transform(codes * active)))


def test_contribution_rule_keeps_the_same_entries(subspaces, vaeense):
    """The level lies between the last entry that the curve keeps and the next entry."""
    X, _ = subspaces
    n_active, error, _ = reconstruction_sparsity_curve(vaeense, X)
    codes = vaeense.transform(X)
    amounts = np.sort((np.abs(codes) * np.linalg.norm(vaeense.components_, axis=1)).ravel())
    counts = np.rint(n_active * len(X)).astype(int)
    for count, expected in zip(counts[1:-1], error[1:-1], strict=True):
        level = amounts[-count - 1 : amounts.size - count + 1].mean()
        rule = Contribution(level / np.sqrt(vaeense.noise_variance_))
        model = clone(vaeense.model).set_params(threshold=rule)
        active = changed(vaeense, model=model).active_dimensions(X)
        assert active.sum() == count
        assert fvu(X, vaeense.inverse_transform(codes * active)) == pytest.approx(expected)


def test_sparse_autoencoder_ends_at_its_own_point(subspaces, sae):
    X, _ = subspaces
    n_active, error, own = reconstruction_sparsity_curve(sae, X)
    assert own == (n_active[-1], pytest.approx(error[-1]))
    assert error[-1] == pytest.approx(fvu(X, sae.inverse_transform(sae.transform(X))))


def test_names_of_features_are_kept(subspaces):
    X = pd.DataFrame(subspaces[0], columns=list("abcdef"))
    pipeline = make_pipeline(StandardScaler(), PCA(2)).set_output(transform="pandas").fit(X)
    assert len(reconstruction_sparsity_curve(pipeline, X)[0]) == 3
    estimator = fit_unwarned(quick_vaeense(n_components=2, max_iter=3), X)
    assert len(reconstruction_sparsity_curve(estimator, X)[0]) == 30


def test_estimators_are_drawn_in_one_picture(subspaces, vaeense, sae):
    X, _ = subspaces
    display = ReconstructionSparsityDisplay.from_estimators([vaeense, sae, PCA().fit(X)], X)
    names = ["VAEenseTransformer", "SparseAutoencoder", "PCA"]
    assert list(display.curves) == names
    expected = reconstruction_sparsity_curve(vaeense, X)
    assert_array_equal(display.lines_[0].get_xdata(), expected[0])
    assert_array_equal(display.lines_[0].get_ydata(), expected[1])
    assert_array_equal(display.points_[0].get_xydata()[0], expected[2])
    assert display.points_[2] is None
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == names
    assert len({line.get_color() for line in display.lines_}) == 3
    # PCA with all components leaves only rounding errors, which lie below the picture.
    assert display.curves["PCA"][1][-1] < 1e-20 < 1e-8 < display.ax_.get_ylim()[0]


def test_names_are_keys_or_classes(subspaces):
    X, _ = subspaces
    pca = PCA(2).fit(X)
    for given, names in (({"two": pca}, ["two"]), ([pca, pca], ["PCA 1", "PCA 2"])):
        display = ReconstructionSparsityDisplay.from_estimators(given, X)
        assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == names
    with pytest.raises(TypeError, match="a list or a dict"):
        ReconstructionSparsityDisplay.from_estimators(pca, X)
    with pytest.raises(ValueError, match="at least one estimator"):
        ReconstructionSparsityDisplay.from_estimators([], X)


def test_one_estimator_stands_beside_principal_components():
    X = np.random.default_rng(0).standard_normal((40, 3)) @ np.diag([3.0, 1.0, 0.1])
    pipeline = make_pipeline(StandardScaler(), Axes()).fit(X)
    curves = ReconstructionSparsityDisplay.from_estimator(pipeline, X).curves
    assert list(curves) == ["Axes", "PCA"]
    held = np.cumsum(PCA().fit(pipeline[:-1].transform(X)).explained_variance_ratio_)
    assert_allclose(curves["PCA"][1], np.r_[1, 1 - held], atol=1e-12)
