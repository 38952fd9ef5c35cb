"""Fixtures and settings of all tests."""

import gc
import os

import pytest
import torch

# Draw pictures in memory, whether or not the machine has a screen.
os.environ.setdefault("MPLBACKEND", "Agg")
# Modules and tests stay alive until the end. Searching them for garbage takes a third of the time
# of collecting them.
gc.disable()


@pytest.fixture(scope="session", autouse=True)
def _garbage_of_tests_alone():
    """Collect only the garbage that tests have made."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread():
    """Run torch on one thread, so that sums have one order and small fits do not wait."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)
