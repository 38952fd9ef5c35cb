"""Which numbers of latents are tried for gates, and which one is kept."""

from types import SimpleNamespace

import numpy as np
import pytest

from skvaeense._explained import ExplainedTraining


class Gates:
    """An estimator whose trainings end with given losses, one for each number of latents."""

    n_components, max_iter = None, "auto"

    def __init__(self, least, losses):
        self.least, self.losses, self.tried = least, losses, []

    def _gate_estimator(self, share, n_components=None):
        chosen = Gates(self.least, self.losses)
        chosen.n_components = n_components
        return chosen

    def _default_width(self, data):
        return self.least

    def _make_trainer(self, data, seeds, init):
        return SimpleNamespace(model=None, log=[], width=self.n_components)

    def _each(self, inits, n_epochs_of, session, loss_of, is_hopeless):
        for i in range(len(inits.logs), len(n_epochs_of)):
            trainer = inits.make_trainer(i)
            inits.offer(trainer, self.losses[trainer.width] if i else 0.0)
            if i:
                self.tried.append(trainer.width)


class Looking(ExplainedTraining):
    """The training after a short one has shown that gates may explain the samples."""

    def _have_gates(self, model):
        return True


LOST = np.inf


@pytest.mark.parametrize(
    ("n_rows", "losses", "tried", "kept"),
    [
        # Few latents explain nothing, and many do.
        (4000, {50: LOST, 200: -3, 100: -4}, [50, 200, 100, 100], 100),
        (4000, {50: LOST, 200: -3, 100: -2}, [50, 200, 100, 200], 200),
        # Many latents have too few rows each.
        (4000, {50: -5, 200: LOST, 100: -4}, [50, 200, 100, 50], 50),
        (4000, {50: LOST, 200: LOST}, [50, 200], None),
        (1500, {50: LOST, 100: -1}, [50, 100, 100], 100),
        # The best number is trained again only if there are rows for twice the least number.
        (900, {50: -1}, [50], 50),
        # More than 256 latents are tried only beside the best number.
        (9000, {200: LOST}, [200], None),
        (9000, {200: -1, 400: -2, 800: -1}, [200, 400, 800, 400], 400),
        (9000, {100: -2, 200: -1}, [100, 200, 100], 100),
        (9000, {100: -1, 200: -2, 400: -3}, [100, 200, 400, 400], 400),
    ],
)
def test_numbers_of_latents_that_are_tried(n_rows, losses, tried, kept):
    rows = range(n_rows)
    data = SimpleNamespace(train=rows, valid=[], is_batch=False, explored=SimpleNamespace())
    session = SimpleNamespace(stopped=False, track=lambda name, part: part)
    estimator = Gates(min(losses), losses)
    training = Looking(estimator, data, session)
    training.seeds = [0, 0]
    widths = training._widths()
    n_inits = 1 + len(widths) + len(training._long_steps(widths[0]))
    trainer = training._train_gates(widths, n_inits * [1])
    assert estimator.tried == tried
    assert trainer.width == kept
    assert data.explored.kind == ("gates" if kept else "dense")
