"""Convolutional encoder and decoder, for images."""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from skvaeense.networks._base import Network
from skvaeense.networks._dense import ShortcutAutoencoder, shortcuts
from skvaeense.networks._layers import (
    SKIP,
    LayerSizes,
    Skip,
    check_layer_sizes,
    convolution,
    hidden_layers,
    linear_layer,
)
from skvaeense.utils._validation import AT_LEAST_ONE, StrOptions

# Factor by which each convolution of the encoder divides height and width.
STRIDE = 2
# "auto" takes convolutions until no side is longer than MAX_SIDE. More channels hardly gained
# anything on small images, and cost time in proportion.
MAX_SIDE, FIRST_CHANNELS, MAX_CHANNELS = 8, 8, 32


@dataclass(eq=False, repr=False)
class Conv(Network):  # numpydoc ignore=PR02
    """Convolutional encoder, and a linear or a shallow convolutional decoder, for images.

    The encoder has convolutions, each of which halves height and width, and then dense layers.
    A pattern that a convolution learns in one place of an image is recognised in all places.

    Rows of X are images with channels last, in C order, as from ``images.reshape(len(images), -1)``
    with images of scikit-learn or scikit-image: pixel (i, j) of channel c is the feature
    ``(i * width + j) * n_channels + c``.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) of grey images, or (height, width, n_channels). Sides can have any
        length. The product must be the number of features; otherwise `fit` raises a ValueError.

    channels : "auto" or tuple of int, default="auto"
        Number of output channels of each convolution. "auto" adds convolutions until no side is
        longer than 8, but at least one. The first has 8 channels, and each further convolution
        twice as many as the previous one, at most 32.

    kernel_size : int, default=3
        Height and width of the convolutions' windows, an odd number.

    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the encoder's dense layers, after the convolutions. "auto" means one layer with
        one unit per latent, at least 256 and at most 1,024.

    decoder : {"linear", "conv"}, default="linear"
        "linear" reconstructs by ``W e + b``: each column of W is an image. "conv" has one hidden
        layer of small images, with as many channels as the encoder's last convolution, and one
        convolution that turns them into the large image [1]_. It reconstructs better, but the
        pattern of active latents differs less between samples.

    skip : bool or "first", default="first"
        Whether a linear map of the sample is added to the outputs of the encoder's heads, or of the
        first head alone. Without the map, a convolutional decoder learns far more slowly.

    See Also
    --------
    Linear : Linear decoder, and an encoder of dense layers.
    MLP : Decoder with dense hidden layers.

    Notes
    -----
    The convolution of the decoder computes several pixels at once for each pixel of the hidden
    layer. It is equivalent to a transposed convolution [2]_.

    References
    ----------
    .. [1] W. Shi et al., "Real-time single image and video super-resolution using an efficient
       sub-pixel convolutional neural network", CVPR 2016, arXiv:1609.05158.
    .. [2] W. Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016,
       arXiv:1609.07009.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.networks import Conv
    >>> X = load_digits().data
    >>> vaeense = VAEenseTransformer(
    ...     16, network=Conv((8, 8)), n_init=1, max_iter=30, random_state=0
    ... ).fit(X)
    >>> vaeense.components_.reshape(-1, 8, 8).shape
    (16, 8, 8)
    """

    _parameter_constraints = {"decoder": [StrOptions({"conv", "linear"})], "skip": SKIP}

    image_shape: tuple[int, ...]
    channels: LayerSizes = "auto"
    _: KW_ONLY
    kernel_size: int = 3
    hidden_layer_sizes: LayerSizes = "auto"
    decoder: Literal["linear", "conv"] = "linear"
    skip: Skip = "first"

    def build(
        self, n_features: int, n_components: int, *, n_heads: int, generator: torch.Generator | None
    ) -> nn.Module:
        """Make the module with random weights."""
        image = check_image_shape(self.image_shape, n_features)
        channels = check_channels(self.channels, max(image[:2]))
        if not AT_LEAST_ONE.is_satisfied_by(self.kernel_size) or self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be an odd positive integer, got {self.kernel_size!r}."
            )
        kernel_size = int(self.kernel_size)
        sizes = check_layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes, n_components, 1)
        # Shape of the small image after the encoder's convolutions and before the decoder's.
        factor = STRIDE ** len(channels)
        small = math.ceil(image[0] / factor), math.ceil(image[1] / factor), channels[-1]
        layers: list[nn.Module] = [ToImage(image)]
        for n_in, n_out in pairwise([image[2], *channels]):
            layers += [convolution(n_in, n_out, kernel_size, generator, STRIDE), nn.SiLU()]
        layers += [ToRow(), *hidden_layers(math.prod(small), sizes, generator)]
        last = sizes[-1] if sizes else math.prod(small)
        layers += [linear_layer(last, n_heads * n_components, generator)]
        skip = shortcuts(self.skip, n_features, n_components, n_heads, generator)
        decoder: nn.Module = linear_layer(n_components, n_features, generator)
        if self.decoder == "conv":
            decoder = nn.Sequential(
                *hidden_layers(n_components, [math.prod(small)], generator),
                ToImage(small),
                convolution(channels[-1], factor**2 * image[2], kernel_size, generator),
                Enlarge(factor, image[:2]),
                ToRow(),
            )
        return ShortcutAutoencoder(nn.Sequential(*layers), skip, decoder, n_heads=n_heads)


class ToImage(nn.Module):
    """Reshape rows to images of shape (n_channels, height, width), as in torch.

    In memory the channels stay last, as they are in rows. So nothing is copied, and convolutions
    of a few channels are faster than with channels first.

    Parameters
    ----------
    shape : tuple of int
        (height, width, n_channels).
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images of one row or of many."""
        return x.unflatten(-1, self.shape).movedim(-1, -3)


class ToRow(nn.Module):
    """Reshape images to rows: the inverse of `ToImage`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the row of one image or the rows of many."""
        return x.movedim(-3, -1).flatten(-3)


class Enlarge(nn.Module):
    """Spread the channels of each pixel over a square of pixels, and cut to a size.

    Parameters
    ----------
    factor : int
        Side of the squares.

    size : tuple of int
        (height, width); pixels beyond it, below and to the right, are cut off.
    """

    def __init__(self, factor: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.factor = factor
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the large images."""
        height, width = self.size
        return F.pixel_shuffle(x, self.factor)[..., :height, :width]


def check_image_shape(image_shape: Sequence[int], n_features: int) -> tuple[int, int, int]:
    """Return (height, width, n_channels), whose product must be `n_features`."""
    valid = isinstance(image_shape, Sequence) and len(image_shape) in (2, 3)
    if not valid or not all(map(AT_LEAST_ONE.is_satisfied_by, image_shape)):
        raise ValueError(
            "image_shape must be (height, width) or (height, width, n_channels), positive "
            f"integers, got {image_shape!r}."
        )
    height, width, n_channels = (int(n) for n in (*image_shape, 1)[:3])
    expected = height * width * n_channels
    if n_features != expected:
        raise ValueError(
            f"X has {n_features} features, but Conv is expecting {expected} features as input: "
            f"images of image_shape={image_shape!r}, one in each row."
        )
    return height, width, n_channels


def check_channels(channels: LayerSizes, side: int) -> list[int]:
    """Return the number of channels of each convolution, for images with this longer side."""
    if isinstance(channels, str) and channels == "auto":
        n_layers = max(1, math.ceil(math.log2(side / MAX_SIDE)))
        return [min(FIRST_CHANNELS * 2**i, MAX_CHANNELS) for i in range(n_layers)]
    checked = check_layer_sizes("channels", channels, 1, 1)
    if not checked:
        raise ValueError(f"channels must name at least one convolution, got {channels!r}.")
    return checked
