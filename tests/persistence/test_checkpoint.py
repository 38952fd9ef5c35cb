"""Fits that are interrupted and continued."""

import os
import shutil
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, with_net
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skvaeense import (
    Checkpoint,
    IntrinsicDimensionEstimator,
    SparseAutoencoder,
    load,
    save,
)
from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.networks import MLP, Linear
from skvaeense.nets.penalties import L1, BatchTopK, TopK
from skvaeense.samples import _sources
from skvaeense.training import _trainer
from skvaeense.training._trainer import STATE
from skvaeense.utils import _rows

X = make_linear_subspaces(200, dims=(1, 2), n_features=8, random_state=0)[0]
# With a linear decoder, every file has a density, which takes longer than an epoch.
VAEENSE = with_net(6, network=MLP((12,)), n_init=3, max_iter=8, random_state=0)
SAE = SparseAutoencoder(12, max_iter=6, random_state=0)
ESTIMATORS = {
    "vaeense": VAEENSE,
    "one init": clone(VAEENSE).set_params(
        model__n_init=1, model__network=Linear((8,)), model__tol=10.0, model__n_iter_no_change=2
    ),
    "no last phase": clone(VAEENSE).set_params(model__max_iter=1),
    "random state": clone(VAEENSE).set_params(
        model__max_iter=3, model__n_init=2, random_state=np.random.RandomState(3)
    ),
    "unrolled": clone(SAE).set_params(penalty=TopK(2), network="unrolled"),
    "coefficient": clone(SAE).set_params(penalty=L1(0.01), target_l0=2),
    "batch": clone(SAE).set_params(penalty=BatchTopK(2)),
}


def assert_same_model(fitted, expected):
    states = [estimator.module_.state_dict() for estimator in (fitted, expected)]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[1].items():
        assert torch.equal(states[0][name], tensor), name
    # The last digit of the first noise, an eigenvalue, can depend on where memory lies.
    np.testing.assert_allclose(fitted.loss_curve_, expected.loss_curve_, rtol=1e-13)


def fit_into(folder, estimator, data=X, **settings):
    checkpoint = Checkpoint(folder, **{"interval": 0} | settings)
    return fit_unwarned(clone(estimator).set_callbacks(checkpoint), data), checkpoint


def assert_goes_on_from_each(estimator, data, tmp_path):
    expected = fit_unwarned(clone(estimator), data)
    kept, checkpoint = fit_into(tmp_path / "all", estimator, data, n_kept=1000)
    assert_same_model(kept, expected)
    files = checkpoint.files()
    assert len(files) >= 3
    for i in {0, len(files) // 3, 2 * len(files) // 3, len(files) - 1}:
        folder = tmp_path / str(i)
        folder.mkdir()
        shutil.copy(files[i], folder)
        gone_on, new = fit_into(folder, estimator, data, n_kept=1000)
        assert_same_model(gone_on, expected)
        # The last file is the state at the end, and leaves nothing to do.
        assert len(new.files()) == (len(files) - i if i < len(files) - 1 else 1)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "one init")) for n in ESTIMATORS]
)
def test_a_fit_goes_on_from_every_state_to_the_same_model(name, tmp_path):
    assert_goes_on_from_each(ESTIMATORS[name], X, tmp_path)


@pytest.mark.parametrize("estimator", [SAE, VAEENSE], ids=["sae", "vaeense"])
def test_a_fit_of_files_goes_on(estimator, tmp_path, monkeypatch):
    monkeypatch.setattr(_sources, "IN_MEMORY", 0)
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 8 * 40)
    data = [tmp_path / f"{i}.npy" for i in range(2)]
    for path, rows in zip(data, np.array_split(X, 2), strict=True):
        np.save(path, rows)
    settings = {"max_iter": 3, "batch_size": 40}
    if estimator is VAEENSE:
        settings = {f"model__{name}": value for name, value in (settings | {"n_init": 1}).items()}
    estimator = clone(estimator).set_params(**settings)
    assert_goes_on_from_each(estimator, data, tmp_path)


def test_dead_latents_are_known_when_a_fit_goes_on(tmp_path):
    """The auxiliary loss of the next step uses them."""
    sae = SparseAutoencoder(
        40, penalty=TopK(1), max_iter=4, batch_size=30, dead_after=90, random_state=0
    )
    assert_goes_on_from_each(sae, X, tmp_path)


def test_a_warm_start_goes_on(tmp_path):
    def begin():
        return fit_unwarned(clone(SAE).set_params(warm_start=True), X)

    expected = fit_unwarned(begin(), X)
    checkpoint = Checkpoint(tmp_path, interval=0, n_kept=1000)
    assert_same_model(fit_unwarned(begin().set_callbacks(checkpoint), X), expected)
    for file in checkpoint.files()[4:]:
        file.unlink()
    assert_same_model(fit_unwarned(begin().set_callbacks(checkpoint), X), expected)


SCRIPT = """
import warnings
import numpy as np
import torch
from skvaeense import (Checkpoint, VAEase, VAEenseTransformer, save)
from skvaeense.nets.networks import (MLP)

warnings.simplefilter("ignore")
torch.set_num_threads(1)
model = VAEase(MLP((16,)), n_init=2, max_iter=40)
vaeense = VAEenseTransformer(6, model=model, random_state=0)
if name == "kept":
    vaeense.set_callbacks(Checkpoint(folder / "kept", interval=0))
save(vaeense.fit(np.load(folder / "X.npy")), folder / f"{name}.safetensors")
"""


def start(folder, name):
    """Start the script in a fork of a process that has imported the slow modules."""
    context = get_context("forkserver")
    # The package alone imports estimators only when they are first used.
    context.set_forkserver_preload(["skvaeense._vaeense", "skvaeense.persistence"])
    process = context.Process(target=exec, args=(SCRIPT, {"folder": folder, "name": name}))
    process.start()
    return process


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that none survives")
def test_a_killed_process_loses_nothing(tmp_path):
    np.save(tmp_path / "X.npy", X)
    unbroken = start(tmp_path, "unbroken")
    n_done, random = 0, np.random.RandomState(0)
    for _ in range(2):
        process = start(tmp_path, "kept")
        while len(newest := sorted(tmp_path.glob("kept/*.safetensors"))[-1:]) == 0 or (
            int(newest[0].stem.rpartition("-")[2]) <= n_done
        ):
            assert process.is_alive()
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        for path in tmp_path.glob("kept/*.safetensors"):
            load(path)
        n_done = int(sorted(tmp_path.glob("kept/*.safetensors"))[-1].stem.rpartition("-")[2])
    last = start(tmp_path, "kept")
    for process in (last, unbroken):
        process.join()
        assert process.exitcode == 0
    assert_same_model(*(load(tmp_path / f"{name}.safetensors") for name in ("kept", "unbroken")))


def test_a_state_goes_to_another_device():
    """A training that was saved on a GPU continues without a GPU, and vice versa."""
    state = {"a": [torch.ones(2), [None, torch.zeros((), dtype=torch.float64)]], "b": 1.5}
    own = {"a": [torch.zeros(2, device="meta"), [0.0, None]], "b": None}
    moved = _trainer.fitted_state(own, state, "state", torch.device("meta"))
    assert moved["a"][0].is_meta
    assert moved["a"][1][1].is_meta
    assert (moved["a"][1][0], moved["b"]) == (None, 1.5)
    assert not state["a"][0].is_meta


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_kept", [1, 3])
def test_so_many_files_are_kept(n_kept, tmp_path):
    _, checkpoint = fit_into(tmp_path / "new" / "folder", SAE, n_kept=n_kept)
    assert len(checkpoint.files()) == n_kept
    numbers = [int(path.stem.rpartition("-")[2]) for path in checkpoint.files()]
    assert numbers == list(range(numbers[-1] - n_kept + 1, numbers[-1] + 1))


def test_nothing_is_written_before_the_interval_but_the_end(tmp_path):
    _, checkpoint = fit_into(tmp_path, SAE, interval=1e6)
    assert len(checkpoint.files()) == 1


def test_every_file_is_an_estimator(tmp_path):
    fitted, checkpoint = fit_into(tmp_path, VAEENSE, n_kept=1000)
    for path in checkpoint.files():
        loaded = load(path)
        assert loaded.transform(X).shape == (200, 6)
        assert not hasattr(loaded, STATE)
    assert_array_equal(loaded.transform(X), fitted.transform(X))


def test_no_file_is_from_within_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(_trainer, "STRIDE", 2)
    fitted, checkpoint = fit_into(tmp_path, SAE, n_kept=1000)
    # One file of each epoch, and one of the end.
    assert len(checkpoint.files()) == fitted.n_iter_ + 1
    first = load(checkpoint.files()[0])
    assert first.n_iter_ == 1
    assert len(first.loss_curve_) > 1


def test_other_fits_do_not_read_them(tmp_path):
    folder = tmp_path / "shared"
    first, checkpoint = fit_into(folder, SAE)
    others = [
        (clone(SAE).set_params(max_iter=8), X),
        (clone(SAE).set_params(penalty=L1(0.3)), X),
        (SAE, X[:150]),
        (SAE, X + 1),
        (SAE, 2 * X),
    ]
    for n_others, (estimator, data) in enumerate(others, 1):
        fitted, _ = fit_into(folder, estimator, data)
        assert_same_model(fitted, fit_unwarned(clone(estimator), data))
        assert len(checkpoint.files()) == 2 * (n_others + 1)
    assert_same_model(fit_into(folder, SAE)[0], first)


@pytest.mark.parametrize("lies", ["in memory", "in files"])
def test_fits_of_the_same_moments_do_not_read_them(lies, tmp_path, monkeypatch):
    """Integers in another order have the same mean and scale, bit for bit."""
    monkeypatch.setattr(_sources, "IN_MEMORY", 0)
    rng = np.random.default_rng(0)
    column = np.repeat([-2.0, -1.0, 1.0, 2.0], 16)
    counts = np.stack([rng.permutation(column) for _ in range(8)], axis=1)
    sae, checkpoint = clone(SAE).set_params(max_iter=2), None
    for i, data in enumerate([counts, counts[::-1], counts[:, ::-1]], 1):
        given = data
        if lies == "in files":
            given = tmp_path / f"{i}.npy"
            np.save(given, np.ascontiguousarray(data))
        fitted, checkpoint = fit_into(tmp_path / "kept", sae, given, n_kept=1, interval=1e6)
        assert_same_model(fitted, fit_unwarned(clone(sae), given))
        assert len(checkpoint.files()) == i


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_damaged_files_are_passed_over(tmp_path):
    fitted, checkpoint = fit_into(tmp_path, SAE)
    newest = checkpoint.files()[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    again = clone(SAE).set_callbacks(checkpoint)
    with pytest.warns(UserWarning, match=f"A checkpoint was skipped: {newest}"):
        again.fit(X)
    assert_same_model(again, fitted)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_cannot_be_written_is_no_end(tmp_path):
    (tmp_path / "file").write_text("")
    sae = clone(SAE).set_callbacks(Checkpoint(tmp_path / "file" / "folder"))
    with pytest.warns(
        UserWarning, match="Training continues, .* could not be written, or an older"
    ):
        sae.fit(X)
    assert_same_model(sae, fit_unwarned(clone(SAE), X))


def test_other_things_in_the_folder_are_let_alone(tmp_path):
    fitted, checkpoint = fit_into(tmp_path, SAE, n_kept=1)
    name = checkpoint.files()[-1].name.rpartition("-")[0]
    shutil.copy(checkpoint.files()[-1], tmp_path / f"{name}-000000009 (1).safetensors")
    (tmp_path / f"{name}-latest.safetensors").write_text("")
    (tmp_path / f"{name}-000000099.safetensors").mkdir()
    (tmp_path / f".{name}-000000098.safetensors.0.tmp").mkdir()
    os.utime(tmp_path / f".{name}-000000098.safetensors.0.tmp", (0, 0))
    before = sorted(os.listdir(tmp_path))
    assert_same_model(fit_into(tmp_path, SAE, n_kept=1)[0], fitted)
    assert sorted(os.listdir(tmp_path)) == before
    checkpoint.files()[-1].unlink()
    assert_same_model(fit_into(tmp_path, SAE, n_kept=1)[0], fitted)
    assert len(checkpoint.files()) == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["open", "unlink"])
def test_files_without_permission_are_no_end(name, tmp_path, monkeypatch):
    fitted, checkpoint = fit_into(tmp_path, SAE, n_kept=2)
    newest = checkpoint.files()[-1]
    real_open = open

    def refuse(path, *args, **options):
        if name == "unlink" or (path == newest and args == ("rb",)):
            raise PermissionError(f"no permission for {path}")
        return real_open(path, *args, **options)

    if name == "open":
        monkeypatch.setattr("builtins.open", refuse)
    else:
        checkpoint.files()[-1].unlink()
        monkeypatch.setattr(Path, "unlink", refuse)
    again = clone(SAE).set_callbacks(Checkpoint(tmp_path, interval=0, n_kept=1))
    with pytest.warns(UserWarning, match=r"(skipped|not be deleted).* no permission for"):
        again.fit(X)
    assert_same_model(again, fitted)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_that_was_saved_is_no_checkpoint(tmp_path):
    fitted, checkpoint = fit_into(tmp_path, SAE)
    newest = checkpoint.files()[-1]
    save(fitted, newest)
    again = clone(SAE).set_callbacks(checkpoint)
    with pytest.warns(UserWarning, match=f"skipped: {newest} does not hold the state of a fit"):
        again.fit(X)
    assert_same_model(again, fitted)


def test_drafts_of_the_dead_are_removed_when_they_are_old(tmp_path):
    _, checkpoint = fit_into(tmp_path, SAE)
    drafts = [
        checkpoint.files()[0].with_name(f".{path.name}.{i}.tmp")
        for i, path in enumerate(checkpoint.files())
    ]
    for draft in drafts:
        draft.write_text("half")
    os.utime(drafts[0], (0, 0))
    fit_into(tmp_path, SAE)
    assert [draft.exists() for draft in drafts] == [False, True]


# --- in other estimators -------------------------------------------------------------------


def test_a_search_goes_on(tmp_path):
    checkpoint = Checkpoint(tmp_path, interval=1e6)
    search = GridSearchCV(clone(SAE).set_callbacks(checkpoint), {"n_components": [4, 8]}, cv=2)
    first = fit_unwarned(search, X)
    assert len(checkpoint.files()) == 5
    times = [path.stat().st_mtime_ns for path in checkpoint.files()]
    again = fit_unwarned(search, X)
    assert_array_equal(again.cv_results_["mean_test_score"], first.cv_results_["mean_test_score"])
    assert [path.stat().st_mtime_ns for path in checkpoint.files()] == times


def test_the_autoencoder_of_a_dimension_estimator_is_kept(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    autoencoder = clone(VAEENSE).set_callbacks(checkpoint)
    estimator = fit_unwarned(IntrinsicDimensionEstimator(autoencoder), X)
    assert_same_model(load(checkpoint.files()[-1]), estimator.autoencoder_)


def test_files_of_several_fits_are_sorted_by_time(tmp_path):
    _, checkpoint = fit_into(tmp_path, SAE)
    by_number = checkpoint.files()
    # Clocks can be set back, so times do not count within a fit.
    os.utime(by_number[0], (9e9, 9e9))
    assert checkpoint.files() == by_number
    os.utime(by_number[0], (1, 1))
    for n_components in range(2, 8):
        fit_into(tmp_path, clone(SAE).set_params(n_components=n_components), interval=1e6)
        assert load(checkpoint.files()[-1]).n_components == n_components
    assert checkpoint.files()[0] == by_number[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(
            ({"interval": interval}, rf"interval must be .*at least 0; got {interval!r}")
            for interval in (-1, "x", None, True, float("nan"))
        ),
        ({"n_kept": 0}, "n_kept must be"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Checkpoint("folder", **settings)
