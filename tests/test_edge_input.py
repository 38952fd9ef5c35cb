"""Data at the edge of what autoencoders accept. The data that they refuse is in bad_inputs."""

from functools import partial

import numpy as np
import pytest
import strategies
import torch
from helpers import each_once, fit_unwarned, fit_vaeense
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.dimension import Neighbors
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture
from skvaeense.networks import Linear
from skvaeense.penalties import BatchTopK, Penalty, TopK

X, _, _ = make_linear_subspaces(200, dims=(1, 2), n_features=6, noise=0.01, random_state=0)
vaeense = partial(strategies.vaeense, n_components=3, max_iter=6)
sparse_autoencoder = partial(strategies.sparse_autoencoder, n_components=3, max_iter=6)
QUICK = {"vaeense": vaeense, "sparse": sparse_autoencoder}
EACH = pytest.mark.parametrize("quick", [pytest.param(QUICK[name], id=name) for name in QUICK])
# Values of rows that are all equal.
VALUES = [0.0, 3.0, -0.1, 1e100]
# Penalties of each kind.
EVERY = pytest.mark.parametrize(
    ("quick", "options"),
    [pytest.param(vaeense, {}, id="vaeense")]
    + [
        pytest.param(sparse_autoencoder, {"penalty": name}, id=name)
        for name in ("gated", "jump_relu", "log", "matryoshka")
    ],
)


# --- shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [vaeense, partial(sparse_autoencoder, BatchTopK())])
@pytest.mark.parametrize(
    ("samples", "params"),
    [
        pytest.param(X[:, :1], {}, id="one_feature"),
        pytest.param(X[:2], {}, id="two_samples"),
        pytest.param(X[:30], {"batch_size": 10**4}, id="less_than_a_batch"),
        pytest.param(X[:10], {"n_components": 50}, id="many_components"),
        pytest.param(X, {"n_components": 1}, id="one_component"),
    ],
)
def test_shapes(quick, samples, params):
    fitted = fit_unwarned(quick(**params), samples)
    assert fitted.transform(samples).shape == (len(samples), params.get("n_components", 3))
    assert np.isfinite(fitted.score_samples(samples)).all()


# --- values ---------------------------------------------------------------------------------


@EVERY
def test_constant_features(quick, options):
    """A constant feature is reproduced, even if it is large."""
    with_constants = np.column_stack([X, np.full(200, 1e3), np.zeros(200)])
    fitted = fit_unwarned(quick(**options, max_iter=200), with_constants)
    reconstruction = fitted.inverse_transform(fitted.transform(with_constants))
    assert_allclose(reconstruction[:, 6], 1e3, rtol=1e-3)
    assert_allclose(reconstruction[:, 7], 0, atol=0.3)


@pytest.mark.parametrize(
    ("value", "threshold"), each_once(VALUES, ["contribution", "fixed_variance", "otsu"])
)
def test_equal_rows_have_equal_latents(value, threshold):
    """There is nothing to learn, and no warning."""
    equal = np.full((50, 4), value)
    fitted = vaeense(threshold=threshold).fit(equal)
    assert fitted.scale_ == 1.0
    assert_allclose(fitted.mean_, equal[0], rtol=1e-12)
    assert np.isfinite(fitted.score_samples(equal)).all()
    active = fitted.active_dimensions(equal)
    assert (active == active[0]).all()


@pytest.mark.parametrize(("penalty", "value"), each_once(sorted(Penalty.aliases), VALUES))
def test_equal_rows_have_equal_codes(penalty, value):
    """There is nothing to learn, and no warning."""
    equal = np.full((50, 4), value)
    fitted = sparse_autoencoder(penalty).fit(equal)
    codes = fitted.transform(equal)
    assert fitted.scale_ == 1.0
    assert (codes == codes[0]).all()
    assert_allclose(fitted.inverse_transform(codes), equal, rtol=1e-12, atol=1e-6)
    assert_allclose(fitted.score_samples(equal), 1, atol=1e-6)
    assert np.isfinite(fitted.components_).all()
    assert np.isfinite(fitted.loss_curve_).all()


def test_equal_rows_with_a_target():
    """There is no reason to open a latent, and no warning."""
    equal = np.full((50, 4), 3.0)
    estimator = VAEenseTransformer(3, target_l0=2, max_iter=3, random_state=0)
    fitted = estimator.fit(equal)
    assert_allclose(fitted.inverse_transform(fitted.transform(equal)), equal, atol=1e-3)


def test_equal_rows_are_reconstructed():
    equal = np.tile([1.0, -2.0, 1e6], (50, 1))
    fitted = VAEenseTransformer(random_state=0, n_init=1, max_iter=200).fit(equal)
    assert_allclose(fitted.inverse_transform(fitted.transform(equal)), equal, rtol=1e-2, atol=0.05)


@EVERY
def test_equal_rows_then_others(quick, options):
    """After a first batch without variance, a stream can still learn, in its own scale."""
    with pytest.warns(ConvergenceWarning, match="All samples of the first batch are equal"):
        estimator = quick(**options).partial_fit(np.full((50, 6), 3.0))
    for _ in range(3):
        estimator.partial_fit(X)
    assert np.isfinite(estimator.score(X))


@EACH
def test_one_row_that_differs(quick):
    one_off = np.ones((100, 4))
    one_off[7] += 1
    assert np.isfinite(fit_unwarned(quick(), one_off).score_samples(one_off)).all()


@EACH
def test_duplicated_rows(quick):
    twice = np.repeat(X[:5], 20, axis=0)
    assert np.isfinite(fit_unwarned(quick(), twice).score_samples(twice)).all()


@pytest.mark.filterwarnings("ignore:1 of 200 samples are far:UserWarning")
@EVERY
def test_an_outlier_does_not_break_the_fit(quick, options):
    outlier = X.copy()
    outlier[0] = 1e6
    fitted = fit_unwarned(quick(**options), outlier)
    assert np.isfinite(fitted.transform(outlier)).all()
    assert np.isfinite(fitted.score(outlier))


# --- containers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "quick"), each_once([np.float16, np.int8, np.int64, bool], [*QUICK.values()])
)
def test_other_dtypes_become_float64(quick, dtype):
    values = (10 * np.abs(X)).astype(dtype)
    fitted, reference = fit_unwarned(quick(), values), fit_unwarned(quick(), values.astype(float))
    assert fitted.transform(values).dtype == np.float64
    assert_array_equal(fitted.transform(values), reference.transform(values.astype(float)))


@EACH
def test_what_becomes_an_array(quick):
    codes = fit_unwarned(quick(), X).transform(X)
    for same in (X.astype(object), X.tolist()):
        assert_array_equal(fit_unwarned(quick(), same).transform(same), codes)


@EACH
def test_memory_layout_does_not_matter(quick):
    codes = fit_unwarned(quick(), X).transform(X)
    for view in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X[::-1].copy()[::-1]):
        assert_allclose(fit_unwarned(quick(), view).transform(view), codes, rtol=1e-4, atol=1e-6)


@EACH
def test_a_read_only_memmap(quick, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    fitted = fit_unwarned(quick(), mapped)
    codes = fitted.transform(mapped)
    assert_array_equal(codes, fit_unwarned(quick(), X).transform(X))
    codes.setflags(write=False)
    assert fitted.inverse_transform(codes).shape == X.shape
    fit_unwarned(quick(), mapped, "partial_fit")


@EACH
def test_data_is_not_written_to(quick):
    before, fitted = X.copy(), fit_unwarned(quick(), X)
    codes = fitted.transform(X)
    kept = codes.copy()
    fitted.inverse_transform(codes)
    fitted.score(X)
    assert_array_equal(X, before)
    assert_array_equal(codes, kept)


# --- scale ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "threshold"), [(1e-100, "contribution"), (1e100, "fixed_variance")]
)
def test_any_scale_trains_vaeense_alike(factor, threshold):
    reference, fitted = (
        fit_unwarned(vaeense(threshold=threshold, max_iter=40), samples)
        for samples in (X, factor * X)
    )
    assert reference.active_dimensions(X).any()
    same = fitted.active_dimensions(factor * X) == reference.active_dimensions(X)
    assert same.mean() > 0.99
    assert_allclose(fitted.noise_variance_, factor**2 * reference.noise_variance_, rtol=1e-2)
    shift = fitted.score(factor * X) - reference.score(X)
    assert shift == pytest.approx(-6 * np.log(factor), rel=1e-3)
    reconstruction = fitted.inverse_transform(fitted.transform(factor * X))
    assert np.isfinite(reconstruction).all()


@pytest.mark.parametrize("factor", [1e-100, 1e100])
def test_any_scale_trains_sparse_autoencoders_alike(factor):
    one = fit_unwarned(sparse_autoencoder(), X)
    other = fit_unwarned(sparse_autoencoder(), factor * X)
    same = other.active_dimensions(factor * X) == one.active_dimensions(X)
    assert same.mean() > 0.99
    assert other.score(factor * X) == pytest.approx(one.score(X), abs=1e-3)


@EACH
@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_any_scale_in_single_precision(quick, factor):
    scaled = (factor * X).astype(np.float32)
    same = fit_unwarned(quick(), scaled).active_dimensions(scaled) == fit_unwarned(
        quick(), X
    ).active_dimensions(X)
    assert same.mean() > 0.98


@pytest.mark.parametrize(("factor", "dtype"), [(1e37, np.float32), (1e300, np.float64)])
def test_the_score_of_samples_far_from_the_training_samples(factor, dtype):
    """The squared errors of these samples overflow; the share of variance does not."""
    fitted = fit_unwarned(sparse_autoencoder(), X)
    score = fitted.score((factor * X).astype(dtype))
    assert score == pytest.approx(fitted.score(1e6 * X), abs=1e-3)


@EACH
def test_offset_far_from_the_origin(quick):
    """The mean is subtracted in double precision."""
    moved = fit_unwarned(quick(), X + 1e6)
    same = moved.active_dimensions(X + 1e6) == fit_unwarned(quick(), X).active_dimensions(X)
    assert same.mean() > 0.98


@pytest.mark.parametrize(
    ("factor", "estimator"),
    [(1e-200, VAEenseTransformer()), (1e155, IntrinsicDimensionEstimator())],
)
def test_a_scale_whose_square_is_out_of_range(estimator, factor):
    with pytest.raises(ValueError, match="Multiply X by a constant first"):
        estimator.fit(factor * X)


def test_codes_out_of_range_are_refused_however_near_samples_are():
    """Directions with hardly any variance have gains of any size."""
    fitted = fit_vaeense(X, max_iter=3)
    with torch.no_grad():
        weight = fitted.module_.network.encoder[-1].weight
        weight.copy_(weight / weight.abs().max() * 3e38)
    assert np.isfinite(fitted.transform(X)).all()
    with pytest.raises(ValueError, match="too far from the training samples"):
        fitted.transform(X.astype("f4"))


def test_dimensions_of_samples_far_from_the_training_samples():
    """The result is a dimension, or an error if squares overflow, and is the same at any scale."""
    fitted = IntrinsicDimensionEstimator(random_state=0).fit(X)
    huge = IntrinsicDimensionEstimator(random_state=0).fit(1e140 * X)
    assert_allclose(huge.dimension_pw_, fitted.dimension_pw_)
    assert (fitted.predict(1e100 * X[:5]) > 0).all()
    for ask in (fitted.predict, fitted.reliability, fitted.dimension_scale):
        with pytest.raises(ValueError, match="too far from the training samples"):
            ask(np.vstack([X[:5], 1e200 * X[:5]]))


# --- numbers --------------------------------------------------------------------------------


@EACH
def test_integers_of_numpy_do_not_overflow(quick):
    """Products of small ones with numbers of samples would."""
    params = {"n_components": 200, "batch_size": 250, "max_iter": 2}
    samples = np.tile(X, (3, 1)) + 1e-3 * np.random.default_rng(0).standard_normal((600, 6))
    small = quick(**{name: np.uint8(value) for name, value in params.items()})
    codes = [fit_unwarned(e, samples).transform(X) for e in (small, quick(**params))]
    assert_array_equal(*codes)
    assert {name: getattr(small, name) for name in params} == params
    assert type(small.batch_size) is int


def test_integers_of_numpy_in_parts():
    given = [TopK(np.uint8(3)), Linear((np.uint8(200), np.uint8(200))), Neighbors(np.uint8(200))]
    plain = [TopK(3), Linear((200, 200)), Neighbors(200)]
    samples = np.tile(X, (2, 1)) + 1e-2 * np.random.default_rng(0).standard_normal((400, 6))
    answers = []
    for penalty, network, method in (given, plain):
        sae = fit_unwarned(sparse_autoencoder(penalty, network=network, max_iter=2), X)
        dimension = IntrinsicDimensionEstimator(vaeense(), method=method, random_state=0)
        answers.append([sae.transform(X), fit_unwarned(dimension, samples).dimension_pw_])
    for found, expected in zip(*answers, strict=True):
        assert_array_equal(found, expected)


@pytest.mark.parametrize("n_samples", ["a", True, 2.5, 0, None])
@pytest.mark.parametrize("make", [vaeense, SubspaceMixture, GateDictionary])
def test_numbers_of_draws(make, n_samples):
    estimator = fit_unwarned(make(), X)
    name = type(estimator).__name__
    message = rf"'n_samples' parameter of {name}.sample must be an int in the range \[1, inf\)"
    with pytest.raises(ValueError, match=rf"{message}. Got {n_samples!r} instead"):
        estimator.sample(n_samples)
    drawn = estimator.sample(np.uint8(200), random_state=0)
    assert len(drawn[0] if isinstance(drawn, tuple) else drawn) == 200
