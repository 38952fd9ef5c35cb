"""Further families of known dimension that rules are chosen by, as in dimension_kinds.py.

Shapes, functions and parameters are others than in dimension_unseen.py, dimension_kinds.py,
dimension_more.py and dimension_weights.py.
"""

from functools import partial

import numpy as np

from benchmarks.dimension_kinds import atoms, box, solutions, subspaces
from benchmarks.dimension_more import PIXELS, varied
from benchmarks.dimension_unseen import ball, dirichlet, one, parts, sphere

# --- networks ---------------------------------------------------------------------------------


def swish(x):
    return x / (1 + np.exp(-2 * x))


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def biased(dim, widths, activation, n, rng):
    """Draw outputs of a random network with biases for inputs in a box."""
    x = box(dim, n, rng)
    for width in widths:
        weights = 1.6 * rng.standard_normal((x.shape[1], width)) / x.shape[1] ** 0.5
        x = activation(x @ weights + 0.5 * rng.standard_normal(width))
    return x


def normalised(dim, n, rng):
    """Draw outputs of a swish layer, normalised in each row, and a linear layer."""
    x = biased(dim, (36,), swish, n, rng)
    x = x - x.mean(axis=1, keepdims=True)
    x = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True))
    return x @ rng.standard_normal((36, 24)) / 6


def attention(dim, n_heads, n, rng):
    """Draw means of 12 random values, weighted by softmax of queries in a box."""
    z, found = box(dim, n, rng), []
    for _ in range(n_heads):
        scores = np.exp(1.8 * z @ rng.standard_normal((dim, 12)))
        found.append(scores / scores.sum(axis=1, keepdims=True) @ rng.standard_normal((12, 12)))
    return np.hstack(found)


# --- waves ------------------------------------------------------------------------------------


def triangle_waves(dim, n_waves, n, rng):
    """Draw random sums of triangle waves of linear functions."""
    phases = 0.35 * box(dim, n, rng) @ rng.standard_normal((dim, n_waves)) + rng.random(n_waves)
    return np.abs(2 * (phases % 1) - 1) @ rng.standard_normal((n_waves, 24)) / n_waves**0.5


def trefoil(n, rng):
    """Draw a knot on a torus that turns three and two times."""
    t = rng.uniform(0, 2 * np.pi, n)
    ring = 2 + np.cos(3 * t)
    return np.column_stack([ring * np.cos(2 * t), ring * np.sin(2 * t), np.sin(3 * t)])


def ripples(dim, n_centres, n, rng):
    """Draw rings of waves around random centres."""
    z, centres = box(dim, n, rng), 1.5 * box(dim, n_centres, rng)
    distance = np.sqrt(0.05 + np.square(z[:, None] - centres).sum(axis=2))
    return np.cos(3 * distance) / (0.7 + distance)


def rational(dim, n, rng):
    """Draw quotients of linear and positive quadratic functions."""
    z = box(dim, n, rng)
    below = 1 + np.square(z @ rng.standard_normal((dim, 16)))
    return (z @ rng.standard_normal((dim, 16)) + rng.standard_normal(16)) / below


def exponentials(dim, n, rng):
    """Draw graphs of sums of exponentials of linear functions."""
    z = box(dim, n, rng)
    heights = np.exp(z @ rng.standard_normal((dim, 10))) @ rng.standard_normal((10, 4)) / 6
    return np.hstack([z, heights])


# --- orbits -----------------------------------------------------------------------------------


def stiff_spring(n_factors, n, rng):
    """Draw positions of the oscillator of Duffing for random starts, hardness and damping."""
    x, v, hard, damping = varied([0.5, -1, 0.2, 0.05], [1.5, 1, 1.2, 0.3], n_factors, n, rng)[
        ..., 0
    ]

    def derivative(y):
        force = -y[:, 0] - hard * y[:, 0] ** 3 - damping * y[:, 1]
        return np.stack([y[:, 1], force], axis=1)

    return solutions(derivative, np.stack([x, v], axis=1), np.linspace(0.3, 6, 22))[:, :, 0]


def rigid_body(n, rng):
    """Draw the angular velocity of a free body for random starts."""
    starts = rng.uniform([-1, 0.5, -1], [1, 1.5, 1], (n, 3))

    def derivative(y):
        return np.array([-0.8, 1.1, -0.5]) * y[:, [1, 2, 0]] * y[:, [2, 0, 1]]

    return solutions(derivative, starts, np.linspace(0.4, 4, 10)).reshape(n, -1)


def brusselator(n, rng):
    """Draw two amounts of an oscillating reaction with two random rates."""
    a, b = rng.uniform([0.8, 1.2], [1.3, 2.4], (n, 2)).T

    def derivative(y):
        made = y[:, 0] ** 2 * y[:, 1]
        return np.stack([a - (b + 1) * y[:, 0] + made, b * y[:, 0] - made], axis=1)

    return solutions(derivative, np.ones((n, 2)), np.linspace(0.4, 6, 14)).reshape(n, -1)


def solitons(n, rng):
    """Draw two solitons of the equation of Korteweg and de Vries with random sizes and places."""
    a, b, left, right = rng.uniform([0.4, 0.8, -3, -2], [0.6, 1.1, 3, 4], (n, 4)).T[..., None]
    x, tau, first, second = np.linspace(-9, 9, 36), 1.0, 0.0, 0.0
    both = ((a - b) / (a + b)) ** 2
    one_, two = np.exp(2 * a * (x - left)), np.exp(2 * b * (x - right))
    for speed, term in ((2 * a, one_), (2 * b, two), (2 * (a + b), both * one_ * two)):
        tau, first, second = tau + term, first + speed * term, second + speed**2 * term
    return 2 * (second * tau - first**2) / tau**2


def coupled_phases(n, rng):
    """Draw three coupled phases over time for random starts."""
    starts, speeds = rng.uniform(0, 2 * np.pi, (n, 3)), np.array([0.7, 1.0, 1.4])

    def derivative(y):
        return speeds + 0.15 * np.sin(y[:, None] - y[:, :, None]).sum(axis=2)

    phases = solutions(derivative, starts, np.linspace(0.5, 3, 5)).reshape(n, -1)
    return np.hstack([np.cos(phases), np.sin(phases)])


def tanks(n, rng):
    """Draw levels of two tanks for random starts and valves."""
    first, second, over, out = rng.uniform([0.5, 0.3, 0.4, 0.4], [2, 1.5, 1.6, 1.6], (n, 4)).T

    def derivative(y):
        passed, lost = over * y[:, 0] / (1 + y[:, 0]), out * y[:, 1] / (1 + y[:, 1])
        return np.stack([0.4 - passed, passed - lost], axis=1)

    starts = np.stack([first, second], axis=1)
    return solutions(derivative, starts, np.linspace(0.3, 5, 12)).reshape(n, -1)


# --- arms -------------------------------------------------------------------------------------


def turn_about(i, j, t):
    """Return rotations of space by angles `t` in the plane of two axes."""
    turn = np.tile(np.eye(3), (len(t), 1, 1))
    turn[:, i, i] = turn[:, j, j] = np.cos(t)
    turn[:, i, j], turn[:, j, i] = -np.sin(t), np.sin(t)
    return turn


def platform(n_legs, n, rng):
    """Draw lengths of legs under a platform that shifts, rises and turns in all ways."""
    place = rng.uniform([-0.6, -0.6, 1.2], [0.6, 0.6, 2.2], (n, 3))
    a, b, c = rng.uniform(-0.6, 0.6, (3, n))
    frame = turn_about(0, 1, a) @ turn_about(1, 2, b) @ turn_about(0, 2, c)
    ends = np.random.default_rng(7).uniform(-1, 1, (2, n_legs, 3)) * [1, 1, 0.2]
    legs = place[:, None] + ends[0] @ frame.transpose(0, 2, 1) - ends[1] * 1.5
    return np.linalg.norm(legs, axis=2)


def linkage(n, rng):
    """Draw a closed chain of four bars with random crank angle and lengths of crank and rocker."""
    t, crank, rocker = rng.uniform([0, 0.4, 1.3], [2 * np.pi, 0.8, 1.7], (n, 3)).T
    a = crank * np.exp(1j * t)
    gap = 2 - a
    along = (np.abs(gap) ** 2 + 1.8**2 - rocker**2) / (2 * np.abs(gap))
    b = a + gap / np.abs(gap) * (along + 1j * np.sqrt(1.8**2 - along**2))
    point = a + (b - a) * (0.5 + 0.4j)
    return np.column_stack([part for z in (a, b, point) for part in (z.real, z.imag)])


def scara(n, rng):
    """Draw elbow, hand and tool of a robot with two links, a lift and a wrist."""
    a, b, lift, wrist = rng.uniform([-1.2, 0.3, 0, -1.5], [1.2, 2, 1, 1.5], (n, 4)).T
    elbow = np.exp(1j * a)
    hand = elbow + 0.8 * np.exp(1j * (a + b))
    tool = hand + 0.5 * np.exp(1j * (a + b + wrist))
    places = [part for z in (elbow, hand, tool) for part in (z.real, z.imag)]
    return np.column_stack([*places, lift])


def tentacle(n_segments, n, rng):
    """Draw points of a tentacle whose segments bend by random amounts in random directions."""
    place, frame, found = np.zeros((n, 1, 3)), np.tile(np.eye(3), (n, 1, 1)), []
    s = np.linspace(0.25, 1, 4)
    for _ in range(n_segments):
        bend, side = rng.uniform([0.3, -1.2], [1.4, 1.2], (n, 2)).T
        b, c = bend[:, None], side[:, None]
        off = (1 - np.cos(b * s)) / b
        own = np.stack([off * np.cos(c), off * np.sin(c), np.sin(b * s) / b], axis=2)
        points = place + own @ frame.transpose(0, 2, 1)
        found.append(points.reshape(n, -1))
        turned = turn_about(0, 1, side) @ turn_about(0, 2, -bend) @ turn_about(0, 1, -side)
        place, frame = points[:, -1:], frame @ turned
    return np.hstack(found)


def skeleton(n, rng):
    """Draw a figure of a trunk, two arms of two links and two legs of one link."""
    trunk = rng.uniform(-0.5, 0.5, n)
    shoulder = 1.5j * np.exp(1j * trunk)
    found = [shoulder]
    for side in (-1, 1):
        upper, lower, leg = rng.uniform([-0.8, 0, -0.5], [0.8, 1.4, 0.5], (n, 3)).T
        elbow = shoulder + side * np.exp(1j * (trunk + upper))
        found += [elbow, elbow + side * 0.8 * np.exp(1j * (trunk + upper + side * lower))]
        found.append(-1.4j * np.exp(1j * (0.4 * side + leg)))
    return np.column_stack([part for z in found for part in (z.real, z.imag)])


# --- images -----------------------------------------------------------------------------------


def texture(n_factors, n, rng):
    """Draw parts of a fixed texture, shifted, turned and made larger."""
    x, y, angle, size = varied([-2, -2, -0.6, 0.8], [2, 2, 0.6, 1.25], n_factors, n, rng)
    rows, columns = PIXELS - 5.5
    across = size * (columns * np.cos(angle) - rows * np.sin(angle)) + x
    down = size * (columns * np.sin(angle) + rows * np.cos(angle)) + y
    fixed = np.random.default_rng(3)
    waves = zip(fixed.uniform(-0.6, 0.6, (12, 2)), fixed.uniform(0, 2 * np.pi, 12), strict=True)
    return sum(np.cos(a * across + b * down + phase) for (a, b), phase in waves)


def moon(n_factors, n, rng):
    """Draw images of a crescent with random turn, width, place and brightness."""
    turn, width, x, y, light = varied(
        [0, 1.5, 4.5, 4.5, 0.6], [2.5, 4, 6.5, 6.5, 1.4], n_factors, n, rng
    )
    rows, columns = PIXELS
    bright = np.hypot(columns - x, rows - y) - 4
    dark = np.hypot(columns - x - width * np.cos(turn), rows - y - width * np.sin(turn)) - 3.5
    return light / (1 + np.exp(1.5 * bright)) / (1 + np.exp(-1.5 * dark))


def horizon(n, rng):
    """Draw images of a wavy horizon with random level, height and phase."""
    level, height, phase = rng.uniform([3.5, 0.7, 0], [7.5, 2.2, 3], (n, 3)).T[..., None]
    rows, columns = PIXELS
    return 1 / (1 + np.exp(1.2 * (rows - level - height * np.sin(0.6 * columns + phase))))


def face(n, rng):
    """Draw images of a face: distance and height of eyes, smile, width of mouth and its height."""
    low, high = [1.5, 2.5, -0.15, 2, 7.5], [3.5, 4.5, 0.15, 4, 9]
    gap, eyes, smile, width, mouth = rng.uniform(low, high, (n, 5)).T[..., None]
    rows, columns = PIXELS
    across = columns - 5.5
    image = sum(np.exp(-((across - s * gap) ** 2 + (rows - eyes) ** 2) / 2) for s in (-1, 1))
    curve = np.exp(-((rows - mouth + smile * (across**2 - 4)) ** 2) / 1.5)
    return image + curve / (1 + np.exp(1.5 * (np.abs(across) - width)))


def petals(waves, n, rng):
    """Draw images of a soft flower whose radius is a sum of waves of random sizes."""
    rows, columns = PIXELS - 5.5
    angle, radius = np.arctan2(rows, columns), 3.5
    for k in waves:
        a, b = rng.uniform(-0.8, 0.8, (2, n, 1))
        radius = radius + a * np.cos(k * angle) + b * np.sin(k * angle)
    return 1 / (1 + np.exp(1.3 * (np.hypot(rows, columns) - radius)))


# --- sounds -----------------------------------------------------------------------------------


def echoes(n, rng):
    """Draw a short pulse at a random place with an echo of random delay and strength."""
    start, delay, strength = rng.uniform([5, 8, 0.3], [11, 16, 0.9], (n, 3)).T[..., None]
    t = np.arange(40)

    def pulse(off):
        return np.exp(-((off / 3.5) ** 2)) * np.cos(0.5 * off)

    return pulse(t - start) + strength * pulse(t - start - delay)


def poles(n_pairs, n, rng):
    """Draw log-spectra of filters with pairs of poles at random places."""
    z, power = np.exp(1j * np.linspace(0.1, 3, 40)), 0.0
    for pair in range(n_pairs):
        place, radius = rng.uniform([0.5, 0.6], [1.2, 0.88], (n, 2)).T[..., None]
        pole = radius * np.exp(1j * (place + 1.2 * pair))
        power = power - np.log(np.abs((z - pole) * (z - pole.conj())))
    return power


def glide(n_factors, n, rng):
    """Draw spectrograms of a voice whose pitch moves on a parabola."""
    start, slope, loud, curve = varied(
        [3, -0.3, 0.5, -0.06], [8, 0.3, 1.5, 0.06], n_factors, n, rng
    )
    bands, t = PIXELS[0], PIXELS[1] - 5.5
    return loud * np.exp(-((bands - start - slope * t - curve * t**2) ** 2) / 3)


def clipped(n, rng):
    """Draw tones of random pitch and phase that are clipped by a random gain."""
    pitch, phase, gain = rng.uniform([0.3, 0, 0.5], [0.45, 3, 4], (n, 3)).T[..., None]
    return np.tanh(gain * np.sin(pitch * np.arange(32) + phase))


def clicks(n, rng):
    """Draw trains of four soft clicks with a random start and distance."""
    start, gap = rng.uniform([4, 7], [10, 10], (n, 2)).T[..., None]
    t = np.arange(45)
    return sum(0.8**k * np.exp(-(((t - start - k * gap) / 2.5) ** 2)) for k in range(4))


# --- matrices ---------------------------------------------------------------------------------


def complex_lines(n, rng):
    """Draw projections onto lines of complex space of three dimensions: four dimensions."""
    z = rng.standard_normal((n, 3)) + 1j * rng.standard_normal((n, 3))
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    z = (z[:, :, None] * z[:, None].conj()).reshape(n, -1)
    return np.hstack([z.real, z.imag])


def correlations(n_rows, n, rng):
    """Draw correlation matrices."""
    a = rng.standard_normal((n, n_rows, n_rows + 3))
    a = a / np.linalg.norm(a, axis=2, keepdims=True)
    return (a @ a.transpose(0, 2, 1)).reshape(n, -1)


def unimodular(n, rng):
    """Draw 2 x 2 matrices of determinant 1: three dimensions."""
    a, b, size = rng.uniform([0, 0, 0.1], [2 * np.pi, 2 * np.pi, 0.9], (n, 3)).T
    big, small = np.cosh(size), np.sinh(size)
    return np.column_stack([big * np.cos(a), big * np.sin(a), small * np.cos(b), small * np.sin(b)])


def distances(n_points, n, rng):
    """Draw distances between random points of the plane."""
    points = rng.standard_normal((n, n_points, 2))
    i, j = np.triu_indices(n_points, 1)
    return np.linalg.norm(points[:, i] - points[:, j], axis=2)


def kronecker(n, rng):
    """Draw products of Kronecker of two 2 x 2 matrices: seven dimensions."""
    a, b = rng.standard_normal((2, n, 2, 2))
    return np.einsum("nij,nkl->nikjl", a, b).reshape(n, -1)


# --- mixtures ---------------------------------------------------------------------------------


def joined(shapes, n, rng):
    """Draw from several (dim, shape) of one space in turn, as they are."""
    which = np.arange(n) % len(shapes)
    points = np.vstack([shape((which == i).sum(), rng) for i, (_, shape) in enumerate(shapes)])
    dims = np.repeat([float(dim) for dim, _ in shapes], np.bincount(which, minlength=len(shapes)))
    return points, dims


def saturn(n, rng):
    """Draw a flat ring around a ball."""
    t, r = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.uniform(1.5**2, 2.4**2, n))
    return np.column_stack([r * np.cos(t), r * np.sin(t), 0.3 * r * np.cos(t)])


def coil(n, rng):
    """Draw a coil of three turns around the first axis of space."""
    t = rng.uniform(-1, 1, n)
    return np.column_stack([2 * t, 1.4 * np.cos(3 * np.pi * t), 1.4 * np.sin(3 * np.pi * t)])


def scroll(width, n, rng):
    """Draw a sheet rolled on a logarithmic spiral."""
    t, w = rng.uniform(0, 3 * np.pi, n), rng.uniform(-width, width, n)
    r = 0.4 * np.exp(0.18 * t)
    return np.column_stack([w, r * np.cos(t), r * np.sin(t)])


def rod(n, rng):
    return np.column_stack([rng.uniform(-2, 2, n), np.zeros((n, 2))])


def bowl(dim, n, rng):
    """Draw a cap of a paraboloid."""
    z = 1.2 * ball(dim, n, rng)
    return np.column_stack([z, 0.6 * np.square(z).sum(axis=1)])


def torus(n, rng):
    a, b = rng.uniform(0, 2 * np.pi, (2, n))
    r = 1 + 0.5 * np.cos(b)
    return np.column_stack([r * np.cos(a), r * np.sin(a), 0.5 * np.sin(b)])


# --- sums of atoms ----------------------------------------------------------------------------


def groups(n_active, n_groups, size, n_features, n, rng):
    """Draw sums of few of many groups of atoms; all atoms of a group are used together."""
    active = rng.random((n, n_groups)).argsort(axis=1) < n_active
    codes = np.repeat(active, size, axis=1) * rng.standard_normal((n, n_groups * size))
    points = codes @ sphere(n_features - 1, n_groups * size, rng)
    return points, np.full(n, float(n_active * size))


def windows(size, n_atoms, n_features, n, rng):
    """Draw sums of atoms that follow one another in a ring, with positive amounts."""
    first = rng.integers(n_atoms, size=(n, 1))
    active = (np.arange(n_atoms) - first) % n_atoms < size
    codes = active * rng.uniform(0.3, 1.5, (n, n_atoms))
    return codes @ sphere(n_features - 1, n_atoms, rng), np.full(n, float(size))


def topics(n_active, n_topics, n_words, n, rng):
    """Draw shares of words in documents that mix few of many topics."""
    active = rng.random((n, n_topics)).argsort(axis=1) < n_active
    shares = active * rng.gamma(2.0, size=(n, n_topics))
    shares = shares / shares.sum(axis=1, keepdims=True)
    return shares @ rng.dirichlet([0.4] * n_words, n_topics), np.full(n, n_active - 1.0)


# --- thin and solid sets ----------------------------------------------------------------------


def leaf(width, n, rng):
    """Draw a narrow leaf along an arc, that is broader in its middle."""
    t, w = rng.uniform(-1, 1, n), rng.uniform(-width, width, n)
    side = w * (1.3 - t**2)
    return np.column_stack([np.sin(1.5 * t), side, np.cos(1.5 * t) + side * t, 0.4 * t**3])


def washer(height, n, rng):
    """Draw a thin plate with a hole."""
    t, r = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.uniform(0.25, 1, n))
    return np.column_stack([r * np.cos(t), r * np.sin(t), rng.uniform(-height, height, n)])


def bent_plate(thickness, n, rng):
    """Draw a thick sheet bent on a cylinder and lifted along it."""
    a, b, c = rng.uniform(-1, 1, (3, n))
    r = 1 + thickness * c
    return np.column_stack([r * np.cos(1.2 * a), r * np.sin(1.2 * a), b, 0.4 * b**2 + 0.3 * a * b])


def exponential(scales, n, rng):
    return rng.exponential(size=(n, len(scales))) * scales


def thin_rational(ratio, n, rng):
    """Draw quotients of functions of a box of two wide sides and one narrow side."""
    z = box(3, n, rng) * [1, 1, 1 / ratio]
    below = 1.5 + np.sin(z @ rng.standard_normal((3, 20)) + rng.uniform(0, 6, 20))
    return (z @ rng.standard_normal((3, 20))) / below


def cross_polytope(dim, n, rng):
    """Draw points whose absolute coordinates have a sum below 1."""
    return dirichlet(dim, 1.0, n, rng)[:, :dim] * rng.choice([-1, 1], (n, dim))


def prism(n, rng):
    return np.hstack([ball(2, n, rng), 0.8 * box(2, n, rng)])


def annulus(dim, inner, n, rng):
    """Draw a ball with a hole."""
    return sphere(dim - 1, n, rng) * rng.uniform(inner**dim, 1, (n, 1)) ** (1 / dim)


def logistic(dim, n, rng):
    return rng.logistic(size=(n, dim))


def beta(dim, n, rng):
    return rng.beta(2, 3, (n, dim))


# kind: families
KINDS = {
    "networks": {
        "swish of 3": one(3, partial(biased, 3, (32, 32), swish)),
        "ELU of 2, deep": one(2, partial(biased, 2, (24, 24, 24), elu)),
        "leaky of 7": one(7, partial(biased, 7, (40, 40), leaky)),
        "normalised of 5": one(5, partial(normalised, 5)),
        "attention of 4": one(4, partial(attention, 4, 2)),
    },
    "waves": {
        "triangle waves of 2": one(2, partial(triangle_waves, 2, 30)),
        "trefoil": one(1, trefoil, 9),
        "ripples of 3": one(3, partial(ripples, 3, 30)),
        "rational of 4": one(4, partial(rational, 4)),
        "exponentials of 5": one(5, partial(exponentials, 5), 16),
    },
    "orbits": {
        "stiff spring, 3": one(3, partial(stiff_spring, 3)),
        "rigid body": one(3, rigid_body),
        "brusselator": one(2, brusselator),
        "solitons": one(4, solitons),
        "tanks": one(4, tanks),
        "coupled phases": one(3, coupled_phases),
    },
    "arms": {
        "platform on 12 legs": one(6, partial(platform, 12)),
        "linkage": one(3, linkage),
        "scara": one(4, scara),
        "tentacle of 2": one(4, partial(tentacle, 2)),
        "skeleton": one(7, skeleton),
    },
    "images": {
        "texture, 4": one(4, partial(texture, 4)),
        "moon, 3": one(3, partial(moon, 3)),
        "horizon": one(3, horizon),
        "face": one(5, face),
        "petals of 3": one(6, partial(petals, (2, 3, 4))),
    },
    "sounds": {
        "echoes": one(3, echoes),
        "poles of 2": one(4, partial(poles, 2)),
        "glide, 4": one(4, partial(glide, 4)),
        "clipped": one(3, clipped),
        "clicks": one(2, clicks),
    },
    "matrices": {
        "complex lines": one(4, complex_lines),
        "correlations of 4": one(6, partial(correlations, 4)),
        "unimodular": one(3, unimodular),
        "distances of 4": one(5, partial(distances, 4)),
        "Kronecker": one(7, kronecker),
    },
    "mixtures": {
        "ball 3 in a ring": partial(joined, ((3, partial(ball, 3)), (2, saturn))),
        "ball 3 in a coil": partial(joined, ((3, partial(ball, 3)), (1, coil))),
        "scroll on a rod": partial(joined, ((2, partial(scroll, 1.2)), (1, rod))),
        "bowl 2, cube 5, apart": parts(
            (2, partial(bowl, 2)), (5, partial(box, 5)), n_features=14, apart=2.5
        ),
        "torus 2, ball 4, apart": parts(
            (2, torus), (4, partial(ball, 4)), n_features=11, shares=(0.6, 0.4), apart=1.4
        ),
    },
    "atoms": {
        "2 of 6 pairs of atoms": partial(groups, 2, 6, 2, 20),
        "windows of 3": partial(windows, 3, 16, 20),
        "3 of 8 topics": partial(topics, 3, 8, 25),
        "1, 2, 4 of 15 atoms": partial(atoms, [1, 2, 4], 15, 22, False),
        "subspaces 1, 3, 5": partial(subspaces, [1, 3, 5, 5], 17),
    },
    "thin": {
        "leaf": one(2, partial(leaf, 0.07), 8),
        "washer": one(3, partial(washer, 0.04), 9),
        "bent plate": one(3, partial(bent_plate, 0.06), 12),
        "exponential 1:20, 4": one(4, partial(exponential, [1, 0.6, 0.3, 0.05]), 13),
        "rational of 2 + 1:20": one(3, partial(thin_rational, 20)),
    },
    "solid": {
        "cross polytope of 6": one(6, partial(cross_polytope, 6), 15),
        "prism of 4": one(4, prism, 11),
        "annulus of 3": one(3, partial(annulus, 3, 0.5), 6),
        "logistic of 8": one(8, partial(logistic, 8), 24),
        "beta of 11": one(11, partial(beta, 11), 40),
    },
}
CHOSEN = {name: family for families in KINDS.values() for name, family in families.items()}
