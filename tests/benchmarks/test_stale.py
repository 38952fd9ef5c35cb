"""Results that are older than the code that they measure, in a repository of a few files."""

import subprocess

import pytest

from benchmarks.common import RESULTS
from benchmarks.stale import ROOT, commits_since, measured_files, scripts_of


@pytest.fixture
def repository(tmp_path):
    """Return a repository with a committed result, and a function that writes and commits."""

    def commit(**texts):
        for name, text in texts.items():
            folder, _, stem = name.rpartition("__")
            path = tmp_path / folder.replace("__", "/") / f"{stem}"
            path = path.with_suffix(".json" if "results" in folder else ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for command in (["add", "."], ["commit", "-qm", "Change"]):
            identity = ["-c", "user.name=me", "-c", "user.email=me@here"]
            subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    package = "from skvaeense.core import fit\nfrom skvaeense.other import draw\n"
    (tmp_path / "skvaeense").mkdir()
    (tmp_path / "skvaeense" / "__init__.py").write_text(package)
    commit(
        skvaeense__core="from skvaeense.inner import step\nfit = step\n",
        skvaeense__inner="step = 1\n",
        skvaeense__other="draw = 1\n",
        benchmarks__speed="from skvaeense import fit\nname = 'of'\nfile = f'speed_{name}.json'\n",
        benchmarks__results__speed_of="{}",
    )
    return tmp_path, commit


def test_a_result_is_as_old_as_the_changes_of_what_it_runs(repository):
    root, commit = repository
    result = root / "benchmarks/results/speed_of.json"
    assert [path.name for path in scripts_of(root, result)] == ["speed.py"]
    files = measured_files(root, root / "benchmarks/speed.py")
    assert {path.name for path in files} == {"core.py", "inner.py"}
    assert commits_since(root, result) == 0
    commit(skvaeense__other="draw = 2\n")
    assert commits_since(root, result) == 0
    commit(skvaeense__inner="step = 2\n")
    assert commits_since(root, result) == 1
    commit(benchmarks__results__speed_of='{"again": 1}')
    assert commits_since(root, result) == 0


def test_what_no_script_writes_is_unknown(repository):
    root, commit = repository
    commit(benchmarks__results__lost="{}")
    assert commits_since(root, root / "benchmarks/results/lost.json") is None


def test_committed_results_have_a_script():
    results = list(RESULTS.rglob("*.json"))
    assert results
    assert [path.stem for path in results if not scripts_of(ROOT, path)] == []
