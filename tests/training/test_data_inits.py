"""Initial weights computed from the data."""

import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers import generator

from skvaeense.datasets import make_gaussian, make_linear_subspaces, make_sparse_dictionary
from skvaeense.models import VAE
from skvaeense.networks import Linear
from skvaeense.training._data_inits import DataInit, find_data_init, install, learning_rates
from skvaeense.training._structure import Candidate, find_structure, typical_rows

NOISE = 1e-3


def _scaled(X, dtype=torch.float32):
    X = X - X.mean(axis=0)
    scale = np.sqrt(np.square(X).mean())
    return torch.tensor(X / (scale if scale > 0 else 1), dtype=dtype)


def _linear_dimension(Z):
    variances = torch.linalg.svdvals(Z.double()).square()
    total = float(variances.sum())
    return int((variances.cumsum(0) < 0.99 * total).sum()) + 1 if total > 0 else 1


def _structure(Z, n_components=None):
    rank = _linear_dimension(Z)
    return find_structure(Z, n_components or 2 * rank, rank, NOISE, 0)


def _model(n_features, n_components, widths=(128, 128), dtype=torch.float32, seed=0):
    return VAE(Linear(widths), n_features, n_components, generator=generator(seed)).to(dtype)


@torch.no_grad()
def _is_active(model, Z):
    return model.posterior(Z).gate_logit < 0


class _Found(NamedTuple):
    """What the data suggests: an init, and the mask of active latents with it."""

    init: DataInit
    active: np.ndarray

    @property
    def kind(self):
        return self.init.candidate.kind

    @property
    def counts(self):
        return self.active.sum(axis=1)


def _find(Z, Z_valid, n_components=None):
    """Return what is found in Z, and is active for other samples without any training."""
    rank = _linear_dimension(Z)
    model = _model(Z.shape[1], n_components or 2 * rank)
    init = find_data_init(model, Z, Z_valid, linear_dimension=rank, common_noise=NOISE, seed=0)
    install(model.network, init.structure, init.candidate)
    return _Found(init, _is_active(model, Z_valid).numpy())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("dims", "n_features"), [((4, 4, 4), 40), ((2, 4, 8), 40)])
def test_counts_of_subspaces_are_right_before_training(dims, n_features, seed):
    X, _, dimension = make_linear_subspaces(
        3000, dims=dims, n_features=n_features, random_state=seed
    )
    Z = _scaled(X)
    found = _find(Z[:2000], Z[2000:])
    assert found.kind == "grouped"
    assert np.abs(found.counts - dimension[2000:]).mean() < 0.05


@pytest.mark.parametrize("seed", range(4))
def test_large_subspaces_are_found_from_any_guess(seed):
    X, _, dimension = make_linear_subspaces(
        5000, dims=(10, 20, 30), n_features=100, random_state=seed
    )
    Z = _scaled(X)
    found = _find(Z[:4000], Z[4000:])
    assert np.abs(found.counts - dimension[4000:]).mean() < 0.05


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("seed", [0, 103, 105])
def test_counts_of_atoms_are_nearly_right_before_training(signed, seed):
    X, _, dimension = make_sparse_dictionary(6000, signed=signed, random_state=seed)
    Z = _scaled(X)
    found = _find(Z[:4000], Z[4000:])
    assert found.kind == "single"
    assert np.abs(found.counts - dimension[4000:]).mean() < 0.2


def test_gaussian_data_is_always_open():
    Z = _scaled(make_gaussian(3000, dim=10, n_features=10, random_state=0)[0])
    found = _find(Z[:2000], Z[2000:])
    assert found.kind == "open"
    np.testing.assert_array_equal(found.counts, 10)


def test_noise_of_an_init_is_that_of_its_structure():
    """A plain one is trained at the common noise, others at no less than components leave."""
    X, *_ = make_linear_subspaces(2000, dims=(2, 3), n_features=20, noise=0.2, random_state=0)
    structure = _structure(_scaled(X), 10)
    assert structure.noise_of(Candidate("open")) == NOISE
    # Noise has 0.04 times the variance of the signal, and 15 of 20 directions are left to it.
    assert structure.noise == pytest.approx(1.2 * 0.04 / 1.04 * 15 / 20, rel=0.1)
    for candidate in structure.candidates()[:-1]:
        assert structure.noise_of(candidate) == structure.noise


@pytest.mark.parametrize("n_features", [8, 16])
def test_noise_in_all_directions_is_no_signal(n_features):
    X, *_ = make_linear_subspaces(
        2000, dims=(2, 4), n_features=n_features, noise=0.1, random_state=0
    )
    assert _structure(_scaled(X)).rank == 6


def test_weak_directions_are_signal():
    """More subspaces than there is room for leave a spectrum that ends unevenly, without noise."""
    X, *_ = make_linear_subspaces(2000, dims=(2, 3, 4), n_features=8, random_state=1)
    assert _structure(_scaled(X)).rank == 8


def test_components_and_atoms_reconstruct_the_signal():
    X, *_ = make_linear_subspaces(2000, dims=(2, 4), n_features=20, random_state=0)
    Z = _scaled(X).double()
    structure = _structure(Z)
    S = Z.numpy() @ structure.encoder.T - structure.modes
    np.testing.assert_allclose(structure.origin + S @ structure.atoms, Z.numpy(), atol=1e-6)
    assert structure.rank == 6


@pytest.mark.parametrize("kind", ["grouped", "single", "open"])
def test_installed_network_reconstructs_the_signal(kind):
    """Its decoder is given the means, so gates are no part of this."""
    Z = _scaled(make_linear_subspaces(2000, dims=(2, 4), n_features=20, random_state=0)[0])
    structure = _structure(Z)
    model = _model(20, 12)
    candidate = next(c for c in structure.candidates() if c.kind == kind)
    install(model.network, structure, candidate)
    with torch.no_grad():
        mean = model.posterior(Z).mean
        mean[:, structure.rank :] = 0
        reconstructed = model.decode(mean)
    np.testing.assert_allclose(reconstructed.numpy(), Z.numpy(), atol=1e-4)


def _far_rows(X, share=0.01, distance=20.0):
    rng = np.random.default_rng(0)
    n_far = int(share * len(X))
    directions = rng.standard_normal((n_far, X.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = distance * np.sqrt(np.square(X).sum(axis=1).mean())
    return rng.permutation(np.concatenate([X, radius * directions]))


def test_structure_ignores_far_rows():
    X, *_ = make_linear_subspaces(2000, dims=(2, 4, 8), n_features=40, random_state=0)
    Z = _scaled(_far_rows(X))
    assert _structure(Z).rank == 14
    far = ~typical_rows(Z.numpy())
    assert far.sum() == 20
    assert typical_rows(_scaled(X).numpy()).all()


def _awkward():
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((12, 50))
    one = rng.standard_normal((200, 1)) * np.ones(6)
    return {
        "zero": np.zeros((30, 4)),
        "one row": np.ones((1, 3)),
        "two rows": rng.standard_normal((2, 3)),
        "one feature": rng.standard_normal((50, 1)),
        "rank 1": one,
        "wide": wide,
        "20 rows": rng.standard_normal((20, 4)),
        "duplicates": np.repeat(rng.standard_normal((3, 5)), 40, axis=0),
        "constant features": np.c_[one, np.full((200, 3), 7.0)],
        "mostly zero": np.r_[np.zeros((190, 5)), rng.standard_normal((10, 5))],
        "binary": rng.integers(0, 2, (100, 8)).astype(float),
        "heavy tails": rng.standard_cauchy((500, 5)),
        "tiny spread": 1 + 1e-12 * rng.standard_normal((100, 4)),
    }


def _check_finite(model, Z):
    with torch.no_grad():
        error, kl = model.elbo(Z)
    assert torch.isfinite(error).all()
    assert torch.isfinite(kl).all()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    rates = learning_rates(model.network, Z)
    assert set(rates) < set(model.parameters())
    for parameter, rate in rates.items():
        rate = rate.expand_as(parameter)
        assert ((rate > 0) & (rate <= 1)).all()


AWKWARD = pytest.mark.parametrize("name", _awkward())
WIDTHS = pytest.mark.parametrize("widths", [(128, 128), (3, 5), (1, 1)], ids=str)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@DTYPES
@WIDTHS
@AWKWARD
def test_awkward_data_gives_finite_weights(name, widths, dtype):
    Z = _scaled(_awkward()[name], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n_components in (1, 7):
            structure = _structure(Z, n_components)
            model = _model(Z.shape[1], n_components, widths, dtype)
            assert 1 <= structure.rank <= n_components
            for candidate in structure.candidates():
                install(model.network, structure, candidate)
                _check_finite(model, Z)


@DTYPES
@WIDTHS
@AWKWARD
def test_awkward_data_has_an_init(name, widths, dtype):
    Z = _scaled(_awkward()[name], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n_components in (1, 7):
            model = _model(Z.shape[1], n_components, widths, dtype)
            settings = {"linear_dimension": _linear_dimension(Z), "common_noise": NOISE, "seed": 0}
            found = find_data_init(model, Z, Z[-10:], **settings)
            assert NOISE <= found.noise < np.inf
            install(model.network, found.structure, found.candidate)
            _check_finite(model, Z)


def test_the_same_init_is_found_again():
    """Whatever the weights of the model, and whatever else draws."""
    Z = _scaled(make_sparse_dictionary(4000, n_features=20, random_state=0)[0])
    settings = {"linear_dimension": 20, "common_noise": NOISE}
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(found))
        model = _model(20, 36, seed=len(found))
        init = find_data_init(model, Z[:3000], Z[3000:], **settings, seed=seed)
        install(model.network, init.structure, init.candidate)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_installing_again_gives_the_same_weights():
    Z = _scaled(make_sparse_dictionary(500, random_state=0)[0])
    candidate = Candidate("single", 30.0)
    models = [_model(40, 30), _model(40, 30)]
    install(models[1].network, _structure(Z), Candidate("open"))
    for model in models:
        install(model.network, _structure(Z), candidate)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)


def test_spare_latents_are_closed():
    Z = _scaled(make_linear_subspaces(1000, dims=(2, 3), n_features=10, random_state=0)[0])
    structure = _structure(Z, 12)
    model = _model(10, 12)
    assert structure.rank == 5
    for candidate in structure.candidates():
        install(model.network, structure, candidate)
        with torch.no_grad():
            std = model.posterior(Z).std
        assert (std[:, structure.rank :] > np.sqrt(0.9)).all()


def test_latents_without_room_for_their_gates_stay_open():
    Z = _scaled(make_sparse_dictionary(2000, random_state=0)[0])
    structure = _structure(Z, 30)
    model = _model(40, 30, widths=(20, 128))
    install(model.network, structure, Candidate("single", 100.0))
    share = _is_active(model, Z).float().mean(dim=0)
    assert (share[:10] < 0.5).all()
    assert (share[10:20] == 1).all()
    # The others are spare.
    assert structure.rank == 20
    assert (share[20:] == 0).all()
