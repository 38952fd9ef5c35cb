"""Files that are damaged, foreign or made to harm: nothing in them runs, nothing large appears."""

import json
import os
import pickle
import struct
import tracemalloc

import joblib
import numpy as np
import pytest
import torch
from helpers import fit_unwarned, quick_sae
from safetensors import safe_open
from safetensors.numpy import save_file

import skvaeense
from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer, load, save
from skvaeense._persistence import _files
from skvaeense._persistence._registry import builtin_classes
from skvaeense.networks import Conv, Linear


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return a sound file of a sparse autoencoder in training."""
    X = np.random.default_rng(0).normal(size=(40, 5))
    path = tmp_path_factory.mktemp("sound") / "sae.safetensors"
    save(fit_unwarned(quick_sae(random_state=np.random.RandomState(0)), X, "partial_fit"), path)
    return path


@pytest.fixture(scope="module")
def dimension_path(tmp_path_factory):
    """Return a sound file of an estimator with neighbour searches."""
    X = np.random.default_rng(0).normal(size=(40, 5))
    vae = VAEenseTransformer(3, network=Linear((4,)), n_init=1, max_iter=2, random_state=0)
    path = tmp_path_factory.mktemp("sound") / "dimension.safetensors"
    save(fit_unwarned(IntrinsicDimensionEstimator(vae, random_state=0), X), path)
    return path


@pytest.fixture(scope="module")
def conv_path(tmp_path_factory):
    """Return a sound file of a model with convolutions both ways."""
    X = np.random.default_rng(0).normal(size=(40, 6))
    network = Conv((2, 3), (4,), decoder="conv")
    path = tmp_path_factory.mktemp("sound") / "conv.safetensors"
    save(fit_unwarned(quick_sae(network=network, max_iter=1), X), path)
    return path


def contents(path):
    """Return the text and the arrays of a file."""
    with safe_open(path, framework="np") as file:
        return file.metadata()["skvaeense"], {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118


def forged(path, tmp_path, change):
    """Return a file in which something is changed, and the checksum is right all the same."""
    text, tensors = contents(path)
    node = json.loads(text)["estimator"]
    change(node, tensors)
    target = tmp_path / "forged.safetensors"
    _files.write(target, node, tensors)
    return target


def refusal(path, **options):
    """Return what load says of a file, and see that it allocates nothing beyond the file's size."""
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
    """Makes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump, torch.save], ids=lambda f: f.__module__)
def test_pickles_do_not_run(dump, tmp_path):
    path, target = tmp_path / "model.safetensors", tmp_path / "harm"
    with open(path, "wb") as file:
        dump(Payload(target), file)
    assert "no safetensors file" in refusal(path)
    assert not target.exists()
    # The payload is sound: it would have worked.
    with open(path, "rb") as file:
        pickle.load(file) if dump is not torch.save else target.mkdir()
    assert target.exists()


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        load(tmp_path / "nowhere.safetensors")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a file of tensors",
        b"\xff" * 100,
        with_header(b"[" * 10_000),
        with_header({"a": {"dtype": "F64", "shape": [10**12], "data_offsets": [0, 8 * 10**12]}}),
        with_header({"a": {"dtype": "F64", "shape": [10**12], "data_offsets": [0, 8]}}, b"0" * 8),
        with_header({"a": {"dtype": "F64", "shape": [2**62, 8], "data_offsets": [0, 8]}}, b"0" * 8),
        with_header({"__metadata__": {"skvaeense": 3}}),
    ],
    ids=lambda content: content[:30].decode(errors="replace"),
)
def test_not_safetensors(content, tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    assert "no safetensors file, or a damaged or truncated one" in refusal(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors(metadata, tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": np.zeros(3)}, path, metadata)
    assert "skvaeense.save has not written it" in refusal(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no JSON", "Expecting value"),
        ("[1, 2]", "do not say of which version"),
        ('{"format_version": "1"}', "do not say of which version"),
        ('{"format_version": 1}', "describe no estimator"),
        ('{"format_version": 1, "estimator": NaN}', "hold NaN"),
        ('{"format_version": 1, "estimator": null}', "does not match its checksum"),
        ("[" * 200_000, "nested too deeply"),
    ],
    ids=lambda text: text[:30],
)
def test_bad_metadata(text, message, tmp_path):
    path = tmp_path / "bad.safetensors"
    save_file({"weight": np.zeros(3)}, path, {"skvaeense": text})
    assert message in refusal(path)


def test_newer_format(path, tmp_path):
    text, tensors = contents(path)
    newer = tmp_path / "newer.safetensors"
    description = json.loads(text) | {"format_version": 2, "library_version": "7.1"}
    save_file(tensors, newer, {"skvaeense": json.dumps(description)})
    message = refusal(newer)
    assert "version 2 of the format, written by skvaeense '7.1'" in message
    assert skvaeense.__version__ in message
    assert "Install a newer skvaeense" in message


# --- damaged ----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_truncated(share, path, tmp_path):
    data = path.read_bytes()
    short = tmp_path / "short.safetensors"
    short.write_bytes(data[: int(share * len(data))])
    assert "truncated" in refusal(short)


def test_any_flipped_bit_is_seen(path, tmp_path):
    data = bytearray(path.read_bytes())
    damaged = tmp_path / "damaged.safetensors"
    for position in np.random.default_rng(0).integers(len(data), size=40):
        data[position] ^= 4
        damaged.write_bytes(data)
        refusal(damaged)
        data[position] ^= 4


def test_damaged_weight(path, tmp_path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data)
    assert "its content does not match its checksum" in refusal(damaged)


# --- forged -----------------------------------------------------------------------------------


def set_in(*steps, value):
    """Return a change that sets one place of the description."""

    def change(node, tensors):
        for step in steps[:-1]:
            node = node[step]
        node[steps[-1]] = value

    return change


def delete(*steps):
    """Return a change that deletes one place of the description."""

    def change(node, tensors):
        for step in steps[:-1]:
            node = node[step]
        del node[steps[-1]]

    return change


MODULE = "attributes", "module_"
DECODER = *MODULE, "_modules", "decoder"
STATE = "parameters", "random_state"
GENERATOR = "attributes", "_partial_run_", "attributes", "generator"


def huge_decoder(node, tensors):
    """Let a layer claim more weights than there are."""
    for step in DECODER:
        node = node[step]
    node["attributes"]["out_features"] = 10**12


def reshape_decoder(node, tensors):
    """Give the weights another shape than the description."""
    weight = tensors["module_.decoder.weight"]
    tensors["module_.decoder.weight"] = np.ascontiguousarray(weight.T)


def reshape_decoder_everywhere(node, tensors):
    """Give the weights another shape, and the layer too: they no longer suit the encoder."""
    for step in DECODER:
        node = node[step]
    weight = tensors["module_.decoder.weight"] = np.ones((5, 7), np.float32)
    node["_parameters"]["weight"]["shape"] = list(weight.shape)
    node["attributes"]["in_features"] = 7


def outer_product(node, tensors):
    """Give a bias a shape that would blow up by broadcasting."""
    for step in DECODER:
        node = node[step]
    tensors["module_.decoder.bias"] = np.zeros((5, 1), np.float32)
    node["_parameters"]["bias"]["shape"] = [5, 1]


def missing_tensor(node, tensors):
    del tensors["mean_"]


def foreign_tensor(node, tensors):
    tensors["../../etc/passwd"] = np.zeros(3)


def nan_in_mean(node, tensors):
    tensors["mean_"] = tensors["mean_"] * np.nan


def integer_weights(node, tensors):
    tensors["module_.decoder.weight"] = tensors["module_.decoder.weight"].astype(np.int32)
    for step in DECODER:
        node = node[step]
    node["_parameters"]["weight"]["dtype"] = "int32"


def wrong_generator(node, tensors):
    tensors["_partial_run_.generator.state"][:] = 255


def nested(node, tensors):
    node["attributes"]["loss_curve_"] = deep = []
    for _ in range(600):
        deep.append([])
        deep = deep[0]


FORGED = {
    "os.system": (set_in("class", value="os.system"), "'os.system', which this version"),
    "builtins.eval": (set_in("class", value="builtins.eval"), "'builtins.eval', which this"),
    "class of sklearn": (set_in("class", value="sklearn.svm.SVC"), "'sklearn.svm.SVC', which"),
    "path as a class": (set_in("class", value="../evil.Evil"), "'../evil.Evil', which this"),
    "private class": (
        set_in("class", value="skvaeense._persistence._graph.Writer"),
        "which this version",
    ),
    "class of another kind": (
        set_in("class", value="skvaeense.networks.Autoencoder"),
        "which is no estimator",
    ),
    "class of no name": (set_in("class", value=7), "lacks its 'class'"),
    "unknown kind": (set_in(*MODULE, "type", value="code"), "of an unknown kind 'code'"),
    "no kind": (delete(*MODULE, "type"), "module_ lacks its 'type'"),
    "tuple as a module": (
        set_in(*MODULE, value={"type": "tuple", "items": []}),
        "module_ of the estimator is no module",
    ),
    "unknown parameter": (set_in("parameters", "magic", value=1), "has no parameter 'magic'"),
    "parameter out of range": (set_in("parameters", "tol", value=-1), "'tol' parameter"),
    "parameter that is NaN": (
        set_in("parameters", "tol", value={"type": "float", "value": "nan"}),
        "'tol' parameter",
    ),
    "text as a number": (
        set_in("attributes", "scale_", value={"type": "float", "value": "1.0; import os"}),
        "no number",
    ),
    "scale that is NaN": (
        set_in("attributes", "scale_", value={"type": "float", "value": "nan"}),
        "scale_ of the estimator must be a number above 0, not nan",
    ),
    "scale that is text": (set_in("attributes", "scale_", value="1"), "scale_ of the estimator"),
    "mean that is NaN": (nan_in_mean, "holds NaN"),
    "missing attribute": (delete("attributes", "scale_"), "lacks the attribute 'scale_'"),
    "missing module": (delete(*MODULE), "lacks the attribute 'module_'"),
    "method as an attribute": (set_in("attributes", "transform", value=1), "'transform'"),
    "dunder attribute": (set_in("attributes", "__class__", value="os"), "'__class__'"),
    "dict as an attribute": (set_in("attributes", "__dict__", value={}), "'__dict__'"),
    "path as an attribute": (set_in("attributes", "../../x", value=1), "'../../x'"),
    "hook of a module": (
        set_in(*MODULE, "attributes", "_forward_hooks", value={"type": "dict"}),
        "what torch itself keeps",
    ),
    "dotted part of a module": (
        set_in(*MODULE, "_modules", "a.b", value=None),
        "cannot have 'a.b'",
    ),
    "number as a layer": (set_in(*DECODER, value=3), "cannot have 'decoder'"),
    "layer of too many weights": (huge_decoder, "has shape"),
    "too many components": (
        set_in("attributes", "n_components_", value=10**12),
        "are for shapes",
    ),
    "too many features": (set_in("attributes", "n_features_in_", value=10**12), "mean_ of"),
    "shape of a tensor": (reshape_decoder, "where module_.decoder.weight has shape (5, 12)"),
    "shapes that do not fit": (reshape_decoder_everywhere, "do not fit together"),
    "shape that broadcasts": (outer_product, "has shape (5, 1), not (5,)"),
    "weights without gradients": (integer_weights, "no gradient"),
    "missing tensor": (missing_tensor, "the array 'mean_' of mean_ is missing"),
    "tensor of no use": (foreign_tensor, "nothing refers to its array '../../etc/passwd'"),
    "nested deeply": (nested, "nested too deeply"),
    # numpy would read memory that is not its own.
    "position in a random state": (set_in(*STATE, "position", value=10**6), "RandomState"),
    "state of a generator": (set_in(*GENERATOR, "state", value=[1, 2]), "state of a generator"),
    "values in the state of a generator": (wrong_generator, "state of a generator"),
    "no estimator": (lambda node, tensors: node.update(type="tuple", items=[]), "no estimator"),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged(case, path, tmp_path):
    change, message = FORGED[case]
    assert message in refusal(forged(path, tmp_path, change))


def test_forged_geometry(dimension_path, tmp_path):
    geometry = "attributes", "_method_", "attributes", "geometry_", "attributes"
    search = *geometry, "_search"
    for change, message in [
        (set_in(*search, "parameters", "metric", value="evil"), "metric"),
        (set_in(*search, "points", value=None), "cannot be loaded"),
        (set_in(*search, "class", value="subprocess.Popen"), "'subprocess.Popen'"),
        (set_in(*search, "parameters", "magic", value=1), "magic"),
        (delete("attributes", "autoencoder_"), "lacks the attribute"),
    ]:
        assert message in refusal(forged(dimension_path, tmp_path, change))


def test_forged_convolution(conv_path, tmp_path):
    def broadcast(node, tensors):
        """Give a bias one entry, for all channels."""
        for step in convolution[:-1]:
            node = node[step]
        tensors["module_.body.1.bias"] = np.zeros(1, np.float32)
        node["_parameters"]["bias"]["shape"] = [1]

    body = *MODULE, "_modules", "body", "_modules"
    convolution, decoder = (*body, "1", "attributes"), (*DECODER, "_modules")
    for change, message in [
        (
            set_in(*convolution, "out_channels", value=10**12),
            "has shape (4, 1, 3, 3)",
        ),
        (set_in(*convolution, "groups", value=0), "cannot be loaded"),
        (set_in(*convolution, "kernel_size", value="33"), "has shape (4, 1, 3, 3)"),
        (broadcast, "'bias' of module_.body.1 has shape (1,), not (4,)"),
        (set_in(*body, "0", "attributes", "shape", value=[3, 3, 1]), "do not fit together"),
        (set_in(*body, "0", "attributes", "shape", value="code"), "do not fit together"),
        (set_in(*decoder, "4", "attributes", "factor", value=3), "do not fit together"),
        (set_in(*decoder, "4", "attributes", "size", value=[1, 3]), "are for shapes"),
    ]:
        assert message in refusal(forged(conv_path, tmp_path, change))


def test_generator_of_another_device(path, tmp_path):
    """Its state means nothing here, so a new one is seeded from it."""
    gpu = forged(path, tmp_path, set_in(*GENERATOR, "device", value="cuda"))
    first, second = load(gpu), load(gpu)
    X = np.random.default_rng(0).normal(size=(40, 5))
    np.testing.assert_array_equal(
        first.partial_fit(X).transform(X), second.partial_fit(X).transform(X)
    )
    assert (load(path).partial_fit(X).transform(X) != first.transform(X)).any()


def test_unchanged_forgery_is_sound(path, dimension_path, conv_path, tmp_path):
    """What the other tests refuse is refused for what was changed."""
    for sound in (path, dimension_path, conv_path):
        load(forged(sound, tmp_path, lambda node, tensors: None))


def test_missing_parameter_has_its_default(path, tmp_path):
    """Files of an older version lack the parameters that came later."""
    loaded = load(forged(path, tmp_path, delete("parameters", "tol")))
    assert loaded.tol == quick_sae().tol


def test_missing_field_has_its_default(path, tmp_path):
    run = "attributes", "_partial_run_", "attributes"
    loaded = load(forged(path, tmp_path, delete(*run, "n_steps")))
    assert loaded._partial_run_.n_steps == 0
    # The generator has no default.
    missing = forged(path, tmp_path, delete(*run, "generator"))
    assert "_partial_run_ lacks its attribute 'generator'" in refusal(missing)
    short = forged(path, tmp_path, set_in(*run, "losses", 0, "items", value=[1.0]))
    assert "_partial_run_.losses.0 has 1 fields, not 3" in refusal(short)


def test_names_of_classes_are_public_and_one_for_each():
    classes = builtin_classes()
    assert len(set(classes.values())) == len(classes)
    assert all(not part.startswith("_") for name in classes for part in name.split("."))
    assert {"skvaeense.VAEenseTransformer", "skvaeense.penalties.L1"} <= classes.keys()


def test_trust_does_not_replace_classes_of_the_package(path):
    fake = type("SparseAutoencoder", (), {"__module__": "skvaeense"})
    assert type(load(path, trusted=[fake])) is skvaeense.SparseAutoencoder
