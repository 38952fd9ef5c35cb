"""Local minima: in one latent, and over seeds and learning rates.

    python -m benchmarks paper.minima [--quick | --full] [--data FOLDER]

`one_latent` has the number of local minima of the loss as a function of the code, for one sample x,
one decoder column of norm 1, and many x and prices. For d latents with orthogonal columns the
numbers are multiplied: 2^d if each latent has 2. As in training, the minimum is also followed from
the highest price down to each other price. `n_missed` is the number of x for which this minimum is
not the best.

`fits` has the loss at the end of training from several seeds and learning rates, and the loss of
the empty code. Each model has its own loss, which is the same for all of its fits.
"""

import numpy as np
from sklearn.base import clone

from benchmarks.data import read_mnist
from benchmarks.paper.common import at_once, run
from skvaeense import SparseAutoencoder, VAEase, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.metrics import fvu
from skvaeense.nets.penalties import L1, Log, TopK

SIZES = {
    "quick": {"n_samples": 5000, "n_seeds": 3, "max_iter": 40},
    "full": {"n_samples": 50_000, "n_seeds": 20, "max_iter": 150},
}
RATES = (0.25, 1.0, 4.0)
# Default learning rate of sparse autoencoders with this few latents, at the default batch size.
SPARSE_RATE = 0.008
# Values of x, of the noise variance and of the price for `one_latent`.
SAMPLES = np.linspace(0, 2, 101)
NOISE = np.geomspace(1e-3, 1, 61)
PRICES = np.geomspace(1e-3, 1, 61)
# Losses that differ by less count as equal.
SAME = 1e-3
# The parameter `eps` of Log, in units of x.
EPS = 0.1


# --- one latent -------------------------------------------------------------------------------


def n_minima(losses):
    """Return the number of local minima along the last axis, ends included."""
    wall = np.full((*losses.shape[:-1], 1), np.inf)
    steps = np.diff(np.concatenate([wall, losses, wall], axis=-1), axis=-1)
    return ((steps[..., :-1] < 0) & (steps[..., 1:] > 0)).sum(axis=-1)


def followed(losses, positions):
    """Return the position at which a downhill walk ends, from a given position in each row."""
    ends = []
    for row, i in zip(losses, positions, strict=True):
        around = slice(max(i - 1, 0), i + 2)
        while (lower := around.start + int(row[around].argmin())) != i:
            i = lower
            around = slice(max(i - 1, 0), i + 2)
        ends.append(i)
    return np.array(ends)


def gated_losses(x, noise):
    """Return the loss for every deviation s, each with its best mean.

    (x - (1 - s) m)^2 / g + m^2 is least at m = x (1 - s) / ((1 - s)^2 + g), with the value
    x^2 / ((1 - s)^2 + g).
    """
    s = 1 / (1 + np.exp(-np.linspace(-9, 9, 4001)))
    open_share = (1 - s) ** 2
    spread = open_share * s**2 / noise + s**2 - 1 - 2 * np.log(s)
    return x[:, None] ** 2 / (open_share + noise) + spread


def sparse_losses(x, price, cost):
    """Return (x - z)^2 + price * cost(z) for every code z >= 0."""
    z = np.linspace(0, 2.5, 4001)
    return (x[:, None] - z) ** 2 + price * cost(z)


def one_latent():
    """Yield a row for each model and price, with the numbers of minima."""
    models = {
        "VAEase": (NOISE, gated_losses),
        "SAE log": (PRICES, lambda x, p: sparse_losses(x, p, lambda z: np.log1p(z / EPS))),
        "SAE L1": (PRICES, lambda x, p: sparse_losses(x, p, lambda z: z)),
    }
    for model, (prices, losses_at) in models.items():
        positions = losses_at(SAMPLES, prices[-1]).argmin(axis=1)
        for price in prices[::-1]:
            losses = losses_at(SAMPLES, price)
            positions = followed(losses, positions)
            reached = losses[np.arange(len(losses)), positions]
            yield {
                "model": model,
                "price": float(price),
                "n_minima": n_minima(losses).tolist(),
                "n_missed": int((reached > losses.min(axis=1) + SAME).sum()),
            }


# --- fits from several starts -----------------------------------------------------------------


def load(data, n_samples, folder):
    """Return the training and test samples of a data set."""
    if data == "MNIST":
        X, _, X_test, _ = read_mnist(folder)
        return X[:n_samples], X_test[:2000]
    X, *_ = make_linear_subspaces(n_samples + 2000, noise=0.05, random_state=0)
    return X[2000:], X[:2000]


def models(data):
    """Return the estimators, with about as many active latents as the data has."""
    kappa, n_active = {"subspaces": (20, 4), "MNIST": (64, 20)}[data]
    signed = {"n_components": kappa, "network": "linear", "positive_code": False}
    return {
        "VAEase": VAEenseTransformer(kappa, model=VAEase(n_init=1)),
        "SAE L1": SparseAutoencoder(**signed, penalty=L1(), target_l0=n_active),
        "SAE log": SparseAutoencoder(**signed, penalty=Log(), target_l0=n_active),
        "SAE top-k": SparseAutoencoder(**signed, penalty=TopK(n_active)),
    }


def with_fixed_price(estimator, train):
    """Return the estimator with a fixed price that meets its target, so all fits have one loss."""
    if getattr(estimator, "target_l0", None) is None:
        return estimator
    alpha = estimator.set_params(random_state=0).fit(train).alpha_
    return estimator.set_params(target_l0=None, penalty__alpha=alpha)


def prepare(data, train, max_iter):
    """Return the estimators of a data set, ready to be fitted."""
    return {
        name: with_fixed_price(set_training(model, max_iter=max_iter), train)
        for name, model in models(data).items()
    }


def set_training(estimator, **params):
    """Set parameters of the training, which a VAEenseTransformer has in its model."""
    prefix = "model__" if isinstance(estimator, VAEenseTransformer) else ""
    return estimator.set_params(**{prefix + name: value for name, value in params.items()})


def fit(data, name, estimator, rate, seed, train, test):
    """Return a row with the last loss of one fit."""
    base = SPARSE_RATE if isinstance(estimator, SparseAutoencoder) else VAEase().learning_rate_init
    # Jobs in one process share the estimator, so each fits a clone.
    estimator = set_training(clone(estimator), learning_rate_init=rate * base)
    estimator.set_params(random_state=seed)
    row = {
        "data": data,
        "model": name,
        "rate": rate,
        "seed": seed,
        "empty": empty(estimator, train),
    }
    try:
        estimator.fit(train)
    except FloatingPointError:
        return row | {"loss": None, "fvu": None}
    reconstruction = estimator.inverse_transform(estimator.transform(test))
    return row | {"loss": estimator.loss_curve_[-1], "fvu": fvu(test, reconstruction)}


def empty(estimator, X):
    """Return the loss of an empty code."""
    if isinstance(estimator, SparseAutoencoder):
        return 1.0
    return 0.5 * X.shape[1] * float(np.log(2 * np.pi * np.e * np.var(X - X.mean(axis=0))))


def measure(arguments):
    """Yield the rows of both tables."""
    for row in one_latent():
        yield "one_latent", row
    samples = {
        data: load(data, arguments.n_samples, arguments.data) for data in ("subspaces", "MNIST")
    }
    jobs = [(data, train, arguments.max_iter) for data, (train, _) in samples.items()]
    ready = dict(zip(samples, at_once(prepare, jobs, arguments.jobs), strict=True))
    jobs = [
        (data, name, estimator, rate, seed, *samples[data])
        for data in samples
        for name, estimator in ready[data].items()
        for rate in RATES
        for seed in range(arguments.n_seeds)
    ]
    for row in at_once(fit, jobs, arguments.jobs):
        yield "fits", row


def main():
    """Run the benchmark with the options of the command line."""
    run("minima", __doc__, SIZES, measure)
