import h5py
import numpy as np
import pytest
import torch
import zarr
from dask import array as dask_array
from helpers import each_once
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from skvaeense.samples import _sources
from skvaeense.samples._sources import SlicedSource, Source, StreamSource, open_samples
from skvaeense.utils import _rows
from skvaeense.utils._processes import Processes

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
STREAMS = {
    "loader": lambda folder: DataLoader(TensorDataset(torch.tensor(X)), batch_size=33),
    "iterable dataset": lambda folder: Batched(),
    "single rows": lambda folder: Batched(1),
}


@pytest.fixture(params=[*SLICED, *STREAMS])
def source(request, tmp_path):
    return open_samples((SLICED | STREAMS)[request.param](tmp_path))


@pytest.fixture(params=SLICED)
def sliced(request, tmp_path):
    return open_samples(SLICED[request.param](tmp_path))


# --- what each source does --------------------------------------------------------------------


def test_blocks_are_all_rows_in_order(source):
    assert isinstance(source, Source)
    assert source.shape == X.shape
    assert len(source) == N_SAMPLES
    assert_array_equal(source.head(70), X[:70])
    starts, blocks = zip(*source.blocks(), strict=True)
    assert_array_equal(np.concatenate(blocks), X)
    assert_array_equal(starts, np.cumsum([0, *map(len, blocks[:-1])]))
    assert all(len(block) < 120 for block in blocks)


@pytest.mark.parametrize("kind", ["memmap", "npy folder", "safetensors files", "loader"])
def test_each_of_several_processes_gets_its_blocks(kind, tmp_path):
    source = open_samples((SLICED | STREAMS)[kind](tmp_path))
    processes = [Processes(3, rank) for rank in range(3)]
    parts = [dict(source.blocks(None, each)) for each in processes]
    assert sum(map(len, parts)) == len(set().union(*parts))
    blocks = {start: block for part in parts for start, block in part.items()}
    assert_array_equal(np.concatenate([blocks[start] for start in sorted(blocks)]), X)


@pytest.mark.parametrize(("kind", "n_rows"), each_once([*SLICED, *STREAMS], [1, 64, 200]))
def test_drawn_rows(kind, n_rows, tmp_path):
    source = open_samples((SLICED | STREAMS)[kind](tmp_path))
    assert_array_equal(source.take(source.draw(N_SAMPLES, np.random.RandomState(0))), X)
    positions = source.draw(n_rows, np.random.RandomState(0))
    assert len(positions) == n_rows
    assert (np.diff(positions) > 0).all()
    assert 0 <= positions[0] <= positions[-1] < N_SAMPLES
    assert_array_equal(source.take(positions), X[positions])
    other = source.draw(n_rows, np.random.RandomState(1))
    assert not np.array_equal(other, positions)


def test_slices_and_blocks_in_random_order(sliced):
    blocks = dict(sliced.blocks(np.random.RandomState(0)))
    assert list(blocks) != sorted(blocks)
    assert_array_equal(np.concatenate([blocks[start] for start in sorted(blocks)]), X)
    for rows in (slice(0, 5), slice(5, 15), slice(295, 800), slice(990, 2000)):
        assert_array_equal(sliced[rows], X[rows])
    assert sliced[5:5].shape == (0, N_FEATURES)


def test_a_pass_over_a_stream_counts_its_samples():
    passes = []

    class Counting:
        def __iter__(self):
            passes.append(1)
            return iter(np.array_split(X, 7))

    source = open_samples(Counting())
    assert sum(len(rows) for _, rows in source.blocks()) == N_SAMPLES
    n_passes = len(passes)
    assert len(source) == N_SAMPLES
    assert len(passes) == n_passes


# --- precision and validity -------------------------------------------------------------------


def test_rows_are_in_single_or_double_precision(subtests):
    for dtype, expected in (("f4", "f4"), ("f8", "f8"), ("f2", "f8"), ("i4", "f8"), ("u1", "f8")):
        with subtests.test(dtype=dtype, expected=expected):
            values = (10 * X).astype(dtype) if dtype != "u1" else np.abs(10 * X).astype(dtype)
            source = open_samples(dask_array.from_array(values))
            assert source.dtype == expected
            assert_array_equal(source[:5], values[:5].astype(expected))


def test_bfloat16_is_read_in_single_precision(tmp_path):
    from safetensors.torch import save_file as save_tensors

    values = torch.tensor(X).bfloat16()
    save_tensors({"x": values}, tmp_path / "x.safetensors")
    source = open_samples(tmp_path / "x.safetensors")
    assert source.dtype == np.float32
    assert_array_equal(source[:9], values[:9].float().numpy())


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
    ):
        with subtests.test(other=other):
            assert open_samples(other) is other


def test_tensors_stay_where_they_are():
    tensor = torch.tensor(X)
    assert open_samples(tensor).data_ptr() == tensor.data_ptr()


def test_data_frames_stay_as_they_are():
    import pandas as pd

    for other in (pd.DataFrame(X), pd.Series(X[:, 0])):
        assert open_samples(other) is other


# --- errors -------------------------------------------------------------------------------------


def test_an_iterator_can_be_gone_through_only_once():
    with pytest.raises(ValueError, match=r"iterator.*only once.*partial_fit"):
        open_samples(iter([X]))


def test_a_folder_without_samples(tmp_path):
    with pytest.raises(ValueError, match="has no files that end in"):
        open_samples(tmp_path)


def test_files_of_other_kinds(tmp_path):
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(ValueError, match=r"files that end in .*, got b\.csv"):
        open_samples([str(tmp_path / "a.npy"), "b.csv"])


def test_text_is_no_file():
    with pytest.raises(ValueError, match="files that end in"):
        open_samples("samples")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_samples(tmp_path / "none.npy")


def test_shards_of_different_widths(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", X[:, :2])
    with pytest.raises(ValueError, match=r"same number of features, got \[2, 6\]"):
        open_samples(tmp_path)


def test_shards_that_are_no_matrices(tmp_path):
    np.save(tmp_path / "a.npy", X[0])
    with pytest.raises(ValueError, match=r"must hold samples of shape.*got \(6,\)"):
        open_samples(tmp_path)


def test_a_safetensors_file_with_two_tensors(tmp_path):
    save_file({"a": X, "b": X}, tmp_path / "x.safetensors")
    with pytest.raises(
        ValueError, match=r"must hold one tensor, the samples, but holds \['a', 'b'\]"
    ):
        open_samples(tmp_path)


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(ValueError, match="is not an array in NumPy's format"):
        open_samples(tmp_path)


def test_a_dataset_without_a_length_is_a_stream():
    class Endless(Dataset):
        def __getitem__(self, i):
            if i >= 5:
                raise IndexError
            return X[i]

    source = open_samples(Endless())
    assert isinstance(source, StreamSource)
    assert not isinstance(source, SlicedSource)
    assert source.shape == (5, N_FEATURES)


class Listed:
    """Batches from a list, with a new iterator each time."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def test_a_stream_has_batches_of_one_width():
    with pytest.raises(ValueError, match="X is an iterable without batches"):
        open_samples(Listed([]))
    source = open_samples(Listed([X[:4], X[4:8, :-1]]))
    with pytest.raises(ValueError, match=rf"shape \(n_samples, {N_FEATURES}\) of the first batch"):
        source.head(6)


@pytest.mark.parametrize("name", ["a.npy", "a.safetensors"])
def test_damaged_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"no samples")
    with pytest.raises(ValueError, match=rf"{name} is not .*, or it is damaged"):
        open_samples(tmp_path / name)
