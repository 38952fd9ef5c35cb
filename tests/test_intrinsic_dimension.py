import copy
import warnings

import numpy as np
import pytest
from helpers import fit_unwarned, with_net
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.callback import ProgressBar
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer, _vaeense
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary, make_spheres
from skvaeense.dimension import Consensus, Neighbors
from skvaeense.explanations._explain import explain
from skvaeense.nets.networks import MLP, Linear
from skvaeense.nets.penalties import TopK

X_ALL, _, TRUE = make_linear_subspaces(1000, dims=(1, 3), n_features=8, random_state=1)
X, X_NEW, TRUE_NEW = X_ALL[:800], X_ALL[800:], TRUE[800:]

# An autoencoder that trains well in a second.
QUICK = with_net(network=Linear((64,)), n_init=1, random_state=0)
# An autoencoder that trains in a moment, for tests in which it need not learn anything.
HASTY = with_net(network=Linear((8,)), n_init=1, max_iter=5, random_state=0)


class Support(BaseEstimator):
    """A minimal autoencoder for the estimator: features above a level are active."""

    def __init__(self, level=0.0):
        self.level = level

    def fit(self, X, y=None):
        self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        return self

    def active_dimensions(self, X):
        return np.abs(X) > self.level

    def score(self, X, y=None):
        return -abs(self.level - 0.25)


class Dense(PCA):
    """Principal components, all of which are active for every sample."""

    def active_dimensions(self, X):
        return np.ones((len(X), self.n_components_), dtype=bool)


class Shaken(Dense):
    """Principal components with a bad decoder."""

    def inverse_transform(self, X):
        points = super().inverse_transform(X)
        return points + np.sin(1e4 * points)


SPARSE = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1.0], [0, 0, 0]])
COUNTS = [1, 2, 2, 3, 0]


@pytest.fixture(scope="module")
def fitted():
    """Return a fit that is good enough to estimate dimensions."""
    return IntrinsicDimensionEstimator(QUICK, random_state=0).fit(X)


def fit_frozen(method, fitted, X=X, **params):
    """Return a fit of another method to the same autoencoder."""
    autoencoder = FrozenEstimator(fitted.autoencoder_)
    return IntrinsicDimensionEstimator(autoencoder, method=method, random_state=0, **params).fit(X)


def errors_of_methods(fitted, X, X_new, true):
    """Return the mean absolute errors of all methods with the autoencoder of `fitted`."""
    others = {method: fit_frozen(method, fitted, X) for method in ("count", "neighbors")}
    return {name: -fit.score(X_new, true) for name, fit in {"auto": fitted, **others}.items()}


def test_dimensions_of_unseen_samples(fitted):
    predicted = fitted.predict(X_NEW)
    assert_array_equal(fit_frozen("auto", fitted).predict(X_NEW), predicted)
    assert predicted.shape == (200,)
    by_distances = fit_frozen("neighbors", fitted).predict(X_NEW)
    assert (by_distances != np.round(by_distances)).mean() > 0.9
    for dimension in (1, 3):
        assert predicted[TRUE_NEW == dimension].mean() == pytest.approx(dimension, abs=0.5)
        assert by_distances[TRUE_NEW == dimension].mean() == pytest.approx(dimension, abs=0.5)
    assert fitted.score(X_NEW) == fitted.autoencoder_.score(X_NEW)


# --- methods --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("dims", "n_features", "noise"), [((2, 4), 12, 0.02), ((2, 3, 4), 8, 0)])
def test_auto_is_no_worse_than_either(dims, n_features, noise):
    X, _, true = make_linear_subspaces(
        800, dims=dims, n_features=n_features, noise=noise, random_state=1
    )
    model = IntrinsicDimensionEstimator(random_state=0).fit(X[:500])
    errors = errors_of_methods(model, X[:500], X[500:], true[500:])
    assert errors["auto"] == min(errors.values()) < 0.05
    assert errors["neighbors"] > errors["auto"] + 0.02


def test_count_is_what_the_autoencoder_says(fitted):
    dimension, std = fit_frozen("count", fitted).predict(X_NEW, return_std=True)
    assert_array_equal(dimension, fitted.autoencoder_.active_dimensions(X_NEW).sum(axis=1))
    assert np.isnan(std).all()
    model = fit_frozen("count", fitted)
    reliability, reasons = model.reliability(X_NEW, return_reasons=True)
    assert np.isnan(model.dimension_std_)
    # Nothing says what may be wrong.
    assert np.isnan(reliability).all()
    assert list(reasons) == ["sampling"]


def test_the_method_is_chosen_by_fit(fitted):
    changed = copy.deepcopy(fitted).set_params(method="count", n_neighbors=4)
    assert_array_equal(changed.predict(X_NEW), fitted.predict(X_NEW))


def test_the_estimator_says_how_many_neighbours(fitted):
    """The number of the estimator is used if it is set, and otherwise the number of the method."""
    thirty, said, both, other = (
        fit_frozen(method, fitted, X[:300], n_neighbors=n_neighbors).predict(X_NEW)
        for method, n_neighbors in (
            ("neighbors", 30),
            (Neighbors(30), "auto"),
            (Neighbors(80), 30),
            (Neighbors(80), "auto"),
        )
    )
    assert_array_equal(said, thirty)
    assert_array_equal(both, thirty)
    assert not np.array_equal(other, thirty)


@pytest.mark.slow
def test_pools_grow_where_noise_is_larger_than_they_are():
    """The line has so many samples that nearest neighbours differ only by noise."""
    rng = np.random.default_rng(0)
    line = np.outer(rng.uniform(size=5500), np.ones(10) / np.sqrt(10))
    noisy = line + 0.06 * line.std() * rng.standard_normal(line.shape)
    model = IntrinsicDimensionEstimator(Dense(1), random_state=0).fit(noisy[:5000])
    assert (model.predict(noisy[5000:]) == 1).mean() > 0.99
    # Pools of a given size do not grow, but noise among their neighbours does not count as
    # dimension.
    small = IntrinsicDimensionEstimator(Dense(1), n_neighbors=400, random_state=0)
    assert (small.fit(noisy[:5000]).predict(noisy[5000:]) == 1).mean() > 0.99


@pytest.mark.slow
def test_noise_is_no_dimension_where_the_autoencoder_explains_nothing():
    """A circle and a sphere have noise that hides which samples are neighbours."""
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((1200, d + 1)) for d in (1, 2)]
    X = np.zeros((2400, 60))
    for at, part in zip((0, 10), parts, strict=True):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        rows = slice(0, 1200) if at == 0 else slice(1200, None)
        X[rows, at : at + part.shape[1]] = part
    true = np.repeat([1, 2], 1200)
    X += 0.03 * rng.standard_normal(X.shape)
    order = rng.permutation(len(X))
    X, true = X[order], true[order]
    # The decoded samples are farther away than any neighbour.
    model = IntrinsicDimensionEstimator(Shaken(60, random_state=0), random_state=0).fit(X[:2000])
    assert np.abs(model.predict(X[2000:]) - true[2000:]).mean() < 0.5


def test_warns_where_noise_hides_the_dimension():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 40))
    X[:, :4] *= 5
    with pytest.warns(UserWarning, match="Dimension hidden by noise: in the neighbourhoods of"):
        IntrinsicDimensionEstimator(Dense(4), n_neighbors=30, random_state=0).fit(X)


@pytest.mark.slow
def test_a_normal_distribution_is_no_noisy_line():
    """Overlapping clusters differ along one direction, and the others hold most of the variance."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 20)) + rng.choice([-0.447, 0.447], (2000, 1))
    model = IntrinsicDimensionEstimator(random_state=0).fit(X)
    assert model.dimension_ == pytest.approx(20, abs=1)


@pytest.mark.slow
def test_sphere():
    """A sphere has one dimension less than the linear space that its code needs."""
    X, _, _ = make_spheres(700, dims=(2,), n_features=6, random_state=0)
    model = IntrinsicDimensionEstimator(QUICK, random_state=0).fit(X[:400])
    assert model.autoencoder_.active_dimensions(X).sum(axis=1).mean() > 2.8
    assert model.dimension_ == pytest.approx(2, abs=0.15)
    for fitted in (model, fit_frozen("neighbors", model, X[:400])):
        assert fitted.predict(X[400:]).mean() == pytest.approx(2, abs=0.15)


@pytest.mark.slow
def test_many_subspaces_are_counted():
    """Most neighbours lie on other subspaces, and their distances say little."""
    X, _, true = make_sparse_dictionary(4500, n_atoms=12, n_active=3, n_features=16, random_state=0)
    model = IntrinsicDimensionEstimator(random_state=0).fit(X[:4000])
    errors = errors_of_methods(model, X[:4000], X[4000:], true[4000:])
    # The encoder misses small coefficients, and least squares finds them.
    assert errors["auto"] < 0.5 * errors["count"] < 0.05
    assert errors["neighbors"] > errors["auto"] + 0.02


@pytest.mark.slow
def test_gates_count_where_other_answers_would_be_unsure(monkeypatch):
    """2 of 24 atoms in 16 features are active: principal components and distances find more."""
    X, _, true = make_sparse_dictionary(
        800, n_atoms=24, n_active=2, n_features=16, noise=0.05, random_state=0
    )
    explained = []
    monkeypatch.setattr(
        _vaeense,
        "explain",
        lambda rows, *args: explained.append(len(rows.x)) or explain(rows, *args),
    )
    model = IntrinsicDimensionEstimator(random_state=0).fit(X[:500])
    assert model.autoencoder_.explanation_ == "gates"
    # First without gates, then with them.
    assert explained == [500, 500]
    assert model.reliability(X[500:]).mean() > 0.9
    assert -model.score(X[500:], true[500:]) < 0.1


@pytest.mark.parametrize("noise", [0.008, 0.026])
def test_noise_of_a_plane_is_seen_through(noise):
    """The nearest distances alone say 4 dimensions or more."""
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((600, 2)) @ np.linalg.qr(rng.standard_normal((30, 2)))[0].T
    X = plane + noise * rng.standard_normal(plane.shape)
    model = IntrinsicDimensionEstimator(random_state=0).fit(X)
    assert (model.dimension_pw_ == 2).mean() > 0.95


@pytest.mark.slow
def test_atoms_of_a_curve_are_not_counted():
    """A dictionary explains a curve of six frequencies by several atoms at each point."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, (1000, 1)) * np.arange(1, 7)
    X = np.hstack([np.cos(angles), np.sin(angles)]) @ rng.standard_normal((12, 30))
    model = IntrinsicDimensionEstimator(random_state=0).fit(X)
    assert not model._method_.trusted_
    assert model.dimension_ == pytest.approx(1, abs=0.1)


class Pieces(BaseEstimator):
    """Codes of a sample's piece of a curved surface. Each piece has separate latents."""

    def fit(self, X, y=None):
        self.pieces_ = KMeans(60, n_init=1, random_state=0).fit(X)
        return self

    def transform(self, X):
        own = np.eye(60)[self.pieces_.predict(X)]
        return (own[:, :, None] * (X[:, None] + 10)).reshape(len(X), -1)

    def inverse_transform(self, codes):
        return codes.reshape(len(codes), 60, -1).sum(axis=1) - 10

    def active_dimensions(self, X):
        return self.transform(X) != 0


@pytest.mark.slow
def test_latents_of_pieces_of_a_curved_surface_are_not_counted():
    """Neighbours lie in other pieces, but distances show far fewer dimensions than latents."""
    z = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    X = np.c_[z, z**2, np.sin(3 * z), np.cos(2 * z)]
    model = IntrinsicDimensionEstimator(Pieces(), random_state=0).fit(X[:1700])
    assert (model.autoencoder_.active_dimensions(X).sum(axis=1) == 8).all()
    assert (model.predict(X[1700:]) == 2).mean() > 0.95


def test_dimensions_of_the_fit_are_those_of_predict():
    more = np.vstack([X_ALL, 0.5 * X_ALL[:50]])
    model = IntrinsicDimensionEstimator(random_state=0).fit(more)
    assert_array_equal(model.dimension_pw_, model.predict(more))


def test_untrusted_autoencoders_share_measurements():
    """Without active latents, neighbours depend on the samples alone."""
    shaken, first, second = Shaken(3).fit(X), Consensus(), Consensus()
    first.fit(shaken, X, 0)
    second._earlier = first
    second.fit(Shaken(4).fit(X), X, 0)
    assert not first.trusted_
    assert second.geometry_ is first.geometry_
    assert_array_equal(second.estimate(shaken, X), first.estimate(shaken, X))
    # A trusted autoencoder shows which samples are alike.
    third = Consensus()
    third._earlier = first
    third.fit(Dense(8).fit(X), X, 0)
    assert third.trusted_
    assert third.geometry_ is not first.geometry_


@pytest.mark.slow
def test_outliers_do_not_hide_the_rest():
    """An autoencoder that explains little of typical samples is not used."""
    random_state = np.random.default_rng(0)
    X = np.zeros((500, 8))
    X[:, :5] = random_state.standard_normal((500, 5))
    X[:10] *= 1e4
    vae = clone(QUICK).set_params(model__max_iter=100)
    model = IntrinsicDimensionEstimator(vae, random_state=0)
    with pytest.warns(UserWarning, match="10 of 500 samples are far from all others"):
        fit_unwarned(model, X)
    assert np.median(model.dimension_pw_) == pytest.approx(5, abs=1)


@pytest.mark.parametrize("method", ["auto", "neighbors"])
def test_standard_errors(fitted, method):
    model = fit_frozen(method, fitted, X[:700])
    dimension, std = model.predict(X_NEW, return_std=True)
    assert_array_equal(dimension, model.predict(X_NEW))
    assert std.shape == (200,)
    known = np.isfinite(std)
    assert known.mean() > 0.8
    assert (std[known] >= 0).all()
    # The dimension of all samples is more certain than the dimension of each sample.
    assert 0 < model.dimension_std_ < np.sqrt(np.square(std[known]).mean())


def test_the_standard_error_of_all_is_not_that_of_one_sample_far_away(fitted):
    far = 1e6 * X[:1]
    alone = fit_frozen("auto", fitted, X[:400])
    joined = fit_frozen("auto", fitted, np.vstack([X[:400], far]))
    assert joined.predict(far, return_std=True)[1] > 100
    assert alone.dimension_std_ < joined.dimension_std_ < 0.5


@pytest.mark.slow
def test_standard_error_falls_with_the_samples():
    X, _, _ = make_linear_subspaces(2500, dims=(3,), n_features=5, random_state=0)
    few, many = (
        IntrinsicDimensionEstimator(Dense(3), n_neighbors=50, random_state=0).fit(part)
        for part in (X[:400], X)
    )
    assert many.dimension_std_ < 0.7 * few.dimension_std_


# --- reliability ----------------------------------------------------------------------------


def test_reasons_add_up_to_the_standard_error(fitted):
    reliability, reasons = fitted.reliability(X_NEW, return_reasons=True)
    assert_array_equal(fitted.reliability(X_NEW), reliability)
    assert all(values.shape == (200,) and (values >= 0).all() for values in reasons.values())
    std = np.sqrt(np.square(list(reasons.values())).sum(axis=0))
    np.testing.assert_allclose(std, fitted.predict(X_NEW, return_std=True)[1])
    np.testing.assert_allclose(reliability, 1 / (1 + std**2))
    assert (reliability > 0.8).mean() > 0.7


def test_samples_far_from_the_training_data_are_not_reliable(fitted):
    near = fitted.reliability(X_NEW, return_reasons=True)[1]["far"]
    assert (near == 0).mean() > 0.98
    along, across = 50 * X_NEW, X_NEW + 50
    for X_FAR in (along[np.linalg.norm(X_NEW, axis=1) > 0.5], across):
        reliability, reasons = fitted.reliability(X_FAR, return_reasons=True)
        assert reliability.max() < 0.4
        assert (np.argmax(list(reasons.values()), axis=0) == list(reasons).index("far")).all()


@pytest.mark.slow
def test_noise_that_cannot_be_told_makes_dimensions_less_reliable():
    """Noise cannot be measured in six features. It can in twelve, and noisy scales are left out."""
    rng, means = np.random.default_rng(0), []
    for n_features, noise in ((6, 0.0), (6, 0.03), (12, 0.01)):
        frame = np.linalg.qr(rng.standard_normal((n_features, 2)))[0]
        X = rng.standard_normal((1300, 2)) @ frame.T
        X += noise * rng.standard_normal(X.shape)
        model = IntrinsicDimensionEstimator(Dense(n_features), random_state=0).fit(X[:1000])
        reliability, reasons = model.reliability(X[1000:], return_reasons=True)
        means.append((reliability.mean(), reasons["noise"].mean()))
        assert (model.predict(X[1000:]) == 2).mean() > 0.95
    (clear, fall), (noisy, steeper_fall), (told, left) = means
    assert clear > 0.8
    assert told > 0.75
    assert noisy < 0.8
    assert max(fall, left) < 0.3 < 0.4 < steeper_fall


def test_answers_do_not_depend_on_the_samples_beside(fitted):
    whole = fitted.predict(X_NEW)
    assert_array_equal(fitted.predict(X_NEW[::-1])[::-1], whole)
    assert_array_equal(np.concatenate([fitted.predict(x[None]) for x in X_NEW[:40]]), whole[:40])


def test_a_sparse_autoencoder_does_too():
    sae = SparseAutoencoder(8, penalty=TopK(3), sparse_output=True, max_iter=40, random_state=0)
    estimator = fit_unwarned(IntrinsicDimensionEstimator(sae, random_state=0), X)
    assert estimator.predict(X_NEW).mean() == pytest.approx(TRUE_NEW.mean(), abs=0.5)


# --- any autoencoder ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows", [np.ones((50, 3)), np.repeat(X[:100], 5, axis=0), X[:5]], ids=["same", "twice", "few"]
)
def test_rows_that_say_little(rows):
    """They are constant, duplicated, or too few for distances."""
    model = fit_unwarned(IntrinsicDimensionEstimator(HASTY, random_state=0), rows)
    assert np.isfinite(model.dimension_pw_).all()
    assert model.dimension_pw_.max() <= X.shape[1]


def test_bad_autoencoders(subtests):
    for params, message in (
        ({"autoencoder": PCA(2)}, "'fit' and 'active_dimensions'"),
        ({"autoencoder": "vae"}, "'fit' and 'active_dimensions'"),
        (
            {"autoencoder": VAEenseTransformer(target_l0=0)},
            "'target_l0' parameter of VAEenseTransformer",
        ),
        ({"autoencoder": with_net(n_init=0)}, "'n_init' parameter of VAEase"),
        ({"autoencoder": Support(), "method": "neighbors"}, "Neighbors needs an autoencoder with"),
    ):
        with subtests.test(params=params), pytest.raises(ValueError, match=message):
            IntrinsicDimensionEstimator(**params).fit(SPARSE)


def test_any_autoencoder_will_do():
    estimator = IntrinsicDimensionEstimator(Support()).fit(SPARSE)
    assert estimator.dimension_pw_.tolist() == COUNTS
    assert estimator.dimension_ == np.mean(COUNTS)
    assert estimator.predict(SPARSE[::-1]).tolist() == COUNTS[::-1]
    assert estimator.fit_predict(SPARSE).tolist() == COUNTS
    assert estimator.fit_transform(SPARSE).tolist() == [[count] for count in COUNTS]


def test_the_autoencoder_given_is_not_fitted():
    support = Support()
    estimator = IntrinsicDimensionEstimator(support).fit(SPARSE).fit(SPARSE)
    assert not hasattr(support, "n_fits_")
    assert estimator.autoencoder is support
    assert estimator.autoencoder_.n_fits_ == 1


def test_default_autoencoder_takes_the_seed(monkeypatch):
    monkeypatch.setattr(VAEenseTransformer, "fit", lambda self, X, y=None: self)
    monkeypatch.setattr(VAEenseTransformer, "active_dimensions", lambda self, X: X != 0)
    estimator = IntrinsicDimensionEstimator(method="count", random_state=5).fit(SPARSE)
    assert estimator.autoencoder is None
    assert isinstance(estimator.autoencoder_, VAEenseTransformer)
    expected = VAEenseTransformer(target_explained_variance=None, random_state=5)
    assert estimator.autoencoder_.get_params() == expected.get_params()
    assert estimator.dimension_pw_.tolist() == COUNTS


# --- scikit-learn ---------------------------------------------------------------------------


def test_grid_search_with_and_without_dimensions():
    grid = {"autoencoder__level": [0.0, 0.25, 2.0]}
    X, y = np.tile(SPARSE, (4, 1)), np.tile(COUNTS, 4)
    X = X + 0.1
    # All features of X are above 0; the counts are right at levels from 0.1 to 1.1.
    with_y = GridSearchCV(IntrinsicDimensionEstimator(Support()), grid, cv=2).fit(X, y)
    assert with_y.best_params_ == {"autoencoder__level": 0.25}
    assert with_y.best_score_ == 0
    without = GridSearchCV(IntrinsicDimensionEstimator(Support()), grid, cv=2).fit(X)
    assert without.best_params_ == {"autoencoder__level": 0.25}


@pytest.mark.slow
def test_grid_search_over_the_number_of_components():
    """One latent cannot represent three dimensions."""
    # With a nonlinear decoder the score is the bound.
    autoencoder = with_net(
        network=MLP((32,)),
        n_init=1,
        max_iter=60,
        batch_size=32,
        learning_rate_init=0.02,
        random_state=0,
    )
    search = GridSearchCV(
        IntrinsicDimensionEstimator(autoencoder), {"autoencoder__n_components": [1, 6]}, cv=2
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X[:150])
    assert search.best_params_ == {"autoencoder__n_components": 6}
    assert search.best_estimator_.autoencoder_.n_components_ == 6


def test_dimension_over_scales(fitted):
    n_neighbors, dimensions = fitted.dimension_scale(X_NEW)
    assert n_neighbors.tolist() == [4, 16, 64]
    assert dimensions.shape == (len(X_NEW), 3)
    by_neighbors = fit_frozen("neighbors", fitted)
    # The first scale has the estimate by distances.
    known = np.isfinite(dimensions[:, 0])
    assert known.mean() > 0.9
    assert_array_equal(dimensions[known, 0], by_neighbors.predict(X_NEW)[known])
    for r in (1, 3):
        medians = np.nanmedian(dimensions[TRUE_NEW == r], axis=0)
        assert np.abs(medians - r).max() < 0.5


def test_noise_falls_with_the_scale():
    random_state = np.random.default_rng(0)
    line = np.linspace(0, 1, 800)[:, None] * np.ones(4)
    noisy = line + 0.002 * random_state.standard_normal(line.shape)
    # This autoencoder removes no noise.
    estimator = IntrinsicDimensionEstimator(Dense(4), random_state=0).fit(noisy)
    medians = np.nanmedian(estimator.dimension_scale(noisy)[1], axis=0)
    assert medians[0] > 1.5 > 1.2 > medians[-1]


def test_dimension_over_scales_needs_neighbours(subtests):
    for estimator in (
        IntrinsicDimensionEstimator(Dense(2), method="count"),
        IntrinsicDimensionEstimator(Support()),
        IntrinsicDimensionEstimator(Dense(2)),
    ):
        with (
            subtests.test(estimator=estimator),
            pytest.raises(ValueError, match="computes no distances to neighbours"),
        ):
            estimator.fit(SPARSE).dimension_scale(SPARSE)


def test_a_failed_fit_leaves_no_half_fitted_estimator():
    X = np.random.default_rng(0).standard_normal((60, 4))
    broken = with_net(
        network="single_layer", n_init=1, max_iter=2, learning_rate_init=1e30, random_state=0
    )
    estimator = IntrinsicDimensionEstimator(broken)
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        estimator.fit(X)
    assert not [name for name in vars(estimator) if name.endswith("_")]


def test_a_sample_is_on_its_own_manifold_whatever_flats_say():
    """By codes that explain little, nearby flats exclude all neighbours of some sample."""
    rows = make_linear_subspaces(1500, dims=(1, 3), n_features=8, random_state=1)[0][:300]
    estimator = IntrinsicDimensionEstimator(HASTY, random_state=0)
    fit_unwarned(estimator, rows)
    assert 1 <= estimator.dimension_ <= 3


def test_progress_of_the_autoencoder_is_seen(capsys):
    """Callbacks are passed to the autoencoder, and removed from it afterwards."""
    estimator = IntrinsicDimensionEstimator(HASTY, random_state=0).set_callbacks(ProgressBar())
    fit_unwarned(estimator, X[:200])
    # A line of 80 characters ends before the second name does.
    assert "fit VAEenseTransformer | VAE" in capsys.readouterr().out
    assert not getattr(estimator.autoencoder_, "_skl_callbacks", [])
    assert not hasattr(estimator.autoencoder_, "_parent_callback_ctx")


def test_what_decoding_takes_off_makes_dimensions_less_reliable():
    """The removed part may be noise, or a thin direction."""
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.standard_normal((8, 3)))[0]
    box = rng.uniform(-1, 1, (800, 3)) * (1, 1, 0.06) @ frame.T
    cut = IntrinsicDimensionEstimator(Dense(n_components=2), random_state=0).fit(box)
    assert np.median(cut.reliability(box)) < 0.9


@pytest.mark.slow
def test_noise_that_decoding_takes_off_does_not_make_them_less_reliable():
    """The removed noise changes what distances show, so the residual may contain noise, too."""
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.standard_normal((20, 2)))[0]
    X = rng.uniform(-1, 1, (800, 2)) @ frame.T + 0.03 * rng.standard_normal((800, 20))
    model = IntrinsicDimensionEstimator(Dense(n_components=2), random_state=0).fit(X)
    assert model._method_.change_ > 0.3
    assert (model.predict(X) == 2).mean() > 0.95
    assert np.median(model.reliability(X, return_reasons=True)[1]["disagreement"]) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "n_samples"), [(2, 30), (4, 60)])
def test_unseen_samples_of_a_surface_with_few_samples_are_like_the_others(dim, n_samples):
    """Principal directions of few samples, turned, seem to be atoms that unseen samples need."""
    rng = np.random.default_rng(0)
    place = rng.uniform(-1, 1, (n_samples + 100, dim))
    X = np.sin(place @ rng.standard_normal((dim, 80)) + rng.uniform(0, 6, 80))
    estimator = IntrinsicDimensionEstimator(random_state=0).fit(X[:n_samples])
    assert abs(estimator.dimension_ - dim) < 1.5
    assert abs(estimator.predict(X[n_samples:]).mean() - dim) < 1.5
