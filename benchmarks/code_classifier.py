"""Accuracy of a linear classifier on codes, beside codes of the same length by other methods.

    python -m benchmarks code_classifier [--only NAME ...] [--seeds 5] [--data DIR]

The data are tables and digits of scikit-learn, 5,000 images of MNIST, and 3,000 activations of a
language model. The class of an activation is the token that was read, one of the 50 most frequent.
MNIST and the activations need a folder; see `lm_activations`. Columns of the tables are scaled to
variance 1; pixels and activations keep their units.

The length of a code is its mean number of active latents. PCA and NMF have that number of
components, and the other methods `PER_ACTIVE` latents for each active one, or `MANY` latents. All
settings are the same for all data. Sparse autoencoders train for `EPOCHS` epochs. The classifier is
a logistic regression with C = `C` on codes, each column divided by its largest absolute value.

Transformer, scaling and classifier are fitted inside three stratified folds, which are the same for
all methods. MNIST and the activations are large, and use only the first of the three folds. Each
seed is one shuffle into folds. Active latents are counted on the rows that are classified. Each row
of results is saved when it is done, and is not computed again.
"""

import warnings
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import NMF, PCA, MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler

from benchmarks.common import fit, load, make_parser, write
from benchmarks.data import add_data_option, read_mnist
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.metrics import l0
from skvaeense.nets.penalties import TopK

N_FOLDS, MAX_STEPS, C = 3, 2000, 10
PER_ACTIVE, MANY, EPOCHS = 3, 256, 60
N_IMAGES, N_ACTIVATIONS, N_TOKENS = 5000, 3000, 50


def read_images(folder):
    """Return the first `N_IMAGES` images of MNIST, and their digits."""
    X, y, *_ = read_mnist(folder)
    return X[:N_IMAGES], y[:N_IMAGES]


def read_tokens(folder):
    """Return activations at the most frequent tokens, and the token of each activation."""
    with np.load(Path(folder) / "lm_activations.npz") as file:
        X, tokens = file["X_train"], file["token_train"]
    names, counts = np.unique(tokens, return_counts=True)
    rows = np.flatnonzero(np.isin(tokens, names[np.argsort(-counts)[:N_TOKENS]]))
    rows = np.random.RandomState(0).choice(rows, N_ACTIVATIONS, replace=False)
    return X[rows].astype(np.float32), tokens[rows]


def shipped(loader):
    """Return a reader of a data set that scikit-learn ships; it ignores the folder."""
    return lambda folder: loader(return_X_y=True)


# name: (reader, length of codes)
DATA = {
    "iris": (shipped(load_iris), 2),
    "wine": (shipped(load_wine), 5),
    "breast_cancer": (shipped(load_breast_cancer), 5),
    "digits": (shipped(load_digits), 20),
    "mnist": (read_images, 20),
    "tokens": (read_tokens, 10),
}
TABLES = "iris", "wine", "breast_cancer"
LARGE, NON_NEGATIVE = ("mnist", "tokens"), ("digits", "mnist")


def transformers(data, length, seed):
    """Return a dict of the transformers to compare."""
    vaeense = VAEenseTransformer(
        PER_ACTIVE * length,
        target_l0=length,
        positive_code=True,
        random_state=seed,
    )
    sae = SparseAutoencoder(
        PER_ACTIVE * length, penalty=TopK(length), max_iter=EPOCHS, random_state=seed
    )
    found = {
        "none": FunctionTransformer(),
        "PCA": PCA(length, random_state=seed),
        "NMF": NMF(length, init="nndsvda", random_state=seed),
        "MiniBatchDictionaryLearning": MiniBatchDictionaryLearning(
            PER_ACTIVE * length,
            fit_algorithm="cd",
            transform_algorithm="omp",
            transform_n_nonzero_coefs=length,
            random_state=seed,
        ),
        "SparseAutoencoder": sae,
        "VAEense": vaeense,
    }
    if data not in NON_NEGATIVE:
        del found["NMF"]
    if data not in TABLES:
        for name, model in (("SparseAutoencoder", sae), ("VAEense", vaeense)):
            found[f"{name}, {MANY}"] = clone(model).set_params(n_components=MANY)
    return found


def classify(transformer, data, X, y, seed):
    """Return accuracy, mean active latents and CPU seconds of the fit, for each fold."""
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    rows = []
    for train, test in list(folds.split(X, y))[: 1 if data in LARGE else N_FOLDS]:
        scaler = StandardScaler() if data in TABLES else FunctionTransformer()
        Z, Z_new = scaler.fit_transform(X[train]), scaler.transform(X[test])
        seconds = fit(transformer, Z)
        codes, new_codes = transformer.transform(Z), transformer.transform(Z_new)
        classifier = make_pipeline(MaxAbsScaler(), LogisticRegression(C=C, max_iter=MAX_STEPS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(codes, y[train])
        accuracy = classifier.score(new_codes, y[test])
        rows.append({"accuracy": accuracy, "active": l0(new_codes), "cpu_seconds": seconds})
    return {name: [row[name] for row in rows] for name in rows[0]}


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=DATA, out="code_classifier.json")
    add_data_option(parser)
    arguments = parser.parse_args()
    for data in arguments.only:
        reader, length = DATA[data]
        X, y = reader(arguments.data)
        for seed in range(arguments.seeds):
            for name, transformer in transformers(data, length, seed).items():
                results = load(arguments.out)
                key = f"{data}, {name}, seed {seed}"
                if key in results:
                    continue
                row = {"data": data, "method": name, "length": length, "seed": seed}
                results[key] = row | classify(transformer, data, X, y, seed)
                write(arguments.out, results)
                print(f"{key}: {np.mean(results[key]['accuracy']):.3f}", flush=True)


if __name__ == "__main__":
    main()
