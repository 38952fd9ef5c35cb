"""Loaded estimators have the same outputs as saved ones, bit for bit."""

import copy
import functools
import io
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
import torch
from helpers import (
    APART,
    PAIRS,
    PENALTIES,
    SUBSPACES,
    each_once,
    fit_unwarned,
    outputs,
    quick_sae,
    with_net,
)
from sklearn.base import BaseEstimator, clone
from sklearn.callback import ProgressBar
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvaeense import (
    IntrinsicDimensionEstimator,
    SparseAutoencoder,
    VAEase,
    VAEenseTransformer,
    load,
    save,
)
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.dimension import AutoencoderMethod
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.losses import ELBO
from skvaeense.nets.networks import MLP, Linear, Network, SingleLayer
from skvaeense.nets.penalties import L1, JumpReLU, Penalty
from skvaeense.nets.priors import StandardNormal
from skvaeense.nets.thresholds import Contribution, FixedVariance, Otsu

GUIDE = Path(__file__).parents[2] / "docs" / "user_guide" / "saving.rst"
NETWORKS = {
    "linear": Linear((5,)),
    "linear_without_skip": Linear((5, 4), skip=False),
    "mlp": MLP((5,), encoder_layer_sizes=6, skip=True),
    "single_layer": SingleLayer(),
    "single_layer_with_bias": SingleLayer(tied_init=False, init_norm=0.5, subtract_bias=False),
}


def samples(dtype=np.float64, n_samples=70):
    """Return samples near a plane."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, 2)) @ rng.normal(size=(2, 6))
    return (X + 0.1 * rng.normal(size=X.shape) + 3.0).astype(dtype)


def class_name(value):
    """Return the name of the test for an estimator."""
    return type(value).__name__


def quick_vae(**params):
    settings = {"n_components": 4, "n_init": 1, "max_iter": 3, "random_state": 0}
    return with_net(**({"network": Linear((5,))} | settings | params))


def assert_same(loaded, estimator, X=None):
    """Compare parameters, the names of attributes, and all outputs bit for bit."""
    assert repr(loaded) == repr(estimator)
    assert type(loaded) is type(estimator)
    assert list(vars(loaded)) == list(vars(estimator))
    rows = samples() if X is None else X
    for dtype in (np.float64, np.float32):
        found, expected = (outputs(e, rows.astype(dtype)) for e in (loaded, estimator))
        assert found.keys() == expected.keys()
        assert len(found) > 1
        for name, value in expected.items():
            assert found[name].dtype == value.dtype, name
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def through_a_file(estimator, tmp_path, **options):
    path = tmp_path / "estimator.safetensors"
    save(estimator, path, trusted=options.get("trusted", ()))
    return load(path, **options)


# Estimators that fit laws, and samples in which they find each kind of law.
LAWS = {
    "mixture": (VAEenseTransformer(random_state=0), SUBSPACES),
    "mixture of so many latents": (VAEenseTransformer(4, random_state=0), SUBSPACES),
    "locations": (VAEenseTransformer(random_state=0), APART),
    "gates": (VAEenseTransformer(random_state=0), PAIRS),
    "gates alone": (
        VAEenseTransformer(model="gates", positive_code=True, random_state=0),
        SUBSPACES,
    ),
    "length": (VAEenseTransformer(target_l0=2, random_state=0), PAIRS),
    "shorter length": (
        VAEenseTransformer(target_l0=2, transform_l0=1.5, random_state=0),
        PAIRS,
    ),
    "share": (
        VAEenseTransformer(12, target_explained_variance=0.9, random_state=0),
        PAIRS,
    ),
    "normal": (
        VAEenseTransformer(model="mixture", sparse_output=True, random_state=0),
        PAIRS,
    ),
    "subspace mixture": (SubspaceMixture(random_state=0), APART),
    "gate dictionary": (GateDictionary(random_state=0), PAIRS),
    "gate dictionary of a length": (GateDictionary(target_l0=2, random_state=0), PAIRS),
}


@functools.cache
def fitted_law(name):
    """Return a fitted estimator, which must not be changed, its samples, and new samples."""
    estimator, rows = LAWS[name]
    X = rows.train[:400]
    return fit_unwarned(clone(estimator), X), X, rows.new[:30]


# --- every estimator, network and penalty -----------------------------------------------------


ESTIMATORS = {
    **{
        f"{penalty}, {network}": quick_sae(
            PENALTIES[penalty],
            network=NETWORKS.get(network, network),
            # A gate opens in one direction only, so it has no codes of both signs.
            positive_code=penalty in ("gated", "l1", "batch_topk"),
            max_iter=2,
        )
        for penalty, network in each_once(
            [*PENALTIES], ["linear", "mlp", "single_layer", "unrolled"]
        )
    },
    "target": quick_sae(L1(0.01), max_iter=2, target_l0=2, dtype="float64"),
    "loss of a threshold": quick_sae(JumpReLU(loss="tanh"), max_iter=2, sparse_output=True),
    "numpy's number": quick_sae(
        L1(0.01), max_iter=2, tol=np.float64(1e-3), learning_rate_init=np.float32(0.01)
    ),
    **{
        f"{network}, {gated}": quick_vae(network=NETWORKS[network], gated=gated)
        for network, gated in each_once([*NETWORKS], [True, False])
    },
    "otsu": quick_vae(hard=True, threshold=Otsu()),
    "contribution": quick_vae(hard=True, threshold=Contribution(level=0.5)),
    "fixed variance": quick_vae(sparse_output=True, threshold=FixedVariance(0.7)),
    "noise": quick_vae(dtype="float64", noise_variance=0.05, learn_noise_variance=False),
    "dimension": IntrinsicDimensionEstimator(quick_vae(), random_state=0),
    "dimension by mixture": IntrinsicDimensionEstimator(random_state=0),
    "dimension by count": IntrinsicDimensionEstimator(quick_vae(), method="count"),
    "dimension by neighbors": IntrinsicDimensionEstimator(
        quick_sae(max_iter=2), method="neighbors", random_state=0
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator(name, tmp_path):
    fitted = fit_unwarned(clone(ESTIMATORS[name]), samples())
    assert_same(through_a_file(fitted, tmp_path), fitted)


def test_intrinsic_dimension_with_a_dictionary(tmp_path):
    X = make_sparse_dictionary(300, n_atoms=8, n_active=2, n_features=10, random_state=0)[0]
    estimator = fit_unwarned(IntrinsicDimensionEstimator(random_state=0), X)
    assert estimator._method_.dictionary_ is not None
    assert_same(through_a_file(estimator, tmp_path), estimator, X)


def test_intrinsic_dimension_of_an_intrinsic_dimension_estimator(tmp_path):
    """An autoencoder may be any estimator, so nested estimators are saved too."""
    inner = IntrinsicDimensionEstimator(quick_vae(), method="count")
    outer = IntrinsicDimensionEstimator(_Wrapped(inner), method="count")
    outer = fit_unwarned(outer, samples())
    loaded = through_a_file(outer, tmp_path, trusted=[_Wrapped])
    assert_same(loaded, outer)
    assert isinstance(loaded.autoencoder_.inner_.autoencoder_, VAEenseTransformer)


class _Wrapped(BaseEstimator):
    """A custom autoencoder that wraps an estimator of the package."""

    def __init__(self, inner):
        self.inner = inner

    def fit(self, X, y=None):
        self.inner_ = fit_unwarned(self.inner, X)
        return self

    def active_dimensions(self, X):
        return self.inner_.autoencoder_.active_dimensions(X)

    def score(self, X):
        return 0.0


@pytest.mark.parametrize("name", LAWS)
def test_every_law(name, tmp_path):
    fitted, _, new = fitted_law(name)
    for same in (
        through_a_file(fitted, tmp_path),
        pickle.loads(pickle.dumps(fitted)),
        copy.deepcopy(fitted),
    ):
        assert_same(same, fitted, new)


def test_laws_are_of_every_kind():
    """Otherwise the tests of laws would leave some out."""
    fits = [fitted_law(name)[0] for name in LAWS]
    vaeense = [fit for fit in fits if isinstance(fit, VAEenseTransformer)]
    names = {fit.explanation_ for fit in vaeense}
    assert names == {"mixture", "gates", "normal", "share", "length"}
    assert {fit.density_name_ for fit in vaeense} == {"mixture", "gates"}
    assert len(fitted_law("locations")[0].locations_) == 2


def test_what_is_not_fitted(tmp_path):
    for estimator in (
        VAEenseTransformer(7, model="gates", target_l0=2, hard=False),
        VAEenseTransformer(7, model=VAEase(MLP(), threshold="otsu")),
        SubspaceMixture(3),
        GateDictionary(target_explained_variance=0.9),
        SparseAutoencoder(penalty=JumpReLU(0.1), network="single_layer"),
        IntrinsicDimensionEstimator(SparseAutoencoder(penalty="log")),
        L1(0.3),
    ):
        loaded = through_a_file(estimator, tmp_path)
        assert repr(loaded) == repr(estimator)
        assert type(loaded) is type(estimator)
        assert vars(loaded).keys() == vars(estimator).keys()


# --- what goes with an estimator --------------------------------------------------------------


def test_feature_names_and_output_of_pandas(tmp_path):
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(samples(), columns=["a", "b", "c", "d", "é", "f g"])
    sae = fit_unwarned(quick_sae(max_iter=1), X).set_output(transform="pandas")
    loaded = through_a_file(sae, tmp_path)
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c", "d", "é", "f g"]
    assert loaded.feature_names_in_.dtype == object
    pd.testing.assert_frame_equal(loaded.transform(X), sae.transform(X))


def test_arrays(tmp_path):
    """Their order in memory is restored too, since sums depend on it."""
    sae, square = quick_sae(), np.arange(6).reshape(2, 3)
    arrays = [np.zeros((0, 3)), np.array(2.5), square, square.T, square > 2, square.astype("u1")]
    sae.note = arrays
    for found, array in zip(through_a_file(sae, tmp_path).note, arrays, strict=True):
        assert (found.dtype, found.shape, found.strides) == (
            array.dtype,
            array.shape,
            array.strides,
        )
        assert found.flags.writeable
        np.testing.assert_array_equal(found, array)


def test_plain_values(tmp_path):
    sae = quick_sae()
    numbers = [np.bool_(True), np.float32(0.1), 2**80, 1e-320, -0.0, float("nan"), -float("inf")]
    places = {0: (None, "é\n"), 1: []}
    sae.note = {"numbers": numbers, "places": places, "flag": True}
    assert repr(through_a_file(sae, tmp_path).note) == repr(sae.note)


def test_callbacks_are_left_out(tmp_path):
    pytest.importorskip("rich")
    sae = quick_sae().set_callbacks(ProgressBar())
    assert "_skl_callbacks" in vars(sae)
    assert "_skl_callbacks" not in vars(through_a_file(sae, tmp_path))


def test_random_state_goes_on_where_it_was(tmp_path):
    random_state = np.random.RandomState(3)
    random_state.standard_normal(5)  # This leaves a stored second number of a pair.
    vae = quick_vae(random_state=random_state)
    loaded = through_a_file(vae, tmp_path)
    assert loaded.random_state is not random_state
    expected = random_state.standard_normal(1000)
    np.testing.assert_array_equal(loaded.random_state.standard_normal(1000), expected)


def test_another_device(tmp_path):
    estimator = IntrinsicDimensionEstimator(quick_vae(device="auto"), random_state=0)
    estimator = fit_unwarned(estimator, samples())
    loaded = through_a_file(estimator, tmp_path, device="cpu")
    assert loaded.autoencoder.device == loaded.autoencoder_.device == "cpu"
    np.testing.assert_array_equal(loaded.predict(samples()), estimator.predict(samples()))


def test_device_that_is_not_there(tmp_path):
    """A file from a machine with a GPU can be used elsewhere."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    sae = fit_unwarned(quick_sae(max_iter=1), samples(), method="partial_fit")
    path = tmp_path / "sae.safetensors"
    save(sae.set_params(device="cuda"), path)
    with pytest.raises(ValueError, match="device must be 'auto'"):
        load(path).transform(samples())
    loaded = load(path, device="cpu")
    np.testing.assert_array_equal(
        loaded.transform(samples()), sae.set_params(device="cpu").transform(samples())
    )
    loaded.partial_fit(samples())


# --- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        quick_vae(network=NETWORKS["mlp"], dtype="float64", learn_noise_variance=True),
        *(quick_sae(PENALTIES[name]) for name in ("batch_topk", "gated", "jump_relu")),
        quick_sae(L1(0.01), target_l0=3, network=NETWORKS["linear"], positive_code=False),
        quick_sae(optimizer="sgd", schedule="cosine"),
    ],
    ids=class_name,
)
def test_partial_fit_goes_on(estimator, tmp_path):
    """The optimizer, the schedules, dead latents and the generator continue unchanged."""
    X = samples()
    estimator = copy.deepcopy(estimator)
    for _ in range(3):
        estimator.partial_fit(X)
    loaded = through_a_file(estimator, tmp_path)
    for _ in range(2):
        estimator.partial_fit(X)
        loaded.partial_fit(X)
    assert loaded.n_iter_ == estimator.n_iter_ == 5
    assert loaded.loss_curve_ == estimator.loss_curve_
    assert_same(loaded, estimator)


# Prices of shorter codes are those of a fit, and a SubspaceMixture learns from all samples at once.
BATCHES = [name for name in LAWS if name not in ("shorter length", "subspace mixture")]


@pytest.mark.parametrize("name", BATCHES)
def test_partial_fit_of_laws_goes_on(name, tmp_path):
    """Sums over earlier batches continue unchanged, in a file and in a pickle."""
    fitted, X, new = fitted_law(name)
    estimator = copy.deepcopy(fitted)
    loaded = through_a_file(estimator, tmp_path)
    for batch in np.array_split(X, 2):
        before = outputs(loaded, new)["score"]
        estimator.partial_fit(batch)
        loaded = through_a_file(loaded.partial_fit(batch), tmp_path)
        assert_same(loaded, estimator, new)
        assert outputs(loaded, new)["score"] != before
        assert_same(pickle.loads(pickle.dumps(estimator)), estimator, new)


@pytest.mark.parametrize("name", ["mixture", "share", "vae", "sae"])
def test_warm_start_goes_on(name, tmp_path):
    nets = {"vae": quick_vae(), "sae": quick_sae(max_iter=2)}
    if name in nets:
        fitted, X = fit_unwarned(nets[name], samples()), samples()
    else:
        fitted, X, _ = fitted_law(name)
    estimator = copy.deepcopy(fitted).set_params(warm_start=True)
    loaded = through_a_file(estimator, tmp_path)
    assert_same(fit_unwarned(loaded, X), fit_unwarned(estimator, X), X[:30])


def test_what_was_loaded_can_be_saved(tmp_path, subtests):
    fits = {name: fitted_law(name)[0] for name in LAWS}
    for name in ("mixture", "gates", "share"):
        fits[f"{name}, in parts"] = copy.deepcopy(fits[name]).partial_fit(fitted_law(name)[1])
    fits["sae"] = fit_unwarned(quick_sae(max_iter=1), samples(), method="partial_fit")
    fits["vae"] = fit_unwarned(quick_vae(), samples())
    for name, fitted in fits.items():
        with subtests.test(name):
            save(fitted, tmp_path / "first")
            save(load(tmp_path / "first"), tmp_path / "second")
            assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


# --- classes of a user's own ------------------------------------------------------------------


class OwnActivation(torch.nn.Module):
    """A ReLU with a fixed shift and a learned shift."""

    def __init__(self, n_components, shift):
        super().__init__()
        self.shift = torch.full((n_components,), shift)
        self.learned_shift = torch.nn.Parameter(torch.zeros(n_components))

    def forward(self, preactivation):
        shift = self.shift.to(preactivation) + self.learned_shift
        return torch.relu(preactivation - shift)


class OwnPenalty(Penalty):
    """A penalty with a shift."""

    def __init__(self, shift=0.1):
        self.shift = shift

    def build(self, n_components, *, unit, positive):
        return OwnActivation(n_components, self.shift)


class OwnModule(torch.nn.Module):
    """Layers that the package does not use, a buffer outside of the state, and a plain tensor."""

    def __init__(self, n_features, n_components, n_heads, width):
        super().__init__()
        self.n_heads = n_heads
        self.embedding = torch.nn.Linear(1, width)
        self.attention = torch.nn.MultiheadAttention(width, 2, dropout=0.1, batch_first=True)
        self.norm = torch.nn.LayerNorm(width)
        self.dropout = torch.nn.Dropout(0.2)
        self.output = torch.nn.Linear(width, n_heads * n_components)
        self.decoder = torch.nn.Linear(n_components, n_features)
        self.register_buffer("counts", torch.zeros(3, dtype=torch.int64))
        position = torch.arange(n_features * width).reshape(n_features, width).cos()
        self.register_buffer("position", position, persistent=False)
        self.factor = torch.tensor(0.5)

    def encode(self, x):
        tokens = self.embedding(x[:, :, None]) + self.factor.to(x) * self.position
        mixed = self.norm(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        outputs = self.output(self.dropout(mixed).mean(dim=1))
        return outputs.chunk(self.n_heads, dim=1)

    def decode(self, code):
        return self.decoder(code)


class OwnNetwork(Network):
    """A network with attention."""

    def __init__(self, width=4):
        self.width = width

    def build(self, n_features, n_components, *, n_heads, generator):
        return OwnModule(n_features, n_components, n_heads, self.width)


class WidePrior(StandardNormal):
    """A normal prior with a learned width."""

    def __init__(self, width=1.0):
        self.width = width
        self.fitted_width_ = np.array([2.0])

    def kl(self, posterior):
        return super().kl(posterior) / float(self.fitted_width_[0])


class OwnLoss(ELBO):
    """A bound with a larger weight on the divergence."""

    def __init__(self, beta=1.0, weight=2.0):
        super().__init__(beta)
        self.weight = weight

    def terms(self, model, x, *, generator):
        terms = super().terms(model, x, generator=generator)
        return terms | {"loss": terms["loss"] + self.weight * terms["kl"]}


def test_own_classes_are_refused_by_name(tmp_path):
    sae = fit_unwarned(quick_sae(OwnPenalty(), max_iter=1), samples())
    path = tmp_path / "own.safetensors"
    with pytest.raises(TypeError, match=r"penalty is a .*OwnPenalty.*trusted=\[OwnPenalty\]"):
        save(sae, path)
    assert list(tmp_path.iterdir()) == []
    save(sae, path, trusted=[OwnPenalty])
    with pytest.raises(ValueError, match=r"OwnPenalty'.*pass it to load as trusted"):
        load(path)
    loaded = load(path, trusted=[OwnPenalty])
    assert_same(loaded, sae)
    assert loaded.penalty.shift == 0.1


class OwnHistory(dict):
    """A dict of arrays with a method and an attribute."""

    def last(self):
        return {name: values[-1] for name, values in self.items()}


def test_dict_with_methods(tmp_path):
    sae = quick_sae()
    sae.record = OwnHistory(loss=np.array([3.0, 2.0]), l0=np.array([5, 4]))
    sae.record.unit = "nats"
    history = through_a_file(sae, tmp_path, trusted=[OwnHistory]).record
    assert type(history) is OwnHistory
    assert history.last() == {"loss": 2.0, "l0": 4}
    assert history.unit == "nats"


@pytest.mark.parametrize(
    "estimator",
    [
        quick_sae(network=OwnNetwork(6), max_iter=1),
        quick_vae(prior=WidePrior()),
        quick_vae(loss=OwnLoss()),
    ],
    ids=["network", "prior", "loss"],
)
def test_own_parts(estimator, tmp_path):
    """The modules that these parts build need not be trusted."""
    fitted = fit_unwarned(estimator, samples())
    before = torch.get_rng_state()
    loaded = through_a_file(fitted, tmp_path, trusted=[OwnNetwork, WidePrior, OwnLoss])
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(loaded, fitted)
    loaded, fitted = loaded.partial_fit(samples()), fitted.partial_fit(samples())
    assert_same(through_a_file(fitted, tmp_path, trusted=[OwnNetwork, WidePrior, OwnLoss]), fitted)


class Widest(AutoencoderMethod):
    """The largest number of active latents, as the dimension of all samples."""

    def fit(self, autoencoder, X, random_state=None):
        self.widest_ = autoencoder.active_dimensions(X).sum(axis=1).max()
        self.search_ = NearestNeighbors(n_neighbors=2).fit(X)
        return self

    def estimate(self, autoencoder, X):
        distances = self.search_.kneighbors(X)[0][:, 1]
        return np.full(len(X), float(self.widest_)), distances


def test_own_dimension_method(tmp_path):
    estimator = IntrinsicDimensionEstimator(quick_vae(), method=Widest())
    estimator = fit_unwarned(estimator, samples())
    assert_same(through_a_file(estimator, tmp_path, trusted=[Widest]), estimator)
    # A search that load would not build is not saved.
    estimator._method_.search_.set_params(algorithm="kd_tree")
    with pytest.raises(ValueError, match=r"algorithm='kd_tree'.*cannot be saved; set only n_neig"):
        save(estimator, tmp_path / "search", trusted=[Widest])
    assert not (tmp_path / "search").exists()


class Measured(OwnNetwork):
    """A network whose layers depend on the values of a tensor."""

    def build(self, n_features, n_components, *, n_heads, generator):
        width = int(torch.linspace(2, 4, 2)[-1])
        return OwnModule(n_features, n_components, n_heads, width)


def test_what_load_could_not_build_is_not_saved(tmp_path):
    sae = fit_unwarned(quick_sae(network=Measured(), max_iter=1), samples())
    with pytest.raises(TypeError, match="on torch's device 'meta', without memory"):
        save(sae, tmp_path / "sae", trusted=[Measured])
    assert list(tmp_path.iterdir()) == []


def test_pipeline_of_trusted_steps(tmp_path):
    X = samples()
    pipeline = fit_unwarned(make_pipeline(StandardScaler(), quick_sae(max_iter=1)), X)
    loaded = through_a_file(pipeline, tmp_path, trusted=[type(pipeline), StandardScaler])
    np.testing.assert_array_equal(loaded.transform(X), pipeline.transform(X))


def test_a_class_of_the_package_needs_no_trust_even_where_it_was_trusted(tmp_path):
    save(L1(0.3), tmp_path / "l1", trusted=[L1])
    assert load(tmp_path / "l1").alpha == 0.3


# --- what cannot be saved ---------------------------------------------------------------------


def test_what_cannot_be_saved(tmp_path, subtests):
    for name, value, message in (
        ("note", lambda: None, "note is a builtins.function, which cannot be saved"),
        ("note", np.array([1 + 2j]), "note is an array of complex128"),
        ("note", np.array([object()]), "note is an array of object"),
        ("note", {1, 2}, "note is a builtins.set"),
        ("penalty", L1, "penalty"),
    ):
        with subtests.test(message):
            sae = quick_sae()
            setattr(sae, name, value)
            with pytest.raises((TypeError, ValueError), match=message):
                save(sae, tmp_path / "sae")
            assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "trusted", "message"),
    [
        (VAEenseTransformer(-3), (), "'n_components' parameter"),
        ({"alpha": 3}, (), "must be a scikit-learn estimator"),
        (L1(), ["OwnPenalty"], "list of classes"),
    ],
)
def test_wrong_arguments_of_save(value, trusted, message, tmp_path):
    with pytest.raises((TypeError, ValueError), match=message):
        save(value, tmp_path / "file", trusted=trusted)
    assert list(tmp_path.iterdir()) == []


def test_what_holds_itself(tmp_path):
    sae = quick_sae()
    sae.note = [1]
    sae.note.append(sae.note)
    with pytest.raises(TypeError, match="contains itself, or is nested too deeply"):
        save(sae, tmp_path / "sae")


# --- pickles ----------------------------------------------------------------------------------


PICKLED = [
    quick_vae(),
    quick_sae(max_iter=1),
    IntrinsicDimensionEstimator(quick_vae(), random_state=0),
]


@pytest.mark.parametrize("estimator", PICKLED, ids=class_name)
def test_pickle_joblib_and_skops_with_a_short_list(estimator):
    estimator = fit_unwarned(clone(estimator), samples())
    data = skops.io.dumps(estimator)
    named = skops.io.get_untrusted_types(data=data)
    assert len(named) <= 16
    rooms = "skvaeense.", "sklearn.neighbors.", "sklearn.metrics."
    assert all(name.startswith(rooms) for name in named)
    assert_same(skops.io.loads(data, trusted=named), estimator)
    for dump in (pickle, joblib):
        file = io.BytesIO()
        dump.dump(estimator, file)
        file.seek(0)
        assert_same(dump.load(file), estimator)
    assert_same(copy.deepcopy(estimator), estimator)


@pytest.mark.parametrize("name", ["mixture", "locations", "gates", "length", "normal"])
def test_skops_list_of_the_guide(name):
    """The list in docs/user_guide/saving.rst is sufficient."""
    vae, _, new = fitted_law(name)
    trusted = [
        "skvaeense._vaeense.VAEenseTransformer",
        "skvaeense.explanations._laws.FlatLaw",
        "skvaeense.explanations._laws.GateLaw",
        "skvaeense.mixture._density.MixtureDensity",
        "skvaeense.mixture._rows.Reach",
        "skvaeense.mixture._rows.Units",
    ]
    assert all(f'"{name}"' in GUIDE.read_text() for name in trusted)
    assert_same(skops.io.loads(skops.io.dumps(vae), trusted=trusted), vae, new)


def test_partial_fit_goes_on_after_a_pickle():
    vae = fit_unwarned(quick_vae(), samples()).partial_fit(samples())
    loaded = pickle.loads(pickle.dumps(vae))
    assert_same(loaded.partial_fit(samples()), vae.partial_fit(samples()))
