"""Data of many dimensions: how long the default's codes are, and what shorter ones cost and gain.

    python -m benchmarks wide_data [--only NAME ...] [--seeds 1] [--data DIR]

`VAEenseTransformer` as it is, and with a `target_l0`, on 10,000 images of MNIST, 10,000 activations
of a language model and the digits of scikit-learn; all else are defaults. On rows that it was not
fitted to, those of the activations from other documents: active latents, the fraction of variance
unexplained by codes, and by as many principal components; and three numbers in nats per sample.
`score` is the log-density of the mixture of codes that `score_samples` fits, and `pca_score` that
of as many principal components. `description` is the length of a message that describes a sample,
up to the precision of its features: minus the ELBO, and the entropy of which latents are active,
each by itself, which the ELBO does not charge for.

The first two need a folder; see `lm_activations`. Rows are saved as they are done, and not computed
again.
"""

import numpy as np
from scipy.stats import entropy
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from benchmarks.common import fit, load, make_parser, write
from benchmarks.data import add_data_option, read_activations, read_mnist
from skvaeense import VAEenseTransformer
from skvaeense.metrics import fvu

N_TRAIN, N_TEST, N_DIGITS = 10_000, 2000, 1400
TARGETS = (None, 10, 30, 100)


def read_some_activations(folder):
    """Return training and test rows of the activations."""
    X_train, X_test = read_activations(folder)
    return X_train[:N_TRAIN], X_test[:N_TEST]


def read_some_mnist(folder):
    """Return training and test images of MNIST."""
    X_train, _, X_test, _ = read_mnist(folder)
    return X_train[:N_TRAIN], X_test[:N_TEST]


def read_digits(folder):
    """Return training and test digits, which need no folder."""
    return train_test_split(load_digits().data, train_size=N_DIGITS, random_state=0)


DATA = {"lm": read_some_activations, "mnist": read_some_mnist, "digits": read_digits}


def measure(vaeense, X, X_new):
    """Return what a fit makes of other rows."""
    row = {"cpu_seconds": fit(vaeense, X)}
    active = vaeense.active_dimensions(X_new)
    length = float(active.sum(axis=1).mean())
    pca = PCA(round(length), random_state=0).fit(X)
    share = active.mean(axis=0)
    pattern = float(entropy([share, 1 - share]).sum())
    return row | {
        "n_components": vaeense.n_components_,
        "active": length,
        "fvu": fvu(X_new, vaeense.inverse_transform(vaeense.transform(X_new))),
        "pca_fvu": fvu(X_new, pca.inverse_transform(pca.transform(X_new))),
        "description": pattern - float(np.mean(vaeense.elbo_samples(X_new))),
        "score": float(np.mean(vaeense.score_samples(X_new))),
        "pca_score": float(pca.score(X_new)),
    }


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, seeds=1, only=DATA, out="wide_data.json")
    add_data_option(parser)
    arguments = parser.parse_args()
    for seed in range(arguments.seeds):
        for data in arguments.only:
            X, X_new = DATA[data](arguments.data)
            for target in TARGETS:
                results = load(arguments.out)
                key = f"{data}, target_l0={target}, seed {seed}"
                if key in results or (target == max(TARGETS[1:]) and data == "digits"):
                    continue
                vaeense = VAEenseTransformer(target_l0=target, random_state=seed)
                row = {"data": data, "target_l0": target, "seed": seed}
                results[key] = row | measure(vaeense, X, X_new)
                write(arguments.out, results)
                print(f"{key}: {results[key]}", flush=True)


if __name__ == "__main__":
    main()
