"""Save and load: estimators to files and back."""

from collections.abc import Iterable
from typing import Any

from sklearn.base import BaseEstimator

from skvaeense.persistence import _files
from skvaeense.persistence._coder import VALUES, Array, Coder, known_classes
from skvaeense.persistence._objects import OBJECTS
from skvaeense.training._session import STATE
from skvaeense.utils._typing import PathName

CODECS = (*VALUES, *OBJECTS)


def save(estimator: BaseEstimator, path: PathName, *, trusted: Iterable[type] = ()) -> None:
    """Write an estimator, fitted or not, into one file.

    The file has the safetensors format. Its tensors are the arrays and weights; parameters and all
    else is one JSON text in its metadata. `load` gives an estimator with the same outputs, to the
    bit. What `partial_fit` needs to go on is kept too. Callbacks are not.

    An existing file is replaced in one step: it is either the old one or the new one, and where
    writing fails nothing else is left in the folder.

    Parameters
    ----------
    estimator : estimator
        An estimator of this package.

    path : str or path-like
        The file. By habit its name ends in ".safetensors".

    trusted : iterable of classes, default=()
        Classes of your own that the estimator holds, such as a network or a penalty that you wrote.
        The modules that these build need not be named. Give the same to `load`.

    Raises
    ------
    TypeError
        If this is no estimator, if it holds an object of a class that is neither of this package
        nor trusted, or if a network of your own cannot be built without memory for its weights.

    ValueError
        If a parameter is out of its range.

    OSError
        If the file cannot be written.

    See Also
    --------
    load : The way back.
    skvaeense.export.to_onnx : For other programs.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skvaeense import VAEenseTransformer, load, save
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "vaeense.safetensors"
    ...     save(VAEenseTransformer(20, n_init=3), path)
    ...     load(path)
    VAEenseTransformer(n_components=20, n_init=3)
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"estimator must be an estimator, got {estimator!r}.")
    _files.write(path, *encoded(estimator, trusted))


def load(path: PathName, *, device: str | None = None, trusted: Iterable[type] = ()) -> Any:
    """Read an estimator from a file that `save` or a `Checkpoint` has written.

    Nothing in the file is run: it can only name classes of this package, and those that are
    trusted. So files from others may be loaded, other than pickles.

    Parameters
    ----------
    path : str or path-like
        The file.

    device : str or None, default=None
        Where the estimator is to compute: its parameter `device`, and that of the estimators in
        it. None keeps what it was. A file of an estimator that was trained on a GPU can be loaded
        where there is none.

    trusted : iterable of classes, default=()
        Classes of your own that the file may name. They are rebuilt as any other, and estimators
        among them by their `__init__`.

    Returns
    -------
    estimator
        The estimator. Parameters that are newer than the file have their defaults.

    Raises
    ------
    ValueError
        If the file is damaged, is of a newer version of the format, was not written by `save`,
        or names a class, a parameter or an attribute that cannot be.

    OSError
        If there is no such file, or it cannot be read.

    See Also
    --------
    save : Writes such files.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder, load, save
    >>> from skvaeense.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=5, random_state=0).fit(X)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "sae.safetensors"
    ...     save(sae, path)
    ...     loaded = load(path, device="cpu")
    >>> bool((loaded.transform(X) == sae.transform(X)).all())
    True
    """
    estimator = read_estimator(path, trusted, device)
    # A checkpoint is the estimator that it would be if training had ended there.
    vars(estimator).pop(STATE, None)
    return estimator


def encoded(value: Any, trusted: Iterable[type] = ()) -> tuple[Any, dict[str, Array]]:
    """Return the JSON node and the arrays of an estimator, or of another value."""
    coder = Coder(CODECS, known_classes(trusted), {})
    try:
        return coder.encode(value, ""), coder.arrays
    except RecursionError:
        raise TypeError("The estimator holds itself, or is nested too deeply.") from None


def read_estimator(
    path: PathName, trusted: Iterable[type] = (), device: str | None = None
) -> BaseEstimator:
    """Return the estimator that a file holds; that of a checkpoint with its training state."""
    classes = known_classes(trusted)
    node, arrays = _files.read(path)
    with _files.explained(path):
        estimator = Coder(CODECS, classes, arrays, device).decode(node, "")
        if not isinstance(estimator, BaseEstimator):
            raise ValueError("it holds no estimator")
    return estimator
