"""The functions that a benchmark entered, with hashes of their code, which tell stale results.

`Record` notes each function of this repository that a process enters. What it found is stored with
a result, and `changed` compares it with the code of today. A hash is that of a syntax tree without
docstrings, comments and layout. The constants of modules and classes that the functions name count
as well.
"""

import ast
import atexit
import functools
import hashlib
import json
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
# The folder to which the processes of a benchmark write what they entered.
VARIABLE = "SKVAEENSE_ENTERED"
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
# The folders whose functions count.
PACKAGES = "benchmarks", "skvaeense"
# Hexadecimal digits of a hash.
DIGITS = 8


class Record:
    """The code objects that this process enters, in every thread.

    Parameters
    ----------
    folder : Path
        The folder to which each process writes its own file.

    root : Path, default=ROOT
        The repository whose functions count.
    """

    def __init__(self, folder, root=ROOT):
        self.folder, self.root, self._codes = folder, root, set()

    def start(self):
        """Note functions from now on, and write them when the process ends."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        atexit.register(self.write)
        return self

    def stop(self):
        """Note nothing any more."""
        sys.setprofile(None)
        threading.setprofile(None)
        atexit.unregister(self.write)

    def _note(self, frame, event, _):
        if event == "call":
            self._codes.add(frame.f_code)

    def write(self):
        """Write the file and first line of each function so far; other processes have own files.

        Processes that end after the benchmark, whose folder is gone then, write nothing.
        """
        if not self.folder.is_dir():
            return
        paths = {code: Path(code.co_filename) for code in self._codes.copy()}
        places = sorted(
            (path.relative_to(self.root).as_posix(), code.co_firstlineno)
            for code, path in paths.items()
            if any(path.is_relative_to(self.root / package) for package in PACKAGES)
        )
        (self.folder / f"{os.getpid()}.json").write_text(json.dumps(places), encoding="utf-8")

    def code(self):
        """Return the hashes of all functions that the processes of a benchmark have entered.

        Returns
        -------
        dict of list of str
            For each file, the names of its functions, and of constants that they name, each with
            its hash.
        """
        self.write()
        lines = {}
        for path in self.folder.glob("*.json"):
            for file, line in json.loads(path.read_text(encoding="utf-8")):
                lines.setdefault(file, set()).add(line)
        found, words = {}, set()
        for file in sorted(lines):
            functions = {
                name: node
                for name, node in definitions(self.root / file)[0].items()
                if any(_first_line(node) <= line <= node.end_lineno for line in lines[file])
            }
            found[file] = {name: hash_of(node) for name, node in functions.items()}
            nodes = [n for function in functions.values() for n in ast.walk(function)]
            words |= {n.id for n in nodes if isinstance(n, ast.Name)}
            words |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
        for file, hashes in found.items():
            constants = definitions(self.root / file)[1].items()
            used = {name: node for name, node in constants if name.rpartition(".")[2] in words}
            hashes |= {name: hash_of(node) for name, node in used.items()}
        return {
            file: [f"{name} {value}" for name, value in hashes.items()]
            for file, hashes in found.items()
            if hashes
        }


def changed(code, root=ROOT):
    """Return the functions and constants whose code is not that of a record.

    Parameters
    ----------
    code : dict of list of str
        What `Record.code` returned.

    root : Path, default=ROOT
        The repository.

    Returns
    -------
    list of str
        Their names, each after its file.
    """
    names = []
    for file, hashes in code.items():
        functions, constants = definitions(root / file)
        today = functions | constants
        for name, before in map(str.split, hashes):
            if name not in today or hash_of(today[name]) != before:
                names.append(f"{file}:{name}")
    return names


@functools.cache
def definitions(path):
    """Return the outermost functions of a file, and the constants of its modules and classes."""
    functions, constants = {}, {}

    def collect(body, prefix):
        for node in body:
            if isinstance(node, FUNCTIONS):
                # Overloads, getters and setters share a name.
                while prefix + node.name in functions:
                    node.name += "'"
                functions[prefix + node.name] = node
            elif isinstance(node, ast.ClassDef):
                collect(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.If | ast.Try):
                collect(node.body, prefix)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                named = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
                constants.update({prefix + name: node for name in named})

    if path.is_file():
        collect(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return functions, constants


@functools.cache
def hash_of(node):
    """Return a hash of a syntax tree without docstrings, the same for all versions of Python."""
    return hashlib.sha256(repr(_plain(node)).encode()).hexdigest()[:DIGITS]


def _plain(node):
    """Return a syntax tree as nested lists, without what is empty and without docstrings."""
    if isinstance(node, list):
        return [_plain(part) for part in node]
    if not isinstance(node, ast.AST):
        return node
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and ast.get_docstring(node) is not None:
        fields["body"] = node.body[1:]
    return [type(node).__name__, *([name, _plain(value)] for name, value in fields.items())]


def _first_line(node):
    # A decorator comes before the line of a function.
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


# The record of this process: other processes of a benchmark start theirs as they import this.
RECORD = Record(Path(os.environ[VARIABLE])).start() if VARIABLE in os.environ else None


@contextmanager
def recording():
    """Record what this process and those that it starts enter, for the results that are written."""
    global RECORD
    with TemporaryDirectory() as folder:
        os.environ[VARIABLE] = folder
        RECORD = Record(Path(folder)).start()
        try:
            yield
        finally:
            RECORD.stop()
            RECORD = None
            del os.environ[VARIABLE]
