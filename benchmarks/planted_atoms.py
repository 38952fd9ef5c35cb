"""How well each penalty learns 100 known atoms in 40 dimensions, 5 of which are active in a sample.

    python -m benchmarks planted_atoms fits [--only NAME ...] [--seeds 5]

There are 20,000 training samples, with non-negative codes and with codes of both signs. "mmcs" is
the mean cosine of an atom and the most similar learned atom; other measures are of test samples.
"""

from itertools import product

from benchmarks.common import fit, make_parser, run_task, save, shrinkage, summarise
from benchmarks.data import HELD_OUT
from skvaeense import SparseAutoencoder
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.metrics import dead_fraction, fvu, l0, mean_max_cosine_similarity
from skvaeense.nets.penalties import L1, BatchTopK, Gated, JumpReLU, Log, TopK

# Penalties, and a target where they have one.
PLANTED = {
    "L1": (L1(), 5),
    "Log": (Log(), 5),
    "TopK": (TopK(5), None),
    "BatchTopK": (BatchTopK(5), None),
    "JumpReLU": (JumpReLU(), 5),
    "Gated": (Gated(), 5),
}


def measure(model, train, test):
    """Fit a model, and return its measures on test rows."""
    seconds = fit(model, train)
    codes = model.transform(test)
    reconstruction = model.inverse_transform(codes)
    return {
        "fvu": fvu(test, reconstruction),
        "l0": l0(codes),
        "dead": dead_fraction(codes),
        "shrinkage": shrinkage(test, reconstruction),
        "cpu_seconds": seconds,
    }


def compare(name, signed, n_seeds):
    """Return the similarity of learned atoms to known atoms, for each seed."""
    penalty, target_l0 = PLANTED[name]
    runs = []
    for seed in range(n_seeds):
        X, _, _, atoms = make_sparse_dictionary(
            20_000 + HELD_OUT,
            n_atoms=100,
            n_active=5,
            n_features=40,
            signed=signed,
            return_atoms=True,
            random_state=seed,
        )
        model = SparseAutoencoder(
            100,
            penalty=penalty,
            target_l0=target_l0,
            positive_code=not signed,
            random_state=seed,
        )
        result = measure(model, X[HELD_OUT:], X[:HELD_OUT])
        similarity = mean_max_cosine_similarity(atoms, model.components_)
        runs.append({"seed": seed, "mmcs": similarity, **result})
    return summarise(runs, "mmcs_mean", "mmcs_worst", worst=min) | {"runs": runs}


def run_fits(arguments):
    """Measure the recovery of known atoms, with non-negative codes and with signed codes."""
    for signed, name in product((False, True), arguments.only):
        if signed and name == "Gated":
            continue  # Gated has no codes of both signs.
        result = compare(name, signed, arguments.seeds)
        label = f"{name}, {'signed' if signed else 'positive'}"
        save(arguments.out, label, result)
        print(label, f"{result['mmcs_mean']:.3f}, worst {result['mmcs_worst']:.3f}", flush=True)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=PLANTED, out="planted.json")
    run_task(parser, run_fits)
