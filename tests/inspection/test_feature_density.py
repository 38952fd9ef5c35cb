"""The histogram of the shares of samples in which latents are active."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skvaeense.inspection import FeatureDensityDisplay
from skvaeense.metrics import dense_fraction

pytest.importorskip("matplotlib")
RNG = np.random.default_rng(0)
SHARES = np.array([0.0, 0.002, 0.05, 0.3, 1.0])
CODES = np.where(RNG.uniform(size=(2000, 5)) < SHARES, 1.0, 0.0)


def test_every_live_latent_is_in_a_bar():
    display = FeatureDensityDisplay.from_codes(CODES)
    assert_allclose(display.density, SHARES, atol=0.03)
    assert sum(bar.get_height() for bar in display.bars_) == 4
    assert "5 latents: 1 dead, 2 dense" in display.ax_.get_title()
    for latent, density in enumerate(display.density[1:], 1):
        inside = [
            b for b in display.bars_ if b.get_x() <= density <= b.get_x() + b.get_width() + 1e-9
        ]
        assert any(bar.get_height() for bar in inside), latent


def test_estimators_and_sparse_codes_have_the_same_picture():
    expected = FeatureDensityDisplay.from_codes(CODES).density
    step = FunctionTransformer()
    for estimator in (step, make_pipeline(FunctionTransformer(), step)):
        display = FeatureDensityDisplay.from_estimator(estimator, CODES, threshold=0.01, bins=7)
        assert_allclose(display.density, expected)
        assert len(display.bars_) == 7
        assert "3 dense" in display.ax_.get_title()
    assert_allclose(FeatureDensityDisplay.from_codes(sparse.csr_array(CODES)).density, expected)


def test_style_and_axes():
    display = FeatureDensityDisplay.from_codes(CODES)
    again = display.plot(display.ax_, bar_kw={"color": "black"})
    assert again.ax_ is display.ax_
    assert display.bars_[0].get_facecolor() == (0, 0, 0, 1)


def test_nothing_active():
    display = FeatureDensityDisplay.from_codes(np.zeros((4, 3)))
    assert "3 dead" in display.ax_.get_title()


def test_dense_fraction():
    assert dense_fraction(CODES) == pytest.approx(0.4)
    assert dense_fraction(CODES, threshold=0.9) == pytest.approx(0.2)
    # A share equal to the threshold does not exceed it.
    assert dense_fraction([[1.0], [0.0]], threshold=0.5) == 0
    weights = np.where(CODES[:, 3] > 0, 0, 1)
    assert dense_fraction(CODES, sample_weight=weights) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="threshold"):
        dense_fraction(CODES, threshold=1.0)
