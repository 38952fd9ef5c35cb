"""Codes that are cut to fewer active latents than the model was trained for."""

import numpy as np
import pytest
from helpers import ATOMS, changed, fit_unwarned, fit_vaeense
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense import SparseAutoencoder, VAEenseTransformer, load, save
from skvaeense.metrics import fvu, l0
from skvaeense.nets.networks import Unrolled
from skvaeense.nets.penalties import BatchTopK, Matryoshka, TopK

X, X_NEW = ATOMS.train[:1000], ATOMS.new
MAKERS = {
    "vaeense": lambda k, **params: VAEenseTransformer(target_l0=k, **params),
    "topk": lambda k, **params: SparseAutoencoder(penalty=TopK(k), **params),
    "batch_topk": lambda k, **params: SparseAutoencoder(penalty=BatchTopK(k), **params),
    "matryoshka": lambda k, **params: SparseAutoencoder(penalty=Matryoshka(k), **params),
    "unrolled": lambda k, **params: SparseAutoencoder(
        penalty=BatchTopK(k), network="unrolled", **params
    ),
}
EVERY = pytest.mark.parametrize("name", MAKERS)


def fit(name, k=4, **params):
    settings = {"n_components": 16, "random_state": 0}
    settings |= {} if name == "vaeense" else {"max_iter": 20}
    return fit_unwarned(MAKERS[name](k, **(settings | params)), X)


@pytest.fixture(scope="module")
def fits():
    return {name: fit(name) for name in MAKERS}


@pytest.fixture(scope="module")
def nested():
    return {name: fit(name, [4, 1]) for name in ("topk", "unrolled")}


def unexplained(fitted):
    return fvu(X_NEW, fitted.inverse_transform(fitted.transform(X_NEW)))


# --- one fit, shorter codes -------------------------------------------------------------------


@EVERY
def test_codes_have_any_length_up_to_the_trained_one(fits, name):
    fitted, errors = fits[name], []
    for k in (1.5, 2.5, 3, 4):
        shorter = changed(fitted, transform_l0=k)
        codes = shorter.transform(X_NEW)
        expected = round(k) if name == "topk" else k
        # Sparse autoencoders set their thresholds on 50 samples here, and the prices of gates are
        # interpolated between lengths that differ by a factor of two.
        assert l0(codes) == pytest.approx(expected, rel=0.15 if name == "vaeense" else 0.25)
        assert_array_equal(shorter.active_dimensions(X_NEW), codes != 0)
        errors.append(unexplained(shorter))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1]


@EVERY
def test_the_fitted_model_stays_as_it_is(fits, name):
    fitted = fits[name]
    before = fitted.transform(X_NEW)
    cut = changed(fitted, transform_l0=2)
    codes = cut.transform(X_NEW)
    assert l0(codes) < l0(before)
    assert_allclose(cut.transform(X_NEW[:1]), codes[:1], rtol=1e-9)
    assert_array_equal(cut.set_params(transform_l0=None).transform(X_NEW), before)
    assert_array_equal(cut.set_params(transform_l0=4).transform(X_NEW), before)
    # Shorter codes take no second copy of the weights.
    if name == "vaeense":
        law = fitted.coder_
        assert law.table.longest == pytest.approx(4, rel=0.01)
        assert law.at_length(2).gates.weight is law.gates.weight
        return
    assert fitted.module_.length == 4
    states = (model.state_dict() for model in (fitted.module_, fitted.module_.shortened(2)))
    assert len({tuple(v.data_ptr() for v in state.values()) for state in states}) == 1


def test_what_is_kept_of_one_layer_is_a_part_of_the_longer_code(fits):
    whole = fits["batch_topk"].transform(X_NEW)
    cut = changed(fits["batch_topk"], transform_l0=2).transform(X_NEW)
    assert_array_equal(cut[cut != 0], whole[cut != 0])
    assert cut[cut != 0].min() >= whole[(cut == 0) & (whole != 0)].max()


def test_scores_are_those_of_the_shorter_codes(fits):
    cut = changed(fits["unrolled"], transform_l0=2)
    assert cut.score(X_NEW) == pytest.approx(1 - unexplained(cut), abs=1e-3)
    assert cut.score_samples(X_NEW).mean() < fits["unrolled"].score_samples(X_NEW).mean()
    whole = fits["vaeense"]
    cut = changed(whole, transform_l0=2)
    # Either score can be higher, since another price is another prior.
    assert np.abs(cut.elbo_samples(X_NEW) - whole.elbo_samples(X_NEW)).mean() > 0.01
    probability = cut.posterior(X_NEW)[0]
    assert_array_equal(probability > 0.5, cut.active_dimensions(X_NEW))
    codes = whole.transform(X_NEW)
    assert_array_equal(cut.inverse_transform(codes), whole.inverse_transform(codes))


def test_a_saved_model_can_be_cut_too(fits, nested, tmp_path):
    kinds = {name: fits[name] for name in ("vaeense", "topk", "unrolled")}
    for name, fitted in (*kinds.items(), *nested.items()):
        cut = changed(fitted, transform_l0=1.5)
        save(cut, tmp_path / name)
        loaded = load(tmp_path / name)
        for k in (1.5, 3.3, None):
            expected = cut.set_params(transform_l0=k).transform(X_NEW)
            assert_array_equal(loaded.set_params(transform_l0=k).transform(X_NEW), expected)


def test_shorter_codes_after_partial_fit():
    for name in ("vaeense", "unrolled"):
        model = MAKERS[name](4, n_components=16, random_state=0, transform_l0=2)
        for _ in range(2):
            model.partial_fit(X)
        assert l0(model.transform(X)) == pytest.approx(2, rel=0.1)


def test_lengths_that_cannot_be(fits):
    for length in (4.01, 0.01, float("nan"), "two"):
        for name, method in (("vaeense", "fit"), ("topk", "partial_fit")):
            cut = changed(fits[name], transform_l0=length, warm_start=True)
            model = cut.coder_ if name == "vaeense" else cut.module_
            refused = r"must be a number from 0\.0156 to 4, the length"
            with pytest.raises(ValueError, match=refused):
                cut.transform(X)
            # They are refused before training goes on.
            with pytest.raises(ValueError, match=rf"{refused}|must be a float in the range"):
                getattr(cut, method)(X)
            assert (cut.coder_ if name == "vaeense" else cut.module_) is model
    for lengths in ([], [3, "2"], [3, -1], [float("inf")]):
        for name in ("topk", "batch_topk"):
            with pytest.raises(
                ValueError, match=r"The 'k' parameter of \w+ must be an? (int|float)"
            ):
                fit(name, lengths)


def test_models_without_a_length():
    fitted = fit_vaeense(transform_l0=None)
    with pytest.raises(ValueError, match=r"has no such prices\. Set target_l0 or model=\"gates\""):
        changed(fitted, transform_l0=2).transform(X_NEW)
    sae = SparseAutoencoder(16, penalty="l1", target_l0=3, transform_l0=2)
    with pytest.raises(ValueError, match=r"given length\. Fit with the penalty TopK, BatchTopK or"):
        sae.fit(X)
    with pytest.raises(ValueError, match=r"must be a number from 0\.0117 to 3"):
        VAEenseTransformer(16, target_l0=3, transform_l0=5).fit(X)


# --- one fit for several lengths --------------------------------------------------------------


@pytest.mark.parametrize("name", ["topk", "unrolled"])
def test_codes_of_a_model_for_several_lengths_lose_less_when_cut(fits, nested, name):
    assert l0(nested[name].transform(X_NEW)) == pytest.approx(4, rel=0.1)
    of_one, of_both = (changed(found[name], transform_l0=1) for found in (fits, nested))
    assert l0(of_both.transform(X_NEW)) == pytest.approx(1, rel=0.25)
    assert unexplained(of_both) < unexplained(of_one)
    # A list of one length is that length.
    assert_array_equal(fit(name, (4,)).transform(X_NEW), fits[name].transform(X_NEW))


# --- going on with another length -------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_sweeps_go_on_with_the_k_of_the_penalty(fits, method):
    going_on = changed(fits["unrolled"], warm_start=True, max_iter=2, penalty=BatchTopK(2))
    before = going_on.module_.network.decoder.weight.detach().numpy()
    fit_unwarned(going_on, X, method)
    network = going_on.module_.network
    assert [threshold.k for threshold in network.thresholds] == [2, 2, 2]
    assert network.decoder.weight.detach().numpy() == pytest.approx(before, abs=0.2)
    assert l0(going_on.transform(X_NEW)) == pytest.approx(2, rel=0.25)
    # A given n_active is not replaced by the k of the penalty.
    given = changed(going_on, network=Unrolled(n_active=3), warm_start=False, max_iter=20)
    fitted = fit_unwarned(given, X).set_params(warm_start=True, penalty=BatchTopK([4, 2]))
    fit_unwarned(fitted, X, method)
    assert [threshold.k for threshold in fitted.module_.network.thresholds] == [3, 3, 3]
    assert l0(fitted.transform(X_NEW)) == pytest.approx(4, rel=0.25)


def test_a_vae_goes_on_with_another_length(fits):
    going_on = changed(fits["vaeense"], warm_start=True, target_l0=2)
    assert l0(fit_unwarned(going_on, X).transform(X_NEW)) == pytest.approx(2, rel=0.1)
