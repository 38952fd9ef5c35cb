"""Time of a newcomer's first steps: a clone, the demo, a table, and a first contribution.

    python -m benchmarks first_steps [--source REPOSITORY] [--note TEXT]

The benchmark runs the commands of docs/install.rst and of first_steps.rst in an empty folder, one
after another. Then it adds the penalty of docs/contributing/extending.rst and runs the test of the
penalty. It writes the wall-clock seconds and CPU seconds of each step, and the machine, to
results/first_steps.json. Time for reading and typing is not included. pip's cache is not used. The
note records what else matters, such as the load of the machine.
"""

import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import ROOT, make_parser, write

PYTHON, PROGRAM = ".venv/bin/python", "docs/examples/plot_01_own_table.py"


class Step(NamedTuple):
    """A command of the guide, and the command that is run for it in the clone."""

    name: str
    command: str
    run: str


# `make demo` builds the environment first. The two parts are timed as two steps.
STEPS = (
    Step("Build the environment", "make demo", "make .venv/.stamp-demo"),
    Step("Fit the digits, print and draw", "make demo", "make demo"),
    Step("Fit the table, and draw", f"{PYTHON} my_table.py", f"{PYTHON} {PROGRAM}"),
    Step("Install what tests need", "make test", "make .venv/.stamp-test"),
)
TESTS = "tests/nets/test_capped_l1.py skvaeense/nets/capped_l1.py"
TEST_IT = Step(
    "Test a penalty of one's own",
    f"{PYTHON} -m pytest -q {TESTS}",
    f"{PYTHON} -m pytest -q -p no:xdist --doctest-modules {TESTS}",
)


def timed(name, command, run, folder, environment):
    """Run a command, and return its seconds; raise CalledProcessError if it fails."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(run.split(), cwd=folder, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = round(time.perf_counter() - begin, 1)
    return {"step": name, "command": command, "seconds": seconds, "cpu_seconds": round(busy, 1)}


def contribute(clone):
    """Add the penalty of the contributor's guide, and its test, to a clone."""
    nets, guide = clone / "skvaeense" / "nets", clone / "docs/contributing/first_penalty"
    shutil.copy(guide / "capped_l1.py", nets)
    shutil.copy(guide / "test_capped_l1.py", clone / "tests" / "nets")
    room = nets / "__init__.py"
    text = room.read_text(encoding="utf-8")
    text = text.replace("nets import ", "nets import capped_l1, ")
    text = text.replace("__all__ = [", '__all__ = ["capped_l1", ')
    room.write_text(text, encoding="utf-8")


def versions(folder):
    """Return the versions of Python and torch in the environment of a clone."""
    code = "import platform, torch; print(platform.python_version(), torch.__version__)"
    command = [PYTHON, "-c", code]
    out = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return dict(zip(("Python", "torch"), out.split(), strict=True))


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, out="first_steps.json")
    parser.add_argument("--source", default=str(ROOT))
    parser.add_argument("--note", default="")
    arguments = parser.parse_args()
    # The Agg backend opens no window for the plot.
    environment = os.environ | {"PIP_NO_CACHE_DIR": "1", "MPLBACKEND": "Agg"}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "skvaeense"
        clone_it = Step("Clone", "git clone", f"git clone --quiet {arguments.source} {clone}")
        steps = [timed(*clone_it, folder, environment)]
        steps += [timed(*step, clone, environment) for step in STEPS]
        contribute(clone)
        steps.append(timed(*TEST_IT, clone, environment))
        machine = {
            "cores": os.cpu_count(),
            "load at the start": round(load, 1),
            "system": platform.system(),
            **versions(clone),
            "note": arguments.note,
        }
    write(arguments.out, {"steps": steps, "machine": machine})
