"""The runner of the benchmarks, and the format of their results."""

import json
import subprocess
import sys

import pytest

from benchmarks import common
from benchmarks.__main__ import benchmarks, main

FILES = sorted(common.RESULTS.rglob("*.json"))


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=common.ROOT, capture_output=True, text=True)


def test_the_runner_lists_every_benchmark():
    listed = run()
    assert listed.returncode == 0
    for name in ("demo", "kinds", "speed", "paper.mnist"):
        assert f"\n{name} " in listed.stdout
    assert "common" not in listed.stdout
    assert all(benchmarks().values())


def test_an_unknown_name_is_an_error():
    unknown = run("nothing")
    assert unknown.returncode == 1
    assert "no benchmark 'nothing'" in unknown.stderr


def test_options_reach_the_benchmark(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "kinds", "--only", "nothing"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    refused = capsys.readouterr().err
    assert "--seeds" in refused
    assert "python -m benchmarks kinds: error" in refused


def test_committed_results_are_as_they_are_written():
    texts = {path.name: path.read_text(encoding="utf-8") for path in FILES}
    written = {name: common.dumps(json.loads(text)) + "\n" for name, text in texts.items()}
    assert [name for name, text in texts.items() if written[name] != text] == []


def test_results_are_short_and_add_up(tmp_path):
    path = tmp_path / "more" / "results.json"
    common.save(path, "one", {"numbers": list(range(1000)), "share": 1 / 3})
    common.save(path, "two", [{"seed": seed, "error": 0.5} for seed in range(20)])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert f'  "numbers": {list(range(1000))},' in lines
    assert '  "share": 0.3333333' in lines
    assert '  {"seed": 3, "error": 0.5},' in lines
    assert common.load(path)["one"]["numbers"] == list(range(1000))


def test_summary_over_seeds():
    rows = [{"gap": -3.0, "similarity": 0.5}, {"gap": 1.0, "similarity": 0.9}]
    assert common.summarise(rows, "gap_mean", "gap_worst") == {"gap_mean": -1.0, "gap_worst": 1.0}
    assert common.summarise(rows, "similarity_worst", worst=min) == {"similarity_worst": 0.5}


def test_only_what_is_missing_is_measured(tmp_path, capsys):
    """Rows are sorted by their values, and then by seed."""
    path, measured = tmp_path / "rows.json", []

    def measure(name, seed):
        measured.append((name, seed))
        return {"number": 1.0}

    orders = {"name": ["a", "b"]}
    common.measure_missing(path, orders, {"name": ["b"]}, 1, measure, len)
    common.measure_missing(path, orders, {"name": ["b", "a"]}, 2, measure, len)
    assert measured == [("b", 0), ("a", 0), ("b", 1), ("a", 1)]
    rows = [(row["name"], row["seed"]) for row in common.load(path)["rows"]]
    assert rows == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert common.load(path)["summary"] == 4
    assert "name b, seed 0, number 1" in capsys.readouterr().out
