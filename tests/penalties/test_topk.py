"""TopK: the k largest entries of each sample."""

from itertools import combinations

import numpy as np
import pytest
import torch
from helpers import coding_of, draw

from skvaeense.penalties import TopK

SIGNS = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])


def keep(k, h, positive=True):
    return TopK(k).build(h.shape[1], unit=1.0, positive=positive)(h)


def best_projection(row, k, positive):
    """Return the nearest vector with at most k entries, by a search over all supports."""
    best, least = None, np.inf
    for support in combinations(range(len(row)), k):
        code = np.zeros(len(row))
        code[list(support)] = row[list(support)]
        code = np.maximum(code, 0) if positive else code
        error = np.sum((code - row) ** 2)
        if error < least:
            best, least = code, error
    return best


@SIGNS
def test_exactly_k_where_all_are_positive(positive, subtests):
    for k in (1, 2, 5, 8):
        with subtests.test(k=k):
            code = keep(k, draw(20, 8).abs() + 0.1, positive)
            assert (code != 0).sum(dim=1).tolist() == [k] * 20


def test_fewer_than_k_where_fewer_are_positive():
    h = torch.tensor([[3.0, -1, 2, -5], [-1, -2, -3, -4], [1, 2, 3, 4], [0, 0, 1, 0]])
    expected = [[3, 0, 2, 0], [0, 0, 0, 0], [0, 2, 3, 4], [0, 0, 1, 0]]
    assert keep(3, h).tolist() == expected


def test_signed_codes_are_chosen_by_magnitude():
    h = torch.tensor([[3.0, -1, 2, -5], [-1, -2, -3, -4], [0.5, 2, -3, 4]])
    assert keep(2, h, positive=False).tolist() == [[3, 0, 0, -5], [0, 0, -3, -4], [0, 0, -3, 4]]


@SIGNS
def test_k_above_the_number_of_latents_keeps_all(positive, subtests):
    for k in (4, 5, 1000):
        with subtests.test(k=k):
            h = draw(6, 4)
            assert torch.equal(keep(k, h, positive), h.relu() if positive else h)


@SIGNS
def test_ties_are_broken_to_exactly_k(positive, subtests):
    for k in (1, 3):
        with subtests.test(k=k):
            code = keep(k, torch.full((5, 6), 2.0), positive)
            assert (code == 2).sum(dim=1).tolist() == [k] * 5
            assert (code == 0).sum(dim=1).tolist() == [6 - k] * 5


@SIGNS
def test_code_is_the_nearest_with_k_entries(positive, subtests):
    for k in (1, 2, 4, 6):
        with subtests.test(k=k):
            h = draw(30, 6)
            expected = [best_projection(row, k, positive) for row in h.numpy()]
            np.testing.assert_array_equal(keep(k, h, positive), expected)


@SIGNS
def test_gradient_flows_through_kept_entries_only(positive):
    h, weight = draw(10, 7).requires_grad_(), draw(10, 7, seed=1)
    code = keep(3, h, positive)
    (code * weight).sum().backward()
    assert torch.equal(h.grad, weight * (code != 0))


def test_a_constraint_has_no_alpha():
    penalty, h = TopK(3), draw(5, 7)
    coding = coding_of(penalty.build(7, unit=1.0, positive=True), h, 1.0)
    assert penalty.alpha is None
    assert penalty.cost(coding).tolist() == [0] * 5
    assert penalty.auxiliary_error(None, h, coding) is None
