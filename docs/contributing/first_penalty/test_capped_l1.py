"""Absolute values up to a cap, by hand and in a fit."""

import numpy as np
import torch
from skvaeense.nets.capped_l1 import CappedL1

from skvaeense import SparseAutoencoder
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.metrics import l0


def test_entries_cost_at_most_the_cap():
    cost = CappedL1(cap=0.5).entry_cost(torch.tensor([0.0, 0.2, 0.5, 3.0]))
    np.testing.assert_allclose(cost, [0.0, 0.2, 0.5, 0.5])


def test_a_higher_price_leaves_fewer_latents_active():
    X = make_sparse_dictionary(500, signed=False, random_state=0)[0]
    sae = SparseAutoencoder(20, penalty=CappedL1(0.3), max_iter=30, random_state=0)
    longer = l0(sae.fit_transform(X))
    sae.set_params(penalty__alpha=1)
    assert l0(sae.fit_transform(X)) < longer
