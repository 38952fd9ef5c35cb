"""The tables of log-densities beside the truth, and beside other models."""

from statistics import mean

from table import Table

MODELS = ("VAEense", "PCA", "FactorAnalysis", "GaussianMixture")


def known_table(results):
    """Return how far scores are from the true log-density."""
    header = ("data", "training samples", "true score", "below it, mean", "worst", "AUC", "runs")
    rows = []
    for (name, n_train), runs in _grouped(results.get("known", []), "data", "n_train"):
        gaps = [run["gap"] for run in runs]
        numbers = f"{mean(gaps):.3f}", f"{max(gaps):.3f}", f"{mean(run['auc'] for run in runs):.2f}"
        truth = mean(run["truth"] for run in runs)
        rows.append((name, f"{n_train:,}", f"{truth:.2f}", *numbers, len(runs)))
    return Table(header, rows)


def real_table(results):
    """Return scores on real tables beside those of other models."""
    header = (
        *("data", *MODELS, "above the best other", "worst"),
        *("AUC", "AUC, GaussianMixture", "runs"),
    )
    rows = []
    for (name,), runs in _grouped(results.get("tables", []), "data"):
        scores = (f"{mean(run['scores'][model] for run in runs):.2f}" for model in MODELS)
        best = [max(run["scores"][model] for model in MODELS[1:]) for run in runs]
        gains = [run["scores"]["VAEense"] - other for run, other in zip(runs, best, strict=True)]
        kinds = "VAEense", "GaussianMixture"
        aucs = (f"{mean(run['auc'][kind] for run in runs):.2f}" for kind in kinds)
        gain = f"{mean(gains):.2f}", f"{min(gains):.2f}"
        rows.append((name, *scores, *gain, *aucs, len(runs)))
    return Table(header, rows)


def imputation_table(results):
    """Return errors of missing features, relative to filling in means."""
    names = ("VAEense", "IterativeImputer", "KNNImputer")
    rows = []
    for (data,), runs in _grouped(results.get("imputation", []), "data"):
        errors = (f"{mean(run[name] for run in runs):.3f}" for name in names)
        rows.append((data, *errors, len(runs)))
    return Table(("data", *names, "runs"), rows)


def _grouped(runs, *names):
    """Yield the runs with the same values of these names, in their order."""
    groups = {}
    for run in runs:
        groups.setdefault(tuple(run[name] for name in names), []).append(run)
    yield from groups.items()
