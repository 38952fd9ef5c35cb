"""The tables of gates: planted features, and shares of the variance."""

from statistics import mean

from table import Table

SIGNS = "positive", "signed"


def planted_gates_table(results):
    """Return F1 and length of gates, beside batch-top-k that is told the length."""
    rows = []
    found = {(row["setting"], row["method"]): row for row in results.get("summary", [])}
    for setting in dict.fromkeys(setting for setting, _ in found):
        cells = []
        for sign in SIGNS:
            ours, other = (
                found.get((setting, f"{method}, {sign}")) for method in ("gates", "batch-top-k")
            )
            cells += ["", ""] if ours is None else [_f(ours["f1_mean"]), _f(ours["l0_ratio_mean"])]
            cells.append("" if other is None else _f(other["f1_mean"]))
        default = found.get((setting, "default"))
        both = ("f1_mean", "l0_ratio_mean")
        cells += ["", ""] if default is None else [_f(default[name]) for name in both]
        rows.append((setting, *cells))
    parts = ("F1, {}", "length / truth, {}", "F1 of batch-top-k, {}")
    header = [part.format(sign) for sign in SIGNS for part in parts]
    return Table(("features", *header, "F1, nothing set", "length / truth, nothing set"), rows)


def shares_table(results):
    """Return the lengths that shares of the variance take, and what PCA leaves at these."""
    rows = []
    runs = [row for row in results.get("rows", []) if row.get("length", 1) == 1]
    for table, share in dict.fromkeys((row["table"], row["share"]) for row in runs):
        own = [row for row in runs if (row["table"], row["share"]) == (table, share)]
        length = f"{mean(row['l0'] for row in own):.1f}"
        left = (_f(mean(row[key] for row in own)) for key in ("fvu", "fvu_pca"))
        rows.append((table, f"{share:.0%}", length, *left, len(own)))
    return Table(("data", "share", "length", "FVU", "FVU of PCA", "seeds"), rows)


def code_lengths_table(results):
    """Return what codes that keep a share of the variance leave, and others of their length."""
    others = "PCA", "dictionary learning", "batch-top-k"
    rows = []
    for name, row in results.get("summary", {}).items():
        data, share = name.split(", ")
        left = [_f(row["fvu"][who]) if who in row["fvu"] else "" for who in ("VAEense", *others)]
        scores = [f"{row[key]:.2f}" if key in row else "" for key in ("R2", "R2_of_PCA")]
        length = f"{row['length']:.1f}"
        rows.append((data, f"{float(share):.0%}", length, *left, *scores, row["n_seeds"]))
    header = ("data", "share", "length", *(f"FVU, {who}" for who in ("VAEense", *others)))
    return Table((*header, "R2", "R2, PCA", "seeds"), rows)


def _f(value):
    return f"{value:.3f}"
