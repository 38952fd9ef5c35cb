import numpy as np
import pytest
import torch
from dask import array as dask_array
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.samples import _sources
from skvaeense.samples._scaling import Scaling, SourceBatches, TensorBatches
from skvaeense.samples._sources import open_samples
from skvaeense.training._data import FitData, PreparedRows, Spectrum, prepare_data
from skvaeense.utils import _rows
from skvaeense.utils._torch import make_generator

N_SAMPLES, N_FEATURES = 3000, 4
# The first feature identifies the row.
X = np.random.default_rng(0).standard_normal((N_SAMPLES, N_FEATURES)) + 5
X[:, 0] = np.arange(N_SAMPLES)
UNSCALED = Scaling(np.zeros(N_FEATURES), 1.0)
ESTIMATOR = VAEenseTransformer(model="vaease", dtype="float64", device="cpu")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(_sources, "IN_MEMORY", 0)
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 100 * N_FEATURES)


def prepare(samples=None, scaling=UNSCALED, seed=0):
    source = open_samples(dask_array.from_array(X) if samples is None else samples)
    random_state = np.random.RandomState(seed)
    return prepare_data(ESTIMATOR, PreparedRows(source, scaling), random_state)


def epoch(data, batch_size=64, seed=0):
    return [b.clone().numpy() for b in data.train.epoch(batch_size, make_generator(seed))]


@pytest.mark.parametrize("n_samples", [2, 19])
def test_very_few_rows_train_and_judge(n_samples):
    data = prepare(X[:n_samples])
    assert_array_equal(data.train.X.numpy(), data.valid.numpy())
    assert_array_equal(np.sort(data.valid.numpy(), axis=0), np.sort(X[:n_samples], axis=0))


@pytest.mark.parametrize("estimator", [ESTIMATOR, SparseAutoencoder()], ids=["vaeense", "sae"])
def test_rows_are_held_out_by_the_rule_of_the_estimator(estimator):
    random_state = np.random.RandomState(0)
    data = prepare_data(estimator, PreparedRows(X[:200], UNSCALED), random_state)
    assert len(data.valid) == estimator._held_out.share * 200
    assert len(data.train) == 200 - len(data.valid)


def test_rows_are_held_out_at_random():
    held_out = [prepare(X[:200], seed=seed).valid[:, 0].tolist() for seed in (0, 1)]
    trained = prepare(X[:200], seed=0).train.X[:, 0].tolist()
    assert sorted(trained + held_out[0]) == X[:200, 0].tolist()
    assert sorted(held_out[0]) != sorted(held_out[1])


@pytest.fixture(params=["source", "memory"])
def samples(request):
    return X if request.param == "memory" else None


def test_every_row_trains_or_is_held_out(samples):
    data = prepare(samples)
    assert isinstance(data.train, TensorBatches if samples is X else SourceBatches)
    assert len(data.train) == 2700
    assert data.train.shape == (2700, N_FEATURES)
    assert data.batch_size == 256
    rows = np.concatenate([*epoch(data, 1), data.valid.numpy()])
    assert_array_equal(rows[np.argsort(rows[:, 0])], X)


def test_batches_are_full_and_of_different_rows(samples, subtests):
    for batch_size in (64, 100, 700, 2700):
        with subtests.test(batch_size=batch_size):
            batches = epoch(prepare(samples), batch_size)
            assert [len(batch) for batch in batches] == [batch_size] * (2700 // batch_size)
            rows = np.concatenate(batches)[:, 0]
            assert len(np.unique(rows)) == len(rows)


def test_an_order_follows_from_the_generator(samples):
    data = prepare(samples)
    first, again, other = epoch(data), epoch(data), epoch(data, seed=1)
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    generator = make_generator(0)
    passes = [torch.cat([b.clone() for b in data.train.epoch(64, generator)]) for _ in range(2)]
    assert not torch.equal(*passes)


def test_a_batch_has_rows_of_many_blocks(samples):
    n_blocks = [len(np.unique(batch[:, 0] // 100)) for batch in epoch(prepare(samples))]
    assert np.mean(n_blocks) > 6


def test_rows_are_centred_and_scaled(samples):
    scaling = Scaling.from_data(X)
    data = prepare(samples, scaling)
    for rows in (np.concatenate(epoch(data, 1)), data.valid.numpy(), data.train.head.numpy()):
        unscaled = rows * scaling.scale + scaling.mean
        assert_allclose(unscaled, X[np.rint(unscaled[:, 0]).astype(int)], atol=1e-9)


def test_the_head_is_of_rows_that_train(samples):
    data = prepare(samples)
    assert len(data.train.head) == 2700
    assert not np.isin(data.train.head[:, 0], data.valid[:, 0]).any()
    assert data.spectrum == Spectrum.of(data.train.head)


def test_held_out_rows_are_drawn_by_the_seed(samples):
    first, again, other = (prepare(samples, seed=seed).valid for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_batch_of_partial_fit_trains_and_is_looked_at():
    data = FitData.of_batch(ESTIMATOR, X[:50], UNSCALED, None)
    assert torch.equal(data.valid, torch.tensor(X[:50]))
    assert data.batch_size == 32
    assert np.isin(epoch(data, 50)[0][:, 0], X[:50, 0]).all()


def test_moments_of_a_source_are_those_of_its_array():
    scaling = Scaling.from_data(open_samples(dask_array.from_array(X)))
    assert_allclose(scaling.mean, X.mean(axis=0), rtol=1e-12)
    assert scaling.scale == pytest.approx(np.sqrt(X.var(axis=0).mean()), rel=1e-12)


def test_a_pass_can_be_left_early():
    batches = prepare().train.epoch(64, make_generator(0))
    assert next(batches).shape == (64, N_FEATURES)
    batches.close()


def test_an_error_of_the_source_reaches_the_training():
    values = X.copy()
    values[1234, 2] = np.nan
    data = prepare()
    data.train.source = open_samples(dask_array.from_array(values))
    with pytest.raises(ValueError, match="contains NaN"):
        epoch(data)
