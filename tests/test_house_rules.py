"""Rules for the source that linters cannot check, tested on its syntax trees."""

import ast
import importlib
import inspect
import pkgutil
import typing
from pathlib import Path

import skvaeense
from skvaeense._base import BaseAutoencoder
from skvaeense.utils._validation import StrOptions

PACKAGE = Path(skvaeense.__file__).parent
PRIVATE_IMPORTER = "utils/_validation.py"
# Subpackages whose names are private to the package.
PRIVATE_ROOMS = {"samples", "training", "utils"}
# Largest number of methods that a new autoencoder must define.
MAX_ABSTRACT_METHODS = 4

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _source_files():
    return {str(p.relative_to(PACKAGE).as_posix()): p for p in sorted(PACKAGE.rglob("*.py"))}


def _nodes(*types):
    """Yield (file, node) for every node of these types in the package."""
    for name, path in _source_files().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, types):
                yield name, node


def _imported_names():
    """Yield (file, line, dotted name) for every imported module, class or function."""
    for file, node in _nodes(ast.Import, ast.ImportFrom):
        prefix = "" if isinstance(node, ast.Import) else f"{node.module}."
        for alias in node.names:
            yield file, node.lineno, prefix + alias.name


def _public_objects():
    """Yield (name, object) for the classes and functions in `__all__`, also of subpackages."""
    rooms = {module.name for module in pkgutil.iter_modules([str(PACKAGE)])} - PRIVATE_ROOMS
    public = sorted(f"skvaeense.{name}" for name in rooms if not name.startswith("_"))
    public += [f"skvaeense.nets.{name}" for name in skvaeense.nets.__all__]
    for module in map(importlib.import_module, ["skvaeense", *public]):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{module.__name__}.{name}", value


def _public_methods(value):
    """Return (name, definitions in the order of the MRO) for the methods defined in the package."""
    methods = {}
    for cls in inspect.getmro(value) if inspect.isclass(value) else ():
        for name, member in vars(cls).items():
            function = inspect.unwrap(getattr(member, "__func__", member))
            ours = str(getattr(function, "__module__", "")).startswith("skvaeense")
            if inspect.isfunction(function) and ours and not name.startswith("_"):
                methods.setdefault(name, []).append(function)
    return methods.items()


def _doc(value):
    return inspect.getdoc(value) or ""


def _has_parameters_section(value):
    return "Parameters\n----------\n" in _doc(value)


def _takes_parameters(value):
    function = value.__init__ if inspect.isclass(value) else value
    if not inspect.isfunction(function):
        return False
    return bool(set(inspect.signature(function).parameters) - {"self", "cls"})


def _unannotated(function):
    """Return the names of parameters without annotation, and "return" if it has none."""
    signature = inspect.signature(function)
    names = set(signature.parameters) - {"self", "cls"}
    without = [
        k for k in sorted(names) if signature.parameters[k].annotation is inspect.Signature.empty
    ]
    return without + ["return"] * (signature.return_annotation is inspect.Signature.empty)


def _literals(annotation):
    """Return the values of all Literals in an annotation."""
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return set().union(*map(_literals, typing.get_args(annotation)))


def test_imports_are_absolute():
    found = [f"{file}:{node.lineno}" for file, node in _nodes(ast.ImportFrom) if node.level]
    assert found == []


def test_nothing_prints():
    found = [
        f"{file}:{node.lineno}"
        for file, node in _nodes(ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert found == []


def test_signatures_name_their_keywords():
    found = [
        f"{file}:{node.lineno} **{node.args.kwarg.arg}"
        for file, node in _nodes(*FUNCTIONS, ast.Lambda)
        if node.args.kwarg is not None
    ]
    assert found == []


def test_private_sklearn_is_imported_in_one_file():
    found = []
    for file, line, name in _imported_names():
        root, *rest = name.split(".")
        private = any(part.startswith("_") and not part.startswith("__") for part in rest)
        if root == "sklearn" and private and file != PRIVATE_IMPORTER:
            found.append(f"{file}:{line} {name}")
    assert found == []


def test_sklearn_callback_is_imported_in_one_file():
    found = {
        file
        for file, _, name in _imported_names()
        if name == "sklearn.callback" or name.startswith("sklearn.callback.")
    }
    assert len(found) <= 1, sorted(found)


def test_few_methods_are_abstract():
    assert len(BaseAutoencoder.__abstractmethods__) <= MAX_ABSTRACT_METHODS


def test_public_names_have_an_example():
    without = [name for name, value in _public_objects() if ">>> " not in _doc(value)]
    assert without == []


def test_public_names_document_their_parameters():
    """numpydoc accepts docstrings without sections, so that private helpers can have one line."""
    without = []
    for name, value in _public_objects():
        if _takes_parameters(value) and not _has_parameters_section(value):
            without.append(name)
        for method, definitions in _public_methods(value):
            documented = any(_has_parameters_section(definition) for definition in definitions)
            if _takes_parameters(definitions[0]) and not documented:
                without.append(f"{name}.{method}")
    assert without == []


def test_public_names_are_annotated():
    functions = {}
    for name, value in _public_objects():
        if _takes_parameters(value) or inspect.isfunction(value):
            functions[name] = value.__init__ if inspect.isclass(value) else value
        for method, definitions in _public_methods(value):
            functions |= {f"{name}.{method} ({f.__module__})": f for f in definitions}
    without = {name: _unannotated(function) for name, function in functions.items()}
    assert {name: parts for name, parts in without.items() if parts} == {}


def test_annotated_names_are_those_that_validation_takes():
    differ = []
    for name, value in _public_objects():
        parameters = inspect.signature(value).parameters
        for parameter, constraints in getattr(value, "_parameter_constraints", {}).items():
            taken = set().union(*(c.options for c in constraints if type(c) is StrOptions))
            if _literals(parameters[parameter].annotation) != taken:
                differ.append(f"{name}.{parameter}")
    assert differ == []


def test_each_public_subpackage_is_an_attribute():
    rooms = {module.name for module in pkgutil.iter_modules([str(PACKAGE)]) if module.ispkg}
    names = set(dir(skvaeense))
    assert names - set(skvaeense.__all__) == rooms - PRIVATE_ROOMS
    assert all(hasattr(skvaeense, name) for name in names)
    assert not hasattr(skvaeense, "metric")
