"""Weights of the measurements of a dimension, fitted on families of known dimension.

    python -m benchmarks dimension_weights fit [--only NAME ...]
    python -m benchmarks dimension_weights judge [--only NAME ...] [--seeds 5]

The families are the families `CHOSEN_BY` of dimension_unseen.py, the families `CHOSEN` of the
modules `LISTS`, and the families of `FURTHER`: sets of second degree, boundaries, overlapping
clusters, fractals, solutions of differential equations and sets of many dimensions. No family of
dimension_reported.py, which are for reports, is among them. Each family has 1,000 samples with and
without noise, and 300 samples with noise, as a share of the root mean square of the columns. The
estimator is fitted to these samples, and measurements around `N_ASKED` others are kept. The weights
maximise the likelihood of the true dimensions, with equal weight for each family and setting, and a
small penalty.

For each kind of families in `LISTS`, weights are also fitted to all other kinds. Each kind is then
judged by weights that it had no share in. Log-odds of certainties are made smaller, by a factor
with noise and a factor without noise, until at most a share `MOST_WRONG` of the samples is surely
wrong. The program prints the shares of sure and surely wrong samples in each setting, and writes
skvaeense/dimension/weights.json.

`judge` measures the estimator at new samples of the families for reports, with the weights of the
package. Directions that noise hides may be counted or not.
"""

import json
import warnings
from functools import partial
from itertools import product

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from benchmarks import dimension_further, dimension_kinds, dimension_more
from benchmarks.common import RESULTS, ROOT, make_parser, run_task, save
from benchmarks.dimension_families import cube, flat_torus, heavy_tails
from benchmarks.dimension_reported import REPORTED
from benchmarks.dimension_unseen import (
    CHOSEN_BY,
    SURE,
    WRONG,
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
from skvaeense.dimension._posterior import WEIGHTS, Evidence, posterior, probability_right

OUT = RESULTS / "dimension_weights.json"
WEIGHTS_OUT = ROOT / "skvaeense" / "dimension" / "weights.json"
# Numbers of samples and shares of noise.
SETTINGS = (1000, 0.0), (300, 0.05), (1000, 0.01), (1000, 0.05)
# Settings for whose samples certainties are chosen, and shares that may then be surely wrong.
JUDGED, MOST_WRONG = SETTINGS[:2], (0.005, 0.01)
# Probability from which answers should be right as often.
CERTAIN = 0.95
# Samples of each setting at which measurements are kept, and the penalty of squared weights.
N_ASKED, PENALTY = 40, 0.02
# Step by which factors of log-odds are made smaller.
STEP = 0.02


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
LISTS = dimension_kinds, dimension_more, dimension_further
FAMILIES = CHOSEN_BY | FURTHER | {name: own for part in LISTS for name, own in part.CHOSEN.items()}
KIND_OF = {name: kind for part in LISTS for kind, own in part.KINDS.items() for name in own}
NAMES = list(WEIGHTS)
# A dimension is not more probable because distances are farther from it.
AGAINST = "above", "below", "beyond"


def drawn(family, name, n, noise, seed):
    """Return `N_ASKED` and `n` samples of a family in random order, and their dimensions."""
    rng = np.random.default_rng([*name.encode(), n, seed])
    X, truth = family(n + N_ASKED, rng)
    X = X + noise * np.sqrt(X.var(axis=0).mean()) * rng.standard_normal(X.shape)
    order = rng.permutation(len(X))
    return X[order], truth[order]


def hidden(name, noise):
    """Return the number of directions of a family that noise hides."""
    return dimension_kinds.HIDDEN.get(name, 0) if noise >= 0.05 else 0


def measurements(name, n, noise):
    """Return the evidence at samples that neighbours decide, and their true dimensions."""
    warnings.simplefilter("ignore")
    X, truth = drawn(FAMILIES[name], name, n, noise, 0)
    model = IntrinsicDimensionEstimator(random_state=0).fit(X[N_ASKED:])
    method, autoencoder = model._method_, model.autoencoder_
    if method.geometry_ is None:
        return None
    active, points, groups, _ = method._denoise(autoencoder, X[:N_ASKED])
    around = method._around(X[:N_ASKED], points, active, groups)
    rows = np.isfinite(method._answer(around))
    evidence = Evidence(*(values[rows] for values in around.evidence))
    return (evidence, truth[:N_ASKED][rows] - hidden(name, noise)) if rows.any() else None


def stacked(found):
    """Return features, masks of candidates, the nearest candidates to the truth, and weights."""
    tables = []
    for evidence, truth in found:
        candidates = evidence.candidates()
        features = evidence.features(candidates)
        values = np.stack([features[name] for name in NAMES], axis=-1)
        true = np.nanargmin(np.abs(candidates - truth[:, None]), axis=1)
        tables.append((values, ~np.isnan(candidates), true, np.full(len(truth), 1 / len(truth))))
    most = max(values.shape[1] for values, *_ in tables)
    features = [np.pad(v, [(0, 0), (0, most - v.shape[1]), (0, 0)]) for v, *_ in tables]
    masks = [np.pad(mask, [(0, 0), (0, most - mask.shape[1])]) for _, mask, *_ in tables]
    true, shares = (np.concatenate([table[i] for table in tables]) for i in (2, 3))
    masks = np.concatenate(masks)
    return np.where(masks[..., None], np.concatenate(features), 0.0), masks, true, shares


def fit_weights(found):
    """Return the weights of most likelihood for a list of pairs of evidence and truth."""
    features, masks, true, shares = stacked(found)
    rows = np.arange(len(true))

    def loss(weights):
        logits = np.where(masks, features @ weights, -np.inf)
        total = logsumexp(logits, axis=1)
        means = np.einsum("ij,ijk->ik", np.exp(logits - total[:, None]), features)
        value = shares @ (total - logits[rows, true]) + PENALTY * weights @ weights
        return value, shares @ (means - features[rows, true]) + 2 * PENALTY * weights

    bounds = [(None, 0.0 if name.startswith(AGAINST) else None) for name in NAMES]
    weights = minimize(loss, np.zeros(len(NAMES)), jac=True, bounds=bounds, method="L-BFGS-B").x
    return {name: round(float(weight), 2) for name, weight in zip(NAMES, weights, strict=True)}


def certainties(evidence, truth, n_hidden, weights, factors):
    """Return whether samples are sure, and whether they are surely wrong."""
    candidates = evidence.candidates()
    own = evidence.factors(factors)
    dimension, std = posterior(candidates, evidence.features(candidates), weights, own)
    sure = probability_right(std) > SURE
    return sure, sure & (np.abs(dimension - np.clip(dimension, truth, truth + n_hidden)) > WRONG)


def left_out(found, setting, weights, factors):
    """Return the shares of samples that are sure and surely wrong, with equal weight for families.

    The weights of each family are those that its kind had no share in.
    """
    families = [
        certainties(*found[key], hidden(key[0], key[2]), weights[KIND_OF[key[0]]], factors)
        for key in found
        if key[1:] == setting and key[0] in KIND_OF
    ]
    return np.mean([np.mean(family, axis=1) for family in families], axis=0)


def fit_factors(found):
    """Return the largest factors that leave few enough samples surely wrong in kinds left out."""
    weights = {
        kind: fit_weights([pair for (name, *_), pair in found.items() if KIND_OF.get(name) != kind])
        for kind in sorted(set(KIND_OF.values()))
    }
    factors = np.ones(2)
    # Each factor has a share in all certainties, so both are found again.
    for own in (1, 0, 1, 0):
        factors[own] = 1.0
        while left_out(found, JUDGED[own], weights, factors)[1] > MOST_WRONG[own]:
            factors[own] -= STEP
    shares = [left_out(found, setting, weights, factors).tolist() for setting in SETTINGS]
    print(factors.round(2), shares, flush=True)
    return factors.round(2).tolist(), shares


def run_fit(arguments):
    """Fit the weights, print them, and write them."""
    keys = [(name, *own) for name in arguments.only if name in FAMILIES for own in SETTINGS]
    pairs = {key: measurements(*key) for key in keys}
    found = {key: pair for key, pair in pairs.items() if pair is not None}
    factors, shares = fit_factors(found)
    weights = fit_weights(found.values())
    print(weights, flush=True)
    results = {"factors": factors, "weights": weights}
    WEIGHTS_OUT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    save(OUT, "weights", {"n_settings": len(found), "left out": shares, **results})


def run_judge(arguments):
    """Measure reported families at samples that the estimator was not fitted to."""
    names = [name for name in arguments.only if name in REPORTED]
    found = {}
    for n, noise in JUDGED:
        rows = []
        for name, seed in product(names, range(arguments.seeds)):
            X, truth = drawn(REPORTED[name], name, n, noise, seed)
            model = IntrinsicDimensionEstimator(random_state=seed).fit(X[N_ASKED:])
            dimension, truth = model.predict(X[:N_ASKED]), truth[:N_ASKED]
            nearest = np.clip(dimension, truth - hidden(name, noise), truth)
            wrong = np.abs(dimension - nearest) > WRONG
            right = model.reliability(X[:N_ASKED])
            sure, certain = right > SURE, right > CERTAIN
            shares = sure, sure & wrong, certain, certain & ~wrong
            rows.append([np.abs(dimension - truth).mean(), *(share.mean() for share in shares)])
            print(name, n, seed, np.round(rows[-1], 3), flush=True)
        error, sure, wrong, certain, hits = np.mean(rows, axis=0).tolist()
        summary = {"error": error, "sure": sure, "surely_wrong": wrong}
        summary |= {"certain": certain, "certainly_right": hits / certain}
        print(n, noise, summary, flush=True)
        found[f"{n:,} samples, {noise:.0%} noise"] = summary
        save(OUT, "reported", found)


def main():
    """Run the benchmark with the options of the command line."""
    warnings.simplefilter("ignore")
    parser = make_parser(__doc__, seeds=5, only=FAMILIES | REPORTED)
    run_task(parser, run_fit, run_judge)
