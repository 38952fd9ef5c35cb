"""The rank and the participation ratio of the active latents of each sample."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers import MLP_SMALL, SUBSPACES, changed, fit_vaeense
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense import load, save
from skvaeense.thresholds import ThresholdRule

X = SUBSPACES.few


class AllActive(ThresholdRule):
    def active(self, latents):
        return np.ones(latents.code.shape, dtype=bool)


class Chosen(ThresholdRule):
    """A rule that keeps the first k latents active, with k = 0, 1, ... for successive samples."""

    def active(self, latents):
        n_samples, n_latents = latents.code.shape
        return np.arange(n_latents) < np.arange(n_samples)[:, None]


@pytest.fixture(scope="module")
def linear():
    return fit_vaeense()


@pytest.fixture(scope="module")
def nonlinear():
    return fit_vaeense(network=MLP_SMALL, max_iter=5)


def with_columns(fitted, columns, **params):
    """Return a copy of a fitted estimator whose first decoder columns are the given ones."""
    other = changed(fitted, **params)
    other.module_ = copy.deepcopy(fitted.module_)
    with torch.no_grad():
        for i, column in enumerate(columns):
            other.module_.linear_decoder.weight[:, i] = torch.tensor(column)
    return other


def jacobian(fitted, sample):
    """Return the Jacobian of a decoder at the code of a sample, by central differences."""
    code, step = fitted.transform(sample[None])[0], 1e-5
    moved = [[code + step * one, code - step * one] for one in np.eye(len(code))]
    up, down = np.moveaxis([fitted.inverse_transform(np.array(m)) for m in moved], 1, 0)
    return (up - down).T / (2 * step)


UNIT = np.eye(8, dtype=np.float32)


def test_rank_of_the_active_columns(linear, subtests):
    for name, (columns, expected) in {
        "independent": (UNIT[:4], [0, 1, 2, 3, 4]),
        "dependent": ([UNIT[0], UNIT[1], UNIT[0] + UNIT[1], -7 * UNIT[1]], [0, 1, 2, 2, 2]),
        "zero": ([0 * UNIT[0], UNIT[1], 0 * UNIT[0], UNIT[2]], [0, 0, 1, 1, 2]),
        "short": ([UNIT[0], 1e-4 * UNIT[1], UNIT[2], UNIT[3]], [0, 1, 2, 3, 4]),
    }.items():
        with subtests.test(name):
            fitted = with_columns(linear, columns, threshold=Chosen())
            assert_array_equal(fitted.active_rank(X[:5]), expected)


def test_the_angle_between_columns_that_differ(linear):
    angle = 0.08
    columns = [UNIT[0], np.cos(angle) * UNIT[0] + np.sin(angle) * UNIT[1]]
    fitted = with_columns(linear, columns, threshold=Chosen())
    # The smaller singular value is tan(0.04) of the larger one.
    assert fitted.active_rank(X[:3], tol=0.041)[2] == 1
    assert fitted.active_rank(X[:3], tol=0.039)[2] == 2


@pytest.mark.parametrize("gated", [True, False])
def test_participation_ratio_is_that_of_the_covariance(gated):
    fitted = fit_vaeense(gated=gated, positive_code=gated, max_iter=5).set_params(
        threshold=Chosen()
    )
    ratio = fitted.participation_ratio(X[:5])
    weight = fitted.module_.linear_decoder.weight.detach().numpy().astype(float)
    _, std = fitted.posterior(X[:5])
    gates = 1 - std if gated else np.ones_like(std)
    for k in range(1, 5):
        contribution = weight[:, :k] * gates[k, :k]
        eigenvalues = np.linalg.eigvalsh(contribution @ contribution.T)
        expected = eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()
        assert ratio[k] == pytest.approx(expected, rel=1e-5)
    assert ratio[0] == 0
    assert (ratio <= fitted.active_rank(X[:5], tol=0) + 1e-9).all()


def test_a_nonlinear_decoder_has_the_jacobian_at_each_code(nonlinear):
    fitted = changed(nonlinear, threshold=AllActive())
    ratio, ranks = fitted.participation_ratio(X), fitted.active_rank(X, tol=0.2)
    _, std = fitted.posterior(X)
    for i in (0, 7):
        columns = jacobian(fitted, X[i])
        singular = np.linalg.svd(columns / np.linalg.norm(columns, axis=0), compute_uv=False)
        assert ranks[i] == (singular > 0.2 * singular[0]).sum()
        squares = np.square(np.linalg.svd(columns * (1 - std[i]), compute_uv=False))
        assert ratio[i] == pytest.approx(squares.sum() ** 2 / np.square(squares).sum(), rel=1e-4)
    assert len(np.unique(ratio.round(6))) > 1


def test_answers_are_saved_and_in_the_precision_of_the_samples(nonlinear, tmp_path):
    path = tmp_path / "model.safetensors"
    save(nonlinear, path)
    for other in (load(path), pickle.loads(pickle.dumps(nonlinear))):
        assert_array_equal(other.active_rank(X), nonlinear.active_rank(X))
        assert_array_equal(other.participation_ratio(X), nonlinear.participation_ratio(X))
    assert nonlinear.participation_ratio(X.astype(np.float32)).dtype == np.float32
    assert nonlinear.participation_ratio(X).dtype == np.float64
    assert nonlinear.active_rank(X).dtype == np.int64


def test_samples_are_answered_some_at_a_time(nonlinear, monkeypatch):
    whole = nonlinear.active_rank(X), nonlinear.participation_ratio(X)
    monkeypatch.setattr("skvaeense.utils._rows.BLOCK_ENTRIES", 100)
    assert_array_equal(nonlinear.active_rank(X), whole[0])
    assert_allclose(nonlinear.participation_ratio(X), whole[1])


def test_a_tolerance_is_a_share(linear, subtests):
    for tol in (-0.1, 1.0, np.nan):
        with (
            subtests.test(tol=tol),
            pytest.raises(ValueError, match="tol must be at least 0 and below 1"),
        ):
            linear.active_rank(X, tol=tol)
