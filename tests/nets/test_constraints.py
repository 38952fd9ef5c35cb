"""TopK and BatchTopK: the largest entries of each sample, or of a batch."""

from itertools import combinations

import numpy as np
import pytest
import torch
from helpers import coding_of, draw

from skvaeense.nets.penalties import BatchTopK, Matryoshka, TopK

SIGNS = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])
# Matryoshka has the codes of BatchTopK.
BATCH = pytest.mark.parametrize("kind", [BatchTopK, Matryoshka])
EACH = pytest.mark.parametrize("kind", [TopK, BatchTopK])


def build(k, n_components=8, positive=True, kind=BatchTopK):
    return kind(k).build(n_components, unit=1.0, positive=positive).double()


def keep(k, h, positive=True, kind=TopK):
    return build(k, h.shape[1], positive, kind)(h)


def doubles(*rows):
    return torch.tensor(rows, dtype=torch.float64)


# --- both -----------------------------------------------------------------------------------


@EACH
@SIGNS
@pytest.mark.parametrize("k", [8, 9, 1000])
def test_k_above_the_number_of_latents_keeps_all(kind, positive, k):
    h = draw(6, 8)
    assert torch.equal(keep(k, h, positive, kind), h.relu() if positive else h)


@EACH
@SIGNS
def test_gradient_flows_through_kept_entries_only(kind, positive):
    h, weight = draw(10, 7).requires_grad_(), draw(10, 7, seed=1)
    code = keep(3, h, positive, kind)
    (code * weight).sum().backward()
    assert torch.equal(h.grad, weight * (code != 0))


def test_a_constraint_has_no_alpha():
    penalty, h = TopK(3), draw(5, 7)
    coding = coding_of(penalty.build(7, unit=1.0, positive=True), h, 1.0)
    assert penalty.alpha is None
    assert penalty.cost(coding).tolist() == [0] * 5
    assert penalty.auxiliary_error(None, h, coding) is None


# --- each sample ----------------------------------------------------------------------------


def best_projection(row, k, positive):
    """Return the nearest vector with at most k entries, by a search over all supports."""
    candidates = []
    for support in combinations(range(len(row)), k):
        code = np.zeros(len(row))
        code[list(support)] = row[list(support)]
        candidates.append(np.maximum(code, 0) if positive else code)
    return min(candidates, key=lambda code: np.sum((code - row) ** 2))


@SIGNS
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_code_is_the_nearest_with_k_entries(positive, k):
    h = draw(30, 6)
    expected = [best_projection(row, k, positive) for row in h.numpy()]
    np.testing.assert_array_equal(keep(k, h, positive), expected)
    # Ties are broken to exactly k.
    code = keep(k, torch.full((5, 6), 2.0).double(), positive)
    assert (code == 2).sum(dim=1).tolist() == [k] * 5
    assert (code == 0).sum(dim=1).tolist() == [6 - k] * 5


def test_fewer_than_k_where_fewer_are_positive():
    h = doubles([3.0, -1, 2, -5], [-1, -2, -3, -4], [1, 2, 3, 4], [0, 0, 1, 0])
    expected = [[3, 0, 2, 0], [0, 0, 0, 0], [0, 2, 3, 4], [0, 0, 1, 0]]
    assert keep(3, h).tolist() == expected


# --- a batch in training --------------------------------------------------------------------


@BATCH
@SIGNS
@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_largest_of_the_batch_are_kept_in_training(kind, positive, k):
    h = draw(20, 8).abs() + 0.1
    h[::2] *= 1 if positive else -1
    code = keep(k, h, positive, kind)
    size = h.abs().numpy()
    np.testing.assert_array_equal(code, np.where(size >= np.sort(size, None)[-20 * k], h, 0))
    n_active = (code != 0).sum(dim=1)
    assert n_active.sum() == 20 * k
    # Samples have different numbers of entries, unlike with TopK.
    assert k == 8 or n_active.min() < k < n_active.max()


def test_all_positive_ones_are_kept_where_they_are_few():
    h = doubles([1.0, -1, -1], [-1, -1, 2])
    assert keep(2, h, kind=BatchTopK).tolist() == [[1, 0, 0], [0, 0, 2]]


@BATCH
def test_threshold_is_a_running_mean_of_the_least_kept(kind):
    """With k = 1 and two samples, the least kept entry is the second largest of each batch."""
    activation, expected = build(1, 3, kind=kind), None
    for batch, least in (
        (doubles([9.0, 5, 1], [2, 3, 4]), 5),
        (doubles([1.0, 0, 2], [0, 3, -7]), 2),
        # A batch without positive entries counts, too.
        (-doubles([1.0, 1, 1], [1, 1, 1]), 0),
    ):
        activation(batch)
        gap = 0 if expected is None else 0.01 * (least - expected)
        expected = least if expected is None else expected + gap
        assert float(activation.threshold) == pytest.approx(expected, rel=1e-6)
    # It is neither trained nor moved outside training.
    before = activation.threshold.clone()
    assert list(activation.parameters()) == []
    activation.eval()(10 + draw(5, 3))
    assert torch.equal(activation.threshold, before)


def test_threshold_of_signed_codes_is_a_magnitude():
    activation = build(1, 3, positive=False)
    activation(doubles([-9.0, 5, 1], [2, -6, 4]))
    assert float(activation.threshold) == 6


# --- afterwards -----------------------------------------------------------------------------


@SIGNS
def test_samples_are_coded_by_themselves_outside_training(positive):
    activation, h = build(1, positive=positive), draw(9, 8)
    activation.threshold.fill_(0.7)
    activation.eval()
    size = h if positive else h.abs()
    assert torch.equal(activation(h), h * (size >= 0.7))
    other = build(1, positive=positive)
    other.load_state_dict(activation.state_dict())
    alone = torch.cat([other.eval()(row) for row in h.split(1)])
    assert torch.equal(activation(h), alone)
    # In training the batch decides, and not the threshold.
    alone = torch.cat([activation.train()(row) for row in h.split(1)])
    assert not torch.equal(activation(h), alone)


@SIGNS
@BATCH
def test_calibration_gives_k_on_average(kind, positive):
    activation = build(2, positive=positive, kind=kind)
    for seed in range(200):
        activation(draw(50, 8, seed=seed))
    n_active = torch.count_nonzero(activation.eval()(draw(2000, 8, seed=999))) / 2000
    # The running threshold lags behind.
    assert float(n_active) == pytest.approx(2, rel=0.1)
    preactivation = draw(50, 8) + 1
    activation.calibrate(preactivation)
    assert torch.count_nonzero(activation(preactivation)) == 2 * 50
