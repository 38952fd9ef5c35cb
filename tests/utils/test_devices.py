import pytest
import torch

from skvaeense.utils import _torch
from skvaeense.utils._torch import is_out_of_memory, resolve_device


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(_torch, "check_computes", lambda device: None)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("cpu") == torch.device("cpu")


def test_unknown_device(subtests):
    for device in ("toaster", "", "cpu:x"):
        with (
            subtests.test(device=device),
            pytest.raises(ValueError, match="device must be 'auto' or a torch device"),
        ):
            resolve_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_cuda(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device='{device}', but torch finds no CUDA device"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["meta", "mps", "cuda:99"])
def test_devices_that_are_not_there(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is such a device")
    with pytest.raises(
        ValueError, match=f"device='{device}' cannot be used here; use device='auto'"
    ):
        resolve_device(device)


def test_errors_that_say_memory_is_used_up():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert is_out_of_memory(error.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
