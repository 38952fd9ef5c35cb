"""Files and folders that are written whole or not at all."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from skvaeense.utils._typing import PathName

# How the names of files end that are being written, and how many bytes names of files have at most.
DRAFT_SUFFIX, MOST_BYTES = ".tmp", 255


@contextmanager
def whole_file(path: PathName) -> Iterator[BinaryIO]:
    """Yield a file to write bytes to, which takes its place at the end if nothing has failed.

    Until then an existing file is as it was. A link stays, and what it points to is replaced, by a
    file that the same users may read.
    """
    path = Path(os.path.realpath(path))
    check_regular(path)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    draft = _draft_of(path)
    try:
        with open(draft, "xb") as file:
            if mode is not None:
                # Before there is anything to read.
                os.chmod(draft, mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: PathName) -> Iterator[Path]:
    """Yield a folder to write files to, which takes its place at the end if nothing has failed."""
    path = Path(path).absolute()
    if path.exists():
        raise FileExistsError(f"{path} exists already; give the name of a new folder.")
    draft = _draft_of(path)
    draft.mkdir()
    try:
        yield draft
        os.rename(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def check_regular(path: Path) -> None:
    """Refuse a path of what is no file, as a folder or a device, if there is anything."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a device, a pipe or a socket; give the name of a file.")


def _draft_of(path: Path) -> Path:
    """Return a name beside a path, on the same disk, that nothing has."""
    end = f".{uuid4().hex}{DRAFT_SUFFIX}"
    begin = os.fsencode(f".{path.name}")[: MOST_BYTES - len(end)].decode(errors="ignore")
    return path.with_name(begin + end)
