"""Recovery of known features, to see whether models with smaller errors find better features.

    python -m benchmarks planted_features fits [--only NAME ...] [--kinds NAME ...] [--seeds 5]

A sample is the sum of about 3 of 64 features in 32 dimensions, with positive coefficients, plus
noise with a twentieth of its standard deviation. Features are random directions of three kinds:

* independent: all features are active equally often, each independently of the others;
* correlated: the share of samples in which a feature is active falls with the square root of its
  rank. Some features tend to be active together, and others apart, since 4 common factors make up
  half of the variance of the scores that decide on activity;
* hierarchical: shares fall with rank, too, and three of four features are active only where their
  parent is active.

All methods have as many latents as there are features. Methods that take a number of active latents
get the true mean. Sparse autoencoders have about 1,000 steps. VAEense without this number has its
defaults. A seed draws features, samples and weights. The measures on held-out samples are:

* FVU, the fraction of variance unexplained;
* cosine, the mean over features of the cosine with the most similar latent;
* F1, precision and recall of the activity of a latent as a prediction of the activity of a feature,
  as means over features. Each feature is assigned a different latent, so that the sum of cosines is
  largest. If codes are signed, a latent is active if its code has the sign of this cosine.

"true features" are coded as in dictionary learning, by a lasso with positive codes whose penalty is
set to reach the number of active latents. The penalty that dictionary learning is fitted with was
chosen from .1, .2, .3 and 1 by F1 on hierarchical samples of another seed.

Each row is saved when it is done, and is not computed again, so a run can be stopped at any time.
"""

from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtri
from sklearn.decomposition import MiniBatchDictionaryLearning, SparseCoder

from benchmarks.common import fit, groups, make_parser, measure_missing, run_task, summarise
from benchmarks.data import HELD_OUT
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.metrics import dead_fraction, fvu, l0, mean_max_cosine_similarity
from skvaeense.nets.penalties import BatchTopK, Matryoshka, TopK

N_FEATURES, N_DIMENSIONS, N_ACTIVE, N_SAMPLES, NOISE = 64, 32, 3, 10_000, 0.05
# Epochs of sparse autoencoders: about 1,000 steps of 256 samples.
EPOCHS = 26
# Share of the variance of activity scores that common factors make up, and number of factors.
COMMON, N_FACTORS = 0.5, 4
# Number of features with a common parent. Every fourth feature by rank is a parent.
N_CHILDREN = 3
KINDS = ("independent", "correlated", "hierarchical")
# Dictionary learning: its penalty, its passes, the training rows that its code length is set on,
# and the steps of bisection.
ALPHA, PASSES, LENGTH_ROWS, HALVINGS = 0.2, 20, 1000, 12


class FixedLength:
    """A dictionary of scikit-learn, with the penalty that gives `N_ACTIVE` active atoms.

    The penalty is found by bisection on some of the training samples.
    """

    def __init__(self, coder, atoms=None):
        self.coder = coder
        self.components_ = atoms

    def fit(self, X):
        """Learn the atoms, unless they were given, and the penalty."""
        self.coder.fit(X)
        if self.components_ is None:
            self.components_ = self.coder.components_
        low, high = 0.0, float(np.square(X).sum(axis=1).mean())
        for _ in range(HALVINGS):
            self.coder.transform_alpha = (low + high) / 2
            if l0(self.coder.transform(X[:LENGTH_ROWS])) > N_ACTIVE:
                low = self.coder.transform_alpha
            else:
                high = self.coder.transform_alpha
        return self

    def transform(self, X):
        """Return the codes of samples."""
        return self.coder.transform(X)

    def inverse_transform(self, codes):
        """Return the reconstructions of codes."""
        return codes @ self.components_


def dictionary_learning(seed, features):
    """Return scikit-learn's dictionary learning with a fixed code length."""
    coder = MiniBatchDictionaryLearning(
        N_FEATURES,
        alpha=ALPHA,
        max_iter=PASSES,
        max_no_improvement=None,
        fit_algorithm="cd",
        transform_algorithm="lasso_cd",
        positive_code=True,
        random_state=seed,
    )
    return FixedLength(coder)


def true_features(seed, features):
    """Return a coder with the true features."""
    coder = SparseCoder(features, transform_algorithm="lasso_cd", positive_code=True)
    return FixedLength(coder, features)


def vaeense(seed, features, **params):
    """Return a VAEense with as many latents as features."""
    return VAEenseTransformer(N_FEATURES, random_state=seed, **params)


def sae(penalty, seed, features, **params):
    """Return a sparse autoencoder with as many latents as features."""
    return SparseAutoencoder(
        N_FEATURES, penalty=penalty, max_iter=EPOCHS, random_state=seed, **params
    )


# name: function of a seed and the true features that returns a model
METHODS = {
    "VAEense, default": vaeense,
    "VAEense, target_l0": partial(vaeense, target_l0=N_ACTIVE),
    "VAEense, target_l0, positive": partial(vaeense, target_l0=N_ACTIVE, positive_code=True),
    "unrolled BatchTopK": partial(
        sae, BatchTopK(N_ACTIVE), network="unrolled", positive_code=False
    ),
    "unrolled BatchTopK, positive": partial(sae, BatchTopK(N_ACTIVE), network="unrolled"),
    "TopK, positive": partial(sae, TopK(N_ACTIVE)),
    "BatchTopK, positive": partial(sae, BatchTopK(N_ACTIVE)),
    "Matryoshka, positive": partial(sae, Matryoshka(N_ACTIVE)),
    "JumpReLU, positive": partial(sae, "jump_relu", target_l0=N_ACTIVE),
    "L1, positive": partial(sae, "l1", target_l0=N_ACTIVE),
    "MiniBatchDictionaryLearning, positive": dictionary_learning,
    "true features": true_features,
}


def draw(kind, seed):
    """Return samples, true codes and true features."""
    rng = np.random.default_rng(seed)
    n = N_SAMPLES + HELD_OUT
    features = rng.standard_normal((N_FEATURES, N_DIMENSIONS))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    active = draw_activity(kind, n, rng)
    size = np.abs(rng.normal(1, 0.5, active.shape))
    codes = np.where(active, size, 0)
    X = codes @ features
    X += NOISE * X.std() * rng.standard_normal(X.shape)
    return X, codes, features


def draw_activity(kind, n, rng):
    """Return a mask of the active features of each sample."""
    ranks = np.arange(1, N_FEATURES + 1)
    share = np.ones(N_FEATURES) if kind == "independent" else ranks**-0.5
    share *= N_ACTIVE / share.sum()
    score = rng.standard_normal((n, N_FEATURES))
    if kind == "correlated":
        loadings = rng.standard_normal((N_FACTORS, N_FEATURES))
        loadings *= np.sqrt(COMMON) / np.linalg.norm(loadings, axis=0)
        score = rng.standard_normal((n, N_FACTORS)) @ loadings + np.sqrt(1 - COMMON) * score
    if kind != "hierarchical":
        return score < ndtri(share)
    # Three children follow their parent in rank. Parents and children are drawn so that a child is
    # active in about half of the samples in which its parent is active.
    is_parent = (ranks - 1) % (1 + N_CHILDREN) == 0
    parent = np.maximum.accumulate(np.where(is_parent, ranks - 1, 0))
    given = np.where(is_parent, 1.0, share / share[parent] / 2)
    share = share[parent] * N_ACTIVE / (share[parent] * given).sum()
    chosen = score < ndtri(np.where(is_parent, share, given))
    return chosen & chosen[:, parent]


def score_features(model, codes, true_codes, features, positive):
    """Return the cosines of true features with latents, and the agreement of their activity."""
    atoms = model.components_
    norms = np.maximum(np.linalg.norm(atoms, axis=1), 1e-12)
    cosines = features @ (atoms / norms[:, None]).T
    rows, latents = linear_sum_assignment(cosines if positive else np.abs(cosines), maximize=True)
    signs = np.sign(cosines[rows, latents])
    found = codes[:, latents] * signs > 0
    true = true_codes[:, rows] > 0
    hits = (found & true).sum(axis=0)
    precision = hits / np.maximum(found.sum(axis=0), 1)
    recall = hits / np.maximum(true.sum(axis=0), 1)
    f1 = 2 * hits / np.maximum(found.sum(axis=0) + true.sum(axis=0), 1)
    return {
        "cosine": mean_max_cosine_similarity(features, atoms, signed=positive),
        "f1": float(f1.mean()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
    }


def measure(kind, method, seed):
    """Fit one model, and return its measures on held-out samples."""
    X, true_codes, features = draw(kind, seed)
    model = METHODS[method](seed, features)
    seconds = fit(model, X[HELD_OUT:])
    X, true_codes = X[:HELD_OUT], true_codes[:HELD_OUT]
    codes = model.transform(X)
    positive = bool((codes >= 0).all())
    return {
        "fvu": fvu(X, model.inverse_transform(codes)),
        **score_features(model, codes, true_codes, features, positive),
        "l0": l0(codes),
        "true_l0": l0(true_codes),
        "dead": dead_fraction(codes),
        "cpu_seconds": seconds,
    }


def summary(rows):
    """Return means and worst values over the seeds, for each kind of features and method."""
    found = []
    for label, own in groups(rows, "kind", "method"):
        means = [f"{key}_mean" for key in ("fvu", "cosine", "f1", "precision", "recall", "l0")]
        numbers = summarise(own, *means, "cpu_seconds_mean")
        numbers |= summarise(own, "cosine_worst", "f1_worst", worst=min)
        found.append(label | numbers)
    return found


def run_fits(arguments):
    """Fit the models whose rows the results lack."""
    orders = {"kind": list(KINDS), "method": list(METHODS)}
    chosen = {"kind": arguments.kinds, "method": arguments.only}
    measure_missing(arguments.out, orders, chosen, arguments.seeds, measure, summary)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=METHODS, out="planted_features.json")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    run_task(parser, run_fits)
