"""Folders of estimators, and the Hub with a fake client."""

import functools
import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from helpers import ATOMS, PENALTIES, fit_sae, fit_unwarned, fit_vaeense, quick_sae
from numpy.testing import assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skvaeense import VAEenseTransformer
from skvaeense.language import (
    from_pretrained,
    push_to_hub,
    save_pretrained,
)
from skvaeense.nets.networks import MLP
from skvaeense.nets.penalties import TopK

X, X_NEW = ATOMS.few, ATOMS.new
Y, Y_NEW = (rows @ np.arange(16.0).reshape(8, 2) for rows in (X, X_NEW))


ESTIMATORS = {
    "own architecture": lambda: fit_sae(TopK(3)),
    "unrolled": lambda: fit_sae(TopK(3), network="unrolled"),
    "mlp": lambda: fit_sae("l1", network=MLP((8,), encoder_layer_sizes=(8,))),
    "signed": lambda: fit_sae(TopK(3), positive_code=False),
    "transcoder": lambda: fit_unwarned(quick_sae(TopK(3)), X, y=Y),
    "vaeense": lambda: fit_vaeense(X),
    "gates": lambda: VAEenseTransformer(target_l0=2, random_state=0).fit(X),
}


@functools.cache
def fitted_as(name):
    return ESTIMATORS[name]()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_folder_gives_the_estimator_back(name, tmp_path):
    fitted = fitted_as(name)
    expected = fitted.transform(X_NEW)
    save_pretrained(fitted, tmp_path / "model")
    again = from_pretrained(tmp_path / "model")
    assert_array_equal(again.transform(X_NEW), expected)
    with pytest.raises(FileExistsError):
        save_pretrained(fitted, tmp_path / "model")


def test_saelens_gets_files_where_it_has_an_architecture(tmp_path):
    for name in ("batch_topk", "gated", "l1", "topk"):
        save_pretrained(fit_sae(PENALTIES[name]), tmp_path / name, metadata={"model_name": "m"})
        config = json.loads((tmp_path / name / "cfg.json").read_text())
        assert config["architecture"] in ("gated", "jumprelu", "standard", "topk")
        assert config["metadata"]["model_name"] == "m"
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
            "cfg.json",
            "estimator.safetensors",
            "sae_weights.safetensors",
        ]
    for name in ("unrolled", "mlp", "signed", "vaeense", "gates"):
        save_pretrained(fitted_as(name), tmp_path / name)
        names = sorted(path.name for path in (tmp_path / name).iterdir())
        assert names == ["estimator.safetensors"]


# --- the Hub ----------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Return a fake client that keeps repositories in a folder."""
    module = types.ModuleType("huggingface_hub")
    module.root, module.calls = tmp_path / "hub", []

    def create_repo(repo_id, *, private, exist_ok):
        module.calls.append((repo_id, private, exist_ok))
        (module.root / repo_id).parent.mkdir(parents=True, exist_ok=True)

    def upload_folder(*, repo_id, folder_path):
        shutil.copytree(folder_path, module.root / repo_id, dirs_exist_ok=True)
        return f"https://hub/{repo_id}"

    def hf_hub_download(repo_id, filename, *, revision=None):
        module.calls.append((repo_id, filename, revision))
        return str(module.root / repo_id / filename)

    class ModelCardData(dict):
        def to_yaml(self):
            return "\n".join(f"{name}: {value}" for name, value in self.items())

    class ModelCard(str):
        def save(self, path):
            Path(path).write_text(self, encoding="utf-8")

    for member in (create_repo, upload_folder, hf_hub_download, ModelCardData, ModelCard):
        setattr(module, member.__name__, member)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


def test_an_upload_and_the_way_back(hub):
    sae = fit_sae(TopK(3))
    address = push_to_hub(sae, "me/model", description="Of **atoms**.", private=True)
    assert address == "https://hub/me/model"
    assert hub.calls == [("me/model", True, True)]
    card = (hub.root / "me/model/README.md").read_text()
    assert card.startswith("---\nlibrary_name: skvaeense\n")
    assert card.endswith("---\n\nOf **atoms**.\n")
    again = from_pretrained("me/model", revision="v1", device="cpu")
    assert hub.calls[-1] == ("me/model", "estimator.safetensors", "v1")
    assert_array_equal(again.transform(X_NEW), sae.transform(X_NEW))
    push_to_hub(sae, "me/model")  # Push again to the same repository.


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install skvaeense\[hub\]"):
        push_to_hub(fit_sae(TopK(3)), "me/model")
    with pytest.raises(ImportError, match=r"pip install skvaeense\[hub\]"):
        from_pretrained("me/model")


def test_what_has_no_folder(tmp_path):
    with pytest.raises(TypeError, match="PCA"):
        save_pretrained(PCA(2).fit(X), tmp_path / "model")
    with pytest.raises(NotFittedError):
        save_pretrained(quick_sae(), tmp_path / "model")
    assert not Path(tmp_path / "model").exists()
    with pytest.raises(FileNotFoundError, match="neither a folder"):
        from_pretrained("no/such/folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"estimator\.safetensors"):
        from_pretrained(tmp_path / "empty")
