"""Fixtures and settings of all tests."""

import gc
import os

import pytest
import torch
from helpers import APART, PAIRS, SUBSPACES

from skvaeense import VAEenseTransformer

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


# --- default fits, which tests must not change ----------------------------------------------


@pytest.fixture(scope="session")
def union_fit():
    """Return a default fit of a line and a plane."""
    return VAEenseTransformer(random_state=0).fit(SUBSPACES.train)


@pytest.fixture(scope="session")
def apart_fit():
    """Return a default fit of subspaces that lie apart."""
    return VAEenseTransformer(random_state=0).fit(APART.train)


@pytest.fixture(scope="session")
def pairs_fit():
    """Return a default fit of sums of two atoms, which is a dictionary with gates."""
    return VAEenseTransformer(random_state=0).fit(PAIRS.train)
