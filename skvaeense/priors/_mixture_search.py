"""The search for the mixture that makes held-out rows most probable."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import numpy as np

from skvaeense.mixture._density import MixtureDensity
from skvaeense.utils._typing import DoubleArray

# Rows that the shrinkage counts as: tried first, and then.
SHRINKAGE, MORE_SHRINKAGE, LESS_SHRINKAGE = 30.0, (100.0, 300.0), (10.0, 3.0, 0.3)
# Share of what covariances are shrunk to that may be the same in all directions.
ROUNDNESS = 0.2
# Numbers of components that may be no better before larger ones are not tried.
PATIENCE = 2
# Another candidate is better if it gains this many nats, and so many standard errors.
LEAST_GAIN, SURENESS = 1e-3, 0.5


class Candidate(NamedTuple):
    """What is chosen by held-out rows."""

    n_components: int
    feature: str
    shrinkage: float
    n_directions: int
    roundness: float = 0.0
    noise_from_spectrum: bool = False


class Trial(NamedTuple):
    """A candidate, the log-density of held-out rows, and the mixture that gave the first."""

    candidate: Candidate
    scores: DoubleArray
    density: MixtureDensity

    def is_better_than(self, other: Self) -> bool:
        """Return whether held-out rows show it beyond the chance of their draw."""
        gain = self.scores - other.scores
        return bool(gain.mean() > LEAST_GAIN + SURENESS * gain.std() / np.sqrt(len(gain)))

    def is_simpler_than(self, other: Self) -> bool:
        """Return whether it has less than half the directions, and is not surely worse."""
        has_less_than_half = self.n_directions < 0.5 * other.n_directions
        return has_less_than_half and not other.is_better_than(self)

    @property
    def n_directions(self) -> float:
        """Mean number of directions of the components."""
        return float(self.density.weights @ self.density.ranks)


class Search:
    """The best of the candidates that were tried on held-out rows.

    Parameters
    ----------
    attempt : callable
        Function of a candidate that returns its trial.

    candidate : Candidate
        The first.
    """

    def __init__(self, attempt: Callable[[Candidate], Trial], candidate: Candidate) -> None:
        self.attempt = attempt
        self.best = attempt(candidate)

    def keep(self, candidate: Candidate) -> bool:
        """Keep a candidate if it is better, and return whether it is."""
        trial = self.attempt(candidate)
        is_better = trial.is_better_than(self.best)
        self.best = trial if is_better else self.best
        return is_better

    def climb(self, name: str, values: Iterable[Any]) -> bool:
        """Change a field as long as each value is better than the last."""
        n_better = 0
        for value in values:
            if not self.keep(self.best.candidate._replace(**{name: value})):
                break
            n_better += 1
        return n_better > 0

    def number(self, counts: list[int]) -> None:
        """Find the number of components, and where they start."""
        worse = 0
        for k in counts:
            same = self.best.candidate._replace(n_components=k)
            better = [self.keep(same._replace(feature=name)) for name in ("pattern", "position")]
            worse = 0 if any(better) or k == 1 else worse + 1
            if worse == PATIENCE:
                break

    def refine(self, counts: list[int], sizes: list[int], with_shrinkage: bool) -> None:
        """Find the rest, and whether it calls for another number of components."""
        self._fewer(counts)
        # One component needs more directions than each of several.
        n_directions = self.best.candidate.n_directions
        self.climb("n_directions", [m for m in sizes if m < n_directions][::-1])
        self.climb("roundness", [ROUNDNESS])
        if with_shrinkage and not self.climb("shrinkage", MORE_SHRINKAGE):
            self.climb("shrinkage", LESS_SHRINKAGE)
        k = self.best.candidate.n_components
        if not self._fewer(counts):
            self.climb("n_components", [other for other in counts if other > k])

    def _fewer(self, counts: list[int]) -> bool:
        k = self.best.candidate.n_components
        return self.climb("n_components", [other for other in counts if other < k][::-1])
