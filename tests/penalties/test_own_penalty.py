"""A custom penalty needs only `build`, or `cost` as well if it has an alpha."""

import numpy as np
import pytest
import torch
from helpers import ATOMS, fit_sae
from numpy.testing import assert_array_equal

from skvaeense.metrics import l0
from skvaeense.penalties import Penalty

X, X_NEW = ATOMS.few, ATOMS.new
THRESHOLD = 0.05


class Elastic(Penalty):
    """An elastic net on codes above a fixed threshold."""

    def __init__(self, alpha=0.1, mix=0.5):
        self.alpha = alpha
        self.mix = mix

    def build(self, n_components, *, unit, positive):
        return torch.nn.Threshold(THRESHOLD * unit, 0.0)

    def cost(self, coding):
        size = coding.code.abs() / coding.unit
        return (self.mix * size + (1 - self.mix) * size.square()).sum(dim=1)


class OnlyFirst(Penalty):
    """A constraint without alpha: only the first latents can be active."""

    def __init__(self, n_first=4):
        self.n_first = n_first

    def build(self, n_components, *, unit, positive):
        return First(self.n_first)


class First(torch.nn.Module):
    def __init__(self, n_first):
        super().__init__()
        self.n_first = n_first

    def forward(self, preactivation):
        return preactivation * (torch.arange(preactivation.shape[1]) < self.n_first)


def elastic_cost(codes, mix):
    size = np.abs(codes) / np.sqrt(8)
    return (mix * size + (1 - mix) * size**2).sum(axis=1).mean()


def test_a_penalty_of_ones_own_is_minimised():
    """Both terms of the loss are public, and alpha weights them."""
    fits = [fit_sae(Elastic(alpha, mix=0.2), max_iter=100, tol=0) for alpha in (0.01, 0.3)]
    costs = [elastic_cost(fitted.transform(X), 0.2) for fitted in fits]
    assert costs[1] < 0.8 * costs[0]
    assert fits[1].score(X) < fits[0].score(X)
    for fitted, cost in zip(fits, costs, strict=True):
        loss = 1 - fitted.score_samples(X).mean() + fitted.alpha_ * cost
        assert fitted.loss_curve_[-1] == pytest.approx(loss, rel=0.1)


def test_a_target_adapts_the_alpha_of_a_penalty_of_ones_own():
    fitted = fit_sae(Elastic(mix=0.2), max_iter=100, target_l0=4)
    codes = fitted.transform(X_NEW)
    assert l0(codes) == pytest.approx(4, rel=0.25)
    assert fitted.alpha_ != 0.1
    assert fitted.penalty.alpha == 0.1
    assert fitted.score(X_NEW) > 0.7
    assert codes[codes != 0].min() >= THRESHOLD * np.sqrt(8)


def test_a_constraint_of_ones_own():
    fitted = fit_sae(OnlyFirst())
    assert not hasattr(fitted, "alpha_")
    assert_array_equal(fitted.active_dimensions(X_NEW).all(axis=0), [True] * 4 + [False] * 8)
    with pytest.raises(ValueError, match=r"OnlyFirst\(\) has no alpha"):
        fit_sae(OnlyFirst(), target_l0=2)


def test_a_penalty_of_ones_own_needs_no_constraints(subtests):
    for penalty in (Elastic(), OnlyFirst()):
        with subtests.test(penalty=penalty):
            assert Penalty.resolve(penalty) is penalty
