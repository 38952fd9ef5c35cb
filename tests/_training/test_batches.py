import numpy as np
import pytest
import torch
from dask import array as dask_array
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense._training import _opening, _sources
from skvaeense._training._batches import SourceBatches, TensorBatches, split_samples
from skvaeense._training._devices import make_generator
from skvaeense._training._opening import open_samples
from skvaeense._training._scaling import Scaling
from skvaeense.utils._ranks import ALONE, Ranks

N_SAMPLES, N_FEATURES = 3000, 4
# The first feature says which row it is.
X = np.random.default_rng(0).standard_normal((N_SAMPLES, N_FEATURES)) + 5
X[:, 0] = np.arange(N_SAMPLES)
UNSCALED = Scaling(np.zeros(N_FEATURES), 1.0)
SETTINGS = {"dtype": torch.float64, "device": torch.device("cpu")}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(_opening, "IN_MEMORY", 0)
    monkeypatch.setattr(_sources, "BLOCK_ENTRIES", 100 * N_FEATURES)


def split(samples=None, scaling=UNSCALED, seed=0):
    source = open_samples(dask_array.from_array(X) if samples is None else samples)
    return split_samples(source, scaling, np.random.RandomState(seed), **SETTINGS)


def epoch(batches, batch_size=64, seed=0, ranks=ALONE):
    generator = make_generator(seed)
    return [batch.clone().numpy() for batch in batches.epoch(batch_size, generator, ranks)]


@pytest.fixture(params=["source", "memory"])
def train_and_held_out(request):
    return split(X if request.param == "memory" else None)


def test_every_row_trains_or_is_held_out(train_and_held_out):
    train, held_out = train_and_held_out
    assert isinstance(train, SourceBatches | TensorBatches)
    assert len(train) == 2700
    assert train.shape == (2700, N_FEATURES)
    rows = np.concatenate([*epoch(train, 1), held_out.numpy()])
    assert_array_equal(rows[np.argsort(rows[:, 0])], X)


@pytest.mark.parametrize("batch_size", [64, 100, 700, 2700])
def test_batches_are_full_and_of_different_rows(train_and_held_out, batch_size):
    train, _ = train_and_held_out
    batches = epoch(train, batch_size)
    assert [len(batch) for batch in batches] == [batch_size] * (2700 // batch_size)
    rows = np.concatenate(batches)[:, 0]
    assert len(np.unique(rows)) == len(rows)


@pytest.mark.parametrize("number", [2, 3, 7])
def test_every_process_has_a_part_of_every_batch(train_and_held_out, number):
    train, _ = train_and_held_out
    parts = [epoch(train, 100, ranks=Ranks(number, rank)) for rank in range(number)]
    for part in parts:
        assert [len(batch) for batch in part] == [100 // number] * 27
    rows = [np.concatenate(part)[:, 0] for part in parts]
    for i, some in enumerate(rows):
        for others in rows[:i]:
            assert not np.intersect1d(some, others).size


def test_parts_in_memory_are_those_of_the_batch_of_one_process():
    train, _ = split(X)
    parts = [epoch(train, 100, ranks=Ranks(2, rank)) for rank in range(2)]
    for whole, *some in zip(epoch(train, 100), *parts, strict=True):
        assert_array_equal(np.concatenate(some), whole)


def test_a_process_without_blocks_of_its_own_takes_samples_that_are_at_hand():
    train, _ = split(dask_array.from_array(X[:100]))
    parts = [epoch(train, 30, ranks=Ranks(3, rank)) for rank in range(3)]
    assert [len(np.concatenate(part)) for part in parts] == [30, 30, 30]
    assert set(np.concatenate(parts[2])[:, 0]) <= set(X[:100, 0])


def test_an_order_follows_from_the_generator(train_and_held_out):
    train, _ = train_and_held_out
    first, again, other = epoch(train), epoch(train), epoch(train, seed=1)
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    generator = make_generator(0)
    assert not np.array_equal(
        np.concatenate([b.clone() for b in train.epoch(64, generator)]),
        np.concatenate([b.clone() for b in train.epoch(64, generator)]),
    )


def test_a_batch_has_rows_of_many_blocks(train_and_held_out):
    train, _ = train_and_held_out
    n_blocks = [len(np.unique(batch[:, 0] // 100)) for batch in epoch(train)]
    assert np.mean(n_blocks) > 6


def test_rows_are_centred_and_scaled():
    scaling = Scaling.from_data(X)
    train, held_out = split(scaling=scaling)
    for rows in (np.concatenate(epoch(train, 1)), held_out.numpy(), train.head.numpy()):
        unscaled = rows * scaling.scale + scaling.mean
        assert_allclose(unscaled, X[np.rint(unscaled[:, 0]).astype(int)], atol=1e-9)


def test_the_head_is_of_rows_that_train():
    train, held_out = split()
    assert len(train.head) == 2700
    assert not np.isin(train.head[:, 0], held_out[:, 0]).any()


def test_held_out_rows_are_drawn_by_the_seed():
    assert_array_equal(split()[1], split()[1])
    assert not np.array_equal(split()[1], split(seed=1)[1])


def test_moments_of_a_source_are_those_of_its_array():
    scaling = Scaling.from_data(open_samples(dask_array.from_array(X)))
    assert_allclose(scaling.mean, X.mean(axis=0), rtol=1e-12)
    assert scaling.scale == pytest.approx(X.std(axis=0).dot(X.std(axis=0)) ** 0.5 / 2, rel=1e-12)


def test_a_pass_can_be_left_early():
    train, _ = split()
    batches = train.epoch(64, make_generator(0))
    assert next(batches).shape == (64, N_FEATURES)
    batches.close()


def test_an_error_of_the_source_reaches_the_training():
    values = X.copy()
    values[1234, 2] = np.nan
    train, _ = split()
    train.source.array = dask_array.from_array(values)
    with pytest.raises(ValueError, match="contains NaN"):
        epoch(train)
