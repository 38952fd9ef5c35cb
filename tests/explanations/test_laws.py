"""Laws: codes, densities, draws, units and files of flat parts, of gates and of mixtures."""

import copy
import itertools
import math
import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import arrays_of, draw
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal

from skvaeense.datasets import make_linear_subspaces
from skvaeense.explanations import FlatLaw, GateLaw, Gates
from skvaeense.explanations._em import Wanted
from skvaeense.explanations._explain import explain
from skvaeense.explanations._flats import one_flat
from skvaeense.explanations._gate_fits import PriceSearch, _mean_of_new
from skvaeense.explanations._gates import restricted_code
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._fit import FlatPart
from skvaeense.mixture._rows import Prepared

# --- laws of two features, whose density has a sum over a grid ----------------------------------

STEP = 0.1
AXIS = np.arange(-12, 12, STEP)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)
APART = np.array([[-5.0, 1.0], [5.0, -1.0]])


def line(angle, mean=(0.0, 0.0), weight=0.5, variance=2.0, noise=0.1):
    basis = np.array([[np.cos(angle), np.sin(angle)]])
    return FlatPart(weight, np.array(mean), basis, np.array([variance]), noise)


def flats():
    """Return two lines through a point, one of them in two pieces, and two latents too many."""
    end, other = line(0.0, (3.0, 0.0), 0.2), line(0.0, (-2.0, 0.0), 0.3)
    parts = [line(0.0, variance=6.0), line(1.2)]
    pieces, groups = [end, other, parts[1]], np.array([0, 0, 1])
    points = np.array([[0.1, 0.0]])
    return FlatLaw.of(pieces, parts, groups, points, np.zeros(2, dtype=int), 4)


def flats_apart():
    parts = [line(0.3, APART[0], 0.4), line(1.5, APART[1], 0.6)]
    return FlatLaw.of(parts, parts, np.arange(2), APART, np.arange(2))


def flat_alone():
    parts, zero = [line(0.7, (1.0, 2.0), 1.0)], np.zeros(1, dtype=int)
    return FlatLaw.of(parts, parts, zero, np.array([[1.0, 2.0]]), zero)


def gates_of(n_features=2, n_components=3, noise=0.1, **changes):
    """Return random gates in double precision."""
    gates = Gates(
        weight=F.normalize(draw(n_components, n_features, seed=1), dim=1),
        bias=0.3 * draw(n_features, seed=2),
        probability=draw(n_components, seed=7).sigmoid(),
        mean=draw(n_components, seed=8).abs(),
        variance=0.5 + draw(n_components, seed=9).square(),
        noise_variance=torch.tensor(noise).double(),
        price=torch.tensor(0.0).double(),
    )
    return gates._replace(**changes)


def columns(*angles):
    return torch.tensor([[math.cos(angle), math.sin(angle)] for angle in angles]).double()


def gate_law():
    gates = gates_of(n_components=2, noise=0.05, weight=columns(0.2, 1.5))
    return GateLaw(gates, np.array([0.5, -0.5]), 1.5)


def gates_apart():
    gates = gates_of(n_components=4, weight=columns(0.2, 1.5, 0.7, -0.9))
    gates = gates._replace(bias=torch.zeros(2).double())
    shares = np.array([0.3, 0.7])
    owners = np.array([0, 0, 1, 1])
    return GateLaw(gates, np.zeros(2), 1.0, points=APART, owners=owners, shares=shares)


def mixture():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((3, 2, 2)))[0]
    directions[0, :, 1] = 0
    variances = np.array([[3.0, 0.3], [1.0, 0.6], [2.0, 1.0]])
    return MixtureDensity(
        np.array([1.0, 0.0]),
        np.eye(2),
        np.array([0.2, 0.3, 0.5]),
        rng.standard_normal((3, 2)),
        directions,
        variances,
        np.array([0.3, 0.2, 0.5]),
        dimensions=np.array([1, 2, 1]),
        scale=np.array([1.0, 1.5]),
    )


CODERS = {
    "flats": flats,
    "flats apart": flats_apart,
    "one flat": flat_alone,
    "gates": gate_law,
    "gates apart": gates_apart,
}
LAWS = {name: make() for name, make in (CODERS | {"mixture": mixture}).items()}


@pytest.fixture(params=LAWS)
def law(request):
    """Return each law in turn."""
    return LAWS[request.param]


@pytest.fixture(params=CODERS)
def coder(request):
    """Return each law of codes in turn."""
    return LAWS[request.param]


@pytest.fixture(params=["flats apart", "gates apart"])
def apart(request):
    """Return each law with two locations in turn."""
    return LAWS[request.param]


def rng(seed=0):
    return np.random.RandomState(seed)


def draws(law, n, seed=0):
    drawn = law.sample(n, rng(seed))
    return drawn[0] if isinstance(law, MixtureDensity) else drawn


def values(codes):
    return np.asarray(codes.values)


def log_density(law, X):
    """Return the exact log-density, by sums over normal distributions or patterns of gates."""
    if isinstance(law, GateLaw) and law.points is not None:
        each = [log_density(law._at(g), X) + np.log(law.shares[g]) for g in range(2)]
        return logsumexp(each, axis=0)
    if isinstance(law, GateLaw):
        terms, gates = [], law.gates
        p = np.asarray(gates.probability)
        for pattern in itertools.product([False, True], repeat=len(p)):
            on = np.array(pattern)
            columns, t = law.components[on], np.asarray(gates.variance)[on]
            covariance = (columns.T * t) @ columns + law.noise_variance * np.eye(len(law.center))
            mean = law.mean + np.asarray(gates.mean)[on] @ columns
            share = np.log(np.where(on, p, 1 - p)).sum()
            terms.append(share + multivariate_normal(mean, covariance).logpdf(X))
        return logsumexp(terms, axis=0)
    mixture = law if isinstance(law, MixtureDensity) else law.pieces
    means = mixture.center + mixture.unit * (mixture.means @ mixture.basis.T)
    normals = [
        multivariate_normal(mean, mixture.covariance(c)).logpdf(X) for c, mean in enumerate(means)
    ]
    return logsumexp(np.log(mixture.weights)[:, None] + normals, axis=0)


# --- densities and draws ------------------------------------------------------------------------


def test_densities_integrate_to_1(law):
    """A bound is below the density, and not by much."""
    total = np.exp(law.log_prob(GRID)).sum() * STEP**2
    if isinstance(law, GateLaw):
        assert 0.95 < total < 1
    else:
        assert total == pytest.approx(1, abs=2e-3)


def test_log_densities_are_those_of_sums(law):
    X = draws(law, 200)
    exact = log_density(law, X)
    if isinstance(law, GateLaw):
        assert (law.log_prob(X) <= exact + 1e-9).all()
        assert (exact - law.log_prob(X)).mean() < 0.05
    else:
        assert_allclose(law.log_prob(X), exact, rtol=1e-7)


def test_draws_have_the_density(law):
    X, mass = draws(law, 20_000), np.exp(log_density(law, GRID)) * STEP**2
    assert X.shape == (20_000, 2)
    for angle in np.linspace(0, np.pi, 7)[:-1]:
        normal = np.array([np.cos(angle), np.sin(angle)])
        for offset in (-0.95, 0.05, 2.05):
            # Points of the grid are the middles of cells.
            expected = mass[GRID @ normal < offset].sum()
            assert (X @ normal < offset).mean() == pytest.approx(expected, abs=0.02)


def test_draws_come_from_the_generator(law):
    first, again, other = (draws(law, 6, seed) for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert (first != other).all()


# --- codes --------------------------------------------------------------------------------------


def test_codes_decode_to_the_samples_up_to_noise(coder):
    X = draws(coder, 2000)
    codes = coder.encode(X)
    assert codes.values.shape == codes.active.shape == (2000, coder.n_components)
    error = np.square(X - coder.decode(values(codes))).mean()
    assert error < 1.5 * coder.noise_variance
    # Without codes, far more is left.
    origins = coder.mean if coder.points is None else coder.points[coder.assign(X)]
    assert error < 0.5 * np.square(X - origins).mean()


def test_codes_are_0_where_latents_are_not_active(coder):
    X = draws(coder, 500)
    codes, soft = coder.encode(X), coder.encode(X, hard=False)
    active = np.asarray(codes.active)
    assert_array_equal(values(codes) != 0, active)
    assert not np.signbit(values(codes)[~active]).any()
    assert_array_equal(active, soft.active)
    assert 0 < active.mean() < 1 or coder is LAWS["one flat"]
    openness, _, std = map(np.asarray, coder.posterior(X))
    assert openness.shape == std.shape == active.shape
    assert ((openness >= 0) & (openness <= 1)).all()
    assert (std > 0).all()
    assert openness[active].min() > openness[~active].max(initial=0)


def test_codes_of_a_sample_depend_on_it_alone(coder):
    X = draws(coder, 20)
    together = values(coder.encode(X))
    alone = np.concatenate([values(coder.encode(row[None])) for row in X])
    assert_allclose(alone, together, atol=1e-9)


def test_codes_have_an_origin_and_components(coder):
    assert coder.components.shape == (coder.n_components, 2)
    zero, one = np.zeros((1, coder.n_components)), np.eye(coder.n_components)
    assert_allclose(coder.decode(zero)[0], coder.mean if coder.points is None else coder.points[0])
    origins = coder.mean if coder.points is None else coder.points[coder.owners]
    assert_allclose(coder.decode(2.0 * one), origins + 2.0 * coder.components)


def test_codes_in_single_precision(coder):
    X = draws(coder, 200)
    single = coder.encode(X.astype(np.float32))
    agree = np.asarray(single.active) == np.asarray(coder.encode(X).active)
    assert agree.mean() > 0.99
    assert_allclose(values(single)[agree], values(coder.encode(X))[agree], atol=1e-3)


def test_active_latents_tell_the_location(apart):
    X = draws(apart, 500)
    labels = apart.assign(X)
    distances = np.linalg.norm(X[:, None] - APART, axis=2)
    clear = np.abs(distances[:, 0] - distances[:, 1]) > 4
    assert_array_equal(labels[clear], distances.argmin(axis=1)[clear])
    codes = apart.encode(X)
    active = np.asarray(codes.active)
    # No sample uses latents of another location.
    assert not (active & (apart.owners != labels[:, None])).any()
    is_told = active.any(axis=1)
    assert is_told.mean() > 0.9
    assert_array_equal(apart.owner_of(values(codes))[is_told], labels[is_told])
    assert_array_equal(apart.owner_of(0 * values(codes)), 0)


# --- units --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1e3, 1e100])
def test_a_law_in_other_units_is_the_same_law(law, scale):
    center = scale * np.array([3.0, -7.0])
    X, moved = draws(law, 100), law.in_units(center, scale)
    Y = center + scale * X
    assert_allclose(moved.log_prob(Y), law.log_prob(X) - 2 * np.log(scale), rtol=1e-6, atol=1e-6)
    assert_allclose(draws(moved, 100), Y, rtol=1e-9, atol=1e-9 * scale)
    back = moved.in_units(-center / scale, 1 / scale)
    assert_allclose(back.log_prob(X), law.log_prob(X), rtol=1e-6, atol=1e-6)
    if isinstance(law, MixtureDensity):
        return
    codes, same = law.encode(X), moved.encode(Y)
    assert_array_equal(same.active, codes.active)
    assert_allclose(values(same), values(codes), atol=1e-6)
    decoded = center + scale * law.decode(values(codes))
    assert_allclose(moved.decode(values(codes)), decoded, atol=1e-9 * scale)
    assert_allclose(moved.mean, center + scale * law.mean)
    assert_allclose(moved.components, scale * law.components)
    assert moved.noise_variance == pytest.approx(scale**2 * law.noise_variance)
    for one, other in zip(law.posterior(X), moved.posterior(Y), strict=True):
        assert_allclose(other, one, atol=1e-6)
    if law.points is not None:
        assert_allclose(moved.points, center + scale * law.points)
        assert_array_equal(moved.assign(Y), law.assign(X))


# --- files --------------------------------------------------------------------------------------


def with_table():
    """Return gates in single precision with prices."""
    gates = gates_of(8, 20, probability=torch.full((20,), 0.3).double())
    gates = gates.to(torch.zeros(1))
    x = 3 * draw(300, 8, seed=3).float()
    gates, table = PriceSearch(gates, x, torch.ones(300), 100, Wanted(length=4.0)).found()
    gates = gates._replace(positive=True)
    return GateLaw(gates, np.arange(8.0), 2.0, table, has_target=True)


def with_background():
    broad = mixture()
    background = broad.raised(9.0)
    found = {"held_out": np.random.default_rng(0).standard_normal((5, 2)), "pulls": np.full(2, 0.4)}
    return replace(broad, background=background, background_weight=0.1, **found)


SAVED = LAWS | {"gates with prices": with_table(), "mixture with background": with_background()}


@pytest.mark.parametrize("name", SAVED)
def test_arrays_give_the_same_law_bit_for_bit(name):
    law = SAVED[name]
    arrays = arrays_of(law)
    copies = {key: copy.deepcopy(value) for key, value in law.arrays().items()}
    for again in (type(law).from_arrays(copies), pickle.loads(pickle.dumps(law))):
        same_arrays = arrays_of(again)
        assert same_arrays.keys() == arrays.keys()
        for key, value in arrays.items():
            same = same_arrays[key]
            assert_array_equal(same, value)
            assert np.asarray(same).dtype == np.asarray(value).dtype
        X = draws(law, 30)
        assert_array_equal(again.log_prob(X), law.log_prob(X))
        assert_array_equal(draws(again, 30), X)
        if not isinstance(law, MixtureDensity):
            codes = values(law.encode(X))
            assert_array_equal(values(again.encode(X)), codes)
            assert_array_equal(again.decode(codes), law.decode(codes))
    # Laws do not change, so copies of estimators share them.
    assert copy.deepcopy(law) is law


def damaged(value):
    """Yield damaged versions of an array or a number, or wrong parts of a law."""
    if isinstance(value, MixtureDensity):
        yield value.arrays()
        yield replace(value, center=np.zeros(value.n_features + 1))
        return
    array = np.asarray(value)
    if array.dtype.kind == "b":
        return
    if array.dtype.kind == "f":
        for wrong in (np.nan, np.inf):
            bad = array.copy()
            bad[(0,) * array.ndim] = wrong
            yield bad if array.ndim else float(bad)
    else:
        yield array.astype(float)
        yield array + 1000
        yield array - 1000
    if array.ndim:
        yield array[:-1]
        yield array[None]
    else:
        yield np.ones(3)


@pytest.mark.parametrize("name", SAVED)
def test_damaged_arrays_do_not_pass(name):
    law = SAVED[name]
    arrays = {key: value for key, value in law.arrays().items() if value is not None}
    # These have any number of entries, of which each is valid on its own.
    free = {"held_out": lambda bad: np.ndim(bad) == 2}
    # Laws without these are other laws.
    optional = ("held_out", "dimensions", "background", "background_weight", "points", "prices")
    optional += ("scale", "pulls") if isinstance(law, MixtureDensity) else ()
    n_tried = 0
    for key, value in arrays.items():
        for bad in damaged(value):
            if key in free and np.isfinite(bad).all() and free[key](bad):
                continue
            n_tried += 1
            with pytest.raises((ValueError, IndexError)):
                type(law).from_arrays(arrays | {key: bad})
        if not key.endswith(optional):
            with pytest.raises((ValueError, KeyError, TypeError)):
                type(law).from_arrays({k: v for k, v in arrays.items() if k != key})
    assert n_tried > 20


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gates", {"variance": np.array([1.0, 0.0])}, "variance must be above 0"),
        ("gates", {"noise_variance": np.array(-1.0)}, "noise_variance must be above 0"),
        ("gates", {"scale": 0.0}, "scale must be above 0"),
        ("gates", {"probability": np.array([0.5, 1.0])}, "probability must be below 1"),
        ("gates apart", {"shares": np.array([0.5, 0.6])}, "shares must sum to 1"),
        ("gates apart", {"owners": np.array([0, 0, 1, 2])}, "owners must be below 2"),
        ("flats", {"noise_variance": 0.0}, "noise_variance must be above 0"),
        ("flats", {"groups": np.array([0, 0, 3])}, "groups must be below 3"),
        ("flats apart", {"owners": np.array([0, -1])}, "owners must be at least 0"),
        ("mixture", {"weights": np.array([0.5, 0.5, 0.5])}, "weights must sum to 1"),
        ("mixture", {"noise_variances": np.array([0.3, 0.0, 0.5])}, "must be above 0"),
        ("mixture", {"basis": 2 * np.eye(2)}, "orthonormal"),
    ],
)
def test_impossible_numbers_do_not_pass(name, changes, message):
    law = LAWS[name]
    with pytest.raises(ValueError, match=message):
        type(law).from_arrays(law.arrays() | changes)


# --- gates --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_components", [4, 13])
def test_codes_of_gates_are_the_best_ones_of_their_open_gates(n_components):
    """As many steps as features solve the equations exactly."""
    law, X = GateLaw(gates_of(5, n_components, 0.3), np.zeros(5), 1.0), draw(30, 5).numpy()
    codes = law.encode(X)
    for code, is_open, sample in zip(values(codes), np.asarray(codes.active), X, strict=True):
        left = sample - law.mean - code @ law.components
        # The residual has no component along open columns.
        assert_allclose(law.components[is_open] @ left, 0, atol=1e-7)
    assert 0 < np.asarray(codes.active).mean() < 1


def test_every_step_of_a_code_leaves_less():
    gates = gates_of(5, 4, 0.3)
    law, X = GateLaw(gates, np.zeros(5), 1.0), draw(40, 5).numpy()
    found, losses = law.infer(X), []
    for n_steps in (0, 1, 2, 5):
        parts = found.mean, found.is_open, found.seen, gates.weight.T
        code = restricted_code(*parts, n_steps, positive=False)
        losses.append(np.square(X - law.decode(code.numpy())).sum(axis=1))
    for more, fewer in itertools.pairwise(losses):
        assert (fewer <= more + 1e-9).all()
    assert losses[-1].mean() < losses[0].mean()


@pytest.mark.parametrize("positive", [False, True])
def test_signs_of_codes_of_gates(positive):
    law = GateLaw(gates_of(5, 4, 0.3, positive=positive), np.zeros(5), 1.0)
    codes = law.encode(2 * draw(200, 5).numpy())
    assert (codes.values[codes.active] > 0).all() == positive
    assert (codes.values[~codes.active] == 0).all()


def test_draws_of_gates_have_the_prior():
    gates = gates_of(4, 4, 1e-12, weight=torch.eye(4).double(), bias=torch.zeros(4).double())
    codes = GateLaw(gates, np.zeros(4), 1.0).sample(20_000, rng())
    is_open = np.abs(codes) > 1e-4
    assert_allclose(is_open.mean(axis=0), gates.probability, atol=0.02)
    for j in range(4):
        own = codes[is_open[:, j], j]
        assert own.mean() == pytest.approx(float(gates.mean[j]), abs=0.1)
        assert own.var() == pytest.approx(float(gates.variance[j]), rel=0.1)


# --- lengths of codes of gates ------------------------------------------------------------------


def many():
    """Return gates with many latents, and samples."""
    gates = gates_of(8, 20, 0.3, probability=torch.full((20,), 0.3).double())
    return gates, 3 * draw(400, 8, seed=3)


def priced(**target):
    """Return the law of gates at the price that meets a target, and the samples."""
    gates, x = many()
    gates, table = PriceSearch(gates, x, torch.ones(400).double(), 0, Wanted(**target)).found()
    return GateLaw(gates, np.zeros(8), 1.0, table, has_target=bool(target)), x.numpy()


def length_of(law, X):
    return float(law.encode(X).active.double().sum(dim=1).mean())


@pytest.mark.parametrize("target", [1.5, 4.0, 8.0])
def test_a_price_meets_the_target(target):
    law, X = priced(length=target)
    assert law.table.longest == pytest.approx(target, rel=0.02)
    assert length_of(law, X) == pytest.approx(target, rel=0.02)
    for share in (0.9, 0.5, 0.3, 0.1):
        shorter = law.at_length(share * target)
        assert length_of(shorter, X) == pytest.approx(share * target, rel=0.12)
    assert length_of(law, X) == pytest.approx(target, rel=0.02)


def test_codes_without_a_target_get_shorter_too():
    law, X = priced()
    longest = length_of(law, X)
    assert law.table.longest == pytest.approx(longest)
    assert length_of(law.at_length(longest / 3), X) == pytest.approx(longest / 3, rel=0.12)


def left_by(law, X):
    residual = X - law.decode(values(law.encode(X)))
    return np.square(residual).sum() / np.square(X - X.mean(axis=0)).sum()


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
def test_a_price_meets_the_share_of_the_variance(share):
    law, X = priced(share=share)
    assert left_by(law, X) == pytest.approx(1 - share, rel=0.02)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_length_keeps_a_share_of_the_variance(share):
    law, X = priced(length=6.0)
    shorter = law.at_length(law.table.length_that_keeps(share))
    assert left_by(shorter, X) == pytest.approx(1 - share, rel=0.1)
    # No code is longer than the longest.
    assert law.table.length_that_keeps(1 - 1e-9) == pytest.approx(law.table.longest)


def test_prices_rise_while_codes_get_shorter():
    table = priced(length=4.0)[0].table
    assert (np.diff(table.prices) > 0).all()
    assert (np.diff(table.lengths) < 0).all()
    assert (np.diff(table.left) >= 0).all()


@pytest.mark.parametrize("gap", [-2.0, 2.0])
def test_lengths_of_new_samples_count_if_they_differ_by_more_than_chance(gap):
    generator = torch.Generator().manual_seed(0)
    old, new = (torch.randn(200, generator=generator, dtype=torch.float64) + 7 for _ in range(2))
    ones = torch.ones(400).double()
    mean = _mean_of_new(torch.cat([new + gap, old]), ones, 200)
    assert mean == pytest.approx(7 + gap, abs=0.3)
    same = _mean_of_new(torch.cat([new + 0.01 * gap, old]), ones, 200)
    assert same == pytest.approx(float(old.mean()), rel=1e-12)


# --- flat parts of samples ----------------------------------------------------------------------


def linear(dims, n_features, noise):
    X, _, dimension = make_linear_subspaces(
        1700, dims=dims, n_features=n_features, noise=noise, random_state=0
    )
    return X, dimension


def affine(noise, offset=3.0):
    X, _, dimension = make_linear_subspaces(
        1700, dims=(1, 3, 5), n_features=20, offset_scale=offset / np.sqrt(20), random_state=0
    )
    X += noise * np.sqrt(3 / 20) * np.random.default_rng(0).standard_normal(X.shape)
    return X, dimension


SAMPLES = {
    "exact": lambda: linear((3, 5, 9), 30, 0.0),
    "crowded": lambda: linear((4,) * 6, 15, 0.02),
    "affine and noisy": lambda: affine(0.05),
    "affine and far apart": lambda: affine(0.02, 30.0),
}


class Found:
    """Flat parts that were found in samples, and new samples with their dimensions."""

    def __init__(self, name, n_components=None):
        X, dimension = SAMPLES[name]()
        self.X, self.new, self.dimension = X[:1200], X[1200:], dimension[1200:]
        rows = Prepared.of(self.X, None, rng())
        found = explain(rows, Wanted(n_components, model="mixture"))
        assert found.name == "mixture"
        self.law, self.mixture = found.coder, found.mixture
        self.codes = self.law.encode(self.new)
        self.openness, self.mean, self.std = self.law.posterior(self.new)
        self.shares = softmax(self.law.pieces.log_joint(self.new), axis=1)

    @property
    def n_parts(self):
        return self.law.groups.max() + 1

    def by_part(self, shares):
        """Return the summed shares of the pieces of each part."""
        each = [shares[:, self.law.groups == k].sum(axis=1) for k in range(self.n_parts)]
        return np.stack(each, axis=1)


cached = cache(Found)


@pytest.fixture(params=SAMPLES)
def found(request):
    """Return flat parts of several kinds of samples."""
    return cached(request.param)


def test_there_is_a_latent_for_each_direction_and_counts_are_right(found):
    ranks = np.bincount(found.law.parts).tolist()
    assert sorted(ranks) == sorted(set(found.dimension)) or ranks == [4] * 6
    counts = found.codes.active.sum(axis=1)
    assert (counts == found.dimension).mean() > 0.99


def test_shares_are_about_those_of_the_density(found):
    """The density is estimated slightly differently, and has a background."""
    expected = found.by_part(softmax(found.mixture.log_joint(found.new), axis=1))
    shares = found.by_part(found.shares)
    assert (shares.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.99
    assert np.abs(shares - expected).mean() < 0.01


def test_variances_are_those_of_the_posterior(found):
    """In the part of a sample, the noise over the variance of each direction; elsewhere 1."""
    shares, law = found.by_part(found.shares), found.law
    noise_over_variance = 1 / (1 + np.exp(-law.logits))
    expected = 1 - shares[:, law.parts] * (1 - noise_over_variance)
    assert_allclose(np.square(found.std), expected, rtol=1e-6, atol=1e-12)
    assert_allclose(found.openness, 1 - found.std)


def test_reconstructions_are_projections(found):
    """A sample is projected onto its part, up to the uncertainty from noise."""
    law, n_checked = found.law, 0
    decoded, shares = law.decode(found.codes.values), found.by_part(found.shares)
    for k in range(found.n_parts):
        own, latents = shares[:, k] > 1 - 1e-6, law.parts == k
        basis = law.components[latents]
        basis = basis / np.linalg.norm(basis, axis=1, keepdims=True)
        origin = law.points[law.owners[latents][0]]
        projected = origin + (found.new[own] - origin) @ basis.T @ basis
        error = np.sqrt(np.square(decoded[own] - projected).mean(axis=1))
        noise = law.pieces.noise_variances[law.groups == k].max()
        size = np.sqrt(np.square(found.new - origin).mean())
        assert (error < 0.5 * np.sqrt(noise) + 2e-5 * size).all()
        n_checked += own.sum()
    assert n_checked > 0.9 * len(found.new)


def test_latents_are_standard_normal(found):
    """Over the samples of its part, each latent has the second moment of the prior."""
    _, mean, std = found.law.posterior(found.X)
    for k in range(found.n_parts):
        own = found.law.parts == k
        is_in = (std[:, own] < 0.9).all(axis=1)
        second = np.square(mean[is_in][:, own]) + np.square(std[is_in][:, own])
        assert_allclose(second.mean(axis=0), 1, atol=4 * np.sqrt(2 / is_in.sum()))


@pytest.mark.parametrize("name", ["crowded", "affine and noisy"])
def test_spare_latents_are_closed_and_change_nothing(name):
    plain = cached(name)
    n = plain.law.n_components
    spare = cached(name, n + 3)
    assert spare.law.n_components == n + 3
    assert (spare.mean[:, n:] == 0).all()
    assert (spare.std[:, n:] == 1).all()
    assert not spare.codes.active[:, n:].any()
    assert_allclose(spare.codes.values[:, :n], plain.codes.values, atol=1e-12)
    decoded = spare.law.decode(spare.codes.values)
    assert_allclose(decoded, plain.law.decode(plain.codes.values), atol=1e-12)


@pytest.mark.parametrize(("name", "distance"), [("exact", 1e3), ("affine and noisy", 1e6)])
def test_codes_are_finite_far_away(name, distance):
    law, new = cached(name).law, cached(name).new
    far = np.concatenate([distance * new, distance * np.eye(new.shape[1])]).astype(np.float32)
    for result in (*law.posterior(far), *law.encode(far), law.log_prob(far)):
        assert np.isfinite(result).all()


def test_too_few_latents_for_the_parts_are_principal_components():
    X, _ = linear((2, 4), 12, 0.02)
    found = explain(Prepared.of(X, None, rng()), Wanted(5, model="mixture"))
    assert found.name == "normal"
    assert np.bincount(found.coder.parts).tolist() == [5]
    directions = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2][:5]
    unit = found.coder.components / np.linalg.norm(found.coder.components, axis=1, keepdims=True)
    assert_allclose(np.linalg.svd(unit @ directions.T)[1], 1, atol=1e-6)


def test_parts_may_lie_too_far_apart_for_a_latent_each():
    """Their extent is within the rounding errors of their distance."""
    random = np.random.default_rng(0)
    parts = [
        random.normal(size=(n, r)) @ random.normal(size=(r, 6)) for n, r in ((800, 2), (200, 3))
    ]
    for offset, n_locations in ((1e3, 2), (1e7, None)):
        X = random.permutation(np.r_[parts[0], parts[1] + offset])
        rows = Prepared.of(X, None, rng())
        law = explain(rows, Wanted(model="mixture")).coder
        if n_locations:
            assert len(law.points) == n_locations
        residual = X - law.decode(law.encode(X).values)
        assert np.square(residual).mean() < 1e-3 * rows.scale**2


def test_one_flat_has_the_directions_that_stand_out_of_noise():
    random = np.random.default_rng(0)
    X = random.normal(size=(500, 2)) @ random.normal(size=(2, 6))
    X += 0.01 * random.normal(size=(500, 6))
    rows = Prepared.of(X, None, rng())
    for n_components, expected in ((1, 1), (None, 2)):
        law = one_flat(rows, Wanted(n_components), is_flat=False)
        law = law.in_units(rows.center, rows.scale)
        assert law.components.shape == (expected, 6)
    assert law.pieces.noise_variances == pytest.approx(1e-4, rel=0.2)
    # All directions count if they are equal, and at least one if nothing varies.
    for X, expected in ((random.normal(size=(500, 6)), 6), (np.ones((5, 6)), 1)):
        law = one_flat(Prepared.of(X, None, rng()), Wanted(), is_flat=False)
        assert law.n_components == expected
    assert math.isfinite(law.noise_variance)
