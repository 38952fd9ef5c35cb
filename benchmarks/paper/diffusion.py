"""A diffusion model on gated codes (the paper's open question 3), on handwritten digits.

    python -m benchmarks paper.diffusion [--quick | --full] [--data FOLDER]

A diffusion model has no sparse code. A sparse autoencoder draws no good samples: groups of its
latents are active together, and a prior that draws latents one by one ignores this. Here the two
models are stacked. A network learns to remove noise from hard codes, in which closed latents are
exactly 0. Then it leads from pure noise to new codes, step by step along the probability flow.
Entries smaller than 99 % of the active entries are set to 0, and the code is decoded. The same is
done with the codes of a VAE and of PCA, and samples are also drawn from the models themselves.

Samples are compared with test images in the hidden layer of a classifier of the digits: by the
Fréchet distance, by precision (the share of samples among the images) and by recall (the share of
images among the samples). Being among images or samples is decided by the distance to the third
neighbour.
"""

import base64
import zlib
from itertools import pairwise

import numpy as np
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier

from benchmarks.data import read_mnist
from benchmarks.paper.common import at_once, run
from benchmarks.peers.diffusion import learn_noise
from skvaeense import VAEase, VAEenseTransformer
from skvaeense.nets.networks import MLP

# Noise levels of the diffusion, in units of the codes' root mean square.
LEVELS = (0.01, 20.0)
# Steps from noise to code, each with two evaluations of the network, and the power that spaces the
# noise levels.
N_FLOW, POWER = 40, 7
# Peak of the learning rate.
RATE = 2e-3
# Share of the active entries that are below the cut for entries of drawn codes.
CUT = 0.01
N_JUDGED, N_SHOWN = 5000, 20
NEIGHBOR = 3
SIZES = {
    "quick": {
        "n_train": 20_000,
        "n_components": 128,
        "width": 256,
        "max_iter": 16,
        "noise_variance": 0.02,
        "layers": [512, 512],
        "n_steps": 2500,
        "n_seeds": 5,
    },
    "full": {
        "n_train": 60_000,
        "n_components": 256,
        "width": 1024,
        "max_iter": 150,
        "noise_variance": 0.02,
        "layers": [2048, 2048, 2048],
        "n_steps": 200_000,
        "n_seeds": 5,
    },
}


def autoencoder(name, seed, size):
    """Return the estimator with this name."""
    if name == "PCA":
        return PCA(size["n_components"], random_state=seed)
    width = size["width"]
    vaease = VAEase(
        MLP((width,), encoder_layer_sizes=(width, width)),
        gated=name == "VAEase",
        noise_variance=size["noise_variance"],
        learn_noise_variance=False,
        n_init=1,
        max_iter=size["max_iter"],
    )
    return VAEenseTransformer(size["n_components"], model=vaease, hard=True, random_state=seed)


@torch.no_grad()
def draw(module, n, codes, seed):
    """Draw new codes along the probability flow, dx/dt = noise(x, t), by Heun's method.

    The denoised x is clipped to the range of the codes, latent by latent, since the network was not
    trained outside this range.
    """
    generator = torch.Generator().manual_seed(seed)
    least, most = codes.min(dim=0).values, codes.max(dim=0).values

    def slope_at(x, level):
        clean = x - level * module(x, level.reshape(1, 1))
        return (x - clean.clamp(least, most)) / level

    low, high = (level ** (1 / POWER) for level in LEVELS)
    levels = [*(torch.linspace(high, low, N_FLOW) ** POWER), torch.tensor(0.0)]
    x = levels[0] * torch.randn((n, codes.shape[1]), generator=generator)
    for now, then in pairwise(levels):
        slope = slope_at(x, now)
        moved = x + (then - now) * slope
        if then > 0:
            slope = 0.5 * (slope + slope_at(moved, then))
            moved = x + (then - now) * slope
        x = moved
    return x.numpy()


class Judge:
    """Compare samples with test images in the hidden layer of a classifier."""

    def __init__(self, X, y, X_test):
        self.classifier = MLPClassifier((128,), max_iter=10, random_state=0)
        self.classifier.fit(X, y)
        self.real = self.features(X_test[:N_JUDGED])

    def features(self, X):
        """Return the hidden layer of the classifier for images."""
        return np.maximum(X @ self.classifier.coefs_[0] + self.classifier.intercepts_[0], 0)

    def compare(self, X):
        """Return the Fréchet distance, the precision and the recall of samples."""
        samples = self.features(X)
        return {
            "frechet": frechet_distance(self.real, samples),
            "precision": share_among(samples, self.real),
            "recall": share_among(self.real, samples),
        }


def frechet_distance(a, b):
    """Return the squared Fréchet distance of normal distributions fitted to two sets of rows."""
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    # The ridge keeps the matrix root real if some units are never active.
    ridge = 1e-6 * np.eye(len(cov_a))
    root = sqrtm((cov_a + ridge) @ (cov_b + ridge)).real
    gap = a.mean(axis=0) - b.mean(axis=0)
    return float(gap @ gap + np.trace(cov_a + cov_b - 2 * root))


def share_among(points, others):
    """Return the share of points closer to one of `others` than the third neighbour of this one."""
    neighbors = NearestNeighbors(n_neighbors=NEIGHBOR + 1).fit(others)
    radius = neighbors.kneighbors(others)[0][:, -1]
    return float((cdist(points, others) <= radius).any(axis=1).mean())


def packed(images):
    """Return images as text: bytes, compressed by zlib, in base 64."""
    pixels = (255 * images.clip(0, 1)).round().astype(np.uint8)
    return base64.b64encode(zlib.compress(pixels.tobytes(), 9)).decode()


def measure_one(name, seed, size, judge, X, X_test):
    """Return rows for a diffusion on the codes of a model, reconstructions, and its own samples."""
    model = autoencoder(name, seed, size).fit(X)
    codes = model.transform(X).astype(np.float32)
    scale = float(np.sqrt(np.mean(codes**2)))
    scaled = torch.tensor(codes / scale)
    module = learn_noise(
        scaled, size["layers"], LEVELS, n_steps=size["n_steps"], rate=RATE, seed=seed
    )
    drawn = scale * draw(module, N_JUDGED, scaled, seed)
    cut = np.quantile(np.abs(codes[codes != 0]), CUT) if name != "PCA" else 0.0
    drawn = np.where(np.abs(drawn) > cut, drawn, 0)
    test_codes = model.transform(X_test)
    decoded = model.inverse_transform(test_codes)
    rows = [
        {
            "samples": f"diffusion on codes of {name}",
            "seed": seed,
            **judge.compare(model.inverse_transform(drawn)),
            **judge_counts(drawn, test_codes),
            "images": packed(model.inverse_transform(drawn[:N_SHOWN])),
        },
        {
            "samples": f"reconstructions by {name}",
            "seed": seed,
            **judge.compare(decoded[:N_JUDGED]),
            "error": float(np.square(X_test - decoded).sum(axis=1).mean()),
        },
    ]
    if name != "PCA":
        # Draw samples without pixel noise, like reconstructions.
        model.module_.noise_variance.zero_()
        prior = model.sample(N_JUDGED, random_state=seed)
        rows.append(
            {
                "samples": f"{name} itself",
                "seed": seed,
                **judge.compare(prior),
                "images": packed(prior[:N_SHOWN]),
            }
        )
    return rows


def judge_counts(drawn, codes):
    """Return the numbers of active latents in drawn codes and in the codes of test images."""
    count, real = (np.count_nonzero(c, axis=1) for c in (drawn, codes))
    return {
        "active": float(count.mean()),
        "std": float(count.std()),
        "active_real": float(real.mean()),
        "std_real": float(real.std()),
    }


def measure(arguments):
    """Yield a row for each kind of samples."""
    X, y, X_test, _ = read_mnist(arguments.data)
    X, y = X[: arguments.n_train], y[: arguments.n_train]
    (judge,) = at_once(Judge, [(X, y, X_test)], arguments.jobs)
    row = {"samples": "training images", "seed": 0, **judge.compare(X[:N_JUDGED])}
    yield "samples", row | {"images": packed(X[:N_SHOWN])}
    size = {key: getattr(arguments, key) for key in SIZES["quick"]}
    jobs = [
        (name, seed, size, judge, X, X_test)
        for name in ("VAEase", "VAE", "PCA")
        for seed in range(arguments.n_seeds)
    ]
    for rows in at_once(measure_one, jobs, arguments.jobs):
        for row in rows:
            yield "samples", row


def main():
    """Run the benchmark with the options of the command line."""
    run("diffusion", __doc__, SIZES, measure)
