"""Encoders of sparse autoencoders with the same penalty: error, dead latents, time, stability.

    python -m benchmarks sparse_encoders [--only NAME ...] [--seeds 3] [--data FOLDER]

All have the penalty TopK and codes that are not negative, and train for as many steps. MNIST
has 10,000 training images and 256 latents, activations of a language model 20,000 rows and 300.
The error is of other rows. Dictionaries of two seeds are matched atom by atom; `stability` is the
mean cosine of matched atoms, `chance` that of random atoms in the same directions.

Rows are saved as they are done, and not computed again. The activations need a folder with
lm_activations.npz; see `lm_activations`. Without it they are left out.
"""

from itertools import combinations

import numpy as np

from benchmarks.common import fit, load, make_parser, write
from benchmarks.data import add_data_option, read_activations, read_mnist
from skvaeense import SparseAutoencoder
from skvaeense.inspection import dictionary_stability
from skvaeense.metrics import dead_fraction, fvu, l0
from skvaeense.networks import MatchingPursuit, SingleLayer, Unrolled
from skvaeense.penalties import TopK

NETWORKS = {
    "one layer": SingleLayer(),
    "one layer, aligned": SingleLayer(aligned=True),
    "unrolled": Unrolled(),
    "matching pursuit": MatchingPursuit(),
}
MAX_EPOCHS, BATCH_SIZE = 40, 256
# From a name to the number of latents, and the active ones.
DATA = {"mnist": (256, 20), "lm_activations": (300, 30)}


def read(name, folder):
    """Return training and test rows; None if they are not at hand."""
    if name == "mnist":
        X, _, X_test, _ = read_mnist(folder)
        return X[:10_000], X_test[:4000]
    if folder is None:
        return None
    X, X_test = read_activations(folder)
    return X[:20_000], X_test


def main():
    """Fit what is not in the results yet, and compare the dictionaries of all seeds."""
    parser = make_parser(__doc__, seeds=3, only=DATA, out="sparse_encoders.json")
    add_data_option(parser)
    arguments = parser.parse_args()
    for name in arguments.only:
        samples = read(name, arguments.data)
        if samples is None:
            continue
        train, test = samples
        n_components, k = DATA[name]
        for network_name, network in NETWORKS.items():
            results = load(arguments.out)
            key = f"{name}, {network_name}"
            if len(results.get(key, {}).get("fvu", [])) >= arguments.seeds:
                continue
            row = {"k": k, "n_components": n_components}
            models = []
            for seed in range(arguments.seeds):
                model = SparseAutoencoder(
                    n_components,
                    penalty=TopK(k),
                    network=network,
                    max_iter=MAX_EPOCHS,
                    batch_size=BATCH_SIZE,
                    random_state=seed,
                )
                seconds = fit(model, train)
                codes = model.transform(test)
                numbers = {
                    "fvu": fvu(test, model.inverse_transform(codes)),
                    "l0": l0(codes),
                    "dead": dead_fraction(codes),
                    "cpu_seconds": seconds,
                }
                for measure, value in numbers.items():
                    row.setdefault(measure, []).append(value)
                models.append(model)
            agreement = dictionary_stability(models, signed=True)
            pairs = list(combinations(range(len(models)), 2))
            row["stability"] = [float(agreement.matched_similarity[pair]) for pair in pairs]
            row["chance"] = agreement.random_matched_similarity.tolist()
            write(arguments.out, load(arguments.out) | {key: row})
            means = {measure: np.mean(row[measure]) for measure in ("fvu", "dead", "cpu_seconds")}
            print(key, means, f"stability {np.mean(row['stability']):.3f}", flush=True)
