"""The noise variance: annealed, then learned."""

import torch

# How far under the error the descent may go. Far under, every latent that explains anything opens,
# for every sample; not under at all, isotropic data stays where all latents are half open.
LEAST_SHARE = 0.3


class NoiseVariance:
    """Hold the noise variance of a training run, and lower it while the run goes on.

    Given the rest, the best noise variance is the mean squared error per feature. Following it
    from the start finds bad minima: too high and all latents close, too low and patterns freeze
    before they are sorted out. So a run holds its start value, then lowers it geometrically,
    and from `settle` on follows a running mean of the error::

        g(p) = start                                   p <= hold
        g(p) = start (floor / start)^((p - hold) / (settle - hold))   hold < p < settle,
               but at least LEAST_SHARE of the running mean of the error
        g(p) = max(floor, f(p) * running mean)         p >= settle

    where f goes from `follow` to 1 by the end of the run.

    Parameters
    ----------
    start : float
        First value, in squared units of the scaled data.

    floor : float
        Least value.

    hold : float, default=0.4
        Share of the run that keeps the start value.

    settle : float, default=0.8
        Share of the run after which the error is followed.

    follow : float, default=1.0
        First factor on the running mean of the error, which then rises to 1. Under 1 the descent
        is faster than the error's, which alone would stall above its limit.

    learned : bool, default=True
        If False, the value stays at `start`.

    Examples
    --------
    >>> from skvaeense.objectives import NoiseVariance
    >>> noise = NoiseVariance(0.1, floor=0.001)
    >>> noise.at(0.2), round(noise.at(0.6), 6)
    (0.1, 0.01)
    """

    def __init__(
        self,
        start: float,
        *,
        floor: float,
        hold: float = 0.4,
        settle: float = 0.8,
        follow: float = 1.0,
        learned: bool = True,
    ) -> None:
        self.start = start
        self.floor = floor
        self.hold = hold
        self.settle = settle
        self.follow = follow
        self.learned = learned
        self._running: torch.Tensor | None = None

    def at(self, progress: float) -> float | torch.Tensor:
        """Return the noise variance at this point of the run.

        Parameters
        ----------
        progress : float
            How much of the run is done, in [0, 1).

        Returns
        -------
        float or torch.Tensor
            The noise variance; a tensor once it follows the error, so that nothing has to wait
            for the device.
        """
        if not self.learned or progress <= self.hold:
            return self.start
        if progress < self.settle or self._running is None:
            share = min(1.0, (progress - self.hold) / max(self.settle - self.hold, 1e-12))
            level = self.start * (self.floor / self.start) ** share
            if self._running is None:
                return level
            return (LEAST_SHARE * self._running).clamp(level, self.start)
        factor = self.follow + (1 - self.follow) * progress
        return (factor * self._running).clamp_min(self.floor)

    def observe(self, error: torch.Tensor) -> None:
        """Take note of a batch's error.

        Parameters
        ----------
        error : torch.Tensor
            Mean squared error per feature, detached.
        """
        if self._running is None:
            self._running = error.clone()
        else:
            self._running.lerp_(error, 0.02)
