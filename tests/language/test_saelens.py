"""Files for SAELens, read by code that knows only the format and does not use this package."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import PENALTIES, fit_unwarned, quick_sae
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from scipy import sparse
from sklearn.exceptions import NotFittedError

from skvaeense import SparseAutoencoder, VAEenseTransformer, load, save
from skvaeense.language import from_saelens, to_saelens
from skvaeense.nets.losses import PenalizedReconstruction
from skvaeense.nets.networks import MLP, Linear, SingleLayer


def samples(seed=0, n_samples=80):
    """Return samples that are far from 0, and whose scale is not 1."""
    map_ = np.random.default_rng(0).normal(size=(3, 6))
    return 30.0 * np.random.default_rng(seed).normal(size=(n_samples, 3)) @ map_ + 100.0


X, X_NEW = samples(), samples(1)
Y, Y_NEW = (rows @ np.arange(12.0).reshape(6, 2) for rows in (X, X_NEW))
D_IN, D_SAE = 6, 12

EXACT = {"dtype": "float64"}
SHIFTED = {"network": SingleLayer(subtract_bias=False)}
SKIP = {"skip_connection": True}
# Parameters, and the architecture. With "skip_connection", Y is the target.
CASES = [
    ("l1", {}, "standard"),
    ("l1", EXACT | SHIFTED, "standard"),
    ("log", EXACT, "standard"),
    ("topk", SHIFTED, "topk"),
    ("topk", EXACT, "topk"),
    ("batch_topk", {}, "jumprelu"),
    ("batch_topk", EXACT | SHIFTED, "jumprelu"),
    ("matryoshka", EXACT, "jumprelu"),
    ("jump_relu", SHIFTED, "jumprelu"),
    ("jump_relu", EXACT, "jumprelu"),
    ("gated", {}, "gated"),
    ("gated", EXACT | SHIFTED, "gated"),
    # Codes that are cut, after a fit and in it.
    ("topk", EXACT | {"transform_l0": 2}, "topk"),
    ("batch_topk", EXACT | {"transform_l0": 2}, "jumprelu"),
    ("topk", EXACT | {"penalty": "topk", "target_l0": 2}, "topk"),
    ("l1", EXACT | {"target_l0": 2}, "jumprelu"),
    ("gated", EXACT | {"target_l0": 2}, "gated"),
    ("jump_relu", EXACT | {"target_l0": 2}, "jumprelu"),
    # Directions whose norms differ.
    ("topk", EXACT | {"loss": PenalizedReconstruction(0.1)}, "topk"),
    ("l1", EXACT | {"loss": PenalizedReconstruction(0.1)}, "standard"),
    # Transcoders.
    ("l1", EXACT | SKIP, "skip_transcoder"),
    ("l1", EXACT | {"skip_connection": False}, "transcoder"),
    ("jump_relu", EXACT | {"skip_connection": False}, "jumprelu_transcoder"),
    ("batch_topk", SKIP, "jumprelu_skip_transcoder"),
]


def read(folder):
    """Return the settings and the weights of a file, as float64."""
    config = json.loads((folder / "cfg.json").read_text())
    weights = load_file(folder / "sae_weights.safetensors")
    return config, {name: value.double() for name, value in weights.items()}


def encode(config, weights, x):
    """Return the codes as SAELens defines them."""
    x = torch.as_tensor(x)
    if config["apply_b_dec_to_input"]:
        x = x - weights["b_dec"]
    if config["architecture"] == "gated":
        gate = x @ weights["W_enc"] + weights["b_gate"] > 0
        magnitude = x @ (weights["W_enc"] * weights["r_mag"].exp()) + weights["b_mag"]
        return gate * magnitude.relu()
    h = x @ weights["W_enc"] + weights["b_enc"]
    if config["architecture"] == "topk":
        if config.get("rescale_acts_by_decoder_norm"):
            h = h * weights["W_dec"].norm(dim=1)
        values, kept = h.topk(config["k"])
        return torch.zeros_like(h).scatter(1, kept, values.relu())
    return h.relu() * (h > weights.get("threshold", -torch.inf))


def decode(config, weights, x, codes):
    """Return the reconstructions, or the predicted target, as SAELens defines them."""
    norms = weights["W_dec"].norm(dim=1)
    is_rescaled = config.get("rescale_acts_by_decoder_norm")
    decoded = (codes / norms if is_rescaled else codes) @ weights["W_dec"] + weights["b_dec"]
    return decoded + torch.tensor(x) @ weights["W_skip"].T if "W_skip" in weights else decoded


@pytest.mark.parametrize(("penalty", "params", "architecture"), CASES)
def test_there_and_back(penalty, params, architecture, tmp_path):
    """Files give the same codes and reconstructions in SAELens, and after they are read."""
    target = {"y": Y} if "skip_connection" in params else {}
    length = {k: v for k, v in params.items() if k == "transform_l0"}
    fit_params = {"penalty": PENALTIES[penalty]} | {
        k: v for k, v in params.items() if k not in length
    }
    sae = fit_unwarned(quick_sae(**fit_params), X, **target)
    whole = np.count_nonzero(sae.transform(X_NEW))
    sae.set_params(**length)
    to_saelens(sae, tmp_path / "sae")
    config, weights = read(tmp_path / "sae")
    assert config["architecture"] == architecture
    assert (config["d_in"], config["d_sae"], config["dtype"]) == (D_IN, D_SAE, sae.dtype)
    # The threshold of BatchTopK was set on some of the first samples, whose codes are at it.
    rows = np.concatenate([X, X_NEW])
    codes, expected = encode(config, weights, rows), sae.transform(rows)
    assert 0 < np.count_nonzero(codes[-len(X_NEW) :]) <= whole - bool(length)
    norms = np.linalg.norm(sae.components_, axis=1)
    has_units = config.get("rescale_acts_by_decoder_norm", True)
    assert_allclose(weights["W_dec"].norm(dim=1), np.ones(D_SAE) if has_units else norms, rtol=1e-6)
    norms = norms if has_units else np.ones(D_SAE)
    # Samples are about 100, so single precision has a small absolute error.
    tolerance = 1e-4 if sae.dtype == "float32" else 1e-9
    assert_allclose(codes, expected * norms, atol=tolerance * norms.max())
    if sae.dtype == "float64":
        assert ((codes.numpy() != 0) == (expected != 0)).all()
    explained = sae.predict(rows) if target else sae.inverse_transform(expected)
    scale = tolerance * np.abs(explained).max()
    assert_allclose(decode(config, weights, rows, codes), explained, atol=scale)
    for given in ((), (X,), (X, *target.values())):
        again = from_saelens(tmp_path / "sae", *given)
        assert again.skip_connection == sae.skip_connection
        assert_allclose(again.transform(rows), expected * norms, atol=10 * tolerance * norms.max())
        found = again.predict(rows) if target else again.inverse_transform(again.transform(rows))
        assert_allclose(found, explained, atol=10 * scale)
    scores = [one.score_samples(X_NEW, *([Y_NEW] if target else [])) for one in (again, sae)]
    assert_allclose(*scores, atol=tolerance)
    save(again, tmp_path / "sae.safetensors")
    assert_allclose(load(tmp_path / "sae.safetensors").transform(rows), again.transform(rows))


def test_metadata(tmp_path):
    sae = fit_unwarned(quick_sae(max_iter=1), samples())
    to_saelens(sae, tmp_path / "sae", metadata={"model_name": "gpt2-small"})
    metadata = read(tmp_path / "sae")[0]["metadata"]
    assert metadata == {"sae_lens_version": "6.0.0", "model_name": "gpt2-small"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"positive_code": False}, "positive_code=False"),
        ({"positive_code": False, "penalty": PENALTIES["topk"]}, "non-negative"),
        ({"positive_code": False, "penalty": "jump_relu"}, "non-negative"),
        ({"network": Linear((4,))}, "more than one layer in its encoder or decoder"),
        ({"network": MLP((4,))}, 'network="single_layer"'),
        ({"network": "unrolled"}, 'network="single_layer"'),
    ],
)
def test_what_saelens_has_not(params, message, tmp_path):
    sae = fit_unwarned(quick_sae(**({"max_iter": 1} | params)), samples())
    with pytest.raises(ValueError, match=message):
        to_saelens(sae, tmp_path / "sae")
    assert os.listdir(tmp_path) == []


def test_other_estimators(tmp_path):
    with pytest.raises(TypeError, match="Only a SparseAutoencoder"):
        to_saelens(VAEenseTransformer(), tmp_path / "vae")
    with pytest.raises(NotFittedError):
        to_saelens(SparseAutoencoder(), tmp_path / "sae")
    assert os.listdir(tmp_path) == []


def test_folder_is_new_and_whole(tmp_path, monkeypatch):
    sae = fit_unwarned(quick_sae(max_iter=1), samples())
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="new folder"):
        to_saelens(sae, tmp_path / "mine")
    with pytest.raises(FileNotFoundError):
        to_saelens(sae, tmp_path / "nowhere" / "sae")
    with pytest.raises(TypeError, match="JSON"):
        to_saelens(sae, tmp_path / "sae", metadata={"model_name": object()})

    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        to_saelens(sae, tmp_path / "sae")
    assert os.listdir(tmp_path) == ["mine"]


# --- the other way ------------------------------------------------------------------------------


def write(folder, architecture, dtype=torch.float64, **settings):
    """Write an autoencoder with random weights like SAELens does."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    weights = {"W_enc": draw(D_IN, D_SAE), "W_dec": draw(D_SAE, D_IN), "b_dec": draw(D_IN)}
    if architecture == "gated":
        weights |= {name: draw(D_SAE) for name in ("r_mag", "b_gate", "b_mag")}
    else:
        weights["b_enc"] = draw(D_SAE)
    if architecture == "jumprelu":
        weights["threshold"] = draw(D_SAE)
    config = {
        "architecture": architecture,
        "d_in": D_IN,
        "d_sae": D_SAE,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
    }
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps(config | settings))
    save_file(
        {name: value.contiguous() for name, value in weights.items()},
        folder / "sae_weights.safetensors",
    )
    return folder


@pytest.mark.parametrize(("scaled", "subtracted"), [(True, False), (False, True)])
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        *[(name, {}) for name in ("standard", "jumprelu", "gated")],
        *[("topk", {"k": 3, "rescale_acts_by_decoder_norm": folded}) for folded in (False, True)],
    ],
)
def test_codes_are_those_of_saelens(architecture, settings, scaled, subtracted, tmp_path):
    settings = settings | {"apply_b_dec_to_input": subtracted}
    folder = write(tmp_path / "sae", architecture, **settings)
    sae = from_saelens(folder, X if scaled else None)
    config, weights = read(folder)
    codes = sae.transform(X)
    assert_allclose(codes, encode(config, weights, X), atol=1e-9)
    decoded = decode(config, weights, X, torch.tensor(codes))
    assert_allclose(sae.inverse_transform(codes), decoded, atol=1e-9)
    if not settings.get("rescale_acts_by_decoder_norm"):
        assert_allclose(sae.components_, weights["W_dec"])


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
@pytest.mark.parametrize("folded", [False, True])
def test_a_folder_of_a_training_is_read_as_for_inference(architecture, folded, tmp_path):
    settings = {"k": 2.5, "rescale_acts_by_decoder_norm": folded}
    folder = write(tmp_path / "sae", architecture, **settings)
    with pytest.raises(ValueError, match="no number topk_threshold"):
        from_saelens(folder)
    rewrite(folder, lambda w: w.update(topk_threshold=torch.tensor(1.5, dtype=torch.float64)))
    sae = from_saelens(folder)
    _, weights = read(folder)
    norms = weights["W_dec"].norm(dim=1) if folded else torch.ones(D_SAE)
    x = torch.tensor(X) - weights["b_dec"]
    hidden = (x @ weights["W_enc"] + weights["b_enc"]) * norms
    expected = torch.where(hidden > 1.5, hidden, 0.0)
    assert_allclose(sae.transform(X), expected, atol=1e-9)
    decoded = (expected / norms) @ weights["W_dec"] + weights["b_dec"]
    assert_allclose(sae.inverse_transform(expected), decoded, atol=1e-9)


def test_an_atom_of_norm_zero(tmp_path):
    folder = write(tmp_path / "sae", "topk", k=3, rescale_acts_by_decoder_norm=True)
    rewrite(folder, lambda w: w["W_dec"][0].zero_())
    sae = from_saelens(folder)
    assert (sae.components_[0] == 0).all()
    assert (sae.transform(samples())[:, 0] == 0).all()


@pytest.mark.parametrize("penalty", ["topk", "jump_relu", "gated"])
def test_training_goes_on(penalty, tmp_path):
    """Directions have norm 1 in the units of the samples there, and in units of the scale here."""
    X = samples(n_samples=300)
    to_saelens(fit_unwarned(quick_sae(PENALTIES[penalty], max_iter=20), X), tmp_path / "sae")
    sae = from_saelens(tmp_path / "sae", X)
    before = sae.score(X)
    sae.set_params(warm_start=True, max_iter=1, random_state=0, learning_rate_init=1e-6)
    assert fit_unwarned(sae, X).score(X) == pytest.approx(before, abs=0.02)
    assert fit_unwarned(sae.set_params(max_iter=30, learning_rate_init=4e-3), X).score(X) > before


def rewrite(folder, change):
    """Change the weights of a folder."""
    path = folder / "sae_weights.safetensors"
    weights = load_file(path)
    change(weights)
    save_file({name: value.contiguous() for name, value in weights.items()}, path)


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
def test_devices_and_pipes_are_not_read(name, tmp_path):
    folder = write(tmp_path / "sae", "standard")
    for make in (os.mkfifo, lambda path: os.symlink("/dev/zero", path), os.mkdir):
        path = folder / name
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        with pytest.raises(OSError, match=rf"{name} is a (folder|device)"):
            from_saelens(folder)


def test_settings_of_any_size_are_not_read(tmp_path):
    folder = write(tmp_path / "sae", "standard")
    os.truncate(folder / "cfg.json", 2**40)
    with pytest.raises(ValueError, match=r"cfg\.json has more than 16 MB"):
        from_saelens(folder)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu", "gated"])
def test_weights_of_few_bits(architecture, dtype, tmp_path):
    folder = write(tmp_path / "sae", architecture, k=3, rescale_acts_by_decoder_norm=True)
    rewrite(folder, lambda w: w.update({name: value.to(dtype) for name, value in w.items()}))
    few = from_saelens(folder)
    rewrite(folder, lambda w: w.update({name: value.float() for name, value in w.items()}))
    expected = from_saelens(folder).transform(samples())
    assert_allclose(few.transform(samples()), expected, rtol=1e-6)


def test_settings_that_cannot_be_read(tmp_path, subtests):
    folder = write(tmp_path / "sae", "standard")
    for text, match in (
        ("[]", "cfg.json must hold a JSON object, got list"),
        ("{", "cfg.json is not valid JSON, or is nested too deeply"),
        ("[" * 100_000, "cfg.json is not valid JSON, or is nested too deeply"),
        ('{"architecture": "temporal"}', "The architecture must be one of .* got 'temporal'"),
        ('{"architecture": "matching_pursuit"}', "must be one of .* got 'matching_pursuit'"),
        ('{"architecture": []}', r"The architecture must be one of .* got \[\]"),
        ('{"normalize_activations": "only_in"}', "must be 'none', got 'only_in'"),
        ('{"apply_b_dec_to_input": "yes"}', "The 'subtract_bias' parameter of SingleLayer"),
        *(
            (json.dumps({"architecture": "topk"} | settings), r"k in cfg\.json must be an int, at")
            for settings in ({}, {"k": 0}, {"k": 2.5}, {"k": 1e999}, {"k": True})
        ),
    ):
        (folder / "cfg.json").write_text(text)
        with subtests.test(text[:40]), pytest.raises(ValueError, match=match):
            from_saelens(folder)


def test_a_k_beyond_the_latents_is_clipped(tmp_path):
    folder = write(tmp_path / "sae", "topk", k=1e308)
    assert from_saelens(folder).penalty.k == D_SAE


BEYOND = "beyond the range of single precision"
UNFIT = [
    ("jumprelu", lambda w: w.pop("b_enc"), "sae_weights.safetensors has no b_enc"),
    ("jumprelu", lambda w: w.pop("threshold"), "sae_weights.safetensors has no threshold"),
    (
        "jumprelu",
        lambda w: w.update(b_enc=w["b_enc"][:3]),
        r"b_enc must be of shape \(12,\), not \(3,\)",
    ),
    (
        "jumprelu",
        lambda w: w.update(W_enc=w["W_enc"].T),
        r"W_enc must be of shape \(6, 12\), not \(12, 6",
    ),
    ("jumprelu", lambda w: w.update(b_dec=w["b_dec"][None]), r"b_dec must be of shape \(6,\), not"),
    ("jumprelu", lambda w: w["W_dec"].fill_(torch.nan), "W_dec must be finite"),
    ("gated", lambda w: w["r_mag"].fill_(200), BEYOND),
    ("standard", lambda w: w["W_enc"].fill_(1e38), BEYOND),
    ("standard", lambda w: w.update(W_enc=torch.zeros(6, 12).int()), "W_enc must be finite"),
    ("standard", lambda w: w.update(W_dec=torch.zeros(())), "must be of shape"),
    ("standard", lambda w: w.update(b_enc=torch.zeros(())), "must be of shape"),
    (
        "standard",
        lambda w: w.update({k: torch.zeros([0] * v.ndim) for k, v in w.items()}),
        "at least one",
    ),
]


def test_weights_that_can_be_no_model(tmp_path, subtests):
    for i, (architecture, change, match) in enumerate(UNFIT):
        folder = write(tmp_path / str(i), architecture)
        rewrite(folder, change)
        with subtests.test(match), pytest.raises(ValueError, match=match):
            from_saelens(folder, 1e3 * samples())
    (folder / "sae_weights.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"sae_weights\.safetensors is damaged"):
        from_saelens(folder)


def test_samples_are_taken_as_by_fit(tmp_path):
    folder, X = write(tmp_path / "sae", "topk", k=3), samples()
    expected = from_saelens(folder, X)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    for given in (frame, torch.tensor(X, requires_grad=True), sparse.csr_array(X)):
        sae = from_saelens(folder, given)
        assert_allclose(sae.mean_, expected.mean_)
        assert sae.scale_ == pytest.approx(expected.scale_)
    named = from_saelens(folder, frame)
    np.testing.assert_array_equal(named.feature_names_in_, frame.columns)
    assert_allclose(named.transform(frame), expected.transform(X))


def test_samples_of_other_features_and_no_folder(tmp_path):
    folder = write(tmp_path / "sae", "standard")
    with pytest.raises(ValueError, match="X has 5 features, but the autoencoder is expecting 6"):
        from_saelens(folder, np.ones((4, 5)))
    with pytest.raises(FileNotFoundError):
        from_saelens(tmp_path / "nothing")


def test_the_target_of_a_transcoder(tmp_path):
    to_saelens(fit_unwarned(quick_sae(), X, y=Y), tmp_path / "sae")
    fit_unwarned(from_saelens(tmp_path / "sae", X, Y), X, "partial_fit", y=Y)
    with pytest.raises(ValueError, match=r"y has 1 features.*2 features as target"):
        from_saelens(tmp_path / "sae", X, Y[:, :1])
    with pytest.raises(ValueError, match=r"penalty TopK.*for transcoders ReLU"):
        to_saelens(fit_unwarned(quick_sae(PENALTIES["topk"]), X, y=Y), tmp_path / "topk")
