import numpy as np
import pytest
from sklearn.utils import Bunch

from skvaeense.dimension._methods import _explained

COUNTS = np.array([5.0, 5.0, 4.0, 5.0])


@pytest.fixture
def around():
    """Return neighbours' estimates: 4 for three samples, from few similar ones; then none."""
    return Bunch(
        reasons=dict.fromkeys(("sampling", "noise", "disagreement"), np.zeros(4)),
        dimension=np.array([4.0, 4.0, 4.0, np.nan]),
        ratio=np.array([4.2, 4.2, 4.2, np.nan]),
        alike=np.array([0.16, 0.01, 0.16, 0.0]),
        **dict.fromkeys(("std", "hidden", "excess"), np.zeros(4)),
    )


def test_counts_that_neighbours_deny_are_less_sure(around):
    """The more of the neighbours are similar to the sample, the more their estimate counts."""
    answer, reasons = _explained(np.full(4, np.nan), COUNTS, np.full(4, 0.01), around)
    np.testing.assert_array_equal(answer, COUNTS)
    np.testing.assert_allclose(reasons["disagreement"], [0.4, 0.1, 0.0, 0.0])
    np.testing.assert_array_equal(reasons["few_neighbors"], 0)


def test_counts_without_a_dictionary_are_as_far_off_as_neighbours_say(around):
    _, reasons = _explained(np.full(4, np.nan), COUNTS, np.full(4, np.nan), around)
    np.testing.assert_allclose(reasons["disagreement"], [1.0, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(reasons["few_neighbors"], [0, 0, 0, 1])


def test_too_few_alike_speak_only_where_nothing_else_does(around):
    around.ratio = np.full(4, np.nan)
    _, reasons = _explained(np.full(4, np.nan), COUNTS, np.full(4, np.nan), around)
    np.testing.assert_allclose(reasons["disagreement"], [1.0, 1.0, 0.0, 0.0])
    _, reasons = _explained(np.full(4, np.nan), COUNTS, np.full(4, 0.01), around)
    np.testing.assert_allclose(reasons["disagreement"], 0.0)
