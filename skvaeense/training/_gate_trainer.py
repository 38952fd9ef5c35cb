"""The trainer of gates: epochs of expectation maximisation."""

import copy
import math
from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from itertools import chain, islice, repeat
from typing import Any

from skvaeense.explanations._em import EM
from skvaeense.explanations._gates import BLOCK
from skvaeense.explanations._sums import Sums
from skvaeense.losses import ELBO
from skvaeense.models import SpikeSlabVAE
from skvaeense.samples._batches import Batches
from skvaeense.training._trainer import Resumable, Span
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import threads_for
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._rows import MAX_ENTRIES


@dataclass(eq=False)
class GateTrainer(Resumable):
    """Fit gates, epoch by epoch, as `Trainer` trains models with gradients.

    An epoch is a few steps from subsets of the samples, or at the end one round through many
    samples.

    Attributes
    ----------
    em : EM
        The fit.

    config : dict
        Further parameters of the model.

    n_components : int or None
        Number of latents of the model; None means as many as the fit keeps.

    knows_gates : bool, default=False
        Whether the first gates are known to be good, so that rounds suffice.

    processes : Processes, default=SINGLE_PROCESS
        The processes that fit together.

    init : int, default=0
        Index of the init, which is recorded in the log.

    log : list of dict of float
        For each epoch the means of the terms of the bound, and the noise variance.

    n_steps : int
        Steps from subsets so far.
    """

    saved = ("log", "n_steps", "epoch")

    em: EM
    config: dict[str, Any]
    n_components: int | None
    _: KW_ONLY
    knows_gates: bool = False
    processes: Processes = SINGLE_PROCESS
    init: int = 0

    def __post_init__(self) -> None:
        self.em.processes = self.processes
        self.loss = ELBO()
        self.log: list[dict[str, float]] = []
        self.other_log: list[dict[str, float]] = []
        self.n_steps = self.epoch = 0

    @property
    def n_epochs(self) -> int:
        """Number of epochs of a whole fit."""
        return self._step_epochs + self.em.n_rounds

    @property
    def _step_epochs(self) -> int:
        """Number of epochs of steps: none if rounds suffice, and half if there are no rounds."""
        n_epochs = self.em.n_steps // self.em.steps_of_epoch
        if not self.knows_gates:
            return n_epochs
        return 0 if self.em.n_rounds else n_epochs // 2

    @property
    def model(self) -> SpikeSlabVAE:
        """The model of the present gates."""
        return SpikeSlabVAE.of(self.em.result(self.n_components), **self.config)

    @property
    def is_finite(self) -> bool:
        """Whether the terms of the last epoch are finite."""
        return not self.log or all(map(math.isfinite, self.log[-1].values()))

    def epochs(
        self, train: Batches, *, n_epochs: int, batch_size: int, span: Span = (0.0, 1.0)
    ) -> Generator[bool, None, None]:
        """Fit for a series of epochs; it ends early if a term is not finite.

        Parameters
        ----------
        train : Batches
            Centred and scaled samples.

        n_epochs : int
            Number of epochs.

        batch_size : int
            Ignored: the size of subsets follows from the number of latents.

        span : tuple of two floats
            Ignored.

        Yields
        ------
        bool
            True after each epoch.
        """
        n_first = n_epochs * self._step_epochs // self.n_epochs
        try:
            while self.epoch < n_epochs and self.is_finite:
                if self.epoch < n_first:
                    start = 0.5 if self.knows_gates else 0.0
                    part = (1 - start) / n_first
                    span = start + part * self.epoch, start + part * (self.epoch + 1)
                    self._end_epoch(self._take_steps(train, self.em.steps_of_epoch, span))
                else:
                    self._end_epoch(self._round(train))
                yield True
        finally:
            self.epoch = 0

    def fit(
        self, train: Batches, *, n_epochs: int, batch_size: int, span: Span = (0.0, 1.0)
    ) -> None:
        """Learn from a batch of samples, a subset at a time."""
        n_rows, terms = len(train) // max(len(train) // self.em.subset_rows(), 1), []
        with self._threads(n_rows):
            for x in train.epoch(n_rows, self.em.generator):
                noise = float(self.em.gates.noise_variance)
                sums = self.em.absorb(x, x.new_ones(len(x)))
                terms.append(self._terms(sums, noise))
        self.n_steps += len(terms)
        self._end_epoch(terms)

    def _take_steps(self, train: Batches, n_steps: int, span: tuple[float, float]) -> list[Any]:
        n_rows = min(self.em.subset_rows(), len(train))
        passes = (train.epoch(n_rows, self.em.generator) for _ in repeat(None))
        terms = []
        with self._threads(n_rows):
            for i, x in enumerate(islice(chain.from_iterable(passes), n_steps), start=1):
                noise = float(self.em.gates.noise_variance)
                done = span[0] + (span[1] - span[0]) * i / n_steps
                sums = self.em.step(x, x.new_ones(len(x)), done)
                terms.append(self._terms(sums, noise))
                advance()
        self.n_steps += n_steps
        return terms

    def _round(self, train: Batches) -> list[Any]:
        k = len(self.em.gates.weight)
        x, weights = train.some(max(MAX_ENTRIES // k, 1))
        own = slice(self.processes.rank, None, self.processes.world_size)
        noise = float(self.em.gates.noise_variance)
        with self._threads(len(x)):
            return [self._terms(self.em.round(x[own], weights[own]), noise)]

    def _threads(self, n_rows: int) -> AbstractContextManager[Any]:
        """Return a context with as many threads as the products of one block of latents need."""
        return threads_for(n_rows * BLOCK * len(self.em.gates.bias))

    def _terms(self, sums: Sums, noise: float) -> dict[str, float]:
        """Return the terms of the mean bound of the samples."""
        n, d = float(sums.n), len(self.em.gates.bias)
        error = float(sums.error) / n
        kl = -float(sums.nats) / n - 0.5 * (error / noise + d * math.log(2 * math.pi * noise))
        return {"error": error, "kl": kl, "noise_variance": noise}

    def _end_epoch(self, terms: list[dict[str, float]]) -> None:
        means = {k: sum(t[k] for t in terms) / len(terms) for k in terms[0]}
        tags = {"init": self.init, "epoch": len(self.log) + 1, "step": self.n_steps}
        self.log.append(means | {name: float(tag) for name, tag in tags.items()})
        self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state that the fit can resume from."""
        return super().state_dict() | {"em": self.em.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from a trainer with the same parameters."""
        super().load_state_dict({name: state[name] for name in self.saved})
        self.em.load_state_dict(copy.deepcopy(state["em"]))
