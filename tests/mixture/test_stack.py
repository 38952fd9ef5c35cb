"""Averages of the mixtures that a search has tried."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris, load_wine

from skvaeense.mixture import SubspaceMixture
from skvaeense.mixture import _fit as mixture_fit
from skvaeense.mixture import _stack as mixture_stack
from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._stack import Normals, _owners, stack

RNG = np.random.default_rng(0)
BASES = RNG.normal(size=(6, 4, 4)) / 2
SIX = Normals(
    np.arange(1.0, 7.0) / 21, RNG.normal(size=(6, 4)), BASES @ BASES.transpose(0, 2, 1) + np.eye(4)
)


def test_held_out_rows_weigh_densities():
    x = RNG.normal(size=4000) * np.where(RNG.uniform(size=4000) < 0.75, 1.0, 4.0)
    scores = np.array([multivariate_normal(0, s**2).logpdf(x) for s in (1.0, 4.0, 30.0)])
    weights, mean = stack(scores)
    assert_allclose(weights, [0.75, 0.25, 0], atol=0.05)
    assert mean > scores.mean(axis=1).max() + 0.1
    assert_array_equal(stack(scores[[0, 2]])[0].round(), [1, 0])


def test_pairs_of_components_keep_their_moments():
    i, j = np.array([0, 3]), np.array([2, 5])
    joined = SIX.joined(i, j)
    assert_allclose(joined.weights, SIX.weights[i] + SIX.weights[j])
    for c, pair in enumerate(zip(i, j, strict=True)):
        own = SIX.weights[list(pair)]
        means = SIX.means[list(pair)]
        assert_allclose(joined.means[c], own @ means / own.sum())
        second = np.einsum("k,kpq->pq", own, SIX.covariances[list(pair)])
        second += np.einsum("k,kp,kq->pq", own, means, means)
        expected = second / own.sum() - np.outer(joined.means[c], joined.means[c])
        assert_allclose(joined.covariances[c], expected)


def test_components_that_are_alike_merge_first():
    six = SIX._replace(means=10 * SIX.means)
    twice = Normals(*(np.concatenate([values, values]) for values in six))
    shares = np.tile(np.repeat(np.eye(6), 5, axis=0), 2)
    for _ in range(2):
        twice, shares = twice.fewer(shares)
    assert len(twice.weights) == 6
    order = np.argsort(twice.weights)
    assert_allclose(twice.weights[order], 2 * six.weights)
    assert_allclose(twice.means[order], six.means)
    assert_allclose(twice.covariances[order], six.covariances)
    assert_allclose(shares.sum(axis=1), 2)


def test_each_part_owns_a_component():
    shared = np.array([[5.0, 4, 0], [6, 0, 1], [0, 0, 9], [7, 1, 2]])
    assert_array_equal(_owners(shared), [1, 0, 2, 0])


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_the_average_is_better_than_the_best_mixture(load, monkeypatch):
    X = np.random.default_rng(0).permutation(load().data)
    n, gains = len(X) * 2 // 3, []
    for seed in range(3):
        found = SubspaceMixture(random_state=seed).fit(X[:n])
        with monkeypatch.context() as patch:
            patch.setattr(mixture_fit, "averaged", lambda *given: (given[2], 0.0))
            single = SubspaceMixture(random_state=seed).fit(X[:n])
        gains.append(found.score(X[n:]) - single.score(X[n:]))
        assert_array_equal(found.ranks_, single.ranks_)
        assert_allclose(found.means_, single.means_)
    assert np.mean(gains) > 0.02
    assert min(gains) > -0.05


def test_the_average_has_the_parts_of_the_best_mixture():
    X = load_wine().data
    found = SubspaceMixture(random_state=0).fit(X)
    density = found.density_
    assert len(density) > found.n_components_ > 1
    assert_array_equal(np.unique(density.owners), np.arange(found.n_components_))
    assert_array_equal(density.part_ranks, found.ranks_)
    joint = density.log_joint_of_parts(X)
    assert joint.shape == (len(X), found.n_components_)
    assert_allclose(
        np.logaddexp.reduce(joint, axis=1), np.logaddexp.reduce(density.log_joint(X), axis=1)
    )
    shares = found.predict_proba(X)
    assert_allclose(shares.sum(axis=1), 1)
    assert_allclose(shares.mean(axis=0), found.weights_, atol=0.15)
    drawn, labels = found.sample(500, random_state=0)
    assert (found.predict(drawn) == labels).mean() > 0.7
    with pytest.raises(ValueError, match="each part must have a component"):
        MixtureDensity.from_arrays(density.arrays() | {"owners": density.owners + 1})


def test_the_best_mixture_stays_if_an_average_has_fewer_components_than_parts(monkeypatch):
    def only_the_first(scores):
        return np.eye(len(scores))[0], 0.0

    monkeypatch.setattr(mixture_stack, "stack", only_the_first)
    found = SubspaceMixture(random_state=0).fit(load_wine().data)
    assert len(found.density_) == found.n_components_ > 3
    assert found.density_.owners is None


def test_given_numbers_flat_parts_and_holes_are_not_averaged():
    X = load_wine().data
    assert SubspaceMixture(3, random_state=0).fit(X).density_.owners is None
    X[::7, 2] = np.nan
    assert SubspaceMixture(random_state=0).fit(X).density_.owners is None
