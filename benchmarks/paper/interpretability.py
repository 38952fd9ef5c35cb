"""Handwritten digits: the effect of leaving out a latent, and the digits that it affects.

    python -m benchmarks paper.interpretability [--quick | --full] [--data FOLDER]

VAEase, its form without a gate (VAE) and a top-k sparse autoencoder have the same network, the
same number of latents and the same number of steps; k is VAEase's mean number of active latents. A
classifier, fitted to training images only, reads reconstructions of test images. `reader` measures
how well the classifier reads the images themselves. A row of `digits` is a fit. A latent is in use
if it is active in at least 1 % of the test images.

`log_loss` is the log loss of the classifier for reconstructions from whole codes, in nats, and

* `log_loss_change` is the increase of the log loss when a latent is left out, as a mean over the
  latents in use. `log_loss_change_where_active` is the same over the images in which the latent is
  active;
* `log_loss_changes` are the changes of all latents, sorted;
* `log_loss_effective` is exp(entropy) of the share of each latent in the sum of the positive
  changes, an effective number of latents;
* `log_loss_class_share` is the largest share of a digit in the positive changes of one latent, with
  equal weight for all digits, as a mean over the latents in use: 0.1 for a latent that hurts all
  digits, and 1 for a latent that hurts a single digit; and
* `log_loss_class_share_by_chance` is the same with as many random groups of images, as large as the
  digits, in place of the digits. A change that comes from few images is found in few groups.

`information` is the mutual information of the digit and the activity of a latent, in nats, as a
mean over the latents in use.
"""

import numpy as np
from sklearn.metrics import mutual_info_score
from sklearn.neural_network import MLPClassifier

from benchmarks.data import read_mnist
from benchmarks.paper.common import at_once, leave_out, run
from benchmarks.paper.frontier import IN_USE
from skvaeense import SparseAutoencoder, VAEase, VAEenseTransformer
from skvaeense.nets.networks import MLP
from skvaeense.nets.penalties import TopK

NOISE = 0.02
RATE = 0.004
SIZES = {
    "quick": {
        "n_train": 20_000,
        "n_test": 2000,
        "n_components": 128,
        "width": 256,
        "max_iter": 20,
        "batch_size": 512,
        "n_seeds": 5,
    },
    "full": {
        "n_train": 60_000,
        "n_test": 10_000,
        "n_components": 256,
        "width": 1024,
        "max_iter": 150,
        "batch_size": 512,
        "n_seeds": 5,
    },
}


class Reader:
    """A classifier of digits, with its log loss and its accuracy."""

    def __init__(self, X, y):
        self.classifier = MLPClassifier((256,), early_stopping=True, random_state=0).fit(X, y)

    def log_loss(self, y):
        """Return a function of images that returns the log loss of each image."""
        right = np.arange(len(y)), y

        def losses(X):
            return -np.log(self.classifier.predict_proba(X)[right].clip(1e-12))

        return losses

    def accuracy(self, X, y):
        """Return the share of images that the classifier reads correctly."""
        return float(self.classifier.score(X, y))


def shares(changes):
    """Return the shares of the positive changes in their sum, along the last axis."""
    positive = np.maximum(changes, 0)
    total = positive.sum(axis=-1, keepdims=True)
    return np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)


def effective_number(share):
    """Return exp(entropy) of shares along the last axis."""
    return np.exp(-(share * np.log(np.where(share > 0, share, 1))).sum(axis=-1))


def class_share(changes, labels, used):
    """Return the largest share of a class in the changes of a latent, averaged over latents."""
    by_class = np.array([changes[:, labels == c].mean(axis=1) for c in np.unique(labels)])
    largest = shares(by_class.T).max(axis=1)
    # Latents that hurt no class have no share.
    return float(largest[used & (largest > 0)].mean())


def fit(name, estimator, seed, reader, train, X, y):
    """Return the measures of the latents of one fit."""
    model = estimator.set_params(random_state=seed).fit(train)
    codes = model.transform(X)
    use = (codes != 0).mean(axis=0)
    used = use >= IN_USE
    information = np.array([mutual_info_score(y, code != 0) for code in codes.T])
    whole, changes = leave_out(model, X, reader.log_loss(y), range(codes.shape[1]))
    change = changes.mean(axis=1)
    # Images in which the latent is not active do not change.
    change_where_active = changes[used].sum(axis=1) / (codes != 0).sum(axis=0)[used]
    mixed = np.random.default_rng(seed).permutation(y)
    return {
        "model": name,
        "seed": seed,
        "active": float(use.sum()),
        "in_use": int(used.sum()),
        "accuracy": reader.accuracy(model.inverse_transform(codes), y),
        "information": float(information[used].mean()),
        "log_loss": float(whole.mean()),
        "log_loss_change": float(change[used].mean()),
        "log_loss_change_where_active": float(change_where_active.mean()),
        "log_loss_effective": float(effective_number(shares(change))),
        "log_loss_class_share": class_share(changes, y, used),
        "log_loss_class_share_by_chance": class_share(changes, mixed, used),
        "log_loss_changes": [float(f"{value:.4g}") for value in np.sort(change)[::-1]],
    }


def measure(arguments):
    """Yield a row for the classifier, and a row for each fit."""
    X, labels, X_test, y_test = read_mnist(arguments.data)
    order = np.random.default_rng(0).permutation(len(X))[: arguments.n_train]
    train, X_test, y_test = X[order], X_test[: arguments.n_test], y_test[: arguments.n_test]
    reader = Reader(train, labels[order])
    losses = reader.log_loss(y_test)
    nothing = np.broadcast_to(train.mean(axis=0), X_test.shape)
    yield (
        "reader",
        {
            "accuracy": reader.accuracy(X_test, y_test),
            "log_loss": float(losses(X_test).mean()),
            "log_loss_of_mean_image": float(losses(nothing).mean()),
        },
    )
    width = arguments.width
    shared = {
        "network": MLP((width,), encoder_layer_sizes=(width, width)),
        "max_iter": arguments.max_iter,
        "batch_size": arguments.batch_size,
    }

    def variational(gated):
        vaease = VAEase(
            **shared, gated=gated, noise_variance=NOISE, learn_noise_variance=False, n_init=1
        )
        return VAEenseTransformer(arguments.n_components, model=vaease, hard=True)

    def rows(name, estimator):
        seeds = range(arguments.n_seeds)
        jobs = [(name, estimator, seed, reader, train, X_test, y_test) for seed in seeds]
        return at_once(fit, jobs, arguments.jobs)

    active = []
    for row in rows("VAEase", variational(gated=True)):
        active.append(row["active"])
        yield "digits", row
    yield from (("digits", row) for row in rows("VAE", variational(gated=False)))
    k = round(np.mean(active))
    sparse = SparseAutoencoder(
        arguments.n_components,
        **shared,
        penalty=TopK(k),
        positive_code=False,
        learning_rate_init=RATE,
    )
    yield from (("digits", row | {"k": k}) for row in rows("SAE top-k", sparse))


def main():
    """Run the benchmark with the options of the command line."""
    run("interpretability", __doc__, SIZES, measure)
