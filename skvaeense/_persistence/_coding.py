"""Estimators to files and back, with what only their training needs."""

from sklearn.base import BaseEstimator

from skvaeense._persistence import _files
from skvaeense._persistence._graph import Reader, Writer
from skvaeense._persistence._objects import OBJECTS
from skvaeense._persistence._registry import Registry
from skvaeense._persistence._values import VALUES

CODECS = (*VALUES, *OBJECTS)


def encoded(value, trusted=()):
    """Return the node and the arrays of an estimator, or of another value.

    Parameters
    ----------
    value : estimator or other value
        What is to be described.

    trusted : iterable of classes, default=()
        The user's own.

    Returns
    -------
    node : JSON value
        What describes it.

    tensors : dict of str to ndarray
        Its arrays.
    """
    writer = Writer(CODECS, Registry(trusted))
    return writer.encode(value, ""), writer.tensors


def write_estimator(estimator, path, trusted=()):
    """Write a file in one step.

    Parameters
    ----------
    estimator : estimator
        What is written.

    path : str or path-like
        The file.

    trusted : iterable of classes, default=()
        The user's own.
    """
    _files.write(path, *encoded(estimator, trusted))


def read_estimator(path, trusted=(), device=None):
    """Return the estimator that a file holds.

    Parameters
    ----------
    path : str or path-like
        The file.

    trusted : iterable of classes, default=()
        The user's own.

    device : str or None, default=None
        The parameter `device` of all estimators in it; None keeps what it was.

    Returns
    -------
    estimator
        If it is a checkpoint, it has the progress of its training.
    """
    registry = Registry(trusted)
    node, tensors = _files.read(path)
    reader = Reader(CODECS, registry, tensors, device)
    with _files.explained(path):
        estimator = reader.decode(node, "")
        if not isinstance(estimator, BaseEstimator):
            raise ValueError("it holds no estimator")
        reader.check_all_used()
    return estimator
