"""Estimators in files: saved, loaded, and kept while they are trained.

Files hold one text and some arrays in safetensors format, and are written completely or not at all.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes
from sklearn.base import BaseEstimator, clone

import skvaeense
from skvaeense.persistence._coder import Array, Coder, known_classes
from skvaeense.training._trainer import STATE
from skvaeense.utils._files import DRAFT_SUFFIX, check_regular, whole_file
from skvaeense.utils._typing import PathName
from skvaeense.utils._validation import NON_NEGATIVE, check_integer

# Raise this number whenever older versions cannot read new files.
FORMAT_VERSION = 1
# Name of the text, the only entry of the metadata, so that equal estimators give equal files.
TEXT = "skvaeense"
# Ending of the text, with the checksum of the text before it and of the arrays.
ENDING = ', "sha256": "'


def save(estimator: BaseEstimator, path: PathName, *, trusted: Iterable[type] = ()) -> None:
    """Write an estimator, fitted or not, into one file.

    The file has the safetensors format. Its tensors are the arrays and weights; parameters and
    everything else are one JSON text in its metadata. `load` returns an estimator with exactly the
    same outputs. The state of `partial_fit` is saved, and callbacks are not.

    An existing file is replaced in one step: it is either the old or the new file. If writing
    fails, nothing else is left in the folder.

    Parameters
    ----------
    estimator : estimator
        An estimator of this package.

    path : str or path-like
        The file. Its name usually ends in ".safetensors".

    trusted : iterable of classes, default=()
        Classes of your own that the estimator holds, such as a network or a penalty that you wrote.
        Modules that these classes build need not be listed. Give the same classes to `load`.

    Raises
    ------
    TypeError
        If `estimator` is not an estimator, if it holds an object of a class that is neither of this
        package nor trusted, or if a network of your own cannot be built without memory for its
        weights.

    ValueError
        If a parameter is out of its range.

    OSError
        If the file cannot be written.

    See Also
    --------
    load : Read an estimator from a file.
    skvaeense.language.to_saelens : Export to other programs.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skvaeense import VAEenseTransformer, load, save
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "vaeense.safetensors"
    ...     save(VAEenseTransformer(20, target_l0=3), path)
    ...     load(path)
    VAEenseTransformer(n_components=20, target_l0=3)
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"estimator must be a scikit-learn estimator, got {estimator!r}.")
    write(path, *encoded(estimator, trusted))


def load(path: PathName, *, device: str | None = None, trusted: Iterable[type] = ()) -> Any:
    """Read an estimator from a file that was written by `save` or a `Checkpoint`.

    No code in the file is run: the file can only name classes of this package and trusted classes.
    So, unlike pickles, files from other people are safe to load.

    Parameters
    ----------
    path : str or path-like
        The file.

    device : str or None, default=None
        Value of the parameter `device` of the estimator, and of the estimators in it. None keeps
        the saved device. An estimator that was trained on a GPU can be loaded on a machine
        without a GPU.

    trusted : iterable of classes, default=()
        Classes of your own that the file can name. Estimators of these classes are rebuilt by their
        `__init__`, and most other objects from their attributes.

    Returns
    -------
    estimator
        The estimator. Parameters that are newer than the file have their defaults.

    Raises
    ------
    ValueError
        If the file is damaged, is of another version of the format, was not written by `save`,
        or names a class, a parameter or an attribute that is not allowed.

    OSError
        If there is no such file, or it cannot be read.

    See Also
    --------
    save : Write such files.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder, load, save
    >>> from skvaeense.nets.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=10, random_state=0).fit(X)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "sae.safetensors"
    ...     save(sae, path)
    ...     loaded = load(path, device="cpu")
    >>> bool((loaded.transform(X) == sae.transform(X)).all())
    True
    """
    estimator = read_estimator(path, trusted, device)
    # A checkpoint loads as the estimator that results if training ends at its state.
    vars(estimator).pop(STATE, None)
    return estimator


def encoded(value: Any, trusted: Iterable[type] = ()) -> tuple[Any, dict[str, Array]]:
    """Return the JSON node and the arrays of an estimator, or of another value."""
    coder = Coder(known_classes(trusted), {})
    try:
        return coder.encode(value), coder.arrays
    except RecursionError:
        raise TypeError("The estimator contains itself, or is nested too deeply.") from None


class Checkpoint:
    """Keep the state of a fit in a folder, so that the fit can be interrupted at any time.

    Set it as a callback: ``estimator.set_callbacks(Checkpoint("folder"))``. The state of the
    training is then written to the folder from time to time. If the process ends, even by
    ``kill -9``, run the same script again: the same call of `fit` on the same data continues from
    the last state, which is that of the end of an epoch, and gives the result that it would have
    given without the interruption. A completed fit is read, and not repeated.

    It keeps training by gradients: of a `SparseAutoencoder`, and of a `VAEenseTransformer` with a
    `VAEase`. All other fits begin anew.

    Parameters
    ----------
    folder : str or path-like
        Folder of the files, which is created if it does not exist. Any number of estimators and
        searches can share it: names of files hold a digest of the parameters, the samples and the
        version of this package. The digest takes one pass over samples that are not in memory.

    interval : float, default=60.0
        Least time between two states, in seconds. In between no file is touched.

    n_kept : int, default=2
        Number of the newest files of a fit that are kept. Older files are deleted.

    trusted : iterable of classes, default=()
        Classes of your own that the estimator holds, as for `save`.

    Raises
    ------
    ValueError
        If `interval` is not a number, or negative, or `n_kept` less than 1.

    Warns
    -----
    UserWarning
        If a file is damaged or cannot be read; the previous file is then used. If a state cannot be
        written, as on a full disk; training then goes on, and existing files stay.

    See Also
    --------
    load : Read a file as the estimator that results if training ends at its state.

    Notes
    -----
    A state is written to a new file, which gets its name once it is completely on the disk: no file
    ever holds half a state. Callbacks that count epochs, such as a progress bar, start again when a
    fit continues. A fit with ``random_state=None`` also continues with the random numbers that it
    started with; use another folder for another draw.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import Checkpoint, SparseAutoencoder, load
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, max_iter=10, random_state=0)
    >>> with TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(folder, interval=0)
    ...     codes = sae.set_callbacks(checkpoint).fit_transform(X)
    ...     newest = load(checkpoint.files()[-1])
    >>> bool((newest.transform(X) == codes).all())
    True
    """

    def __init__(
        self,
        folder: PathName,
        *,
        interval: float = 60.0,
        n_kept: int = 2,
        trusted: Iterable[type] = (),
    ) -> None:
        if not NON_NEGATIVE.is_satisfied_by(interval):
            raise ValueError(f"interval must be a number of seconds, at least 0; got {interval!r}.")
        self.folder = folder
        self.interval = interval
        self.n_kept = check_integer(n_kept, "n_kept", minimum=1)
        self.trusted = tuple(trusted)

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing; scikit-learn calls this before a fit, which calls `keep` itself.

        Parameters
        ----------
        estimator : estimator
            The estimator that is fitted.

        context : sklearn.callback.CallbackContext
            The context of the task.
        """
        return

    # The other hooks of scikit-learn's protocol do nothing either.
    teardown = on_fit_task_begin = on_fit_task_end = setup

    def files(self, name: str = "*") -> list[Path]:
        """Return the files of one fit, or of all fits, from the oldest to the newest.

        Parameters
        ----------
        name : str, default="*"
            Beginning of the names of the files.

        Returns
        -------
        list of Path
            Files that `load` can read.
        """
        # Other files, such as a copy under another name, are left out.
        found = Path(self.folder).glob(f"{name}-{'[0-9]' * 9}.safetensors")
        files = sorted(filter(os.path.isfile, found))
        if len({path.name.rpartition("-")[0] for path in files}) > 1:
            files.sort(key=os.path.getmtime)
        # Of one fit by number, which goes on when the fit continues, since clocks can be set back.
        return files

    def name(self, estimator: BaseEstimator, facts: list[Any]) -> str:
        """Return a name for a fit: the class, and a digest of all that the fit depends on.

        Parameters
        ----------
        estimator : estimator
            The estimator before its fit.

        facts : list
            Values that the fit depends on besides the parameters.

        Returns
        -------
        str
            Beginning of file names.
        """
        quiet = clone(estimator).set_params(verbose=0)
        node, tensors = encoded([quiet, *facts], self.trusted)
        digest = checksum(json.dumps([skvaeense.__version__, node]), tensors)
        return f"{type(estimator).__name__}-{digest[:16]}"

    def latest(self, name: str) -> Any:
        """Return the estimator in the newest undamaged file of a fit.

        Parameters
        ----------
        name : str
            The name of the fit.

        Returns
        -------
        estimator or None
            None if there is no such file.
        """
        files = self.files(name)
        # An unfinished file that is older than a finished one was left behind by a killed process.
        for path in Path(self.folder).glob(f".{name}-*{DRAFT_SUFFIX}") if files else ():
            with suppress(OSError):
                if os.stat(path).st_mtime < os.stat(files[-1]).st_mtime:
                    path.unlink()
        for path in reversed(files):
            try:
                estimator = read_estimator(path, self.trusted)
                if STATE not in vars(estimator):
                    raise ValueError(f"{path} does not hold the state of a fit")
                return estimator
            except (ValueError, OSError) as error:
                warnings.warn(f"A checkpoint was skipped: {error}", stacklevel=2)
        return None

    def keep(self, name: str, estimator: Any) -> None:
        """Write a new file of a fit, and delete the oldest ones.

        Parameters
        ----------
        name : str
            The name of the fit.

        estimator : estimator
            The estimator as it would be if training ended here, with the state of its training.
        """
        files = self.files(name)
        number = 1 + int(files[-1].stem.rpartition("-")[2]) if files else 1
        path = Path(self.folder) / f"{name}-{number:09d}.safetensors"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, *encoded(estimator, self.trusted))
            for old in files[: max(0, len(files) + 1 - self.n_kept)]:
                old.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(
                "Training continues, but a checkpoint could not be written, or an older one could "
                f"not be deleted: {error}",
                stacklevel=2,
            )


# --- the format -------------------------------------------------------------------------------


def write(path: PathName, node: Any, arrays: dict[str, Array]) -> None:
    """Write the node and the arrays of an estimator into a file in one step."""
    description = {
        "format_version": FORMAT_VERSION,
        "library_version": skvaeense.__version__,
        "estimator": node,
    }
    text = json.dumps(description).removesuffix("}")
    text += f'{ENDING}{checksum(text, arrays)}"}}'
    data = to_bytes(arrays, {TEXT: text})
    with whole_file(path) as file:
        file.write(data)


def read_estimator(
    path: PathName, trusted: Iterable[type], device: str | None = None
) -> BaseEstimator:
    """Return the estimator in a file, with its training state if it is a checkpoint.

    All errors about the content of the file are a ValueError that names the file.
    """
    classes = known_classes(trusted)
    check_regular(Path(path))
    # Errors of the system are raised here as OSError; all later errors are about the content.
    with open(path, "rb"):
        pass
    try:
        node, arrays = read(path)
        estimator = Coder(classes, arrays, device).decode(node)
        if not isinstance(estimator, BaseEstimator):
            raise ValueError("it does not hold an estimator")
        return estimator
    except RecursionError:
        raise ValueError(f"{path} cannot be loaded: it is nested too deeply.") from None
    except Exception as error:
        # The message of torch, without the place in its source.
        message = str(error).partition("\nException raised from")[0]
        raise ValueError(f"{path} cannot be loaded: {message}.") from error


def read(path: PathName) -> tuple[Any, dict[str, Array]]:
    """Return the node and the arrays of an estimator, as they were written."""
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
    description = json.loads(text)
    version = description["format_version"]
    if version != FORMAT_VERSION:
        raise ValueError(
            f"it has version {version!r} of the format, but skvaeense {skvaeense.__version__} "
            f"reads version {FORMAT_VERSION}. Install the skvaeense that wrote it, "
            f"{description.get('library_version')!r}"
        )
    if description.get("sha256") != checksum(text.rpartition(ENDING)[0], arrays):
        raise ValueError("it is damaged: its content does not match its checksum")
    return description["estimator"], arrays


def checksum(text: str, arrays: dict[str, Array]) -> str:
    """Return the SHA-256 of the text and the arrays."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
