"""Structure of samples that is found before training."""

from functools import partial

import numpy as np
import pytest
from sklearn.datasets import load_wine, make_swiss_roll

from skvaeense.datasets import make_affine_subspaces, make_linear_subspaces, make_sparse_dictionary
from skvaeense.explanations import _rows
from skvaeense.explanations._explain import explain
from skvaeense.explanations._rows import find_far_rows

MANY = 256


def linear(dims, n_features, noise=0.0, n_samples=1000, seed=0):
    """Return samples and their dimensions."""
    return make_linear_subspaces(
        n_samples, dims=dims, n_features=n_features, noise=noise, random_state=seed
    )[::2]


def affine(offset, noise=0.0, seed=0):
    X, _, dimension = make_affine_subspaces(
        1000, dims=(1, 3, 5), n_features=20, offset_scale=offset / np.sqrt(20), random_state=seed
    )
    X += noise * np.sqrt(3 / 20) * np.random.default_rng(0).standard_normal(X.shape)
    return X, dimension


def with_far_rows(X, distance=20.0):
    """Move 1 % of the rows far away."""
    X, far = X.copy(), np.arange(5, len(X), 100)
    noise = np.random.default_rng(0).standard_normal((len(far), X.shape[1]))
    X[far] = distance * np.sqrt(np.square(X).mean()) * noise
    return X, far


def ranks(explained):
    return sorted(len(part.variances) for part in explained.parts)


def counts(explained, X):
    """Return the dimension of the most probable part of each row."""
    components = explained.mixture.density.log_joint(X).argmax(axis=1)
    return np.array([len(part.variances) for part in explained.parts])[explained.groups[components]]


# --- flat parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "n_features", "noise"),
    [
        ((3, 5, 9), 30, 0.0),
        ((3, 5, 9), 30, 0.05),
        ((2, 4, 8), 40, 0.1),
        ((8, 16, 24), 60, 0.0),
        ((8, 16, 24), 60, 0.05),
        # The subspaces together have more dimensions than the space.
        ((4,) * 8, 20, 0.0),
        ((4,) * 8, 20, 0.02),
        ((3,) * 5, 10, 0.02),
        ((2, 2, 2), 5, 0.02),
    ],
)
def test_subspaces_are_a_mixture(dims, n_features, noise):
    X, dimension = linear(dims, n_features, noise, n_samples=1500)
    X, new = X[:1000], X[1000:]
    explained = explain(X, MANY)
    assert (explained.coder, explained.locations) == ("mixture", None)
    assert ranks(explained) == sorted(dims)
    assert np.abs(counts(explained, new) - dimension[1000:]).mean() < 0.05
    for part in explained.parts:
        np.testing.assert_allclose(part.basis @ part.basis.T, np.eye(len(part.basis)), atol=1e-9)


@pytest.mark.parametrize(
    ("dims", "n_features", "noise", "n_samples"),
    [((2, 4), 12, 0.01, 600), ((1, 3), 8, 0.02, 600), ((3,) * 4, 9, 0.05, 1000)],
)
@pytest.mark.parametrize("seed", range(2))
def test_subspaces_of_few_noisy_rows_are_found(dims, n_features, noise, n_samples, seed):
    X, dimension = linear(dims, n_features, noise, n_samples, seed)
    explained = explain(X, MANY)
    assert (explained.coder, ranks(explained)) == ("mixture", sorted(dims))
    assert np.abs(counts(explained, X) - dimension).mean() < 0.2


@pytest.mark.parametrize(("noise", "seed"), [(0.0, 0), (0.0, 1), (0.02, 3)])
def test_small_part_is_found(noise, seed):
    """1 % of the rows lie in a subspace of 8 dimensions."""
    sizes = ((1602, 2), (160, 4), (18, 8))
    parts = [linear((dim,), 40, noise, n, 10 * seed + dim) for n, dim in sizes]
    X, dimension = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    explained = explain(np.random.RandomState(seed).permutation(X), MANY)
    assert (explained.coder, ranks(explained)) == ("mixture", [2, 4, 8])
    assert np.abs(counts(explained, X) - dimension).mean() < 0.05


@pytest.mark.parametrize("inner", [1, 2])
def test_a_subspace_within_another_one_has_its_own_dimension(inner):
    """A tenth of the rows lie in a subspace of a subspace of 4 dimensions."""
    rng = np.random.default_rng(inner)
    X = rng.standard_normal((1000, 4))
    X[:100, inner:] = 0
    X = X @ rng.standard_normal((4, 8)) + 0.02 * rng.standard_normal((1000, 8))
    explained = explain(X, MANY)
    assert (explained.coder, ranks(explained)) == ("mixture", [inner, 4])
    assert np.abs(counts(explained, X) - np.repeat([inner, 4], [100, 900])).mean() < 0.1


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("offset", [1, 3, 30])
def test_affine_subspaces_are_a_mixture_with_locations(offset, noise):
    X, dimension = affine(offset, noise)
    explained = explain(X, MANY)
    assert (explained.coder, len(explained.locations)) == ("mixture", 3)
    assert ranks(explained) == [1, 3, 5]
    assert np.abs(counts(explained, X) - dimension).mean() < 0.05
    np.testing.assert_array_equal(np.bincount(explained.locations.groups), 1)


@pytest.mark.parametrize("offset", [1e3, 1e4, 1e5, 1e6, 1e7, 3e7])
def test_parts_may_lie_far_apart(offset):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, r)) @ rng.normal(size=(r, 6)) for n, r in ((800, 2), (200, 3))]
    explained = explain(rng.permutation(np.r_[parts[0], parts[1] + offset]), MANY)
    assert (explained.coder, ranks(explained)) == ("mixture", [2, 3])
    points = np.sort(explained.locations.points, axis=0)
    np.testing.assert_allclose(points, np.outer([0, offset], np.ones(6)), atol=0.5)


def test_parts_that_lie_too_far_apart_to_be_flat_have_no_locations_elsewhere():
    """Double precision cannot represent both extents, but the locations must still be right."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, r)) @ rng.normal(size=(r, 6)) for n, r in ((800, 2), (200, 3))]
    explained = explain(rng.permutation(np.r_[parts[0], parts[1] + 1e8]), MANY)
    points = np.zeros((0, 6)) if explained.locations is None else explained.locations.points
    assert (np.minimum(np.abs(points), np.abs(points - 1e8)) < 10).all()


def test_pieces_of_a_flat_are_one_part():
    """There are three subspaces, for any number of components in the mixture."""
    X, _ = linear((2, 4, 8), 40, 0.1, 3000)
    explained = explain(X, MANY)
    assert len(explained.mixture.parts) == len(explained.groups) >= len(explained.parts) == 3
    for k, part in enumerate(explained.parts):
        own = [explained.mixture.parts[c] for c in np.flatnonzero(explained.groups == k)]
        assert part.weight == pytest.approx(sum(piece.weight for piece in own))
        for piece in own:
            inside = piece.basis @ part.basis.T
            np.testing.assert_allclose(np.square(inside).sum(axis=1), 1, atol=0.05)
    np.testing.assert_array_equal(np.sort([part.weight for part in explained.parts]).round(1), 0.3)


def test_more_directions_than_latents_are_no_mixture():
    X, _ = linear((4,) * 8, 20)
    assert explain(X, 32).coder == "mixture"
    assert explain(X, 31).coder == "share"


@pytest.mark.parametrize(("noise", "distance"), [(0.0, 1e9), (0.05, 20.0)])
def test_far_rows_are_told_from_parts(noise, distance):
    X, _ = linear((2, 4), 20, noise)
    X, far = with_far_rows(X, distance)
    explained = explain(X, MANY)
    assert (explained.coder, explained.locations) == ("mixture", None)
    assert ranks(explained) == [2, 4]
    np.testing.assert_array_equal(find_far_rows(X), far)


def test_rows_that_are_many_or_no_weight_are_not_far():
    X, _ = linear((2, 4), 20)
    assert len(find_far_rows(X)) == 0
    many = np.concatenate([X, 20 * np.random.default_rng(0).standard_normal((200, 20))])
    assert len(find_far_rows(many)) == 0
    # These rows lie off both subspaces, at usual distances from 0, so they outweigh nothing.
    few = np.concatenate([X, 0.3 * np.random.default_rng(0).standard_normal((6, 20))])
    assert (explain(few, MANY).mixture.density.background_share(few)[-6:] > 0.5).all()
    assert len(find_far_rows(few)) == 0


# --- dictionaries, and what is neither ------------------------------------------------------------


@pytest.mark.parametrize(("noise", "signed"), [(0.0, True), (0.05, False), (0.2, True)])
def test_many_patterns_are_a_dictionary(noise, signed):
    X = make_sparse_dictionary(2000, noise=noise, signed=signed, random_state=0)[0]
    explained = explain(X, MANY)
    assert (explained.coder, explained.locations) == ("gates", None)
    assert explained.nats["gates"] > max(explained.nats["mixture"], explained.nats["normal"])


@pytest.mark.parametrize("noise", [0.0, pytest.param(0.02, marks=pytest.mark.slow)])
def test_two_dictionaries_have_codes_of_their_own(noise):
    X = np.concatenate(
        [
            make_sparse_dictionary(
                1000, n_atoms=6 + 4 * i, n_active=2 + i, n_features=30, noise=noise, random_state=i
            )[0]
            + 5 * np.eye(30)[i]
            for i in range(2)
        ]
    )
    explained = explain(X, MANY)
    assert (explained.coder, len(explained.locations)) == ("gates", 2)
    points = explained.locations.points[np.argsort(-explained.locations.points[:, 0])]
    np.testing.assert_allclose(points, 5 * np.eye(30)[:2], atol=0.05)


def test_codes_about_one_point_are_kept_if_points_have_too_few_rows():
    """Codes of 0 or 1 have a point for each pattern, and each point seems to be a location."""
    rng = np.random.default_rng(3)
    atoms = rng.standard_normal((12, 20))
    X = (rng.random((1000, 12)) < 0.2) @ (atoms / np.linalg.norm(atoms, axis=1, keepdims=True))
    explained = explain(X + 0.01 * rng.standard_normal(X.shape), MANY)
    assert explained.coder == "gates"
    assert explained.locations is None


DENSE = {
    "normal": partial(make_linear_subspaces, 1000, dims=(20,), n_features=20, random_state=0),
    "all directions": partial(
        make_linear_subspaces, 1000, dims=(10,), n_features=10, random_state=0
    ),
    "one noisy subspace": partial(
        make_linear_subspaces, 1000, dims=(5,), n_features=20, noise=0.1, random_state=0
    ),
    "table": partial(load_wine, return_X_y=True),
    "Swiss roll": partial(make_swiss_roll, 1000, random_state=0),
    "clusters": lambda: (np.repeat(np.eye(4), 60, axis=0),),
    "one row": lambda: (np.ones((1, 3)),),
    "zero": lambda: (np.zeros((50, 3)),),
}


@pytest.mark.parametrize("name", DENSE)
def test_other_samples_have_no_patterns(name):
    explained = explain(DENSE[name]()[0], MANY)
    is_normal = name in (
        "normal",
        "all directions",
        "one noisy subspace",
        "clusters",
        "one row",
        "zero",
    )
    assert explained.coder == ("normal" if is_normal else "share")


def test_nats_are_there_for_what_was_looked_at():
    X, _ = linear((3, 5), 30, 0.05, 1000)
    nats = explain(X, MANY).nats
    assert nats.keys() == {"mixture", "normal", "gates"}
    assert nats["mixture"] > nats["normal"] + 10
    assert nats["mixture"] > nats["gates"]
    assert explain(X, MANY, may_have_gates=False).nats.keys() == {"mixture", "normal"}


def test_nats_are_mean_log_densities_of_samples():
    X, _ = linear((3, 5, 9), 30, 0.05, 3000)
    explained = explain(X[:2000], MANY)
    new = explained.mixture.density.log_prob(X[2000:]).mean()
    assert explained.nats["mixture"] == pytest.approx(new, abs=1.5)


# --- units, and the same again --------------------------------------------------------------------


def test_the_same_samples_are_explained_alike():
    X, _ = affine(3, 0.02)
    one, other = explain(X, MANY), explain(X.copy(), MANY)
    assert one.nats == other.nats
    np.testing.assert_array_equal(one.locations.points, other.locations.points)
    for part, same in zip(one.parts, other.parts, strict=True):
        np.testing.assert_array_equal(part.mean, same.mean)
        np.testing.assert_array_equal(part.basis, same.basis)
        np.testing.assert_array_equal(part.variances, same.variances)


def test_what_is_in_samples_does_not_depend_on_their_units():
    X, _ = affine(3, 0.02)
    one, other = explain(X, MANY), explain(1000 * X + 7, MANY)
    assert (other.coder, ranks(other)) == (one.coder, ranks(one))
    moved = one.in_units(np.full(20, 7.0), 1000.0)
    for name, value in moved.nats.items():
        # Gates follow from many steps, which add up rounding errors.
        assert other.nats[name] == pytest.approx(value, rel=1e-2 if name == "gates" else 1e-6)
    for part, same in zip(moved.parts, other.parts, strict=True):
        np.testing.assert_allclose(part.mean, same.mean, rtol=1e-6)
        np.testing.assert_allclose(part.variances, same.variances, rtol=1e-6)
        assert part.noise_variance == pytest.approx(same.noise_variance, rel=1e-6)
    back = moved.within(np.full(20, 7.0), 1000.0)
    np.testing.assert_allclose(back.locations.points, one.locations.points, atol=1e-9)
    np.testing.assert_allclose(back.mixture.density.log_prob(X), one.mixture.density.log_prob(X))


def test_so_many_rows_are_looked_at(monkeypatch):
    monkeypatch.setattr(_rows, "MANY_ROWS", 800)
    X, _ = linear((1, 3), 8, 0.02, 5000)
    explained = explain(X, MANY)
    assert (explained.coder, ranks(explained)) == ("mixture", [1, 3])
    assert len(explained.mixture.density.held_out) <= 800
    single = explain(X.astype(np.float32), MANY)
    assert (single.coder, ranks(single)) == ("mixture", [1, 3])


def test_rows_that_stand_several_times_count_as_so_many():
    X, _ = linear((1, 3), 8, 0.02, 600)
    explained = explain(np.repeat(X, 3, axis=0), MANY)
    assert (explained.coder, ranks(explained)) == ("mixture", [1, 3])


def test_very_few_rows_are_explained_without_warnings():
    rng = np.random.default_rng(1)
    for n_samples in range(1, 13):
        X = np.round(rng.standard_normal((n_samples, 2)) @ rng.standard_normal((2, 40)), 1)
        assert np.isfinite(list(explain(X, 64).nats.values())).all(), n_samples
