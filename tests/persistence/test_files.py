"""After any failure a file is either the old one or the new one."""

import errno
import os
import stat
from functools import partial

import pytest

from skvaeense import SparseAutoencoder, load, save


@pytest.fixture
def path(tmp_path):
    """Return a file in a separate folder."""
    path = tmp_path / "sae.safetensors"
    save(SparseAutoencoder(3), path)
    return path


def test_overwrites(path):
    save(SparseAutoencoder(4), path)
    assert load(path).n_components == 4
    assert os.listdir(path.parent) == [path.name]


def test_path_may_be_a_string(path):
    save(SparseAutoencoder(5), str(path))
    assert load(str(path)).n_components == 5


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), PermissionError("no"), KeyboardInterrupt()]
)
def test_failure_leaves_the_old_file(error, path, monkeypatch, subtests):
    def fail(*args):
        raise error

    for step in ("write", "fsync", "replace"):
        with subtests.test(step=step):
            with monkeypatch.context() as patch:
                if step == "write":
                    patch.setattr("builtins.open", _open_that_fails(error))
                else:
                    patch.setattr(os, step, fail)
                with pytest.raises(type(error)):
                    save(SparseAutoencoder(4), path)
            assert os.listdir(path.parent) == [path.name]
            assert load(path).n_components == 3


def _open_that_fails(error):
    """Return a replacement of `open` whose files accept the first bytes, and then fail."""
    real_open = open

    def opened(name, mode="r"):
        file = real_open(name, mode)

        class Failing:
            def __enter__(self):
                return self

            def __exit__(self, *args):
                file.close()

            def write(self, data):
                file.write(data[:10])
                raise error

        return Failing() if "x" in mode else file

    return opened


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        save(SparseAutoencoder(), tmp_path / "nowhere" / "sae.safetensors")
    assert os.listdir(tmp_path) == []


def test_path_is_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="name of a file"):
        save(SparseAutoencoder(), tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("function", [load, partial(save, SparseAutoencoder())])
def test_path_is_a_pipe(function, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/null"):
        with pytest.raises(OSError, match=f"{path} is a device, a pipe or a socket; give the name"):
            function(path)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_permissions_stay(path, subtests):
    for mode in (0o600, 0o644, 0o660, 0o400):
        with subtests.test(mode=mode):
            path.chmod(mode)
            save(SparseAutoencoder(4), path)
            assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("letter", ["a", "\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_names_may_be_as_long_as_they_can(letter, tmp_path):
    path = tmp_path / (letter * (255 // len(letter.encode())))
    save(SparseAutoencoder(4), path)
    assert load(path).n_components == 4
    with pytest.raises(OSError, match="name too long"):
        save(SparseAutoencoder(4), tmp_path / (letter * 256))
    assert os.listdir(tmp_path) == [path.name]


def test_link_stays(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    save(SparseAutoencoder(9), link)
    assert link.is_symlink()
    assert load(path).n_components == 9


def test_others_may_read_as_the_umask_says(tmp_path):
    path, plain = tmp_path / "sae.safetensors", tmp_path / "plain"
    save(SparseAutoencoder(), path)
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_equal_estimators_give_equal_files(path, tmp_path):
    save(SparseAutoencoder(3), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
