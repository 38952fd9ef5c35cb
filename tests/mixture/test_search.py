"""The search for new components of a mixture."""

import numpy as np

from skvaeense.mixture import SubspaceMixture
from skvaeense.mixture._search import Nest


def test_each_start_is_fitted_once(monkeypatch):
    """Rows of categories are at few distances, so many rows have the same neighbours."""
    fit, found = Nest._fit, []

    def record(self, shares, *rest):
        found.append(shares)
        return fit(self, shares, *rest)

    monkeypatch.setattr(Nest, "_fit", record)
    X = np.eye(3)[np.random.default_rng(0).integers(3, size=(200, 4))].reshape(200, -1)
    SubspaceMixture(random_state=0).fit(X)
    assert found
    for shares in found:
        assert len(np.unique(shares, axis=0)) == len(shares)
