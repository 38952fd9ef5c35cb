"""Short codes of scikit-learn's handwritten digits, beside two kinds of principal components.

    python -m benchmarks demo [--out FOLDER]

A code of VAEense says which latents are active, and the value of each. So it is compared with two
codes that take as much space: the largest principal components of each digit, which also need their
indices, and the first principal components, twice as many, which need none. The demo prints the
variance of held-out digits that each leaves unexplained, and writes demo.png and demo.json.
"""

import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from benchmarks.common import RESULTS, make_parser, write
from skvaeense import VAEenseTransformer
from skvaeense.metrics import fvu, l0

LENGTHS = np.arange(1, 9)
OURS, LARGEST, TWICE = "VAEense", "PCA, largest", "PCA, first"
STYLES = {OURS: ("#0072B2", "o-"), LARGEST: ("#D55E00", "s--"), TWICE: ("#777777", "^:")}


def largest(codes, length):
    """Return codes that keep the entries that are largest in size, so many in each."""
    order = np.argsort(-np.abs(codes), axis=1)
    kept = np.zeros_like(codes)
    np.put_along_axis(kept, order[:, :length], 1.0, axis=1)
    return codes * kept


def first(codes, length):
    """Return codes that keep the first entries."""
    return codes * (np.arange(codes.shape[1]) < length)


def reconstructions(vaeense, pca, X, length):
    """Return the reconstructions of samples by each method, and the mean length of our codes."""
    codes = vaeense.set_params(transform_l0=length).transform(X)
    components = pca.transform(X)
    return {
        OURS: vaeense.inverse_transform(codes),
        LARGEST: pca.inverse_transform(largest(components, length)),
        TWICE: pca.inverse_transform(first(components, 2 * length)),
    }, l0(codes)


def draw(path, lengths, errors, digits):
    """Draw the errors over the length of codes, and one decoded image of each digit."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4), width_ratios=(0.8, 1), layout="constrained"
    )
    for name, (color, style) in STYLES.items():
        x = lengths if name == OURS else LENGTHS
        left.plot(x, errors[name], style, color=color, markersize=5)
    left.set(
        title="Variance left out by codes of equal size",
        xlabel="Values in a code, each stored with its index",
        xlim=(0, LENGTHS[-1] + 0.6),
        ylim=(0, 0.85),
    )
    left.yaxis.set_major_formatter("{x:.0%}")
    left.spines[["top", "right"]].set_visible(False)
    names = OURS, "PCA, the largest of each digit", "PCA, the first, twice as many (no indices)"
    left.legend(names, frameon=False)

    gaps = (0, 0), (1, 1), (1, 1)
    images = [np.hstack(np.pad(row.reshape(-1, 8, 8), gaps)) for row in digits.values()]
    right.imshow(np.vstack(images), cmap="gray_r", vmin=0, vmax=16)
    right.set_yticks(10 * np.arange(len(digits)) + 4.5, digits)
    right.set(xticks=[], title=f"One of each digit, from {LENGTHS[-1]} values and their indices")
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    figure.savefig(path, dpi=120)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    warnings.simplefilter("ignore", ConvergenceWarning)
    begin = time.perf_counter()
    X, y = load_digits(return_X_y=True)
    train, test, _, labels = train_test_split(X, y, test_size=400, stratify=y, random_state=0)
    vaeense = VAEenseTransformer(target_l0=int(LENGTHS[-1]), random_state=0, verbose=1).fit(train)
    pca = PCA().fit(train)

    found = [reconstructions(vaeense, pca, test, int(length)) for length in LENGTHS]
    lengths = [length for _, length in found]
    errors = {name: [fvu(test, decoded[name]) for decoded, _ in found] for name in STYLES}
    print("\nVariance of held-out digits that codes leave unexplained, in per cent:\n")
    print(f"{'values':>8}", *(f"{name:>28}" for name in STYLES))
    for i, length in enumerate(lengths):
        print(f"{length:8.1f}", *(f"{100 * errors[name][i]:28.1f}" for name in STYLES))

    shown = np.unique(labels, return_index=True)[1]
    digits = {"Digits": test[shown]} | {name: found[-1][0][name][shown] for name in STYLES}
    out.mkdir(parents=True, exist_ok=True)
    draw(out / "demo.png", lengths, errors, digits)
    write(out / "demo.json", {"lengths": lengths, "errors": errors})
    print(f"\nWrote {out / 'demo.png'} in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
