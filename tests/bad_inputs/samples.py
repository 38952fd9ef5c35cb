"""Samples that cannot be fitted, and methods that are called before fit."""

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError

from bad_inputs.rows import (
    ASK,
    AUTOENCODERS,
    BACK,
    DEEP,
    DENSE,
    EVERY,
    FLAT,
    INFINITY,
    INTRINSIC,
    ITERATOR,
    NAMED,
    NAN,
    SCALE,
    SUFFIX,
    TOO_FEW,
    TRAINED,
    VAEENSE,
    BadInput,
    Loader,
    X,
    file,
    folder,
    to_fit,
    with_entry,
)

SAMPLES = [
    *(
        to_fit(given, call, NAN, TRAINED)
        for given, call in [
            ("an entry is NaN", lambda fit: fit(with_entry(np.nan))),
            ("NaN in single precision", lambda fit: fit(with_entry(np.nan, "f4"))),
            ("NaN in a tensor", lambda fit: fit(torch.tensor(with_entry(np.nan)))),
            ("None in an array of objects", lambda fit: fit(with_entry(None, "O"))),
            ("pandas.NA", lambda fit: fit(NAMED.where(X > 0, pd.NA))),
        ]
    ),
    to_fit("infinity", lambda fit: fit(with_entry(np.inf)), INFINITY),
    to_fit("minus infinity", lambda fit: fit(with_entry(-np.inf, "f4")), INFINITY),
    to_fit("no samples", lambda fit: fit(X[:0]), TOO_FEW.format(0, "(0, 4)", 2)),
    to_fit("one sample", lambda fit: fit(X[:1]), TOO_FEW.format(1, "(1, 4)", 2)),
    to_fit(
        "no features",
        lambda fit: fit(X[:, :0]),
        "Found array with 0 feature(s) (shape=(12, 0)) while a minimum of 1 is required by ….",
    ),
    to_fit("one dimension", lambda fit: fit(X[0]), FLAT),
    to_fit("an empty list", lambda fit: fit([]), FLAT),
    to_fit("three dimensions", lambda fit: fit(X[None]), DEEP),
    to_fit(
        "a number",
        lambda fit: fit(3.0),
        "Expected 2D array, got scalar array instead:…Reshape your data…",
    ),
    to_fit(
        "None",
        lambda fit: fit(None),
        "Expected 2D array, got scalar array instead:…Reshape your data…",
    ),
    to_fit(
        "lists of different lengths",
        lambda fit: fit([[1.0, 2.0], [3.0]]),
        "setting an array element with a sequence.…inhomogeneous…",
    ),
    to_fit(
        "strings",
        lambda fit: fit(np.array([["a", "b"], ["c", "d"]])),
        "could not convert string to float: …",
    ),
    to_fit(
        "other objects",
        lambda fit: fit(np.array([[{}, 1.0], [2.0, 3.0]], dtype=object)),
        "float() argument must be a string or a real number, not 'dict'",
        error=TypeError,
    ),
    to_fit("complex numbers", lambda fit: fit(X + 1j), "Complex data not supported…"),
    to_fit(
        "a sparse array", lambda fit: fit(sparse.csr_array(X)), DENSE, INTRINSIC, error=TypeError
    ),
    to_fit(
        "a sparse array with NaN",
        lambda fit: fit(sparse.csr_array(np.where(X > 0, X, np.nan))),
        "Input X contains NaN.…",
        AUTOENCODERS,
    ),
    to_fit(
        "a sparse array of one dimension",
        lambda fit: fit(sparse.coo_array(X[0])),
        "Expected 2D input, got input with shape (4,).…",
        AUTOENCODERS,
    ),
    to_fit(
        "columns named by strings and numbers",
        lambda fit: fit(pd.DataFrame(X, columns=["a", 1, "b", 2])),
        "Feature names are only supported if all input features have string names, but your input "
        "has ['int', 'str'] as feature name / column name types.…",
        error=TypeError,
    ),
    to_fit(
        "masked weights",
        lambda fit: fit(X, sample_weight=np.ma.masked_less(np.arange(12.0), 3)),
        "sample_weight has 3 masked entries, but missing values are not supported here. Fill them "
        "in first, for instance by sample_weight.filled(value).",
    ),
    to_fit(
        "masked entries",
        lambda fit: fit(np.ma.masked_greater(X, 1.9)),
        "X has … masked entries, but missing values are not supported here. Fill them in first, "
        "for instance by X.filled(value).",
        TRAINED,
    ),
    to_fit("values near 1e200", lambda fit: fit(1e200 * X), SCALE),
    to_fit("values near 1e307", lambda fit: fit(1e307 * X), SCALE),
    to_fit("values near 1e-200", lambda fit: fit(1e-200 * X), SCALE),
]

ELSEWHERE = [
    to_fit(given, call, message, AUTOENCODERS, ("fit",), error=error)
    for given, call, error, message in [
        ("an iterator", lambda fit: fit(iter([X, X])), TypeError, ITERATOR),
        ("a generator", lambda fit: fit(rows for rows in [X, X]), TypeError, ITERATOR),
        ("a loader with NaN", lambda fit: fit(Loader(X, with_entry(np.nan))), ValueError, NAN),
        (
            "a loader of one sample",
            lambda fit: fit(Loader(X[:1])),
            ValueError,
            TOO_FEW.format(1, "(1, 4)", 2),
        ),
        ("a loader of three dimensions", lambda fit: fit(Loader(X[None])), ValueError, DEEP),
        (
            "a loader of lists of rows",
            lambda fit: fit(Loader([*X])),
            TypeError,
            "X must give arrays or tensors of shape (n_samples, n_features), or tuples that begin "
            "with one, but it gave …. Stack rows by numpy.stack or torch.stack, for instance in "
            "the collate_fn of a DataLoader.",
        ),
        (
            "a loader, with weights",
            lambda fit: fit(Loader(X), sample_weight=np.ones(12)),
            TypeError,
            "X is a loader, whose rows have no fixed positions, so it cannot have sample_weight. "
            "Give X as a dataset, a memory map or files, or pass each batch separately.",
        ),
        ("a file of another format", lambda fit: fit("data.csv"), ValueError, SUFFIX),
        ("a list with such a file", lambda fit: fit(["a.npy", "data.csv"]), ValueError, SUFFIX),
        (
            "an empty text",
            lambda fit: fit(""),
            ValueError,
            "X is an empty string. Use '.' for the current folder.",
        ),
        (
            "no file",
            lambda fit: fit("nowhere.npy"),
            FileNotFoundError,
            "[Errno 2] No such file or directory: 'nowhere.npy'",
        ),
        (
            "a folder without files",
            lambda fit: fit(folder("empty")),
            ValueError,
            "The folder empty has no files that end in ('.npy', '.safetensors').",
        ),
        (
            "a file of one dimension",
            lambda fit: fit(file("flat.npy", X[0])),
            ValueError,
            "flat.npy is not a file of samples, or it is damaged: it must hold samples of "
            "shape (n_samples, n_features), got (4,).",
        ),
        (
            "files with different numbers of features",
            lambda fit: fit([file("a.npy", X), file("b.npy", X[:, :3])]),
            ValueError,
            "All parts of X must have the same number of features, got [3, 4].",
        ),
        (
            "a file of two tensors",
            lambda fit: fit(file("two.safetensors", {"a": X, "b": X})),
            ValueError,
            "two.safetensors is not a file of samples, or it is damaged: it must hold one "
            "tensor, the samples, but holds ['a', 'b'].",
        ),
        (
            "a file with infinity",
            lambda fit: fit(file("n.npy", with_entry(np.inf))),
            ValueError,
            INFINITY,
        ),
        (
            "a file without samples",
            lambda fit: fit(file("none.npy", X[:0])),
            ValueError,
            TOO_FEW.format(0, "(0, 4)", 2),
        ),
    ]
]

UNFITTED = [
    BadInput(
        "samples, before fit",
        EVERY,
        (*ASK, *BACK),
        lambda ask: ask(X),
        NotFittedError,
        "This … instance is not fitted yet. Call 'fit' with appropriate arguments before using "
        "this estimator.",
    ),
    BadInput(
        "samples, before fit",
        INTRINSIC,
        ("dimension_scale",),
        lambda scales: scales(X),
        NotFittedError,
        "This … instance is not fitted yet. Call 'fit' with appropriate arguments before using "
        "this estimator.",
    ),
    BadInput(
        "nothing, before fit",
        VAEENSE,
        ("sample",),
        lambda sample: sample(),
        NotFittedError,
        "This VAEenseTransformer instance is not fitted yet. Call 'fit' with appropriate arguments "
        "before using this estimator.",
    ),
]
