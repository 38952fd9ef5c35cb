"""Files and folders that are written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from skvaeense.utils._typing import PathName

# How the names of files end that are being written.
DRAFT_SUFFIX = ".tmp"


@contextmanager
def whole_file(path: PathName) -> Iterator[BinaryIO]:
    """Yield a file to write bytes to, which takes its place at the end if nothing has failed.

    Until then an existing file is as it was. A link stays, and what it points to is replaced.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file in it.")
    draft = _draft_of(path)
    try:
        with open(draft, "xb") as file:
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


def _draft_of(path: Path) -> Path:
    """Return a name beside a path, on the same disk, that nothing has."""
    return path.with_name(f".{path.name}.{uuid4().hex}{DRAFT_SUFFIX}")
