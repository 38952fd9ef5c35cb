"""Damaged, foreign or malicious files: nothing in them runs, and nothing large is allocated."""

import copy
import json
import os
import pickle
import struct
import time
import tracemalloc
from fnmatch import fnmatch

import joblib
import numpy as np
import pytest
import torch
from helpers import APART, PAIRS, fit_unwarned, quick_sae, with_net
from safetensors import safe_open
from safetensors.numpy import save_file

import skvaeense
from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer, load, save
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.networks import Linear, Network
from skvaeense.nets.penalties import Matryoshka
from skvaeense.persistence import _files
from skvaeense.persistence._coder import builtin_classes


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return a valid file of a sparse autoencoder in training."""
    X = np.random.default_rng(0).normal(size=(40, 5))
    path = tmp_path_factory.mktemp("sound") / "sae.safetensors"
    sae = fit_unwarned(quick_sae(random_state=np.random.RandomState(0)), X, "partial_fit")
    # Components that were read are in the file.
    assert len(sae.components_) == sae.n_components_
    save(sae, path)
    return path


@pytest.fixture(scope="module")
def dimension_path(tmp_path_factory):
    """Return a valid file of an estimator with neighbour searches."""
    X = np.random.default_rng(0).normal(size=(40, 5))
    vae = with_net(3, network=Linear((4,)), n_init=1, max_iter=2, random_state=0)
    path = tmp_path_factory.mktemp("sound") / "dimension.safetensors"
    save(fit_unwarned(IntrinsicDimensionEstimator(vae, random_state=0), X), path)
    return path


def contents(path):
    """Return the text and the arrays of a file."""
    with safe_open(path, framework="np") as file:
        return file.metadata()["skvaeense"], {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118


def forged(path, tmp_path, change):
    """Return a changed file with a correct checksum."""
    text, arrays = contents(path)
    node = json.loads(text)["estimator"]
    change(node, arrays)
    target = tmp_path / "forged.safetensors"
    _files.write(target, node, arrays)
    return target


def refusal(path, **options):
    """Return the error of load, and check that its memory is limited by the size of the file."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="cannot be loaded") as caught:
            load(path, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * path.stat().st_size + 3_000_000
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


def with_header(header, body=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + body


# --- not a file of ours -----------------------------------------------------------------------


class Payload:
    """An object that writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump, torch.save], ids=lambda f: f.__module__)
def test_pickles_do_not_run(dump, tmp_path):
    path, target = tmp_path / "model.safetensors", tmp_path / "harm"
    with open(path, "wb") as file:
        dump(Payload(target), file)
    assert "not a safetensors file" in refusal(path)
    assert not target.exists()
    # The payload works when it is unpickled.
    with open(path, "rb") as file:
        pickle.load(file) if dump is not torch.save else target.mkdir()
    assert target.exists()


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        load(tmp_path / "nowhere.safetensors")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load(tmp_path)


NOT_SAFETENSORS = [
    b"",
    b"not a file of tensors",
    b"\xff" * 100,
    with_header(b"[" * 10_000),
    with_header({"a": {"dtype": "F64", "shape": [10**12], "data_offsets": [0, 8 * 10**12]}}),
    with_header({"a": {"dtype": "F64", "shape": [10**12], "data_offsets": [0, 8]}}, b"0" * 8),
    with_header({"a": {"dtype": "F64", "shape": [2**62, 8], "data_offsets": [0, 8]}}, b"0" * 8),
    with_header({"__metadata__": {"skvaeense": 3}}),
]


def test_not_safetensors(path, tmp_path, subtests):
    data = path.read_bytes()
    truncated = [data[: int(share * len(data))] for share in (0.001, 0.3, 0.7, 0.999)]
    file = tmp_path / "file.safetensors"
    for content in NOT_SAFETENSORS + truncated:
        with subtests.test(start=content[:30], size=len(content)):
            file.write_bytes(content)
            assert "not a safetensors file, or it is damaged or truncated" in refusal(file)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors(metadata, tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": np.zeros(3)}, path, metadata)
    assert "was not written by skvaeense.save" in refusal(path)


def test_bad_metadata(tmp_path, subtests):
    path = tmp_path / "bad.safetensors"
    for text, message in (
        ("no JSON", "Expecting value"),
        ("[1, 2]", "cannot be loaded"),
        ("{}", "format_version"),
        ('{"format_version": "1"}', "has version '1' of the format"),
        ('{"format_version": 1}', "does not match its checksum"),
        ('{"format_version": 1, "estimator": NaN}', "does not match its checksum"),
        ("[" * 200_000, "nested too deeply"),
    ):
        with subtests.test(text[:30]):
            save_file({"weight": np.zeros(3)}, path, {"skvaeense": text})
            assert message in refusal(path)


@pytest.mark.parametrize("version", [0, 3])
def test_another_format(version, path, tmp_path):
    text, arrays = contents(path)
    other = tmp_path / "other.safetensors"
    description = json.loads(text) | {"format_version": version, "library_version": "7.1"}
    save_file(arrays, other, {"skvaeense": json.dumps(description)})
    message = refusal(other)
    assert f"version {version} of the format, but skvaeense {skvaeense.__version__}" in message
    assert "reads version 1. Install the skvaeense that wrote it, '7.1'" in message


# --- damaged ----------------------------------------------------------------------------------


def test_any_flipped_bit_is_seen(path, tmp_path):
    data = bytearray(path.read_bytes())
    damaged = tmp_path / "damaged.safetensors"
    for position in [*np.random.default_rng(0).integers(len(data), size=40), -3]:
        data[position] ^= 4
        damaged.write_bytes(data)
        message = refusal(damaged)
        data[position] ^= 4
    # The last one is in a weight.
    assert "its content does not match its checksum" in message


# --- forged -----------------------------------------------------------------------------------


def set_in(*steps, value):
    """Return a change that sets one entry of the description."""

    def change(node, arrays):
        for step in steps[:-1]:
            node = node[step]
        node[steps[-1]] = value

    return change


def delete(*steps):
    """Return a change that deletes one entry of the description."""

    def change(node, arrays):
        for step in steps[:-1]:
            node = node[step]
        del node[steps[-1]]

    return change


ATTRIBUTES = "attributes"
MODEL = ATTRIBUTES, "module_"
CONFIG = *MODEL, "config"
STATE = *MODEL, "state"
DECODER = "network.decoder.weight"
WEIGHT = f"module_.{DECODER}"
RANDOM_STATE = "parameters", "random_state", "state", "items"


def set_array(name, array):
    """Return a change that replaces an array."""

    def change(node, arrays):
        assert name in arrays
        arrays[name] = np.asarray(array(arrays[name]), order="C")

    return change


def missing_tensor(node, arrays):
    del arrays["mean_"]


def nested(node, arrays):
    deep = []
    for _ in range(450):
        deep = {"class": "builtins.tuple", "items": [deep]}
    node[ATTRIBUTES]["loss_curve_"] = deep


def spec(name, **parameters):
    """Return the description of a specification."""
    return {"class": f"skvaeense.{name}", "parameters": parameters, "attributes": {}}


FORGED = {
    "os.system": (set_in("class", value="os.system"), "'os.system', which this version"),
    "class of sklearn": (set_in("class", value="sklearn.svm.SVC"), "'sklearn.svm.SVC', which"),
    "private class": (
        set_in("class", value="skvaeense.persistence._coder.Coder"),
        "which this version",
    ),
    "class of another kind": (
        set_in("class", value="skvaeense.nets.models.SparseCoder"),
        "unexpected keyword argument 'parameters'",
    ),
    "estimator of a tuple": (set_in("class", value="builtins.tuple"), "'parameters'"),
    "class of no name": (set_in("class", value=7), "it is a 7, which this version"),
    "class of a list": (set_in("class", value=[]), "cannot be loaded"),
    "penalty as an optimizer": (
        set_in("parameters", "optimizer", value={"class": "skvaeense.nets.penalties.L1"}),
        "'attributes'",
    ),
    "optimizer as a width": (
        set_in("parameters", "n_components", value={"class": "torch.optim.RAdam"}),
        "'n_components' parameter",
    ),
    "optimizer as an object": (
        set_in(ATTRIBUTES, "module_", value={"class": "torch.optim.RAdam", "attributes": {}}),
        "'module_' has the wrong type",
    ),
    "no class": (delete(*MODEL, "class"), "'module_' has the wrong type"),
    "model of another estimator": (
        set_in(*MODEL, "class", value="skvaeense.nets.models.VAE"),
        "cannot be loaded",
    ),
    "unknown parameter": (
        set_in("parameters", "magic", value=1),
        "unexpected keyword argument 'magic'",
    ),
    "parameter out of range": (set_in("parameters", "tol", value=-1), "'tol' parameter"),
    "parameter that is NaN": (
        set_in("parameters", "tol", value=float("nan")),
        "'tol' parameter",
    ),
    "text as a number": (
        set_in(ATTRIBUTES, "scale_", value="1.0; import os"),
        "'scale_' has the wrong type",
    ),
    "scale that is NaN": (
        set_in(ATTRIBUTES, "scale_", value=float("nan")),
        "scale_ must be finite",
    ),
    "mean that is NaN": (set_array("mean_", lambda mean: mean * np.nan), "mean_ must be finite"),
    "mean of another shape": (
        set_array("mean_", lambda mean: mean[:1]),
        "mean_ must be of shape (5,)",
    ),
    "components of another shape": (
        set_array("components_", lambda components: components.T),
        "components_ must be of shape",
    ),
    "missing attribute": (delete(ATTRIBUTES, "scale_"), "scale_ is missing"),
    "missing model": (delete(*MODEL), "module_ is missing"),
    "method as an attribute": (set_in(ATTRIBUTES, "transform", value=1), "'transform'"),
    "dunder attribute": (set_in(ATTRIBUTES, "__class__", value="os"), "'__class__'"),
    "dict as an attribute": (set_in(ATTRIBUTES, "__dict__", value={}), "'__dict__'"),
    "path as an attribute": (set_in(ATTRIBUTES, "../../x", value=1), "'../../x'"),
    "too many components": (set_in(ATTRIBUTES, "n_components_", value=10**12), "must be of shape"),
    "too many features": (set_in(ATTRIBUTES, "n_features_in_", value=10**12), "must be of shape"),
    "missing array": (missing_tensor, "mean_ is damaged: the array 'mean_' is missing"),
    "name of an array that is none": (
        set_in(ATTRIBUTES, "mean_", "array", value={}),
        "cannot be loaded",
    ),
    "nested deeply": (nested, "nested too deeply"),
    # Changes of the model.
    "model with too many components": (set_in(*CONFIG, "n_components", value=10**12), "size"),
    "model with too many features": (set_in(*CONFIG, "n_features", value=10**12), "size"),
    "model with too many weights": (
        set_in(*CONFIG, "network", value=spec("nets.networks.Linear", hidden_layer_sizes=10**12)),
        "Missing key",
    ),
    "prior as a network": (
        set_in(*CONFIG, "network", value=spec("nets.priors.StandardNormal")),
        "module_ is damaged: 'network' has the wrong type",
    ),
    "penalty with too many thresholds": (
        set_in(*CONFIG, "penalty", value=spec("nets.penalties.JumpReLU", threshold=1.0)),
        "Missing key",
    ),
    "penalty out of range": (
        set_in(*CONFIG, "penalty", value=spec("nets.penalties.L1", alpha=-1)),
        "'alpha' parameter",
    ),
    "sign that is text": (
        set_in(*CONFIG, "positive", value="os"),
        "module_ is damaged: 'positive' has",
    ),
    "unknown entry of a configuration": (set_in(*CONFIG, "magic", value=1), "magic"),
    "generator in a configuration": (set_in(*CONFIG, "generator", value=1), "generator"),
    "missing entry of a configuration": (delete(*CONFIG, "network"), "network"),
    "missing configuration": (delete(*CONFIG), "argument: 'config'"),
    "missing weights": (delete(*STATE, DECODER), "Missing key"),
    "weights of no layer": (
        set_in(*STATE, "evil", value={"class": "builtins.tuple"}),
        "cannot be loaded",
    ),
    "number as weights": (set_in(*STATE, DECODER, value=3), "cannot be loaded"),
    "shape of weights": (set_array(WEIGHT, lambda weight: weight.T), "size mismatch"),
    "integer weights": (set_array(WEIGHT, lambda weight: weight.astype(np.int32)), "cannot be"),
    "weights of two precisions": (
        set_array(WEIGHT, lambda weight: weight.astype(np.float64)),
        "the same precision",
    ),
    # numpy would read memory outside of its array.
    "position in a random state": (set_in(*RANDOM_STATE, 2, value=10**6), "RandomState"),
    "words of a random state": (
        set_array("random_state.1", lambda words: words[:5]),
        "cannot be loaded",
    ),
    "another generator": (set_in(*RANDOM_STATE, 0, value="PCG64"), "MT19937"),
    "no estimator": (
        lambda node, arrays: [node.clear(), node.update({"class": "builtins.tuple", "items": []})],
        "not hold an estimator",
    ),
}


def test_forged(path, tmp_path, subtests):
    for case, (change, message) in FORGED.items():
        with subtests.test(case):
            assert message in refusal(forged(path, tmp_path, change))


def place_of(pattern, path):
    """Return the place of the first object of a class in the description of a file."""

    def search(node):
        if not isinstance(node, dict):
            return None
        if fnmatch(str(node.get("class")), pattern):
            return ()
        found = ((name, search(part)) for name, part in node.items())
        return next(((name, *rest) for name, rest in found if rest is not None), None)

    return search(json.loads(contents(path)[0])["estimator"])


def test_forged_geometry(dimension_path, tmp_path):
    geometry = place_of("skvaeense.*LocalGeometry", dimension_path)
    search = place_of("sklearn.neighbors.NearestNeighbors", dimension_path)
    for change, message in [
        (set_in(*search, "metric", value="evil"), "metric"),
        (set_in(*search, "points", value=None), "cannot be loaded"),
        (set_in(*search, "class", value="subprocess.Popen"), "'subprocess.Popen'"),
        (set_in(*search, "n_neighbors", value=-1), "'n_neighbors' parameter"),
        (set_in(*search, "n_jobs", value=10**9), "n_jobs"),
        (set_in(*geometry, ATTRIBUTES, "at", value=1), "no attribute 'at' that can be set"),
        (delete(ATTRIBUTES, "autoencoder_"), "autoencoder_ is missing"),
        (delete(ATTRIBUTES, "n_features_in_"), "n_features_in_"),
    ]:
        assert message in refusal(forged(dimension_path, tmp_path, change))


COUNTS = {
    "layers": spec("nets.networks.MLP", hidden_layer_sizes=[8] * 50_000),
    "sweeps": spec("nets.networks.Unrolled", n_sweeps=10**7, n_active=2),
}


def test_counts_are_those_of_the_tensors(path, tmp_path, subtests):
    """No module is built that does not fit the file, so time and memory are limited by its size."""
    for case, network in COUNTS.items():
        with subtests.test(case):
            start = time.process_time()
            refusal(forged(path, tmp_path, set_in(*CONFIG, "network", value=network)))
            assert time.process_time() - start < 5
            assert torch.is_grad_enabled()


def test_text_of_many_small_parts(path, tmp_path):
    """The decoded JSON is larger than the text, and there is only one copy of it."""
    for part in ([], {"a": 0}, [{}]):
        many = forged(path, tmp_path, set_in(ATTRIBUTES, "alpha_", value=[part] * 10_000))
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="'alpha_' has the wrong type"):
                load(many)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 40 * many.stat().st_size + 1_000_000


def points(n):
    """Return neighbour searches that share an array, as nodes."""
    points = {"class": "numpy.ndarray", "array": "shared", "order": "C"}
    search = {"class": "sklearn.neighbors.NearestNeighbors", "n_neighbors": 5, "points": points}
    return [copy.deepcopy(search) for _ in range(n)]


def long_keys(n):
    """Return dicts in dicts, whose keys are long, around a list."""
    node = [0] * (5 * n)
    for _ in range(100):
        node = {"k" * (n // 10): node}
    return node


RANDOM_WORDS = {"class": "numpy.ndarray", "array": "words", "order": "C"}
RANDOM_WORDS = {"class": "builtins.tuple", "items": ["MT19937", RANDOM_WORDS, 0, 0, 0.0]}
LARGE = {
    "list under a long key": lambda n: {"k" * 80 * n: [0] * 10 * n},
    "long keys in one another": long_keys,
    "numbers as keys": lambda n: {"class": "builtins.dict", "items": [0] * 2 * n},
    "tensors of one array": lambda n: [
        {"class": "torch.Tensor", "array": "shared", "order": "C"} for _ in range(n)
    ],
    "searches in one array": lambda n: points(n // 10),
    "random states of one array": lambda n: [
        copy.deepcopy({"class": "numpy.random.mtrand.RandomState", "state": RANDOM_WORDS})
        for _ in range(n)
    ],
}


def test_large_nodes_take_time_and_memory_that_go_with_the_file(path, tmp_path, subtests):
    shared = np.random.default_rng(0).normal(size=(4000, 5))
    words = np.zeros(624, dtype=np.uint32)
    for case, make in LARGE.items():
        with subtests.test(case):

            def change(node, arrays, make=make):
                arrays |= {"shared": shared, "words": words}
                node[ATTRIBUTES]["alpha_"] = make(5_000)

            large = forged(path, tmp_path, change)
            start = time.process_time()
            refusal(large)
            # Tracing of memory makes this slower.
            assert time.process_time() - start < 1 + 1e-6 * large.stat().st_size


def test_an_array_belongs_to_one_node(path, tmp_path):
    mean = json.loads(contents(path)[0])["estimator"][ATTRIBUTES]["mean_"]
    twice = forged(path, tmp_path, set_in(ATTRIBUTES, "alpha_", value=mean))
    assert "is missing, or named twice" in refusal(twice)


def test_a_count_that_no_tensor_has_is_bounded():
    """The loop over this count ends: counts above the number of latents change nothing."""
    assert Matryoshka(2, n_prefixes=10**12).prefixes(8) == [1, 2, 4]


def test_forged_history(path, tmp_path):
    history = ATTRIBUTES, "history_"
    for change, message in [
        (set_in(*history, "items", "loss", value={"class": "code"}), "it is a 'code', which"),
        (set_in(*history, "attributes", "to_frame", value=1), "'to_frame'"),
        (set_in(*history, "items", value=7), "cannot be loaded"),
    ]:
        assert message in refusal(forged(path, tmp_path, change))


# --- forged laws ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def law_paths(tmp_path_factory):
    """Return valid files of laws: flat parts at several locations, gates, and both in batches."""
    folder = tmp_path_factory.mktemp("laws")
    apart, pairs = APART.train[:300], PAIRS.train
    fits = {
        "flats": VAEenseTransformer(random_state=0).fit(apart).partial_fit(apart),
        "gates": VAEenseTransformer(random_state=0).fit(pairs).partial_fit(pairs),
        "length": VAEenseTransformer(target_l0=2, random_state=0).fit(pairs),
        "mixture": SubspaceMixture(random_state=0).fit(apart),
        "dictionary": GateDictionary(random_state=0).fit(pairs).partial_fit(pairs),
    }
    for name, fit in fits.items():
        save(fit, folder / name)
    return {name: folder / name for name in fits}


CODER = ATTRIBUTES, "_coder_"
STREAM = ATTRIBUTES, "_stream_"
# For each file, changes and what is said about them. The checks of each kind of law have tests of
# their own; here is one damage for each part that has such checks.
FORGED_LAWS = {
    "flats": {
        "no law": (delete(*CODER), "module_ is missing"),
        "no mixture": (delete(ATTRIBUTES, "density_"), "density_ is missing"),
        "no units": (delete(ATTRIBUTES, "_units_"), "_units_ is missing"),
        "law of another kind": (
            set_in(*CODER, value=spec("nets.penalties.L1")),
            "'_coder_' has the wrong type",
        ),
        "number as a law": (set_in(*CODER, value=3), "'_coder_' has the wrong type"),
        "unknown array": (set_in(*CODER, "attributes", "magic", value=1), "magic"),
        "missing array": (delete(*CODER, "attributes", "rows"), "argument: 'rows'"),
        "NaN": (set_array("_coder_.points", lambda a: a * np.nan), "points must be finite"),
        "negative variances": (
            set_array("density_.variances", lambda a: -a),
            "variances must be above 0",
        ),
        "many directions of no component": (
            lambda node, arrays: arrays.update(
                {
                    "density_.means": np.zeros((0, 10**9)),
                    "density_.variances": np.zeros((0, 10**9)),
                }
            ),
            "means must be of shape",
        ),
        "scale of units": (
            set_in(ATTRIBUTES, "_units_", "attributes", "scale", value=-1.0),
            "_units_ is damaged: scale must be",
        ),
        "radius": (
            set_in(
                ATTRIBUTES, "_units_", "attributes", "reach", "attributes", "radius", value=np.nan
            ),
            "radius",
        ),
        "missing field": (delete(ATTRIBUTES, "_units_", "attributes", "steps"), "steps"),
        "unknown field": (set_in(ATTRIBUTES, "_units_", "attributes", "magic", value=1), "magic"),
        "sums of a stream": (
            set_array("_stream_.mixture.covariances", lambda a: a[:, :1]),
            "covariances must be",
        ),
        "text as a choice": (
            set_in(*STREAM, "attributes", "mixture", "attributes", "cut", value="os"),
            "'cut' has",
        ),
        "stream of another kind": (
            set_in(*STREAM, "attributes", "coder", value=None),
            "'coder' has",
        ),
    },
    "gates": {
        "another number": (set_in(ATTRIBUTES, "n_components_", value=3), "must be of shape"),
        "features": (set_in(ATTRIBUTES, "n_features_in_", value=3), "must be of shape"),
        "density of another kind": (
            set_in(ATTRIBUTES, "density_", value=3),
            "'density_' has the wrong type",
        ),
        "sums": (
            set_array("_stream_.coder.past.codes", lambda a: a[:2]),
            "codes must be of shape",
        ),
        "missing sum": (delete(*STREAM, "attributes", "coder", "attributes", "past", "n"), "sums"),
    },
    "length": {
        "no prices": (
            lambda node, arrays: arrays.update(
                {f"_coder_.{name}": np.zeros(0) for name in ("prices", "lengths", "left")}
            ),
            "prices must be of shape",
        ),
    },
    "mixture": {
        "no density": (delete(ATTRIBUTES, "density_"), "density_ is missing"),
        "features": (set_in(ATTRIBUTES, "n_features_in_", value=3), "must be of shape"),
    },
    "dictionary": {
        "no law": (delete(ATTRIBUTES, "_law_"), "_law_ is missing"),
        "another number": (set_in(ATTRIBUTES, "n_components_", value=3), "must be of shape"),
        "components": (set_array("components_", lambda a: a.T), "components_ must be of shape"),
        "target": (set_in(*STREAM, "attributes", "length", value="2"), "'length' has"),
    },
}


@pytest.mark.parametrize("law", FORGED_LAWS)
def test_forged_laws(law, law_paths, tmp_path, subtests):
    for case, (change, message) in FORGED_LAWS[law].items():
        with subtests.test(case):
            assert message in refusal(forged(law_paths[law], tmp_path, change))


STATE_OF_TRAINING = ATTRIBUTES, "_partial_state_"
FORGED_STATES = {
    "generator": set_array("_partial_state_.generator", lambda state: state * 0 + 255),
    "method": set_in(*STATE_OF_TRAINING, "hooks", 0, "before_loss", value="os.system"),
    "model": set_in(*STATE_OF_TRAINING, "model", value={"evil": 1}),
    "text": set_in(*STATE_OF_TRAINING, value="os.system"),
    "text as a number": set_in(*STATE_OF_TRAINING, "hooks", 1, "n_dead", value="1"),
    "dict as a list": set_in(*STATE_OF_TRAINING, "log", value={}),
    "missing entry": delete(*STATE_OF_TRAINING, "n_waited"),
    "floats as integers": set_array("_partial_state_.hooks.1.silent_for", lambda n: n * 1.0),
} | {
    f"{how} of {name}": set_array(f"_partial_state_.{name}", change)
    for name in (
        "optimizer.state.0.exp_avg",
        "optimizer.state.0.exp_avg_sq",
        "optimizer.state.0.step",
        "hooks.1.silent_for",
        f"model.{DECODER}",
    )
    for how, change in {
        "size": lambda array: array.ravel()[:1].repeat(3),
        "dimensions": lambda array: array[..., None],
    }.items()
}


def test_forged_state_of_training(path, tmp_path, subtests):
    """Entries that only training reads are checked in training, and the estimator is unharmed."""
    X = np.random.default_rng(0).normal(size=(40, 5))
    expected = load(path).transform(X)
    for case, change in FORGED_STATES.items():
        with subtests.test(case):
            loaded = load(forged(path, tmp_path, change))
            with pytest.raises(ValueError, match="The state of the training is damaged"):
                loaded.partial_fit(X)
            np.testing.assert_array_equal(loaded.transform(X), expected)


def test_state_of_a_generator_of_another_device(path, tmp_path):
    """Such a state cannot be used here, so it becomes the seed of a generator."""
    gpu = forged(path, tmp_path, set_array("_partial_state_.generator", lambda state: state[:16]))
    first, second = load(gpu), load(gpu)
    X = np.random.default_rng(0).normal(size=(40, 5))
    np.testing.assert_array_equal(
        first.partial_fit(X).transform(X), second.partial_fit(X).transform(X)
    )
    assert (load(path).partial_fit(X).transform(X) != first.transform(X)).any()


def test_unchanged_forgery_is_sound(path, dimension_path, law_paths, tmp_path):
    """This shows that the other tests fail because of their changes."""
    for sound in (path, dimension_path, *law_paths.values()):
        unchanged = load(forged(sound, tmp_path, lambda node, arrays: None))
        assert type(unchanged) is type(load(sound))


def test_missing_parameter_has_its_default(path, tmp_path):
    """Files of older versions lack later parameters."""
    loaded = load(forged(path, tmp_path, delete("parameters", "tol")))
    assert loaded.tol == quick_sae().tol


def test_missing_entry_of_a_configuration_has_its_default(path, tmp_path):
    assert load(forged(path, tmp_path, delete(*CONFIG, "positive"))).module_.positive


def test_a_trusted_network_allocates_nothing_that_does_not_fit(path, tmp_path):
    class Wide(Network):
        def build(self, n_features, n_components, *, n_heads, generator):
            module = torch.nn.Module()
            module.table = torch.ones(n_components, n_components)
            module.layer = torch.nn.Linear(n_components, n_components)
            module.encode = module.decode = module.layer
            return module

    def change(node, arrays):
        name = f"{Wide.__module__}.{Wide.__qualname__}"
        network = {"class": name, "parameters": {}, "attributes": {}}
        set_in(*CONFIG, "network", value=network)(node, arrays)
        set_in(*CONFIG, "n_components", value=10**4)(node, arrays)

    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "Missing key" in refusal(forged(path, tmp_path, change), trusted=[Wide])
    # The unit is kilobytes. The table would take 400 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_names_of_classes_are_public_and_one_for_each():
    classes = builtin_classes()
    assert len(set(classes.values())) == len(classes)
    assert all(not part.startswith("_") for name in classes for part in name.split("."))
    assert {"skvaeense.VAEenseTransformer", "skvaeense.nets.penalties.L1"} <= classes.keys()


def test_trust_does_not_replace_classes_of_the_package(path):
    fake = type("SparseAutoencoder", (), {"__module__": "skvaeense"})
    assert type(load(path, trusted=[fake])) is skvaeense.SparseAutoencoder
