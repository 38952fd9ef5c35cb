"""A summary of the mutants of losses, thresholds and metrics: how many the tests kill.

    make mutants

mutmut changes a line of a function in one small way, such as a sign or a default, and runs the
tests that reach the function. A mutant that passes these tests has survived. This module only
counts the mutants that mutmut wrote to the folder mutants, and writes the counts of each module to
results/mutants.json. A complete run takes hours. A run that was stopped can be summarised too, and
can be continued. `tested` is the number of mutants that were run. Mutants that no test reaches
count as survivors, and mutants that never end count as killed.
"""

import json

from benchmarks.common import RESULTS, ROOT, make_parser, write

ALIVE, UNKNOWN = {"survived", "no tests"}, {"not checked", "check was interrupted by user"}


def count(statuses):
    """Return the row of a module from the statuses of its mutants."""
    tested = [status for status in statuses if status not in UNKNOWN]
    survived = sum(status in ALIVE for status in tested)
    killed = len(tested) - survived
    return {
        "mutants": len(statuses),
        "tested": len(tested),
        "killed": killed,
        "survived": survived,
        "score": round(killed / len(tested), 3) if tested else None,
    }


def main():
    """Count the mutants in the folder of mutmut."""
    make_parser(__doc__).parse_args()
    from mutmut.stats import status_by_exit_code

    modules = {}
    for path in sorted((ROOT / "mutants" / "skvaeense").rglob("*.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"].values()
        if codes:
            name = path.relative_to(ROOT / "mutants" / "skvaeense").as_posix()
            modules[name.removesuffix(".meta")] = [status_by_exit_code[code] for code in codes]
    rows = {name: count(statuses) for name, statuses in modules.items()}
    rows["all"] = count([status for statuses in modules.values() for status in statuses])
    write(RESULTS / "mutants.json", rows)
