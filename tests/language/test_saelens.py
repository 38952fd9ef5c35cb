"""Files for SAELens, read by code that knows only the format and does not use this package."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import PENALTIES, each_once, fit_unwarned, quick_sae
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from scipy import sparse
from sklearn.exceptions import NotFittedError

from skvaeense import SparseAutoencoder, VAEenseTransformer, load, save
from skvaeense.language import from_saelens, to_saelens
from skvaeense.networks import MLP, Linear, SingleLayer

ARCHITECTURES = {
    "batch_topk": "jumprelu",
    "gated": "gated",
    "jump_relu": "jumprelu",
    "l1": "standard",
    "log": "standard",
    "matryoshka": "jumprelu",
    "topk": "topk",
}


def samples(seed=0, n_samples=80):
    """Return samples that are far from 0, and whose scale is not 1."""
    map_ = np.random.default_rng(0).normal(size=(3, 6))
    return 30.0 * np.random.default_rng(seed).normal(size=(n_samples, 3)) @ map_ + 100.0


def read(folder):
    """Return the settings and the weights of a file, as float64."""
    config = json.loads((folder / "cfg.json").read_text())
    weights = load_file(folder / "sae_weights.safetensors")
    return config, {name: value.double() for name, value in weights.items()}


def encode(config, weights, x):
    """Return the codes as SAELens defines them."""
    if config["apply_b_dec_to_input"]:
        x = x - weights["b_dec"]
    if config["architecture"] == "gated":
        gate = x @ weights["W_enc"] + weights["b_gate"] > 0
        magnitude = x @ (weights["W_enc"] * weights["r_mag"].exp()) + weights["b_mag"]
        return gate * magnitude.relu()
    h = x @ weights["W_enc"] + weights["b_enc"]
    if config["architecture"] == "topk":
        values, kept = h.topk(config["k"])
        return torch.zeros_like(h).scatter(1, kept, values.relu())
    if config["architecture"] == "jumprelu":
        return h.relu() * (h > weights["threshold"])
    return h.relu()


@pytest.mark.parametrize(
    ("penalty", "how"),
    each_once([*PENALTIES], [(True, "float32"), (False, "float64"), (True, "float64")]),
)
def test_codes_and_reconstructions(penalty, how, tmp_path):
    subtract_bias, dtype = how
    network = SingleLayer(subtract_bias=subtract_bias)
    sae = fit_unwarned(quick_sae(PENALTIES[penalty], network=network, dtype=dtype), samples())
    to_saelens(sae, tmp_path / "sae")
    config, weights = read(tmp_path / "sae")
    assert config["architecture"] == ARCHITECTURES[penalty]
    assert (config["d_in"], config["d_sae"]) == (6, 12)
    assert config["dtype"] == dtype
    assert weights["W_enc"].shape == (6, 12)
    # The threshold of BatchTopK was set on some of the first samples.
    X = np.concatenate([samples(), samples(1)])
    codes = encode(config, weights, torch.tensor(X)).numpy()
    expected = sae.transform(X)
    assert (expected != 0).any()
    np.testing.assert_allclose(weights["W_dec"].norm(dim=1), np.ones(12), rtol=1e-6)
    # Samples are about 100, so single precision has a small absolute error.
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    norms = np.linalg.norm(sae.components_, axis=1)
    np.testing.assert_allclose(codes, expected * norms, atol=tolerance * norms.max())
    reconstruction = torch.tensor(expected * norms) @ weights["W_dec"] + weights["b_dec"]
    scale = tolerance * np.abs(X).max()
    np.testing.assert_allclose(reconstruction, sae.inverse_transform(expected), atol=scale)


@pytest.mark.parametrize("penalty", ["batch_topk", "topk"])
def test_codes_that_are_cut(penalty, tmp_path):
    sae = fit_unwarned(quick_sae(PENALTIES[penalty], dtype="float64"), samples())
    whole = np.count_nonzero(sae.transform(samples(1)))
    to_saelens(sae.set_params(transform_l0=2), tmp_path / "sae")
    codes = encode(*read(tmp_path / "sae"), torch.tensor(samples(1))).numpy()
    norms = np.linalg.norm(sae.components_, axis=1)
    np.testing.assert_allclose(codes, sae.transform(samples(1)) * norms, atol=1e-7)
    assert 0 < np.count_nonzero(codes) < whole


@pytest.mark.parametrize("penalty", ["batch_topk", "gated", "l1", "topk"])
def test_saelens_reads_it(penalty, tmp_path):
    sae_lens = pytest.importorskip("sae_lens")
    X = samples(1)
    sae = fit_unwarned(quick_sae(PENALTIES[penalty], dtype="float64"), samples())
    to_saelens(sae, tmp_path / "sae", metadata={"hook_name": "blocks.0.hook_resid_pre"})
    theirs = sae_lens.SAE.load_from_disk(str(tmp_path / "sae"))
    assert theirs.cfg.architecture() == ARCHITECTURES[penalty]
    assert theirs.cfg.metadata.hook_name == "blocks.0.hook_resid_pre"
    codes = theirs.encode(torch.tensor(X))
    expected = sae.transform(X)
    norms = np.linalg.norm(sae.components_, axis=1)
    np.testing.assert_allclose(codes.detach().numpy(), expected * norms, atol=1e-7)
    theirs.fold_W_dec_norm()
    np.testing.assert_allclose(theirs.encode(torch.tensor(X)).detach(), codes.detach())
    np.testing.assert_allclose(
        theirs.decode(codes).detach().numpy(), sae.inverse_transform(expected), atol=1e-6
    )


def test_codes_at_the_threshold_pass(tmp_path):
    """BatchTopK keeps entries at its threshold, and JumpReLU drops them."""
    X = samples()
    sae = fit_unwarned(quick_sae(PENALTIES["batch_topk"], dtype="float64"), X)
    to_saelens(sae, tmp_path / "sae")
    threshold = read(tmp_path / "sae")[1]["threshold"] / sae.scale_
    own = float(sae.module_.activation.threshold)
    assert_allclose(threshold, np.full(12, own), rtol=1e-12)
    config, weights = read(tmp_path / "sae")
    codes = encode(config, weights, torch.tensor(X)).numpy()
    assert ((codes != 0) == (sae.transform(X) != 0)).all()


@pytest.mark.parametrize("penalty", ["gated", "jump_relu", "l1", "topk"])
@pytest.mark.parametrize("params", [{"target_l0": 2}, {"target_l0": 6}, {"decoder_penalty": 0.1}])
def test_targets_and_other_norms(penalty, params, tmp_path):
    sae = fit_unwarned(quick_sae(penalty, dtype="float64", **params), samples())
    to_saelens(sae, tmp_path / "sae")
    config, weights = read(tmp_path / "sae")
    codes = encode(config, weights, torch.tensor(samples(1)))
    decoded = codes @ weights["W_dec"] + weights["b_dec"]
    expected = sae.transform(samples(1))
    assert ((codes.numpy() != 0) == (expected != 0)).all()
    assert_allclose(decoded, sae.inverse_transform(expected), atol=1e-6)


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

D_IN, D_SAE = 6, 9


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
@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu", "gated"])
def test_codes_are_those_of_saelens(architecture, scaled, subtracted, tmp_path):
    X = samples()
    folder = write(tmp_path / "sae", architecture, k=3, apply_b_dec_to_input=subtracted)
    sae = from_saelens(folder, X if scaled else None)
    config, weights = read(folder)
    codes = sae.transform(X)
    np.testing.assert_allclose(codes, encode(config, weights, torch.tensor(X)).numpy(), atol=1e-9)
    np.testing.assert_allclose(
        sae.inverse_transform(codes),
        codes @ weights["W_dec"].numpy() + weights["b_dec"].numpy(),
        atol=1e-9,
    )
    np.testing.assert_allclose(sae.components_, weights["W_dec"].numpy())


def test_norms_that_activations_are_multiplied_by_are_folded(tmp_path):
    X = torch.tensor(samples())
    folder = write(tmp_path / "sae", "topk", k=3, rescale_acts_by_decoder_norm=True)
    _, weights = read(folder)
    norm = weights["W_dec"].norm(dim=1)
    h = ((X - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]) * norm
    values, kept = h.topk(3)
    codes = torch.zeros_like(h).scatter(1, kept, values.relu())
    sae = from_saelens(folder)
    np.testing.assert_allclose(sae.transform(X.numpy()), codes.numpy(), atol=1e-9)
    reconstruction = (codes / norm) @ weights["W_dec"] + weights["b_dec"]
    np.testing.assert_allclose(
        sae.inverse_transform(codes.numpy()), reconstruction.numpy(), atol=1e-9
    )


def test_an_atom_of_norm_zero(tmp_path):
    folder = write(tmp_path / "sae", "topk", k=3, rescale_acts_by_decoder_norm=True)
    rewrite(folder, lambda w: w["W_dec"][0].zero_())
    sae = from_saelens(folder)
    assert (sae.components_[0] == 0).all()
    assert (sae.transform(samples())[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("penalty", "subtract_bias"),
    each_once(["l1", "topk", "jump_relu", "gated", "batch_topk"], [True, False]),
)
def test_there_and_back(penalty, subtract_bias, tmp_path):
    network = SingleLayer(subtract_bias=subtract_bias)
    X, new = samples(), samples(1)
    sae = fit_unwarned(quick_sae(PENALTIES[penalty], network=network, dtype="float64"), X)
    to_saelens(sae, tmp_path / "sae")
    again = from_saelens(tmp_path / "sae", X)
    norms = np.linalg.norm(sae.components_, axis=1)
    np.testing.assert_allclose(again.transform(new), sae.transform(new) * norms, atol=1e-6)
    np.testing.assert_allclose(again.score_samples(new), sae.score_samples(new), atol=1e-8)
    save(again, tmp_path / "sae.safetensors")
    np.testing.assert_allclose(
        load(tmp_path / "sae.safetensors").transform(new), again.transform(new)
    )


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
    np.testing.assert_allclose(few.transform(samples()), expected, rtol=1e-6)


def test_settings_that_cannot_be_read(tmp_path, subtests):
    folder = write(tmp_path / "sae", "standard")
    for text, match in (
        ("[]", "cfg.json must hold a JSON object, got list"),
        ("{", "cfg.json is not valid JSON, or is nested too deeply"),
        ("[" * 100_000, "cfg.json is not valid JSON, or is nested too deeply"),
        ('{"architecture": "temporal"}', "The architecture must be one of .* got 'temporal'"),
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
    assert from_saelens(folder).penalty.k == 9


BEYOND = "beyond the range of single precision"
UNFIT = [
    ("jumprelu", lambda w: w.pop("b_enc"), "sae_weights.safetensors has no b_enc"),
    ("jumprelu", lambda w: w.pop("threshold"), "sae_weights.safetensors has no threshold"),
    ("jumprelu", lambda w: w.update(b_enc=w["b_enc"][:3]), r"b_enc has the shape \(3,\), not \(9,"),
    (
        "jumprelu",
        lambda w: w.update(W_enc=w["W_enc"].T),
        r"W_enc has the shape \(9, 6\), not \(6, 9",
    ),
    ("jumprelu", lambda w: w.update(b_dec=w["b_dec"][None]), r"b_dec has the shape \(1, 6\), not"),
    ("jumprelu", lambda w: w["W_dec"].fill_(torch.nan), "W_dec has entries that are NaN, infinite"),
    ("gated", lambda w: w["r_mag"].fill_(200), BEYOND),
    ("standard", lambda w: w["W_enc"].fill_(1e38), BEYOND),
    ("standard", lambda w: w.update(W_enc=torch.zeros(6, 9).int()), "or not floats"),
    ("standard", lambda w: w.update(W_dec=torch.zeros(())), "has the shape"),
    ("standard", lambda w: w.update(b_enc=torch.zeros(())), "has the shape"),
    ("standard", lambda w: w.update({k: v.reshape(-1)[:0] for k, v in w.items()}), "at least one"),
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
        np.testing.assert_allclose(sae.mean_, expected.mean_)
        assert sae.scale_ == pytest.approx(expected.scale_)
    named = from_saelens(folder, frame)
    np.testing.assert_array_equal(named.feature_names_in_, frame.columns)
    np.testing.assert_allclose(named.transform(frame), expected.transform(X))


def test_samples_of_other_features_and_no_folder(tmp_path):
    folder = write(tmp_path / "sae", "standard")
    with pytest.raises(ValueError, match="X has 5 features, but the autoencoder is expecting 6"):
        from_saelens(folder, np.ones((4, 5)))
    with pytest.raises(FileNotFoundError):
        from_saelens(tmp_path / "nothing")
