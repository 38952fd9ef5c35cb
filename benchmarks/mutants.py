"""What the tests notice: a summary of the mutants of losses, thresholds and metrics.

    make mutants

mutmut changes a line of a function in one small way, as a sign or a default, and runs the tests
that reach it; a mutant that they let pass has survived. This only counts what it has left in
the folder mutants, and writes it to results/mutants.json, module by module. All of them take hours:
a run that is stopped can be summed up too, and goes on where it was. `tested` are those that had
their turn. Mutants that no test reaches count as survivors, those that never end as killed.
"""

import json

from benchmarks.common import RESULTS, ROOT, make_parser, write

ALIVE, UNKNOWN = {"survived", "no tests"}, {"not checked", "check was interrupted by user"}


def count(statuses):
    """Return the row of a module."""
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
    """Count what mutmut has left."""
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
