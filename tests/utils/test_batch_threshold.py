"""The largest entries of a batch, and one threshold afterwards; more is asked of BatchTopK."""

import pytest
import torch
from helpers import draw

from skvaeense.utils._batch_threshold import BatchThreshold


@pytest.mark.parametrize(("k", "n_kept"), [(0.01, 1), (0.5, 5), (1.26, 13), (3, 30), (99, 40)])
def test_k_may_be_any_number(k, n_kept):
    assert BatchThreshold(k).mask(draw(10, 4).abs()).sum() == n_kept


def test_nothing_is_kept_of_nothing():
    threshold = BatchThreshold(2)
    assert not threshold.mask(torch.zeros(3, 4)).any()
    assert threshold.mask(torch.eye(3)).sum() == 3
    threshold.eval().calibrate(torch.zeros(3, 4))
    assert not threshold.mask(torch.zeros(3, 4)).any()


def test_calibration_holds_for_these_samples():
    threshold, size = BatchThreshold(1.5).eval(), draw(20, 6).abs().float()
    threshold.calibrate(size)
    assert threshold.mask(size).sum() == 30
    kept = torch.cat([threshold.mask(row) for row in size.split(1)])
    assert torch.equal(kept, size >= size.flatten().sort(descending=True).values[29])
