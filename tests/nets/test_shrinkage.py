"""L1 and Log, and the proximal operators that compute their codes."""

import math

import numpy as np
import pytest
import torch
from helpers import draw

from skvaeense.nets.penalties import L1, Coding, Log

PENALTIES = pytest.mark.parametrize("penalty", [L1(0.3), Log(0.3, eps=0.2)], ids=str)
# Step of the grids for the brute-force search of minima.
STEP = 1e-3
HEIGHTS = np.array([-2.5, -1.0, -0.3, -0.2, 0.0, 0.15, 0.4, 1.2, 3.0])


def make_coding(code, unit=1.0):
    """Return a coding of which only the code matters."""
    return Coding(torch.nn.Identity(), torch.full_like(code, torch.nan), code, unit)


def soft_threshold(thresholds):
    """Return the activation of signed codes with the given thresholds."""
    activation = L1().build(len(thresholds), unit=1.0, positive=False).double()
    with torch.no_grad():
        activation.log_threshold.copy_(torch.tensor(thresholds, dtype=torch.float64).log())
    return activation


def brute_force_prox(heights, alpha, grid):
    """Return argmin over the grid of (z - h)^2 / 2 + alpha |z| for each h."""
    losses = (grid - heights[:, None]) ** 2 / 2 + alpha * np.abs(grid)
    return grid[losses.argmin(axis=1)]


# --- cost -----------------------------------------------------------------------------------


def test_l1_by_hand():
    code = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])
    assert L1(9.0).cost(make_coding(code, unit=2.0)).tolist() == [3.5, 0.0]


def test_log_by_hand():
    """The terms are log(1 + 3 / (0.5 * 2)) and log(1 + 1 / 1); a code of 0 costs nothing."""
    code = torch.tensor([[3.0, -1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    cost = Log(9.0, eps=0.5).cost(make_coding(code, unit=2.0))
    assert cost.tolist() == pytest.approx([math.log(4) + math.log(2), 0.0])


@pytest.mark.parametrize("unit", [1.0, 3.0])
@pytest.mark.parametrize(
    ("penalty", "slope"),
    [
        (L1(), lambda z, unit: np.sign(z) / unit),
        (Log(eps=0.2), lambda z, unit: np.sign(z) / (np.abs(z) + 0.2 * unit)),
        (Log(eps=5.0), lambda z, unit: np.sign(z) / (np.abs(z) + 5 * unit)),
    ],
)
def test_slope_of_the_cost(penalty, slope, unit):
    code = draw(4, 6)
    code[0, 0] = 0
    code.requires_grad_()
    penalty.cost(make_coding(code, unit)).sum().backward()
    np.testing.assert_allclose(code.grad, slope(code.detach().numpy(), unit), rtol=1e-12)


@pytest.mark.parametrize(("eps", "size"), [(1e6, 1.0), (1e6, 1e-6), (0.05, 1e-7)])
def test_log_of_codes_far_below_eps_is_l1_over_eps(eps, size):
    """Since log(1 + x) is about x for small x."""
    code = size * draw(5, 4)
    log = eps * Log(eps=eps).cost(make_coding(code, 2.0))
    torch.testing.assert_close(log, L1().cost(make_coding(code, 2.0)), rtol=1e-5, atol=0)


def test_log_prefers_one_large_code_to_two_small_ones():
    """Both codes have the same L1 norm."""
    code = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    one, two = Log(eps=0.1).cost(make_coding(code)).tolist()
    assert one < 0.7 * two


@PENALTIES
def test_cost_of_a_sample_depends_on_it_alone(penalty):
    code = draw(6, 4)
    alone = [penalty.cost(make_coding(row)) for row in code.split(1)]
    torch.testing.assert_close(penalty.cost(make_coding(code)), torch.cat(alone))


# --- codes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.01, 0.35, 2.0])
def test_soft_threshold_is_the_proximal_operator(alpha):
    code = soft_threshold([alpha])(torch.tensor(HEIGHTS)[:, None])[:, 0]
    grid = np.arange(-4000, 4001) * STEP
    expected = brute_force_prox(HEIGHTS, alpha, grid)
    np.testing.assert_allclose(code.detach(), expected, atol=STEP)
    np.testing.assert_array_equal(code.detach() == 0, expected == 0)


@PENALTIES
@pytest.mark.parametrize("alpha", [0.01, 0.35, 2.0])
def test_relu_is_the_proximal_operator_without_negative_codes(penalty, alpha):
    """The bias of the encoder subtracts alpha from the pre-activation."""
    relu = penalty.build(len(HEIGHTS), unit=1.0, positive=True)
    code = relu(torch.tensor(HEIGHTS) - alpha)
    expected = brute_force_prox(HEIGHTS, alpha, np.arange(4001) * STEP)
    np.testing.assert_allclose(code, expected, atol=STEP)
    np.testing.assert_array_equal(code == 0, expected == 0)


def test_slopes_of_the_soft_threshold():
    """Above the threshold 1 in the pre-activation and -sign(h) in the threshold, otherwise 0."""
    activation, h, weight = soft_threshold([0.1, 1.0, 5.0]), draw(7, 3), draw(7, 3, seed=1)
    h.requires_grad_()
    (activation(h) * weight).sum().backward()
    threshold, w = np.array([0.1, 1.0, 5.0]), weight.numpy()
    passed = np.abs(h.detach().numpy()) > threshold
    np.testing.assert_allclose(h.grad, w * passed)
    slope = -(w * passed * np.sign(h.detach().numpy())).sum(axis=0)
    # The parameter is the logarithm of the threshold.
    np.testing.assert_allclose(activation.log_threshold.grad, threshold * slope)


@PENALTIES
def test_first_threshold_of_signed_codes_is_in_units_of_the_samples(penalty):
    activation = penalty.build(4, unit=20.0, positive=False)
    assert activation.threshold.tolist() == pytest.approx([20 * 0.01] * 4)
    assert [p.requires_grad for p in activation.parameters()] == [True]
