"""What several test files need."""

import warnings

import numpy as np
import torch
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.networks import Linear
from skvaeense.penalties import BatchTopK, Matryoshka, TopK
from skvaeense.utils._seeding import make_generator

# One of each penalty, for data with about 3 active latents.
PENALTIES = {
    "batch_topk": BatchTopK(3),
    "gated": "gated",
    "jump_relu": "jump_relu",
    "l1": "l1",
    "log": "log",
    "matryoshka": Matryoshka(3),
    "topk": TopK(3),
}


def draw(*shape, seed=0, dtype=torch.float64):
    """Return standard normal numbers."""
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def quick_sae(penalty="l1", **params):
    """Return a small SparseAutoencoder that trains in a fraction of a second."""
    # The learning rate is high enough for so few steps.
    settings = {"n_components": 12, "max_iter": 10, "random_state": 0, "learning_rate_init": 0.004}
    return SparseAutoencoder(penalty=penalty, **(settings | params))


def quick_vaeense(**params):
    """Return a small VAEenseTransformer that trains in a fraction of a second."""
    settings = {"n_components": 4, "n_init": 1, "max_iter": 20, "random_state": 0}
    return VAEenseTransformer(**({"network": Linear((16,))} | settings | params))


def fit_unwarned(estimator, X, method="fit"):
    """Fit for too few epochs to learn much, and expect to be told so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return getattr(estimator, method)(X)


def outputs(estimator, X):
    """Return what the methods of a fitted estimator give, as arrays by name."""
    methods = ("transform", "active_dimensions", "score_samples", "posterior", "predict", "score")
    found = {name: getattr(estimator, name)(X) for name in methods if hasattr(estimator, name)}
    if hasattr(estimator, "inverse_transform"):
        found["inverse_transform"] = estimator.inverse_transform(found["transform"])
    if hasattr(estimator, "sample"):
        found["sample"] = estimator.sample(5, random_state=0)
    if hasattr(estimator, "dimension_std_"):
        found["predict"] = np.stack(estimator.predict(X, return_std=True))
    return {k: v.toarray() if sparse.issparse(v) else np.asarray(v) for k, v in found.items()}


def assert_has_shortcuts(module, x, n_shortcuts):
    """Check that so many of an autoencoder's heads, the first, have a linear map of x added."""
    hidden = module.body(x)
    n_components = module.heads[0].out_features
    weights = [] if module.skip is None else module.skip.weight.split(n_components)
    assert len(weights) == n_shortcuts
    for i, output in enumerate(module.encode(x)):
        shortcut = x @ weights[i].T if i < n_shortcuts else 0
        torch.testing.assert_close(output, module.heads[i](hidden) + shortcut)


def with_entry(X, value, dtype=float):
    """Return a copy of X with one entry set."""
    bad = X.astype(dtype)
    bad[3, 2] = value
    return bad


class Callback:
    """A callback that does nothing; subclasses say what it does at the end of a task."""

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...


class Recorder(Callback):
    """Note the score of every epoch on some samples, and ask to stop after some epochs."""

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
        self.scores.append(fitted_estimator.score(self.X))
        return len(self.scores) == self.stop_after
