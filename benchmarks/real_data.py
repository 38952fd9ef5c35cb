"""Real data of several benchmarks: handwritten digits, and activations of a language model."""

from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml


def read_mnist(folder):
    """Return training and test images as rows of pixels from 0 to 255, and their labels.

    They are in mnist.npz of a folder; without one OpenML is asked.
    """
    if folder is None:
        X, y = fetch_openml("mnist_784", as_frame=False, return_X_y=True)
        X_train, X_test, y_train, y_test = X[:60_000], X[60_000:], y[:60_000], y[60_000:]
    else:
        with np.load(Path(folder) / "mnist.npz") as file:
            X_train, y_train = file["X_train"], file["y_train"]
            X_test, y_test = file["X_test"], file["y_test"]
    X_train, X_test = (X.reshape(len(X), -1).astype(np.float32) for X in (X_train, X_test))
    return X_train, y_train.astype(int), X_test, y_test.astype(int)


def read_activations(folder):
    """Return the training and test rows of lm_activations.npz in a folder."""
    with np.load(Path(folder) / "lm_activations.npz") as file:
        return file["X_train"].astype(np.float32), file["X_test"].astype(np.float32)
