"""Initial weights computed from the data."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from skvaeense.datasets import make_gaussian, make_linear_subspaces, make_sparse_dictionary
from skvaeense.training._data_inits import (
    Candidate,
    best_candidate,
    find_dictionary_structure,
    find_structure,
    find_subspace_structure,
    install,
    learning_rates,
    typical_rows,
)

NOISE = 1e-3


class _Network(nn.Module):
    """The encoder and decoder that `install` writes into."""

    def __init__(self, n_features, n_components, widths=(128, 128), dtype=torch.float32):
        super().__init__()
        hidden, outer = widths
        self.first = nn.Linear(n_features, hidden + n_components, dtype=dtype)
        self.second = nn.Linear(hidden, outer, dtype=dtype)
        self.heads = nn.Linear(outer, 2 * n_components, dtype=dtype)
        self.decoder = nn.Linear(n_components, n_features, dtype=dtype)

    @torch.no_grad()
    def posterior(self, X):
        """Return mean and log variance."""
        n_components = self.decoder.in_features
        inputs = self.first(X)
        hidden = functional.silu(inputs[:, :-n_components])
        mean, logit = self.heads(functional.silu(self.second(hidden))).chunk(2, dim=1)
        return mean + inputs[:, -n_components:], functional.logsigmoid(logit)

    @torch.no_grad()
    def bound(self, X, noise):
        """Return the mean of -2 ELBO, and the number of active latents of each sample."""
        mean, log_variance = self.posterior(X)
        std = (0.5 * log_variance).exp()
        gate = 1 - std
        error = (X - self.decoder(gate * mean)).square().sum(dim=1)
        error += (gate * std).square() @ self.decoder.weight.square().sum(dim=0)
        kl = (std.square() + mean.square() - 1 - log_variance).sum(dim=1)
        bound = (error / noise + kl).mean() + X.shape[1] * math.log(2 * math.pi * noise)
        return float(bound), (log_variance < math.log(0.5)).sum(dim=1).numpy()


def _scaled(X, dtype=torch.float32):
    X = X - X.mean(axis=0)
    scale = np.sqrt(np.square(X).mean())
    return torch.tensor(X / (scale if scale > 0 else 1), dtype=dtype)


def _linear_dimension(Z):
    variances = torch.linalg.svdvals(Z.double()).square()
    total = float(variances.sum())
    return int((variances.cumsum(0) < 0.99 * total).sum()) + 1 if total > 0 else 1


def _structure(Z, n_components=None, noise=NOISE):
    rank = _linear_dimension(Z)
    return find_structure(Z, n_components or 2 * rank, rank, noise, 0)


def _best_counts(Z, Z_test, widths=(128, 128)):
    """Return the kind of the best candidate, and its counts without any training."""
    structure = _structure(Z)
    network = _Network(Z.shape[1], 2 * structure.rank, widths)
    bounds = {}
    for candidate in structure.candidates():
        install(network, structure, candidate)
        bounds[candidate] = network.bound(Z, structure.noise)[0]
    best = best_candidate(bounds, Z.shape[1])
    install(network, structure, best)
    return best.kind, network.bound(Z_test, structure.noise)[1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("dims", "n_features"), [((4, 4, 4), 40), ((2, 4, 8), 40)])
def test_counts_of_subspaces_are_right_before_training(dims, n_features, seed):
    X, _, dimension = make_linear_subspaces(
        3000, dims=dims, n_features=n_features, random_state=seed
    )
    Z = _scaled(X)
    kind, counts = _best_counts(Z[:2000], Z[2000:])
    assert kind == "grouped"
    assert np.abs(counts - dimension[2000:]).mean() < 0.05


@pytest.mark.parametrize("seed", range(4))
def test_large_subspaces_are_found_from_any_guess(seed):
    X, _, dimension = make_linear_subspaces(
        5000, dims=(10, 20, 30), n_features=100, random_state=seed
    )
    Z = _scaled(X)
    _, counts = _best_counts(Z[:4000], Z[4000:])
    assert np.abs(counts - dimension[4000:]).mean() < 0.05


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("seed", [0, 103, 105])
def test_counts_of_atoms_are_nearly_right_before_training(signed, seed):
    X, _, dimension = make_sparse_dictionary(6000, signed=signed, random_state=seed)
    Z = _scaled(X)
    kind, counts = _best_counts(Z[:4000], Z[4000:])
    assert kind == "single"
    assert np.abs(counts - dimension[4000:]).mean() < 0.2


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize(("dims", "n_features"), [((4,) * 8, 20), ((3,) * 5, 10), ((2, 2, 2), 5)])
def test_more_subspaces_than_components(dims, n_features, noise):
    X, _, dimension = make_linear_subspaces(
        6000, dims=dims, n_features=n_features, noise=noise, random_state=0
    )
    Z = _scaled(X)
    n_components = 2 * n_features
    structure = find_subspace_structure(
        Z[:4000], _structure(Z[:4000], n_components), n_components, 0
    )
    assert structure.rank == sum(dims)
    network = _Network(n_features, n_components)
    results = []
    for candidate in structure.candidates():
        install(network, structure, candidate)
        results.append(network.bound(Z[4000:], structure.noise))
    _, counts = min(results, key=lambda result: result[0])
    assert np.abs(counts - dimension[4000:]).mean() < 0.1


def test_more_atoms_than_components():
    X, _, _, truth = make_sparse_dictionary(
        4000, n_atoms=30, n_active=2, n_features=20, return_atoms=True, random_state=0
    )
    Z = _scaled(X)
    structure = find_dictionary_structure(Z, _structure(Z), 36, 0)
    found = structure.atoms / np.linalg.norm(structure.atoms, axis=1, keepdims=True)
    truth = truth / np.linalg.norm(truth, axis=1, keepdims=True)
    assert np.median(np.abs(truth @ found.T).max(axis=1)) > 0.98
    assert 30 <= structure.rank <= 36


@pytest.mark.parametrize(
    "draw", [make_gaussian, make_sparse_dictionary], ids=["normal", "dictionary"]
)
def test_no_subspaces_where_there_are_none_or_too_many(draw):
    Z = _scaled(draw(3000, random_state=0)[0])
    assert find_subspace_structure(Z, _structure(Z), 40, 0) is None


def test_gaussian_data_is_always_open():
    Z = _scaled(make_gaussian(3000, dim=10, n_features=10, random_state=0)[0])
    kind, counts = _best_counts(Z[:2000], Z[2000:])
    assert kind == "open"
    np.testing.assert_array_equal(counts, 10)


def test_components_and_atoms_reconstruct_the_signal():
    X, *_ = make_linear_subspaces(2000, dims=(2, 4), n_features=20, random_state=0)
    Z = _scaled(X).double()
    structure = _structure(Z)
    S = Z.numpy() @ structure.encoder.T - structure.modes
    np.testing.assert_allclose(structure.origin + S @ structure.atoms, Z.numpy(), atol=1e-6)
    assert structure.rank == 6


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


def _check_finite(network, rates, Z, noise):
    assert math.isfinite(network.bound(Z, noise)[0])
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter).all()
        rate = rates[name].expand_as(parameter)
        assert ((rate > 0) & (rate <= 1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("widths", [(128, 128), (3, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("name", _awkward())
def test_awkward_data_gives_finite_weights(name, widths, dtype):
    Z = _scaled(_awkward()[name], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n_components in (1, 7):
            structure = _structure(Z, n_components)
            network = _Network(Z.shape[1], n_components, widths, dtype)
            assert 1 <= structure.rank <= n_components
            subspaces = find_subspace_structure(Z, structure, n_components, 0)
            dictionary = find_dictionary_structure(Z, structure, n_components, 0)
            for one in (s for s in (structure, subspaces, dictionary) if s is not None):
                for candidate in one.candidates():
                    install(network, one, candidate)
                    _check_finite(network, learning_rates(network, Z), Z, structure.noise)


def test_installing_again_gives_the_same_weights():
    Z = _scaled(make_sparse_dictionary(500, random_state=0)[0])
    candidate = Candidate("single", 30.0)
    networks = [_Network(40, 30), _Network(40, 30)]
    install(networks[1], _structure(Z), Candidate("open"))
    for network in networks:
        install(network, _structure(Z), candidate)
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(one, other)


def test_spare_latents_are_closed():
    Z = _scaled(make_linear_subspaces(1000, dims=(2, 3), n_features=10, random_state=0)[0])
    structure = _structure(Z, 12)
    network = _Network(10, 12)
    for candidate in structure.candidates():
        install(network, structure, candidate)
        _, log_variance = network.posterior(Z)
        assert (log_variance[:, structure.rank :] > math.log(0.9)).all()


def test_latents_without_room_for_their_gates_stay_open():
    Z = _scaled(make_sparse_dictionary(2000, random_state=0)[0])
    structure = _structure(Z, 30)
    network = _Network(40, 30, widths=(20, 128))
    install(network, structure, Candidate("single", 100.0))
    _, log_variance = network.posterior(Z)
    n_active = (log_variance < math.log(0.5)).float().mean(dim=0)
    assert (n_active[:10] < 0.5).all()
    assert (n_active[10:20] == 1).all()


def test_a_candidate_has_to_be_clearly_better_than_the_open_one():
    single, plain = Candidate("single", 10.0), Candidate("open")
    assert best_candidate({single: 1.0, plain: 2.0}, n_features=10) == plain
    assert best_candidate({single: -1.0, plain: 2.0}, n_features=10) == single
