"""Run a benchmark by its name, or list all benchmarks."""

import ast
import importlib
import sys
from pathlib import Path

from benchmarks import entered

FOLDER = Path(__file__).parent


def benchmarks():
    """Return a dict from the name of each module with a function `main` to its first line."""
    lines = {}
    # Modules are parsed, not imported: the packages that a benchmark needs may not be installed.
    for path in (*FOLDER.glob("*.py"), *FOLDER.glob("paper/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
        if path.name != "__main__.py" and "main" in functions:
            name = ".".join(path.relative_to(FOLDER).with_suffix("").parts)
            lines[name] = ast.get_docstring(tree).splitlines()[0]
    return lines


def main():
    """Run the benchmark that the command line names, or list all benchmarks."""
    lines = benchmarks()
    name, *options = sys.argv[1:] or [None]
    if name in lines:
        sys.argv = [f"python -m benchmarks {name}", *options]
        with entered.recording():
            importlib.import_module(f"benchmarks.{name}").main()
        return
    width = max(map(len, lines))
    print("usage: python -m benchmarks NAME [options]\n")
    print("\n".join(f"{name:{width}}  {line}" for name, line in sorted(lines.items())))
    if name not in (None, "-h", "--help"):
        sys.exit(f"\nThere is no benchmark {name!r}.")


if __name__ == "__main__":
    main()
