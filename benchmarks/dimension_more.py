"""More families of known dimension, of the kinds of dimension_kinds.py.

Networks, waves, orbits, arms, images, sounds, matrices, mixtures, atoms, thin and solid sets, with
other shapes and functions. They were reported on once; now weights are chosen by them, too.
"""

from functools import partial

import numpy as np

from benchmarks.dimension_kinds import atoms, box, of_rank, solutions, subspaces
from benchmarks.dimension_unseen import ball, dirichlet, normal, one, parts, sphere

PIXELS = np.mgrid[:12, :12].reshape(2, 1, -1)


def varied(low, high, n_factors, n, rng):
    """Draw columns of factors between bounds; those after the first `n_factors` do not vary."""
    low, high = np.array(low, dtype=float), np.array(high, dtype=float)
    values = rng.uniform(low, high, (n, len(low)))
    return np.where(np.arange(len(low)) < n_factors, values, (low + high) / 2).T[..., None]


# --- networks and waves -----------------------------------------------------------------------


def softplus(dim, width, n, rng):
    """Draw outputs of two layers of softplus for normal inputs."""
    x = normal(dim, n, rng)
    for _ in range(2):
        x = np.logaddexp(0, 2 * x @ rng.standard_normal((x.shape[1], width)) / x.shape[1] ** 0.5)
    return x


def gated(dim, width, n, rng):
    """Draw products of a linear layer and a sigmoid layer."""
    x = box(dim, n, rng)
    left, right = rng.standard_normal((2, dim, width))
    return x @ left / (1 + np.exp(-3 * x @ right))


def bumps(widths, n_bumps, size, n, rng):
    """Draw activations of round units at random centres of a box with these widths."""
    z = box(len(widths), n, rng) * widths
    centres = box(len(widths), n_bumps, rng) * widths
    return np.exp(-np.square((z[:, None] - centres) / size).sum(axis=2))


def recurrent(dim, n_steps, n, rng):
    """Draw the last states of a recurrent network for a constant input."""
    into, over = rng.standard_normal((dim, 25)), 1.2 * rng.standard_normal((25, 25)) / 5
    x = box(dim, n, rng) @ into
    state = np.zeros_like(x)
    for _ in range(n_steps):
        state = np.tanh(x + state @ over)
    return state


def maxout(dim, n, rng):
    return (box(dim, n, rng) @ rng.standard_normal((3, dim, 30))).max(axis=0)


def polynomials(dim, degree, n, rng):
    """Draw random sums of products of Chebyshev polynomials."""
    z = np.arccos(box(dim, n, rng))
    powers = rng.integers(0, degree + 1, (25, dim))
    return np.cos(z[:, None] * powers).prod(axis=2) @ rng.standard_normal((25, 20))


def closed(dim, n_waves, n, rng):
    """Draw closed surfaces: random waves of angles."""
    t = rng.uniform(0, 2 * np.pi, (n, dim))
    counts, phases = rng.integers(-2, 3, (dim, n_waves)), rng.uniform(0, 2 * np.pi, n_waves)
    waves = np.hstack([np.cos(t), np.sin(t), 0.5 * np.cos(t @ counts + phases)])
    return waves @ rng.standard_normal((waves.shape[1], 22))


def cubic(dim, n, rng):
    """Draw graphs of cubic forms."""
    z = box(dim, n, rng)
    return np.hstack([z, (z @ rng.standard_normal((dim, 5))) ** 3 / 3])


# --- orbits and arms --------------------------------------------------------------------------


def relaxation(n_factors, n, rng):
    """Draw the oscillator of van der Pol for random strengths and starts."""
    mu, x, v = varied([0.3, 0.5, -1], [1.5, 2, 1], n_factors, n, rng)[..., 0]

    def derivative(y):
        return np.stack([y[:, 1], mu * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], axis=1)

    return solutions(derivative, np.stack([x, v], axis=1), np.linspace(0.3, 6, 20))[:, :, 0]


def reactions(n, rng):
    """Draw amounts of two products of a chain of reactions with three random rates."""
    rates = rng.uniform(0.2, 1.5, (n, 3))

    def derivative(y):
        flow = rates * np.stack([y[:, 0], y[:, 0] * y[:, 1], y[:, 1]], axis=1)
        return np.stack([-flow[:, 0] - flow[:, 1], flow[:, 0] - flow[:, 2]], axis=1)

    return solutions(derivative, np.tile([1.0, 0.1], (n, 1)), np.linspace(0.2, 5, 15)).reshape(
        n, -1
    )


def springs(n_factors, n, rng):
    """Draw 30 positions of a damped spring with random frequency, damping and start."""
    speed, damping, phase, size = varied([0.6, 0.02, 0, 0.5], [1.2, 0.2, 2, 1.5], n_factors, n, rng)
    t = np.linspace(0, 12, 30)
    return size * np.exp(-damping * t) * np.cos(speed * t + phase)


def competition(n, rng):
    """Draw two species that compete, for random starts and rates."""
    first, second, a, b = rng.uniform([0.1, 0.1, 0.3, 0.3], [0.8, 0.8, 1.2, 1.2], (n, 4)).T

    def derivative(y):
        return y * (1 - y - np.stack([a, b], axis=1) * y[:, ::-1])

    starts = np.stack([first, second], axis=1)
    return solutions(derivative, starts, np.linspace(0.5, 8, 12)).reshape(n, -1)


def figures(n, rng):
    """Draw Lissajous figures with random phases and one random frequency."""
    a, b, speed = rng.uniform([0, 0, 1], [2 * np.pi, 2 * np.pi, 1.5], (n, 3)).T[..., None]
    t = np.linspace(0, 5, 14)
    return np.hstack([np.cos(t + a), np.cos(speed * t + b), np.sin(2 * t + a + b)])


def crane(n, rng):
    """Draw points of a crane that turns, tilts and becomes longer."""
    turn, tilt, length = rng.uniform([-1, 0.2, 1], [1, 1.2, 2], (n, 3)).T
    top = np.stack([np.cos(turn) * np.cos(tilt), np.sin(turn) * np.cos(tilt), np.sin(tilt)])
    return np.hstack([(length * k * top).T - [0, 0, k**2] for k in (0.3, 0.6, 1.0)])


def sliding(n_joints, n, rng):
    """Draw an arm in the plane whose links have random lengths and fixed angles in turn."""
    angles = np.cumsum(np.where(np.arange(n_joints) % 2, rng.uniform(-1, 1, (n, n_joints)), 0.4), 1)
    lengths = np.where(np.arange(n_joints) % 2, 1.0, rng.uniform(0.5, 1.5, (n, n_joints)))
    return np.hstack(
        [np.cumsum(lengths * np.cos(angles), axis=1), np.cumsum(lengths * np.sin(angles), axis=1)]
    )


def hand(n_fingers, n, rng):
    """Draw fingers of three links, each bent by one angle, on a palm that turns."""
    turn = rng.uniform(-0.6, 0.6, (n, 1))
    found = []
    for finger in range(n_fingers):
        bend = rng.uniform(0, 1, (n, 1))
        angles = turn + 0.3 * finger + bend * np.arange(1, 4)
        found += [np.cumsum(np.cos(angles), axis=1), np.cumsum(np.sin(angles), axis=1)]
    return np.hstack(found)


def rope(n_waves, n, rng):
    """Draw a rope of 15 links whose angles are sums of waves with random sizes."""
    s = np.linspace(0, 1, 15)
    shapes = np.sin(np.pi * np.outer(np.arange(1, n_waves + 1), s))
    angles = rng.uniform(-1, 1, (n, n_waves)) @ shapes
    return np.hstack([np.cumsum(np.cos(angles), axis=1), np.cumsum(np.sin(angles), axis=1)])


# --- images and sounds ------------------------------------------------------------------------


def blob(n_factors, n, rng):
    """Draw images of an oval whose place, angle, length and light vary."""
    x, y, angle, length, light = varied([4, 4, 0, 2, 0.5], [7, 7, 1.5, 4, 1.5], n_factors, n, rng)
    rows, columns = PIXELS
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    return light * np.exp(-((along / length) ** 2) - (across / 1.5) ** 2)


def clock(n, rng):
    """Draw images of two hands at random angles."""
    rows, columns = PIXELS - 5.5
    image = 0.0
    for length in (3.0, 5.0):
        t = rng.uniform(0, 2 * np.pi, (n, 1))
        along = np.clip(columns * np.cos(t) + rows * np.sin(t), 0, length)
        off = (columns - along * np.cos(t)) ** 2 + (rows - along * np.sin(t)) ** 2
        image = image + np.exp(-off / 2)
    return image


def corners(n_corners, n, rng):
    """Draw images of a soft polygon: products of half-planes at random distances."""
    rows, columns = PIXELS - 5.5
    image = 1.0
    for k in range(n_corners):
        t, off = 2 * np.pi * k / n_corners, rng.uniform(1.5, 4, (n, 1))
        image = image / (1 + np.exp(columns * np.cos(t) + rows * np.sin(t) - off))
    return image


def lit(n_factors, n, rng):
    """Draw images of a lit ball: two angles of the light, radius and ambient light."""
    a, b, radius, ambient = varied([-1, -1, 4, 0.1], [1, 1, 6, 0.6], n_factors, n, rng)
    rows, columns = (PIXELS - 5.5) / radius
    depth = np.sqrt(np.maximum(1 - rows**2 - columns**2, 0))
    light = rows * np.sin(a) + columns * np.cos(a) * np.sin(b) + depth * np.cos(a) * np.cos(b)
    return np.where(depth > 0, np.logaddexp(0, 4 * light) / 4 + ambient, 0)


def lines_of_light(n, rng):
    """Draw images of two crossing soft lines with random places."""
    rows, columns = PIXELS
    x, y = rng.uniform(3, 8, (2, n, 1))
    return np.exp(-((columns - x) ** 2) / 3) + np.exp(-((rows - y) ** 2) / 3)


def beats(n, rng):
    """Draw sums of two tones with random pitches and one loudness."""
    a, b, light = rng.uniform([0.3, 0.6, 0.3], [0.5, 0.8, 1], (n, 3)).T[..., None]
    t = np.arange(36)
    return np.sin(a * t) + light * np.sin(b * t)


def modulated(n_factors, n, rng):
    """Draw tones whose pitch is modulated, with random strength, speed, phase and loudness."""
    strength, speed, phase, light = varied(
        [0.2, 0.1, 0, 0.5], [1.5, 0.3, 2, 1.5], n_factors, n, rng
    )
    t = np.arange(36)
    return light * np.sin(0.5 * t + strength * np.sin(speed * t + phase))


def plucked(n, rng):
    """Draw strings that are plucked at random places, with random damping and loudness."""
    place, damping, light = rng.uniform([0.1, 0.01, 0.5], [0.5, 0.1, 1.5], (n, 3)).T[..., None]
    t, k = np.arange(32), np.arange(1, 6)[:, None, None]
    overtones = np.sin(np.pi * k * place) / k**2 * np.exp(-damping * k * t) * np.cos(0.25 * k * t)
    return light * overtones.sum(axis=0)


def vowels(n_factors, n, rng):
    """Draw spectra in decibels with two resonances of random places and widths."""
    a, b, width, tilt = varied([8, 20, 2, 0], [14, 30, 4, 0.05], n_factors, n, rng)
    bands = np.arange(40)
    power = sum(1 / (1 + ((bands - place) / width) ** 2) for place in (a, b))
    return np.log(0.02 + power) - tilt * bands


# --- matrices ---------------------------------------------------------------------------------


def rotations(n, rng):
    """Draw rotations of space as matrices."""
    q = np.linalg.qr(rng.standard_normal((n, 3, 3)))[0]
    return (q * np.linalg.det(q)[:, None, None]).reshape(n, -1)


def unitary(n, rng):
    """Draw unitary matrices of two rows: four dimensions."""
    q = np.linalg.qr(rng.standard_normal((n, 2, 2)) + 1j * rng.standard_normal((n, 2, 2)))[0]
    q = (q * np.exp(1j * rng.uniform(0, 2 * np.pi, (n, 1, 2)))).reshape(n, -1)
    return np.hstack([q.real, q.imag])


def density_matrices(n_rows, n, rng):
    """Draw positive matrices of trace 1."""
    a = rng.standard_normal((n, n_rows, n_rows + 2))
    a = a @ a.transpose(0, 2, 1)
    return (a / np.trace(a, axis1=1, axis2=2)[:, None, None]).reshape(n, -1)


def minors(n, rng):
    """Draw coordinates of Pluecker of the planes of R^4: four dimensions."""
    q = np.linalg.qr(rng.standard_normal((n, 4, 2)))[0]
    i, j = np.triu_indices(4, 1)
    return q[:, i, 0] * q[:, j, 1] - q[:, j, 0] * q[:, i, 1]


def tensors(n, rng):
    """Draw tensors of rank 1 of 2 x 3 x 3: six dimensions."""
    a, b, c = (rng.standard_normal((n, k)) for k in (2, 3, 3))
    return np.einsum("ni,nj,nk->nijk", a, b, c).reshape(n, -1)


# --- mixtures, thin and solid sets ------------------------------------------------------------


def star(n_rays, n, rng):
    """Draw segments and one disc that meet at the origin."""
    which, points = np.arange(n) % (n_rays + 1), np.zeros((n, 8))
    for i in range(n_rays):
        rows = which == i
        points[rows, i] = rng.uniform(-2, 2, rows.sum())
    rows = which == n_rays
    points[rows, 5:7] = 1.5 * ball(2, rows.sum(), rng)
    return points, np.where(rows, 2.0, 1.0)


def stacked_boxes(dims, n, rng):
    """Draw boxes of several dimensions that share their first axis."""
    which, points = np.arange(n) % len(dims), np.zeros((n, sum(dims)))
    start = 0
    for i, dim in enumerate(dims):
        rows = which == i
        columns = [0, *range(start + 1, start + dim)]
        points[np.ix_(rows, columns)] = box(dim, rows.sum(), rng) * 1.2
        start += dim - 1
    return points, np.array(dims, dtype=float)[which]


def ribbon(width, n, rng):
    """Draw a ribbon that turns about a curve of space."""
    t, w = rng.uniform(0, 2 * np.pi, n), rng.uniform(-width, width, n)
    centre = np.stack([np.cos(t), np.sin(2 * t), np.sin(t) + np.cos(3 * t) / 2])
    across = np.stack([np.cos(t / 2), np.sin(t / 2), np.zeros(n)])
    return (centre + w * across).T


def lens(ratio, n, rng):
    """Draw the surface of a flat ellipsoid."""
    return sphere(2, n, rng) * [1, 0.8, 1 / ratio]


def hollow(thickness, n, rng):
    """Draw a thin shell of space: three dimensions."""
    return sphere(2, n, rng) * (1 + rng.uniform(-thickness, thickness, (n, 1)))


def layers(stds, n, rng):
    """Draw a normal distribution of these standard deviations, bent along its first axis."""
    z = rng.standard_normal((n, len(stds))) * stds
    return np.column_stack([z, 0.4 * z[:, 0] ** 2, np.sin(z[:, 1])])


def laplace(dim, n, rng):
    return rng.laplace(size=(n, dim))


def triangular(dim, n, rng):
    return rng.triangular(-1, 0.5, 1, (n, dim))


# kind: families
KINDS = {
    "networks": {
        "softplus of 4": one(4, partial(softplus, 4, 40)),
        "gated of 5": one(5, partial(gated, 5, 30)),
        "bumps of 3": one(3, partial(bumps, [1, 1, 1], 40, 1.2)),
        "recurrent of 2": one(2, partial(recurrent, 2, 5)),
        "maxout of 6": one(6, partial(maxout, 6)),
    },
    "waves": {
        "polynomials of 2": one(2, partial(polynomials, 2, 4)),
        "polynomials of 4": one(4, partial(polynomials, 4, 2)),
        "closed surface of 2": one(2, partial(closed, 2, 10)),
        "closed curve": one(1, partial(closed, 1, 8)),
        "cubic graph of 3": one(3, partial(cubic, 3)),
    },
    "orbits": {
        "relaxation, 2": one(2, partial(relaxation, 2)),
        "relaxation, 3": one(3, partial(relaxation, 3)),
        "reactions": one(3, reactions),
        "springs, 3": one(3, partial(springs, 3)),
        "competition": one(4, competition),
        "figures": one(3, figures),
    },
    "arms": {
        "crane": one(3, crane),
        "sliding arm of 4": one(4, partial(sliding, 4)),
        "hand of 4 fingers": one(5, partial(hand, 4)),
        "rope of 3": one(3, partial(rope, 3)),
    },
    "images": {
        "blob, 3": one(3, partial(blob, 3)),
        "blob, 5": one(5, partial(blob, 5)),
        "clock": one(2, clock),
        "polygon of 4": one(4, partial(corners, 4)),
        "lit ball, 2": one(2, partial(lit, 2)),
        "lines of light": one(2, lines_of_light),
    },
    "sounds": {
        "beats": one(3, beats),
        "modulated, 2": one(2, partial(modulated, 2)),
        "modulated, 4": one(4, partial(modulated, 4)),
        "plucked": one(3, plucked),
        "vowels, 3": one(3, partial(vowels, 3)),
    },
    "matrices": {
        "rotations": one(3, rotations),
        "unitary of 2": one(4, unitary),
        "density matrices of 3": one(5, partial(density_matrices, 3)),
        "planes of R^4": one(4, minors),
        "tensors": one(6, tensors),
        "rank 1, 3 x 3": one(5, partial(of_rank, 3, 3, 1)),
    },
    "mixtures": {
        "star of 3": partial(star, 3),
        "boxes 2, 3": partial(stacked_boxes, (2, 3)),
        "boxes 1, 4": partial(stacked_boxes, (1, 4)),
        "spheres 1, 4, apart": parts(
            (1, partial(sphere, 1)), (4, partial(sphere, 4)), n_features=15, apart=1.5
        ),
        "normal, cube, apart": parts(
            (3, partial(normal, 3)), (6, partial(box, 6)), n_features=16, apart=4
        ),
    },
    "atoms": {
        "2 of 14 atoms": partial(atoms, [2], 14, 16, False),
        "1 to 5 of 24 atoms": partial(atoms, [1, 2, 3, 4, 5], 24, 30, True),
        "10 subspaces of 4": partial(subspaces, [4] * 10, 18),
        "subspaces 1, 2, 3, 6": partial(subspaces, [1, 2, 3, 6], 16),
    },
    "thin": {
        "bumps of 2 + 1:30": one(3, partial(bumps, [1, 1, 0.033], 40, 1.0)),
        "ribbon": one(2, partial(ribbon, 0.06), 9),
        "lens 1:20": one(2, partial(lens, 20), 8),
        "shell of 5 %": one(3, partial(hollow, 0.05), 10),
        "layers 1:15, 4": one(4, partial(layers, [1, 0.6, 0.25, 0.067]), 14),
    },
    "solid": {
        "cube of 7": one(7, partial(box, 7), 18),
        "ball of 5": one(5, partial(ball, 5), 12),
        "simplex of 4": one(4, partial(dirichlet, 4, 3.0)),
        "Laplace of 5": one(5, partial(laplace, 5), 15),
        "triangular of 10": one(10, partial(triangular, 10), 20),
    },
}
CHOSEN = {name: family for families in KINDS.values() for name, family in families.items()}
