"""What every test shares."""

import os

import pytest
import torch

# Pictures are drawn into memory, whatever the machine has for a screen.
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread():
    """Run torch on one thread: sums in one order, and no waiting at these sizes."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)
