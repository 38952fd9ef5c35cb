"""The tables in README.md agree with the committed results."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tables():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        return importlib.import_module("tables")


def test_tables_are_in_step_with_the_results(tables):
    text = tables.README.read_text(encoding="utf-8")
    assert text == tables.with_tables(text), "Run `python docs/tables.py`."


def test_every_table_has_its_place(tables):
    text = tables.README.read_text(encoding="utf-8")
    assert text.count("<!-- end of table -->") == len(tables.README_COLUMNS)
    for name in tables.README_COLUMNS:
        assert f"<!-- table {name} -->\n" in text


def test_a_stale_number_is_replaced(tables):
    fresh = tables.README.read_text(encoding="utf-8")
    number = fresh.split("<!-- table highlights -->")[1].split("\n| F1 of")[1].split(" | ")[1]
    stale = fresh.replace(f" | {number} | ", " | 0.12 | ")
    assert stale != fresh
    assert tables.with_tables(stale) == fresh
