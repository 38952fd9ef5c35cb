"""Saving of estimators to files, and loading."""

from collections.abc import Iterable
from typing import Any

from sklearn.base import BaseEstimator

from skvaeense.persistence import _files
from skvaeense.persistence._coder import Array, Coder, known_classes
from skvaeense.training._trainer import STATE
from skvaeense.utils._typing import PathName


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
    _files.write(path, *encoded(estimator, trusted))


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
        return coder.encode(value, ""), coder.arrays
    except RecursionError:
        raise TypeError("The estimator contains itself, or is nested too deeply.") from None


def read_estimator(
    path: PathName, trusted: Iterable[type] = (), device: str | None = None
) -> BaseEstimator:
    """Return the estimator in a file, with its training state if it is a checkpoint."""
    classes = known_classes(trusted)
    node, arrays = _files.read(path)
    with _files.explained(path):
        estimator = Coder(classes, arrays, device).decode(node, "")
        if not isinstance(estimator, BaseEstimator):
            raise ValueError("it does not hold an estimator")
    return estimator
