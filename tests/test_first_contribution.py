"""The penalty that the contributor's guide adds passes the test that the guide has for it."""

import importlib.util
import inspect
import sys
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "contributing" / "first_penalty"


def load(name, file):
    spec = importlib.util.spec_from_file_location(name, FOLDER / file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tests():
    names = "skvaeense.penalties._capped_l1", "first_contribution"
    files = "_capped_l1.py", "test_capped_l1.py"
    *_, module = [load(*pair) for pair in zip(names, files, strict=True)]
    yield dict(inspect.getmembers(module, inspect.isfunction))
    for name in names:
        del sys.modules[name]


@pytest.mark.parametrize(
    "name",
    ["test_entries_cost_at_most_the_cap", "test_a_higher_price_leaves_fewer_latents_active"],
)
def test_the_guides_own_test(tests, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests[name]()
