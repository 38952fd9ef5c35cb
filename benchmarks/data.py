"""Samples that several benchmarks share: subspaces, handwritten digits, activations of a model."""

import os
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml

from skvaeense.datasets import make_linear_subspaces

# Number of held-out samples of known dimension, the first ones of each draw.
HELD_OUT = 2500


def subspaces(dims, n_features, n_samples, noise=0.0):
    """Return a function of a seed that draws `n_samples` and `HELD_OUT` samples of subspaces."""
    return lambda seed: make_linear_subspaces(
        n_samples + HELD_OUT, dims=dims, n_features=n_features, noise=noise, random_state=seed
    )


def add_data_option(parser):
    """Add ``--data``, the folder of mnist.npz and lm_activations.npz."""
    parser.add_argument(
        "--data",
        default=os.environ.get("SKVAEENSE_DATA"),
        help="folder of mnist.npz and lm_activations.npz, by default SKVAEENSE_DATA",
    )


def read_mnist(folder):
    """Return training and test images as rows of pixels in [0, 1], and their labels.

    The images are read from mnist.npz in a folder, or from OpenML if the folder is None.
    """
    if folder is None:
        X, y = fetch_openml("mnist_784", as_frame=False, return_X_y=True)
        X_train, X_test, y_train, y_test = X[:60_000], X[60_000:], y[:60_000], y[60_000:]
    else:
        with np.load(Path(folder) / "mnist.npz") as file:
            X_train, y_train = file["X_train"], file["y_train"]
            X_test, y_test = file["X_test"], file["y_test"]
    X_train, X_test = (X.reshape(len(X), -1).astype(np.float32) / 255 for X in (X_train, X_test))
    return X_train, y_train.astype(int), X_test, y_test.astype(int)


def read_activations(folder):
    """Return the training and test rows of lm_activations.npz; exit if the folder is None."""
    if folder is None:
        raise SystemExit(
            "This needs activations of a language model: make them with "
            "`python -m benchmarks lm_activations`, and name their folder by --data or "
            "SKVAEENSE_DATA."
        )
    with np.load(Path(folder) / "lm_activations.npz") as file:
        return file["X_train"].astype(np.float32), file["X_test"].astype(np.float32)
