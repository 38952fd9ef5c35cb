import os

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from dask import array as dask_array
from helpers import each_once
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from skvaeense import SparseAutoencoder
from skvaeense.samples import _sources
from skvaeense.samples._sources import LoaderSource, Source, open_samples
from skvaeense.utils import _rows

N_SAMPLES, N_FEATURES = 1000, 6
X = np.random.default_rng(0).standard_normal((N_SAMPLES, N_FEATURES)).astype(np.float32)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Treat all samples as large, and read 50 rows at a time."""
    monkeypatch.setattr(_sources, "IN_MEMORY", 0)
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 50 * N_FEATURES)


class Batched(IterableDataset):
    """A dataset that yields batches of 64 rows, or single rows."""

    def __init__(self, size=64):
        self.size = size

    def __iter__(self):
        for start in range(0, N_SAMPLES, self.size):
            rows = torch.tensor(X[start : start + self.size])
            yield rows[0] if self.size == 1 else rows

    def __len__(self):
        return -(-N_SAMPLES // self.size)


def memmap(folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def zarr_array(folder):
    stored = zarr.create_array(folder / "X.zarr", shape=X.shape, chunks=(128, 6), dtype="f4")
    stored[:] = X
    return stored


def hdf5(folder):
    file = h5py.File(folder / "X.h5", "w")
    return file.create_dataset("X", data=X)


def npy_folder(folder):
    for i, rows in enumerate(np.split(X, [10, 10, 700])):
        np.save(folder / f"{i}.npy", rows)
    (folder / "README.txt").write_text("Not samples.")
    return folder


def fortran_file(folder):
    np.save(folder / "X.npy", np.asfortranarray(X))
    return folder / "X.npy"


def safetensors_files(folder):
    paths = []
    for i, rows in enumerate(np.split(X, [300, 301])):
        paths.append(str(folder / f"{i}.safetensors"))
        save_file({"activations": rows}, paths[-1])
    return paths


SLICED = {
    "memmap": memmap,
    "zarr": zarr_array,
    "h5py": hdf5,
    "dask": lambda folder: dask_array.from_array(X, chunks=(77, 6)),
    "npy folder": npy_folder,
    "npy file": lambda folder: memmap(folder) is not None and str(folder / "X.npy"),
    "npy file in Fortran's order": fortran_file,
    "safetensors files": safetensors_files,
    "dataset": lambda folder: TensorDataset(torch.tensor(X), torch.zeros(N_SAMPLES)),
}
LOADERS = {
    "loader": lambda folder: DataLoader(TensorDataset(torch.tensor(X)), batch_size=33),
    "iterable dataset": lambda folder: Batched(),
    "single rows": lambda folder: Batched(1),
}


@pytest.fixture(params=[*SLICED, *LOADERS])
def source(request, tmp_path):
    return open_samples((SLICED | LOADERS)[request.param](tmp_path))


@pytest.fixture(params=SLICED)
def sliced(request, tmp_path):
    return open_samples(SLICED[request.param](tmp_path))


# --- what each source does --------------------------------------------------------------------


def test_blocks_are_all_rows_in_order(source):
    assert isinstance(source, Source)
    assert source.shape == X.shape
    assert len(source) == N_SAMPLES
    for rows in (slice(40), slice(5, 300)):
        assert_array_equal(source[rows], X[rows])
    starts, blocks = zip(*source.blocks(), strict=True)
    assert_array_equal(np.concatenate(blocks), X)
    assert_array_equal(starts, np.cumsum([0, *map(len, blocks[:-1])]))
    assert all(len(block) < 120 for block in blocks)


@pytest.mark.parametrize(("kind", "n_rows"), each_once([*SLICED, *LOADERS], [1, 64, 200]))
def test_drawn_rows(kind, n_rows, tmp_path):
    source = open_samples((SLICED | LOADERS)[kind](tmp_path))
    assert_array_equal(source.take(source.draw(N_SAMPLES, np.random.RandomState(0))), X)
    positions = source.draw(n_rows, np.random.RandomState(0))
    assert len(positions) == n_rows
    assert (np.diff(positions) > 0).all()
    assert 0 <= positions[0] <= positions[-1] < N_SAMPLES
    assert_array_equal(source.take(positions), X[positions])
    other = source.draw(n_rows, np.random.RandomState(2))
    assert not np.array_equal(other, positions)


def test_slices_and_blocks_in_random_order(sliced):
    blocks = dict(sliced.blocks(np.random.RandomState(0)))
    assert list(blocks) != sorted(blocks)
    assert_array_equal(np.concatenate([blocks[start] for start in sorted(blocks)]), X)
    for rows in (slice(0, 5), slice(5, 15), slice(295, 800), slice(990, 2000)):
        assert_array_equal(sliced[rows], X[rows])
    assert sliced[5:5].shape == (0, N_FEATURES)


class Listed:
    """Batches from lists: another list in each pass, until the last one is repeated."""

    def __init__(self, *passes):
        self.passes = [*passes]

    def __iter__(self):
        return iter(self.passes.pop(0) if len(self.passes) > 1 else self.passes[0])

    def __len__(self):
        return len(self.passes[0])


def test_one_pass_over_a_loader_counts_its_samples():
    batches = np.array_split(X, 7)
    loader = Listed(batches, [])
    loader.passes.insert(0, batches)
    source = open_samples(loader)
    assert isinstance(source, LoaderSource)
    assert source.shape == X.shape
    assert len(loader.passes) == 2


def test_random_rows_of_a_loader_are_kept_from_the_first_pass(monkeypatch):
    monkeypatch.setattr(_sources, "IN_MEMORY", 2**28)
    monkeypatch.setattr(_sources, "MANY_ROWS", 100)
    batches = np.array_split(X, 7)
    source = open_samples(Listed(batches, batches, []))
    positions = source.draw(100, np.random.RandomState(0))
    assert (np.diff(positions) > 0).all()
    assert 30 < (positions < N_SAMPLES // 2).sum() < 70
    assert_array_equal(source.take(positions), X[positions])


# --- items of datasets and loaders --------------------------------------------------------------


class Items(Dataset):
    """A dataset of these items."""

    def __init__(self, items):
        self.items = items

    def __getitem__(self, i):
        return self.items[i]

    def __len__(self):
        return len(self.items)


ROWS = torch.tensor(X[:8])
SAMPLES = {
    "arrays": [*X[:8]],
    "lists of numbers": X[:8].tolist(),
    "a list and a label": [(row.tolist(), 1) for row in X[:8]],
    "pairs of one width": [(row, row + 1) for row in ROWS],
    "lists with a label": [[row, torch.tensor(1)] for row in ROWS],
    "rows of two dimensions": [row[None] for row in ROWS],
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_of_a_dataset(kind):
    assert_array_equal(open_samples(Items(SAMPLES[kind]))[:], X[:8])


BATCHES = {
    "arrays": [X[:4], X[4:8]],
    "with labels": [(X[:4], np.ones(4)), (X[4:8], np.ones(4))],
    "lists with extras, as torch collates tuples": [[ROWS[:4], ROWS[:4]], [ROWS[4:], ROWS[4:]]],
    "lists of one tensor": [[ROWS[:4]], [ROWS[4:]]],
    "single rows with a label": [[row, torch.tensor(1)] for row in ROWS],
}


@pytest.mark.parametrize("kind", BATCHES)
def test_batches_of_a_loader(kind):
    _, rows = next(open_samples(Listed(BATCHES[kind])).blocks())
    assert_array_equal(rows, X[:8])


UNCLEAR = {
    "a list of rows": [*X[:4]],
    "a tuple of rows": (*ROWS[:4],),
    "a list of lists": X[:4].tolist(),
    "a list of tuples": [(row,) for row in ROWS],
    "tuples of rows": ((ROWS[0], ROWS[1]), (ROWS[2], ROWS[3])),
    "a dictionary": {"x": X[:4]},
    "a number and a label": (1.5, 0),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_batches_that_could_be_read_in_several_ways(kind):
    """Of lists, the first row would be taken for all of the batch."""
    with pytest.raises(TypeError, match=r"shape \(n_samples, n_features\).*gave.*collate_fn"):
        open_samples(Listed([UNCLEAR[kind]] * 2))


def test_loaders_that_collate_to_lists():
    rows = Items(X.tolist())
    for loader in (
        DataLoader(rows, batch_size=4),  # Torch gives a list of columns.
        DataLoader(TensorDataset(torch.tensor(X)), batch_size=4, collate_fn=list),
        DataLoader(rows, batch_size=4, collate_fn=list),
    ):
        with pytest.raises(TypeError, match="collate_fn"):
            SparseAutoencoder().fit(loader)


@pytest.mark.parametrize("item", [X[:2], [*X[:2]], X[:2].tolist(), {"x": X[0]}, 1.0, (1.0, 2)])
def test_items_of_a_dataset_that_are_no_samples(item):
    with pytest.raises(TypeError, match=r"shape \(n_features,\).*gave"):
        open_samples(Items([item] * 8))


def test_samples_of_a_dataset_have_one_length():
    source = open_samples(Items([*X[:5], X[5, :4]]))
    with pytest.raises(ValueError, match=r"same number of features, got \[4, 6\]"):
        source[:]
    with pytest.raises(ValueError, match="dataset without samples"):
        open_samples(Items([]))


# --- passes over a loader -----------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [500, 0], ids=["shorter", "empty"])
def test_a_later_pass_gives_fewer_samples(n_rows):
    """Rows would be repeated in place of the others."""
    whole, part = (np.split(X[:n], range(100, n, 100)) if n else [] for n in (N_SAMPLES, n_rows))
    message = rf"gave {n_rows} samples, but the first pass gave {N_SAMPLES}\..*partial_fit"
    # Passes for the number, the first rows, the mean, the held-out rows, and an epoch.
    for n_whole in range(2, 6):
        sae = SparseAutoencoder(4, max_iter=3)
        loader = Listed(*[whole] * n_whole, part)
        loader.__class__ = type("Fixed", (Listed,), {"__len__": lambda loader: len(whole)})
        with pytest.raises(ValueError, match=message):
            sae.fit(loader)
        assert not hasattr(sae, "module_")


def test_batches_that_are_gone_after_one_pass():
    class Once:
        """Batches that are gone after one pass."""

        def __init__(self):
            self.batches = iter(np.array_split(X, 10))

        def __iter__(self):
            return self.batches

        def __len__(self):
            return 10

    with pytest.raises(ValueError, match="gave 0 samples, but the first pass gave 1000"):
        SparseAutoencoder().fit(Once())
    once = Once()
    next(iter(once))
    with pytest.raises(ValueError, match=r"gave 9 batches, but len\(X\) is 10"):
        SparseAutoencoder().fit(once)


def test_stores_that_shrink():
    values = X.copy()
    source = open_samples(dask_array.from_array(values))
    source.read = lambda start, stop: values[start : stop - 3]
    with pytest.raises(ValueError, match=r"its rows 0 to 50 have shape \(47, 6\)"):
        list(source.blocks())


# --- the order of files -------------------------------------------------------------------------


def test_files_of_a_folder_are_sorted_by_number(tmp_path):
    for i, rows in enumerate(np.split(X, 20)):
        np.save(tmp_path / f"part-{i}.npy", rows)
    assert_array_equal(open_samples(tmp_path)[:], X)
    np.save(tmp_path / "a.npy", X[:5])
    assert_array_equal(open_samples(tmp_path)[:5], X[:5])
    paths = [tmp_path / "part-10.npy", tmp_path / "part-9.npy"]
    assert_array_equal(open_samples(paths)[:], np.concatenate([X[500:550], X[450:500]]))


# --- precision and validity -------------------------------------------------------------------


def test_rows_are_in_single_or_double_precision(subtests):
    for dtype, expected in (("f4", "f4"), ("f8", "f8"), ("f2", "f8"), ("i4", "f8"), ("u1", "f8")):
        with subtests.test(dtype=dtype, expected=expected):
            values = (10 * X).astype(dtype) if dtype != "u1" else np.abs(10 * X).astype(dtype)
            source = open_samples(dask_array.from_array(values))
            assert source.dtype == expected
            assert_array_equal(source[:5], values[:5].astype(expected))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_floats_that_numpy_lacks_are_read_in_single_precision(dtype, tmp_path):
    values = torch.tensor(X).to(dtype)
    save_tensors({"x": values}, tmp_path / "x.safetensors")
    source = open_samples(tmp_path / "x.safetensors")
    assert source.dtype == np.float32
    assert_array_equal(source[:9], values[:9].float().numpy())


def test_masked_entries_are_missing(subtests):
    values = np.ma.masked_array(X, np.eye(N_SAMPLES, N_FEATURES))
    given = {
        "dask": dask_array.from_array(values, asarray=False),
        "dataset": Items([*values]),
        "loader": Listed([values[:500], values[500:]]),
    }
    for name, samples in given.items():
        with subtests.test(name), pytest.raises(ValueError, match="Input X contains NaN"):
            list(open_samples(samples).blocks())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_are_checked_when_they_are_read(bad):
    values = X.copy()
    values[777, 3] = bad
    source = open_samples(dask_array.from_array(values))
    assert_array_equal(source[:777], X[:777])
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        list(source.blocks())


def test_small_ones_are_read_into_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(_sources, "IN_MEMORY", X.nbytes)
    for make in SLICED.values():
        folder = tmp_path / make.__name__ if make.__name__ != "<lambda>" else tmp_path
        folder.mkdir(exist_ok=True)
        read = open_samples(make(folder))
        assert type(read) in (np.ndarray, np.memmap)
        assert_array_equal(read, X)
        for path in folder.glob("*.npy"):
            path.unlink()


# --- what is left to scikit-learn --------------------------------------------------------------


def test_other_things_stay_as_they_are(subtests):
    for other in (
        X,
        X.tolist(),
        ["a", "b"],
        {"a": 1},
        None,
        dask_array.zeros(3),
        dask_array.zeros((0, 3)),
        pd.DataFrame(X),
        pd.Series(X[:, 0]),
    ):
        with subtests.test(type(other).__name__):
            assert open_samples(other) is other


def test_tensors_stay_where_they_are():
    tensor = torch.tensor(X)
    assert open_samples(tensor).data_ptr() == tensor.data_ptr()


# --- errors -------------------------------------------------------------------------------------


class Endless(IterableDataset):
    """A dataset without a length."""

    def __iter__(self):
        return iter(torch.tensor(X))


def test_iterables_without_a_length(subtests):
    given = {
        "list_iterator": iter([X]),
        "generator": (rows for rows in [X]),
        "Endless": Endless(),
        "DataLoader": DataLoader(Endless(), batch_size=4),
    }
    for name, samples in given.items():
        with (
            subtests.test(name),
            pytest.raises(TypeError, match=rf"without a length \({name}\).*partial_fit"),
        ):
            open_samples(samples)


def files(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=True)
    return folder


def pair(folder):
    save_file({"a": X, "b": X}, folder / "x.safetensors")
    return folder


def damaged(folder, name):
    (folder / name).write_bytes(b"no samples")
    return folder / name


REFUSED = {
    "a folder without samples": (files, "has no files that end in"),
    "files of other kinds": (
        lambda folder: [str(files(folder, a=X) / "a.npy"), "b.csv"],
        r"files that end in .*, got b\.csv",
    ),
    "a text": (lambda folder: "samples", "files that end in"),
    "shards of different widths": (
        lambda folder: files(folder, a=X, b=X[:, :2]),
        r"same number of features, got \[2, 6\]",
    ),
    "shards that are no matrices": (
        lambda folder: files(folder, a=X[0]),
        r"must hold samples of shape.*got \(6,\)",
    ),
    "two tensors": (pair, r"must hold one tensor, the samples, but holds \['a', 'b'\]"),
    # They are never unpickled.
    "objects": (
        lambda folder: files(folder, a=np.array([[object()]])),
        "is not a file of samples",
    ),
    "a damaged array": (lambda folder: damaged(folder, "a.npy"), "a.npy is not .* damaged"),
    "a damaged tensor": (
        lambda folder: damaged(folder, "a.safetensors"),
        "a.safetensors is not .* damaged",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_are_refused(kind, tmp_path):
    make, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        open_samples(make(tmp_path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_samples(tmp_path / "none.npy")


def test_a_loader_has_batches_of_one_width():
    with pytest.raises(ValueError, match="X is a loader without samples"):
        open_samples(Listed([]))
    with pytest.raises(ValueError, match=r"same number of features, got \[5, 6\]"):
        open_samples(Listed([X[:4], X[4:8, :-1]]))
    source = open_samples(Listed([X[:4]], [X[:4, :-1]]))
    with pytest.raises(ValueError, match=r"same number of features, got \[5, 6\]"):
        list(source.blocks())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
@pytest.mark.parametrize("name", ["a.npy", "a.safetensors"])
def test_pipes_are_not_read(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for X in (tmp_path, [tmp_path / name]):
        with pytest.raises(OSError, match=f"{name} is a device, a pipe"):
            open_samples(X)
