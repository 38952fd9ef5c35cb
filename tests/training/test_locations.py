"""Points that groups of clusters lie around."""

import warnings

import numpy as np
import pytest
import torch

from skvaeense.datasets import (
    make_affine_subspaces,
    make_gaussian,
    make_linear_subspaces,
    make_mlp_manifolds,
    make_sparse_dictionary,
    make_spheres,
)
from skvaeense.training._locations import find_locations


def _scaled(X):
    X = X - X.mean(axis=0)
    scale = np.sqrt(np.square(X).mean())
    return torch.tensor(X / (scale if scale > 0 else 1))


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("offset", [1, 3, 30])
def test_affine_subspaces_have_a_location_each(offset, noise):
    X, manifold, _ = make_affine_subspaces(
        3000, dims=(1, 3, 5), offset_scale=offset / np.sqrt(40), random_state=0
    )
    X += noise * np.sqrt(3 / 40) * np.random.default_rng(0).standard_normal(X.shape)
    locations = find_locations(_scaled(X), 0)
    assert len(locations) == 3
    labels = locations.assign(_scaled(X).numpy())
    agreeing = sum(np.bincount(manifold[labels == i]).max() for i in range(3))
    assert agreeing > 0.99 * len(X)


def _through_one_point():
    linear = {
        f"subspaces {dims}": make_linear_subspaces(
            2500, dims=dims, n_features=d, noise=noise, random_state=0
        )[0]
        for dims, d, noise in [((4, 4, 4), 40, 0.0), ((2, 4, 8), 40, 0.05), ((3,) * 5, 10, 0.0)]
    }
    return linear | {
        "dictionary": make_sparse_dictionary(2500, random_state=0)[0],
        "positive dictionary": make_sparse_dictionary(2500, signed=False, random_state=0)[0],
        "normal": make_gaussian(2500, random_state=0)[0],
        "spheres": make_spheres(2500, random_state=0)[0],
        "curved": make_mlp_manifolds(2500, random_state=0)[0],
        "zero": np.zeros((50, 3)),
        "one row": np.ones((1, 3)),
        "small": np.random.default_rng(0).standard_normal((30, 60)),
    }


@pytest.mark.parametrize("name", _through_one_point())
def test_what_meets_has_one_location_at_the_mean(name):
    Z = _scaled(_through_one_point()[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        locations = find_locations(Z, 0)
    assert len(locations) == 1
    np.testing.assert_allclose(locations.points[0], Z.mean(dim=0), atol=1e-10)
    np.testing.assert_array_equal(locations.assign(Z.numpy()), 0)


def test_a_few_points_over_and_over_give_finite_locations():
    Z = _scaled(np.repeat(np.eye(4), 60, axis=0)[:, :2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        locations = find_locations(Z, 0)
    assert np.isfinite(locations.points).all()
    assert set(locations.assign(Z.numpy())) <= set(range(len(locations)))


def test_location_of_sparse_codes_is_where_none_is_active():
    parts = [
        make_sparse_dictionary(2000, n_atoms=12, n_active=2, signed=False, random_state=seed)[0]
        + 5 * np.eye(40)[seed]
        for seed in range(2)
    ]
    X = np.concatenate(parts)
    order = np.random.default_rng(0).permutation(len(X))
    mean, scale = X.mean(axis=0), np.sqrt(np.square(X - X.mean(axis=0)).mean())
    locations = find_locations(_scaled(X[order]), 0)
    points = sorted((locations.points * scale + mean).tolist(), reverse=True)
    np.testing.assert_allclose(points, 5 * np.eye(40)[:2], atol=0.05)


def test_far_rows_are_no_location():
    X, *_ = make_linear_subspaces(2000, dims=(2, 4), n_features=20, random_state=0)
    rng = np.random.default_rng(0)
    X[:20] = 20 * np.sqrt(3) * rng.standard_normal((20, 20)) / np.sqrt(20)
    assert len(find_locations(_scaled(rng.permutation(X)), 0)) == 1


@pytest.mark.parametrize("n_rows", [9, 14])
def test_a_few_rows_have_a_location_where_they_show_their_hull(n_rows):
    X, *_ = make_linear_subspaces(1500, dims=(4,), n_features=20, random_state=0)
    few, *_ = make_linear_subspaces(n_rows, dims=(8,), n_features=20, random_state=1)
    rows = np.concatenate([X, few + 5 * np.eye(20)[0]])
    locations = find_locations(_scaled(np.random.default_rng(0).permutation(rows)), 0)
    assert len(locations) == 1 + (n_rows > 10)


def test_locations_are_the_same_for_the_same_seed():
    X, *_ = make_affine_subspaces(1000, dims=(1, 3), n_features=20, random_state=0)
    one, other = (find_locations(_scaled(X), 0) for _ in range(2))
    np.testing.assert_array_equal(one.points, other.points)
    assert len(one) == 2
