"""JumpReLU: a learned threshold with a straight-through estimate of its derivative."""

import numpy as np
import pytest
import torch
from helpers import coding_of, draw

from skvaeense.nets.penalties import JumpReLU

SIGNS = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])
THRESHOLDS = np.array([0.4, 1.0, 1.5])
BANDWIDTH = 0.3


def build(thresholds=THRESHOLDS, positive=True, bandwidth=BANDWIDTH):
    """Return the activation with these thresholds."""
    penalty = JumpReLU(bandwidth=bandwidth)
    activation = penalty.build(len(thresholds), unit=1.0, positive=positive).double()
    with torch.no_grad():
        activation.log_threshold.copy_(torch.as_tensor(thresholds).log())
    return activation


def threshold_slope(activation):
    """Return the gradient of the thresholds, from the gradient of their logarithms."""
    return (activation.log_threshold.grad / activation.threshold.detach()).numpy()


def box(u):
    return (np.abs(u) < 0.5).astype(float)


@pytest.mark.parametrize("threshold", [1e-300, 1e300])
def test_a_threshold_beyond_single_precision(threshold):
    activation = JumpReLU(threshold=threshold).build(2, unit=1.0, positive=True)
    assert (activation(torch.ones(1, 2)) == float(threshold < 1)).all()


# --- codes ----------------------------------------------------------------------------------


def test_code_is_the_preactivation_over_the_threshold():
    h = torch.tensor([[0.9, 1.0, 1.1, 3.0, -3.0, 0.0]], dtype=torch.float64)
    assert build([1.0] * 6)(h).tolist() == [[0, 0, 1.1, 3, 0, 0]]
    assert build([1.0] * 6, positive=False)(h).tolist() == [[0, 0, 1.1, 3, -3, 0]]
    h = torch.full((1, 3), 0.7, dtype=torch.float64)
    assert build([0.5, 0.8, 0.6])(h).tolist() == [[0.7, 0, 0.7]]


@SIGNS
@pytest.mark.parametrize("alpha", [0.02, 0.3, 1.0])
def test_code_is_the_proximal_operator_of_the_count(positive, alpha):
    """The threshold is sqrt(2 a). The minimum is searched on a grid that contains 0 and each h."""
    heights = np.linspace(-2.05, 2.05, 42)
    grid = np.concatenate([[0.0], heights, np.linspace(-3, 3, 601)])
    grid = grid[grid >= 0] if positive else grid
    losses = (grid - heights[:, None]) ** 2 / 2 + alpha * (grid != 0)
    activation = build([np.sqrt(2 * alpha)], positive)
    code = activation(torch.tensor(heights)[:, None])[:, 0].detach()
    assert 0 < np.count_nonzero(code) < len(code)
    np.testing.assert_array_equal(code, grid[losses.argmin(axis=1)])


def test_first_thresholds_and_the_box_are_in_units_of_the_samples():
    activation = JumpReLU(threshold=0.2, bandwidth=0.5).build(3, unit=10.0, positive=True)
    assert activation.threshold.tolist() == pytest.approx([2.0] * 3)
    # Pre-activations within 2.5 of the threshold change it, and others do not.
    for distance, moves in [(2.4, True), (2.6, False), (-2.4, True), (-2.6, False)]:
        activation.zero_grad()
        activation.is_over(torch.full((1, 3), 2.0 + distance)).sum().backward()
        assert (activation.log_threshold.grad != 0).tolist() == [moves] * 3


# --- derivatives ----------------------------------------------------------------------------


@SIGNS
def test_slope_of_the_code_in_the_threshold(positive):
    """-(h / eps) K((|h| - t) / eps). The paper has t for h, which is equal up to the bandwidth."""
    activation, h, weight = build(positive=positive), draw(200, 3), draw(200, 3, seed=1)
    code = activation(h.requires_grad_())
    (code * weight).sum().backward()
    # The slope in the pre-activation is 1 over the threshold.
    assert torch.equal(h.grad, weight * (code != 0))
    h, w = h.detach().numpy(), weight.numpy()
    size = h if positive else np.abs(h)
    near = box((size - THRESHOLDS) / BANDWIDTH)
    assert near.sum(axis=0).min() > 3
    slope = threshold_slope(activation)
    np.testing.assert_allclose(slope, -(w * h / BANDWIDTH * near).sum(axis=0))
    paper = -(w * np.sign(h) * THRESHOLDS / BANDWIDTH * near).sum(axis=0)
    bound = (np.abs(w) * BANDWIDTH / 2 / BANDWIDTH * near).sum(axis=0)
    assert (np.abs(slope - paper) <= bound).all()


@SIGNS
def test_slope_of_the_count_in_the_threshold(positive):
    """-(1 / eps) K((|h| - t) / eps), and no slope in the pre-activation."""
    penalty, activation = JumpReLU(loss="l0"), build(positive=positive)
    h, weight = draw(200, 3).requires_grad_(), draw(200, seed=1)
    (penalty.cost(coding_of(activation, h, 1.0)) * weight).sum().backward()
    size = h.detach().numpy() if positive else np.abs(h.detach().numpy())
    near = box((size - THRESHOLDS) / BANDWIDTH)
    expected = -(weight.numpy()[:, None] / BANDWIDTH * near).sum(axis=0)
    np.testing.assert_allclose(threshold_slope(activation), expected)
    assert h.grad is None or not h.grad.any()


def test_slopes_are_those_of_the_expectations():
    """With h uniform on [0, 2], E z = (4 - t^2) / 4 and E [z > 0] = (2 - t) / 2."""
    h = torch.linspace(0, 2, 200_001, dtype=torch.float64)[:, None].expand(-1, 3)
    activation = build()
    activation(h).sum(dim=1).mean().backward()
    np.testing.assert_allclose(threshold_slope(activation), -THRESHOLDS / 2, rtol=1e-3)
    activation.zero_grad()
    activation.is_over(h).sum(dim=1).mean().backward()
    np.testing.assert_allclose(threshold_slope(activation), [-0.5] * 3, rtol=1e-3)


# --- cost -----------------------------------------------------------------------------------


@SIGNS
def test_count(positive):
    penalty, activation = JumpReLU(loss="l0"), build(positive=positive)
    coding = coding_of(activation, draw(50, 3), 7.0)
    assert torch.equal(penalty.cost(coding), (coding.code != 0).sum(dim=1).double())
    assert 0 < penalty.cost(coding).sum() < 150


@SIGNS
def test_tanh(positive):
    penalty, activation = JumpReLU(loss="tanh", tanh_scale=0.4), build(positive=positive)
    h = draw(50, 3).requires_grad_()
    coding = coding_of(activation, h, 2.0)
    cost = penalty.cost(coding)
    z = coding.code.detach().numpy()
    np.testing.assert_allclose(cost.detach(), np.tanh(np.abs(z) / 0.8).sum(axis=1))
    # The gradient of the cost reaches the encoder.
    cost.sum().backward()
    slope = np.sign(z) / np.cosh(z / 0.8) ** 2 / 0.8
    np.testing.assert_allclose(h.grad, slope)
    # The gradient also reaches the thresholds, through the code.
    near = box((np.abs(h.detach().numpy()) - THRESHOLDS) / BANDWIDTH)
    expected = -(slope * h.detach().numpy() / BANDWIDTH * near).sum(axis=0)
    np.testing.assert_allclose(threshold_slope(activation), expected)
