"""The tables of the paper's experiments: what the scripts in benchmarks/paper have measured."""

from statistics import mean

from table import MISSING, Table

EXPERIMENTS = (
    "subspaces",
    "mnist",
    "minima",
    "few_latents",
    "convergence",
    "diffusion",
    "interpretability",
    "next_token_loss",
)
# A fit succeeds if the mean absolute error of its counts is less than this: for subspaces, and for
# dictionaries.
SUBSPACES, DICTIONARIES = 0.05, 0.5
# Shares of the way from the loss of the empty code to the best loss.
NEAR = (0.95, 0.99)


def paper_tables(load):
    """Return every table of the paper's experiments by its name.

    `load` returns a file of results as a dict.
    """
    results = {name: load(f"paper/{name}.json") for name in EXPERIMENTS}
    of = {name: tables for name, (_, tables) in map(sized, results.items())}
    return {
        "paper_sizes": sizes_table(results),
        "paper_subspaces": subspaces_table(of["subspaces"]),
        "paper_mnist": frontier_table(of["mnist"], 2),
        "paper_mnist_settings": settings_table(of["mnist"]),
        "paper_mnist_digits": digits_table(of["mnist"]),
        "paper_one_latent": one_latent_table(of["minima"]),
        "paper_minima": minima_table(of["minima"]),
        "paper_few_latents": few_latents_table(of["few_latents"]),
        "paper_convergence": convergence_table(of["convergence"]),
        "paper_diffusion": diffusion_table(of["diffusion"]),
        "paper_interpretability": interpretability_table(of["interpretability"]),
        "paper_next_token_loss": next_token_loss_table(of["next_token_loss"]),
    }


def sized(item):
    """Return (name, (size, tables)) of an experiment: the quick size, or the full one alone."""
    name, results = item
    size = next((size for size in ("quick", "full") if size in results), None)
    return name, (size, results.get(size, {}))


def grouped(rows, *keys):
    """Return the rows by their values of some keys, in the order of the rows."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def mean_of(rows, key):
    """Return the mean of a key over some rows."""
    return mean(row[key] for row in rows)


def in_short(values, style, worst=None):
    """Return the mean of some values, and the worst in parentheses if it is said which that is."""
    text = format(mean(values), style)
    return f"{text} ({worst(values):{style}})" if worst else text


def means_by_model(fits, columns):
    """Return a row for each model: its seeds in short, by each column's key and style."""
    return [
        (
            model,
            *(in_short([row[key] for row in rows], *style) for key, *style in columns.values()),
            len(rows),
        )
        for (model,), rows in grouped(fits, "model").items()
    ]


def sizes_table(results):
    """Return the numbers behind each experiment, and what it took."""
    rows = []
    for name, (size, tables) in map(sized, results.items()):
        if size is None:
            rows.append((name, MISSING, "", ""))
        else:
            numbers = ", ".join(f"{key} = {value}" for key, value in tables["size"].items())
            rows.append((name, size, numbers, f"{tables['minutes']:.0f}"))
    return Table(("experiment", "size", "numbers", "minutes"), rows)


def subspaces_table(results):
    """Return how many latents are active on three subspaces, beside the paper's numbers."""
    header = (
        "model",
        "paper: active latents",
        "active latents",
        "worst error of the count",
        "samples exact",
        "worst FVU",
        "adaptivity",
        "seeds",
    )
    paper = {"VAEase": "about 4", "VAE": "about 13"}
    rows = [
        (
            model,
            paper.get(model, ""),
            f"{mean_of(fits, 'active'):.2f}",
            f"{max(row['count_error'] for row in fits):.2f}",
            f"{mean_of(fits, 'exact'):.1%}",
            f"{max(row['fvu'] for row in fits):.1e}",
            f"{mean_of(fits, 'adaptivity'):.2f}",
            len(fits),
        )
        for (model,), fits in grouped(results.get("fits", []), "model").items()
    ]
    return Table(header, rows)


def by_level(results, cell):
    """Return a table with a row for each method and a column for each level."""
    chosen = results.get("chosen", [])
    levels = sorted({row["level"] for row in chosen})
    rows = []
    for (method,), group in grouped(chosen, "method").items():
        cells = {row["level"]: cell(row) for row in group}
        rows.append((method, *(cells.get(level, "not reached") for level in levels)))
    return Table(("method", *(f"{level} active" for level in levels)), rows)


def frontier_table(results, digits):
    """Return the error of each method at each level: the mean, and the worst seed."""
    return by_level(
        results,
        lambda row: in_short(row["errors"], f".{digits}f", max),
    )


def settings_table(results):
    """Return the setting that each method has at each level, and its number of seeds."""
    return by_level(results, lambda row: f"{row['setting']}; {len(row['errors'])} seeds")


def digits_table(results):
    """Return how the number of active latents of VAEase differs from digit to digit."""
    header = (
        "active latents, mean",
        "standard deviation",
        "digit 1, mean",
        "digit 1 / mean",
        "latents in use",
        "in use / mean",
        "adaptivity",
        "seeds",
    )
    rows = []
    chosen = [row for row in results.get("chosen", []) if row["method"] == "VAEase"]
    for row in sorted(chosen, key=lambda row: row["level"]):
        active, in_use = mean(row["active"]), mean(row["in_use"])
        one = mean(by_label[1] for by_label in row["by_label"])
        rows.append(
            (
                f"{active:.1f}",
                f"{mean(row['std']):.1f}",
                f"{one:.1f}",
                f"{one / active:.2f}",
                f"{in_use:.0f}",
                f"{in_use / active:.1f}",
                f"{mean(row['adaptivity']):.2f}",
                len(row["active"]),
            )
        )
    return Table(header, rows)


def one_latent_table(results):
    """Return how often the loss of one latent has more than one local minimum."""
    rows = []
    for (model,), group in grouped(results.get("one_latent", []), "model").items():
        counts = [count for row in group for count in row["n_minima"]]
        share = mean(count > 1 for count in counts)
        missed = sum(row["n_missed"] for row in group) / len(counts)
        rows.append((model, len(counts), f"{share:.1%}", max(counts), f"{missed:.1%}"))
    header = (
        "model",
        "pairs of x and coefficient",
        "more than one minimum",
        "most minima",
        "not the best when followed",
    )
    return Table(header, rows)


def minima_table(results):
    """Return how many fits come near the best of their model, and the minima around one."""
    planes = {(row["data"], row["model"]): row["n_minima"] for row in results.get("planes", [])}
    rows = []
    for key, fits in grouped(results.get("fits", []), "data", "model").items():
        done = [row for row in fits if row["loss"] is not None]
        best = min((row["loss"] for row in done), default=None)
        shares = [
            sum(row["empty"] - row["loss"] >= near * (row["empty"] - best) for row in done)
            / len(fits)
            for near in NEAR
        ]
        fvu = f"{min(row['fvu'] for row in done):.3f}" if done else ""
        diverged = len(fits) - len(done)
        shares = [f"{share:.0%}" for share in shares]
        rows.append((*key, *shares, diverged, len(fits), fvu, planes.get(key, "")))
    near = (f"{share:.0%} of the way" for share in NEAR)
    header = ("data", "model", *near, "diverged", "fits", "least FVU", "minima on the plane")
    return Table(header, rows)


def few_latents_table(results):
    """Return what is left unexplained with few latents, beside PCA."""
    header = (
        "subspaces",
        "dimensions together",
        "latents",
        "FVU",
        "PCA's FVU",
        "active latents",
        "latents in use",
        "seeds",
    )
    groups = grouped(results.get("fits", []), "n_subspaces", "n_components")
    rows = [
        (
            n_subspaces,
            min(4 * n_subspaces, 40),
            n_components,
            f"{mean_of(fits, 'fvu'):.4f}",
            f"{mean_of(fits, 'pca_fvu'):.4f}",
            f"{mean_of(fits, 'active'):.2f}",
            f"{mean_of(fits, 'in_use'):.1f}",
            len(fits),
        )
        for (n_subspaces, n_components), fits in groups.items()
    ]
    return Table(header, rows)


def convergence_table(results):
    """Return the share of seeds that find the dimension, by steps."""
    fits = results.get("fits", [])
    columns = sorted({(row["n_init"], row["steps"]) for row in fits})
    rows = []
    for (data,), group in grouped(fits, "data").items():
        bound = DICTIONARIES if "atoms" in data else SUBSPACES
        cells = grouped(group, "n_init", "steps")
        shares = [
            f"{mean(row['error'] < bound for row in cells[column]):.0%}" if column in cells else ""
            for column in columns
        ]
        seeds = len({row["seed"] for row in group})
        rows.append((data, bound, *shares, seeds))
    header = ("data", "error under", *(inits_and_steps(*column) for column in columns), "seeds")
    return Table(header, rows)


def inits_and_steps(n_init, steps):
    """Return the heading of a column."""
    names = {1: "one random init", 5: "five random inits"}
    return f"{names.get(n_init, f'{n_init} random inits')}, {steps:,} steps"


def diffusion_table(results):
    """Return how samples are judged, and how many latents are active in their codes."""
    header = (
        "samples",
        "Fréchet distance",
        "its worst seed",
        "precision",
        "recall",
        "active latents",
        "in codes of test images",
        "seeds",
    )
    rows = []
    for (samples,), group in grouped(results.get("samples", []), "samples").items():
        counts = [
            f"{mean_of(group, 'active' + end):.1f} ± {mean_of(group, 'std' + end):.1f}"
            if "active" in group[0]
            else ""
            for end in ("", "_real")
        ]
        rows.append(
            (
                samples,
                f"{mean_of(group, 'frechet'):.2f}",
                f"{max(row['frechet'] for row in group):.2f}",
                f"{mean_of(group, 'precision'):.3f}",
                f"{mean_of(group, 'recall'):.3f}",
                *counts,
                len(group),
            )
        )
    return Table(header, rows)


def interpretability_table(results):
    """Return what leaving out latents does to a classifier of digits."""
    columns = {
        "active latents": ("active", ".1f"),
        "latents in use": ("in_use", ".0f"),
        "information, nats": ("information", ".3f"),
        "digits read": ("accuracy", ".1%"),
        "log loss": ("log_loss", ".3f"),
        "change without a latent": ("log_loss_change", ".4f"),
        "where it is active": ("log_loss_change_where_active", ".4f"),
        "effective latents": ("log_loss_effective", ".0f"),
        "share of one digit": ("log_loss_class_share", ".2f"),
        "by chance": ("log_loss_class_share_by_chance", ".2f"),
    }
    rows = means_by_model(results.get("digits", []), columns)
    return Table(("model", *columns, "seeds"), rows)


def next_token_loss_table(results):
    """Return what a language model loses with codes in place of its hidden states."""
    columns = {
        "active latents": ("active", ".1f"),
        "FVU": ("fvu", ".3f"),
        "active, in the text": ("text_active", ".1f"),
        "FVU, in the text": ("text_fvu", ".3f"),
        "loss, nats": ("loss", ".3f", max),
        "recovered": ("recovered", ".1%", min),
        "change without a latent": ("loss_change", ".4f"),
    }
    rows = []
    for (_,), group in grouped(results.get("codes", []), "k").items():
        rows += means_by_model(group, columns)
    for text in results.get("text", []):
        nothing = [""] * (len(columns) - 3)
        for name, key in (("hidden states", "loss"), ("their mean", "loss_of_mean")):
            rows.append((name, *nothing, f"{text[key]:.3f}", "", "", ""))
    return Table(("in place of hidden states", *columns, "seeds"), rows)
