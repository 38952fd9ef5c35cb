"""What explains samples: flat parts, their locations, dictionaries, or neither."""

import warnings
from functools import cache, partial

import numpy as np
import pytest
from helpers import arrays_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn.datasets import load_wine, make_swiss_roll

from benchmarks.generators.mlp_manifolds import make_mlp_manifolds
from skvaeense import VAEenseTransformer
from skvaeense.datasets import (
    make_linear_subspaces,
    make_sparse_dictionary,
    make_spheres,
)
from skvaeense.explanations import FlatLaw, GateLaw, _explain
from skvaeense.explanations._em import Wanted
from skvaeense.explanations._flats import Flats, Locations
from skvaeense.mixture import _rows
from skvaeense.mixture._fit import fit_mixture
from skvaeense.mixture._rows import Prepared

slow = partial(pytest.param, marks=pytest.mark.slow)


def prepare(X):
    return Prepared.of(X, None, np.random.RandomState(0))


def explain(X, n_components=None, **wanted):
    """Return what explains samples, after a check."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explained = _explain.explain(prepare(X), Wanted(n_components, **wanted))
    explained.mixture.check()
    return explained


def explain_flats(X, n_components=None):
    """Return what explains samples if gates are not compared."""
    return explain(X, n_components, model="mixture")


def n_locations(explained):
    points = explained.coder.points
    return 1 if points is None else len(points)


def find_locations(X):
    """Return the locations of samples, whatever gives their codes, in units of the rows."""
    rows = prepare(X).head()
    mixture = fit_mixture(rows)
    return rows, mixture, Flats.of(mixture, rows.x, Wanted()).locations


def linear(dims, n_features, noise=0.0, n_samples=1000, seed=0):
    """Return samples and their dimensions."""
    return make_linear_subspaces(
        n_samples, dims=dims, n_features=n_features, noise=noise, random_state=seed
    )[::2]


def affine(offset, noise=0.0):
    """Return samples of three flats that lie apart, and the flat of each."""
    X, manifold, _ = make_linear_subspaces(
        1000, dims=(1, 3, 5), n_features=20, offset_scale=offset / np.sqrt(20), random_state=0
    )
    X += noise * np.sqrt(3 / 20) * np.random.default_rng(0).standard_normal(X.shape)
    return X, manifold


@cache
def explained_affine():
    return explain(affine(3, 0.02)[0])


def ranks(explained):
    """Return the numbers of latents of flat parts."""
    return sorted(np.bincount(explained.coder.parts).tolist())


def counts(explained, X):
    """Return the number of latents of the most probable part of each row."""
    law = explained.coder
    components = law.pieces.log_joint(X).argmax(axis=1)
    return np.bincount(law.parts, minlength=law.groups.max() + 1)[law.groups[components]]


# --- flat parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "n_features", "noise", "n_samples", "seed"),
    [
        slow((3, 5, 9), 30, 0.0, 1000, 0),
        ((2, 4, 8), 40, 0.1, 1000, 0),
        slow((8, 16, 24), 60, 0.0, 1000, 0),
        slow((8, 16, 24), 60, 0.05, 1000, 0),
        # The subspaces together have more dimensions than the space.
        slow((4,) * 8, 20, 0.0, 1000, 0),
        slow((4,) * 8, 20, 0.02, 1000, 0),
        ((3,) * 5, 10, 0.02, 1000, 0),
        ((2, 2, 2), 5, 0.02, 1000, 0),
        # Few noisy rows.
        ((2, 4), 12, 0.01, 600, 1),
        ((1, 3), 8, 0.02, 600, 0),
        ((1, 3), 8, 0.02, 600, 1),
        slow((3,) * 4, 9, 0.05, 1000, 1),
    ],
)
def test_subspaces_are_a_mixture(dims, n_features, noise, n_samples, seed):
    X, dimension = linear(dims, n_features, noise, n_samples + 500, seed)
    explained, new = explain(X[:n_samples]), X[n_samples:]
    assert (explained.name, n_locations(explained)) == ("mixture", 1)
    assert isinstance(explained.coder, FlatLaw)
    assert ranks(explained) == sorted(dims)
    # In 9 features, subspaces of 3 dimensions with this noise overlap.
    assert np.abs(counts(explained, new) - dimension[n_samples:]).mean() < 0.1
    law = explained.coder
    for part in range(len(dims)):
        columns = law.components[law.parts == part]
        unit = columns / np.linalg.norm(columns, axis=1, keepdims=True)
        assert_allclose(unit @ unit.T, np.eye(len(unit)), atol=1e-9)
    # Nats are mean log-densities of other samples, and are there for what was looked at: gates
    # need no look where directions are independent.
    nats = explained.nats
    assert nats.keys() - {"gates"} == {"mixture", "normal"}
    assert ("gates" in nats) or sum(dims) <= n_features
    assert nats["mixture"] == max(nats.values())
    assert explained.density is explained.mixture
    if max(dims) < 10:
        assert nats["mixture"] == pytest.approx(explained.density.log_prob(new).mean(), abs=1.5)


@pytest.mark.parametrize(("noise", "seed"), [slow(0.0, 0), slow(0.0, 1), (0.02, 3)])
def test_small_part_is_found(noise, seed):
    """1 % of the rows lie in a subspace of 8 dimensions."""
    sizes = ((1602, 2), (160, 4), (18, 8))
    parts = [linear((dim,), 40, noise, n, 10 * seed + dim) for n, dim in sizes]
    X, dimension = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    explained = explain_flats(np.random.RandomState(seed).permutation(X))
    assert (explained.name, ranks(explained)) == ("mixture", [2, 4, 8])
    assert np.abs(counts(explained, X) - dimension).mean() < 0.05
    assert explained.nats.keys() == {"mixture", "normal"}


@pytest.mark.parametrize("inner", [1, 2])
def test_a_subspace_within_another_one_has_its_own_dimension(inner):
    """A tenth of the rows lie in a subspace of a subspace of 4 dimensions."""
    rng = np.random.default_rng(inner)
    X = rng.standard_normal((1000, 4))
    X[:100, inner:] = 0
    X = X @ rng.standard_normal((4, 8)) + 0.02 * rng.standard_normal((1000, 8))
    explained = explain(X)
    assert (explained.name, ranks(explained)) == ("mixture", [inner, 4])
    assert np.abs(counts(explained, X) - np.repeat([inner, 4], [100, 900])).mean() < 0.1


def test_pieces_of_a_flat_are_one_part():
    """There are three subspaces, for any number of components in the mixture."""
    X, _ = linear((2, 4, 8), 40, 0.1, 3000)
    law = explain_flats(X).coder
    assert len(law.pieces) == len(law.groups) >= 3
    assert sorted(np.bincount(law.parts)) == [2, 4, 8]
    weights = np.bincount(law.groups, law.pieces.weights)
    assert_array_equal(weights.round(1), 0.3)
    for piece, part in enumerate(law.groups):
        own = law.components[law.parts == part]
        basis = own / np.linalg.norm(own, axis=1, keepdims=True)
        inside = basis @ (law.pieces.basis @ law.pieces.directions[piece, :, : len(own)])
        assert_allclose(np.square(inside).sum(axis=1), 1, atol=0.05)


def test_more_directions_than_latents_are_no_mixture():
    X, _ = linear((2, 2, 2), 5, 0.02)
    assert explain_flats(X, 6).name == "mixture"
    assert explain_flats(X, 5).name == "normal"
    assert explain(X, 5).name == "share"


# --- locations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "noise"), [(1, 0.0), (1, 0.05), slow(3, 0.0), (3, 0.02), (30, 0.0), slow(30, 0.05)]
)
def test_affine_subspaces_are_a_mixture_with_a_location_each(offset, noise):
    X, manifold = affine(offset, noise)
    explained = explained_affine() if (offset, noise) == (3, 0.02) else explain(X)
    law = explained.coder
    assert (explained.name, ranks(explained), n_locations(explained)) == ("mixture", [1, 3, 5], 3)
    assert sorted(np.bincount(law.owners)) == [1, 3, 5]
    labels = law.assign(X)
    agreeing = [np.bincount(manifold[labels == i]) for i in range(3)]
    assert sum(own.max() for own in agreeing) > 0.98 * len(X)
    # Each location lies in the subspace of its part.
    for point, own in zip(law.points, agreeing, strict=True):
        rows = X[manifold == own.argmax()]
        spread = np.sqrt(np.square(rows - rows.mean(axis=0)).sum(axis=1).mean())
        assert np.linalg.norm(point - rows.mean(axis=0)) < 0.2 * spread


@pytest.mark.parametrize("offset", [1e3, slow(1e5), 3e7, 1e8])
def test_parts_may_lie_far_apart(offset):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, r)) @ rng.normal(size=(r, 6)) for n, r in ((800, 2), (200, 3))]
    explained = explain(rng.permutation(np.r_[parts[0], parts[1] + offset]))
    if offset < 1e8:
        assert (explained.name, ranks(explained)) == ("mixture", [2, 3])
        points = np.sort(explained.coder.points, axis=0)
        assert_allclose(points, np.outer([0, offset], np.ones(6)), atol=0.5)
    elif n_locations(explained) > 1:
        # Double precision cannot represent both extents, but locations must still be right.
        points = explained.coder.points
        assert (np.minimum(np.abs(points), np.abs(points - offset)) < 10).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3])
def test_no_curved_manifold_is_cut_in_two(seed):
    """The manifolds lie apart, so each may have a location, with nearly all of its rows."""
    X, manifold, _ = make_mlp_manifolds(2500, random_state=seed)
    rows, mixture, locations = find_locations(X)
    if locations is not None:
        x = (X - rows.center) / rows.scale
        labels = Locations.of(mixture.density, x, locations.groups).labels
        pairs = np.c_[labels, manifold]
        n = np.unique(pairs, axis=0, return_counts=True)[1]
        assert (n > 0.02 * len(X)).sum() == 3


@pytest.mark.parametrize("n_rows", [9, 20, 30])
def test_few_rows_have_a_location_where_they_show_their_hull(n_rows):
    X, few = linear((4,), 20, n_samples=1500)[0], linear((8,), 20, n_samples=n_rows, seed=1)[0]
    rows = np.concatenate([X, few + 5 * np.eye(20)[0]])
    locations = find_locations(np.random.default_rng(0).permutation(rows))[2]
    assert (1 if locations is None else len(locations.points)) == 1 + (n_rows > 10)


def test_rows_are_assigned_to_the_most_probable_group():
    """The most probable component may be in another group."""
    X, _ = affine(3, 0.02)
    rows, mixture, _ = find_locations(X)
    X, density = rows.x, mixture.density
    joint = np.exp(density.log_joint(X) - logsumexp(density.log_joint(X), axis=1)[:, None])
    for groups in (np.array([0, 1, 2]), np.array([0, 1, 0]), np.array([1, 1, 0])):
        locations = Locations.of(density, X, groups)
        sums = np.stack([joint[:, groups == g].sum(axis=1) for g in range(groups.max() + 1)], 1)
        assert_array_equal(locations.labels, sums.argmax(axis=1))
        assert_allclose(locations.shares, np.bincount(groups, density.weights), rtol=1e-12)


# --- far rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "distance"), [(0.0, 1e9), (0.05, 20.0)])
def test_far_rows_are_told_from_parts(noise, distance):
    X, far = linear((2, 4), 20, noise)[0], np.arange(5, 1000, 100)
    away = np.random.default_rng(0).standard_normal((len(far), 20))
    X[far] = distance * np.sqrt(np.square(X).mean()) * away
    explained = explain(X)
    assert (explained.name, n_locations(explained)) == ("mixture", 1)
    assert ranks(explained) == [2, 4]
    rows = prepare(X)
    shares = rows.units.reach.shares(X)
    assert_array_equal(np.flatnonzero(shares < 1), far)
    # At the lesser distance, the nearest of them count for hardly more than those left out.
    assert shares[far].max() < (0.02 if distance == 20 else 1e-9)
    assert_array_equal(rows.far, np.flatnonzero(shares == 0))


def test_rows_that_are_many_or_no_weight_are_not_far():
    X, _ = linear((2, 4), 20)
    assert len(prepare(X).far) == 0
    many = np.concatenate([X, 20 * np.random.default_rng(0).standard_normal((200, 20))])
    assert len(prepare(many).far) == 0
    # These rows lie off both subspaces, at usual distances from 0, so they outweigh nothing.
    few = np.concatenate([X, 0.3 * np.random.default_rng(0).standard_normal((6, 20))])
    density = explain_flats(few).density
    share = np.exp(density._log_broad(few) - density.log_prob(few))
    assert (share[-6:] > 0.5).all()
    assert len(prepare(few).far) == 0


# --- dictionaries, and what is neither ------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise", "signed"), [(0.0, True), (0.05, False), slow(0.0, False), slow(0.2, True)]
)
def test_many_patterns_are_a_dictionary(noise, signed):
    X = make_sparse_dictionary(2000, noise=noise, signed=signed, random_state=0)[0]
    explained = explain(X)
    assert (explained.name, n_locations(explained)) == ("gates", 1)
    assert isinstance(explained.coder, GateLaw)
    assert explained.density is explained.coder
    assert explained.nats["gates"] > max(explained.nats["mixture"], explained.nats["normal"])


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_two_dictionaries_have_codes_of_their_own(noise):
    """A location is where none of the gates is open."""
    X = np.concatenate(
        [
            make_sparse_dictionary(
                1000, n_atoms=6 + 4 * i, n_active=2 + i, n_features=30, noise=noise, random_state=i
            )[0]
            + 5 * np.eye(30)[i]
            for i in range(2)
        ]
    )
    explained = explain(X)
    assert (explained.name, n_locations(explained)) == ("gates", 2)
    points = explained.coder.points[np.argsort(-explained.coder.points[:, 0])]
    assert_allclose(points, 5 * np.eye(30)[:2], atol=0.05)


@pytest.mark.slow
def test_codes_about_one_point_are_kept_if_points_have_too_few_rows():
    """Codes of 0 or 1 have a point for each pattern, and each point seems to be a location."""
    rng = np.random.default_rng(3)
    atoms = rng.standard_normal((12, 20))
    X = (rng.random((1000, 12)) < 0.2) @ (atoms / np.linalg.norm(atoms, axis=1, keepdims=True))
    explained = explain(X + 0.01 * rng.standard_normal(X.shape))
    assert (explained.name, n_locations(explained)) == ("gates", 1)


OTHER = {
    "normal": ("normal", lambda: linear((10,), 10)),
    "one noisy subspace": ("normal", lambda: linear((5,), 20, 0.1)),
    "clusters": ("normal", lambda: (np.repeat(np.eye(4), 60, axis=0),)),
    "one row": ("normal", lambda: (np.ones((1, 3)),)),
    "zero": ("normal", lambda: (np.zeros((50, 3)),)),
    "table": ("share", partial(load_wine, return_X_y=True)),
    "Swiss roll": ("share", partial(make_swiss_roll, 500, random_state=0)),
    "spheres": ("mixture", partial(make_spheres, 600, random_state=0)),
    "few rows": ("normal", lambda: (np.random.default_rng(0).standard_normal((30, 60)),)),
}


@pytest.mark.parametrize("name", [slow("spheres"), *sorted(OTHER.keys() - {"spheres"})])
def test_other_samples_have_no_patterns_and_one_location(name):
    coder, make = OTHER[name]
    explained = explain(make()[0])
    assert (explained.name, n_locations(explained)) == (coder, 1)


def test_gates_are_no_spikes_where_values_of_patterns_are_missing():
    """Gates have the least noise of columns with a step, as mixtures have."""
    rng = np.random.default_rng(0)
    X = ((rng.random((200, 6)) < 0.25) @ (rng.random((6, 10)) < 0.3) > 0).astype(float)
    holes = np.where(rng.random(X.shape) < 0.15, np.nan, X)
    whole, some = (explain(rows, 16).nats["gates"] for rows in (X, holes))
    assert some == pytest.approx(whole, abs=2)


# --- units, and the same again --------------------------------------------------------------------


def test_what_is_in_samples_does_not_depend_on_their_units():
    X, _ = affine(3, 0.02)
    center, scale = np.full(20, 7.0), 1000.0
    one, other = explained_affine(), explain(scale * X + center)
    same = explain_flats(X.copy())
    assert one.nats == one.nats | same.nats
    for name, value in arrays_of(one.coder).items():
        assert_array_equal(arrays_of(same.coder)[name], value)
    assert (other.name, ranks(other)) == (one.name, ranks(one))
    for name, value in one.nats.items():
        # Gates follow from many steps, which add up rounding errors.
        moved = value - 20 * np.log(scale)
        assert other.nats[name] == pytest.approx(moved, rel=1e-2 if name == "gates" else 1e-6)
    moved, found = one.coder.in_units(center, scale), other.coder
    assert_allclose(moved.points, found.points, rtol=1e-9)
    assert found.noise_variance == pytest.approx(moved.noise_variance, rel=1e-6)
    assert_array_equal(found.assign(scale * X + center), one.coder.assign(X))
    # Rounding can turn the sign of a direction.
    codes, new = one.coder.encode(X).values, found.encode(scale * X + center).values
    assert_allclose(np.abs(new), np.abs(codes), atol=1e-5)
    assert_allclose(found.decode(new), scale * one.coder.decode(codes) + center, rtol=1e-5)
    log_prob = one.density.in_units(center, scale).log_prob(scale * X + center)
    assert_allclose(other.density.log_prob(scale * X + center), log_prob, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_so_many_rows_are_looked_at(monkeypatch, dtype):
    monkeypatch.setattr(_rows, "MANY_ROWS", 800)
    X = linear((1, 3), 8, 0.02, 5000)[0].astype(dtype)
    explained = explain_flats(X)
    assert (explained.name, ranks(explained)) == ("mixture", [1, 3])
    assert len(explained.density.held_out) <= 800


def test_rows_that_stand_several_times_count_as_so_many():
    X, _ = linear((1, 3), 8, 0.02, 600)
    explained = explain(np.repeat(X, 3, axis=0))
    assert (explained.name, ranks(explained)) == ("mixture", [1, 3])


def test_very_few_rows_are_explained_without_warnings():
    rng = np.random.default_rng(1)
    for n_samples in range(1, 13):
        X = np.round(rng.standard_normal((n_samples, 2)) @ rng.standard_normal((2, 40)), 1)
        assert np.isfinite(list(explain(X, 64).nats.values())).all(), n_samples


def test_very_sparse_codes_are_found():
    """Most samples are noise alone: on average, 0.45 of 30 atoms are active."""
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((30, 16))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = (rng.uniform(size=(4000, 30)) < 0.015) * rng.standard_normal((4000, 30))
    X = codes @ atoms + 0.03 * rng.standard_normal((4000, 16))
    fitted = VAEenseTransformer(random_state=0).fit(X)
    assert fitted.explanation_ == "gates"
    found = fitted.components_ / np.linalg.norm(fitted.components_, axis=1, keepdims=True)
    cosines = np.abs(atoms @ found.T)
    assert (cosines.max(axis=1) > 0.9).mean() > 0.95
    assert (cosines.max(axis=0) > 0.9).mean() > 0.9
