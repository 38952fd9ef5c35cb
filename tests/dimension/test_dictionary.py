import numpy as np
import pytest

from skvaeense.datasets import make_sparse_dictionary
from skvaeense.dimension._dictionary import MAX_SUPPORT, Dictionary, refine
from skvaeense.metrics import dimension_error, mean_max_cosine_similarity


def make_problem(noise=0.0, n_samples=3000, n_active=3):
    X, _, _, atoms = make_sparse_dictionary(
        n_samples,
        n_atoms=12,
        n_active=n_active,
        n_features=20,
        noise=noise,
        return_atoms=True,
        random_state=0,
    )
    return X, X @ np.linalg.pinv(atoms), atoms


def roughly(codes, seed=0):
    """Return the supports of a rough encoder, which misses small coefficients and invents some."""
    random_state = np.random.default_rng(seed)
    return (np.abs(codes) > 0.3) | (random_state.random(codes.shape) < 0.03)


def shaken(atoms, by=0.05, seed=1):
    return atoms + by * np.random.default_rng(seed).standard_normal(atoms.shape)


def test_finds_atoms_and_counts_from_near_them():
    X, codes, atoms = make_problem()
    support = roughly(codes)
    dictionary = Dictionary(shaken(atoms), np.zeros(20)).fit(X, support)
    assert mean_max_cosine_similarity(atoms, dictionary.atoms) > 0.99999
    assert dimension_error(np.full(3000, 3), support.sum(axis=1)) > 0.5
    assert dimension_error(np.full(3000, 3), dictionary.count(X, support)[0]) < 0.01


def test_noise_variance_and_counts_with_noise():
    X, codes, atoms = make_problem(noise=0.05)
    clean, *_ = make_problem()
    support = roughly(codes)
    dictionary = Dictionary(shaken(atoms), np.zeros(20)).fit(X, support)
    assert dictionary.noise_variance == pytest.approx(np.square(X - clean).mean(), rel=0.2)
    assert dimension_error(np.full(3000, 3), dictionary.count(X, support)[0]) < 0.05


def test_standard_errors_are_those_of_counts():
    """Sizes differ, so a coefficient lost in the noise looks like a coefficient that is 0."""
    X, codes, atoms = make_problem(n_samples=6000, n_active=(1, 2, 3, 4, 5, 6))
    X += 0.1 * X.std() * np.random.default_rng(1).standard_normal(X.shape)
    true = (np.abs(codes) > 1e-9).sum(axis=1)
    dictionary = Dictionary(atoms, np.zeros(20)).fit(X[:3000], roughly(codes)[:3000])
    counts, std = dictionary.count(X[3000:], roughly(codes)[3000:])
    squares = np.square(counts - true[3000:])
    assert squares.mean() == pytest.approx(np.square(std).mean(), rel=0.5)
    sure = std < np.quantile(std, 0.3)
    assert squares[sure].mean() < 0.5 * squares.mean()


def test_latents_that_are_never_active_do_not_fit_noise():
    X, codes, atoms = make_problem(noise=0.05)
    clean, *_ = make_problem()
    spare = 0.02 * np.random.default_rng(2).standard_normal((6, 20))
    support = np.column_stack([roughly(codes), np.zeros((3000, 6), dtype=bool)])
    dictionary = Dictionary(np.vstack([shaken(atoms), spare]), np.zeros(20)).fit(X, support)
    assert dictionary.noise_variance == pytest.approx(np.square(X - clean).mean(), rel=0.1)
    assert dimension_error(np.full(3000, 3), dictionary.count(X, support)[0]) < 0.05


def test_few_samples_off_all_atoms_do_not_hide_the_noise():
    X, codes, atoms = make_problem(noise=0.05)
    clean, *_ = make_problem()
    noise_variance = np.square(X - clean).mean()
    X[:30] += 0.5 * np.random.default_rng(2).standard_normal((30, 20))
    dictionary = Dictionary(atoms, np.zeros(20)).fit(X, roughly(codes))
    # The mean over all samples is more than seven times as large.
    assert dictionary.noise_variance == pytest.approx(noise_variance, rel=0.5)


def test_offset_is_found():
    X, codes, atoms = make_problem()
    offset = np.linspace(-1, 1, 20)
    dictionary = Dictionary(shaken(atoms), offset + 0.02).fit(X + offset, roughly(codes))
    np.testing.assert_allclose(dictionary.offset, offset, atol=1e-3)


def test_unseen_samples():
    X, codes, atoms = make_problem()
    support = roughly(codes)
    dictionary = Dictionary(shaken(atoms), np.zeros(20)).fit(X[:2000], support[:2000])
    counts = dictionary.count(X[2000:], support[2000:])[0]
    assert dimension_error(np.full(1000, 3), counts) < 0.01
    alone = [dictionary.count(X[i : i + 1], support[i : i + 1])[0][0] for i in range(2000, 2020)]
    np.testing.assert_array_equal(alone, counts[:20])


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_units_do_not_matter(factor):
    X, codes, atoms = make_problem(noise=0.02, n_samples=500)
    support = roughly(codes)
    counts = [
        Dictionary(f * shaken(atoms), np.zeros(20)).fit(f * X, support).count(f * X, support)[0]
        for f in (1.0, factor)
    ]
    assert (counts[0] == counts[1]).mean() > 0.99


def test_large_supports_are_left_alone():
    n = MAX_SUPPORT + 10
    X = np.random.default_rng(0).standard_normal((30, n))
    dictionary = Dictionary(np.eye(n), np.zeros(n)).fit(X, np.ones((30, n), dtype=bool))
    assert dictionary.noise_variance == np.inf
    counts, std = dictionary.count(X, np.ones((30, n), dtype=bool))
    assert (counts == n).all()
    assert np.isnan(std).all()


def test_latents_that_are_never_active_stay():
    X, codes, atoms = make_problem()
    spare = np.ones((1, 20))
    support = np.column_stack([roughly(codes), np.zeros(3000, dtype=bool)])
    dictionary = Dictionary(np.vstack([shaken(atoms), spare]), np.zeros(20)).fit(X, support)
    assert np.isfinite(dictionary.atoms).all()
    assert dimension_error(np.full(3000, 3), dictionary.count(X, support)[0]) < 0.02


def test_atoms_of_a_subspace_are_left_together():
    """These atoms are always active together, and no direction of the subspace stands out."""
    random_state = np.random.default_rng(0)
    codes = np.zeros((2000, 4))
    codes[:1000, :2] = random_state.standard_normal((1000, 2)) @ [[10.0, 3.0], [0.0, 0.5]]
    codes[1000:, 2:] = random_state.standard_normal((1000, 2))
    atoms = np.linalg.qr(random_state.standard_normal((9, 4)))[0].T
    order = random_state.permutation(2000)
    X, support = (codes @ atoms)[order], (codes != 0)[order]
    dictionary = Dictionary(atoms, np.zeros(9)).fit(X, support)
    np.testing.assert_allclose(dictionary.atoms, atoms, atol=1e-4)
    assert (dictionary.count(X, support)[0] == 2).mean() > 0.99


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_independent_directions_undo_a_turn(noise):
    """Every sample needs all of the turned atoms, and only few of the true atoms."""
    X, _, atoms = make_problem(noise=noise)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((12, 12)))[0]
    turned, offset = turn @ atoms, np.full(20, 0.5)
    codes = X @ np.linalg.pinv(turned)
    dictionary = Dictionary.independent(X + offset, codes, turned, offset)
    assert mean_max_cosine_similarity(atoms, dictionary.atoms) > 0.99
    assert dictionary.turned
    counts = dictionary.count(X + offset, dictionary.support(X + offset))[0]
    assert dimension_error(np.full(3000, 3), counts) < 0.02
    described, points = dictionary.describe(X + offset, np.zeros((3000, 12), dtype=bool))
    # If the distribution of sizes is unknown, small coefficients are lost in the noise.
    assert dimension_error(counts, described.sum(axis=1)) < (0.02 if noise == 0 else 0.25)
    assert np.square(points - X - offset).mean() < 1e-6 + 1.1 * np.square(noise * X.std())


def test_a_normal_distribution_has_no_independent_directions_to_prefer():
    X = np.random.default_rng(0).standard_normal((3000, 4)) @ np.eye(4, 9)
    dictionary = Dictionary.independent(X, X[:, :4], np.eye(4, 9), np.zeros(9))
    if dictionary is not None:
        assert dictionary.count(X, dictionary.support(X))[0].mean() > 3.95


def test_codes_that_do_not_vary_have_no_independent_directions():
    X = np.random.default_rng(0).normal(size=(30, 5))
    equal, dependent = np.ones((30, 2)), np.repeat(X[:, :1], 2, axis=1)
    for codes in (equal, dependent):
        assert Dictionary.independent(X, codes, np.eye(2, 5), np.zeros(5)) is None


def test_refining_takes_the_dictionary_that_needs_fewest_atoms():
    X, codes, atoms = make_problem()
    support, offset = roughly(codes), np.zeros(20)
    near = refine(X, support, codes * support, shaken(atoms), offset, error=0.1)
    assert not near.turned
    assert dimension_error(np.full(3000, 3), near.count(X, support)[0]) < 0.01
    # The dictionary is much more precise than the codes, and so are its supports.
    assert dimension_error(np.full(3000, 3), near.describe(X, support)[0].sum(axis=1)) < 0.01
    # Every sample needs all of the turned atoms.
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((12, 12)))[0]
    everywhere = np.ones_like(support)
    turned = refine(X, everywhere, codes @ turn.T, turn @ atoms, offset, error=1e-6)
    assert turned.turned
    assert dimension_error(np.full(3000, 3), turned.describe(X, everywhere)[0].sum(axis=1)) < 0.02


def test_no_dictionary_counts_far_more_atoms_than_there_may_be():
    """The turned dictionary needs three atoms, and the unturned one needs all twelve."""
    X, codes, atoms = make_problem()
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((12, 12)))[0]
    dense = X, np.ones(codes.shape, dtype=bool), codes @ turn.T, turn @ atoms, np.zeros(20), 1e-6
    assert refine(*dense, most=2.0) is None
    assert refine(*dense, most=4.0).turned
    # An unknown limit is no limit.
    assert refine(*dense, most=np.nan).turned


def test_a_dictionary_is_precise_if_a_few_samples_have_other_atoms():
    X, codes, atoms = make_problem()
    support = np.abs(codes) > 1e-6
    # These samples also have other atoms, which the encoder has missed.
    missed = support.copy()
    missed[:60] = False
    codes = codes * missed
    error = np.square(X - codes @ atoms).mean()
    dictionary = refine(X, missed, codes, atoms, np.zeros(20), error=error)
    assert dictionary.noise_variance < 0.1 * error


def test_a_sample_off_all_atoms_does_not_need_all_of_them():
    X, codes, atoms = make_problem()
    support = np.abs(codes) > 1e-6
    dictionary = Dictionary(atoms, np.zeros(20)).fit(X, support)
    off = X[:50] + 0.1 * np.random.default_rng(5).standard_normal((50, 20))
    counts, std = dictionary.count(off, support[:50])
    assert counts.mean() < 6
    # The standard errors show that these counts are unsure.
    assert std.mean() > 100 * dictionary.count(X, support)[1].mean()


def test_refining_gives_up_where_codes_fit_better():
    """Least squares on the given supports explain less than codes without supports."""
    X = np.random.default_rng(0).standard_normal((500, 4))
    nothing = np.zeros((500, 1), dtype=bool)
    assert refine(X, nothing, np.zeros((500, 1)), np.eye(1, 4), np.zeros(4), error=0.5) is None


def test_dependent_atoms_of_one_support_are_counted_once():
    """Six atoms span a subspace of four dimensions; a seventh atom is independent of them."""
    rng = np.random.default_rng(0)
    atoms = np.vstack([rng.standard_normal((6, 4)) @ rng.standard_normal((4, 15)), np.ones(15)])
    X = rng.standard_normal((400, 6)) @ atoms[:6]
    X[300:] = rng.standard_normal((100, 1)) * atoms[6]
    X += 1e-3 * rng.standard_normal(X.shape)
    support = np.zeros((400, 7), dtype=bool)
    support[:300, :6] = support[300:, 6] = True
    dictionary = Dictionary(atoms, np.zeros(15))
    dictionary.noise_variance = 1e-6
    dictionary._set_ranks(support, dictionary._least_squares(X, support))
    ((dependent, rank, error),) = dictionary._dependent
    np.testing.assert_array_equal(dependent, support[0])
    assert (rank, error) == (4, 0.0)


def test_samples_with_some_atoms_of_a_curved_set_have_no_more_dimensions():
    """The samples lie on circles in three planes. Noise hides some of their atoms."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, (1200, 3))
    X = np.hstack([np.cos(angles), np.sin(angles), np.zeros((1200, 4))])
    X += 0.05 * rng.standard_normal(X.shape)
    dictionary = Dictionary(np.eye(6, 10), np.zeros(10)).fit(X, np.abs(X[:, :6]) > 0.05)
    count, std = dictionary.count(X, np.abs(X[:, :6]) > 0.05)
    few = (dictionary.describe(X, np.abs(X[:, :6]) > 0.05)[0]).sum(axis=1) < 6
    assert few.mean() > 0.1
    assert (count < 6).all()
    assert (np.abs(count - 3) < 2 * std).all()


def test_independent_directions_of_positive_codes_begin_where_most_samples_are():
    """The atoms are active independently, and each code is a mixture of all of them."""
    rng = np.random.default_rng(0)
    active = rng.random((3000, 8)) < 0.25
    atoms = np.linalg.qr(rng.standard_normal((12, 8)))[0].T
    codes = active * np.abs(rng.standard_normal(active.shape))
    X = codes @ atoms + 0.005 * rng.standard_normal((3000, 12)) + 1.0
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    dictionary = Dictionary.independent(X, codes @ turn.T, turn @ atoms, np.ones(12))
    count, _ = dictionary.count(X, dictionary.support(X))
    assert np.abs(count - active.sum(axis=1)).mean() < 0.1


@pytest.mark.parametrize(("n_samples", "dim"), [(60, 40), (100, 40), (150, 100)])
def test_directions_that_look_independent_by_chance_are_no_atoms(n_samples, dim):
    """Among few samples a rotation is found in which each has few large coefficients."""
    random_state = np.random.default_rng(0)
    atoms = np.linalg.qr(random_state.standard_normal((dim + 20, dim)))[0].T
    codes = random_state.standard_normal((n_samples, dim))
    X, active = codes @ atoms, np.ones_like(codes, dtype=bool)
    dictionary = refine(X, active, codes, atoms, np.zeros(dim + 20), 1e-8)
    if dictionary is not None:
        assert not dictionary.turned
        assert dictionary.count(X, active)[0].mean() > 0.98 * dim
