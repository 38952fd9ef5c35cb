"""Errors of dimensions, and their reliabilities, on families that no default was tuned on.

    python -m benchmarks dimension_unseen judge [--only NAME ...] [--seeds 2] [--sizes N ...]

The families are divided into two halves of similar kinds. The weights of reasons and the rules of
the estimator were chosen on the families of `CHOSEN_BY`; the families of `REPORTED` are for the
report. Each family has 500, 2,000 and 10,000 training samples and 400 unseen samples. With 2,000
samples, some families are also measured with noise, as a share of the root mean square of the
columns. The measures are the mean absolute error; the share of dimensions within two standard
errors of the truth, or equal to it once rounded; and the share of surely wrong dimensions, which
have a reliability above .9 and an error above .5. The maximum-likelihood estimate at 20 neighbours
is measured for comparison. All run on one thread; times are CPU seconds of the fit.
"""

import warnings
from functools import partial
from itertools import product

import numpy as np
from scipy.integrate import solve_ivp
from scipy.stats import ortho_group
from sklearn.neighbors import NearestNeighbors

from benchmarks.common import (
    RESULTS,
    fit,
    load,
    make_parser,
    run_task,
    save,
    summarise,
)
from benchmarks.dimension_families import cube, flat_torus, heavy_tails, paraboloid, s_curve
from skvaeense import IntrinsicDimensionEstimator

OUT = RESULTS / "dimension_unseen.json"
HELD_OUT, SIZES = 400, (500, 2000, 10_000)
# A dimension is sure above this reliability, and wrong above this error.
SURE, WRONG = 0.9, 0.5


# --- ways to put shapes together --------------------------------------------------------------


def one(dim, shape, n_features=None):
    """Return a family of one shape, a function of (n, rng), turned at random into R^n_features."""

    def draw(n, rng):
        points = shape(n, rng)
        if n_features is not None:
            points = points @ _frame(n_features, points.shape[1], rng).T
        return points, np.full(n, float(dim))

    return draw


def parts(*shapes, n_features, shares=None, apart=0.0):
    """Return a family of several (dim, shape), turned at random, with centres `apart` from 0."""

    def draw(n, rng):
        sizes = np.full(len(shapes), 1 / len(shapes)) if shares is None else np.array(shares)
        sizes = np.maximum(np.rint(n * sizes).astype(int), 2)
        points, dims = [], []
        for size, (dim, shape) in zip(sizes, shapes, strict=True):
            own = shape(size, rng)
            centre = apart * _on_sphere(n_features - 1, 1, rng)
            points.append(own @ _frame(n_features, own.shape[1], rng).T + centre)
            dims += [float(dim)] * size
        return np.concatenate(points), np.array(dims)

    return draw


def with_background(share, family):
    """Return a family in which a share of the samples fills the bounding box."""

    def draw(n, rng):
        points, dims = family(n, rng)
        rows = rng.random(n) < share
        low, high = points.min(axis=0), points.max(axis=0)
        points[rows] = rng.uniform(low, high, (np.count_nonzero(rows), points.shape[1]))
        return points, np.where(rows, points.shape[1], dims)

    return draw


def rounded(decimals, family):
    """Return a family rounded to the given number of decimals."""

    def draw(n, rng):
        points, dims = family(n, rng)
        return points.round(decimals), dims

    return draw


def _frame(n_features, dim, rng):
    return np.linalg.qr(rng.standard_normal((n_features, dim)))[0]


# --- shapes -----------------------------------------------------------------------------------


def _on_sphere(dim, n, rng):
    points = rng.standard_normal((n, dim + 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def sphere(dim, n, rng):
    return _on_sphere(dim, n, rng)


def ball(dim, n, rng):
    return _on_sphere(dim - 1, n, rng) * rng.random((n, 1)) ** (1 / dim)


def normal(dim, n, rng):
    return rng.standard_normal((n, dim))


def line(n, rng):
    return rng.uniform(-1, 1, (n, 1))


def rolled(n, rng):
    t = 1.5 * np.pi * (1 + 2 * rng.random(n))
    return np.column_stack([t * np.cos(t), 21 * rng.random(n), t * np.sin(t)]) / 10


def spiral(n, rng):
    t = rng.uniform(0, 4 * np.pi, n)
    return np.column_stack([0.6 * np.cos(t), t / 6, 0.6 * np.sin(t)])


def orthonormal(n_rows, n_columns, n, rng):
    """Draw matrices with orthonormal columns."""
    frames = np.linalg.qr(rng.standard_normal((n, n_rows, n_columns)))[0]
    return (frames * rng.choice([-1, 1], (n, 1, n_columns))).reshape(n, -1)


def turns(dim, n, rng):
    """Draw rotations."""
    return ortho_group(dim, seed=rng).rvs(n).reshape(n, -1)


def subspaces(n_rows, n_columns, n, rng):
    """Draw projections onto subspaces, the points of a Grassmannian."""
    frames = np.linalg.qr(rng.standard_normal((n, n_rows, n_columns)))[0]
    return (frames @ frames.transpose(0, 2, 1)).reshape(n, -1)


def gaussian_process(dim, length, n, rng):
    """Draw a random surface in R^30, by functions with a squared-exponential kernel."""
    points = rng.uniform(-1, 1, (n, dim))
    frequencies = rng.standard_normal((dim, 400)) / length
    waves = np.cos(points @ frequencies + rng.uniform(0, 2 * np.pi, 400))
    return waves @ rng.standard_normal((400, 30)) / 20


def flow(derivative, start, step, n, rng):
    """Draw points of the attractor of a differential equation."""
    times = 50 + step * np.arange(4 * n)
    solved = solve_ivp(
        derivative, (0, times[-1]), start + 0.1 * rng.random(3), t_eval=times, rtol=1e-8
    )
    return solved.y.T[rng.choice(4 * n, n, replace=False)]


def roessler(_, x):
    return -x[1] - x[2], x[0] + 0.2 * x[1], 0.2 + x[2] * (x[0] - 5.7)


def lorenz(_, x):
    return 10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]


def iterated(step, n, rng):
    """Draw points of the attractor of a map of the plane."""
    x, found = 0.1 * rng.random(2), []
    for _ in range(1000 + 2 * n):
        x = step(x)
        found.append(x)
    return np.array(found)[1000:][rng.permutation(2 * n)[:n]]


def henon(x):
    return np.array([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]])


def ikeda(x):
    z = complex(*x)
    z = 1 + 0.9 * z * np.exp(1j * (0.4 - 6 / (1 + abs(z) ** 2)))
    return np.array([z.real, z.imag])


def delays(n_waves, n, rng):
    """Draw windows of a sum of sine waves whose periods have no common multiple."""
    periods = np.sqrt([2, 3, 5, 7, 11][:n_waves]) * 4
    starts = rng.uniform(0, 1e5, n)[:, None] + np.arange(12)
    return sum(np.sin(2 * np.pi * starts / p) / (1 + i / 2) for i, p in enumerate(periods))


def thin_box(dim, ratio, n, rng):
    return rng.uniform(-1, 1, (n, dim)) * np.geomspace(1, 1 / ratio, dim)


def bent(shape, n, rng):
    """Bend a shape into R^30."""
    points = shape(n, rng)
    wide = np.tanh(points @ rng.standard_normal((points.shape[1], 30)))
    return np.hstack([points, 0.3 * wide]) @ _frame(points.shape[1] + 30, 30, rng)


def dirichlet(dim, concentration, n, rng):
    return rng.dirichlet([concentration] * (dim + 1), n)


def beta_curved(dim, n, rng):
    points = rng.beta(0.5, 0.5, (n, dim))
    return np.hstack([points, np.sin(3 * points), np.cos(2 * points)])


def network(dim, depth, activation, n, rng):
    """Draw the outputs of a random network with layers of 40 units, for normal inputs."""
    x = rng.standard_normal((n, dim))
    for _ in range(depth):
        x = activation(x @ rng.standard_normal((x.shape[1], 40)) / np.sqrt(x.shape[1]))
    return x


def relu(x):
    return np.maximum(x, 0)


def rendered(n_factors, n, rng):
    """Draw 12 x 12 images of an ellipse, of which the first `n_factors` factors vary."""
    x, y, size, angle, aspect, light = (
        rng.uniform(low, high, (n, 1)) if i < n_factors else np.full((n, 1), (low + high) / 2)
        for i, (low, high) in enumerate(
            [(3, 8), (3, 8), (1.2, 2.2), (0, np.pi / 2), (1.3, 2.0), (0.6, 1.4)]
        )
    )
    rows, columns = np.mgrid[:12, :12].reshape(2, 1, -1)
    across, down = columns - x, rows - y
    along = (across * np.cos(angle) + down * np.sin(angle)) / (size * aspect)
    beside = (down * np.cos(angle) - across * np.sin(angle)) / size
    return light / (1 + np.exp(6 * (np.sqrt(along**2 + beside**2) - 1)))


def klein(n, rng):
    a, b = rng.uniform(0, 2 * np.pi, (2, n))
    r = 2 + np.cos(a)
    middle = np.sin(a) * np.cos(b / 2), np.sin(a) * np.sin(b / 2)
    return np.column_stack([r * np.cos(b), r * np.sin(b), *middle])


def moebius(n, rng):
    a, w = rng.uniform(0, 2 * np.pi, n), rng.uniform(-0.5, 0.5, n)
    r = 1 + w * np.cos(a / 2)
    return np.column_stack([r * np.cos(a), r * np.sin(a), w * np.sin(a / 2)])


def helix(n, rng):
    t = rng.uniform(0, 6 * np.pi, n)
    return np.column_stack([np.cos(t), np.sin(t), t / 6])


def nested(n, rng):
    """Draw a line inside a plane inside a cube, with a common centre."""
    which, points = np.arange(n) % 3 + 1, rng.uniform(-1, 1, (n, 3))
    points *= np.arange(3) < which[:, None]
    return points @ _frame(10, 3, rng).T, which.astype(float)


def two_normals(dim, apart, n, rng):
    points = normal(dim, n, rng)
    points[:, 0] += apart * (np.arange(n) % 2)
    return points


# --- families ---------------------------------------------------------------------------------

LORENZ = one(2.06, partial(flow, lorenz, (1.0, 1.0, 20.0), 0.11))
ROESSLER = one(2.01, partial(flow, roessler, (1.0, 1.0, 0.0), 0.31))
CHOSEN_BY = {
    "frames of 2 in R^4": one(5, partial(orthonormal, 4, 2)),
    "planes in R^4": one(4, partial(subspaces, 4, 2)),
    "tori of 1/2": parts(*((d, partial(flat_torus, d)) for d in (1, 2)), n_features=20),
    "sphere of 4 and cube of 2": parts(
        (4, partial(sphere, 4)), (2, partial(cube, 2)), n_features=20
    ),
    "random surface of 2": one(2, partial(gaussian_process, 2, 0.8)),
    "Henon": one(1.24, partial(iterated, henon)),
    "Lorenz": LORENZ,
    "delays of 2 waves": one(2, partial(delays, 2)),
    "box of 4, 1:10": one(4, partial(thin_box, 4, 10), 20),
    "bent box of 3, 1:30": one(3, partial(bent, partial(thin_box, 3, 30))),
    "Dirichlet(1) of 6": one(6, partial(dirichlet, 6, 1.0)),
    "beta of 3, curved": one(3, partial(beta_curved, 3)),
    "heavy tails of 4": one(4, partial(heavy_tails, 4), 20),
    "rounded roll": rounded(1, one(2, rolled)),
    "nested 1/2/3": nested,
    "roll and background": with_background(0.2, one(2, rolled)),
    "parts of 1/3/5, 80/15/5 %": parts(
        *((d, partial(cube, d)) for d in (1, 3, 5)), n_features=15, shares=(0.8, 0.15, 0.05)
    ),
    "network of 1 layer": one(5, partial(network, 5, 1, relu)),
    "network of 4 layers": one(3, partial(network, 3, 4, relu)),
    "rendered, 2 factors": one(2, partial(rendered, 2)),
    "rendered, 5 factors": one(5, partial(rendered, 5)),
    "D = 1,000, sphere of 6": one(6, partial(sphere, 6), 1000),
    "ball, line in R^3": parts((3, partial(ball, 3)), (1, line), n_features=3, apart=2),
    "ball, sheet in R^4": parts((4, partial(ball, 4)), (2, s_curve), n_features=4, apart=3),
    "two normals of 8": one(8, partial(two_normals, 8, 2.0)),
    "Moebius band": one(2, moebius),
    "normal of 5": one(5, partial(normal, 5)),
    "paraboloid of 4": one(4, partial(paraboloid, 4)),
    "tori of 1/3": parts(*((d, partial(flat_torus, d)) for d in (1, 3)), n_features=20),
    "box of 3, 1:100": one(3, partial(thin_box, 3, 100), 20),
    "bent box of 5, 1:50": one(5, partial(bent, partial(thin_box, 5, 50))),
    "Dirichlet(.5) of 8": one(8, partial(dirichlet, 8, 0.5)),
    "beta of 5, curved": one(5, partial(beta_curved, 5)),
    "network of 3 layers": one(5, partial(network, 5, 3, relu)),
    "10 heavy tails": one(10, partial(heavy_tails, 10)),
    "rendered, 3 factors": one(3, partial(rendered, 3)),
}
REPORTED = {
    "rotations of R^4": one(6, partial(turns, 4)),
    "lines in R^5": one(4, partial(subspaces, 5, 1)),
    "tori of 1/2/4": parts(*((d, partial(flat_torus, d)) for d in (1, 2, 4)), n_features=20),
    "spheres of 2/5": parts(*((d, partial(sphere, d)) for d in (2, 5)), n_features=20, apart=1),
    "random surface of 3": one(3, partial(gaussian_process, 3, 0.7)),
    "Roessler": ROESSLER,
    "Ikeda": one(1.69, partial(iterated, ikeda)),
    "delays of 3 waves": one(3, partial(delays, 3)),
    "box of 4, 1:100": one(4, partial(thin_box, 4, 100), 20),
    "bent box of 4, 1:100": one(4, partial(bent, partial(thin_box, 4, 100))),
    "Dirichlet(.3) of 10": one(10, partial(dirichlet, 10, 0.3)),
    "beta of 6, curved": one(6, partial(beta_curved, 6)),
    "20 heavy tails": one(20, partial(heavy_tails, 20)),
    "grid of 2": rounded(1, one(2, partial(cube, 2), 10)),
    "crossing 1/3": parts((1, line), (3, partial(paraboloid, 3)), n_features=8),
    "circle and background": with_background(0.1, one(1, partial(sphere, 1), 5)),
    "10 rows of 2 beside 4": parts(
        (4, partial(cube, 4)), (2, partial(cube, 2)), n_features=10, shares=(0.98, 0.02), apart=3
    ),
    "network of 2 layers": one(4, partial(network, 4, 2, np.tanh)),
    "network of 5 layers": one(6, partial(network, 6, 5, relu)),
    "rendered, 4 factors": one(4, partial(rendered, 4)),
    "rendered, 6 factors": one(6, partial(rendered, 6)),
    "D = 1,000, random surface of 2": one(2, partial(gaussian_process, 2, 1.0), 1000),
    "ball, roll, spiral in R^3": parts(
        (3, partial(ball, 3)), (2, rolled), (1, spiral), n_features=3, apart=2.5
    ),
    "cube, circle in R^6": parts(
        (6, partial(cube, 6)), (1, partial(sphere, 1)), n_features=6, apart=3
    ),
    "normal, plane in R^10": parts(
        (10, partial(normal, 10)), (2, partial(cube, 2)), n_features=10, apart=5
    ),
    "two normals of 20": one(20, partial(two_normals, 20, 2.0)),
    "Klein bottle": one(2, klein),
    "cube of 8": one(8, partial(cube, 8)),
    "helix": one(1, helix),
}
# Families that are also measured with noise.
NOISY = (
    "tori of 1/2", "sphere of 4 and cube of 2", "random surface of 2", "Moebius band",
    "paraboloid of 4", "box of 4, 1:10", "tori of 1/3", "parts of 1/3/5, 80/15/5 %",
    "beta of 3, curved", "tori of 1/2/4", "spheres of 2/5", "random surface of 3",
    "helix", "Klein bottle", "crossing 1/3",
)  # fmt: skip
NOISY_SIZE, NOISES = 2000, (0.01, 0.05, 0.1)
FAMILIES = CHOSEN_BY | REPORTED
HALVES = {"chosen by": CHOSEN_BY, "reported": REPORTED}


def draw(name, n, noise, seed):
    """Return `n` and `HELD_OUT` samples of a family in random order, and their dimensions."""
    rng = np.random.default_rng([seed, n])
    X, dimension = FAMILIES[name](n + HELD_OUT, rng)
    X = X + noise * np.sqrt(X.var(axis=0).mean()) * rng.standard_normal(X.shape)
    order = rng.permutation(len(X))
    return X[order], dimension[order]


def settings(name, sizes=SIZES):
    """Return the pairs (n, noise) at which a family is measured."""
    noises = NOISES if name in NOISY and NOISY_SIZE in sizes else ()
    return [(n, 0.0) for n in sizes] + [(NOISY_SIZE, noise) for noise in noises]


def measure(name, n, noise, seed):
    """Return a row of the measures of unseen samples of a family."""
    X, dimension = draw(name, n, noise, seed)
    train, test, truth = X[HELD_OUT:], X[:HELD_OUT], dimension[:HELD_OUT]
    mle = np.abs(maximum_likelihood(train, test) - truth).mean()
    model = IntrinsicDimensionEstimator(random_state=seed)
    seconds = fit(model, train)
    said, std = model.predict(test, return_std=True)
    error, sure = np.abs(said - truth), model.reliability(test) > SURE
    right = np.rint(said) == np.rint(truth)
    return {
        "n": n,
        "noise": noise,
        "seed": seed,
        "mle": float(mle),
        "error": float(error.mean()),
        "covered": float(((error <= 2 * std) | right).mean()),
        "sure": float(sure.mean()),
        "surely_wrong": float((sure & (error > WRONG)).mean()),
        "fit_seconds": seconds,
    }


def maximum_likelihood(train, test, k=20):
    """Return the estimate of Levina and Bickel at each test sample."""
    distances = NearestNeighbors(n_neighbors=k).fit(train).kneighbors(test)[0]
    ratios = np.log(distances[:, -1:] / np.maximum(distances[:, :-1], np.finfo(float).tiny))
    return (k - 2) / np.maximum(ratios.sum(axis=1), np.finfo(float).tiny)


def summary_of(rows):
    """Return the summary of a half of the families, with equal weight for each family."""
    errors = np.array(
        [[np.mean([r[key] for r in own]) for key in ("error", "mle")] for own in rows]
    )
    least = [np.mean([r["covered"] for r in own]) for own in rows]
    return {
        "error_mean": float(errors[:, 0].mean()),
        "error_median": float(np.median(errors[:, 0])),
        "mle_median": float(np.median(errors[:, 1])),
        "surely_wrong": float(np.mean([r["surely_wrong"] for own in rows for r in own])),
        "sure": float(np.mean([r["sure"] for own in rows for r in own])),
        "covered_mean": float(np.mean(least)),
        "covered_under_90": int(np.sum(np.array(least) < 0.9)),
    }


def summarise_halves(results):
    """Print and return the summary of each half at each size and noise level."""
    summary = {}
    for half, names in HALVES.items():
        for n, noise in product(SIZES, (0.0, *NOISES)):
            rows = [
                [r for r in results[name]["per_seed"] if (r["n"], r["noise"]) == (n, noise)]
                for name in names
                if name in results
            ]
            rows = [own for own in rows if own]
            if rows:
                key = f"{half}, n = {n:,}" + (f", {noise:.0%} noise" if noise else "")
                summary[key] = {"n_families": len(rows), **summary_of(rows)}
                print(key, {k: round(v, 3) for k, v in summary[key].items()}, flush=True)
    return summary


def run_judge(arguments):
    """Measure the data sets and seeds that the file lacks."""
    for seed, name in product(range(arguments.seeds), arguments.only):
        rows = load(OUT).get(name, {"per_seed": []})["per_seed"]
        measured = {(r["n"], r["noise"], r["seed"]) for r in rows}
        missing = [s for s in settings(name, arguments.sizes) if (*s, seed) not in measured]
        if missing:
            rows = [*rows, *(measure(name, *setting, seed) for setting in missing)]
            print(name, seed, [round(r["error"], 2) for r in rows], flush=True)
            summary = summarise(rows, "error_mean", "error_worst", "surely_wrong_mean")
            save(OUT, name, {"summary": summary, "per_seed": rows})
    results = load(OUT)
    results.pop("halves", None)
    save(OUT, "halves", summarise_halves(results))


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=2, only=FAMILIES)
    parser.add_argument("--sizes", nargs="+", type=int, choices=SIZES, default=SIZES)
    warnings.simplefilter("ignore")
    run_task(parser, run_judge)
