"""Comparisons of dictionaries of several fits with each other, and with random dictionaries."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvaeense.language import dictionary_stability
from skvaeense.metrics import mean_max_cosine_similarity

RNG = np.random.default_rng(0)
ATOMS = RNG.standard_normal((12, 8))
OTHERS = RNG.standard_normal((9, 8))


def test_equal_dictionaries_in_another_order_scale_and_sign():
    again = -3 * ATOMS[::-1]
    result = dictionary_stability([ATOMS, again])
    for name in ("similarity", "matched_similarity"):
        assert_allclose(result[name], np.ones((2, 2)))
    assert_allclose(result.atom_similarity, np.ones((2, 12)))
    assert (result.random_matched_similarity < 0.9).all()
    assert dictionary_stability([ATOMS, again], signed=True).similarity[0, 1] < 0.9


def test_random_dictionaries_are_no_more_alike_than_chance():
    dictionaries = [RNG.standard_normal((200, 10)) for _ in range(3)]
    result = dictionary_stability(dictionaries)
    off = ~np.eye(3, dtype=bool)
    assert_allclose(result.similarity[off].mean(), result.random_similarity.mean(), atol=0.02)
    assert_allclose(
        result.matched_similarity[off].mean(), result.random_matched_similarity.mean(), atol=0.02
    )


def test_unused_atoms_are_left_out():
    with_unused = np.vstack([ATOMS, np.zeros(8)])
    result, expected = (dictionary_stability([atoms, OTHERS]) for atoms in (with_unused, ATOMS))
    assert_allclose(result.similarity, expected.similarity)
    for values in (result.atom_similarity[0], result.atom_probability[0]):
        assert np.isnan(values).tolist() == [False] * 12 + [True]
    assert_allclose(expected.similarity[0, 1], mean_max_cosine_similarity(ATOMS, OTHERS))
    assert_allclose(expected.similarity[1, 0], mean_max_cosine_similarity(OTHERS, ATOMS))
    assert_allclose(expected.matched_similarity, expected.matched_similarity.T)
    assert expected.matched_similarity[1, 0] <= expected.similarity[1, 0]
    assert_allclose(expected.atom_similarity[0].mean(), expected.similarity[0, 1])


def test_atoms_of_any_size():
    sizes = 10.0 ** np.linspace(-300, 300, len(ATOMS))[:, None]
    result, expected = (dictionary_stability([atoms, OTHERS]) for atoms in (sizes * ATOMS, ATOMS))
    for name in ("similarity", "matched_similarity", "random_similarity"):
        assert_allclose(result[name], expected[name])


def test_fitted_estimators():
    X = RNG.standard_normal((50, 8))
    pca = PCA(3).fit(X)
    pipeline = make_pipeline(StandardScaler(with_std=False), PCA(3)).fit(X)
    assert_allclose(dictionary_stability([pca, pipeline]).matched_similarity, np.ones((2, 2)))


def planted(seed, noise=0.05):
    """Return a dictionary with ten of twenty features, and ten random directions."""
    features = np.random.default_rng(7).standard_normal((20, 16))
    rng = np.random.default_rng(seed)
    found = features[:10] + noise * rng.standard_normal((10, 16))
    return np.vstack([found, rng.standard_normal((10, 16))])


def test_atoms_that_are_found_again_are_probably_features():
    result = dictionary_stability([planted(seed) for seed in range(3)], signed=True)
    for probability in result.atom_probability:
        assert (probability[:10] > 0.9).all()
        assert (probability[10:] < 0.5).all()


def test_probabilities_rise_with_the_similarity_and_fall_with_chance():
    means = [
        np.mean(
            dictionary_stability([planted(s, noise) for s in range(2)]).atom_probability[0][:10]
        )
        for noise in (0.0, 0.3, 0.6, 1.2)
    ]
    assert means[0] == pytest.approx(1)
    assert np.all(np.diff(means) < 0)
    # In two dimensions, any atom has a similar atom by chance.
    crowded = dictionary_stability([RNG.standard_normal((200, 2)) for _ in range(2)])
    assert np.mean(crowded.atom_probability[0]) < 0.6
    assert np.min(crowded.atom_similarity[0]) > 0.99


def test_the_odds_are_those_that_are_promised():
    result = dictionary_stability([ATOMS, OTHERS], n_random=50)
    s, p = result.atom_similarity[0], result.atom_probability[0]
    # The similarity to random atoms differs slightly between atoms.
    r = result.random_similarity[0]
    odds = 0.4 * np.maximum(s - r, 0) / (1 - s)
    assert_allclose(p, odds / (1 + odds), atol=0.15)


def test_bad_dictionaries(subtests):
    for dictionaries, match in (
        ([ATOMS], "At least two dictionaries .* got 1 with"),
        ([ATOMS, ATOMS[:, :5]], r"the same number of features .* got 2 with \[5, 8\] features"),
        ([ATOMS, np.zeros((2, 8))], "All atoms of a dictionary are 0"),
        ([ATOMS, ATOMS[0]], "Expected 2D array, got 1D array"),
    ):
        with subtests.test(match=match), pytest.raises(ValueError, match=match):
            dictionary_stability(dictionaries)


def test_one_estimator_and_no_random_dictionaries():
    with pytest.raises(
        TypeError, match="dictionaries must be a list of at least two dictionaries, got PCA"
    ):
        dictionary_stability(PCA(3).fit(ATOMS))
    for n_random, error in ((0, ValueError), (2.0, TypeError)):
        with pytest.raises(error, match="n_random must be"):
            dictionary_stability([ATOMS, OTHERS], n_random=n_random)
