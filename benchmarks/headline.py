"""What README.md shows of codes: digits, known features, and its example, beside the best rivals.

    python -m benchmarks headline [--seeds 5]

* digits: the variance of held-out digits that codes of `LENGTH` active latents leave unexplained.
  Dictionary learning and batch-top-k have as many atoms, and codes of the same length. Principal
  components are the largest of each digit, or twice as many of the first, which take as much space
  without indices.
* features: F1 of the known features of benchmark `planted_features`, for the default fit and for
  the rivals that did best there, which are told how many features are active.
* example: three noisy subspaces, nothing set. The mean number of active latents on each, and the
  held-out log-density beside the best Gaussian mixture and the best PCA by cross-validation.
"""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, MiniBatchDictionaryLearning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split

from benchmarks import planted_features
from benchmarks.common import fit, make_parser, write
from benchmarks.demo import first, largest
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.metrics import fvu, l0
from skvaeense.nets.penalties import BatchTopK

LENGTH = 8
RIVALS = "unrolled BatchTopK, positive", "MiniBatchDictionaryLearning, positive"
DIMS, N_TRAIN = (2, 4, 8), 2000


def measure_digits(seed):
    """Return the length of our codes, and the unexplained share of each method."""
    X, y = load_digits(return_X_y=True)
    train, test = train_test_split(X, test_size=400, stratify=y, random_state=seed)
    ours = VAEenseTransformer(target_l0=LENGTH, random_state=seed).fit(train)
    models = {
        "dictionary learning": MiniBatchDictionaryLearning(
            ours.n_components_,
            transform_algorithm="omp",
            transform_n_nonzero_coefs=LENGTH,
            random_state=seed,
        ),
        "batch-top-k": SparseAutoencoder(
            ours.n_components_,
            penalty=BatchTopK(LENGTH),
            network="unrolled",
            positive_code=False,
            random_state=seed,
        ),
    }
    errors = {"VAEense": fvu(test, ours.inverse_transform(ours.transform(test)))}
    # Dictionary learning has no mean of its own.
    mean = train.mean(axis=0)
    for name, model in models.items():
        fit(model, train - mean)
        codes = model.transform(test - mean)
        if name == "dictionary learning":
            decoded = codes @ model.components_
        else:
            decoded = model.inverse_transform(codes)
        errors[name] = fvu(test, decoded + mean)
    pca = PCA().fit(train)
    components = pca.transform(test)
    for name, kept in (
        ("largest", largest(components, LENGTH)),
        ("twice", first(components, 2 * LENGTH)),
    ):
        errors[f"PCA, {name}"] = fvu(test, pca.inverse_transform(kept))
    return {"seed": seed, "length": l0(ours.transform(test)), "fvu": errors}


def measure_features(seed):
    """Return the F1 of each method."""
    methods = ("VAEense, default", *RIVALS)
    found = {name: planted_features.measure("independent", name, seed)["f1"] for name in methods}
    return {"seed": seed, "f1": found}


def measure_example(seed):
    """Return the active latents on each subspace, and the log-densities of held-out samples."""
    X, _, dimension = make_linear_subspaces(
        N_TRAIN + 1000, dims=DIMS, n_features=20, noise=0.05, random_state=seed
    )
    train, test, dimension = X[:N_TRAIN], X[N_TRAIN:], dimension[N_TRAIN:]
    ours = VAEenseTransformer(random_state=seed)
    seconds = fit(ours, train)
    active = ours.active_dimensions(test).sum(axis=1)
    rivals = {
        "GaussianMixture": (GaussianMixture(random_state=seed), range(1, 7)),
        "PCA": (PCA(random_state=seed), range(2, 20, 2)),
    }
    scores = {"VAEense": ours.score(test)}
    for name, (model, numbers) in rivals.items():
        search = GridSearchCV(model, {"n_components": list(numbers)}, cv=3).fit(train)
        scores[name] = float(search.score(test))
    counts = {str(r): float(active[dimension == r].mean()) for r in DIMS}
    return {"seed": seed, "seconds": seconds, "active": counts, "scores": scores}


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, out="headline.json")
    arguments = parser.parse_args()
    measures = {"digits": measure_digits, "features": measure_features, "example": measure_example}
    seeds = range(arguments.seeds)
    write(arguments.out, {name: [run(s) for s in seeds] for name, run in measures.items()})


if __name__ == "__main__":
    main()
