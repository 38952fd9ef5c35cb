"""The largest entries of a batch, and a threshold afterwards; see also the tests of BatchTopK."""

import pytest
import torch
from helpers import draw

from skvaeense.utils._kept import SHARES, BatchThreshold


def test_k_may_be_any_number(subtests):
    for k, n_kept in ((0.01, 1), (0.5, 5), (1.26, 13), (3, 30), (99, 40)):
        with subtests.test(k=k, n_kept=n_kept):
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


def test_rounding_moves_no_entry_over_the_threshold():
    threshold, size = BatchThreshold(1.5).eval().double(), draw(20, 6).abs()
    threshold.calibrate(size)
    kept = threshold.mask(size)
    assert kept.sum() == 30
    for factor in (1 - 1e-6, 1 + 1e-6):
        assert torch.equal(threshold.mask(factor * size), kept)


def test_each_of_several_k_is_that_of_a_part_of_the_batch():
    threshold, size = BatchThreshold([1, 4, 2]).double(), draw(7, 5).abs()
    kept = threshold.mask(size)
    for k, part, own in zip([4, 2, 1], size.split([3, 2, 2]), kept.split([3, 2, 2]), strict=True):
        assert torch.equal(own, BatchThreshold(k).mask(part))
    # The running mean, which is used afterwards, is that of the largest k.
    assert threshold.thresholds[0] == size[:3].flatten().sort(descending=True).values[11]


def test_batches_of_fewer_samples_than_there_are_k():
    threshold, size = BatchThreshold([1, 2, 3]), draw(2, 5).abs()
    assert threshold.mask(size).sum(dim=1).tolist() == [3, 2]


def test_thresholds_of_shares_are_met_and_interpolated():
    threshold, size = BatchThreshold(4).eval().double(), draw(2000, 16, seed=3).abs()
    for share in SHARES:
        threshold.share = share
        threshold.calibrate(size)
        assert threshold.mask(size).sum() == max(round(4 * share * 2000), 1)
    for share in (0.9, 0.6, 0.3, 0.04):
        threshold.share = share
        assert float(threshold.mask(size).sum() / 2000) == pytest.approx(4 * share, rel=0.05)
