"""Strategies of hypothesis for samples and estimators.

Samples are small and as difficult as real data: few rows or many columns, copies, constant or
dependent columns, heavy tails, any scale, any precision, any order in memory.
"""

import numpy as np
from helpers import with_net
from hypothesis import strategies as st
from scipy.stats import ortho_group

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer
from skvaeense.nets.networks import MLP, Linear
from skvaeense.nets.penalties import BatchTopK, Matryoshka, TopK
from skvaeense.training._data import Balls


def is_near(X):
    """Return whether no sample is far from all others, and left out of training."""
    return len(X) < 2 or Balls(X, [slice(None)]).near_of(X).all()


def _with_copies(rng, n, d):
    return rng.standard_normal((n, d))[rng.integers(max(1, n // 3), size=n)]


def _with_constant_columns(rng, n, d):
    X = rng.standard_normal((n, d))
    X[:, rng.random(d) < 0.5] = 3.0
    return X


def _with_dependent_columns(rng, n, d):
    return rng.standard_normal((n, 1)) * rng.standard_normal(d)


def _one_row_differs(rng, n, d):
    X = np.zeros((n, d))
    X[rng.integers(n)] = rng.standard_normal(d)
    return X


KINDS = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "heavy tails": lambda rng, n, d: rng.standard_t(1.5, (n, d)),
    "copies": _with_copies,
    "constant columns": _with_constant_columns,
    "dependent columns": _with_dependent_columns,
    "one row differs": _one_row_differs,
    "all rows equal": lambda rng, n, d: np.tile(rng.standard_normal(d), (n, 1)),
    "mostly zero": lambda rng, n, d: rng.exponential(size=(n, d)) * (rng.random((n, d)) < 0.3),
}
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": lambda X: X.repeat(2, axis=0).repeat(3, axis=1)[::2, ::3],
    "reversed": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
}
SEEDS = st.integers(0, 2**32 - 1)


def _one_hot(rng, n, d):
    """Return blocks of one-hot columns, some of which are rare."""
    sizes = rng.integers(2, d + 2, 3)
    return np.hstack([np.eye(k)[rng.choice(k, n, p=rng.dirichlet(np.full(k, 0.6)))] for k in sizes])


def _few_directions(rng, n, d):
    return rng.standard_normal((n, 2)) @ rng.standard_normal((2, d))


def _points(rng, n, d):
    """Return copies of few points, with noise as large as their rounding."""
    points = 10 * rng.standard_normal((3, d))
    return points[rng.integers(3, size=n)] + 1e-6 * rng.standard_normal((n, d))


# Tables like those that users have.
TABLES = {
    "one-hot": _one_hot,
    "one-hot and numbers": lambda rng, n, d: np.c_[_one_hot(rng, n, 2), _few_directions(rng, n, d)],
    "counts": lambda rng, n, d: rng.poisson(np.exp(0.5 * _few_directions(rng, n, d))) * 1.0,
    "repeated rows": _with_copies,
    "points": _points,
    "zero-inflated": lambda rng, n, d: (
        np.exp(_few_directions(rng, n, d)) * (rng.random((n, d)) < 0.3)
    ),
    "one huge column": lambda rng, n, d: _few_directions(rng, n, d) * np.r_[1e6, np.ones(d - 1)],
    "heavy tails": lambda rng, n, d: rng.standard_t(1.5, (n, d)),
    "half precision": lambda rng, n, d: np.float32(
        np.float16(np.clip(1e4 * _few_directions(rng, n, d), -6e4, 6e4))
    ),
    "small half precision": lambda rng, n, d: np.float32(np.float16(1e-5 * rng.random((n, d)))),
    "binary": lambda rng, n, d: (_few_directions(rng, n, d) > 1) * 1.0,
    "constant columns": lambda rng, n, d: np.c_[_few_directions(rng, n, d), np.full((n, 2), 7.0)],
    "a key": lambda rng, n, d: np.c_[np.arange(n), _few_directions(rng, n, d)],
}


@st.composite
def tables(draw, rows=(4, 60), columns=(2, 6)):
    """Return training and held-out rows of the same table."""
    rng = np.random.default_rng(draw(SEEDS))
    n, d = draw(st.integers(*rows)), draw(st.integers(*columns))
    X = TABLES[draw(st.sampled_from(sorted(TABLES)))](rng, 2 * n, d)
    return X[:n], X[n:]


@st.composite
def samples(
    draw,
    *,
    rows=(2, 30),
    columns=(1, 6),
    kinds=tuple(KINDS),
    dtypes=("float64", "float32", "int64", "int8"),
    exponents=(-30, 30),
    offsets=(0, 1, -1000),
):
    """Return samples of some kind, shifted, scaled by a power of 10, with some layout in memory."""
    shape = draw(st.integers(*rows)), draw(st.integers(*columns))
    kind, dtype = draw(st.sampled_from(kinds)), draw(st.sampled_from(dtypes))
    X = KINDS[kind](np.random.default_rng(draw(SEEDS)), *shape)
    if dtype.startswith("int"):
        X = (10 * X).clip(-100, 100)
    else:
        X = (X + draw(st.sampled_from(offsets))) * 10.0 ** draw(st.integers(*exponents))
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](X.astype(dtype))


def rotation(d, seed):
    """Return a random rotation of d features, or a rotation with a reflection."""
    return ortho_group.rvs(d, random_state=seed) if d > 1 else -np.eye(1)


def vaeense(**params):
    """Return a VAEenseTransformer with a VAEase that trains for two epochs."""
    settings = {"n_components": 3, "n_init": 1, "max_iter": 2, "random_state": 0}
    return with_net(**(settings | {"network": Linear((8,))} | params))


def sparse_autoencoder(penalty="l1", **params):
    """Return a SparseAutoencoder that trains for two epochs."""
    settings = {"n_components": 4, "max_iter": 2, "random_state": 0}
    return SparseAutoencoder(penalty=penalty, **(settings | params))


VAEENSE = {
    "gated": vaeense(),
    "variational": vaeense(gated=False),
    "contribution": vaeense(threshold="contribution", n_init=2),
    "otsu": vaeense(threshold="otsu", n_components=None),
    "positive": vaeense(positive_code=True, hard=True),
    "double": vaeense(dtype="float64"),
    "both layers": vaeense(network=MLP((8,)), sparse_output=True),
    "one layer": vaeense(network="single_layer"),
}
SPARSE = {
    "l1": sparse_autoencoder(),
    "log": sparse_autoencoder("log", positive_code=False),
    "gated penalty": sparse_autoencoder("gated", sparse_output=True),
    "jump_relu": sparse_autoencoder("jump_relu", n_components=None),
    "topk": sparse_autoencoder(TopK(2), positive_code=False),
    "batch_topk": sparse_autoencoder(BatchTopK(2), dtype="float64"),
    "matryoshka": sparse_autoencoder(Matryoshka(2)),
    "target": sparse_autoencoder(target_l0=2.0),
    "hidden layers": sparse_autoencoder(network=MLP((8,))),
}
LAWS = {
    "laws": VAEenseTransformer(random_state=0),
    "flat parts": VAEenseTransformer(3, model="mixture", random_state=0),
    "gates": VAEenseTransformer(model="gates", random_state=0),
    "length": VAEenseTransformer(4, target_l0=1.5, sparse_output=True, random_state=0),
    "share": VAEenseTransformer(target_explained_variance=0.7, positive_code=True, random_state=0),
}
DIMENSION = {
    "auto": IntrinsicDimensionEstimator(vaeense(), random_state=0),
    "count": IntrinsicDimensionEstimator(vaeense(), method="count", aggregate="median"),
    "neighbors": IntrinsicDimensionEstimator(
        sparse_autoencoder(), method="neighbors", n_neighbors=5, random_state=0
    ),
}
NETS = VAEENSE | SPARSE
AUTOENCODERS = NETS | LAWS
ESTIMATORS = AUTOENCODERS | DIMENSION
