"""Mixtures of codes, for nonlinear decoders."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.mixture import MixtureDensity
from skvaeense.priors import CodedSamples, CodeMixture, StandardNormal


def make_codes():
    factors = np.zeros((2, 3, 2))
    factors[0, :2] = [[2.0, 0.5], [0.0, 1.0]]
    factors[1, 2, 0] = 0.5
    means = np.array([[0.0, 1.0, 0.0], [4.0, 0.0, -1.0]])
    return CodeMixture(np.array([0.75, 0.25]), means, factors, np.array([0.1, 0.2]))


def test_draws_have_its_moments():
    codes = make_codes()
    assert_array_equal(codes.ranks, [2, 1])
    e, labels = codes.sample(20_000, np.random.RandomState(0))
    assert_allclose(np.bincount(labels) / len(e), codes.weights, atol=0.02)
    for c in range(2):
        own, S = e[labels == c], codes.factors[c]
        assert_allclose(own.mean(axis=0), codes.means[c], atol=0.06)
        assert_allclose(np.cov(own.T), S @ S.T, atol=0.12)


def test_it_undoes_the_scale_and_leaves_out_the_noise():
    scale = np.array([2.0, 0.1])
    density = MixtureDensity(
        center=np.array([1.0, 0.0]),
        basis=np.eye(2),
        weights=np.ones(1),
        means=np.array([[1.0, 3.0]]),
        directions=np.eye(2)[None],
        variances=np.array([[5.0, 0.5]]),
        noise_variances=np.array([0.5]),
    )
    codes = CodeMixture.of(density, scale, 0.5)
    assert_allclose(codes.means, [[1.0, 30.0]])
    covariance = codes.factors[0] @ codes.factors[0].T
    assert_allclose(covariance, np.diag([4.5 / 4, 0.0]))
    assert_allclose(codes.noise_variances, 0.5)
    # The result does not depend on the units of the fit.
    unit = np.array([2.0, 4.0])
    other = replace(
        density,
        means=density.means / unit,
        variances=np.array([[5.0 / 4, 0.5 / 16]]),
        noise_variances=np.array([0.01]),
        scale=unit,
    )
    again = CodeMixture.of(other, scale, 0.5)
    assert_allclose(again.factors[0] @ again.factors[0].T, covariance)
    assert_allclose(again.means, codes.means)


def test_of_a_standard_normal_it_is_standard_normal():
    x, scale = np.zeros((1, 2)), np.array([3.0, 0.2])
    samples = CodedSamples(x, np.diag(scale), np.zeros(2), 0.3, np.ones(2, dtype=bool))
    codes = CodeMixture.of(StandardNormal().density(samples), scale, 0.3)
    assert_allclose(codes.factors[0] @ codes.factors[0].T, np.eye(2), atol=1e-12)
    assert_allclose(codes.means, 0)


def test_damage_is_found(subtests):
    for name, value, message in (
        ("weights", np.array([0.5, 0.4]), "sum to 1"),
        ("means", np.zeros((2, 4)), "means must be finite and of shape"),
        ("factors", np.full((2, 3, 2), np.nan), "factors must be finite"),
        ("noise_variances", np.array([0.1, 0.0]), "noise_variances must be above 0"),
    ):
        with subtests.test(name=name):
            codes = make_codes()
            codes.check(3)
            with pytest.raises(ValueError, match=message):
                CodeMixture(**vars(codes) | {name: value}).check(3)
