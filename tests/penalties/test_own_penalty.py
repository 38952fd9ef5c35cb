"""A penalty of one's own needs as little as `build`, and a price needs `cost`."""

import math

import pytest
import torch
from skvaeense.objectives import PenalisedReconstruction, Price
from skvaeense.training._loop import make_optimizer

from skvaeense.networks import SingleLayer
from skvaeense.penalties import Penalty, resolve_penalty

N_SAMPLES, N_FEATURES, N_COMPONENTS = 7, 5, 8


class Elastic(Penalty):
    """As little as a penalty can be with a price: L1 and half the square."""

    def __init__(self, alpha=0.1):
        self.alpha = alpha

    def build(self, n_components, *, unit, positive):
        return torch.nn.ReLU()

    def cost(self, coding):
        return (coding.code / coding.unit + 0.5 * (coding.code / coding.unit) ** 2).sum(dim=1)


class Plain(Penalty):
    """As little as a penalty can be."""

    def build(self, n_components, *, unit, positive):
        return torch.nn.Identity()


@pytest.mark.parametrize("penalty", [Elastic(0.7), Plain()], ids=["price", "none"])
def test_a_penalty_of_ones_own(penalty):
    generator = torch.Generator().manual_seed(0)
    module = SingleLayer().build(N_FEATURES, N_COMPONENTS, n_heads=1, generator=generator)
    module.activation = penalty.build(N_COMPONENTS, unit=N_FEATURES**0.5, positive=True)
    x = torch.randn(N_SAMPLES, N_FEATURES, generator=generator)
    objective = PenalisedReconstruction(penalty, Price(penalty.alpha or 0.0, warmup=0))
    optimizer, losses = make_optimizer(module), []
    for i in range(200):
        loss = objective.loss(module, x, progress=i / 200, generator=generator)
        losses.append(float(loss.total.detach()))
        optimizer.zero_grad()
        loss.total.backward()
        objective.before_step(module)
        optimizer.step()
        objective.after_step(module, optimizer, progress=i / 200, generator=generator)
        expected = loss.error / N_FEATURES + (penalty.alpha or 0) * loss.cost
        torch.testing.assert_close(loss.total.detach(), expected)
    assert losses[-1] < 0.95 * losses[0]
    code = objective.coding(module, x).code.detach().numpy() / math.sqrt(N_FEATURES)
    cost = (code + code**2 / 2).sum(axis=1).mean() if penalty.alpha else 0
    assert objective.held_out_terms(module, x)[1] == pytest.approx(cost)


@pytest.mark.parametrize("penalty", [Elastic(0.7), Plain()], ids=["price", "none"])
def test_a_penalty_of_ones_own_needs_no_constraints(penalty):
    assert resolve_penalty(penalty) is penalty
