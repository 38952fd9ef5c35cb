"""Handwritten digits: what leaving out a latent does, and to which digits.

    python benchmarks/paper/interpretability.py [--quick | --full] [--data FOLDER]

VAEense, its form without gate (VAE) and a top-k sparse autoencoder have the same network, the same
number of latents and the same steps; k is VAEense's mean number of active latents. A classifier,
fitted on training images alone, reads reconstructions of test images. `reader` says how well it
reads the images themselves. A row of `digits` is a fit. Latents are in use if they are active in
1 % of the test images.

For "log_loss", of the classifier in nats, and for "squared_error", summed over pixels:

* `X` is the value of the whole code,
* `X_change` is how much it grows when a latent is left out, a mean over the latents in use, and
  `X_change_where_active` the same over the images in which the latent is active;
* `X_changes` are the changes of all latents, sorted.

With the share of each latent in the sum of the positive changes:

* `X_top_ten` is the share of the ten largest,
* `X_effective` is exp(entropy) of the shares, an effective number of latents, and
* `X_effective_in_class` is the same among images of one digit, a mean over digits.

With the share of each digit in the positive changes that one latent makes, digits counted alike:

* `X_class_share` is the largest share, a mean over the latents in use: 0.1 for a latent that hurts
  all digits, 1 for one that hurts a single digit; `X_class_share_by_effect` weighs latents by
  their change, and
* `X_class_share_by_chance` is what `X_class_share` is among as many random groups of images,
  as large as the digits: a change that comes from few images is found in few groups.

`information` is what it says about the digit whether a latent is active, in nats: a mean over the
latents in use, weighted by use, and the largest.
"""

import numpy as np
from common import at_once, load_mnist, run
from frontier import IN_USE
from sklearn.neural_network import MLPClassifier

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.inspection import class_activity, latent_ablation
from skvaeense.networks import MLP
from skvaeense.penalties import TopK

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
    """A classifier that says how well it reads images of known digits."""

    def __init__(self, X, y):
        self.classifier = MLPClassifier((256,), early_stopping=True, random_state=0).fit(X, y)

    def log_loss(self, y):
        """Return a function of images that gives the log loss of each."""
        right = np.arange(len(y)), y

        def losses(X):
            return -np.log(self.classifier.predict_proba(X)[right].clip(1e-12))

        return losses

    def accuracy(self, X, y):
        """Return the share of the images that it reads right."""
        return float(self.classifier.score(X, y))


def shares(changes):
    """Return the shares of the positive changes in their sum, along the last axis."""
    positive = np.maximum(changes, 0)
    total = positive.sum(axis=-1, keepdims=True)
    return np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)


def effective_number(share):
    """Return exp(entropy) along the last axis."""
    return np.exp(-(share * np.log(np.where(share > 0, share, 1))).sum(axis=-1))


def ablate(model, X, codes, metric):
    """Return the result of latent_ablation, and a row of changes by image for each latent.

    The result has means over images. But the metric sees the whole codes first, then what is left
    without each latent that is not 0 in all images; so its values are kept.
    """
    values = []

    def kept(reconstructions):
        values.append(metric(reconstructions))
        return values[-1]

    result = latent_ablation(model, X, kept)
    whole, *without = values
    changes = np.zeros((codes.shape[1], len(X)))
    changes[codes.any(axis=0)] = np.subtract(without, whole)
    return result, changes


def effects(name, whole, by_class, by_chance):
    """Return what the ablations of all latents come to.

    `whole` is the result of latent_ablation for all images. `by_class` has a row of changes for
    the images of each class, `by_chance` for each of as many random groups.
    """
    used = whole.use >= IN_USE
    share = shares(whole.change)
    largest = shares(by_class.T).max(axis=1)
    # Where no class is hurt there is no share.
    hurt = used & (largest > 0)
    weights = np.maximum(by_class, 0).sum(axis=0)[hurt]
    return {
        name: whole.baseline,
        f"{name}_change": float(whole.change[used].mean()),
        f"{name}_change_where_active": float(whole.change_where_active[used].mean()),
        f"{name}_top_ten": float(np.sort(share)[-10:].sum()),
        f"{name}_effective": float(effective_number(share)),
        f"{name}_effective_in_class": float(effective_number(shares(by_class)).mean()),
        f"{name}_class_share": float(largest[hurt].mean()),
        f"{name}_class_share_by_effect": float(np.average(largest[hurt], weights=weights)),
        f"{name}_class_share_by_chance": float(shares(by_chance.T).max(axis=1)[hurt].mean()),
        f"{name}_changes": [float(f"{change:.4g}") for change in np.sort(whole.change)[::-1]],
    }


def fit(name, estimator, seed, reader, train, X, y):
    """Return what the latents of one fit do."""
    model = estimator.set_params(random_state=seed).fit(train)
    codes = model.transform(X)
    activity = class_activity(model, X, y)
    use = (codes != 0).mean(axis=0)
    used = use >= IN_USE
    row = {
        "model": name,
        "seed": seed,
        "active": float(use.sum()),
        "std": float((codes != 0).sum(axis=1).std()),
        "in_use": int(used.sum()),
        "always": int((use > 0.99).sum()),
        "accuracy": reader.accuracy(model.inverse_transform(codes), y),
        "information": float(activity.mutual_information[used].mean()),
        "information_by_use": float(np.average(activity.mutual_information, weights=use)),
        "largest_information": float(activity.mutual_information.max()),
    }
    mixed = np.random.default_rng(seed).permutation(y)
    metrics = {
        "log_loss": reader.log_loss(y),
        "squared_error": lambda decoded: np.square(X - decoded, dtype=np.float64).sum(axis=1),
    }
    for metric, of in metrics.items():
        whole, changes = ablate(model, X, codes, of)
        by_class, by_chance = (
            np.array([changes[:, labels == c].mean(axis=1) for c in activity.classes])
            for labels in (y, mixed)
        )
        row |= effects(metric, whole, by_class, by_chance)
    return row


def measure(arguments):
    """Yield how the images are read, and a row for each fit."""
    X, labels, X_test, y_test = load_mnist(arguments.data)
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
        "n_components": arguments.n_components,
        "network": MLP((width,), encoder_layer_sizes=(width, width)),
        "max_iter": arguments.max_iter,
        "batch_size": arguments.batch_size,
    }
    bound = {"noise_variance": NOISE, "learn_noise_variance": False, "n_init": 1, "hard": True}

    def rows(name, estimator):
        seeds = range(arguments.n_seeds)
        jobs = [(name, estimator, seed, reader, train, X_test, y_test) for seed in seeds]
        return at_once(fit, jobs, arguments.jobs)

    active = []
    for row in rows("VAEense", VAEenseTransformer(**shared, **bound)):
        active.append(row["active"])
        yield "digits", row
    yield from (
        ("digits", row) for row in rows("VAE", VAEenseTransformer(**shared, **bound, gated=False))
    )
    k = round(np.mean(active))
    sparse = SparseAutoencoder(
        **shared, penalty=TopK(k), positive_code=False, learning_rate_init=RATE
    )
    yield from (("digits", row | {"k": k}) for row in rows("SAE top-k", sparse))


if __name__ == "__main__":
    run("interpretability", __doc__, SIZES, measure)
