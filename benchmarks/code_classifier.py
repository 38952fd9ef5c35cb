"""A linear classifier on codes: accuracy beside principal components of the same length.

    python -m benchmarks code_classifier [--only NAME ...] [--seeds 1]

Tables of scikit-learn, each feature brought to variance 1; digits are in their own units. Features
for a logistic regression are what a transformer gives, divided by their largest absolute values.
Everything is fitted inside three stratified folds, the same for all. PCA has as many components as
codes have active latents on average. Each seed is one shuffle into folds. Rows are saved as they
are done, and not computed again.
"""

import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler

from benchmarks.common import load, make_parser, write
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.penalties import TopK

N_FOLDS, MAX_STEPS = 3, 2000
# From a name to the loader, the length of codes, and the number of latents.
DATA = {
    "iris": (load_iris, 2, 8),
    "wine": (load_wine, 5, 26),
    "breast_cancer": (load_breast_cancer, 5, 60),
    "digits": (load_digits, 20, 256),
}


def transformers(length, n_components, seed):
    """Return the transformers that are compared, by name."""
    return {
        "none": FunctionTransformer(),
        "PCA": PCA(length, random_state=seed),
        "VAEense": VAEenseTransformer(n_components, target_l0=length, random_state=seed),
        "VAEense positive": VAEenseTransformer(
            n_components, target_l0=length, positive_code=True, random_state=seed
        ),
        "SparseAutoencoder": SparseAutoencoder(
            n_components, penalty=TopK(length), random_state=seed
        ),
    }


def accuracy(transformer, X, y, seed, *, scaled):
    """Return the accuracy of each fold."""
    pipeline = make_pipeline(
        *([StandardScaler()] if scaled else []),
        transformer,
        MaxAbsScaler(),
        LogisticRegression(max_iter=MAX_STEPS),
    )
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return cross_val_score(pipeline, X, y, cv=folds)


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, seeds=1, only=DATA, out="code_classifier.json")
    arguments = parser.parse_args()
    for seed in range(arguments.seeds):
        for data in arguments.only:
            loader, length, n_components = DATA[data]
            X, y = loader(return_X_y=True)
            for name, transformer in transformers(length, n_components, seed).items():
                results = load(arguments.out)
                key = f"{data}, {name}, seed {seed}"
                if key in results:
                    continue
                scores = accuracy(transformer, X, y, seed, scaled=data != "digits")
                row = {"length": length, "n_components": n_components, "folds": scores.tolist()}
                results[key] = row | {"accuracy": float(np.mean(scores))}
                write(arguments.out, results)
                print(f"{key}: {np.mean(scores):.3f}", flush=True)


if __name__ == "__main__":
    main()
