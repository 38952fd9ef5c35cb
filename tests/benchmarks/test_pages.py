"""Pages with measurements: what they include and name is there, and data says what is best."""

import importlib
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import benchmarks
from benchmarks.common import RESULTS, load

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [*DOCS.glob("*.rst"), *(p for f in DOCS.iterdir() for p in f.glob("*.rst"))]
MADE = {"generated", "generated_tables", "auto_examples", "_build"}
TEXTS = {
    page.relative_to(DOCS): page.read_text(encoding="utf-8")
    for page in PAGES
    if page.relative_to(DOCS).parts[0] not in MADE
}
# Words that say which of several measured numbers is better: tables mark it instead.
COMPARISON = re.compile(
    r"\b(better|worse|ahead|behind|beats?|wins?|loses?|faster|slower|clearly"
    r"|(?<!near the )best(?!\s+of\s+(compared|the)\s+numbers))\b"
)


@pytest.fixture(scope="module")
def tables():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        return importlib.import_module("tables")


def found(pattern, folder="."):
    """Yield (page, match) for each match in the pages of a folder."""
    for page, text in TEXTS.items():
        if page.is_relative_to(folder):
            yield from ((page, match[1]) for match in re.finditer(pattern, text))


def test_tables_that_pages_include_are_generated_and_others_are_not(tables):
    included = {name for _, name in found(r"include:: \.\./generated_tables/(\w+)\.rst")}
    assert included == {*tables.tables(), "constants"} - set(tables.README_COLUMNS)


def test_constants_that_pages_name_are_written(tables):
    written = set(re.findall(r"\|(\w+)\| replace", tables.constants()))
    assert {name for _, name in found(r"\|([A-Z][A-Z_]+)\|")} == written


def test_no_table_is_empty_but_those_of_results_that_are_not_there(tables):
    made = tables.tables()
    files = {name: spec["rows"].partition(":")[0] for name, spec in tables.SPECS.items()}
    empty = {name for name in files if not made[name].rows}
    assert empty == {name for name, file in files.items() if not tables.load(file)}


def test_every_result_is_shown_and_archived_ones_say_their_version(tables):
    shown = {spec["rows"].partition(":")[0] for spec in tables.SPECS.values()}
    # The picture and the table of README.md, weights in the package, and the joined peers.
    shown |= {"demo", "headline", "dimension_weights", "archive/dimension_peers"}
    files = {
        path.relative_to(RESULTS).with_suffix("").as_posix() for path in RESULTS.rglob("*.json")
    }
    archived = {name for name in files if name.startswith("archive/")}
    assert files - archived <= shown
    assert {name.removeprefix("archive/") for name in archived} <= {n.split("/")[-1] for n in shown}
    assert all(load(RESULTS / f"{name}.json")["version"] for name in archived)


def test_pages_and_labels_that_are_named_exist():
    labels = {label for _, label in found(r"(?m)^\.\. _(\w+):$")}
    assert {name for _, name in found(r":ref:`(\w+)`")} <= labels
    for page, name in found(r":doc:`(?:[^`<]*<)?([\w/.]+)>?`"):
        path = DOCS / name.lstrip("/") if name.startswith("/") else (DOCS / page).parent / name
        assert path.with_suffix(".rst").is_file() or "auto_examples" in name, (page, name)


def test_examples_whose_pictures_are_shown_exist():
    for page, number in found(r"sphx_glr_(plot_\d+\w*?)_\d{3}\.png"):
        assert (DOCS / "examples" / f"{number}.py").is_file(), (page, number)


def test_commands_that_pages_name_exist():
    named = {name for _, name in found(r"python -m benchmarks ([\w.]+)")}
    assert named - {"stale", "paper.NAME"} <= set(benchmarks())
    files = {name for _, name in found(r"``benchmarks/([\w/]+\.py)``")}
    assert all((ROOT / "benchmarks" / name).is_file() for name in files)


def test_no_word_beside_a_table_says_which_number_is_better():
    assert [*found(COMPARISON, "benchmarks")] == []
