"""SynthSAEBench, a public benchmark of known features, with its own generator.

    python -m benchmarks synth_sae_bench fits [--only NAME ...] [--sizes NAME ...] [--seeds 1]

The environment needs sae-lens, which has the generator and the models that ours are compared with.
A size is a number of features and of samples:

* "whole" is version 2 of the published model: 16,384 features in 768 dimensions, 4,096 latents;
* "quarter" is a smaller replica: 4,096 features in 192 dimensions, 1,024 latents. It has a quarter
  of the trees, so the share of features that belong to a tree is the same. Probabilities are as
  published, so fewer features are active in a sample.

Samples are drawn once for each size, and saved under ``--data``. All methods with a target make one
pass over them, in batches of 1,024, or 16 passes over half a million samples. Methods without a
target take the first 200,000 samples, and the steps of their defaults. SAELens' models are trained
by SAELens' trainer. The published models saw 200 million samples, so theirs get what a hundredth of
the steps needs: data that is centred and divided by one number, as ours is, a learning rate that
falls to 0 over the last 30 % of the steps, latents that are dead after 10 steps without activity,
and three learning rates. Matryoshka has the same nested widths as ours. Our models have their
defaults. With m latents, the target is the mean number of active features among the m most frequent
features, rounded. The measures on 100,000 samples that were not used in training follow SAELens'
definitions: F1, precision and recall of each latent for the feature with the most similar
direction, as means over latents; MCC, the mean absolute cosine of the best assignment of latents to
features; explained variance; the share of dead latents; L0. Seeds set the weights, as in the
published numbers; the seed of the generator is 42.

"true features" trains nothing: the atoms of gates are the most frequent features, and their
probabilities, slabs and noise variance are computed from draws. "elbo" is the mean evidence lower
bound of 8,192 samples, in nats, and the gates are searched for as in all models without a target.

Each row is saved when it is done, and is not computed again, so a run can be stopped at any time.
"""

import warnings
from functools import cache, partial
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.common import fit, groups, make_parser, measure_missing, run_task, summarise
from benchmarks.peers.saelens import train
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.explanations import GateLaw, Gates
from skvaeense.nets.penalties import BatchTopK, Matryoshka, TopK

MODEL_SEED, BATCH, N_TESTED = 42, 1024, 100_000
# Number of samples that are drawn at once, chosen for speed, and that are coded at once.
DRAWN, CHUNK = 256, 8192
# Number of samples for defaults without a target.
N_DEFAULT = 200_000
# Number of draws for the prior of "true features", and the least variance of its slabs.
N_KNOWN, LEAST_SPREAD = 20_480, 0.05
# For SAELens' models: learning rates, the share of the steps over which they fall, and the steps
# after which a latent is dead.
RATES, DECAY, DEAD_STEPS = (3e-3, 1e-2, 3e-2), 0.3, 10


class Size(NamedTuple):
    """Numbers of features, dimensions, latents, root features and samples, and of passes."""

    n_features: int
    n_dimensions: int
    n_latents: int
    n_roots: int
    n_samples: int
    n_passes: int = 1


QUARTER, WHOLE = (4096, 192, 1024, 32), (16_384, 768, 4096, 128)
SIZES = {
    "quarter, 0.5M": Size(*QUARTER, 500_000),
    "quarter, 16 times 0.5M": Size(*QUARTER, 500_000, 16),
    "quarter, 2M": Size(*QUARTER, 2_000_000),
    "quarter, 8M": Size(*QUARTER, 8_000_000),
    "quarter, 32M": Size(*QUARTER, 32_000_000),
    "whole, 2M": Size(*WHOLE, 2_000_000),
    "whole, 8M": Size(*WHOLE, 8_000_000),
}


@cache
def generator(size, folder):
    """Return the synthetic model of SAELens, which is generated once and saved."""
    from sae_lens import synthetic

    path = folder / f"model_{size.n_features}"
    if not path.exists():
        draft = synthetic.SyntheticModel(configuration(size))
        draft.save(path)
    return synthetic.SyntheticModel.load_from_disk(path)


def configuration(size):
    """Return the published settings of the synthetic model, or the settings of the replica."""
    from sae_lens import synthetic

    return synthetic.SyntheticModelConfig(
        num_features=size.n_features,
        hidden_dim=size.n_dimensions,
        firing_probability=synthetic.ZipfianFiringProbabilityConfig(
            exponent=0.5, max_prob=0.4, min_prob=5e-4
        ),
        hierarchy=synthetic.HierarchyConfig(
            total_root_nodes=size.n_roots,
            branching_factor=4,
            max_depth=3,
            mutually_exclusive_portion=1.0,
            compensate_probabilities=True,
            scale_children_by_parent=True,
        ),
        orthogonalization=synthetic.OrthogonalizationConfig(num_steps=100, lr=3e-4),
        correlation=synthetic.LowRankCorrelationConfig(rank=25, correlation_scale=0.1),
        mean_firing_magnitudes=synthetic.LinearMagnitudeConfig(start=5.0, end=4.0),
        std_firing_magnitudes=synthetic.FoldedNormalMagnitudeConfig(mean=0.5, std=0.5),
        bias=0.5,
        seed=MODEL_SEED,
    )


def samples(name, folder):
    """Return the path of the training samples, which are drawn if the file does not exist."""
    size = SIZES[name]
    path = folder / f"{size.n_features}_{size.n_samples}.npy"
    if not path.exists():
        draft, model = path.with_suffix(".draft"), generator(size, folder)
        torch.manual_seed(0)
        shape = size.n_samples, size.n_dimensions
        X = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float32, shape=shape)
        for start in range(0, len(X), DRAWN):
            X[start : start + DRAWN] = model.sample(min(DRAWN, len(X) - start)).numpy()
        del X
        draft.rename(path)
    return path


@cache
def tested(size, folder):
    """Return test samples, and a mask of their active features."""
    path = folder / f"{size.n_features}_tested.npz"
    if not path.exists():
        torch.manual_seed(1)
        model, sizes = generator(size, folder), [DRAWN] * (N_TESTED // DRAWN)
        parts = [model.sample_with_features(n) for n in [*sizes, N_TESTED % DRAWN]]
        X = torch.cat([x for x, _ in parts]).numpy()
        active = [np.packbits((codes > 0).numpy(), axis=1) for _, codes in parts]
        np.savez(path, X=X, active=np.concatenate(active))
    with np.load(path) as kept:
        return kept["X"], np.unpackbits(kept["active"], axis=1, count=size.n_features).astype(bool)


def true_l0(size, folder):
    """Return the mean number of active features, among the most frequent ones and among all."""
    share = tested(size, folder)[1].mean(axis=0)
    return float(np.sort(share)[::-1][: size.n_latents].sum()), float(share.sum())


# --- methods: from a path, a size, a length and a seed to codes, reconstructions and directions --


def ours(penalty, path, size, k, seed, **params):
    """Fit a sparse autoencoder; k is the parameter of a penalty class, or otherwise the target."""
    given = isinstance(penalty, type)
    model = SparseAutoencoder(
        size.n_latents,
        penalty=penalty(k) if given else penalty,
        target_l0=None if given else k,
        batch_size=BATCH,
        max_iter=size.n_passes,
        random_state=seed,
        **params,
    )
    return fitted(model, path)


def default(path, size, k, seed, *, has_target=False, **params):
    """Fit a VAEense to the first samples, without a target unless `has_target` is set."""
    if has_target:
        params["target_l0"] = k
    model = VAEenseTransformer(size.n_latents, random_state=seed, **params)
    return *fitted(model, np.load(path, mmap_mode="r")[:N_DEFAULT].copy()), model.elbo_samples


def known(path, size, k, seed):
    """Return gates whose atoms are the most frequent features, with a prior from draws."""
    torch.manual_seed(2 + seed)
    truth = generator(size, path.parent)
    draws = [truth.sample_with_features(DRAWN) for _ in range(N_KNOWN // DRAWN)]
    X, codes = (torch.cat(parts).double() for parts in zip(*draws, strict=True))
    share = (codes > 0).double().mean(dim=0)
    chosen = share.argsort(descending=True)[: size.n_latents]
    columns = truth.feature_dict.feature_vectors.detach().double()[chosen]
    share, codes = share[chosen], codes[:, chosen]
    mean, square = (moment.mean(dim=0) / share for moment in (codes, codes.square()))
    # The features that have no latent are noise.
    rest = X - codes @ columns
    variance = (square - mean.square()).clamp_min(LEAST_SPREAD)
    noise, price = rest.var(dim=0).mean(), torch.tensor(0.0)
    gates = Gates(columns, rest.mean(dim=0), share, mean, variance, noise, price, positive=True)
    law = GateLaw(gates, np.zeros(X.shape[1]), 1.0)

    def in_units(X):
        codes = law.encode(X).values.numpy()
        return codes, law.decode(codes)

    return 0.0, in_units, columns.numpy(), law.log_prob


def fitted(model, X):
    """Fit an estimator; return CPU seconds, a function for codes and reconstructions, and atoms."""
    seconds = fit(model, X)
    return seconds, lambda X: coded(model, X), model.components_


def coded(model, X):
    """Return the codes of samples, and their reconstructions."""
    codes = model.transform(X)
    return codes, model.inverse_transform(codes)


class Samples:
    """An endless iterator of centred and scaled batches for SAELens' trainer."""

    def __init__(self, path):
        self.X = np.load(path, mmap_mode="r")
        self.mean, self.scale = self.X[:N_DEFAULT].mean(axis=0), float(self.X[:N_DEFAULT].std())
        self.start = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.start + BATCH > len(self.X):
            self.start = 0
        rows = self.X[self.start : self.start + BATCH]
        self.start += BATCH
        return torch.tensor((rows - self.mean) / self.scale)

    next_batch = __next__


def saelens(name, rate, path, size, k, seed):
    """Train a model of SAELens with SAELens' trainer."""
    batches, shape = Samples(path), (size.n_latents, size.n_dimensions)
    seconds, coded, atoms = train(
        name,
        batches,
        BATCH,
        size.n_samples * size.n_passes,
        shape,
        k,
        seed,
        rate,
        dead_window=DEAD_STEPS,
        decay=DECAY,
    )

    def in_units(X):
        codes, reconstruction = coded((X - batches.mean) / batches.scale)
        return codes, batches.mean + batches.scale * reconstruction

    return seconds, in_units, atoms


METHODS = {
    **{
        f"SAELens {short}, lr {rate:g}": partial(saelens, name, rate)
        for short, name in (("BatchTopK", "BatchTopK"), ("Matryoshka", "MatryoshkaBatchTopK"))
        for rate in RATES
    },
    "BatchTopK": partial(ours, BatchTopK),
    "TopK": partial(ours, TopK),
    "JumpReLU": partial(ours, "jump_relu"),
    "Matryoshka": partial(ours, Matryoshka),
    "L1": partial(ours, "l1"),
    "unrolled BatchTopK": partial(ours, BatchTopK, network="unrolled"),
    "unrolled Matryoshka": partial(ours, Matryoshka, network="unrolled"),
    "gates, no target": partial(default, model="gates"),
    "gates, positive, no target": partial(default, model="gates", positive_code=True),
    "VAEense, no target": default,
    "VAEense, target, positive": partial(default, positive_code=True, has_target=True),
    "true features": known,
}


def measure(size, method, seed, folder):
    """Train one model, and return its measures on test samples."""
    name, size = size, SIZES[size]
    k, all_features = true_l0(size, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = samples(name, folder)
        seconds, coded, atoms, *elbo = METHODS[method](path, size, round(k), seed)
    nats = {}
    if elbo:
        nats["elbo"] = float(elbo[0](tested(size, folder)[0][:CHUNK]).mean())
    return (
        score(size, folder, coded, atoms)
        | nats
        | {
            "true_l0": k,
            "true_l0_of_all": all_features,
            "cpu_seconds": seconds,
        }
    )


def score(size, folder, coded, atoms):
    """Return the measures of a model, by SAELens' definitions."""
    from sae_lens.synthetic import mean_correlation_coefficient

    X, active = tested(size, folder)
    features = generator(size, folder).feature_dict.feature_vectors.detach().numpy()
    unit = atoms / np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1e-12)
    best = np.abs(unit @ features.T).argmax(axis=1)
    hits, found, true = (np.zeros(len(atoms)) for _ in range(3))
    left, n_active = 0.0, 0
    for start in range(0, len(X), CHUNK):
        rows = slice(start, start + CHUNK)
        codes, reconstruction = coded(X[rows])
        left += float(np.square(X[rows] - reconstruction, dtype=np.float64).sum())
        fires, feature = codes != 0, active[rows][:, best]
        n_active += int(fires.sum())
        hits += (fires & feature).sum(axis=0)
        found += fires.sum(axis=0)
        true += feature.sum(axis=0)
    spread = float(np.square(X - X.mean(axis=0), dtype=np.float64).sum())
    return {
        "f1": float((2 * hits / np.maximum(found + true, 1)).mean()),
        "precision": float((hits / np.maximum(found, 1)).mean()),
        "recall": float((hits / np.maximum(true, 1)).mean()),
        "mcc": mean_correlation_coefficient(torch.tensor(unit).float(), torch.tensor(features)),
        "explained_variance": 1 - left / spread,
        "l0": n_active / len(X),
        "dead": float((found == 0).mean()),
        "unique": len(np.unique(best)) / len(atoms),
    }


def summary(rows):
    """Return means over the seeds, for each size and method."""
    found = []
    for label, own in groups(rows, "size", "method"):
        keys = ["f1", "mcc", "explained_variance", "l0", "true_l0", "dead", "cpu_seconds"]
        keys += ["elbo"] if all("elbo" in row for row in own) else []
        numbers = summarise(own, *(f"{key}_mean" for key in keys))
        found.append(label | numbers)
    return found


def run_fits(arguments):
    """Train the models whose rows the results lack."""
    orders = {"size": list(SIZES), "method": list(METHODS)}
    chosen = {"size": arguments.sizes, "method": arguments.only}
    arguments.data.mkdir(parents=True, exist_ok=True)
    one = partial(measure, folder=arguments.data)
    measure_missing(arguments.out, orders, chosen, arguments.seeds, one, summary)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=1, only=METHODS, out="synth_sae_bench.json")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["quarter, 2M"])
    parser.add_argument("--data", type=Path, default=Path(gettempdir()) / "synth_sae_bench")
    run_task(parser, run_fits)
