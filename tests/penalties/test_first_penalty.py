"""The first contribution in the contributor's guide, as its reader would make it."""

import importlib.util
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "contributing" / "first_penalty"


def load(name, file):
    """Import a file of the guide under the name that it is to have."""
    spec = importlib.util.spec_from_file_location(name, GUIDE / file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_its_tests_pass(monkeypatch):
    for name in ("skvaeense.penalties._capped_l1", "test_capped_l1"):
        monkeypatch.setitem(sys.modules, name, None)  # Is taken away again afterwards.
    load("skvaeense.penalties._capped_l1", "_capped_l1.py")
    tests = vars(load("test_capped_l1", "test_capped_l1.py"))
    written = [test for name, test in tests.items() if name.startswith("test_")]
    assert len(written) == 2
    for test in written:
        test()
