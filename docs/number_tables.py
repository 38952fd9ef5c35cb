"""The table of numbers at module level, with what each decides, from the source itself."""

import ast
from pathlib import Path

from table import Table

PACKAGE = Path(__file__).parent.parent / "skvaeense"


def numbers_of(path):
    """Yield the names, the values and the comment of each assignment of numbers in a file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        # Ranges of parameters and the table of signs of failure explain themselves.
        is_plain = not ast.unparse(node.value).startswith(("Interval(", "(Sign("))
        if is_plain and any(_is_number(part) for part in ast.walk(node.value)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = ", ".join(ast.unparse(target).strip("()") for target in targets)
            yield names, ast.unparse(node.value), _comment_above(lines, node.lineno - 1)


def _is_number(node):
    is_number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    return is_number and not isinstance(node.value, bool)


def _comment_above(lines, at):
    found = []
    while at > 0 and lines[at - 1].startswith("#"):
        at -= 1
        found.insert(0, lines[at].lstrip("# "))
    return " ".join(found)


def module_numbers_table():
    """Return one row for each assignment of numbers."""
    rows = [
        (path.relative_to(PACKAGE).as_posix(), *row)
        for path in sorted(PACKAGE.rglob("*.py"))
        for row in numbers_of(path)
    ]
    return Table(("file", "name", "value", "what it decides"), rows)
