"""Unions of swiss rolls."""

import numpy as np
from sklearn.utils import check_random_state

from skvaeense.datasets._datasets import COMMON, Samples, check_room, draw_frame, draw_union
from skvaeense.utils._typing import DoubleArray, RandomState
from skvaeense.utils._validation import AT_LEAST_ONE, NON_NEGATIVE, validate_params


@validate_params(COMMON | {"n_rolls": [AT_LEAST_ONE], "offset_scale": [NON_NEGATIVE]})
def make_swiss_rolls(
    n_samples: int = 1000,
    *,
    n_rolls: int = 1,
    n_features: int = 3,
    offset_scale: float = 10.0,
    noise: float = 0.0,
    random_state: RandomState = None,
) -> Samples:
    """Draw samples from one or several 2-dimensional swiss rolls.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples, split over the rolls as evenly as possible.
    n_rolls : int, default=1
        Number of rolls.
    n_features : int, default=3
        Number of ambient dimensions. With 3 the rolls stand along the axes, as
        `sklearn.datasets.make_swiss_roll` draws them; with more each roll lies in its own
        random 3-dimensional subspace.
    offset_scale : float, default=10.0
        Standard deviation of each of the n_features coordinates of a roll's offset, in the
        units of X. A single roll has no offset. A roll is about 25 wide and 21 high, so
        rolls in R^3 cross each other unless this is much larger.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise added in every ambient direction, as a
        fraction of the root mean square (over samples and features) of the noiseless
        data, offsets included, around its mean.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the rolls, the samples, their order and the noise. Pass an
        int for a reproducible result.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), dtype float64
        The samples, shuffled.
    manifold : ndarray of int of shape (n_samples,)
        Index of the roll that each sample was drawn from.
    dimension : ndarray of int of shape (n_samples,)
        Dimension of the rolls, which is 2 everywhere.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range; n_features must be at least 3.

    Notes
    -----
    A point of a roll is ``(t cos t, h, t sin t)``, with t uniform on [1.5 pi, 4.5 pi] and
    h uniform on [0, 21]. An isometry takes it to R^n_features: orthonormal directions of
    uniformly random span where n_features > 3, then the roll's offset. The roll is flat:
    it unrolls without stretching to the rectangle of arc length and height, with arc
    length ``(t sqrt(1 + t^2) + asinh t) / 2``. Samples are uniform in t and not in arc
    length, so they are denser near the centre of the roll.

    To get training and test samples of the same rolls, draw one set and split it.

    References
    ----------
    J. B. Tenenbaum, V. de Silva and J. C. Langford, "A global geometric framework for
    nonlinear dimensionality reduction", Science 290(5500), 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from benchmarks.generators.swiss_rolls import make_swiss_rolls
    >>> X, manifold, dimension = make_swiss_rolls(200, n_rolls=2, n_features=10, random_state=0)
    >>> X.shape, np.unique(dimension).tolist()
    ((200, 10), [2])
    """
    check_room(3, n_features, "A swiss roll")
    rng = check_random_state(random_state)
    frames = [
        draw_frame(3, n_features, rng) if n_features > 3 else np.eye(3) for _ in range(n_rolls)
    ]
    offsets = np.zeros((n_rolls, n_features))
    if n_rolls > 1:
        offsets = offset_scale * rng.standard_normal(offsets.shape)

    def draw(i: int, n: int) -> DoubleArray:
        return _draw_roll(n, rng) @ frames[i] + offsets[i]

    return draw_union(n_samples, [2] * n_rolls, draw, noise, rng)


def _draw_roll(n_samples: int, rng: np.random.RandomState) -> DoubleArray:
    """Return samples of one roll along the axes, shape (n_samples, 3)."""
    angle = rng.uniform(1.5 * np.pi, 4.5 * np.pi, size=n_samples)
    height = rng.uniform(0.0, 21.0, size=n_samples)
    return np.stack([angle * np.cos(angle), height, angle * np.sin(angle)], axis=1)
