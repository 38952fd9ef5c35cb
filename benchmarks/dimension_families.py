"""Shapes: functions of a dimension, a number of points and a generator that draw points."""

import numpy as np
from sklearn.datasets import make_s_curve


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


def heavy_tails(dim, n, rng):
    return rng.standard_t(5, (n, dim))
