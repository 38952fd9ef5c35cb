"""What every test shares."""

import gc
import os

import pytest
import torch

# Pictures are drawn into memory, whatever the machine has for a screen.
os.environ.setdefault("MPLBACKEND", "Agg")
# Modules and tests stay to the end: to look for garbage among them takes a third of the time that
# it takes to collect them.
gc.disable()


@pytest.fixture(scope="session", autouse=True)
def _garbage_of_tests_alone():
    """Look for garbage again, among what tests have made."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread():
    """Run torch on one thread: sums in one order, and no waiting at these sizes."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)
