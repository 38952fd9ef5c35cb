"""The penalty of the contributor's guide passes the test that the guide gives for it."""

import importlib.util
import inspect
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "contributing" / "first_penalty"
WRITTEN = ["test_entries_cost_at_most_the_cap", "test_a_higher_price_leaves_fewer_latents_active"]


def load(name, file):
    """Import a file of the guide under the name that it will have in the package."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tests():
    names = "skvaeense.nets.capped_l1", "first_contribution"
    files = "capped_l1.py", "test_capped_l1.py"
    *_, module = [load(*pair) for pair in zip(names, files, strict=True)]
    functions = dict(inspect.getmembers(module, inspect.isfunction))
    yield {name: test for name, test in functions.items() if name.startswith("test_")}
    for name in names:
        del sys.modules[name]


def test_all_of_them_are_run(tests):
    assert sorted(tests) == sorted(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_guides_own_test(tests, name):
    tests[name]()
