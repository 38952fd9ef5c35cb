"""Families of data of known dimension for judging standard errors.

The last three shapes of `JUDGED` were not looked at until everything else was finished. Samples and
their dimensions are drawn anew for every seed.
"""

from functools import partial

import numpy as np
from sklearn.datasets import make_s_curve

from benchmarks.dimension_robustness import draw_samples
from benchmarks.generators.transformed_images import make_transformed_images

# Number of held-out samples, drawn in addition to the training samples.
HELD_OUT = 1000
# Settings of independently active atoms. `share` is the probability that an atom is active.
INDEPENDENT = {"n_samples": 8000, "n_atoms": 25, "share": 0.15}


def draw_images(dims, noise, seed, images="photographs", n_samples=6000):
    """Draw images of 256 pixels, with noise as a share of the root mean square within sources."""
    X, image, dimension = make_transformed_images(
        n_samples + HELD_OUT, dims=dims, images=images, random_state=seed
    )
    within = np.sqrt(np.mean([X[image == i].var(axis=0).mean() for i in np.unique(image)]))
    return X + noise * within * np.random.default_rng(seed).standard_normal(X.shape), dimension


def union(*shapes, n_samples, n_features, noise=0.0):
    """Return a function of a seed that draws equally many points of randomly rotated shapes.

    A shape is a pair of a dimension and a function of a number of points and a generator.
    """

    def draw(seed):
        rng, parts, dimension = np.random.default_rng(seed), [], []
        n = (n_samples + HELD_OUT) // len(shapes)
        for dim, shape in shapes:
            points = shape(n, rng)
            frame = np.linalg.qr(rng.standard_normal((n_features, points.shape[1])))[0]
            parts.append(points @ frame.T)
            dimension += [dim] * n
        X, dimension = np.concatenate(parts), np.array(dimension)
        X += noise * np.sqrt(X.var(axis=0).mean()) * rng.standard_normal(X.shape)
        order = rng.permutation(len(X))
        return X[order], dimension[order]

    return draw


def curve(name, n_samples, noise):
    """Return a function of a seed that draws a shape of dimension_robustness.py."""

    def draw(seed):
        X = draw_samples(name, n_samples + HELD_OUT, noise, seed)
        return X, np.full(len(X), 1 if name == "helix" else 2)

    return draw


def draw_independent(n_samples, noise, seed, n_atoms, share):
    """Draw sums of independently active atoms, with positive codes.

    Return the samples, a mask of their active atoms, the atoms, and the standard deviation of the
    noise.
    """
    rng = np.random.default_rng(seed)
    active = rng.random((n_samples + HELD_OUT, n_atoms)) < share
    active[~active.any(axis=1), 0] = True
    atoms = rng.standard_normal((n_atoms, 40))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    X = (active * np.abs(rng.standard_normal(active.shape))) @ atoms
    noise_std = noise * np.sqrt(X.var(axis=0).mean())
    return X + noise_std * rng.standard_normal(X.shape), active, atoms, noise_std


def independent(noise, seed):
    X, active, *_ = draw_independent(**INDEPENDENT, noise=noise, seed=seed)
    return X, active.sum(axis=1)


# --- shapes -----------------------------------------------------------------------------------


def s_curve(n, rng):
    return make_s_curve(n, random_state=int(rng.integers(2**31)))[0]


def paraboloid(dim, n, rng):
    flat = rng.uniform(-1, 1, (n, dim))
    return np.column_stack([flat, np.square(flat).sum(axis=1)])


def cube(dim, n, rng):
    return rng.uniform(-1, 1, (n, dim))


def flat_torus(dim, n, rng):
    angles = rng.uniform(0, 2 * np.pi, (n, dim))
    return np.column_stack([np.cos(angles), np.sin(angles)])


def ellipsoid(dim, n, rng):
    points = rng.standard_normal((n, dim + 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * np.linspace(1, 2, dim + 1)


def heavy_tails(dim, n, rng):
    return rng.standard_t(5, (n, dim))


def crowded(n, rng):
    flat = rng.beta(0.5, 2, (n, 3))
    return np.column_stack([flat, np.sin(3 * flat)])


def cylinder(dim, n, rng):
    """Draw a circle times a cube."""
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.column_stack([np.cos(angle), np.sin(angle), rng.uniform(-1, 1, (n, dim - 1))])


def veronese(dim, n, rng):
    """Draw all pairwise products of the coordinates of points on a sphere."""
    points = rng.standard_normal((n, dim + 1))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    rows, columns = np.triu_indices(dim + 1)
    return points[:, rows] * points[:, columns]


def waves(dim, n, rng):
    """Draw points of a cube, with a sine and a cosine of each coordinate as further columns."""
    flat = rng.uniform(-1, 1, (n, dim))
    return np.column_stack([flat, np.sin(2 * flat), np.cos(3 * flat)])


# --- families ---------------------------------------------------------------------------------


def with_noise(noise, families):
    """Return the families with the noise level added to their names."""
    return {f"{name}, {noise:.0%} noise" if noise else name: f for name, f in families.items()}


JUDGED = {}
for noise in (0.0, 0.05):
    JUDGED |= with_noise(
        noise,
        {
            "flat tori of 2/4": union(
                (2, partial(flat_torus, 2)),
                (4, partial(flat_torus, 4)),
                n_samples=5000,
                n_features=30,
                noise=noise,
            ),
            "ellipsoids of 3/6": union(
                (3, partial(ellipsoid, 3)),
                (6, partial(ellipsoid, 6)),
                n_samples=5000,
                n_features=25,
                noise=noise,
            ),
            "independent atoms": partial(independent, noise),
            "heavy tails, 2/5": union(
                (2, partial(heavy_tails, 2)),
                (5, partial(heavy_tails, 5)),
                n_samples=5000,
                n_features=30,
                noise=noise,
            ),
            "crowded at a boundary, 3": union(
                (3, crowded), n_samples=4000, n_features=15, noise=noise
            ),
            "cube of 30": union(
                (30, partial(cube, 30)), n_samples=2500, n_features=60, noise=noise
            ),
            "helix": curve("helix", 2500, noise),
            "swiss roll": curve("swiss roll", 2500, noise),
            "swiss roll, n = 10,000": curve("swiss roll", 10_000, noise),
            "cylinders of 2/5": union(
                (2, partial(cylinder, 2)),
                (5, partial(cylinder, 5)),
                n_samples=5000,
                n_features=25,
                noise=noise,
            ),
            "products on spheres of 2/4": union(
                (2, partial(veronese, 2)),
                (4, partial(veronese, 4)),
                n_samples=5000,
                n_features=30,
                noise=noise,
            ),
            "waves of 1/3": union(
                (1, partial(waves, 1)),
                (3, partial(waves, 3)),
                n_samples=5000,
                n_features=20,
                noise=noise,
            ),
        },
    )
IMAGES = {
    f"{'/'.join(map(str, dims))} transforms, noise {noise:.0%}": partial(draw_images, dims, noise)
    for dims in ((1, 3, 5), (1, 2, 6), (2, 4))
    for noise in (0.0, 0.05)
} | {
    f"digits, 1/3/5 transforms, noise {noise:.0%}": partial(
        draw_images, (1, 3, 5), noise, images="digits"
    )
    for noise in (0.0, 0.05)
}
