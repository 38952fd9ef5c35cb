"""The content of files is never run: no module of the package uses a function that could run it."""

import ast
from pathlib import Path

import skvaeense

PACKAGE = Path(skvaeense.__file__).parent
# Formats whose readers can run code.
CODE_IN_FILES = {"_pickle", "cloudpickle", "dill", "marshal", "pickle", "shelve"}
# Functions that run text as code, or that read such formats.
RUNS = {
    "__import__",
    "compile",
    "eval",
    "exec",
    "joblib.load",
    "numpy.lib.format.read_array",
    "pandas.eval",
    "pandas.read_pickle",
    "runpy.run_path",
    "torch.hub.load",
    "torch.jit.load",
    "torch.load",
}


def _imported(tree):
    """Return a dict from each name that a module's imports bind to its dotted name."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            # `import a.b` binds a, `import a.b as c` binds a.b.
            names = [(a.asname or a.name.split(".")[0], a) for a in node.names]
            bound |= {name: a.name if a.asname else name for name, a in names}
        elif isinstance(node, ast.ImportFrom):
            bound |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return bound


def _modules(tree):
    """Yield (line, dotted name) for every module or name that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{a.name}") for a in node.names)


def _dotted(node, imported):
    """Return the dotted name of a function outside of its module, or an empty string."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    name = imported.get(node.id, node.id)
    return ".".join([name, *reversed(parts)]).removeprefix("builtins.")


def findings(source):
    """Return the places in a source that could run code from a file, as texts with line numbers."""
    tree = ast.parse(source)
    imported = _imported(tree)
    found = {f"{n} {name}" for n, name in _modules(tree) if name.split(".")[0] in CODE_IN_FILES}
    # A name counts anywhere, since a function can be called under another name.
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and _dotted(node, imported) in RUNS:
            found.add(f"{node.lineno} {_dotted(node, imported)}")
        # False is the default. Any other value may be True when the code runs.
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            harmless = isinstance(node.value, ast.Constant) and node.value.value is False
            found |= set() if harmless else {f"{node.value.lineno} allow_pickle"}
    return sorted(found)


def test_no_module_can_run_what_it_reads():
    sources = {str(path): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    found = {path: findings(source) for path, source in sources.items()}
    assert len(sources) > 60
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_the_search_finds(subtests):
    for source in (
        "import pickle",
        "import marshal as m",
        "from dill import loads",
        "import shelve, json",
        "eval('1')",
        "run = exec",
        "import builtins\nbuiltins.eval('1')",
        "import torch\ntorch.load('file')",
        "from torch import load as read\nread('file')",
        "import torch.hub as hub\nhub.load('a', 'b')",
        "import numpy as np\nnp.load('file', allow_pickle=True)",
        "import numpy as np\nflag = True\nnp.load('file', allow_pickle=flag)",
    ):
        with subtests.test(source=source):
            assert findings(source) != []


def test_the_search_lets_pass(subtests):
    for source in (
        "module.eval()",
        "import re\nre.compile('a')",
        "import numpy as np\nnp.load('file')",
        "import numpy as np\nnp.load('file', allow_pickle=False)",
        "from skvaeense import load\nload('file')",
    ):
        with subtests.test(source=source):
            assert findings(source) == []
