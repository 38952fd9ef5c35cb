"""A model of one point, for tests that watch a training."""

import pytest
import torch
from torch import nn

from skvaeense.nets.losses import Loss
from skvaeense.training._trainer import Trainer, find_schedule
from skvaeense.utils._torch import make_generator


class Distance(Loss):
    """Squared distance of the samples from a point, plus noise. Batches are recorded."""

    def __init__(self, noise=0.0):
        self.noise = noise
        self.batches = []

    def terms(self, model, x, *, generator):
        self.batches.append(x.clone())
        error = (x - model.weight).square().sum(dim=1).mean()
        draw = torch.randn((), generator=generator, dtype=x.dtype)
        loss = error + self.noise * draw * model.weight.sum()
        return {"loss": loss, "error": error, "size": x.new_ones(2)}


class Point(nn.Module):
    """A weight with two entries."""

    def __init__(self, value=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), value, dtype=torch.float64))

    def adjust(self, gradient):
        """Leave gradients as they are."""

    def renormalize(self):
        """Leave weights as they are."""


@pytest.fixture
def make_point():
    """Return the class of the model."""
    return Point


@pytest.fixture
def make_trainer():
    """Return a function that makes a trainer, with defaults for parameters that are not given."""

    def make(model=None, loss=None, seed=0, **params):
        defaults = {"optimizer": "adam", "learning_rate": 0.1}
        defaults["schedule"] = find_schedule("constant")
        return Trainer(
            Point() if model is None else model,
            Distance() if loss is None else loss,
            generator=make_generator(seed),
            **(defaults | params),
        )

    return make
