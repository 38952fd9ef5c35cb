"""Losses are computed in memory that is given to them, and kept from step to step."""

import pytest
import torch

from skvaeense._kernels import Workspace
from skvaeense.networks import Linear, SingleLayer
from skvaeense.objectives import (
    ELBO,
    DenoisingScoreMatching,
    NoiseVariance,
    PenalisedReconstruction,
    Price,
)
from skvaeense.penalties import L1

N_FEATURES, N_COMPONENTS = 3, 4


def make_generator():
    return torch.Generator().manual_seed(0)


class Recorder(Workspace):
    """Note which tensors are asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def empty(self, shape, tensor, name):
        self.asked.append(name)
        return super().empty(shape, tensor, name)


class Half(torch.nn.Module):
    """Predict half of each noisy sample as its noise."""

    def noise(self, z, level):
        return z / 2


def make_elbo():
    module = Linear((6,)).build(N_FEATURES, N_COMPONENTS, n_heads=2, generator=make_generator())
    return ELBO(NoiseVariance(0.5, floor=0.5)), module


def make_penalised():
    module = SingleLayer().build(N_FEATURES, N_COMPONENTS, n_heads=1, generator=make_generator())
    module.activation = L1(0.1).build(N_COMPONENTS, unit=1.0, positive=True)
    return PenalisedReconstruction(L1(0.1), Price(0.1)), module


def make_denoising():
    return DenoisingScoreMatching((0.1, 1.0)), Half()


@pytest.mark.parametrize("make", [make_elbo, make_penalised, make_denoising])
def test_given_memory_is_used_and_changes_nothing(make):
    objective, module = make()
    x = torch.randn(5, N_FEATURES, generator=make_generator())
    workspace = Recorder()
    losses = []
    for given in ({}, {"workspace": workspace}, {"workspace": workspace}):
        loss = objective.loss(module, x, progress=0.5, generator=make_generator(), **given)
        losses.append(loss.total.item())
    assert losses[0] == losses[1] == losses[2]
    # One step asks for each once: what it held before is lost.
    half = len(workspace.asked) // 2
    assert half > 0
    assert workspace.asked[:half] == workspace.asked[half:]
    assert len(set(workspace.asked)) == half
