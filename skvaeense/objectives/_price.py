"""The price of sparse codes: given, or adapted to a wanted number of active latents."""

import torch

from skvaeense.utils._repr import ReprMixin

# How fast the logarithm of an adapted price follows the logarithm of (active / wanted) per step: at
# first and at the end, when the learning rate falls, and the code answers less and less. At most
# MOST_EXCESS of the latter counts at once.
GAIN = 0.03
LAST_GAIN = 0.1
MOST_EXCESS = 1.0


class Price(ReprMixin):
    """Hold the factor alpha of a penalty, raise it from 0 at first, and adapt it if asked to.

    A target for the mean number of active latents makes the price follow, at every step after the
    rise, with the L0 of the batch::

        log alpha <- log alpha + gain(p) * clip(log(L0 / target), -1, 1)

    The gain rises from 0.03 to 0.1 with the square of the progress p.

    Parameters
    ----------
    alpha : float
        The price, or its first value if there is a target.

    target_l0 : float or None, default=None
        Wanted mean number of active latents; None keeps the price.

    warmup : float, default=0.1
        Share of the training over which the price rises from 0 to its value.

    Examples
    --------
    >>> from skvaeense.objectives import Price
    >>> price = Price(0.4, warmup=0.1)
    >>> price.at(0.0), price.at(0.05), price.at(0.7)
    (0.0, 0.2, 0.4)
    """

    def __init__(
        self, alpha: float, *, target_l0: float | None = None, warmup: float = 0.1
    ) -> None:
        self.alpha: float | torch.Tensor = alpha
        self.target_l0 = target_l0
        self.warmup = warmup

    def at(self, progress: float) -> float | torch.Tensor:
        """Return the price at this point of the training.

        Parameters
        ----------
        progress : float
            How much of the training is done, in [0, 1).

        Returns
        -------
        float or torch.Tensor
            The price; a tensor once it is adapted, so that nothing has to wait for the device.
        """
        if self.warmup == 0:
            return self.alpha
        return min(1.0, progress / self.warmup) * self.alpha

    def observe(self, l0: torch.Tensor, progress: float) -> None:
        """Take note of a batch.

        Parameters
        ----------
        l0 : torch.Tensor without dimensions
            Mean number of active latents of its samples.

        progress : float
            How much of the training is done, in [0, 1).
        """
        if self.target_l0 is None or progress < self.warmup:
            return
        excess = (l0 / self.target_l0).log().clamp(-MOST_EXCESS, MOST_EXCESS)
        gain = GAIN + (LAST_GAIN - GAIN) * progress**2
        self.alpha = self.alpha * torch.exp(gain * excess)
