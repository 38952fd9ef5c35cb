"""Inputs that fitted estimators refuse to transform, score or decode."""

import numpy as np
from scipy import sparse

from bad_inputs.rows import (
    AUTOENCODERS,
    BACK,
    DEEP,
    DENSE,
    FAR,
    FLAT,
    INFINITY,
    INTRINSIC,
    ITERATOR,
    NAMED,
    NAMES,
    NAN,
    SPARSE,
    TOO_FEW,
    TRAINED,
    VAEENSE,
    X,
    after_fit,
    with_entry,
)

FEATURES = "X has 3 features, but … is expecting 4 features as input."
CONSTANT = "X is constant over its {} sample(s), so it has no variance to explain."

FITTED = [
    after_fit("NaN", lambda ask: ask(with_entry(np.nan)), NAN, TRAINED),
    after_fit("infinity", lambda ask: ask(with_entry(np.inf)), INFINITY),
    after_fit("another number of features", lambda ask: ask(X[:, :3]), FEATURES),
    after_fit(
        "one more batch with another number of features",
        lambda fit: fit(X[:, :3]),
        FEATURES,
        methods=("partial_fit",),
    ),
    after_fit(
        "warm_start=True, and another number of features",
        lambda fit: fit(X[:, :3]),
        FEATURES,
        estimators=AUTOENCODERS,
        methods=("fit",),
        warm_start=True,
    ),
    after_fit(
        "features in another order",
        lambda ask: ask(NAMED[list("dcba")]),
        f"{NAMES}Feature names must be in the same order as they were in fit.\n",
        before=NAMED,
    ),
    after_fit(
        "features of other names",
        lambda ask: ask(NAMED.rename(columns={"a": "z"})),
        f"{NAMES}Feature names unseen at fit time:\n- z\n…",
        before=NAMED,
    ),
    after_fit("no samples", lambda ask: ask(X[:0]), TOO_FEW.format(0, "(0, 4)", 1)),
    after_fit("one dimension", lambda ask: ask(X[0]), FLAT),
    after_fit("three dimensions", lambda ask: ask(X[None]), DEEP),
    after_fit("complex numbers", lambda ask: ask(X + 1j), "Complex data not supported…"),
    after_fit(
        "a sparse array", lambda ask: ask(sparse.csr_array(X)), DENSE, INTRINSIC, error=TypeError
    ),
    after_fit("an iterator", lambda ask: ask(iter([X])), ITERATOR, AUTOENCODERS, error=TypeError),
    after_fit(
        "samples beyond single precision, in units of those of fit",
        lambda ask: ask((1e37 * X).astype(np.float32)),
        FAR,
        AUTOENCODERS,
        before=1e-10 * X,
    ),
    after_fit(
        "samples that are all equal",
        lambda score: score(np.ones((5, 4))),
        CONSTANT.format(5),
        SPARSE,
        ("score",),
    ),
    after_fit("one sample", lambda score: score(X[:1]), CONSTANT.format(1), SPARSE, ("score",)),
    after_fit(
        "true dimensions of other samples",
        lambda score: score(X, [1, 2]),
        "Found input variables with inconsistent numbers of samples: [2, 12]",
        INTRINSIC,
        ("score",),
    ),
    after_fit(
        "true dimensions in two columns",
        lambda score: score(X, np.ones((12, 2))),
        "y should be a 1d array, got an array of shape (12, 2) instead.",
        INTRINSIC,
        ("score",),
    ),
    after_fit(
        'scales, after method="count"',
        lambda scales: scales(X),
        'Count computes no distances to neighbours. Set method="auto" or "neighbors", with an '
        "autoencoder that can decode and at least 6 samples.",
        INTRINSIC,
        ("dimension_scale",),
        method="count",
    ),
    *(
        after_fit(
            f"n_samples={n_samples!r}",
            lambda sample, n_samples=n_samples: sample(n_samples),
            message,
            VAEENSE,
            ("sample",),
            error=error,
        )
        for n_samples, error, message in (
            (0, ValueError, "n_samples must be at least 1, got 0."),
            (2.5, TypeError, "n_samples must be an int, got 2.5 of type float."),
            ("all", TypeError, "n_samples must be an int, got 'all' of type str."),
            (True, TypeError, "n_samples must be an int, got True of type bool."),
        )
    ),
]

CODES = [
    after_fit(given, call, message, AUTOENCODERS, BACK)
    for given, call, message in [
        (
            "codes of another width",
            lambda decode: decode(np.zeros((2, 2))),
            "X has 2 columns, but this … has 3 components; give codes as transform returns them.",
        ),
        (
            "sparse codes of another width",
            lambda decode: decode(sparse.csr_array((2, 4))),
            "X has 4 columns, but this … has 3 components; give codes as transform returns them.",
        ),
        ("NaN", lambda decode: decode(np.full((2, 3), np.nan)), "Input contains NaN."),
        (
            "NaN in sparse codes",
            lambda decode: decode(sparse.csr_array(np.full((2, 3), np.nan))),
            "Input contains NaN.",
        ),
        ("one dimension", lambda decode: decode(np.zeros(3)), FLAT),
        (
            "no codes",
            lambda decode: decode(np.zeros((0, 3))),
            "Found array with 0 sample(s) (shape=(0, 3)) while a minimum of 1 is required.",
        ),
        (
            "complex codes",
            lambda decode: decode(np.zeros((2, 3)) + 1j),
            "Complex data not supported…",
        ),
    ]
]
