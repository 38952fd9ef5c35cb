"""Files and folders that are written whole or not at all, and packages that extras install."""

import importlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from skvaeense.utils._typing import PathName

# Suffix of files that are being written.
DRAFT_SUFFIX = ".tmp"


@contextmanager
def whole_file(path: PathName) -> Iterator[BinaryIO]:
    """Yield a file to write bytes to, which moves to its path at the end if nothing has failed.

    Until then an existing file does not change. A link stays, and its target is replaced by a file
    that the same users can read.
    """
    path = Path(os.path.realpath(path))
    check_regular(path)
    with _draft_of(path) as draft, open(draft, "xb") as file:
        if path.exists():
            # Permissions are set before there is anything to read.
            shutil.copymode(path, draft)
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_folder(path: PathName) -> Iterator[Path]:
    """Yield a folder to write to, which moves to its path at the end if nothing has failed."""
    path = Path(path).absolute()
    if path.exists():
        raise FileExistsError(f"{path} exists already; give the name of a new folder.")
    with _draft_of(path) as draft:
        draft.mkdir()
        yield draft


def check_regular(path: Path) -> None:
    """Raise an error if a path exists and is not a file, such as a folder or a device."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a device, a pipe or a socket; give the name of a file.")


@contextmanager
def _draft_of(path: Path, *, most_bytes: int = 255) -> Iterator[Path]:
    """Yield an unused path beside a given path, and move what is there to the given path.

    The names of files have at most so many bytes.
    """
    end = f".{uuid4().hex}{DRAFT_SUFFIX}"
    begin = os.fsencode(f".{path.name}")[: most_bytes - len(end)].decode(errors="ignore")
    draft = path.with_name(begin + end)
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
        raise


def optional_import(module: str, caller: str, extra: str) -> Any:
    """Return a module, or raise an error that names the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{caller} needs {module.partition('.')[0]}, which is not installed: "
            f"pip install skvaeense[{extra}]"
        ) from error
