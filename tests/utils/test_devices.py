import pytest
import torch

from skvaeense.utils import _torch
from skvaeense.utils._torch import is_out_of_memory, resolve_device


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(_torch, "working_device", torch.device)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["toaster", "", "cpu:x", "meta", "mps", "cuda:99"])
def test_devices_that_are_not_there(device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is such a device")
    message = f"device must be 'auto' or a torch device that works here, got '{device}'. torch rep"
    with pytest.raises(ValueError, match=message):
        resolve_device(device)


def test_errors_that_say_memory_is_used_up():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert is_out_of_memory(error.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
