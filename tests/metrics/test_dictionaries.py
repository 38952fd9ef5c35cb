"""Similarity of dictionaries, and sparse probes of labels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit

from skvaeense.metrics import mean_max_cosine_similarity, sparse_probing
from skvaeense.metrics._metrics import mean_excess

RNG = np.random.default_rng(0)
N = 600
SIGNED = [False, True]


@pytest.fixture
def dictionaries():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 5)), rng.normal(size=(11, 5))


def _brute_force(true, learned, signed):
    """Return the mean of the largest similarities, one pair of atoms at a time."""
    best = []
    for a in true:
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in learned]
        best.append(max(cosines if signed else map(abs, cosines)))
    return np.mean(best)


def test_by_hand():
    true = [[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]]
    learned = [[-1.0, 0.0], [3.0, 3.0]]
    diagonal = np.sqrt(0.5)
    expected = (1.0 + diagonal + 7 * diagonal / 5) / 3
    assert mean_max_cosine_similarity(true, learned) == pytest.approx(expected)
    expected = (diagonal + diagonal + 7 * diagonal / 5) / 3
    assert mean_max_cosine_similarity(true, learned, signed=True) == pytest.approx(expected)


def test_equals_brute_force(dictionaries, subtests):
    for n_learned in (1, 11):
        for signed in SIGNED:
            with subtests.test(signed=signed, n_learned=n_learned):
                true, learned = dictionaries[0], dictionaries[1][:n_learned]
                value = mean_max_cosine_similarity(true, learned, signed=signed)
                assert value == pytest.approx(_brute_force(true, learned, signed))


def test_large_dictionaries_are_compared_in_blocks(dictionaries, monkeypatch):
    value = mean_max_cosine_similarity(*dictionaries)
    monkeypatch.setattr("skvaeense.utils._rows.BLOCK_ENTRIES", 22)
    assert mean_max_cosine_similarity(*dictionaries) == pytest.approx(value)


def test_signs_matter_only_where_asked(dictionaries):
    true, learned = dictionaries
    flipped = learned * np.where(np.arange(11) % 2, -1.0, 1.0)[:, np.newaxis]
    value = mean_max_cosine_similarity(true, learned)
    assert mean_max_cosine_similarity(true, flipped) == pytest.approx(value)
    assert mean_max_cosine_similarity([[1.0, 0.0]], [[-2.0, 0.0]]) == 1.0
    assert mean_max_cosine_similarity([[1.0, 0.0]], [[-2.0, 0.0]], signed=True) == -1.0


def test_value_stays_within_its_range():
    # Without clipping, rounding takes some of these values above 1.
    for seed in range(20):
        atoms = np.random.default_rng(seed).normal(size=(1, 7))
        assert 1.0 - 1e-15 <= mean_max_cosine_similarity(atoms, 3 * atoms) <= 1.0


def test_learned_atoms_of_zero_are_like_none(dictionaries):
    true, learned = dictionaries
    zeros = np.zeros((2, 5))
    with_zeros = np.concatenate([learned, zeros])
    value = mean_max_cosine_similarity(true, learned)
    assert mean_max_cosine_similarity(true, with_zeros) == pytest.approx(value)
    assert mean_max_cosine_similarity(true, zeros) == 0.0
    # A similarity of 0 is larger than a negative one.
    opposite = [[-1.0, 0.0], [0.0, 0.0]]
    assert mean_max_cosine_similarity([[1.0, 0.0]], opposite, signed=True) == 0.0


def test_float32_and_lists(dictionaries, subtests):
    for signed in SIGNED:
        with subtests.test(signed=signed):
            true, learned = (atoms.astype(np.float32) for atoms in dictionaries)
            expected = mean_max_cosine_similarity(
                true.astype(np.float64), learned.astype(np.float64), signed=signed
            )
            assert mean_max_cosine_similarity(true, learned, signed=signed) == expected
            lists = true.tolist(), learned.tolist()
            value = mean_max_cosine_similarity(*lists, signed=np.bool_(signed))
            assert type(value) is float
            assert value == expected


def test_bad_atoms(subtests):
    for true, learned, match in (
        (np.eye(3), np.ones((3, 2)), r"same number of columns, got shapes \(3, 3\) and \(3, 2\)"),
        ([[1, 0], [0, 0]], np.eye(2), r"atoms_true has norm 0 in 1 of its 2 row\(s\): .* drop"),
        (np.eye(2), [[np.nan, 0.0]], "Input atoms_learned contains NaN"),
        ([[np.inf, 0.0]], np.eye(2), "Input atoms_true contains infinity"),
        (np.eye(2), np.zeros((0, 2)), "0 sample"),
        ([1.0, 0.0], np.eye(2), "Expected 2D array"),
    ):
        with subtests.test(match=match), pytest.raises(ValueError, match=match):
            mean_max_cosine_similarity(true, learned)
    with pytest.raises(TypeError, match="'signed' parameter"):
        mean_max_cosine_similarity(np.eye(2), np.eye(2), signed=1)


def halves(codes, y):
    return codes[: N // 2], y[: N // 2], codes[N // 2 :], y[N // 2 :]


def with_noise(*columns):
    """Return codes with these columns among thirty uninformative latents."""
    noise = np.where(RNG.uniform(size=(N, 30)) < 0.2, RNG.exponential(size=(N, 30)), 0)
    return np.column_stack([noise, *columns])


def test_a_label_of_two_latents_needs_two():
    a, b = RNG.uniform(size=(2, N)) < 0.3
    scores = sparse_probing(*halves(with_noise(a, b), a | b), k=(1, 2))
    assert 0.7 < scores[0] < 0.9
    assert scores[1] == 1


def test_one_latent_that_is_the_label():
    y = RNG.integers(2, size=N)
    codes = with_noise(y * RNG.uniform(1, 2, N))
    assert_allclose(sparse_probing(*halves(codes, y)), [1.0, 1.0])
    # Latents are chosen whatever their size, and by their silence too.
    sizes = 10.0 ** RNG.uniform(-4, 4, codes.shape[1])
    assert_allclose(sparse_probing(*halves(codes * sizes, y), k=1), 1)
    assert_allclose(sparse_probing(*halves(with_noise(1.0 - y), y), k=1), 1)
    assert_allclose(sparse_probing(*halves(with_noise(), y)), 0.5, atol=0.08)


def test_excess_is_in_units_of_the_mean_where_a_latent_is_active():
    codes = np.array([[2, 0, 3, 0], [4, 0, 0, 0], [0, 1, 0, 0], [6, 0, 0, 0], [0, 0, 0, 0]])
    is_one = np.array([True, True, False, False, False])
    expected = [(3 - 2) / 4, (0 - 1 / 3) / 1, (1.5 - 0) / 3, 0]
    for kind in (np.asarray, np.float32, sparse.csr_array):
        assert_allclose(mean_excess(kind(codes), is_one), expected)


def test_the_penalty_is_chosen_in_a_fifth_of_the_samples(subtests):
    """With at least five samples of each class; with fewer, it is the default."""
    rng = np.random.default_rng(1)
    for n_ones in (4, 5, 40):
        with subtests.test(n_ones=n_ones):
            y = np.arange(2 * N) % N < n_ones
            codes = rng.normal(size=(2 * N, 12)) * 10.0 ** np.arange(-6, 6) + y[:, None]
            train, y_train, test, y_test = codes[:N], y[:N], codes[N:], y[N:]
            best = np.argsort(-np.abs(mean_excess(train, y_train)))[:5]
            largest = np.abs(train[:, best]).max(axis=0)
            probe = LogisticRegression(class_weight="balanced", max_iter=1000)
            if n_ones >= 5:
                split = StratifiedShuffleSplit(1, test_size=0.2, random_state=0)
                penalties = {"C": np.logspace(5, -5, 10)}
                probe = GridSearchCV(probe, penalties, scoring="roc_auc", cv=split)
            probe.fit(train[:, best] / largest, y_train)
            expected = balanced_accuracy_score(y_test, probe.predict(test[:, best] / largest))
            assert sparse_probing(train, y_train, test, y_test, k=5) == pytest.approx(expected)


def test_classes_weigh_equally():
    """A probe of a rare label that always answers no is nearly always right, but useless."""
    y = RNG.uniform(size=N) < 0.05
    flips = RNG.uniform(size=N) < 0.1
    codes = with_noise((y ^ flips).astype(float))
    (score,) = sparse_probing(*halves(codes, y), k=1)
    assert 0.7 < score < 1
    train, y_train, test, y_test = halves(codes[:, -1:], y)
    probe = LogisticRegression(class_weight="balanced").fit(train, y_train)
    assert score == pytest.approx(balanced_accuracy_score(y_test, probe.predict(test)))


def test_several_classes_are_told_from_the_others():
    y = RNG.integers(3, size=N)
    codes = with_noise(y == 0, y == 1)
    # Both latents are inactive for the third class, which one latent can detect only in part.
    one, two = sparse_probing(*halves(codes, y), k=(1, 2))
    assert 0.85 < one < 1
    assert two == 1
    # Each class has a probe, and the score is their mean.
    train, y_train, test, y_test = halves(codes, y)
    each = [sparse_probing(train, y_train == c, test, y_test == c, k=1) for c in range(3)]
    assert one == pytest.approx(np.mean(each))
    assert min(each) < max(each)


def test_sparse_codes_and_names_of_classes():
    y = np.array(["no", "yes"])[RNG.integers(2, size=N)]
    codes = with_noise((y == "yes") * RNG.uniform(0.1, 1, N))
    train, y_train, test, y_test = halves(codes, y)
    dense = sparse_probing(train, y_train, test, y_test, k=3)
    given = sparse.csr_array(train), y_train, sparse.csr_array(test), y_test
    assert_allclose(sparse_probing(*given, k=3), dense)


def test_more_latents_than_there_are():
    y = RNG.integers(2, size=N)
    codes = y[:, None] + 0.0
    assert_allclose(sparse_probing(*halves(codes, y), k=[1, 100]), 1)


def test_two_samples_of_each_class_are_enough():
    for n_each in (2, 3):
        y = np.repeat([0, 1], n_each)
        codes = np.column_stack([y, 1 - y]).astype(float)
        assert_allclose(sparse_probing(codes, y, codes, y, k=1), 1)


def test_bad_input(subtests):
    for y, y_test, k, match in (
        ([0, 0, 0, 0], [0, 0], 1, "^At least two classes"),
        ([0, 0, 0, 1], [0, 1], 1, "At least two classes"),
        ([0, 0, 1, 1], [0, 0], 1, "At least two classes"),
        ([0, 0, 1, 1], [0, 1], 0, "The 'k' parameter of sparse_probing must be an int"),
        ([0, 0, 1, 1], [0, 1], [], "or a list such as"),
        ([0, 0, 1], [0, 1], 1, "inconsistent numbers"),
    ):
        with subtests.test(match=match), pytest.raises(ValueError, match=match):
            sparse_probing(np.eye(4), y, np.eye(4)[:2], y_test, k=k)
    with pytest.raises(ValueError, match="4 and 3 latents"):
        sparse_probing(np.eye(4), [0, 0, 1, 1], np.eye(3), [0, 1, 1])
    for name, sets in (("codes", ([[np.nan]], [[0]])), ("codes_test", ([[0]], [[np.nan]]))):
        with pytest.raises(ValueError, match=f"Input {name} contains NaN"):
            sparse_probing(sets[0], [0], sets[1], [0])
