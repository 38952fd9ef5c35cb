import numpy as np
import pytest
from helpers import fit_unwarned, quick_vaeense
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.inspection import LossCurveDisplay


@pytest.fixture(scope="module")
def random_inits(subspaces):
    """Return a VAEenseTransformer whose inits are all random."""
    return fit_unwarned(quick_vaeense(n_init=3), subspaces[0])


def test_each_init_has_a_line(random_inits):
    estimator = random_inits
    display, history = LossCurveDisplay.from_estimator(estimator), estimator.history_
    assert_array_equal(display.line_.get_ydata(), estimator.loss_curve_)
    assert_array_equal(display.line_.get_xdata(), np.arange(1, estimator.n_iter_ + 1))
    others = sorted(set(history["init"]) - {history["init"][-1]})
    assert others
    for line, init in zip(display.init_lines_, others, strict=True):
        assert_array_equal(line.get_ydata(), history["loss"][history["init"] == init])
        assert_array_equal(line.get_xdata(), np.arange(1, len(line.get_ydata()) + 1))


def test_parts_add_up_to_the_loss(vaeense):
    display = LossCurveDisplay.from_estimator(vaeense)
    error, kl = (line.get_ydata() for line in display.part_lines_)
    assert_allclose(error + kl, vaeense.loss_curve_)
    assert_array_equal(kl, vaeense.history_["kl"][-vaeense.n_iter_ :])
    assert "nats" in display.ax_.get_ylabel()


def test_weighted_penalty(sae):
    display = LossCurveDisplay.from_estimator(sae)
    history = sae.history_
    error, penalty = display.part_lines_
    assert_array_equal(penalty.get_ydata(), history["alpha"] * history["penalty"])
    assert_allclose(error.get_ydata(), history["error"], rtol=1e-9)
    assert display.init_lines_ == []
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["loss", "error", "weighted penalty"]
    assert LossCurveDisplay({"loss": [3.0, 2.0]}).plot().part_lines_ == []


def test_autoencoder_of_a_dimension_estimator(dimension_estimator):
    display = LossCurveDisplay.from_estimator(dimension_estimator)
    assert_array_equal(display.line_.get_ydata(), dimension_estimator.autoencoder_.loss_curve_)


def test_bad_history(subtests):
    for history, message in (
        ({"kl": [1.0]}, 'no "loss"'),
        ({"loss": [1.0, 2.0], "kl": [1.0]}, "the same length"),
        ({"loss": []}, "non-empty"),
        ({"loss": [[1.0]]}, "the same length"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            LossCurveDisplay(history)
