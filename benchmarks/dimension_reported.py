"""Families of known dimension that nothing was chosen by, of the kinds of dimension_kinds.py.

Shapes, functions and parameters are others than in dimension_unseen.py, dimension_kinds.py,
dimension_more.py, dimension_further.py and dimension_weights.py.
"""

from functools import partial

import numpy as np

from benchmarks.dimension_further import biased, joined, turn_about
from benchmarks.dimension_kinds import atoms, box, solutions, subspaces
from benchmarks.dimension_more import PIXELS, varied
from benchmarks.dimension_unseen import ball, one, parts, sphere

TIMES = np.linspace(0, 1, 40)


# --- networks and waves -----------------------------------------------------------------------


def bell(x):
    return np.exp(-np.square(x))


def residual(dim, n_layers, n, rng):
    """Draw outputs of a network whose layers are added to what they receive."""
    x = box(dim, n, rng) @ rng.standard_normal((dim, 24))
    for _ in range(n_layers):
        x = x + np.tanh(x @ rng.standard_normal((24, 24)) / 4) @ rng.standard_normal((24, 24)) / 5
    return x


def woven(n_features, n, rng):
    """Draw cosines of sums of small multiples of two angles."""
    angles = rng.uniform(0, 2 * np.pi, (n, 2))
    return np.cos(angles @ rng.integers(-2, 3, (2, n_features)) + rng.uniform(0, 6, n_features))


def hats(dim, n_hats, n, rng):
    """Draw Mexican hats around random centres in a box."""
    squares = np.square(box(dim, n, rng)[:, None] - box(dim, n_hats, rng)).sum(axis=2) / 0.8
    return (1 - squares) * np.exp(-squares / 2)


def winding(n, rng):
    """Draw a curve of three turns on a torus."""
    t = rng.uniform(0, 2 * np.pi, n)
    r = 2 + 0.8 * np.cos(5 * t)
    return np.column_stack([r * np.cos(3 * t), r * np.sin(3 * t), 0.8 * np.sin(5 * t)])


# --- orbits -----------------------------------------------------------------------------------


def van_der_pol(n, rng):
    """Draw oscillations of different starts and strengths of the friction."""
    strength = rng.uniform(0.3, 1.5, n)
    return solutions(
        lambda y: np.column_stack([y[:, 1], strength * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]]),
        rng.uniform(-1.5, 1.5, (n, 2)),
        np.linspace(0, 4, 25),
    )[:, :, 0]


def double_well(n, rng):
    """Draw paths between two wells, with friction."""
    return solutions(
        lambda y: np.column_stack([y[:, 1], y[:, 0] - y[:, 0] ** 3 - 0.2 * y[:, 1]]),
        rng.uniform(-1, 1, (n, 2)),
        np.linspace(0, 3, 25),
    )[:, :, 0]


def decays(n, rng):
    """Draw sums of a fast and a slow decay."""
    a, b, fast, slow = varied([0.5, 0.5, 6, 0.5], [2, 2, 15, 2], 4, n, rng)
    return a * np.exp(-fast * TIMES) + b * np.exp(-slow * TIMES)


# --- arms -------------------------------------------------------------------------------------


def gripper(n, rng):
    """Draw the ends of two fingers at an arm of three joints."""
    angles = np.cumsum(rng.uniform(-1, 1, (n, 3)), axis=1)
    opening, last = rng.uniform(0.2, 0.9, n), angles[:, -1]
    x, y = np.cos(angles).sum(axis=1), np.sin(angles).sum(axis=1)
    ends = [last + opening, last - opening]
    return np.column_stack([x, y, *(f(end) for end in ends for f in (np.cos, np.sin))])


def camera(n, rng):
    """Draw eight points in the pictures of a camera that turns and moves."""
    angles, places = rng.uniform(-0.6, 0.6, (n, 3)), rng.uniform(-0.5, 0.5, (n, 1, 3))
    turns = turn_about(0, 1, angles[:, 0]) @ turn_about(1, 2, angles[:, 1])
    turns = turns @ turn_about(0, 2, angles[:, 2])
    seen = box(3, 8, rng) @ turns + places + np.array([0, 0, 4])
    return (seen[:, :, :2] / seen[:, :, 2:]).reshape(n, -1)


def folded(n, rng):
    """Draw the joints of a chain whose three hinges lie in planes at right angles."""
    turns, joints, end = np.eye(3), [], np.zeros((n, 3))
    for (i, j), angle in zip(((0, 1), (0, 2), (1, 2)), rng.uniform(-1.3, 1.3, (3, n)), strict=True):
        turns = turns @ turn_about(i, j, angle)
        end = end + turns @ np.array([1, 0.6, 0.3])
        joints.append(end)
    return np.hstack(joints)


# --- images and sounds ------------------------------------------------------------------------


def cross(n, rng):
    """Draw pictures of a vertical and a horizontal bar of the same width."""
    x, y, width = varied([3, 3, 1], [9, 9, 2.5], 3, n, rng)
    bars = [np.exp(-np.square((PIXELS[i] - at) / width)) for i, at in enumerate((x, y))]
    return np.maximum(bars[0], 0) + bars[1]


def wedge(n, rng):
    """Draw pictures of a soft wedge, of any direction and opening."""
    direction, opening = varied([0, 0.4], [2 * np.pi, 1.6], 2, n, rng)
    x, y = PIXELS - 5.5
    away = np.abs(np.angle(np.exp(1j * (np.arctan2(y, x) - direction))))
    return 1 / (1 + np.exp(4 * (away - opening)))


def zoomed(n, rng):
    """Draw pictures of a grid of waves: its scale, its place and its brightness."""
    scale, a, b, light = varied([0.4, 0, 0, 0.5], [0.8, 3, 3, 1.5], 4, n, rng)
    return light * np.cos(scale * PIXELS[0] + a) * np.cos(scale * PIXELS[1] + b)


def bells(n, rng):
    """Draw tones whose frequency is modulated: pitch, modulation and decay."""
    pitch, index, decay = varied([4, 0.5, 1], [6, 2, 4], 3, n, rng)
    return np.exp(-decay * TIMES) * np.sin(2 * np.pi * pitch * TIMES + index * np.sin(15 * TIMES))


def chord(n, rng):
    """Draw sums of three tones of different frequencies."""
    pitches = varied([2, 4, 7], [3, 5.5, 9], 3, n, rng)
    return sum(np.sin(2 * np.pi * pitch * TIMES) for pitch in pitches)


def tremolo(n, rng):
    """Draw tones whose loudness swings: pitch, rate, depth and phase."""
    pitch, rate, depth, phase = varied([5, 1, 0.2, 0], [7, 2.5, 0.9, 3], 4, n, rng)
    loud = 1 + depth * np.sin(2 * np.pi * rate * TIMES + phase)
    return loud * np.sin(2 * np.pi * pitch * TIMES)


# --- matrices ---------------------------------------------------------------------------------


def triangular_products(size, n, rng):
    """Draw products of upper triangular matrices and their transposes."""
    upper = np.triu(rng.uniform(-1, 1, (n, size, size)), 1) + np.eye(size)
    return (upper @ upper.transpose(0, 2, 1)).reshape(n, -1)


def projections(dim, n, rng):
    """Draw projections onto lines."""
    points = sphere(dim, n, rng)
    return (points[:, :, None] * points[:, None]).reshape(n, -1)


def fading(n, rng):
    """Draw covariances that fade with the distance, at some variance."""
    rate, size = varied([0.2, 0.5], [0.9, 2], 2, n, rng)
    return size * rate ** np.abs(np.subtract.outer(np.arange(6), np.arange(6))).ravel()


# --- mixtures, thin and solid sets ------------------------------------------------------------


def sheet(height, n, rng):
    """Draw a square in space."""
    return np.column_stack([2.5 * box(2, n, rng), np.full(n, height)])


def larger(radius, dim, n, rng):
    return radius * sphere(dim, n, rng)


def bow(n, rng):
    t = rng.uniform(-1.5, 1.5, n)
    return np.column_stack([np.sin(t), np.cos(t), 0.3 * t**2])


def tape(width, n, rng):
    """Draw a tape along a coil of two turns."""
    t = rng.uniform(-1, 1, n)
    return np.column_stack(
        [np.cos(2 * np.pi * t), np.sin(2 * np.pi * t), 1.5 * t + width * rng.uniform(-1, 1, n)]
    )


def tyre(thickness, n, rng):
    """Draw a torus with a thick surface."""
    a, b = rng.uniform(0, 2 * np.pi, (2, n))
    tube = 0.9 + thickness * rng.uniform(-1, 1, n)
    r = 2 + tube * np.cos(b)
    return np.column_stack([r * np.cos(a), r * np.sin(a), tube * np.sin(b)])


def ellipsoid(axes, n, rng):
    return ball(len(axes), n, rng) * axes


def student(dim, n, rng):
    return rng.standard_t(5, (n, dim))


def gamma(dim, n, rng):
    return rng.gamma(2, size=(n, dim))


# kind: families
KINDS = {
    "networks": {
        "sines of 3": one(3, partial(biased, 3, (32, 32), np.sin)),
        "bells of 4": one(4, partial(biased, 4, (40, 32), bell)),
        "residual of 6": one(6, partial(residual, 6, 3)),
    },
    "waves": {
        "woven": one(2, partial(woven, 16)),
        "hats of 3": one(3, partial(hats, 3, 40)),
        "winding": one(1, winding, 8),
    },
    "orbits": {
        "van der Pol": one(3, van_der_pol),
        "double well": one(2, double_well),
        "decays": one(4, decays),
    },
    "arms": {
        "gripper": one(4, gripper),
        "camera": one(6, camera),
        "folded": one(3, folded),
    },
    "images": {"cross": one(3, cross), "wedge": one(2, wedge), "zoomed": one(4, zoomed)},
    "sounds": {"bells": one(3, bells), "chord": one(3, chord), "tremolo": one(4, tremolo)},
    "matrices": {
        "triangular products of 4": one(6, partial(triangular_products, 4)),
        "projections of 4": one(4, partial(projections, 4)),
        "fading": one(2, fading),
    },
    "mixtures": {
        "sheet under a ball": partial(joined, ((3, partial(ball, 3)), (2, partial(sheet, -1.2)))),
        "ball 4 in a shell": partial(joined, ((4, partial(ball, 4)), (3, partial(larger, 1.8, 3)))),
        "bow 1, cube 4, apart": parts((1, bow), (4, partial(box, 4)), n_features=12, apart=2.0),
    },
    "atoms": {
        "1 or 3 of 12 atoms": partial(atoms, [1, 3], 12, 18, True),
        "2 of 10 atoms": partial(atoms, [2], 10, 16, False),
        "subspaces 2, 2, 6": partial(subspaces, [2, 2, 6], 14),
    },
    "thin": {
        "tape": one(2, partial(tape, 0.1), 8),
        "tyre": one(3, partial(tyre, 0.06), 9),
        "ellipsoid 1:15": one(3, partial(ellipsoid, [1, 0.5, 1 / 15]), 8),
    },
    "solid": {
        "Student of 5": one(5, partial(student, 5), 12),
        "gamma of 6": one(6, partial(gamma, 6), 18),
        "ball of 14": one(14, partial(ball, 14), 30),
    },
}
REPORTED = {name: family for families in KINDS.values() for name, family in families.items()}
