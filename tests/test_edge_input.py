"""Data at the edge of what autoencoders accept. The data that they refuse is in bad_inputs."""

from functools import partial

import numpy as np
import pytest
import strategies
import torch
from helpers import each_once, fit_unwarned, fit_vaeense, has_net
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skvaeense import IntrinsicDimensionEstimator, VAEase, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.dimension import Neighbors
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.networks import Linear
from skvaeense.nets.penalties import BatchTopK, Penalty, TopK

X, _, _ = make_linear_subspaces(200, dims=(1, 2), n_features=6, noise=0.01, random_state=0)
vaeense = partial(strategies.vaeense, n_components=3, max_iter=6)
sparse_autoencoder = partial(strategies.sparse_autoencoder, n_components=3, max_iter=6)
EACH = pytest.mark.parametrize("quick", [vaeense, sparse_autoencoder], ids=["vaeense", "sparse"])
# Values of rows that are all equal.
VALUES = [0.0, 3.0, -0.1, 1e100]
# Penalties of each kind.
EVERY = pytest.mark.parametrize(
    ("quick", "options"),
    [pytest.param(vaeense, {}, id="vaeense")]
    + [
        pytest.param(sparse_autoencoder, {"penalty": name}, id=name)
        for name in ("gated", "log", "matryoshka")
    ],
)


def test_shapes(subtests):
    for samples, params in (
        (X[:, :1], {}),
        (X[:2], {}),
        (X[:30], {"batch_size": 10**4}),
        (X[:10], {"n_components": 50}),
        (X, {"n_components": 1}),
    ):
        for quick in (vaeense, partial(sparse_autoencoder, BatchTopK())):
            with subtests.test(shape=samples.shape, params=params, quick=str(quick)):
                fitted = fit_unwarned(quick(**params), samples)
                codes = fitted.transform(samples)
                assert codes.shape == (len(samples), params.get("n_components", 3))
                assert np.isfinite(fitted.score_samples(samples)).all()


# --- values ---------------------------------------------------------------------------------


@EACH
def test_constant_features(quick):
    """A constant feature is reproduced, even if it is large."""
    with_constants = np.column_stack([X, np.full(200, 1e3), np.zeros(200)])
    fitted = fit_unwarned(quick(max_iter=200), with_constants)
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


def test_equal_rows_are_reconstructed():
    """There is no reason to open a latent, and no warning."""
    equal = np.tile([1.0, -2.0, 1e6], (50, 1))
    trained = {"model": VAEase(n_init=1, max_iter=200)}
    for params in (trained, {}, {"target_l0": 2}, {"model": "gates"}, {"model": "mixture"}):
        fitted = VAEenseTransformer(3, random_state=0, **params).fit(equal)
        restored = fitted.inverse_transform(fitted.transform(equal))
        assert_allclose(restored, equal, rtol=1e-2, atol=0.05)


@EVERY
def test_equal_rows_then_others(quick, options):
    """After a first batch without variance, a stream can still learn, in its own scale."""
    with pytest.warns(ConvergenceWarning, match="All samples of the first batch are equal"):
        estimator = quick(**options).partial_fit(np.full((50, 6), 3.0))
    for _ in range(3):
        estimator.partial_fit(X)
    assert np.isfinite(estimator.score(X))


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
    ("dtype", "quick"),
    each_once([np.float16, np.int8, np.int64, bool], [vaeense, sparse_autoencoder]),
)
def test_other_dtypes_become_float64(quick, dtype):
    values = (10 * np.abs(X)).astype(dtype)
    fitted, reference = fit_unwarned(quick(), values), fit_unwarned(quick(), values.astype(float))
    assert fitted.transform(values).dtype == np.float64
    assert_array_equal(fitted.transform(values), reference.transform(values.astype(float)))


@EACH
def test_containers(quick, tmp_path):
    before, fitted = X.copy(), fit_unwarned(quick(), X)
    codes = fitted.transform(X)
    kept = codes.copy()
    codes.setflags(write=False)
    fitted.inverse_transform(codes)
    fitted.score(X)
    assert_array_equal(X, before)
    assert_array_equal(codes, kept)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for same in (X.astype(object), X.tolist(), mapped):
        assert_array_equal(fit_unwarned(quick(), same).transform(same), codes)
    fit_unwarned(quick(), mapped, "partial_fit")
    for layout in strategies.LAYOUTS.values():
        view = layout(X)
        assert_allclose(fit_unwarned(quick(), view).transform(view), codes, rtol=1e-4, atol=1e-6)


# --- scale ----------------------------------------------------------------------------------


@EACH
def test_any_scale_trains_alike(quick, subtests):
    """The mean is subtracted in double precision."""
    one = fit_unwarned(quick(max_iter=20), X)
    active = one.active_dimensions(X)
    assert active.any()
    is_density = hasattr(one, "noise_variance_")
    for factor, offset, dtype in (
        (1e-100, 0, "float64"),
        (1e100, 0, "float64"),
        (1e-30, 0, "float32"),
        (1e30, 0, "float32"),
        (1, 1e6, "float64"),
    ):
        with subtests.test(factor=factor, offset=offset, dtype=dtype):
            samples = (factor * X + offset).astype(dtype)
            other = fit_unwarned(quick(max_iter=20), samples)
            assert (other.active_dimensions(samples) == active).mean() > 0.98
            shift = -6 * np.log(factor) if is_density else 0.0
            assert other.score(samples) == pytest.approx(one.score(X) + shift, rel=1e-3, abs=1e-3)
            assert np.isfinite(other.inverse_transform(other.transform(samples))).all()
            if is_density:
                noise = factor**2 * one.noise_variance_
                assert other.noise_variance_ == pytest.approx(noise, rel=1e-2)


@pytest.mark.parametrize(("factor", "dtype"), [(1e37, np.float32), (1e300, np.float64)])
def test_the_score_of_samples_far_from_the_training_samples(factor, dtype):
    """The squared errors of these samples overflow; the share of variance does not."""
    fitted = fit_unwarned(sparse_autoencoder(), X)
    score = fitted.score((factor * X).astype(dtype))
    assert score == pytest.approx(fitted.score(1e6 * X), abs=1e-3)


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
    found = small.get_params()
    found |= small.model.get_params() if has_net(small) else {}
    assert {name: found[name] for name in params} == params
    assert type(found["batch_size"]) is int


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


@pytest.mark.parametrize("make", [vaeense, SubspaceMixture, GateDictionary])
def test_numbers_of_draws(make):
    estimator = fit_unwarned(make(), X)
    for n_samples in ("a", True, 2.5, None):
        with pytest.raises(TypeError, match=f"n_samples must be an int, got {n_samples!r} of type"):
            estimator.sample(n_samples)
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        estimator.sample(0)
    drawn = estimator.sample(np.uint8(200), random_state=0)
    assert len(drawn[0] if isinstance(drawn, tuple) else drawn) == 200
