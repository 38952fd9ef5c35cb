"""Codes of gates: as samples need them, with a given length, or keeping a share of the variance."""

import pickle
from functools import cache

import numpy as np
import pytest
from helpers import ATOMS, SUBSPACES, changed, fit_unwarned, outputs
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics.pairwise import cosine_similarity

from skvaeense import SparseAutoencoder, VAEase, VAEenseTransformer, load, save
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.explanations import FlatLaw, GateLaw
from skvaeense.metrics import fvu, l0
from skvaeense.nets.penalties import BatchTopK

X, X_NEW = ATOMS.train[:1000], ATOMS.new[:300]


def make(**params):
    settings = {"n_components": 12, "model": "gates", "random_state": 0}
    return VAEenseTransformer(**(settings | params))


def fit(samples=X, method="fit", **params):
    return fit_unwarned(make(**params), samples, method)


@cache
def shared(**params):
    """Return a fit that tests must not change."""
    return fit(**params)


@pytest.fixture
def fitted():
    return shared()


# A fit without a target, one to a length, and one to a share of the variance.
TARGETS = [{}, {"target_l0": 3}, {"target_explained_variance": 0.9}]


def unexplained(model, samples=X_NEW):
    return fvu(samples, model.inverse_transform(model.transform(samples)))


# --- what is found ----------------------------------------------------------------------------


@pytest.mark.slow
def test_more_features_than_dimensions_and_nobody_says_how_many_are_active():
    """Gates reconstruct better than a rival that knows the number of active features."""
    found, *_ = make_sparse_dictionary(
        1500, n_atoms=24, n_active=(1, 5), n_features=12, signed=False, noise=0.05, random_state=3
    )
    model = VAEenseTransformer(24, model="gates", positive_code=True, random_state=0)
    rival = SparseAutoencoder(24, penalty=BatchTopK(3), network="unrolled", random_state=0)
    left = []
    for estimator in (model, rival):
        fit_unwarned(estimator, found[:1000])
        left.append(unexplained(estimator, found[1000:]))
    assert l0(model.transform(found[1000:])) == pytest.approx(3, rel=0.15)
    assert left[0] < left[1]


@pytest.mark.parametrize("positive", [False, True])
def test_codes_are_exactly_0_where_gates_are_closed(positive):
    model = shared(target_l0=3, positive_code=True) if positive else shared()
    codes = model.transform(X_NEW)
    probability, mean, std = model.posterior(X_NEW)
    assert_array_equal(codes != 0, probability > 0.5)
    assert_array_equal(codes != 0, model.active_dimensions(X_NEW))
    assert mean.shape == std.shape == codes.shape
    assert 0 < std.min() <= std.max() < 10
    assert 0 < (codes != 0).mean() < 1
    assert (codes.min() < 0) != positive
    assert not np.signbit(codes[codes == 0]).any()
    # A sample is coded by itself.
    assert_allclose(model.transform(X_NEW[:1]), codes[:1], rtol=1e-9)
    assert_allclose(model.transform(X_NEW[::-1]), codes[::-1], rtol=1e-9)
    assert_allclose(model.elbo_samples(X_NEW[:3]), model.elbo_samples(X_NEW)[:3], rtol=1e-9)


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
    """The residual does not have the same variance in all directions."""
    rows = SUBSPACES.train[:600]
    assert fit(rows, n_components=6).noise_variance_ > 1e-4 * rows.var(axis=0).mean()


# --- what a default fit chooses -----------------------------------------------------------------


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
    kinds = {"mixture": FlatLaw, "gates": GateLaw, "normal": FlatLaw}
    assert {kind: type(model.coder_) for kind, model in fits.items()} == kinds


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


@pytest.mark.slow
@pytest.mark.parametrize("name", UNCERTAIN)
def test_codes_keep_95_percent_where_structure_is_not_certain(name):
    X = np.random.default_rng(0).permutation(UNCERTAIN[name])
    model = VAEenseTransformer(random_state=0).fit(X)
    assert model.explanation_ == "share"
    assert fvu(X, model.inverse_transform(model.transform(X))) == pytest.approx(0.05, abs=0.02)
    assert model.active_dimensions(X).sum(axis=1).mean() < X.shape[1] - 2


@pytest.mark.parametrize("shape", [pytest.param((1000, 6), marks=pytest.mark.slow), (60, 100)])
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
    rows = SUBSPACES.few[:80]
    model = default(rows, warm_start=True, n_components=3)
    nats = dict(model.explanation_nats_)
    save(model, tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").explanation_nats_ == nats
    assert fit_unwarned(model, rows).explanation_nats_ == nats
    fit_unwarned(model.set_params(warm_start=False, model=VAEase("mlp", max_iter=2)), rows)
    assert not hasattr(model, "explanation_")


# --- targets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"positive_code": True}])
def test_codes_have_the_length_that_was_asked_for(params):
    model = shared(target_l0=3, **params)
    codes = model.transform(X_NEW)
    assert l0(codes) == pytest.approx(3, rel=0.1)
    assert len(np.unique((codes != 0).sum(axis=1))) > 2
    assert isinstance(model.coder_, GateLaw)
    assert model.explanation_ == "length"


def test_longer_codes_explain_more():
    assert unexplained(shared(target_l0=1.5)) > 1.5 * unexplained(shared(target_l0=3))
    some, more = (shared(target_explained_variance=share) for share in (0.6, 0.9))
    assert l0(some.transform(X_NEW)) < l0(more.transform(X_NEW))


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_codes_keep_the_share_that_was_asked_for(share):
    model = shared(target_explained_variance=share)
    assert unexplained(model, X) == pytest.approx(1 - share, rel=0.05)
    assert unexplained(model) == pytest.approx(1 - share, rel=0.25)


def test_a_share_of_few_points_is_kept_though_lengths_jump():
    corners = np.eye(6)
    model = VAEenseTransformer(target_explained_variance=0.9, random_state=0)
    model.fit(corners[np.random.default_rng(5).integers(6, size=1000)])
    assert unexplained(model, corners) < 0.1


@pytest.mark.parametrize(("n_rows", "expected"), [(24, 10), (50, 16)])
def test_few_rows_have_a_latent_for_two_rows(n_rows, expected):
    """Four dimensions have 16 latents if there are enough rows, of which some are held out."""
    X = np.repeat(np.random.default_rng(0).standard_normal((n_rows, 4)), 2, axis=1)
    assert fit_unwarned(VAEenseTransformer(target_l0=2.5), X).n_components_ == expected


@pytest.mark.slow
def test_the_density_does_not_depend_on_a_target():
    X = np.random.default_rng(0).standard_normal((200, 6)) * np.geomspace(1, 0.05, 6)
    scores = [
        fit_unwarned(VAEenseTransformer(random_state=0, **target), X).score(X)
        for target in ({}, {"target_explained_variance": 0.5}, {"target_l0": 2})
    ]
    np.testing.assert_allclose(scores[1:], scores[0], rtol=0.01)


def test_shares_that_make_no_sense(fitted):
    both = changed(fitted, transform_explained_variance=0.5, transform_l0=0.1)
    with pytest.raises(ValueError, match="both set the length of codes"):
        both.transform(X_NEW)
    flat = VAEenseTransformer(model="mixture", random_state=0).fit(X[:100])
    flat.set_params(transform_explained_variance=0.5)
    with pytest.raises(ValueError, match="sets a price on gates, but this model has no such"):
        flat.transform(X_NEW)
    with pytest.raises(ValueError, match="sets a price on gates, which model='mixture' does not"):
        flat.fit(X[:100])


@pytest.mark.parametrize("target", TARGETS)
def test_codes_can_be_cut(target):
    model = shared(**target)
    before, length = model.transform(X_NEW), model.coder_.table.longest
    for share in (0.8, 0.5, 0.25):
        cut = changed(model, transform_l0=share * length)
        assert l0(cut.transform(X_NEW)) == pytest.approx(share * length, rel=0.15)
    assert cut.elbo_samples(X_NEW).mean() < model.elbo_samples(X_NEW).mean()
    assert_array_equal(model.transform(X_NEW), before)
    with pytest.raises(ValueError, match="must be a number from"):
        changed(model, transform_l0=1.1 * length).transform(X_NEW)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"target_explained_variance": 0.9, "model": "mixture"}, 'set model="auto"'),
        ({"target_l0": 2, "model": "mixture"}, 'target_l0=2 sets a price .* set model="auto"'),
        ({"target_l0": 2, "model": VAEase()}, 'target_l0=2 sets a price .* set model="auto"'),
        ({"target_explained_variance": 0.9, "target_l0": 2}, "cannot both be set"),
        ({"target_l0": 13}, "must be at most n_components=12"),
        ({"target_l0": 1e300, "n_components": None}, "must be at most the number of features"),
        ({"target_l0": 0}, "The 'target_l0' parameter of VAEenseTransformer must be a float"),
    ],
)
def test_settings_that_cannot_be(params, message):
    with pytest.raises(ValueError, match=message):
        fit(X[:100], **params)


# --- fits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "before", "target"),
    [
        ("partial_fit", {}, {}),
        ("fit", {}, {"target_l0": 2}),
        ("fit", {"target_l0": 3}, {"target_l0": 2}),
        ("partial_fit", {"target_l0": 3}, {"target_l0": 2}),
        *(
            (method, {"target_explained_variance": 0.9}, {"target_explained_variance": 0.6})
            for method in ("fit", "partial_fit")
        ),
    ],
)
def test_going_on_with_another_target(method, before, target):
    model = shared(**before)
    going_on = changed(model, warm_start=True, **target)
    fit_unwarned(going_on, X, method)
    cosine = cosine_similarity(model.components_, going_on.components_).diagonal()
    # The components of latents that are not needed are 0.
    assert cosine[model.components_.any(axis=1)].mean() > 0.85
    if target.get("target_l0"):
        assert l0(going_on.transform(X_NEW)) == pytest.approx(2, rel=0.1)
    if target.get("target_explained_variance"):
        assert unexplained(going_on, X) == pytest.approx(0.4, rel=0.15)


@pytest.mark.parametrize("target", TARGETS[1:])
def test_partial_fit_learns(target):
    model = make(**target)
    for _ in range(4):
        model.partial_fit(X[:300])
    if "target_l0" in target:
        assert l0(model.transform(X_NEW)) == pytest.approx(3, rel=0.1)
    else:
        assert unexplained(model) < 0.2
        assert l0(model.transform(X_NEW)) < 6


def test_a_target_can_be_left():
    going_on = changed(shared(target_l0=3), warm_start=True, target_l0=None)
    fit_unwarned(going_on, X)
    assert going_on.explanation_ == "gates"
    assert not going_on.coder_.has_target


@pytest.mark.parametrize("n_rows", [50, 600])
def test_there_are_as_many_latents_as_samples_need(n_rows):
    """Lines and planes; a latent more is found now and then."""
    found = []
    for seed in range(6):
        drawn = make_linear_subspaces(
            n_rows, dims=(1, 2), n_features=8, noise=0.01, random_state=seed
        )
        found.append(fit(drawn[0], n_components=None).n_components_)
    assert sorted(found)[:5] == [3] * 5
    assert max(found) <= 4


@pytest.mark.parametrize("samples", [X[:3], np.ones((30, 4)), X[:, :1]], ids=["3", "same", "one"])
@pytest.mark.parametrize("share", [None, 0.9])
def test_samples_with_little_in_them(samples, share):
    model = fit(samples, n_components=None, target_explained_variance=share)
    assert np.isfinite(model.transform(samples)).all()


def test_precision():
    model = fit(X[:300])
    assert model.transform(X_NEW.astype(np.float32)).dtype == np.float32
    assert model.transform(X_NEW.astype(np.float64)).dtype == np.float64
    assert_allclose(
        model.transform(X_NEW.astype(np.float32)), model.transform(X_NEW), atol=2e-2, rtol=0
    )


def test_missing_values():
    holes = X[:200].copy()
    holes[np.random.default_rng(0).random(holes.shape) < 0.05] = np.nan
    model = fit(holes, target_explained_variance=0.9)
    assert np.isfinite(model.transform(holes)).all()
    assert not np.isnan(model.impute(holes)).any()
    assert unexplained(model) < 0.2


def test_far_rows_are_left_out():
    with pytest.warns(UserWarning, match="far from all others"):
        model = make(target_l0=3).fit(np.r_[X[:400], [[1e5] * 8]])
    assert l0(model.transform(X[:400])) == pytest.approx(3, rel=0.15)
    assert unexplained(model, X[:400]) < 0.3


# --- densities and draws ----------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_density_is_one_of_the_two_laws_and_above_the_bound(target):
    model = shared(**target)
    scores = model.score_samples(X_NEW)
    assert scores.mean() == model.score(X_NEW)
    if model.density_name_ == "gates":
        assert model.density_ is model.coder_
        assert_array_equal(scores, model.elbo_samples(X_NEW))
    else:
        assert scores.mean() > model.elbo_samples(X_NEW).mean()
    assert model.score(X_NEW) > model.score(X_NEW + 3)
    draws = model.sample(2000, random_state=0)
    assert model.score(draws) > model.score(X_NEW + 3)


# --- files and copies -------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_copies_are_the_same(target, tmp_path):
    model = shared(**target)
    save(model, tmp_path / "gates.safetensors")
    expected = outputs(model, X_NEW)
    for other in (load(tmp_path / "gates.safetensors"), pickle.loads(pickle.dumps(model))):
        assert isinstance(other.coder_, GateLaw)
        for method, found in outputs(other, X_NEW).items():
            assert_array_equal(found, expected[method], err_msg=method)
        cut = changed(other, transform_l0=0.4).transform(X_NEW)
        assert_array_equal(cut, changed(model, transform_l0=0.4).transform(X_NEW))


def test_fits_do_not_vary():
    first, second = (fit(X[:200]) for _ in range(2))
    assert_array_equal(first.transform(X_NEW), second.transform(X_NEW))


def test_as_many_latents_as_a_share_needs_are_never_too_many():
    """A tenth of 60 rows is 6, but 6 latents cannot keep four fifths of a ball in 20 dimensions."""
    X = np.random.default_rng(0).standard_normal((60, 20))
    vaeense = VAEenseTransformer(target_explained_variance=0.8, random_state=0)
    assert fit_unwarned(vaeense, X).n_components_ > 8
