"""Parameters of every public class, by type and range: refused with their name, or accepted."""

import inspect
import math
import re

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from strategies import sparse_autoencoder, vaeense

from skvaeense import (
    IntrinsicDimensionEstimator,
    dimension,
    mixture,
)
from skvaeense.nets import losses, networks, penalties, priors, thresholds
from skvaeense.utils._validation import Interval

X = np.random.default_rng(0).normal(size=(20, 4))
ROOMS = dimension, losses, mixture, networks, penalties, priors, thresholds
NEEDED = {"ranks": (1, 1), "noise_variance": 1.0}
ESTIMATORS = (
    vaeense(),
    sparse_autoencoder(n_components=3),
    IntrinsicDimensionEstimator(vaeense(), random_state=0),
)


def parts():
    """Yield an object of each public part of estimators with parameters."""
    for room in ROOMS:
        for name in room.__all__:
            cls = getattr(room, name)
            is_part = inspect.isclass(cls) and issubclass(cls, BaseEstimator)
            if is_part and not inspect.isabstract(cls):
                parameters = inspect.signature(cls).parameters
                yield cls(
                    **{
                        k: v
                        for k, v in NEEDED.items()
                        if k in parameters and parameters[k].default is inspect.Parameter.empty
                    }
                )


def use(part):
    """Use a part like an estimator does, as far as possible without a fit."""
    if hasattr(part, "fit") and not isinstance(part, dimension.AutoencoderMethod):
        part.fit(X)
        return
    part.validate()
    generator = torch.Generator().manual_seed(0)
    if isinstance(part, networks.Network):
        n_heads = 1 if isinstance(part, networks.Unrolled) else 2
        part.build(4, 3, n_heads=n_heads, generator=generator)
    elif isinstance(part, penalties.Penalty):
        part.build(3, unit=1.0, positive=True)


def wrong_values(estimator, name):
    """Return invalid values of a parameter: other types, and values just outside of its range."""
    values = [object(), "no such word", b"auto", 1j, [object()], np.ones((2, 2))]
    constraints = estimator._parameter_constraints.get(name, ())
    takes_flags = any(c in ("boolean", "verbose") for c in constraints if isinstance(c, str))
    values += [] if takes_flags else [True, np.True_]
    for constraint in constraints:
        if isinstance(constraint, Interval):
            values += [math.nan, -math.inf, math.inf]
            for limit, kind in ((constraint.left, -1), (constraint.right, 1)):
                if limit is not None:
                    values.append(limit + kind)
    return values


def refuses(estimator, name, value):
    """Return whether a parameter is refused with an error that names it."""
    try:
        use(clone(estimator).set_params(**{name: value}))
    except (ValueError, TypeError) as error:
        return re.search(rf"\b{name}\b", str(error)) is not None
    return False


def test_what_a_parameter_can_never_be(subtests):
    """The error names the parameter, and comes before any computation with the wrong type."""
    for estimator in (*ESTIMATORS, *parts()):
        with subtests.test(estimator=estimator):
            taken = [
                (name, value)
                for name in estimator.get_params(deep=False)
                for value in wrong_values(estimator, name)
                if not refuses(estimator, name, value)
            ]
            assert taken == []
