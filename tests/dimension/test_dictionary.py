import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error

from skvaeense.datasets import make_sparse_dictionary
from skvaeense.dimension._dictionary import MAX_SUPPORT, Dictionary


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


def open_of(codes):
    """Return the supports of codes of samples without noise."""
    return np.abs(codes) > 1e-9


def test_noise_variance_and_counts_with_noise():
    X, *_ = make_problem(noise=0.05)
    clean, codes, atoms = make_problem()
    support = open_of(codes)
    dictionary = Dictionary(atoms, np.zeros(20)).fit(X, support)
    assert dictionary.noise_variance == pytest.approx(np.square(X - clean).mean(), rel=0.2)
    assert mean_absolute_error(np.full(3000, 3), dictionary.count(X, support)[0]) < 0.05


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
    X, *_ = make_problem(noise=0.05)
    clean, codes, atoms = make_problem()
    spare = 0.02 * np.random.default_rng(2).standard_normal((6, 20))
    support = np.column_stack([open_of(codes), np.zeros((3000, 6), dtype=bool)])
    dictionary = Dictionary(np.vstack([atoms, spare]), np.zeros(20)).fit(X, support)
    assert dictionary.noise_variance == pytest.approx(np.square(X - clean).mean(), rel=0.1)
    assert mean_absolute_error(np.full(3000, 3), dictionary.count(X, support)[0]) < 0.05


def test_few_samples_off_all_atoms_do_not_hide_the_noise():
    X, *_ = make_problem(noise=0.05)
    clean, codes, atoms = make_problem()
    noise_variance = np.square(X - clean).mean()
    X[:30] += 0.5 * np.random.default_rng(2).standard_normal((30, 20))
    dictionary = Dictionary(atoms, np.zeros(20)).fit(X, open_of(codes))
    # The mean over all samples is more than seven times as large.
    assert dictionary.noise_variance == pytest.approx(noise_variance, rel=0.5)


def test_unseen_samples():
    X, codes, atoms = make_problem()
    support = open_of(codes)
    dictionary = Dictionary(atoms, np.zeros(20)).fit(X[:2000], support[:2000])
    counts = dictionary.count(X[2000:], support[2000:])[0]
    assert mean_absolute_error(np.full(1000, 3), counts) < 0.01
    alone = [dictionary.count(X[i : i + 1], support[i : i + 1])[0][0] for i in range(2000, 2020)]
    np.testing.assert_array_equal(alone, counts[:20])


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_units_do_not_matter(factor):
    X, codes, atoms = make_problem(noise=0.02, n_samples=500)
    support = roughly(codes)
    counts = [
        Dictionary(f * atoms, np.zeros(20)).fit(f * X, support).count(f * X, support)[0]
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
    assert (dictionary.count(X, support)[0] == 2).mean() > 0.99


def test_a_sample_off_all_atoms_does_not_need_all_of_them():
    X, codes, atoms = make_problem()
    support = np.abs(codes) > 1e-6
    dictionary = Dictionary(atoms, np.zeros(20)).fit(X, support)
    off = X[:50] + 0.1 * np.random.default_rng(5).standard_normal((50, 20))
    counts, std = dictionary.count(off, support[:50])
    assert counts.mean() < 6
    # The standard errors show that these counts are unsure.
    assert std.mean() > 100 * dictionary.count(X, support)[1].mean()
