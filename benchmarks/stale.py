"""List committed results that were measured with other code than today's, and fail if there are.

    python -m benchmarks stale

A result stores hashes of the functions that its run entered (see `benchmarks.entered`). It is stale
if one of them has changed. Remove a stale file before you measure it again: rows that are kept
keep their hashes.
"""

import sys

from benchmarks.common import RESULTS, load
from benchmarks.entered import ROOT, changed

# So many changed functions are named.
N_SHOWN = 3


def stale_results(results=RESULTS, root=ROOT):
    """Yield a line for each stale result.

    Parameters
    ----------
    results : Path, default=RESULTS
        The folder of results. What is in its folder "archive" shows older versions, and is left
        out.

    root : Path, default=ROOT
        The repository.

    Yields
    ------
    str
        The name of a result, and what has changed.
    """
    for path in sorted(results.rglob("*.json")):
        if "archive" in path.relative_to(results).parts:
            continue
        code = load(path).get("code")
        names = changed(code, root) if code else ["its code was not recorded"]
        if names:
            more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
            yield f"{path.relative_to(results)}: {', '.join(names[:N_SHOWN])}{more}"


def main():
    """Print the stale results, and fail if there are any."""
    lines = list(stale_results())
    print("\n".join(lines))
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
