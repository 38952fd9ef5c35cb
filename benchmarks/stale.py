"""List committed results that are older than the code that they measure.

    python -m benchmarks stale

A result is old if a later commit changed a file of skvaeense that its script imports, directly or
through other modules. The command lists old results with the number of such commits, the largest
number first, and then results that no script writes.
"""

import ast
import functools
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("benchmarks", "skvaeense")


@functools.cache
def _nodes(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _file(root, module):
    """Return the file of a module of this repository, or None."""
    path = root.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _defining_file(root, module, name):
    """Return the file that defines an imported name, also if a package only re-exports the name."""
    file = _file(root, f"{module}.{name}") or _file(root, module)
    if file == root.joinpath(*module.split("."), "__init__.py"):
        for node in _nodes(file):
            if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
                return _defining_file(root, node.module, name)
    return file


def imported_files(root, path):
    """Return the files of this repository that a file imports."""
    names = [
        (node.module, alias.name)
        for node in _nodes(path)
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in PACKAGES
        for alias in node.names
    ]
    return {_defining_file(root, *name) for name in names} - {None}


def measured_files(root, script):
    """Return the files of skvaeense that a script runs."""
    found, waiting = set(), [script]
    while waiting:
        new = imported_files(root, waiting.pop()) - found
        found |= new
        waiting += new
    return {path for path in found if path.is_relative_to(root / "skvaeense")}


def writes(script, result):
    """Return whether a script contains the name of a file of results, or all parts of its name."""
    nodes = _nodes(script)
    words = {node.value for node in nodes if isinstance(node, ast.Constant)} | {script.stem, ""}
    words |= {n.name.removeprefix("run_") for n in nodes if isinstance(n, ast.FunctionDef)}
    patterns = [
        "".join(re.escape(p.value) if isinstance(p, ast.Constant) else "(.*)" for p in node.values)
        for node in nodes
        if isinstance(node, ast.JoinedStr)
    ]
    matches = [re.fullmatch(p, result.name) for p in patterns if p.endswith(re.escape(".json"))]
    return result.name in words or any(words.issuperset(m.groups()) for m in matches if m)


def scripts_of(root, result):
    """Return the scripts that write a file of results."""
    folder = root / "benchmarks"
    same = folder / result.relative_to(folder / "results").with_suffix(".py")
    return [p for p in sorted(folder.rglob("*.py")) if p == same or writes(p, result)]


def commits_since(root, result):
    """Return the number of commits that changed the code of a result; None without a script."""
    scripts = scripts_of(root, result)
    files = set().union(*(measured_files(root, script) for script in scripts))
    own = _git(root, "log", "-1", "--format=%H", "--", result)
    if not scripts or not own:
        return None
    return int(_git(root, "rev-list", "--count", f"{own}..HEAD", "--", *files)) if files else 0


def _git(root, *arguments):
    command = ["git", *map(str, arguments)]
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


def main():
    """List the results that are old, and the results that no script writes."""
    results = sorted((ROOT / "benchmarks" / "results").rglob("*.json"))
    counts = {path.relative_to(ROOT): commits_since(ROOT, path) for path in results}
    for path in sorted((path for path, n in counts.items() if n), key=counts.get, reverse=True):
        print(f"{counts[path]:4} commits since {path}")
    for path in (path for path, n in counts.items() if n is None):
        print(f"no script writes {path}")


if __name__ == "__main__":
    main()
