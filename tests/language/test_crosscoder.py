"""Crosscoders: one dictionary for the activations of several modules, each with its own scale."""

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, quick_sae
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skvaeense import load, save
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.language import Activations, from_saelens, to_saelens
from skvaeense.metrics import fvu
from skvaeense.nets.penalties import BatchTopK, TopK
from skvaeense.samples._scaling import Scaling

N_FEATURES, N_ATOMS = 16, 24
NAMES = "0", "1"


class Layers(nn.Sequential):
    """Two layers of the same sparse features, the second of which has another unit."""

    def __init__(self, ratio):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            rotation = nn.init.orthogonal_(torch.empty(N_FEATURES, N_FEATURES))
        super().__init__(nn.Identity(), nn.Linear(N_FEATURES, N_FEATURES))
        self[1].weight.data, self[1].bias.data = ratio * rotation, torch.full((N_FEATURES,), ratio)


@pytest.fixture(scope="module")
def batches():
    X = make_sparse_dictionary(
        3000, n_atoms=N_ATOMS, n_active=3, n_features=N_FEATURES, signed=False, random_state=0
    )[0]
    return torch.tensor(X).float().split(500)


def activations(ratio, batches):
    return Activations(Layers(ratio), NAMES, batches)


def crosscoder(samples, penalty=None, y=None, **params):
    penalty = BatchTopK(4) if penalty is None else penalty
    settings = {"n_components": 32, "max_iter": 40, "learning_rate_init": "auto"} | params
    return fit_unwarned(quick_sae(penalty, **settings), samples, y=y)


def halves(array):
    return array[..., :N_FEATURES], array[..., N_FEATURES:]


def errors(sae, samples):
    rows = np.concatenate([*samples])
    decoded = sae.inverse_transform(sae.transform(rows))
    return [fvu(*pair) for pair in zip(halves(rows), halves(decoded), strict=True)]


@pytest.mark.parametrize("ratio", [20.0, 0.01])
def test_a_large_layer_drowns_no_other(ratio, batches):
    equal, other = (activations(r, batches) for r in (1.0, ratio))
    fits = [crosscoder(samples) for samples in (equal, other)]
    before, after = (errors(*pair) for pair in zip(fits, (equal, other), strict=True))
    assert max(before) < 0.3
    assert_allclose(after, before, rtol=0.05)
    assert_allclose(halves(fits[1].scale_)[1], ratio * halves(fits[0].scale_)[1], rtol=1e-5)
    assert fits[1].score(other) == pytest.approx(1 - np.mean(after), abs=1e-5)
    assert fits[1].score_samples(other).mean() == pytest.approx(fits[1].score(other), abs=0.01)
    sizes = [np.linalg.norm(half) for half in halves(fits[1].components_)]
    assert sizes[1] / sizes[0] == pytest.approx(ratio, rel=0.2)


def test_components_are_in_the_units_of_each_layer(batches, tmp_path):
    samples = activations(20.0, batches)
    sae = crosscoder(samples, TopK(4), max_iter=3)
    rows = np.concatenate([*samples])
    codes = sae.transform(rows)
    bias = sae.inverse_transform(np.zeros((1, 32), np.float32))
    decoded = sae.inverse_transform(codes)
    assert_allclose(codes @ sae.components_ + bias, decoded, rtol=1e-3, atol=1e-3)
    save(sae, tmp_path / "sae")
    assert_array_equal(load(tmp_path / "sae").transform(rows), codes)
    to_saelens(sae, tmp_path / "saelens")
    again = from_saelens(tmp_path / "saelens", samples)
    assert_allclose(again.scale_, sae.scale_)
    assert_allclose(again.inverse_transform(again.transform(rows)), decoded, rtol=1e-3, atol=1e-2)
    # Training goes on in the same units.
    fit_unwarned(sae.set_params(warm_start=True), samples)
    assert_allclose(sae.scale_, again.scale_)


def test_a_target_of_several_modules(batches):
    net = Layers(20.0)
    x, y = (Activations(net, own, batches) for own in (("1:input",), NAMES))
    sae = crosscoder(x, y=y)
    assert isinstance(sae.scale_, float)
    assert_allclose(halves(sae.target_scale_)[1], 20 * halves(sae.target_scale_)[0], rtol=1e-4)
    assert sae.score(x, y) > 0.7


def test_one_scale_for_each_width():
    X = np.random.default_rng(0).normal(size=(50, 7)) * [1, 1, 1, 5, 5, 9, 9] + 3
    weights = np.arange(50.0)
    found = Scaling.from_data(X, weights, n_targets=2, widths=(3, 2, 2))
    parts = [Scaling.from_data(X[:, own], weights) for own in (slice(3), slice(3, 5), slice(5, 7))]
    assert_allclose(found.mean, [*parts[0].mean, *parts[1].mean])
    assert_allclose(found.scale, np.repeat([parts[0].scale, parts[1].scale], [3, 2]))
    assert found.target.scale == pytest.approx(parts[2].scale)
    assert_array_equal(found.starts, [0, 3])
    assert found.spread(X, weights, slice(5)) == pytest.approx(1.0)
