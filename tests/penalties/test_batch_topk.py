"""BatchTopK: the largest entries of a batch in training, and a threshold afterwards."""

import numpy as np
import pytest
import torch
from helpers import draw

from skvaeense.penalties import BatchTopK, Matryoshka

SIGNS = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])
# Matryoshka has the same codes.
PENALTIES = pytest.mark.parametrize("penalty", [BatchTopK, Matryoshka])


def build(k, n_components=8, positive=True, penalty=BatchTopK):
    return penalty(k).build(n_components, unit=1.0, positive=positive).double()


def with_threshold(threshold, n_components=8, positive=True):
    """Return the activation after a training, with this threshold."""
    activation = build(1, n_components, positive)
    activation.threshold.fill_(threshold)
    return activation.eval()


# --- training -------------------------------------------------------------------------------


@PENALTIES
@SIGNS
def test_k_times_n_are_kept_in_training(penalty, positive, subtests):
    for k in (1, 3, 8):
        with subtests.test(k=k):
            code = build(k, positive=positive, penalty=penalty)(draw(20, 8).abs() + 0.1)
            n_active = (code != 0).sum(dim=1)
            assert n_active.sum() == 20 * k
            # Samples have different numbers of entries, unlike with TopK.
            assert k == 8 or n_active.min() < k < n_active.max()


@SIGNS
def test_those_kept_are_the_largest_of_the_batch(positive):
    h = draw(10, 8)
    size = h.numpy() if positive else np.abs(h.numpy())
    kept = size >= np.sort(size, axis=None)[-20]
    code = build(2, positive=positive)(h)
    np.testing.assert_array_equal(code, np.where(kept, h, 0))


def test_all_positive_ones_are_kept_where_they_are_few():
    h = torch.tensor([[1.0, -1, -1], [-1, -1, 2]], dtype=torch.float64)
    assert build(2, 3)(h).tolist() == [[1, 0, 0], [0, 0, 2]]


@SIGNS
def test_k_above_the_number_of_latents_keeps_all(positive):
    h = draw(6, 4)
    code = build(1000, 4, positive)(h)
    assert torch.equal(code, h.relu() if positive else h)


@SIGNS
def test_gradient_flows_through_kept_entries_only(positive):
    h, weight = draw(10, 7).requires_grad_(), draw(10, 7, seed=1)
    code = build(2, 7, positive)(h)
    (code * weight).sum().backward()
    assert torch.equal(h.grad, weight * (code != 0))


# --- threshold ------------------------------------------------------------------------------


@PENALTIES
def test_threshold_is_a_running_mean_of_the_least_kept(penalty):
    """With k = 1 and two samples, the least kept entry is the second largest of each batch."""
    activation = build(1, 3, penalty=penalty)
    activation(torch.tensor([[9.0, 5, 1], [2, 3, 4]], dtype=torch.float64))
    assert float(activation.threshold) == 5
    activation(torch.tensor([[1.0, 0, 2], [0, 3, -7]], dtype=torch.float64))
    second = 5 + activation.memory * (2 - 5)
    assert float(activation.threshold) == pytest.approx(second, rel=1e-6)
    activation(torch.tensor([[8.0, 0, 0], [0, 0, 7]], dtype=torch.float64))
    third = second + activation.memory * (7 - second)
    assert float(activation.threshold) == pytest.approx(third, rel=1e-6)


def test_threshold_is_of_k_while_training_keeps_more():
    activation = build(1, 3)
    activation.share = 2.0
    code = activation(torch.tensor([[9.0, 5, 1], [2, 3, 4]], dtype=torch.float64))
    assert code.tolist() == [[9, 5, 0], [0, 3, 4]]
    activation.share = 1.0
    assert float(activation.threshold) == 5


def test_threshold_of_signed_codes_is_a_magnitude():
    activation = build(1, 3, positive=False)
    activation(torch.tensor([[-9.0, 5, 1], [2, -6, 4]], dtype=torch.float64))
    assert float(activation.threshold) == 6


def test_threshold_is_not_trained_and_not_moved_outside_training():
    activation = build(1, 3)
    activation(draw(5, 3).requires_grad_())
    before = activation.threshold.clone()
    assert list(activation.parameters()) == []
    assert not before.requires_grad
    activation.eval()(10 + draw(5, 3))
    assert torch.equal(activation.threshold, before)


def test_a_threshold_of_zero_is_an_observation():
    """A batch without positive entries counts in the mean with the threshold 0."""
    activation = build(1, 2)
    activation(-torch.ones(3, 2, dtype=torch.float64))
    assert float(activation.threshold) == 0
    activation(torch.ones(3, 2, dtype=torch.float64))
    assert float(activation.threshold) == pytest.approx(activation.memory) == 0.01


def test_state_dict_holds_the_threshold():
    activation, h = build(2), draw(20, 8)
    activation(h)
    other = build(2)
    other.load_state_dict(activation.state_dict())
    code = activation.eval()(h)
    assert 0 < torch.count_nonzero(code) < (h > 0).sum()
    assert torch.equal(other.eval()(h), code)


# --- afterwards -----------------------------------------------------------------------------


def test_code_outside_training_is_what_reaches_the_threshold():
    h = torch.tensor([[0.9, 1.0, 1.1, -2.0]], dtype=torch.float64)
    assert with_threshold(1.0, 4)(h).tolist() == [[0, 1, 1.1, 0]]
    assert with_threshold(1.0, 4, positive=False)(h).tolist() == [[0, 1, 1.1, -2]]


@SIGNS
def test_samples_are_coded_by_themselves_outside_training(positive):
    activation, h = with_threshold(0.7, positive=positive), draw(9, 8)
    alone = torch.cat([activation(row) for row in h.split(1)])
    assert 0 < torch.count_nonzero(alone) < alone.numel()
    assert torch.equal(activation(h), alone)
    # In training the batch decides, and not the threshold.
    activation.train()
    alone = torch.cat([activation(row) for row in h.split(1)])
    assert not torch.equal(activation(h), alone)


def test_threshold_keeps_about_k_afterwards():
    activation = build(2)
    for seed in range(200):
        activation(draw(50, 8, seed=seed))
    n_active = torch.count_nonzero(activation.eval()(draw(2000, 8, seed=999))) / 2000
    assert float(n_active) == pytest.approx(2, rel=0.1)


@SIGNS
@PENALTIES
def test_calibration_gives_k_on_average(penalty, positive):
    activation = build(2, positive=positive, penalty=penalty).eval()
    preactivation = draw(50, 8) + 1
    penalty(2).calibrate(activation, preactivation)
    assert torch.count_nonzero(activation(preactivation)) == 2 * 50
