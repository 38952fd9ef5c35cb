"""Configuration of the documentation; `make docs` builds it without a network."""

import os
import re
import sys
from pathlib import Path

import skvaeense

sys.path.insert(0, str(Path(__file__).parent))
from tables import write_tables

# Where estimators that are shown on a page link to: pages with examples are one folder down.
os.environ.setdefault("SKVAEENSE_DOCS_URL", "..")

project = "skvaeense"
author = "The skvaeense developers"
project_copyright = f"2026, {author}"
version = release = skvaeense.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
templates_path = ["_templates"]
# The generated tables are parts of pages.
exclude_patterns = ["_build", "generated_tables"]

# Links into other projects' documentation need the network, so they are opt-in.
if os.environ.get("SKVAEENSE_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "python": ("https://docs.python.org/3", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

# The API reference lists what each module names in its __all__.
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_typehints = "none"
# The class template lists the members.
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "skvaeense"
html_theme_options = {"navigation_with_keys": False, "show_prev_next": False}
html_show_sourcelink = False


def skip_foreign_members(app, what, name, obj, skip, options):
    """Leave out what a class inherits from scikit-learn or torch: they document it."""
    module = getattr(obj, "__module__", None) or ""
    return True if module.split(".")[0] in {"sklearn", "torch"} else None


def escape_shapes(app, what, name, obj, options, lines):
    """Escape ``(n_components_,)`` in the type of an attribute: bare, it is markup for a link."""
    for i, line in enumerate(lines):
        if re.match(r"\w+ : .*shape \(", line):
            lines[i] = re.sub(r"_(?=[,)])", r"\\_", line)


def setup(app):
    """Connect the handlers."""
    app.connect("builder-inited", lambda app: write_tables(), priority=0)
    app.connect("autodoc-skip-member", skip_foreign_members)
    # Before numpydoc, which reads these lines at the default priority of 500.
    app.connect("autodoc-process-docstring", escape_shapes, priority=400)
