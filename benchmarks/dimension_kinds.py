"""Families of known dimension by kind: networks, waves, orbits, arms, images, sounds and others.

Rules and weights of the dimension are chosen by these families and those of dimension_more.py and
dimension_further.py, and reported on the families of dimension_reported.py. So what is reported is
neither a family nor a draw that anything was chosen by.
"""

from functools import partial

import numpy as np
from scipy.integrate import solve_ivp

from benchmarks.dimension_unseen import (
    ball,
    dirichlet,
    line,
    normal,
    one,
    parts,
    relu,
    sphere,
    thin_box,
)


def box(dim, n, rng):
    return rng.uniform(-1, 1, (n, dim))


def network(dim, widths, activation, skip, n, rng):
    """Draw outputs of a random network for inputs in a box; a skip adds each layer's input."""
    x = box(dim, n, rng)
    for width in widths:
        new = activation(1.5 * x @ rng.standard_normal((x.shape[1], width)) / np.sqrt(x.shape[1]))
        x = x + new if skip and new.shape == x.shape else new
    return x


def squash(x):
    return x / (1 + np.abs(x))


def waves(widths, length, n, rng, n_features=30):
    """Draw random sums of 300 waves of a box with these widths."""
    z = box(len(widths), n, rng) * widths
    phases = z @ rng.standard_normal((len(widths), 300)) / length + rng.uniform(0, 2 * np.pi, 300)
    return np.cos(phases) @ rng.standard_normal((300, n_features)) / 17


def loop(n_waves, n_features, n, rng):
    """Draw a closed curve with this number of frequencies."""
    t = rng.uniform(0, 2 * np.pi, (n, 1)) * np.arange(1, n_waves + 1)
    return np.hstack([np.cos(t), np.sin(t)]) @ rng.standard_normal((2 * n_waves, n_features))


def saddles(dim, n, rng):
    """Draw graphs of quadratic forms of either sign."""
    z = box(dim, n, rng)
    return np.hstack([z, np.square(z) @ rng.choice([-0.7, 0.7], (dim, 4))])


# --- orbits -----------------------------------------------------------------------------------


def solutions(derivative, starts, times):
    """Return solutions of a differential equation for all starts at once, as rows."""
    shape = starts.shape
    solved = solve_ivp(
        lambda t, y: derivative(y.reshape(shape)).ravel(),
        (0, times[-1]),
        starts.ravel(),
        t_eval=times,
        rtol=1e-7,
        atol=1e-9,
    ).y
    return solved.reshape(*shape, len(times)).transpose(0, 2, 1)


def predators(n_parameters, n, rng):
    """Draw the numbers of prey over time for random rates and starts."""
    values = np.where(
        np.arange(4) < n_parameters,
        rng.uniform([0.8, 0.8, 0.5, 0.5], [1.2, 1.2, 1.5, 1.5], (n, 4)),
        1,
    )
    a, b = values[:, 0], values[:, 1]

    def derivative(y):
        return np.stack([a * y[:, 0] * (1 - y[:, 1]), b * y[:, 1] * (y[:, 0] - 1)], axis=1)

    return solutions(derivative, 0.3 + values[:, 2:], np.linspace(0.2, 8, 25))[:, :, 0]


def pendulum(n, rng):
    """Draw the ends of a double pendulum with one energy: three dimensions."""
    a, b = rng.uniform(-2, 2, (2, n))
    potential = -2 * np.cos(a) - np.cos(b)
    kept = potential < 1.5
    a, b, energy = a[kept], b[kept], 1.5 - potential[kept]
    # Two momenta on an ellipse of the kinetic energy u^2 + v^2 / 2 + u v cos(a - b).
    t, c = rng.uniform(0, 2 * np.pi, len(a)), np.cos(a - b)
    v = np.sqrt(energy / (0.5 - c**2 / 4)) * np.sin(t)
    u = np.sqrt(energy) * np.cos(t) - v * c / 2
    points = np.column_stack([np.cos(a), np.sin(a), np.cos(b), np.sin(b), u, v])
    return np.vstack([points, pendulum(n - len(points), rng)]) if len(points) < n else points


def ellipses(n_parameters, n, rng):
    """Draw 12 positions on an orbit of Kepler, whose size, shape, turn, start and tilt vary."""
    values = rng.uniform([0.8, 0.1, 0, 0, 0], [1.2, 0.6, 2, 2, 1], (n, 5))
    values = np.where(np.arange(5) < n_parameters, values, [1, 0.3, 0, 0, 0])
    a, e, turn, start, tilt = values.T[..., None]
    mean = start + np.linspace(0, 4, 12) / a**1.5
    anomaly = mean
    for _ in range(40):
        anomaly = mean + e * np.sin(anomaly)
    x, y = a * (np.cos(anomaly) - e), a * np.sqrt(1 - e**2) * np.sin(anomaly)
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    return np.hstack([x, y * np.cos(tilt), y * np.sin(tilt)])


def oscillators(n_waves, n, rng):
    """Draw positions of a chain of masses whose normal modes have fixed energies."""
    modes = np.sin(np.pi * np.outer(np.arange(1, 11), np.arange(1, n_waves + 1)) / 11)
    t = rng.uniform(0, 2 * np.pi, (n, n_waves))
    sizes = 1 / np.arange(1, n_waves + 1)
    return np.hstack([(np.cos(t) * sizes) @ modes.T, (np.sin(t) * sizes) @ modes.T])


def thrown(drag, n, rng):
    """Draw 15 positions of a ball thrown with a random speed, angle and spin."""
    speed, angle, spin = rng.uniform([2, 0.4, -1], [3, 1.2, 1], (n, 3)).T

    def derivative(y):
        v = y[:, 2:]
        size = np.linalg.norm(v, axis=1)
        lift = 0.3 * spin[:, None] * np.stack([-v[:, 1], v[:, 0]], axis=1)
        return np.hstack([v, -drag * size[:, None] * v + lift - [0, 1]])

    starts = np.column_stack([np.zeros((n, 2)), speed * np.cos(angle), speed * np.sin(angle)])
    return solutions(derivative, starts, np.linspace(0.2, 3, 15))[:, :, :2].reshape(n, -1)


def epidemics(n_parameters, n, rng):
    """Draw shares of infected people over time for random rates and starts."""
    values = rng.uniform([0.8, 0.2, 0.005], [1.4, 0.4, 0.05], (n, 3))
    values = np.where(np.arange(3) < n_parameters, values, [1.1, 0.3, 0.02])
    spread, recovery, start = values.T

    def derivative(y):
        new = spread * y[:, 0] * y[:, 1]
        return np.stack([-new, new - recovery * y[:, 1]], axis=1)

    starts = np.column_stack([1 - start, start])
    return solutions(derivative, starts, np.linspace(1, 20, 20))[:, :, 1]


# --- arms -------------------------------------------------------------------------------------


def arm(n_joints, spread, n, rng):
    """Draw the joints of an arm in the plane."""
    angles = np.cumsum(rng.uniform(-spread, spread, (n, n_joints)), axis=1)
    return np.hstack([np.cumsum(np.cos(angles), axis=1), np.cumsum(np.sin(angles), axis=1)])


def arm_in_space(n_joints, only_hand, n, rng):
    """Draw an arm whose joints turn about alternating axes, or position and frame of its hand."""
    place, frame, found = np.zeros((n, 3)), np.tile(np.eye(3), (n, 1, 1)), []
    for joint in range(n_joints):
        t = rng.uniform(-1.3, 1.3, n)
        turn = np.tile(np.eye(3), (n, 1, 1))
        i, j = [(0, 1), (1, 2), (0, 2)][joint % 3]
        turn[:, i, i] = turn[:, j, j] = np.cos(t)
        turn[:, i, j], turn[:, j, i] = -np.sin(t), np.sin(t)
        frame = frame @ turn
        place = place + frame[:, :, 0] * 0.8**joint
        found.append(place)
    return np.hstack([place, frame.reshape(n, -1)]) if only_hand else np.hstack(found)


def snake(n, rng):
    """Draw an arm of 12 links whose curvature is a wave: size, phase and turn vary."""
    size, phase, turn = rng.uniform([0.2, 0, -1], [0.6, 2, 1], (n, 3)).T[..., None]
    angles = turn + np.cumsum(size * np.sin(0.8 * np.arange(12) + phase), axis=1)
    return np.hstack([np.cumsum(np.cos(angles), axis=1), np.cumsum(np.sin(angles), axis=1)])


# --- images -----------------------------------------------------------------------------------


def spots(n_spots, with_light, n, rng):
    """Draw 12 x 12 images of round spots at random places."""
    rows, columns = np.mgrid[:12, :12].reshape(2, 1, -1)
    image = 0.0
    for _ in range(n_spots):
        x, y = rng.uniform(2, 9, (2, n, 1))
        light = rng.uniform(0.5, 1.5, (n, 1)) if with_light else 1.0
        image = image + light * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 6)
    return image


def bar(n_factors, soft, n, rng):
    """Draw 14 x 14 images of a bar, of which the first factors vary."""
    low = np.array([4, 0, 4, 2.5, 0.8, 0.5])
    high = np.array([9, np.pi / 2, 9, 5, 1.6, 1.5])
    values = rng.uniform(low, high, (n, 6))
    values = np.where(np.arange(6) < n_factors, values, (low + high) / 2)
    x, angle, y, length, width, light = values.T[..., None]
    rows, columns = np.mgrid[:14, :14].reshape(2, 1, -1)
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    inside = np.minimum(length - np.abs(along), width - np.abs(across))
    return light / (1 + np.exp(-inside / soft))


def grating(n_factors, n, rng):
    """Draw 12 x 12 images of stripes with random phase, angle, width and contrast."""
    values = rng.uniform([0, 0, 0.5, 0.5], [2 * np.pi, 1.5, 0.9, 1.5], (n, 4))
    values = np.where(np.arange(4) < n_factors, values, [0, 0.5, 0.7, 1])
    phase, angle, speed, contrast = values.T[..., None]
    rows, columns = np.mgrid[:12, :12].reshape(2, 1, -1) - 5.5
    return contrast * np.cos(speed * (columns * np.cos(angle) + rows * np.sin(angle)) + phase)


def turned(n_axes, n, rng):
    """Draw a fixed cloud of 15 points, turned at random, seen in the plane with perspective."""
    cloud = np.random.default_rng(5).standard_normal((15, 3))
    points = np.tile(cloud, (n, 1, 1))
    for axis in range(n_axes):
        t = rng.uniform(-1, 1, (n, 1))
        i, j = [(0, 1), (1, 2), (0, 2)][axis]
        x, y, c, s = points[..., i].copy(), points[..., j].copy(), np.cos(t), np.sin(t)
        points[..., i], points[..., j] = x * c - y * s, x * s + y * c
    return (points[..., :2] / (6 + points[..., 2:])).reshape(n, -1)


def ring(n_factors, n, rng):
    """Draw 12 x 12 images of a ring with random place, radius, width and brightness."""
    values = rng.uniform([4, 4, 2, 0.8, 0.5], [7, 7, 4, 1.6, 1.5], (n, 5))
    values = np.where(np.arange(5) < n_factors, values, [5.5, 5.5, 3, 1.2, 1])
    x, y, radius, width, light = values.T[..., None]
    rows, columns = np.mgrid[:12, :12].reshape(2, 1, -1)
    off = np.hypot(columns - x, rows - y) - radius
    return light * np.exp(-np.square(off / width))


# --- sounds -----------------------------------------------------------------------------------


def tones(n_factors, n, rng):
    """Draw 40 samples of a tone with random pitch, decay, phase, overtones and vibrato."""
    values = rng.uniform([0.4, 0, 0, 0, 0], [0.6, 0.08, 2, 0.8, 1], (n, 5))
    values = np.where(np.arange(5) < n_factors, values, [0.5, 0.03, 0, 0.3, 0])
    pitch, decay, phase, overtone, vibrato = values.T[..., None]
    t = np.arange(40)
    angle = pitch * t + phase + vibrato * np.sin(0.3 * t)
    return np.exp(-decay * t) * (np.sin(angle) + overtone * np.sin(2 * angle))


def spectrum(n_peaks, n, rng):
    """Draw spectra of 40 bands with peaks of random places and heights."""
    bands = np.arange(40)
    peaks = [
        rng.uniform(0.4, 1, (n, 1)) * np.exp(-(((bands - rng.uniform(5, 35, (n, 1))) / w) ** 2))
        for w in np.linspace(3, 6, n_peaks)
    ]
    return np.log(0.05 + sum(peaks))


def modes(n_modes, n, rng):
    """Draw sums of damped modes with fixed frequencies and random amplitudes and one decay."""
    t = np.arange(30)
    amplitudes, decay = rng.standard_normal((n, n_modes)), rng.uniform(0.02, 0.15, (n, 1))
    return np.exp(-decay * t) * (amplitudes @ np.sin(np.outer(0.3 + 0.2 * np.arange(n_modes), t)))


def chirp(n_factors, n, rng):
    """Draw 40 samples of a tone whose pitch changes, with random phase and loudness."""
    values = rng.uniform([0.3, -0.004, 0, 0.5], [0.5, 0.004, 2, 1.5], (n, 4))
    values = np.where(np.arange(4) < n_factors, values, [0.4, 0.002, 0, 1])
    pitch, change, phase, light = values.T[..., None]
    t = np.arange(40)
    return light * np.sin(pitch * t + change * t**2 + phase)


# --- matrices ---------------------------------------------------------------------------------


def frames(n_rows, n_columns, n, rng):
    return np.linalg.qr(rng.standard_normal((n, n_rows, n_columns)))[0].reshape(n, -1)


def with_spectrum(values, n, rng):
    """Draw symmetric matrices with these eigenvalues."""
    q = np.linalg.qr(rng.standard_normal((n, len(values), len(values))))[0]
    return ((q * values) @ q.transpose(0, 2, 1)).reshape(n, -1)


def of_rank(n_rows, n_columns, rank, n, rng):
    left, right = rng.standard_normal((n, n_rows, rank)), rng.standard_normal((n, rank, n_columns))
    return (left @ right).reshape(n, -1)


def gram(n_rows, rank, n, rng):
    """Draw matrices of inner products of random vectors."""
    vectors = rng.standard_normal((n, n_rows, rank))
    return (vectors @ vectors.transpose(0, 2, 1)).reshape(n, -1)


def essential(n, rng):
    """Draw essential matrices of two views: five dimensions."""
    q = np.linalg.qr(rng.standard_normal((n, 3, 3)))[0]
    t = sphere(2, n, rng)
    cross = np.zeros((n, 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -t[:, 2], t[:, 1], -t[:, 0]
    return ((cross - cross.transpose(0, 2, 1)) @ q).reshape(n, -1)


def product_of_spheres(dims, n, rng):
    return np.hstack([sphere(d, n, rng) for d in dims])


# --- mixtures ---------------------------------------------------------------------------------


def touching(dims, n, rng):
    """Draw balls of several dimensions in one space that touch at the origin."""
    which, total = np.arange(n) % len(dims), max(dims) + 2
    points, dimension = np.zeros((n, total)), np.array(dims, dtype=float)[which]
    for i, dim in enumerate(dims):
        rows = which == i
        points[rows, :dim] = ball(dim, rows.sum(), rng)
        points[rows, (i * 2) % dim] += (-1) ** i
    return points, dimension


def crossing(dims, n_features, bend, n, rng):
    """Draw bent sheets through the origin."""
    which = np.arange(n) % len(dims)
    points = np.zeros((n, n_features))
    for i, dim in enumerate(dims):
        rows, frame = which == i, np.linalg.qr(rng.standard_normal((n_features, dim + 1)))[0]
        z = box(dim, rows.sum(), rng)
        points[rows] = np.column_stack([z, bend * np.square(z).sum(axis=1)]) @ frame.T
    return points, np.array(dims, dtype=float)[which]


def shifted_normals(dim, shift, n_groups, n, rng):
    centres = shift * rng.standard_normal((n_groups, dim))
    return normal(dim, n, rng) + centres[rng.integers(n_groups, size=n)]


def ball_on_line(dim, n, rng):
    """Draw a ball with a line through it."""
    which = np.arange(n) % 2
    points = ball(dim, n, rng)
    points[which == 1] = 0
    points[which == 1, 0] = rng.uniform(-3, 3, (which == 1).sum())
    return points, np.where(which == 1, 1.0, dim)


# --- thin -------------------------------------------------------------------------------------


def band(radius, width, n, rng):
    """Draw a band along a circle, bent out of the plane."""
    t, w = rng.uniform(0, 2 * np.pi, n), rng.uniform(-width, width, n)
    ring = radius + w
    return np.column_stack([ring * np.cos(t), ring * np.sin(t), np.sin(2 * t), np.cos(3 * t) / 2])


def tube(width, n, rng):
    """Draw the surface of a thin tube along a helix."""
    t, b = rng.uniform(0, 4 * np.pi, n), rng.uniform(0, 2 * np.pi, n)
    ring = 1 + width * np.cos(b)
    return np.column_stack([ring * np.cos(t), ring * np.sin(t), t / 4 + width * np.sin(b)])


def cone(slope, n, rng):
    """Draw the surface of a narrow cone, bent along its axis."""
    h, t = np.sqrt(rng.uniform(0.1, 1, n)), rng.uniform(0, 2 * np.pi, n)
    return np.column_stack([h, slope * h * np.cos(t), slope * h * np.sin(t) + h**2])


def scaled_normal(stds, n, rng):
    return rng.standard_normal((n, len(stds))) * stds


# --- solid ------------------------------------------------------------------------------------


def skewed(dim, n, rng):
    return rng.gamma(2.0, size=(n, dim))


# --- sums of atoms ----------------------------------------------------------------------------


def atoms(sizes, n_atoms, n_features, positive, n, rng):
    """Draw sums of few of many atoms; the numbers of atoms are drawn from `sizes`."""
    size = rng.choice(sizes, n)
    active = rng.random((n, n_atoms)).argsort(axis=1) < size[:, None]
    codes = active * rng.standard_normal((n, n_atoms))
    directions = sphere(n_features - 1, n_atoms, rng)
    return (np.abs(codes) if positive else codes) @ directions, size.astype(float)


def subspaces(dims, n_features, n, rng):
    """Draw points of linear subspaces of these dimensions."""
    which, points = np.arange(n) % len(dims), np.zeros((n, n_features))
    for i, dim in enumerate(dims):
        rows = which == i
        frame = np.linalg.qr(rng.standard_normal((n_features, dim)))[0]
        points[rows] = normal(dim, rows.sum(), rng) @ frame.T
    return points, np.array(dims, dtype=float)[which]


# --- families ---------------------------------------------------------------------------------

KINDS = {
    "networks": {
        "tanh of 2": one(2, partial(network, 2, (40, 40), np.tanh, False)),
        "relu of 4": one(4, partial(network, 4, (60,), relu, False)),
        "sine of 3": one(3, partial(network, 3, (30, 30), np.sin, False)),
        "relu, skips, of 6": one(6, partial(network, 6, (30, 30, 30), relu, True)),
        "tanh of 5": one(5, partial(network, 5, (40, 40), np.tanh, False)),
        "relu of 3": one(3, partial(network, 3, (40, 40, 40), relu, False)),
        "sine of 2": one(2, partial(network, 2, (40, 40), np.sin, False)),
        "tanh, skips, of 4": one(4, partial(network, 4, (30, 30, 30), np.tanh, True)),
        "arctan of 3": one(3, partial(network, 3, (50, 50), np.arctan, False)),
        "sine of 4": one(4, partial(network, 4, (40,), np.sin, False)),
        "relu, skips, of 5": one(5, partial(network, 5, (40, 40), relu, True)),
        "tanh of 2, deep": one(2, partial(network, 2, (20,) * 4, np.tanh, False)),
        "squashed of 6": one(6, partial(network, 6, (50,), squash, False)),
    },
    "waves": {
        "waves of 1, .5": one(1, partial(waves, [1.0], 0.25)),
        "waves of 2, 1": one(2, partial(waves, [1.0, 1.0], 1.0)),
        "waves of 4, 1.5": one(4, partial(waves, [1.0] * 4, 1.5)),
        "loop of 3": one(1, partial(loop, 3, 20)),
        "waves of 1, .3": one(1, partial(waves, [1.0], 0.15)),
        "waves of 3, 1": one(3, partial(waves, [1.0] * 3, 1.2)),
        "waves of 5, 2": one(5, partial(waves, [1.0] * 5, 2.0)),
        "loop of 6": one(1, partial(loop, 6, 30)),
        "waves of 2, .6": one(2, partial(waves, [1.0, 1.0], 0.6)),
        "waves of 3, 1.6": one(3, partial(waves, [1.0] * 3, 1.6)),
        "waves of 6, 2.5": one(6, partial(waves, [1.0] * 6, 2.5)),
        "loop of 4": one(1, partial(loop, 4, 12)),
        "saddles of 3": one(3, partial(saddles, 3)),
    },
    "orbits": {
        "predators, 2": one(2, partial(predators, 2)),
        "orbits, 3": one(3, partial(ellipses, 3)),
        "oscillators, 2": one(2, partial(oscillators, 2)),
        "orbits, 5": one(5, partial(ellipses, 5)),
        "predators, 4": one(4, partial(predators, 4)),
        "pendulum": one(3, pendulum),
        "oscillators, 4": one(4, partial(oscillators, 4)),
        "thrown": one(3, partial(thrown, 0.15)),
        "predators, 3": one(3, partial(predators, 3)),
        "orbits, 4": one(4, partial(ellipses, 4)),
        "oscillators, 3": one(3, partial(oscillators, 3)),
        "epidemics, 2": one(2, partial(epidemics, 2)),
        "epidemics, 3": one(3, partial(epidemics, 3)),
    },
    "arms": {
        "arm of 3": one(3, partial(arm, 3, 1.2)),
        "arm of 6": one(6, partial(arm, 6, 0.8)),
        "arm of 4 in space": one(4, partial(arm_in_space, 4, False)),
        "arm of 5": one(5, partial(arm, 5, 1.0)),
        "arm of 3 in space": one(3, partial(arm_in_space, 3, False)),
        "hand of 6": one(6, partial(arm_in_space, 6, True)),
        "arm of 4, wide": one(4, partial(arm, 4, 1.5)),
        "arm of 5 in space": one(5, partial(arm_in_space, 5, False)),
        "hand of 4": one(4, partial(arm_in_space, 4, True)),
        "snake": one(3, snake),
    },
    "images": {
        "1 spot with light": one(3, partial(spots, 1, True)),
        "bar, 3": one(3, partial(bar, 3, 0.5)),
        "grating, 2": one(2, partial(grating, 2)),
        "cloud, 3 axes": one(3, partial(turned, 3)),
        "2 spots": one(4, partial(spots, 2, False)),
        "bar, 5": one(5, partial(bar, 5, 0.7)),
        "grating, 4": one(4, partial(grating, 4)),
        "cloud, 2 axes": one(2, partial(turned, 2)),
        "1 spot": one(2, partial(spots, 1, False)),
        "bar, 4": one(4, partial(bar, 4, 0.6)),
        "grating, 3": one(3, partial(grating, 3)),
        "ring, 3": one(3, partial(ring, 3)),
        "ring, 5": one(5, partial(ring, 5)),
    },
    "sounds": {
        "tones, 3": one(3, partial(tones, 3)),
        "spectrum, 1": one(2, partial(spectrum, 1)),
        "modes, 3": one(4, partial(modes, 3)),
        "tones, 5": one(5, partial(tones, 5)),
        "spectrum, 2": one(4, partial(spectrum, 2)),
        "modes, 5": one(6, partial(modes, 5)),
        "tones, 2": one(2, partial(tones, 2)),
        "tones, 4": one(4, partial(tones, 4)),
        "chirp, 3": one(3, partial(chirp, 3)),
        "modes, 2": one(3, partial(modes, 2)),
    },
    "matrices": {
        "frames of 1 in R^4": one(3, partial(frames, 4, 1)),
        "spectrum of 3": one(3, partial(with_spectrum, [2, 0.5, -1])),
        "rank 1, 3 x 4": one(6, partial(of_rank, 3, 4, 1)),
        "spectrum of 4, a pair": one(5, partial(with_spectrum, [2, 1, 1, -1])),
        "spheres 1, 2": one(3, partial(product_of_spheres, (1, 2))),
        "frames of 3 in R^4": one(6, partial(frames, 4, 3)),
        "spectrum of 4": one(6, partial(with_spectrum, [3, 1.5, 0.4, -1])),
        "essential": one(5, essential),
        "rank 2, 3 x 4": one(10, partial(of_rank, 3, 4, 2)),
        "spheres 1, 1, 3": one(5, partial(product_of_spheres, (1, 1, 3))),
        "frames of 2 in R^5": one(7, partial(frames, 5, 2)),
        "spectrum of 3, a pair": one(2, partial(with_spectrum, [2, 0.5, 0.5])),
        "rank 2, 3 x 3": one(8, partial(of_rank, 3, 3, 2)),
        "Gram, rank 2 of 4": one(7, partial(gram, 4, 2)),
        "spheres 2, 2": one(4, partial(product_of_spheres, (2, 2))),
    },
    "mixtures": {
        "touching 1, 3": partial(touching, (1, 3)),
        "crossing 2, 2": partial(crossing, (2, 2), 8, 0.3),
        "ball of 3 on a line": partial(ball_on_line, 3),
        "normals of 6": one(6, partial(shifted_normals, 6, 1.0, 3), 15),
        "touching 2, 4": partial(touching, (2, 4)),
        "crossing 1, 3": partial(crossing, (1, 3), 10, 0.4),
        "ball of 5 on a line": partial(ball_on_line, 5),
        "normals of 4": one(4, partial(shifted_normals, 4, 1.5, 5), 20),
        "spheres 2, 3, apart": parts(
            (2, partial(sphere, 2)), (3, partial(sphere, 3)), n_features=12, apart=1.2
        ),
        "touching 1, 2": partial(touching, (1, 2)),
        "crossing 2, 3": partial(crossing, (2, 3), 9, 0.3),
        "ball of 4 on a line": partial(ball_on_line, 4),
        "normals of 5": one(5, partial(shifted_normals, 5, 1.2, 4), 18),
        "ball, circle, apart": parts(
            (3, partial(ball, 3)), (1, partial(sphere, 1)), n_features=10, apart=1.5
        ),
    },
    "atoms": {
        "2 of 12 atoms": partial(atoms, [2], 12, 12, False),
        "1 to 4 of 20 atoms": partial(atoms, [1, 2, 3, 4], 20, 25, True),
        "20 planes": partial(subspaces, [2] * 20, 15),
        "subspaces 1, 4, 6": partial(subspaces, [1, 4, 6], 18),
        "3 of 15 atoms": partial(atoms, [3], 15, 20, True),
        "1 to 3 of 25 atoms": partial(atoms, [1, 2, 3], 25, 25, False),
        "12 subspaces of 3": partial(subspaces, [3] * 12, 16),
        "subspaces 2, 5": partial(subspaces, [2, 2, 5], 14),
        "2 of 18 atoms": partial(atoms, [2], 18, 18, True),
        "1 to 3 of 16 atoms": partial(atoms, [1, 2, 3], 16, 20, False),
        "15 lines": partial(subspaces, [1] * 15, 12),
        "subspaces 3, 7": partial(subspaces, [3, 7], 20),
    },
    "thin": {
        "waves of 2 + 1:40": one(3, partial(waves, [1, 1, 0.025], 1.2)),
        "band": one(2, partial(band, 2, 0.05), 12),
        "normal 1:10, 4": one(4, partial(scaled_normal, [1, 0.5, 0.2, 0.1]), 15),
        "network of a thin box": one(
            3, lambda n, rng: np.tanh(thin_box(3, 20, n, rng) @ rng.standard_normal((3, 30)))
        ),
        "tube .1": one(2, partial(tube, 0.1), 8),
        "waves of 1 + 1:30": one(2, partial(waves, [1, 0.033], 0.8)),
        "waves of 3 + 1:20": one(4, partial(waves, [1, 1, 1, 0.05], 1.5)),
        "band, narrow": one(2, partial(band, 2, 0.02), 10),
        "normal 1:30, 5": one(5, partial(scaled_normal, np.geomspace(1, 1 / 30, 5)), 20),
        "tube .05": one(2, partial(tube, 0.05), 10),
        "waves of 2 + 1:25": one(3, partial(waves, [1, 1, 0.04], 1.0)),
        "band of 3": one(2, partial(band, 3, 0.04), 9),
        "box of 4, 1:25": one(4, partial(thin_box, 4, 25), 16),
        "normal 1:20, 3": one(3, partial(scaled_normal, [1, 0.3, 0.05]), 12),
        "cone": one(2, partial(cone, 0.15), 7),
    },
    "solid": {
        "cube of 4": one(4, partial(box, 4), 12),
        "normal of 12": one(12, partial(normal, 12), 25),
        "simplex of 5": one(5, partial(dirichlet, 5, 2.0)),
        "line": one(1, line, 5),
        "ball of 7": one(7, partial(ball, 7)),
        "cube of 3": one(3, partial(box, 3), 10),
        "normal of 15": one(15, partial(normal, 15), 30),
        "simplex of 9": one(9, partial(dirichlet, 9, 1.5)),
        "cube of 10": one(10, partial(box, 10)),
        "sphere of 5": one(5, partial(sphere, 5), 25),
        "cube of 5": one(5, partial(box, 5), 14),
        "normal of 9": one(9, partial(normal, 9), 20),
        "simplex of 3": one(3, partial(dirichlet, 3, 1.5)),
        "ball of 4": one(4, partial(ball, 4), 10),
        "skewed of 6": one(6, partial(skewed, 6), 15),
    },
}
CHOSEN = {name: family for families in KINDS.values() for name, family in families.items()}
# Numbers of directions that are narrower than noise of 5 %, so that with and without them is right.
HIDDEN = {"band": 1, "band, narrow": 1, "band of 3": 1, "bumps of 2 + 1:30": 1, "tyre": 1}
