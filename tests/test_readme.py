"""The tables in README.md agree with the committed results."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tables():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        importlib.import_module("claims")
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


@pytest.fixture(scope="module")
def checker(tables):
    return sys.modules["claims"]


def test_results_support_each_sentence_with_a_number_or_a_comparison(tables, checker):
    assert checker.unsupported(tables.README.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("shortest that keep 95 %", "shortest that keep 90 %"),
        ("dimensions 2, 4 and 8", "dimensions 2, 4 and 9"),
        ("validation 27.6", "validation 27.9"),
        ("need no tuning.", "need no tuning. They are faster than PCA."),
        ("Python 3.11", "Python 3.10"),
    ],
)
def test_a_wrong_sentence_is_found(tables, checker, right, wrong):
    text = tables.README.read_text(encoding="utf-8")
    changed = text.replace(right, wrong)
    assert changed != text


def test_a_sentence_is_wrong_once_the_result_differs(checker, tables, tmp_path):
    for name in ("demo", "headline"):
        (tmp_path / f"{name}.json").write_text((checker.RESULTS / f"{name}.json").read_text())
    text = tables.README.read_text(encoding="utf-8")
    assert checker.unsupported(text, tmp_path) == []
    demo = checker.load("demo")
    demo["errors"]["PCA, first"] = demo["errors"]["VAEense"]
    (tmp_path / "demo.json").write_text(json.dumps(demo))
    (found,) = checker.unsupported(text, tmp_path)
    assert found.startswith("VAEense is far below")
