"""Files: one text and some arrays in safetensors format, written whole or not at all."""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

import skvaeense
from skvaeense.utils._files import whole_file

# To be raised whenever older versions cannot read what is written.
FORMAT_VERSION = 1
# Name of the text in the metadata. There is no other, so that equal estimators give equal files.
TEXT = "skvaeense"
# How the text ends: with the checksum of all before, and of the arrays.
ENDING = ', "sha256": "'


def write(path, node, tensors):
    """Write a file in one step.

    Parameters
    ----------
    path : str or path-like
        The file.

    node : JSON value
        What describes the estimator.

    tensors : dict of str to ndarray
        C-contiguous arrays.
    """
    description = {
        "format_version": FORMAT_VERSION,
        "library_version": skvaeense.__version__,
        "estimator": node,
    }
    text = json.dumps(description, allow_nan=False).removesuffix("}")
    text += f'{ENDING}{checksum(text, tensors)}"}}'
    data = to_bytes(tensors, {TEXT: text})
    with whole_file(path) as file:
        file.write(data)


def read(path):
    """Return the node and the arrays of a file.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    node : JSON value
        What describes the estimator.

    tensors : dict of str to ndarray
        The arrays.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file that save wrote.")
    # What the system has to say comes as OSError; what follows is about the content.
    with open(path, "rb"):
        pass
    with explained(path):
        try:
            with safe_open(path, framework="np") as file:
                text = _text(file.metadata())
                description = _parse(text)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError) as error:
            raise ValueError(
                f"it is no safetensors file, or a damaged or truncated one ({error})"
            ) from error
        if description.get("sha256") != checksum(text.rpartition(ENDING)[0], tensors):
            raise ValueError("it is damaged: its content does not match its checksum")
    return description["estimator"], tensors


@contextmanager
def explained(path):
    """Name the file in what is wrong with its content, as a ValueError."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{path} cannot be loaded: it is nested too deeply.") from None
    except Exception as error:
        raise ValueError(f"{path} cannot be loaded: {error}.") from error


def checksum(text, tensors):
    """Return the SHA-256 of the text and the arrays."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _text(metadata):
    """Return what the metadata say of an estimator."""
    if TEXT not in (metadata or {}):
        raise ValueError("it is a safetensors file, but skvaeense.save has not written it")
    return metadata[TEXT]


def _parse(text):
    """Return the description of an estimator that is in the text."""
    description = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(description, dict) or type(description.get("format_version")) is not int:
        raise ValueError("its metadata do not say of which version they are")
    version = description["format_version"]
    if not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"it has version {version} of the format, written by skvaeense "
            f"{description.get('library_version')!r}; skvaeense {skvaeense.__version__} reads up "
            f"to version {FORMAT_VERSION}. Install a newer skvaeense"
        )
    if "estimator" not in description:
        raise ValueError("its metadata describe no estimator")
    return description


def _refuse_constant(name):
    raise ValueError(f"its metadata hold {name}, which is not JSON")
