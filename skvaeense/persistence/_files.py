"""Files of one text and some arrays in safetensors format, written completely or not at all."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

import skvaeense
from skvaeense.persistence._coder import Array
from skvaeense.utils._files import check_regular, whole_file
from skvaeense.utils._typing import PathName

# Raise this number whenever older versions cannot read new files.
FORMAT_VERSION = 3
# Name of the text, the only entry of the metadata, so that equal estimators give equal files.
TEXT = "skvaeense"
# Ending of the text, with the checksum of the text before it and of the arrays.
ENDING = ', "sha256": "'


def write(path: PathName, node: Any, arrays: dict[str, Array]) -> None:
    """Write a file in one step.

    Parameters
    ----------
    path : str or path-like
        The file.

    node : JSON value
        Description of the estimator.

    arrays : dict of str to ndarray
        C-contiguous arrays.
    """
    description = {
        "format_version": FORMAT_VERSION,
        "library_version": skvaeense.__version__,
        "estimator": node,
    }
    text = json.dumps(description, allow_nan=False).removesuffix("}")
    text += f'{ENDING}{checksum(text, arrays)}"}}'
    data = to_bytes(arrays, {TEXT: text})
    with whole_file(path) as file:
        file.write(data)


def read(path: PathName) -> tuple[Any, dict[str, Array]]:
    """Return the node and the arrays of a file.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    node : JSON value
        Description of the estimator.

    arrays : dict of str to ndarray
        The arrays.
    """
    path = Path(path)
    check_regular(path)
    # Errors of the system are raised here as OSError; all later errors are about the content.
    with open(path, "rb"):
        pass
    with explained(path):
        try:
            with safe_open(path, framework="np") as file:
                text = (file.metadata() or {}).get(TEXT)
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError) as error:
            raise ValueError(
                f"it is not a safetensors file, or it is damaged or truncated ({error})"
            ) from error
        if text is None:
            raise ValueError("it is a safetensors file, but was not written by skvaeense.save")
        return checked(json.loads(text), checksum(text.rpartition(ENDING)[0], arrays)), arrays


def checked(description: dict[str, Any], digest: str) -> Any:
    """Return the node in a description, if its version can be read and its checksum is right."""
    version = description["format_version"]
    if version != FORMAT_VERSION:
        raise ValueError(
            f"it has version {version!r} of the format, written by skvaeense "
            f"{description.get('library_version')!r}, but this skvaeense, {skvaeense.__version__}, "
            f"reads version {FORMAT_VERSION}. Install the skvaeense that wrote it"
        )
    if description.get("sha256") != digest:
        raise ValueError("it is damaged: its content does not match its checksum")
    return description["estimator"]


@contextmanager
def explained(path: PathName) -> Iterator[None]:
    """Raise errors about the content of a file as a ValueError that names the file."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{path} cannot be loaded: it is nested too deeply.") from None
    except Exception as error:
        # The message of torch, without the place in its source.
        message = str(error).partition("\nException raised from")[0]
        raise ValueError(f"{path} cannot be loaded: {message}.") from error


def checksum(text: str, arrays: dict[str, Array]) -> str:
    """Return the SHA-256 of the text and the arrays."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
