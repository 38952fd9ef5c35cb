"""Weights of the measurements of a dimension, fitted on families of known dimension.

    python -m benchmarks dimension_weights [--only NAME ...]

The families are the families `CHOSEN_BY` of dimension_unseen.py, and the families of `FURTHER`:
sets of second degree, boundaries, sums of atoms, overlapping clusters, fractals, solutions of
differential equations and sets of many dimensions. No family of a report is among them. Each family
has 300 and 1,000 samples without noise, and 1,000 samples with noise, as a share of the root mean
square of the columns. The estimator is fitted to these samples with its current weights, and the
measurements around the first of them are kept. The weights maximise the likelihood of the true
dimensions, with equal weight for each family and setting, and a small penalty. The program prints
the weights, which are those of skvaeense/dimension/weights.json.
"""

import warnings
from functools import partial

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from benchmarks.common import RESULTS, make_parser, save
from benchmarks.dimension_families import cube, flat_torus, heavy_tails
from benchmarks.dimension_unseen import (
    CHOSEN_BY,
    ball,
    dirichlet,
    network,
    normal,
    one,
    orthonormal,
    parts,
    relu,
    rendered,
    rolled,
    rounded,
    sphere,
    subspaces,
    thin_box,
)
from skvaeense import IntrinsicDimensionEstimator
from skvaeense.dimension._posterior import WEIGHTS, Evidence

OUT = RESULTS / "dimension_weights.json"
SETTINGS = ((300, 0.0), (1000, 0.0), (1000, 0.05), (1000, 0.1))
# Samples of each setting at which measurements are kept, and the penalty of squared weights.
N_ASKED, PENALTY = 10, 0.3


# --- shapes -----------------------------------------------------------------------------------


def tube(radius, n, rng):
    """Draw a torus whose tube has a small radius."""
    a, b = rng.uniform(0, 2 * np.pi, (2, n))
    ring = 1 + radius * np.cos(b)
    return np.column_stack([ring * np.cos(a), ring * np.sin(a), radius * np.sin(b)])


def rank_one(n_rows, n_columns, n, rng):
    return (rng.standard_normal((n, n_rows, 1)) * rng.standard_normal((n, 1, n_columns))).reshape(
        n, -1
    )


def squares(dim, n, rng):
    """Draw the products of all pairs of normal coordinates."""
    points = rng.standard_normal((n, dim))
    return (points[:, :, None] * points[:, None]).reshape(n, -1)


def shell(dim, n, rng):
    """Draw the boundary of a cube."""
    points, side = cube(dim, n, rng), rng.integers(dim, size=n)
    points[np.arange(n), side] = rng.choice([-1, 1], n)
    return points


def arm(n_joints, pose, n, rng):
    """Draw the positions of the joints of an arm in the plane, or the pose of its end."""
    angles = np.cumsum(rng.uniform(-1.2, 1.2, (n, n_joints)), axis=1)
    joints = np.cumsum(np.stack([np.cos(angles), np.sin(angles)]), axis=2)
    if pose:
        last = angles[:, -1]
        return np.column_stack([joints[0, :, -1], joints[1, :, -1], np.cos(last), np.sin(last)])
    return np.hstack(list(joints))


def clusters(dim, shift, n, rng):
    """Draw two overlapping normal distributions."""
    return normal(dim, n, rng) + rng.choice([-shift, shift], (n, 1))


def triangles(n, rng):
    """Draw points of the fractal of Sierpinski."""
    corners, points = np.array([[0, 0], [1, 0], [0.5, 0.87]]), np.zeros((n, 2))
    for _ in range(40):
        points = (points + corners[rng.integers(3, size=n)]) / 2
    return points


def growth(n, rng):
    """Draw solutions of the logistic equation with three parameters."""
    rate, most, start = (rng.uniform(a, b, (n, 1)) for a, b in ((0.5, 2), (0.5, 2), (0.05, 0.4)))
    return most / (1 + (most / start - 1) * np.exp(-rate * np.linspace(0, 6, 30)))


def burgers(n_waves, n, rng):
    """Draw solutions of the equation of Burgers that begin with sums of waves."""
    x, k = np.arange(32) * 2 * np.pi / 32, np.fft.rfftfreq(32, 1 / 32)
    u = sum(rng.uniform(-1, 1, (n, 1)) * np.sin((i + 1) * x) for i in range(n_waves))
    for _ in range(60):
        slope = np.fft.irfft(1j * k * np.fft.rfft(u), 32)
        u = np.fft.irfft(np.fft.rfft(u - 0.01 * u * slope) * np.exp(-1e-3 * k**2), 32)
    return u


def surface(dim, length, n, rng):
    """Draw a random surface in R^30."""
    waves = rng.uniform(-1, 1, (n, dim)) @ rng.standard_normal((dim, 300)) / length
    return np.cos(waves + rng.uniform(0, 2 * np.pi, 300)) @ rng.standard_normal((300, 30)) / 17


# --- families ---------------------------------------------------------------------------------

FURTHER = {
    "sphere of 3": one(3, partial(sphere, 3), 12),
    "sphere of 8": one(8, partial(sphere, 8), 30),
    "sphere of 12": one(12, partial(sphere, 12), 60),
    "frames of 2 in R^5": one(7, partial(orthonormal, 5, 2)),
    "planes in R^5": one(6, partial(subspaces, 5, 2)),
    "torus of 5": one(5, partial(flat_torus, 5)),
    "thin torus": one(2, partial(tube, 0.2), 6),
    "rank 1, 4 x 5": one(8, partial(rank_one, 4, 5)),
    "squares of 3": one(3, partial(squares, 3)),
    "boundary of a cube in R^3": one(2, partial(shell, 3)),
    "boundary of a cube in R^5": one(4, partial(shell, 5)),
    "arm of 4": one(4, partial(arm, 4, False)),
    "pose of 4": one(3, partial(arm, 4, True)),
    "subspaces of 1/3/6": parts(*((d, partial(normal, d)) for d in (1, 3, 6)), n_features=20),
    "spheres of 2/6": parts(*((d, partial(sphere, d)) for d in (2, 6)), n_features=25, apart=1),
    "clusters of 10": one(10, partial(clusters, 10, 0.6)),
    "clusters of 16": one(16, partial(clusters, 16, 0.5)),
    "Sierpinski": one(np.log(3) / np.log(2), triangles),
    "box of 3, 1:30": one(3, partial(thin_box, 3, 30), 12),
    "box of 6, 1:8": one(6, partial(thin_box, 6, 8), 20),
    "random surface of 4": one(4, partial(surface, 4, 1.2)),
    "growth": one(3, growth),
    "Burgers": one(2, partial(burgers, 2)),
    "cube of 6": one(6, partial(cube, 6), 20),
    "cube of 14": one(14, partial(cube, 14), 30),
    "cube of 20": one(20, partial(cube, 20)),
    "ball of 10": one(10, partial(ball, 10)),
    "normal of 8": one(8, partial(normal, 8)),
    "normal of 25": one(25, partial(normal, 25)),
    "9 heavy tails": one(9, partial(heavy_tails, 9)),
    "roll": one(2, rolled),
    "rendered, 3 factors": one(3, partial(rendered, 3)),
    "Dirichlet(1) of 5": one(5, partial(dirichlet, 5, 1.0)),
    "Dirichlet(1) of 12": one(12, partial(dirichlet, 12, 1.0)),
    "layer of 4": one(4, partial(network, 4, 2, relu)),
    "layer of 8": one(8, partial(network, 8, 1, relu)),
    "subspaces of 5/10/15": parts(*((d, partial(normal, d)) for d in (5, 10, 15)), n_features=30),
    "grid of 3": rounded(1, one(3, partial(cube, 3), 8)),
}
FAMILIES = CHOSEN_BY | FURTHER


def measurements(name, n, noise):
    """Return features of the candidates of samples, the number of candidates, and the true one."""
    rng = np.random.default_rng([len(name), n])
    X, truth = FAMILIES[name](n, rng)
    X = X + noise * np.sqrt(X.var(axis=0).mean()) * rng.standard_normal(X.shape)
    asked = rng.permutation(len(X))
    X, truth = X[asked], truth[asked]
    model = IntrinsicDimensionEstimator(random_state=0).fit(X)
    method, autoencoder = model._method_, model.autoencoder_
    if method.geometry_ is None:
        return []
    active, points, groups, _ = method._denoise(autoencoder, X[:N_ASKED])
    around = method._around(X[:N_ASKED], points, active, groups)
    rows = []
    for i in np.flatnonzero(np.isfinite(around.ratio)):
        evidence = Evidence(*(values[i : i + 1] for values in around.evidence))
        candidates = evidence.candidates()
        features = evidence.features(candidates)
        values = np.stack([features[key][0] for key in WEIGHTS], axis=1)
        rows.append((values, int(np.nanargmin(np.abs(candidates[0] - truth[i])))))
    return rows


def fit_weights(settings):
    """Return the weights of most likelihood for lists of rows, one list for each setting."""
    pairs = [(row, 1 / len(rows)) for rows in settings for row in rows]

    def loss(weights):
        value, gradient = PENALTY * weights @ weights, 2 * PENALTY * weights
        for (features, true), share in pairs:
            logits = features @ weights
            total = logsumexp(logits)
            value += share * (total - logits[true])
            gradient = gradient + share * (np.exp(logits - total) @ features - features[true])
        return value, gradient

    return minimize(loss, np.zeros(len(WEIGHTS)), jac=True, method="L-BFGS-B").x


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, only=FAMILIES)
    warnings.simplefilter("ignore")
    names = parser.parse_args().only
    found = [measurements(name, n, noise) for name in names for n, noise in SETTINGS]
    found = [rows for rows in found if rows]
    weights = dict(zip(WEIGHTS, np.round(fit_weights(found), 2).tolist(), strict=True))
    print(weights, flush=True)
    save(OUT, "weights", {"n_settings": len(found), "weights": weights})
