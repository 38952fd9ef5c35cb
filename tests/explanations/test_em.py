"""Expectation maximisation of gates: sums, closed forms, and the number of latents."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import draw, generator

from skvaeense.datasets import make_sparse_dictionary
from skvaeense.explanations import GateDictionary, Gates, _gate_fits
from skvaeense.explanations._em import (
    GateEM,
    Wanted,
    make_em,
    maximise,
    mean_field_sums,
    n_target,
    pattern_sums,
    start_gates,
)
from skvaeense.explanations._gate_fits import PriceSearch
from skvaeense.explanations._gates import NEW_FALL
from skvaeense.explanations._search import find_gates

D, K, N = 6, 4, 60


def make_gates(d=D, k=K, positive=False):
    """Return random gates in double precision."""
    return Gates(
        weight=F.normalize(draw(k, d, seed=1), dim=1),
        bias=0.1 * draw(d, seed=2),
        probability=0.3 + 0.1 * draw(k, seed=3).sigmoid(),
        mean=0.5 * draw(k, seed=4),
        variance=1 + draw(k, seed=5).square(),
        noise_variance=torch.tensor(0.1).double(),
        price=torch.tensor(0.0).double(),
        positive=positive,
    )


def samples(gates, n=N):
    """Return samples of gates, and weights of 1."""
    k, d = gates.weight.shape
    code = gates.mean + gates.variance.sqrt() * draw(n, k, seed=10)
    code = code * (torch.rand(n, k, generator=generator(20)) < gates.probability)
    noise = gates.noise_variance.sqrt() * draw(n, d, seed=30)
    return gates.bias + code @ gates.weight + noise, torch.ones(n).double()


def gate_em(gates, n_samples=N, **params):
    return GateEM(gates, n_samples, generator(), Wanted(**params))


def fit(x, **params):
    """Return the gates that fit samples best."""
    given = x, torch.ones(len(x))
    return make_em(*given, Wanted(**params)).fit(*given)


@cache
def dictionary(n, n_atoms=12, n_active=2, n_features=8, signed=True):
    """Return samples with a mean square of 1, and the atoms."""
    X, *_, atoms = make_sparse_dictionary(
        n,
        n_atoms=n_atoms,
        n_active=n_active,
        n_features=n_features,
        signed=signed,
        noise=0.05,
        return_atoms=True,
        random_state=0,
    )
    return torch.from_numpy(X / np.sqrt(np.square(X).mean())).float(), torch.from_numpy(atoms)


def found_atoms(gates, atoms):
    """Return the share of the atoms that are columns."""
    cosines = (F.normalize(atoms, dim=1) @ gates.weight.double().T).abs()
    return float((cosines.max(dim=1).values > 0.98).double().mean())


# --- sums -------------------------------------------------------------------------------------


def test_sums_of_patterns_are_moments_of_the_posterior():
    gates = make_gates()
    x, weights = samples(gates)[0], draw(N, seed=7).square()
    sums, is_open = pattern_sums(gates, x, weights)
    A, t, m = gates.weight.T, gates.variance, gates.mean
    second, cross, error = torch.zeros(K + 1, K + 1), torch.zeros(K + 1, D), 0.0
    for sample, weight, own in zip(x, weights, is_open, strict=True):
        on = own.nonzero().ravel()
        precision = A[:, on].T @ A[:, on] / 0.1 + torch.diag(1 / t[on])
        covariance = torch.zeros(K + 1, K + 1).double()
        covariance[on[:, None], on] = torch.linalg.inv(precision)
        code = F.pad(torch.zeros(K), (0, 1), value=1.0).double()
        along = A[:, on].T @ (sample - gates.bias) / 0.1 + m[on] / t[on]
        code[on] = torch.linalg.solve(precision, along)
        second = second + weight * (covariance + torch.outer(code, code))
        cross = cross + weight * torch.outer(code, sample)
        left = sample - gates.bias - A @ code[:K]
        spread = torch.trace(A @ covariance[:K, :K] @ A.T)
        error = error + weight * (left @ left + spread)
    torch.testing.assert_close(sums.codes, second)
    torch.testing.assert_close(sums.cross, cross)
    torch.testing.assert_close(sums.error, error)
    torch.testing.assert_close(sums.n, weights.sum())
    torch.testing.assert_close(sums.n_open, weights @ is_open.double())
    torch.testing.assert_close(sums.length, weights @ is_open.sum(dim=1).double())


@pytest.mark.parametrize("positive", [False, True])
def test_whole_weights_are_as_good_as_copies(positive):
    gates = make_gates(positive=positive)
    x, copies = samples(gates)[0], torch.arange(N) % 3
    each = x.repeat_interleave(copies, dim=0)
    ones = torch.ones(len(each)).double()
    for sums in (mean_field_sums, lambda *given: pattern_sums(*given)[0]):
        found, expected = sums(gates, x, copies.double()), sums(gates, each, ones)
        torch.testing.assert_close(found, expected)


# --- closed forms -----------------------------------------------------------------------------


def test_maxima_are_where_the_formulas_say():
    gates = make_gates()
    # The last latent is hardly ever open, so its column stays.
    gates = gates._replace(probability=torch.tensor([0.3, 0.3, 0.3, 1e-6]).double())
    x, ones = samples(gates, 400)
    sums, is_open = pattern_sums(gates, x, ones)
    assert not is_open[:, 3].any()
    new, growth = maximise(gates, sums, learns_prior=True)
    torch.testing.assert_close(new.weight[3], gates.weight[3])
    assert float(growth[3]) == pytest.approx(1)
    assert 0 < float(new.probability[3]) < 1e-5
    columns = torch.cat([growth[:, None] * new.weight, new.bias[None]])
    torch.testing.assert_close(sums.codes @ columns, sums.cross, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(new.weight.norm(dim=1), torch.ones(K).double())
    q, some = is_open.sum(dim=0).double()[:3], slice(3)
    torch.testing.assert_close(new.probability[some], q / 400)
    first = (sums.codes[:K, K] * growth)[some] / q
    second = (sums.codes.diagonal()[:K] * growth**2)[some] / q
    trust, mean = q / (q + 2), new.mean[some]
    torch.testing.assert_close(mean, trust * first)
    spread = trust * (second - 2 * mean * first + mean.square())
    torch.testing.assert_close(new.variance[some], spread + (1 - trust) * gates.variance[some])
    kept, _ = maximise(gates, sums, learns_prior=False)
    for name in ("probability", "mean", "variance"):
        assert torch.equal(getattr(kept, name), getattr(gates, name))
    torch.testing.assert_close(kept.weight, new.weight)


def test_gates_that_diverged_are_no_error():
    x = torch.full((N, D), math.inf).double()
    sums = gate_em(make_gates()).step(x, torch.ones(N).double(), 0.1)
    assert not math.isfinite(float(sums.error))


def test_rounds_raise_the_bound_of_gates():
    true = make_gates()
    given = samples(true, 1000)
    turned = F.normalize(true.weight + 0.2 * draw(K, D, seed=8), dim=1)
    em = gate_em(true._replace(weight=turned), 1000)
    nats = [float(em.round(*given).nats) for _ in range(6)]
    # The bound rises at first, and then stays but for patterns that come and go.
    assert all(after > before - 5 for before, after in pairwise(nats))
    assert nats[-1] > nats[0] + 1000
    assert ((em.gates.weight * true.weight).sum(dim=1) > 0.99).all()


# --- the number of latents --------------------------------------------------------------------


def test_latents_with_equal_columns_become_one():
    gates = make_gates(k=5)
    gates.weight.copy_(torch.linalg.qr(draw(D, 5))[0].T)
    gates.weight[3] = -gates.weight[1]
    em = gate_em(gates)
    em.lost = torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0]).double()
    em._merge()
    assert len(em.gates.weight) == 4
    torch.testing.assert_close(em.gates.weight[2], gates.weight[3])


def test_latents_that_explain_less_than_they_cost_are_dropped():
    em = gate_em(make_gates(), 1000)
    cost = 0.5 * D * np.log(1000 * em.gates.probability.numpy()) / 1000
    em.lost = torch.from_numpy(cost * [0.9, 1.1, 1.2, 0.5])
    weight = em.gates.weight
    em._drop()
    assert torch.equal(em.gates.weight, weight[1:3])
    # At least one stays, and at most as many as are wanted.
    em.lost = torch.zeros(2).double()
    em._drop()
    assert len(em.gates.weight) == 1
    limited = gate_em(make_gates(), 1000, n_components=2)
    limited.lost = torch.tensor([1.0, 4.0, 3.0, 2.0]).double()
    limited._drop()
    assert torch.equal(limited.gates.weight, weight[1:3])


def test_missing_latents_never_open():
    gates = make_gates()
    padded = gate_em(gates).result(7)
    assert padded.weight.shape == (7, D)
    few, many = (one.infer(samples(gates)[0], 5).gate_logit for one in (gates, padded))
    torch.testing.assert_close(many[:, :K], few)
    assert (many[:, K:] < -10).all()


# --- fits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [{"length": 3.0}, {"share": 0.9}])
def test_codes_meet_a_target(target):
    x, _ = dictionary(2700, n_active=(1, 4))
    gates, new = fit(x[1200:], n_components=12, **target), x[:900]
    search = PriceSearch(gates, x[900:], torch.ones(1800), 300, Wanted(**target))
    gates, _ = search.found(has_table=False)
    found = find_gates(new, gates, gates.anneal(new, NEW_FALL).is_open).posterior
    length = float(found.is_open.sum(dim=1).float().mean())
    left = float((new - gates.decode(found)).square().mean())
    if "length" in target:
        assert length == pytest.approx(3, rel=0.1)
        assert left < 0.1
    else:
        assert left == pytest.approx(0.1, rel=0.15)
        assert length < 2.5
        assert float(gates.noise_variance) == pytest.approx(0.1)


def test_a_price_is_corrected_on_more_samples(monkeypatch):
    """The few samples on which it is found at first have other lengths than all samples."""
    monkeypatch.setattr(_gate_fits, "SOME_ENTRIES", 12 * 30)
    x, _ = dictionary(2700, n_active=(1, 4))
    gates, x = fit(x[1200:], n_components=12, length=3.0), x[:1200]

    def length(*, is_last):
        search = PriceSearch(gates, x, torch.ones(1200), 0, Wanted(length=3.0))
        priced, _ = search.found(has_table=False, is_last=is_last)
        found = find_gates(x, priced, priced.anneal(x, NEW_FALL).is_open).posterior
        return float(found.is_open.sum(dim=1).float().mean())

    assert length(is_last=True) == pytest.approx(3, rel=0.01)
    assert length(is_last=False) != pytest.approx(3, rel=0.02)


@pytest.mark.parametrize(
    ("n_atoms", "n_features", "n_active", "signed"), [(16, 16, 2, True), (24, 32, (1, 5), False)]
)
def test_atoms_are_found_and_their_number(n_atoms, n_features, n_active, signed):
    x, atoms = dictionary(1500, n_atoms, n_active, n_features, signed)
    gates = fit(x, positive=not signed)
    assert len(gates.weight) == n_atoms
    assert found_atoms(gates, atoms) == 1
    assert float(gates.probability.sum()) == pytest.approx(np.mean(n_active), rel=0.1)


def test_fits_do_not_vary_and_have_a_largest_number_of_latents():
    x, _ = dictionary(200)
    first, second = (fit(x, n_components=8) for _ in range(2))
    assert len(first.weight) == 8
    assert torch.equal(first.weight, second.weight)


def test_first_gates_explain_the_variance():
    x, _ = dictionary(500, 16, 2, 12)
    for positive in (False, True):
        gates = start_gates(x, Wanted(positive=positive), generator())
        torch.testing.assert_close(gates.weight.norm(dim=1), torch.ones(len(gates.weight)))
        second = gates.probability * (gates.mean.square() + gates.variance)
        assert float(second.sum()) == pytest.approx(12, rel=1e-4)
        assert (gates.mean > 0).all() == positive
    cosines = (gates.weight[:12] @ torch.linalg.svd(x).Vh[:12].T).abs()
    torch.testing.assert_close(cosines, torch.eye(12), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("x", "n_first", "n_with_target"),
    [(draw(1000, 5), 30, 20), (draw(20, 5), 5, 10), (torch.zeros(1, 5), 1, 4)],
)
def test_first_number_of_latents(x, n_first, n_with_target):
    assert len(start_gates(x, Wanted(), generator()).weight) == n_first
    assert n_target(x, 3.5) == n_with_target


def test_batches_are_remembered(monkeypatch):
    """After the first steps, parameters are those of sums over batches."""
    monkeypatch.setattr(GateEM, "n_steps", 10)
    x, atoms = dictionary(2000, 16, 2, 16)
    first = fit(x[:1000])
    turned = F.normalize(first.weight + 0.03 * draw(*first.weight.shape).float())
    em = gate_em(first._replace(weight=turned), 1000)
    for batch in x[1000:].split(50):
        em.absorb(batch, torch.ones(len(batch)))
    assert float(em.past.n) == pytest.approx(1000, abs=100)
    assert found_atoms(em.gates, atoms) == 1


def test_a_dictionary_has_the_atoms_that_samples_need():
    X = make_sparse_dictionary(
        600, n_atoms=10, n_active=2, n_features=10, noise=0.05, random_state=0
    )[0]
    fitted = GateDictionary(24, random_state=0).fit(X)
    assert fitted.n_components_ == 10
    assert fitted.components_.any(axis=1).all()
    codes = fitted.transform(X)
    assert codes.shape == (600, 10)
    assert fitted.inverse_transform(codes).shape == X.shape
    assert fitted.partial_fit(X).n_components_ == 10
    noise = np.random.default_rng(0).standard_normal((200, 4))
    assert GateDictionary(3, random_state=0).fit(noise).transform(noise).shape[1] >= 1


def test_rare_atoms_are_found():
    """A quarter of the atoms is in 20 to 60 of 20,000 samples, together with other atoms."""
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((48, 24))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    is_open = rng.uniform(size=(20_000, 48)) < np.geomspace(0.12, 0.001, 48)
    X = (is_open * np.abs(rng.normal(1, 0.3, is_open.shape))) @ atoms
    X += 0.03 * rng.standard_normal(X.shape)
    found = GateDictionary(random_state=0).fit(X).components_
    cosines = np.abs(atoms @ F.normalize(torch.from_numpy(found), dim=1).numpy().T)
    assert (cosines.max(axis=1)[-12:] > 0.9).mean() > 0.9
    assert (cosines.max(axis=1) > 0.9).mean() > 0.95
    assert (cosines.max(axis=0) > 0.9).mean() > 0.85
