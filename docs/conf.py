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
    "mathml",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
# The generated tables are parts of pages; sphinx-gallery writes pages from the examples.
exclude_patterns = ["_build", "examples", "generated_tables"]

# Every name in a role or under "See Also" must lead somewhere, except into other projects.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(numpy|pandas|scipy|sklearn|torch)\..*")]

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
# The list of what is on a page has room for the names of methods, not for that of their class too.
toc_object_entries_show_parents = "hide"
# The class template lists the members.
numpydoc_show_class_members = False

# Examples are executed where they have changed, and one that fails stops the build.
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    # A module that some of them share.
    "ignore_pattern": r"__init__\.py|paper_results\.py",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": "skvaeense",
    "reference_url": {"skvaeense": None},
    "backreferences_dir": "auto_examples/backreferences",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "min_reported_time": 1,
    "thumbnail_size": (400, 280),
}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "skvaeense"
html_theme_options = {
    "logo": {"text": f"skvaeense {version}"},
    "github_url": "https://github.com/skvaeense/skvaeense",
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_align": "left",
}
# The front page and single pages have nothing to list beside them.
html_sidebars = {"index": [], "install": [], "whats_new": []}
html_static_path = ["_static"]
html_css_files = ["skvaeense.css"]
html_show_sourcelink = False


def skip_foreign_members(app, what, name, obj, skip, options):
    """Leave out what a class inherits from scikit-learn or torch: they document it."""
    module = getattr(obj, "__module__", None) or ""
    return True if module.split(".")[0] in {"sklearn", "torch"} else None


def escape_shapes(app, what, name, obj, options, lines):
    """Escape ``(n_components_,)`` in the type of attributes: bare, it is markup for a link."""
    for i, line in enumerate(lines):
        if re.match(r"[\w, ]+ : .*shape \(", line):
            lines[i] = re.sub(r"_(?=[,)])", r"\\_", line)


def setup(app):
    """Connect the handlers."""
    app.connect("builder-inited", lambda app: write_tables(), priority=0)
    app.connect("autodoc-skip-member", skip_foreign_members)
    # Before numpydoc, which reads these lines at the default priority of 500.
    app.connect("autodoc-process-docstring", escape_shapes, priority=400)
