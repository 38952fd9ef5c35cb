"""Default fits to 500 to 500,000 samples, and to 3 to 1,000 features.

    python -m benchmarks defaults [--seeds 5] [--only NAME ...]

Defaults and measures are the same as in `core`, on data of other sizes. results/defaults.json has
the format of results/core.json.
"""

from benchmarks.core import run
from benchmarks.data import subspaces

EXPERIMENTS = {
    "2/4/8 in R^40, n = 500": (subspaces((2, 4, 8), 40, 500), {}),
    "2/4/8 in R^40, n = 5,000": (subspaces((2, 4, 8), 40, 5_000), {}),
    "2/4/8 in R^40, n = 500,000": (subspaces((2, 4, 8), 40, 500_000), {}),
    "1/2 in R^3, n = 5,000": (subspaces((1, 2), 3, 5_000), {}),
    "5/10/20 in R^1000, n = 20,000": (subspaces((5, 10, 20), 1000, 20_000), {}),
}


def main():
    """Run the benchmark with the options of the command line."""
    run(EXPERIMENTS, "defaults.json", __doc__)
