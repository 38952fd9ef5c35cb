"""Tables of pages: rows, groups, numbers and the best of them, from a description."""

import importlib
from pathlib import Path

import pytest

RESULTS = {
    "version": "2026-11-30, commit 0a1b2c3",
    "summary": {
        "small": {"n": 10, "of": {"ours": {"fvu": 0.204}, "theirs": {"fvu": 0.196}}},
        "large": {"n": 99, "of": {"ours": {"fvu": 0.1}, "theirs": {"fvu": float("nan")}}},
    },
    "rows": [
        {"cell": "a", "method": "x", "errors": [1.0, 3.0], "loss": 5},
        {"cell": "b", "method": "x", "errors": [4.0], "loss": 6},
        {"cell": "a", "method": "y", "errors": [1.0], "loss": None},
        {"cell": "a", "method": "x", "errors": [5.0], "loss": 5},
        {"cell": "a", "method": "truth", "errors": [0.0], "loss": 5},
    ],
}


@pytest.fixture(scope="module")
def table():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent.parent.parent / "docs")
        return importlib.import_module("table")


def test_the_best_of_each_part_is_marked(table):
    columns = ["cell", "method", "error | errors | .1f | | min", "worst | errors | .1f | max"]
    columns += ["loss", "runs | | | len"]
    spec = {"rows": "file:rows", "by": ["cell", "method"], "part": "cell", "columns": columns}
    made = table.measured(spec | {"but": {"method": "truth"}}, RESULTS)
    assert made.header == ("cell", "method", "error", "worst", "loss", "runs")
    rows = [["a", "x", "3.0", "5.0", "5", "2"], ["a", "y", "1.0", "1.0", "", "1"]]
    assert made.rows == [*rows, ["b", "x", "4.0", "4.0", "6", "1"]]
    # The only row of a part is not compared.
    best = [[isinstance(cell, table.Best) for cell in row] for row in made.rows]
    assert [(i, j) for i in range(3) for j in range(6) if best[i][j]] == [(1, 2)]
    assert '"**1.0**"' in made.rst()


@pytest.mark.parametrize(("form", "n_best"), [(".3f", 1), (".1f", 0)])
def test_the_best_of_a_row_is_marked_unless_the_table_shows_no_difference(table, form, n_best):
    columns = ["name", "n", *(f"{w} | of/{w}/fvu | {form} | | across" for w in ("ours", "theirs"))]
    spec = {"rows": "file:summary/*", "across": "min", "columns": columns}
    small, large = table.measured(spec, RESULTS).rows
    assert small[:2] == ["small", "10"]
    assert [isinstance(cell, table.Best) for cell in small[2:]] == [False, bool(n_best)]
    assert large[2:] == [f"{0.1:{form}}", ""]


def test_names_are_those_of_all_dicts_above_a_row(table):
    spec = {"rows": "file:summary/*/of/*", "columns": ["name", "n", "fvu | fvu | .1f"]}
    rows = table.measured(spec, RESULTS).rows
    assert rows[0] == ["small, ours", "10", "0.2"]
    assert len(rows) == 4


def test_an_archived_result_says_its_version_and_a_missing_one_that_it_is_missing(table):
    spec = {"rows": "file:rows", "columns": ["method"]}
    assert "the version of 2026-11-30, commit 0a1b2c3" in table.measured(spec, RESULTS).rst()
    assert table.measured(spec, {}).rst() == "*Not measured yet.*\n"
