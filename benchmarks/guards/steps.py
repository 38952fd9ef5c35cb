"""Times of training steps beside their matrix products and loops by hand, and of transforms.

A contender is a function without arguments: the products of one step (the floor), or the steps of
one pass over several batches. No other benchmark uses the package's private training loop. This
module imports no other benchmark, since asv imports this folder on its own.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from skvaeense import SparseAutoencoder, VAEase, VAEenseTransformer
from skvaeense.nets.losses import ELBO, PenalizedReconstruction
from skvaeense.nets.models import VAE, SparseCoder
from skvaeense.nets.networks import Linear, SingleLayer, Unrolled
from skvaeense.nets.penalties import L1, BatchTopK, Log, TopK
from skvaeense.samples._scaling import TensorBatches
from skvaeense.training._hooks import Coefficient, DeadLatents, NoiseSchedule
from skvaeense.training._trainer import Plan, Trainer, find_schedule

# name: (features, latents, samples of a batch). The first three are the shapes of default fits, to
# few samples, to many samples, and to digits.
SHAPES = {
    "default, few samples": (40, 28, 32),
    "default": (40, 28, 256),
    "default, digits": (64, 82, 224),
    "small": (40, 20, 4096),
    "image": (784, 64, 4096),
    "language model, narrow": (576, 300, 4096),
    "language model, wide": (768, 4096, 4096),
}
SPARSE_SHAPES = {
    "language model, narrow": (512, 300, 4096),
    "language model, wide": (768, 4096, 4096),
}
UNROLLED_SHAPES = {"language model, wide": (576, 4608, 4096)}
# Least number of multiplications in a timed pass, and its largest number of steps.
LEAST_WORK, MAX_STEPS = 2**29, 50
N_TOP = 32
# (features, components)
TRANSFORM_SIZES = ((40, 20), (784, 64), (576, 300))


# --- what steps are timed against -------------------------------------------------------------


class Products(TorchDispatchMode):
    """A context that records the two factors of every matrix product."""

    def __init__(self):
        super().__init__()
        self.factors = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.factors.append(args[-2:])
        return function(*args, **(kwargs or {}))


def floor(loss, batch):
    """Return a function that computes only the matrix products of a step, forward and backward.

    Parameters
    ----------
    loss : callable
        A function of a batch that returns its loss, differentiable by autograd.

    batch : torch.Tensor of shape (n_samples, n_features)
        Samples.

    Returns
    -------
    callable
        A function without arguments.
    """
    with Products() as products:
        loss(batch).backward()
    factors = [(a.detach(), b.detach()) for a, b in products.factors]
    outs = [torch.empty(len(a), b.shape[1]) for a, b in factors]

    def step():
        for (a, b), out in zip(factors, outs, strict=True):
            torch.mm(a, b, out=out)

    return step


def vae_loss(module):
    """Return the loss function of a gated VAE, written like its formulas."""

    def loss(x):
        mean, gate_logit = module.encode(x)
        log_variance = torch.log(torch.sigmoid(gate_logit))
        deviation = torch.exp(log_variance / 2)
        z = mean + deviation * torch.randn_like(mean)
        error = ((x - module.decode((1 - deviation) * z)) ** 2).sum(dim=1)
        kl = (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1)
        return (error / 0.1 + kl).mean()

    return loss


class PlainAutoencoder(nn.Module):
    """An autoencoder with a linear encoder, a linear decoder, and decoder columns of norm 1."""

    def __init__(self, d, k):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(d, k), nn.Linear(k, d)
        self.normalize()

    @torch.no_grad()
    def normalize(self):
        """Scale the columns of the decoder to norm 1."""
        self.decoder.weight /= self.decoder.weight.norm(dim=0)

    def loss(self, x, k=None, of_batch=False):
        """Return the loss with the top k entries, or with a penalty on the code if k is None."""
        code = self.encoder(x - self.decoder.bias).relu()
        if of_batch:
            values, kept = code.flatten().topk(k * len(x), sorted=False)
            code = torch.zeros_like(code).flatten().scatter(0, kept, values).view_as(code)
        elif k is not None:
            values, kept = code.topk(k, dim=1)
            code = torch.zeros_like(code).scatter(1, kept, values)
        error = ((x - self.decoder(code)) ** 2).sum(dim=1).mean()
        return error if k is not None else error + 0.1 * code.sum(dim=1).mean()


class Gathered:
    """An iterable of batches, each gathered from shuffled samples."""

    def __init__(self, X, batch_size):
        self.X, self.batch_size = X, batch_size

    def __iter__(self):
        return (self.X[rows] for rows in torch.randperm(len(self.X)).split(self.batch_size))


def collated(X, batch_size):
    """Return an iterable of batches, which DataLoader collates from single samples."""
    return DataLoader(TensorDataset(X), batch_size, shuffle=True, collate_fn=_collate)


def _collate(samples):
    return torch.stack([x for (x,) in samples])


def by_hand(X, batch_size):
    """Return both kinds of batches for loops by hand."""
    return {"gathered": Gathered(X, batch_size), "collated": collated(X, batch_size)}


def passes(loss, module, batches, after=lambda: None):
    """Return a function that trains by autograd for one pass over the batches."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)

    def one_pass():
        for x in batches:
            optimizer.zero_grad()
            loss(x).backward()
            optimizer.step()
            after()

    return one_pass


# --- contenders -------------------------------------------------------------------------------


def n_steps(d, k, n):
    """Return the number of steps in a timed pass. Small steps need more, as the clock is coarse."""
    return max(2, min(MAX_STEPS, LEAST_WORK // (d * k * n)))


def one_pass(model, loss, X, batch_size, hooks):
    """Return a function that trains for one pass by the package's trainer."""
    trainer = Trainer(
        model,
        loss,
        optimizer="adam",
        learning_rate=1e-3,
        schedule=find_schedule("constant"),
        generator=torch.Generator().manual_seed(0),
        hooks=hooks,
    )
    batches = TensorBatches(X)

    def run():
        trainer.fit(batches, Plan(1, batch_size))
        return trainer.log[-1]

    return run


def build(network, d, k, n_heads):
    """Return the module of a network, with the same weights each time."""
    return network.build(d, k, n_heads=n_heads, generator=torch.Generator().manual_seed(0))


def vae_contenders(network, d, k, n):
    """Return the floor, the package's pass and two loops by hand for a gated VAE."""
    X = torch.randn(n_steps(d, k, n) * n, d)
    contenders = {"floor": floor(vae_loss(build(network, d, k, 2)), X[:n])}
    model = VAE(network, d, k, generator=torch.Generator().manual_seed(0))
    contenders["ours"] = one_pass(model, ELBO(), X, n, [NoiseSchedule(0.1, floor=1e-3)])
    for name, batches in by_hand(X, n).items():
        module = build(network, d, k, 2)
        contenders[name] = passes(vae_loss(module), module, batches)
    return contenders


def sae_floor(d, k, n):
    """Return the floor of a sparse autoencoder whose encoder takes uncentred samples."""
    module = PlainAutoencoder(d, k)
    return floor(lambda x: module.decoder(module.encoder(x)).sum(), torch.randn(n, d))


def own_sae(penalty, network, X, k, n):
    """Return a function for one pass of the package's training of a sparse autoencoder."""
    generator = torch.Generator().manual_seed(0)
    model = SparseCoder(network, X.shape[1], k, penalty=penalty, generator=generator)
    model.has_unit_columns = True
    hooks = [Coefficient(0.1), DeadLatents(model, 10_000)]
    return one_pass(model, PenalizedReconstruction(), X, n, hooks)


def sae_contenders(penalty, network, d, k, n):
    """Return the floor, the package's pass and two loops by hand for a sparse autoencoder.

    The floor and the loops always have one layer each way.
    """
    X = torch.randn(n_steps(d, k, n) * n, d)
    contenders = {"floor": sae_floor(d, k, n), "ours": own_sae(penalty, network, X, k, n)}
    for name, batches in by_hand(X, n).items():
        module = PlainAutoencoder(d, k)
        of_batch = isinstance(penalty, BatchTopK)
        loss = partial(module.loss, k=getattr(penalty, "k", None), of_batch=of_batch)
        contenders[name] = passes(loss, module, batches, module.normalize)
    return contenders


# --- measurements -----------------------------------------------------------------------------


def time_in_turns(functions, repeats):
    """Return the median seconds of each function. The functions are called in turn.

    Parameters
    ----------
    functions : dict of callable
        Functions without arguments, by name. Each is called once before it is timed.

    repeats : int
        Number of timed calls of each function.

    Returns
    -------
    dict of float
        CPU seconds, or wall-clock seconds with more than one thread.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            begin = clock()
            function()
            seconds[name].append(clock() - begin)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


class Step(NamedTuple):
    """A training step to be timed."""

    name: str
    shape: str
    sizes: tuple[int, int, int]
    contenders: Callable[[int, int, int], dict[str, Callable[[], object]]]

    def measure(self, repeats):
        """Return the sizes, the seconds of the floor, and the ratios of the others to the floor."""
        times = time_in_turns(self.contenders(*self.sizes), repeats)
        # The floor is one step, and the other contenders are passes of several steps.
        floor = times.pop("floor")
        return {
            **dict(zip(("n_features", "n_components", "batch_size"), self.sizes, strict=True)),
            "floor_seconds": floor,
            "ratios": {name: t / n_steps(*self.sizes) / floor for name, t in times.items()},
        }


def steps():
    """Return steps of every kind and shape."""
    penalty, network = BatchTopK(N_TOP), Unrolled(3, n_active=N_TOP)
    networks = {"single layer": SingleLayer(), "default network": Linear()}
    penalties = {"L1": L1(), "Log": Log(), "TopK": TopK(N_TOP), "BatchTopK": BatchTopK(N_TOP)}
    dense = [
        Step(f"VAEase, {name}", shape, sizes, partial(vae_contenders, network))
        for shape, sizes in SHAPES.items()
        for name, network in networks.items()
    ]
    sparse = [
        Step(name, shape, sizes, partial(sae_contenders, penalty, SingleLayer()))
        for shape, sizes in SPARSE_SHAPES.items()
        for name, penalty in penalties.items()
    ]
    unrolled = [
        Step("BatchTopK, three sweeps", shape, sizes, partial(sae_contenders, penalty, network))
        for shape, sizes in UNROLLED_SHAPES.items()
    ]
    return dense + sparse + unrolled


def transform_ratios(d, k, repeats):
    """Return the ratios of the times of transforms to the time of PCA's transform."""
    X = np.random.default_rng(0).standard_normal((20_000, d)).astype(np.float32)
    models = {"PCA": PCA(k)} | {
        f"VAEase, {name}": VAEenseTransformer(
            k, model=VAEase(network, n_init=1, max_iter=2), random_state=0
        )
        for name, network in (("single layer", "single_layer"), ("default network", "linear"))
    }
    models |= {
        "default": VAEenseTransformer(k, random_state=0),
        "SparseAutoencoder": SparseAutoencoder(k, max_iter=2, random_state=0),
    }
    fitted = {name: model.fit(X[:2000]) for name, model in models.items()}
    times = time_in_turns({name: partial(m.transform, X) for name, m in fitted.items()}, repeats)
    return {name: t / times["PCA"] for name, t in times.items() if name != "PCA"}
