"""VAEenseTransformer with a given number of active latents."""

import math

import numpy as np
import pytest
import torch
from helpers import ATOMS, SUBSPACES, changed, fit_unwarned, fit_vaeense, quick_vaeense
from numpy.testing import assert_allclose

from skvaeense import VAEenseTransformer
from skvaeense.metrics import fvu, l0
from skvaeense.models import SpikeSlabVAE
from skvaeense.priors import SpikeSlab

X, X_NEW = ATOMS.train[:1000], ATOMS.new


def fit(X=X, **params):
    settings = {"n_components": 16, "target_l0": 3, "random_state": 0}
    return fit_unwarned(VAEenseTransformer(**(settings | params)), X)


@pytest.fixture(scope="module")
def fitted():
    return fit()


# --- codes ------------------------------------------------------------------------------------


def test_codes_have_the_length_that_was_asked_for(fitted):
    codes = fitted.transform(X_NEW)
    assert l0(codes) == pytest.approx(3, rel=0.07)
    assert len(np.unique((codes != 0).sum(axis=1))) > 2
    assert not np.signbit(codes[codes == 0]).any()
    assert isinstance(fitted.module_, SpikeSlabVAE)
    assert isinstance(fitted.module_.prior, SpikeSlab)


def test_a_sample_is_coded_by_itself(fitted):
    codes = fitted.transform(X_NEW)
    assert_allclose(fitted.transform(X_NEW[:1]), codes[:1], rtol=1e-9)
    assert_allclose(fitted.transform(X_NEW[::-1]), codes[::-1], rtol=1e-9)


def test_density_and_draws():
    fitted = fit(X[:300], max_iter=5, prior=SpikeSlab(n_components=2))
    assert np.isfinite(fitted.score_samples(X_NEW)).all()
    assert fitted.score(X_NEW) > fitted.score(2 * X_NEW)
    assert fitted.sample(7, random_state=0).shape == (7, 8)
    missing = X_NEW[:5].copy()
    missing[:, 0] = np.nan
    assert np.isfinite(fitted.impute(missing)).all()
    assert np.isfinite(fitted.elbo_samples(X_NEW)).all()


def test_longer_codes_explain_more(fitted):
    def unexplained(fitted):
        return fvu(X_NEW, fitted.inverse_transform(fitted.transform(X_NEW)))

    assert unexplained(fit(target_l0=1.5)) > 1.5 * unexplained(fitted)


def test_positive_codes():
    codes = fit(X[:400], positive_code=True).transform(X_NEW)
    assert (codes >= 0).all()
    assert 2 < l0(codes) < 4


def test_far_rows_are_left_out():
    rows = np.r_[X[:600], [[1e5] * 8]]
    with pytest.warns(UserWarning, match="far from all others"):
        fitted = VAEenseTransformer(12, target_l0=3, random_state=0).fit(rows)
    codes = fitted.transform(X[:600])
    assert l0(codes) == pytest.approx(3, rel=0.15)
    assert fvu(X[:600], fitted.inverse_transform(codes)) < 0.3


# --- fitting ----------------------------------------------------------------------------------


def test_the_best_of_several_inits_is_kept():
    fitted = fit(X[:300], n_init=2)
    assert set(fitted.history_["init"]) == {0, 1}
    assert fitted.n_iter_ == 32
    one = fit(X[:300], n_init=1)
    assert set(one.history_["init"]) == {0}
    left, left_by_one = (fvu(X_NEW, m.inverse_transform(m.transform(X_NEW))) for m in (fitted, one))
    assert left <= left_by_one


def test_goes_on_with_another_target(fitted):
    going_on = changed(fitted, warm_start=True, target_l0=2, max_iter=5)
    fit_unwarned(going_on, X)
    assert l0(going_on.transform(X_NEW)) == pytest.approx(2, rel=0.1)
    assert l0(fitted.transform(X_NEW)) == pytest.approx(3, rel=0.07)
    without = fit_unwarned(changed(fitted, warm_start=True, target_l0=None), X)
    assert without.module_.config["target_l0"] is None
    mixture = fit_vaeense(warm_start=True, prior="auto", network="auto")
    with pytest.raises(ValueError, match=r"cannot continue .*target_l0=2"):
        mixture.set_params(target_l0=2).fit(SUBSPACES.few)


def test_partial_fit():
    model = VAEenseTransformer(16, target_l0=3, random_state=0)
    for _ in range(3):
        model.partial_fit(X)
    assert l0(model.transform(X_NEW)) == pytest.approx(3, rel=0.1)


def test_in_double_precision():
    fitted = fit(X[:300], dtype="float64", max_iter=5)
    assert fitted.module_.slab_mean.dtype is torch.float64
    assert math.isfinite(fitted.loss_curve_[-1])


def test_what_cannot_be(subtests):
    for params, message in (
        ({"target_l0": 5}, "target_l0=5 must be at most n_components=4"),
        ({"target_l0": 2, "gated": False}, "gated=False cannot be combined"),
        ({"network": "unrolled"}, "gives codes without a posterior"),
        ({"target_l0": 2, "prior": "mixture"}, "sets a price on gates, but prior='mixture'"),
        ({"target_l0": 0}, "The 'target_l0' parameter of VAEenseTransformer must be a float"),
        ({"target_l0": 2, "learn_noise_variance": False}, "noise_variance must be a number"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            quick_vaeense(**({"network": "auto", "prior": "auto"} | params)).fit(X)
