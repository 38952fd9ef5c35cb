"""Unions of photographs and digits under smooth transforms."""

import functools
from collections.abc import Sequence
from math import isqrt
from typing import Any, Literal, overload

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits, load_sample_images
from sklearn.utils import check_random_state

from skvaeense.datasets._datasets import COMMON, Samples, check_room, draw_union
from skvaeense.utils._typing import DoubleArray, IntArray, RandomState
from skvaeense.utils._validation import StrOptions, validate_params

# Half the range of each transform: shifts down and to the right as shares of the width of a view,
# an angle, a log scale, a shear, brightness, and a log contrast.
RANGES = np.array([0.19, 0.19, 0.4, 0.25, 0.25, 0.15, 0.3])
# Width of a view in pixels of the source, and standard deviation of the smoothing of the source.
WIDTHS = {"photographs": 32.0, "digits": 10.0}
SMOOTHING = {"photographs": 2.0, "digits": 0.7}
# Width of the zeros around a digit in pixels, and distance of the centres of views from the margin
# of a photograph in widths of a view.
PADDING, MARGIN = 6, 1.5
# Least variance per pixel in any tangent direction, number of places where it is measured, step of
# its derivatives as a share of the ranges, and largest number of views that are tried.
LEAST_TANGENT, N_PLACES, STEP, N_TRIES = 1.6e-4, 5, 0.15, 1000


@overload
def make_transformed_images(  # numpydoc ignore=GL08
    n_samples: int = ...,
    *,
    dims: Sequence[int] = ...,
    images: Literal["photographs", "digits"] = ...,
    n_features: int = ...,
    noise: float = ...,
    return_tangents: Literal[False] = ...,
    random_state: RandomState = ...,
) -> Samples: ...
@overload
def make_transformed_images(  # numpydoc ignore=GL08
    n_samples: int = ...,
    *,
    dims: Sequence[int] = ...,
    images: Literal["photographs", "digits"] = ...,
    n_features: int = ...,
    noise: float = ...,
    return_tangents: Literal[True],
    random_state: RandomState = ...,
) -> tuple[DoubleArray, IntArray, IntArray, list[DoubleArray]]: ...
@validate_params(COMMON | {"images": [StrOptions(set(WIDTHS))], "return_tangents": ["boolean"]})
def make_transformed_images(
    n_samples: int = 1000,
    *,
    dims: Sequence[int] = (1, 3, 5),
    images: Literal["photographs", "digits"] = "photographs",
    n_features: int = 256,
    noise: float = 0.0,
    return_tangents: bool = False,
    random_state: RandomState = None,
) -> Samples | tuple[DoubleArray, IntArray, IntArray, list[DoubleArray]]:
    """Draw real images under smooth transforms. The number of transforms is the dimension.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples, split over the images as evenly as possible.
    dims : sequence of int, default=(1, 3, 5)
        Number of transforms of each image, at most 7. For each entry, one image and its set of
        transforms are drawn.
    images : {"photographs", "digits"}, default="photographs"
        Source of the images: places in scikit-learn's two sample photographs, or its handwritten
        digits.
    n_features : int, default=256
        Number of pixels, a square number. With more pixels an image has the same content and a
        finer resolution.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise added in every ambient direction, as a
        fraction of the root mean square (over samples and features) of the noiseless
        data around its mean.
    return_tangents : bool, default=False
        Whether to also return the variances in the tangent directions.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the images, the samples, their order and the noise. Pass an
        int for a reproducible result.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), dtype float64
        The samples, shuffled. Each is a square image, row by row, in shades of grey from about 0
        to about 1.
    manifold : ndarray of int of shape (n_samples,)
        Index of the image that each sample was made from.
    dimension : ndarray of int of shape (n_samples,)
        Number of transforms of that image.
    tangents : list of ndarray of shape (dim,)
        Variances of each image in its tangent directions, in descending order, in squared shades of
        grey, summed over the pixels. Only returned if `return_tangents` is True.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range, or no image changes enough under all transforms.
    ImportError
        If `images` is "photographs", and pillow is not installed.

    Notes
    -----
    The transforms are shifts down and to the right, a turn, a change of size, a shear, and changes
    of brightness and contrast. Their parameters are uniform, independent, and centred at no
    transform; a shift is at most 19 % of the width, and a turn 0.4 radians.

    Sources are smoothed a little and interpolated by cubic splines, so that the transforms are
    smooth. Some transforms do not change some images: a turned disc looks the same, and so does a
    shifted flat sky. So the derivatives with respect to the free parameters are measured at five
    random places. Their singular values give the variance of uniform parameters in each tangent
    direction. If it is below 1.6e-4 per pixel in any direction, another image is drawn. `tangents`
    has the least variance of the five places. Noise has the variance ``(noise * rms) ** 2`` in
    every direction, where rms is mostly between 0.1 and 0.3. With 256 pixels each tangent direction
    is well above noise of 0.1, while noise of 1 may hide some.

    To get training and test samples of the same images, draw one set and split it.

    Examples
    --------
    >>> import numpy as np
    >>> from benchmarks.generators.transformed_images import make_transformed_images
    >>> X, manifold, dimension, tangents = make_transformed_images(
    ...     200, dims=(1, 4), images="digits", return_tangents=True, random_state=0
    ... )
    >>> X.shape, np.unique(dimension).tolist()
    ((200, 256), [1, 4])
    >>> [len(variances) for variances in tangents]
    [1, 4]
    """
    dims = tuple(dims)
    check_room(max(dims), n_features, f"A manifold of dimension {max(dims)}")
    if max(dims) > len(RANGES):
        raise ValueError(f"dims must be at most {len(RANGES)}, got {max(dims)}.")
    if isqrt(n_features) ** 2 != n_features:
        raise ValueError(f"n_features must be a square number such as 256, got {n_features}.")
    rng = check_random_state(random_state)
    views = [_View.drawn(dim, images, isqrt(n_features), rng) for dim in dims]

    def draw(i: int, n: int) -> DoubleArray:
        return views[i].images(rng.uniform(-1, 1, (n, dims[i])))

    samples = draw_union(n_samples, dims, draw, noise, rng)
    return (*samples, [view.tangents for view in views]) if return_tangents else samples


class _View:
    """A place in a source, seen under some of the transforms.

    `free` are the indices of the transforms whose parameters vary, and `side` is the number of
    pixels on a side.
    """

    # Variances in the tangent directions, set by `drawn`.
    tangents: DoubleArray

    def __init__(self, source: DoubleArray, center: Any, width: float, side: int, free: IntArray):
        self.source, self.center, self.width, self.free = source, center, width, free
        pixels = ((np.arange(side) + 0.5) / side - 0.5) * width
        self.down, self.right = (a.ravel() for a in np.meshgrid(pixels, pixels, indexing="ij"))

    @classmethod
    def drawn(cls, dim: int, images: str, side: int, rng: np.random.RandomState) -> "_View":
        """Draw places and transforms until a place changes enough under its transforms."""
        sources, width = _sources(images), WIDTHS[images]
        for _ in range(N_TRIES):
            source = sources[rng.randint(len(sources))]
            half, margin = (np.array(source.shape) - 1) / 2, MARGIN * width
            reach = np.maximum(half - margin, 0) if images == "photographs" else np.zeros(2)
            center = half + rng.uniform(-1, 1, 2) * reach
            view = cls(source, center, width, side, np.sort(rng.permutation(len(RANGES))[:dim]))
            view.tangents = view.measured(rng.uniform(-1, 1, (N_PLACES, dim)))
            if view.tangents[-1] >= LEAST_TANGENT * side**2:
                return view
        raise ValueError(
            f"None of {N_TRIES} images changes enough under {dim} transforms to show them in "
            f"{side} x {side} pixels: lower dims or raise n_features."
        )

    def measured(self, places: DoubleArray) -> DoubleArray:
        """Return the least variances in tangent directions over several places, descending."""
        steps = STEP * np.eye(len(self.free))
        variances = []
        for place in places:
            change = self.images(place + steps) - self.images(place - steps)
            singular = np.linalg.svd(change / (2 * STEP), compute_uv=False)
            # A uniform distribution on [-1, 1] has the variance 1 / 3.
            variances.append(np.square(singular) / 3)
        return np.min(variances, axis=0)

    def images(self, parameters: DoubleArray) -> DoubleArray:
        """Return an image as a row for each row of parameters, given as shares of their ranges."""
        values = np.zeros((len(parameters), len(RANGES)))
        values[:, self.free] = parameters * RANGES[self.free]
        down, right, angle, log_scale, shear, brightness, log_contrast = values.T[:, :, None]
        across = self.right + shear * self.down
        scale, sine, cosine = np.exp(log_scale), np.sin(angle), np.cos(angle)
        where = [
            self.center[0] + self.width * down + scale * (cosine * self.down - sine * across),
            self.center[1] + self.width * right + scale * (sine * self.down + cosine * across),
        ]
        shades = ndimage.map_coordinates(self.source, where, mode="mirror", prefilter=False)
        return np.asarray((shades - 0.5) * np.exp(log_contrast) + 0.5 + brightness)


@functools.cache
def _sources(images: str) -> tuple[DoubleArray, ...]:
    """Return spline coefficients of pictures in shades of grey from 0 to 1."""
    pictures = _photographs() if images == "photographs" else _digits()
    smooth = (ndimage.gaussian_filter(picture, SMOOTHING[images]) for picture in pictures)
    return tuple(ndimage.spline_filter(picture, mode="mirror") for picture in smooth)


def _photographs() -> list[DoubleArray]:
    try:
        photographs = load_sample_images().images
    except ImportError as error:
        raise ImportError(
            "Reading photographs needs pillow; install it with `pip install skvaeense[plot]`, or "
            'set images="digits".'
        ) from error
    return [photograph.mean(axis=2) / 255 for photograph in photographs]


def _digits() -> list[DoubleArray]:
    return [np.pad(digit, PADDING) / 16 for digit in load_digits().images]
