"""Codes of a given length, by gates and by batch-top-k, on activations of a language model.

    python -m benchmarks gate_codes fits [--levels 10 30 100] [--only NAME ...] [--seeds 2]
        [--data DIR]

Each model has 300 latents, one wanted length, and the package's defaults. Test rows are of other
documents. A gate dictionary and batch-top-k are fitted in turn, so that their CPU seconds can be
compared. Each row is saved when it is done, and is not computed again.
"""

from benchmarks.common import fit, groups, make_parser, measure_missing, run_task, summarise
from benchmarks.data import add_data_option, read_activations
from skvaeense import SparseAutoencoder
from skvaeense.explanations import GateDictionary
from skvaeense.metrics import dead_fraction, fvu, l0
from skvaeense.nets.penalties import BatchTopK

N_COMPONENTS, LEVELS = 300, [10, 30, 100]
# name: function of the number of active latents and a seed that returns a model
METHODS = {
    "GateDictionary": lambda k, seed: GateDictionary(N_COMPONENTS, target_l0=k, random_state=seed),
    "BatchTopK": lambda k, seed: SparseAutoencoder(
        N_COMPONENTS, penalty=BatchTopK(k), random_state=seed
    ),
}


def summary(rows):
    """Return means and worst values over the seeds, for each length and method."""
    keys = ["fvu_mean", "fvu_worst", "l0_mean", "dead_mean", "cpu_seconds_mean"]
    return [label | summarise(own, *keys) for label, own in groups(rows, "k", "method")]


def run_fits(arguments):
    """Fit the models whose rows the results lack."""
    train, test = read_activations(arguments.data)

    def measure(k, method, seed):
        model = METHODS[method](k, seed)
        seconds = fit(model, train)
        codes = model.transform(test)
        found = {"fvu": fvu(test, model.inverse_transform(codes)), "l0": l0(codes)}
        return found | {"dead": dead_fraction(codes), "cpu_seconds": seconds}

    orders = {"k": LEVELS, "method": list(METHODS)}
    chosen = {"k": arguments.levels, "method": arguments.only}
    measure_missing(arguments.out, orders, chosen, arguments.seeds, measure, summary)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=2, only=METHODS, out="gate_codes.json")
    parser.add_argument("--levels", type=int, nargs="+", choices=LEVELS, default=LEVELS)
    add_data_option(parser)
    run_task(parser, run_fits)
