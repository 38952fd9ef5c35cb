"""Samples and codes that are not in memory, in fit and transform."""

import numpy as np
import pytest
import torch
import zarr
from dask import array as dask_array
from helpers import fit_unwarned, with_net
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch.utils.data import DataLoader, TensorDataset

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.networks import Linear
from skvaeense.samples import _sources
from skvaeense.utils import _rows

X_ALL, *_ = make_linear_subspaces(2000, dims=(1, 2), n_features=8, noise=0.01, random_state=0)
X, X_NEW = X_ALL[:1800], X_ALL[1800:]
SETTINGS = {"n_components": 4, "max_iter": 30, "random_state": 0}
ESTIMATORS = {
    "vaease": with_net(network=Linear((16,)), n_init=2, **SETTINGS),
    "laws": VAEenseTransformer(random_state=0),
    "sae": SparseAutoencoder(target_l0=2.0, **SETTINGS),
}
EACH = pytest.mark.parametrize("name", ESTIMATORS)


@pytest.fixture
def _elsewhere(monkeypatch):
    """Treat all samples as large, and read 300 rows at a time."""
    monkeypatch.setattr(_sources, "IN_MEMORY", 0)
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 300 * 8)


@pytest.fixture(scope="module")
def in_memory():
    return {name: fit_unwarned(clone(estimator), X) for name, estimator in ESTIMATORS.items()}


def fit(name, samples, **params):
    """Fit an estimator, with other parameters of the training if it is by gradients."""
    prefix = "model__" if name == "vaease" else ""
    given = {prefix + key: value for key, value in params.items() if name != "laws"}
    return fit_unwarned(clone(ESTIMATORS[name]).set_params(**given), samples)


def in_zarr(values):
    stored = zarr.create_array({}, shape=values.shape, chunks=(200, 8), dtype=values.dtype)
    stored[:] = values
    return stored


SOURCES = {
    "zarr": in_zarr,
    "dask": lambda values: dask_array.from_array(values, chunks=(500, 8)),
    "loader": lambda values: DataLoader(TensorDataset(torch.tensor(values)), batch_size=100),
}


# --- fitting ------------------------------------------------------------------------------------


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.usefixtures("_elsewhere")
def test_a_fit_is_as_good_as_in_memory(name, kind, in_memory):
    fitted = fit(name, SOURCES[kind](X))
    expected = in_memory[name]
    assert fitted.n_features_in_ == 8
    if name != "laws":
        assert_allclose(fitted.mean_, expected.mean_, rtol=1e-9)
        assert fitted.scale_ == pytest.approx(expected.scale_, rel=1e-9)
        assert len(fitted.loss_curve_) == len(expected.loss_curve_)
    errors = [
        np.square(X_NEW - model.inverse_transform(model.transform(X_NEW))).sum()
        for model in (fitted, expected)
    ]
    total = np.square(X_NEW - X.mean(axis=0)).sum()
    assert errors[0] / total == pytest.approx(errors[1] / total, abs=0.06)
    assert errors[0] / total < 0.15


@pytest.mark.slow
@EACH
@pytest.mark.usefixtures("_elsewhere")
def test_a_seed_fixes_the_fit(name):
    first, again = (fit(name, SOURCES["dask"](X), max_iter=6) for _ in range(2))
    assert_array_equal(first.transform(X_NEW), again.transform(X_NEW))


@EACH
def test_what_is_small_is_fitted_as_an_array(name, tmp_path):
    np.save(tmp_path / "X.npy", X)
    expected = fit(name, X, max_iter=2)
    for samples in (np.load(tmp_path / "X.npy", mmap_mode="r"), tmp_path, in_zarr(X)):
        fitted = fit(name, samples, max_iter=2)
        assert_array_equal(fitted.transform(X_NEW), expected.transform(X_NEW))


@pytest.mark.usefixtures("_elsewhere")
def test_a_fit_goes_on_from_samples_elsewhere(in_memory):
    model = fit_unwarned(clone(in_memory["vaease"]).set_params(warm_start=True), X)
    elbo, mean = model.elbo_samples(X_NEW).mean(), model.mean_
    fit_unwarned(model, SOURCES["dask"](X[:1600]))
    assert model.mean_ is mean
    assert model.elbo_samples(X_NEW).mean() > elbo
    with pytest.raises(ValueError, match=r"X has 5 features, but .* is expecting 8 features"):
        model.fit(dask_array.from_array(X[:, :5]))


@EACH
@pytest.mark.usefixtures("_elsewhere")
def test_a_bad_value_far_inside_is_an_error(name, in_memory):
    bad = X.copy()
    bad[1721, 3] = np.nan
    model = clone(in_memory[name])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.fit(dask_array.from_array(bad))
    assert not {"module_", "_coder_"} & vars(model).keys()


@pytest.mark.usefixtures("_elsewhere")
def test_a_loader_of_one_sample():
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        fit("sae", DataLoader(TensorDataset(torch.tensor(X[:1]))))


def test_an_iterator_is_an_error():
    with pytest.raises(TypeError, match=r"without a length \(list_iterator\).*partial_fit"):
        fit("sae", iter(np.array_split(X, 3)))


# --- coding -------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.usefixtures("_elsewhere")
def test_methods_take_samples_elsewhere(name, kind, in_memory):
    model, samples = in_memory[name], SOURCES[kind](X_NEW)
    assert_array_equal(model.transform(samples), model.transform(X_NEW))
    assert_array_equal(model.active_dimensions(samples), model.active_dimensions(X_NEW))
    assert_array_equal(model.score_samples(samples), model.score_samples(X_NEW))
    assert model.score(samples) == pytest.approx(model.score(X_NEW), rel=1e-12)


def test_rows_of_a_loader_have_no_weights(in_memory):
    with pytest.raises(TypeError, match="X is a loader"):
        in_memory["sae"].score(SOURCES["loader"](X_NEW), sample_weight=np.ones(len(X_NEW)))
