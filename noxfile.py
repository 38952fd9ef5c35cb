"""The tests of the core with the oldest and with the newest versions of what skvaeense needs.

    make test-matrix

So are those of what SAELens reads, with SAELens.

The oldest are the lower bounds of pyproject.toml. Each set has an environment of its own under
.nox, which takes some gigabytes of downloads the first time. The results of training are compared
with numbers that are kept in tests/data, so they are the same across versions too.
"""

import tomllib
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What needs none of the optional packages.
CORE = [
    "tests/test_versions.py",
    "tests/test_common.py",
    "tests/dimension",
    "tests/metrics",
    "tests/nets",
    "tests/persistence/test_old_files.py",
]
SAELENS = ["tests/language/test_saelens_reads.py"]
OLDEST = [r.replace(">=", "==").split(",")[0] + ".*" for r in PROJECT["dependencies"]]
NEWEST = [r.split(">=")[0] for r in PROJECT["dependencies"]]

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True


@nox.session
@nox.parametrize("packages", [OLDEST, NEWEST], ids=["oldest", "newest"])
def core(session, packages):
    """Run the tests of the core with these packages."""
    session.install("--upgrade", "--upgrade-strategy=eager", *packages, "pytest>=9")
    session.install("--no-deps", "--editable", ".")
    session.run("python", "-m", "pip", "list", "--format=freeze")
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *CORE, *session.posargs)


@nox.session
def saelens(session):
    """Run the tests of what SAELens reads, with SAELens."""
    session.install(".[saelens]", "pytest>=9")
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *SAELENS)
