"""Results that were measured with other code than today's."""

import importlib.util

import pytest

from benchmarks import entered
from benchmarks.common import load, write
from benchmarks.stale import stale_results

CODE = '''"""A module."""

LIMIT = 2
OTHER = 3


class Model:
    """A model."""

    step = 1

    def fit(self, x):
        """Fit."""
        return [self.step * y for y in x if y < LIMIT]

    def draw(self):
        """Draw."""
        return OTHER
'''


def test_a_process_may_end_after_its_benchmark(tmp_path):
    entered.Record(tmp_path / "gone").write()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def measured(tmp_path):
    """Return a repository of one file a result of its method fit, and its record."""
    module, results = tmp_path / "skvaeense" / "model.py", tmp_path / "results"
    module.parent.mkdir()
    module.write_text(CODE)
    spec = importlib.util.spec_from_file_location("measured_model", module)
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    (tmp_path / "record").mkdir()
    record = entered.Record(tmp_path / "record", tmp_path).start()
    found = model.Model().fit([1, 2, 3])
    record.stop()
    write(results / "speed.json", {"found": found, "code": record.code()})

    def edit(before, after):
        module.write_text(module.read_text().replace(before, after))
        entered.definitions.cache_clear()
        return list(stale_results(results, tmp_path))

    return edit, results, record


def test_what_a_run_entered_is_stored(measured):
    _, results, _ = measured
    code = load(results / "speed.json")["code"]
    names = {entry.split()[0] for entry in code["skvaeense/model.py"]}
    assert names == {"Model.fit", "LIMIT", "Model.step"}


@pytest.mark.parametrize(
    ("before", "after"),
    [("x if y", "x  if  y"), ('"""Fit."""', '"""Fit to x."""'), ("return OTHER", "return 1")],
    ids=["layout", "docstring", "another function"],
)
def test_a_result_is_fresh_while_what_it_entered_is_the_same(measured, before, after):
    edit, *_ = measured
    assert edit(before, after) == []


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ("self.step *", "2 * self.step *", "Model.fit"),
        ("def fit(", "def fitted(", "Model.fit"),
        ("LIMIT = 2", "LIMIT = 3", "LIMIT"),
        ("step = 1", "step = 2", "Model.step"),
    ],
)
def test_a_result_is_stale_once_a_function_that_it_entered_changes(measured, before, after, name):
    edit, *_ = measured
    assert edit(before, after) == [f"speed.json: skvaeense/model.py:{name}"]


def test_a_result_without_a_record_is_stale_and_an_archived_one_is_not(measured):
    edit, results, _ = measured
    write(results / "archive" / "old.json", {"found": 1})
    assert edit("", "") == []
    write(results / "old.json", {"found": 1})
    assert edit("", "") == ["old.json: its code was not recorded"]


def test_rows_that_are_kept_keep_their_hashes(measured, monkeypatch):
    edit, results, record = measured
    edit("LIMIT = 2", "LIMIT = 3")
    monkeypatch.setattr(entered, "RECORD", record)
    write(results / "speed.json", load(results / "speed.json"))
    assert edit("", "") == ["speed.json: skvaeense/model.py:LIMIT"]
    (results / "speed.json").unlink()
    write(results / "speed.json", {})
    assert edit("", "") == []
