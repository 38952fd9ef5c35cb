"""Estimators with a prior on their gates."""

import pickle
from functools import cache

import numpy as np
import pytest
from helpers import ATOMS, SUBSPACES, Recorder, changed, fit_unwarned, outputs
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics.pairwise import cosine_similarity

from skvaeense import SparseAutoencoder, VAEenseTransformer, load, save
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.losses import ELBO
from skvaeense.metrics import fvu, l0
from skvaeense.models import SpikeSlabVAE
from skvaeense.networks import MLP
from skvaeense.penalties import BatchTopK
from skvaeense.priors import SpikeSlab

X, X_NEW = ATOMS.train[:1000], ATOMS.new[:300]


def make(**params):
    settings = {"n_components": 12, "random_state": 0}
    # Fitting a density of two components takes a fraction of the time.
    settings["prior"] = SpikeSlab(n_components=2)
    return VAEenseTransformer(**(settings | params))


def fit(samples=X, method="fit", **params):
    return fit_unwarned(make(**params), samples, method)


@pytest.fixture(scope="module")
def fitted():
    return fit()


@pytest.fixture(scope="module")
def positive():
    return fit(positive_code=True)


@pytest.fixture(scope="module")
def to_targets():
    return {
        "l0": fit(target_l0=3),
        "share": of_share(0.9),
    }


@cache
def of_share(share):
    """Return a fit to a share of the variance, which tests must not change."""
    return fit(target_explained_variance=share)


def unexplained(model, samples=X_NEW):
    return fvu(samples, model.inverse_transform(model.transform(samples)))


# --- what is found ----------------------------------------------------------------------------


@pytest.mark.slow
def test_more_features_than_dimensions_and_nobody_says_how_many_are_active():
    """Gates reconstruct better than a rival that knows the number of active features."""
    found, *_ = make_sparse_dictionary(
        1500, n_atoms=24, n_active=(1, 5), n_features=12, signed=False, noise=0.05, random_state=3
    )
    model = VAEenseTransformer(24, prior="spike_slab", positive_code=True, random_state=0)
    rival = SparseAutoencoder(24, penalty=BatchTopK(3), network="unrolled", random_state=0)
    left = []
    for estimator in (model, rival):
        fit_unwarned(estimator, found[:1000])
        left.append(unexplained(estimator, found[1000:]))
    assert l0(model.transform(found[1000:])) == pytest.approx(3, rel=0.15)
    assert left[0] < left[1]


def test_codes_are_exactly_0_where_gates_are_closed(fitted, positive):
    for model in (fitted, positive):
        codes = model.transform(X_NEW)
        probability, mean, std = model.posterior(X_NEW)
        assert_array_equal(codes != 0, probability > 0.5)
        assert_array_equal(codes != 0, model.active_dimensions(X_NEW))
        assert mean.shape == std.shape == codes.shape
        assert 0 < std.min() <= std.max() < 10
        assert 0 < (codes != 0).mean() < 1
    assert codes.min() == 0


def test_soft_codes_are_posterior_means(fitted):
    soft = changed(fitted, hard=False)
    probability, mean, _ = soft.posterior(X_NEW)
    assert_allclose(soft.transform(X_NEW), probability * mean, rtol=1e-10)
    assert_array_equal(changed(fitted, hard=True).transform(X_NEW), fitted.transform(X_NEW))
    sparse = changed(soft, sparse_output=True).transform(X_NEW)
    assert_array_equal(sparse.toarray(), fitted.transform(X_NEW))


def test_codes_leave_less_than_those_that_are_not_refined(fitted):
    probability, mean, _ = fitted.posterior(X_NEW)
    plain = np.where(probability > 0.5, mean, 0)
    assert unexplained(fitted) < fvu(X_NEW, fitted.inverse_transform(plain))


def test_noise_is_not_0_where_there_is_none():
    noise = []
    for max_iter in (20, 60):
        model = fit(SUBSPACES.train, n_components=6, max_iter=max_iter, n_iter_no_change=1000)
        noise.append(float(model.module_.noise_variance))
    # The residual does not have the same variance in all directions.
    assert min(noise) > 1e-4


# --- what the default model takes ----------------------------------------------------------------


def default(X, **params):
    return fit_unwarned(VAEenseTransformer(random_state=0, **params), X)


@pytest.mark.slow
def test_why_codes_are_as_short_as_they_are():
    many, *_ = make_sparse_dictionary(
        200, n_active=2, n_atoms=16, n_features=12, noise=0.05, random_state=0
    )
    normal = np.random.default_rng(0).standard_normal((1000, 4))
    fits = {
        "mixture": default(SUBSPACES.train),
        "gates": default(many),
        "normal": default(normal),
    }
    assert {kind: model.explanation_ for kind, model in fits.items()} == {k: k for k in fits}
    for kind, model in fits.items():
        nats = model.explanation_nats_
        assert {"mixture", "normal"} <= set(nats)
        # A bound that is greater by chance explains nothing.
        assert max(nats.values()) <= nats[kind] + 0.1 * (kind == "normal")
        assert model.density_name_ == ("gates" if kind == "gates" else "mixture")
    # Without noise, too.
    few, *_ = make_sparse_dictionary(1000, n_active=2, n_atoms=12, n_features=10, random_state=0)
    assert default(few).explanation_ == "gates"
    larger = default(10 * normal).explanation_nats_
    assert larger["normal"] == pytest.approx(nats["normal"] - 4 * np.log(10), abs=1e-6)
    assert {type(model.module_) is SpikeSlabVAE for model in fits.values()} == {True, False}


RNG = np.random.default_rng(0)
UNCERTAIN = {
    # Variances that fall without a gap.
    "falling": RNG.standard_normal((1000, 12)) * np.geomspace(2, 0.03, 12),
    # One direction stands out, with a third of the variance.
    "little": RNG.standard_normal((200, 10)) + 1.7 * RNG.standard_normal((200, 1)) * np.eye(10)[0],
    # Two normal distributions that extend in all directions.
    "full": np.concatenate(
        [RNG.standard_normal((400, 6)) @ RNG.standard_normal((6, 6)) + 3 * i for i in range(2)]
    ),
    # With all gates open the model is one normal distribution, which others exceed only by chance.
    "walks": RNG.standard_normal((1500, 12)).cumsum(axis=1),
    # Columns whose scales are too small for single precision beside the first column.
    "scales": RNG.standard_normal((1000, 8)) * 10.0 ** np.arange(-4, 4),
}


@pytest.mark.parametrize("name", UNCERTAIN)
def test_codes_keep_95_percent_where_structure_is_not_certain(name):
    X = np.random.default_rng(0).permutation(UNCERTAIN[name])
    model = VAEenseTransformer(random_state=0).fit(X)
    assert model.explanation_ == "share"
    assert fvu(X, model.inverse_transform(model.transform(X))) == pytest.approx(0.05, abs=0.02)
    assert model.active_dimensions(X).sum(axis=1).mean() < X.shape[1] - 2


@pytest.mark.parametrize("shape", [(1000, 6), (60, 100)])
def test_positive_codes_keep_95_percent_too(shape):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((shape[0], 4)) @ rng.standard_normal((4, shape[1]))
    X += 0.2 * rng.standard_normal(shape)
    model = default(X, positive_code=True)
    codes = model.transform(X)
    assert model.explanation_ == "share"
    assert codes.min() == 0
    # The share is met on new samples; so few training samples keep more of it.
    assert fvu(X, model.inverse_transform(codes)) == pytest.approx(0.05, abs=0.035)


def test_what_was_found_is_kept_and_said_only_of_models_that_look(tmp_path):
    model = default(SUBSPACES.train, warm_start=True)
    nats = dict(model.explanation_nats_)
    save(model, tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").explanation_nats_ == nats
    fit_unwarned(model, SUBSPACES.train)
    assert model.explanation_nats_ == nats
    fit_unwarned(model.set_params(warm_start=False, network="mlp", max_iter=2), SUBSPACES.train)
    assert not hasattr(model, "explanation_")


# --- targets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "positive"), [(1.5, True), (5, False)])
def test_target_l0(target, positive):
    model = fit(target_l0=target, positive_code=positive)
    assert l0(model.transform(X_NEW)) == pytest.approx(target, rel=0.1)


@pytest.mark.parametrize("share", [0.6, 0.95])
def test_target_explained_variance(share):
    model = of_share(share)
    assert unexplained(model, X) == pytest.approx(1 - share, rel=0.05)
    assert unexplained(model) == pytest.approx(1 - share, rel=0.25)


def test_a_share_of_few_points_is_kept_though_lengths_jump():
    corners = np.eye(6)
    model = VAEenseTransformer(target_explained_variance=0.9, random_state=0)
    model.fit(corners[np.random.default_rng(5).integers(6, size=1000)])
    assert unexplained(model, corners) < 0.1


@pytest.mark.parametrize(("n_rows", "expected"), [(24, 11), (50, 16)])
def test_few_rows_have_a_latent_for_two_rows(n_rows, expected):
    """Four dimensions have 16 latents if there are enough rows, of which some are held out."""
    X = np.repeat(np.random.default_rng(0).standard_normal((n_rows, 4)), 2, axis=1)
    assert fit_unwarned(VAEenseTransformer(target_l0=2.5, max_iter=2), X).n_components_ == expected


def test_the_density_does_not_depend_on_a_target():
    X = np.random.default_rng(0).standard_normal((300, 8)) * np.geomspace(1, 0.05, 8)
    scores = [
        fit_unwarned(VAEenseTransformer(random_state=0, max_iter=20, **target), X).score(X)
        for target in ({}, {"target_explained_variance": 0.5}, {"target_l0": 2})
    ]
    np.testing.assert_allclose(scores[1:], scores[0], rtol=0.01)


def test_more_of_the_variance_takes_longer_codes():
    lengths = [l0(of_share(share).transform(X_NEW)) for share in (0.6, 0.8, 0.9)]
    assert lengths[0] < lengths[1] < lengths[2]


def test_shares_that_make_no_sense(fitted):
    both = changed(fitted, transform_explained_variance=0.5, transform_l0=0.1)
    with pytest.raises(ValueError, match="both set the length of codes"):
        both.transform(X_NEW)
    with pytest.raises(
        ValueError, match="sets a price on gates, but this model does not support prices"
    ):
        make(prior="mixture", transform_explained_variance=0.5).fit(X[:100])


@pytest.mark.parametrize("name", ["l0", "share"])
def test_codes_can_be_cut(to_targets, name):
    model = to_targets[name]
    before = l0(model.transform(X_NEW))
    for share in (0.8, 0.5, 0.25):
        wanted = share * model.module_.length
        cut = changed(model, transform_l0=wanted)
        assert l0(cut.transform(X_NEW)) == pytest.approx(wanted, rel=0.15)
    assert l0(model.transform(X_NEW)) == before


def test_codes_of_no_target_can_be_cut(fitted):
    length = fitted.module_.length
    cut = changed(fitted, transform_l0=0.5 * length)
    assert l0(cut.transform(X_NEW)) == pytest.approx(0.5 * length, rel=0.15)
    assert cut.elbo_samples(X_NEW).mean() < fitted.elbo_samples(X_NEW).mean()
    with pytest.raises(ValueError, match="must be a number from"):
        changed(fitted, transform_l0=1.1 * length).transform(X_NEW)


def test_settings_that_cannot_be(subtests):
    for params, message in (
        ({"target_explained_variance": 0.9, "prior": "mixture"}, "Leave prior='auto'"),
        ({"target_l0": 2, "prior": "mixture"}, "target_l0=2 sets a price .* Leave prior='auto'"),
        ({"target_explained_variance": 0.9, "target_l0": 2}, "cannot both be set"),
        ({"target_l0": 13}, "must be at most n_components=12"),
        ({"target_l0": 1e300, "n_components": None}, "must be at most the number of features"),
        ({"gated": False}, "Leave gated=True"),
        ({"network": "unrolled", "target_l0": 2}, "Leave network='auto'"),
        ({"network": "linear"}, "network='linear' cannot be combined .* Leave network='auto'"),
        ({"network": MLP((4,)), "target_l0": 2}, "cannot be combined .* Leave network='auto'"),
        ({"loss": ELBO(beta=2.0)}, "cannot be combined with prior=.* Leave loss='elbo'"),
        ({"learn_noise_variance": False}, "noise_variance must be a number"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            fit(X[:100], **params)


class OwnLoss(ELBO):
    """A loss of the user, which may differ from the bound."""


def test_losses_of_ones_own_cannot_be():
    with pytest.raises(ValueError, match=r"cannot be combined with prior=.* Leave loss='elbo'"):
        fit(X[:100], loss=OwnLoss())
    given, default = (fit(X[:100], max_iter=3, **params) for params in ({"loss": ELBO()}, {}))
    assert_array_equal(given.transform(X_NEW), default.transform(X_NEW))


# --- fits -------------------------------------------------------------------------------------


def test_noise_that_is_given_is_kept():
    model = fit(noise_variance=0.3, learn_noise_variance=False)
    assert model.noise_variance_ == pytest.approx(0.3)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on(fitted, to_targets, method):
    for model, params in (
        (fitted, {}),
        (to_targets["l0"], {"target_l0": 2}),
        (to_targets["share"], {"target_explained_variance": 0.8}),
    ):
        going_on = changed(model, warm_start=True, max_iter=5, **params)
        before = model.components_
        fit_unwarned(going_on, X, method)
        cosine = cosine_similarity(before, going_on.components_).diagonal()
        # The components of latents that are not needed are 0.
        assert cosine[before.any(axis=1)].mean() > 0.85
    assert unexplained(going_on, X) == pytest.approx(0.2, rel=0.15)
    other = changed(fitted, warm_start=True, target_l0=2)
    assert l0(fit_unwarned(other, X, method).transform(X_NEW)) == pytest.approx(2, rel=0.1)


def test_partial_fit_learns():
    model = make(target_explained_variance=0.9)
    for _ in range(6):
        model.partial_fit(X[:200])
    assert unexplained(model) < 0.2
    assert l0(model.transform(X_NEW)) < 6


def test_several_inits_are_compared_by_the_bound():
    model = fit(X[:300], n_init=2, max_iter=4)
    assert len(model.history_["init"]) == 8
    assert set(model.history_["init"]) == {0, 1}


@pytest.mark.parametrize("n_rows", [50, 2000])
def test_there_are_as_many_latents_as_samples_need(n_rows):
    """A line and a plane."""
    assert fit(SUBSPACES.train[:n_rows], n_components=None).n_components_ == 3


@pytest.mark.parametrize("samples", [X[:3], np.ones((30, 4)), X[:, :1]], ids=["3", "same", "one"])
@pytest.mark.parametrize("share", [None, 0.9])
def test_samples_with_little_in_them(samples, share):
    model = fit(samples, n_components=None, target_explained_variance=share)
    assert np.isfinite(model.transform(samples)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precision(dtype):
    model = fit(X.astype(dtype), dtype=dtype, max_iter=5)
    assert model.transform(X_NEW.astype(np.float32)).dtype == np.float32
    assert model.transform(X_NEW.astype(np.float64)).dtype == np.float64
    assert_allclose(
        model.transform(X_NEW.astype(np.float32)), model.transform(X_NEW), atol=2e-2, rtol=0
    )


def test_missing_values():
    holes = ATOMS.train[:1000].copy()
    holes[np.random.default_rng(0).random(holes.shape) < 0.05] = np.nan
    model = fit(holes, target_explained_variance=0.9)
    assert np.isfinite(model.transform(holes)).all()
    assert not np.isnan(model.impute(holes)).any()
    assert unexplained(model) < 0.2


# --- densities and draws ----------------------------------------------------------------------


def test_density_is_a_mixture_above_the_bound(fitted):
    scores = fitted.score_samples(X_NEW)
    assert scores.mean() == fitted.score(X_NEW)
    assert scores.mean() > fitted.elbo_samples(X_NEW).mean()
    assert fitted.predict_proba(X_NEW).shape == (len(X_NEW), 2)
    assert fitted.score(X_NEW) > fitted.score(X_NEW + 3)
    draws = fitted.sample(2000, random_state=0)
    assert fitted.score(draws) > fitted.score(X_NEW + 3)


def test_bound_of_a_sample_does_not_depend_on_others(fitted):
    assert_allclose(fitted.elbo_samples(X_NEW[:3]), fitted.elbo_samples(X_NEW)[:3], rtol=1e-9)


def test_effective_dimensions(fitted):
    n_active = fitted.active_dimensions(X_NEW).sum(axis=1)
    rank = fitted.active_rank(X_NEW)
    assert (rank <= n_active).all()
    assert (fitted.participation_ratio(X_NEW) <= rank + 1e-6).all()


# --- files, copies and callbacks --------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "l0", "share"])
def test_copies_are_the_same(fitted, to_targets, name, tmp_path):
    model = fitted if name == "none" else to_targets[name]
    save(model, tmp_path / "gates.safetensors")
    expected = outputs(model, X_NEW)
    for other in (load(tmp_path / "gates.safetensors"), pickle.loads(pickle.dumps(model))):
        assert isinstance(other.module_, SpikeSlabVAE)
        for method, found in outputs(other, X_NEW).items():
            assert_array_equal(found, expected[method], err_msg=method)
        cut = changed(other, transform_l0=0.4).transform(X_NEW)
        assert_array_equal(cut, changed(model, transform_l0=0.4).transform(X_NEW))


def test_callbacks_see_every_epoch():
    recorder = Recorder(X_NEW[:100], stop_after=10)
    model = make(max_iter=20).set_callbacks(recorder)
    fit_unwarned(model, X[:500])
    assert len(recorder.scores) == 10 == model.n_iter_
    assert recorder.scores[-1] > recorder.scores[0]


def test_fits_do_not_vary():
    first, second = (fit(X[:300], max_iter=5) for _ in range(2))
    assert_array_equal(first.transform(X_NEW), second.transform(X_NEW))
    assert set(first.history_) >= {"loss", "kl", "error", "noise_variance"}


def test_as_many_latents_as_a_share_needs_are_never_too_many():
    """A tenth of 60 rows is 6, but 6 latents cannot keep four fifths of a ball in 20 dimensions."""
    X = np.random.default_rng(0).standard_normal((60, 20))
    vaeense = VAEenseTransformer(target_explained_variance=0.8, max_iter=2, random_state=0)
    assert fit_unwarned(vaeense, X).n_components_ > 8
