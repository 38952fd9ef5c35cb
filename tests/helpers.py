"""Samples, quick estimators and functions that several test files use."""

import copy
import warnings
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skvaeense import SparseAutoencoder, VAEase, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.nets.models import VAE, SparseCoder
from skvaeense.nets.networks import MLP, Linear, SingleLayer
from skvaeense.nets.penalties import BatchTopK, Coding, Matryoshka, Penalty, TopK
from skvaeense.utils._records import Record
from skvaeense.utils._torch import make_generator


class Samples(NamedTuple):
    """Samples with their true labels, split into parts."""

    train: np.ndarray
    new: np.ndarray
    train_label: np.ndarray
    new_label: np.ndarray

    @property
    def few(self):
        return self.train[:300]


def split(X, label, n_train=2000):
    return Samples(X[:n_train], X[n_train:], label[:n_train], label[n_train:])


# Samples of 8 features on one line and one plane. The label is the dimension.
SUBSPACES = split(
    *make_linear_subspaces(2500, dims=(1, 2), n_features=8, noise=0.01, random_state=0)[::2]
)
# Samples of 12 features on subspaces that lie apart. The label is the dimension.
APART = split(
    *make_linear_subspaces(3000, dims=(1, 3), n_features=12, offset_scale=3.0, random_state=0)[::2]
)
# Sums of 2 out of 16 atoms with 12 features. The label is the number of atoms.
PAIRS = split(
    *make_sparse_dictionary(600, n_atoms=16, n_active=2, n_features=12, noise=0.02, random_state=0)[
        ::2
    ],
    n_train=400,
)
# Sums of 1 to 4 out of 12 atoms with 8 features. The label is the number of atoms.
ATOMS = split(
    *make_sparse_dictionary(
        2500, n_atoms=12, n_active=(1, 4), n_features=8, signed=False, random_state=0
    )[:2]
)
MLP_SMALL = MLP((16,), encoder_layer_sizes=(16,))
# Names of the parameters of a VAEase.
OF_NETS = set(VAEase().get_params(deep=False))

# One object of each penalty, for data with about 3 active latents.
PENALTIES = {
    "batch_topk": BatchTopK(3),
    "gated": "gated",
    "jump_relu": "jump_relu",
    "l1": "l1",
    "log": "log",
    "matryoshka": Matryoshka(3),
    "topk": TopK(3),
}


def each_once(*values):
    """Return cases that go through several lists of values side by side.

    There are as many cases as values in the longest list. Shorter lists start again.
    """
    size = max(map(len, values))
    return [tuple(each[i % len(each)] for each in values) for i in range(size)]


def generator(seed=0):
    """Return a seeded generator of torch."""
    return make_generator(seed)


def draw(*shape, seed=0, dtype=torch.float64):
    """Return standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def make_vae(network=None, n_features=5, n_components=3, *, seed=0, **params):
    """Return a VAE in double precision with random weights."""
    network, generator = Linear((6,)) if network is None else network, make_generator(seed)
    model = VAE(network, n_features, n_components, generator=generator, **params)
    return _with_random_biases(model, generator)


def make_coder(penalty, network=None, n_features=5, n_components=8, *, seed=0, **params):
    """Return a SparseCoder in double precision with random weights."""
    network, generator = SingleLayer() if network is None else network, make_generator(seed)
    penalty = Penalty.resolve(penalty)
    params = {"penalty": penalty, "generator": generator} | params
    model = SparseCoder(network, n_features, n_components, **params)
    return _with_random_biases(model, generator)


def _with_random_biases(model, generator):
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
    return model.double()


def quick_sae(penalty="l1", **params):
    """Return a small SparseAutoencoder that trains in a fraction of a second."""
    # With this few steps the learning rate must be high.
    settings = {"n_components": 12, "max_iter": 10, "random_state": 0, "learning_rate_init": 0.004}
    return SparseAutoencoder(penalty=penalty, **(settings | params))


def with_net(n_components=None, **params):
    """Return a VAEenseTransformer whose model is a VAEase.

    Parameters of both are given by their names.
    """
    of_net = {name: params.pop(name) for name in OF_NETS & params.keys()}
    return VAEenseTransformer(n_components, model=VAEase(**of_net), **params)


def quick_vaeense(**params):
    """Return a small VAEenseTransformer with a VAEase that trains in a fraction of a second."""
    settings = {"n_components": 4, "n_init": 1, "max_iter": 20, "random_state": 0}
    settings["network"] = Linear((16,))
    return with_net(**(settings | params))


def fit_unwarned(estimator, X, method="fit", **params):
    """Fit for too few epochs to learn much, and ignore the warnings about this."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return getattr(estimator, method)(X, **params)


def fit_vaeense(X=SUBSPACES.few, **params):
    """Return a quick fit of a VAEenseTransformer with a VAEase."""
    return fit_unwarned(quick_vaeense(**params), X)


def fit_sae(penalty="l1", X=ATOMS.few, **params):
    """Return a quick fit of a SparseAutoencoder."""
    return fit_unwarned(quick_sae(penalty, **params), X)


def changed(fitted, **params):
    """Return a shallow copy of a fitted estimator, with other parameters."""
    other = copy.copy(fitted)
    if has_net(other):
        other.model = clone(other.model)
    return set_params(other, **params)


def has_net(estimator):
    """Return whether the model of an estimator is a VAEase."""
    return isinstance(getattr(estimator, "model", None), VAEase)


def param(estimator, name, default=None):
    """Return a parameter of an estimator, or of the VAEase that is its model."""
    return estimator.get_params().get(_full(estimator, name), default)


def set_params(estimator, **params):
    """Set parameters of an estimator, or of the VAEase that is its model, by their names."""
    return estimator.set_params(**{_full(estimator, name): v for name, v in params.items()})


def _full(estimator, name):
    """Return the name by which an estimator knows a parameter of its own or of its model."""
    is_of_net = has_net(estimator) and name.partition("__")[0] in OF_NETS
    return f"model__{name}" if is_of_net else name


def coding_of(activation, preactivation, unit):
    """Return a coding: pre-activations and their activations, as a penalty gets them."""
    return Coding(activation, preactivation, activation(preactivation), unit)


def outputs(estimator, X):
    """Return the outputs of all methods of a fitted estimator, as a dict of arrays."""
    methods = ("transform", "active_dimensions", "score_samples", "posterior", "predict", "score")
    with warnings.catch_warnings():
        # Warnings that a score says little do not matter here.
        warnings.filterwarnings("ignore", "One value fills|The density was learned")
        found = {name: getattr(estimator, name)(X) for name in methods if hasattr(estimator, name)}
    if hasattr(estimator, "inverse_transform"):
        found["inverse_transform"] = estimator.inverse_transform(found["transform"])
    if hasattr(estimator, "sample"):
        drawn = estimator.sample(5, random_state=0)
        found["sample"] = drawn[0] if isinstance(drawn, tuple) else drawn
    if hasattr(estimator, "dimension_std_"):
        found["predict"] = np.stack(estimator.predict(X, return_std=True))
    return {k: v.toarray() if sparse.issparse(v) else np.asarray(v) for k, v in found.items()}


def objective(estimator, X):
    """Return the score, or the objective if a score would first have to fit a mixture."""
    if hasattr(estimator, "elbo_samples"):
        return float(estimator.elbo_samples(X).mean())
    return estimator.score(X)


def arrays_of(law):
    """Return all arrays and numbers of a law, also of the laws in it, by name."""
    found = {}
    for name, value in law.arrays().items():
        if isinstance(value, Record):
            found |= {f"{name}.{key}": part for key, part in arrays_of(value).items()}
        elif value is not None:
            assert isinstance(value, np.ndarray | float | bool)
            found[name] = value
    return found


def with_entry(X, value, dtype=float):
    """Return a copy of X with one entry set."""
    bad = X.astype(dtype)
    bad[3, 2] = value
    return bad


class Callback:
    """A callback that does nothing. Subclasses define what happens at the end of a task."""

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...


class Recorder(Callback):
    """Record the objective of every epoch on some samples, and request a stop after some epochs."""

    def __init__(self, X, stop_after=None):
        self.X = X
        self.stop_after = stop_after
        self.scores = []
        self.tasks = []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name != "epoch":
            return False
        self.scores.append(objective(fitted_estimator, self.X))
        return len(self.scores) == self.stop_after
