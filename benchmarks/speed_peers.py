"""How long training steps of other libraries take, beside those of SparseAutoencoder.

    python -m benchmarks speed_peers [--repeats 9] [--only PEER ...]

A peer that is not installed is skipped; `pip install sae-lens dictionary-learning overcomplete
eai-sparsify` installs all of them. The samples are a tensor in memory, and every peer is trained as
it trains itself, with its defaults but for the sizes. It gets batches that are gathered from
shuffled samples, and a step of it is:

* SAELens: `SAETrainer.step`. It does a forward pass of the training SAE, finds which latents fired,
  clips the norm of the gradients, and takes a step of Adam. The price of L1, and the choice of the
  top latents, see codes times the norms of the decoder's rows. With "sparse activations", which are
  off by default, codes are sparse tensors and norms are left out, since on CPUs PyTorch lacks the
  gradient of that product;
* dictionary_learning: `update` of a trainer. `StandardTrainer` takes what is parallel to the
  decoder's columns from their gradient, takes a step of Adam, and brings the columns to norm 1.
  `TopKTrainer` also counts since when latents have not fired, and clips the norm of the gradients;
* overcomplete: `train_sae` with Adam, without what it reports besides training (`monitoring=0`). It
  brings atoms to norm 1 whenever they are read, finds which latents fired, and clips the norm of
  the gradients. The loss is its `mse_l1`, and for TopK the squared error of its README;
* sparsify: what its `Trainer` does, which cannot do without a language model. It brings the
  decoder's rows to norm 1 and takes what is parallel to them from their gradient, takes a step of
  the default optimizer (signs of gradients, with schedule-free averages), and counts since when
  latents have not fired. Entries are decoded by its code for machines without Triton.

Where a loss has a term for dead latents, it begins after many more steps than are taken here.

Importing a peer can patch PyTorch, so every row is timed in a process of its own, in turns with the
matrix products alone (the floor) and with this package, in CPU seconds on one thread. Medians are
kept.
"""

import argparse
import itertools
import json
import math
import os
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import NamedTuple
from unittest import mock

import torch
from threadpoolctl import threadpool_limits

from benchmarks.common import RESULTS, apart, make_parser, save
from benchmarks.guards.steps import (
    N_TOP,
    SPARSE_SHAPES,
    Gathered,
    Step,
    n_steps,
    own_sae,
    sae_floor,
)
from skvaeense.networks import SingleLayer
from skvaeense.penalties import L1, TopK

SPARSE_ACTIVATIONS = "TopK, sparse activations"
PENALTIES = {"L1": L1(), "TopK": TopK(N_TOP), SPARSE_ACTIVATIONS: TopK(N_TOP)}
# Steps of the run that schedules are laid out for; only the first few are taken.
N_RUN_STEPS = 100_000


def saelens(method, d, k, n):
    """Return a training SAE and its step."""
    from sae_lens import (
        SAETrainer,
        StandardTrainingSAE,
        StandardTrainingSAEConfig,
        TopKTrainingSAE,
        TopKTrainingSAEConfig,
    )
    from sae_lens.config import SAETrainerConfig

    if method == "L1":
        sae = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=d, d_sae=k))
    else:
        options = {}
        if method == SPARSE_ACTIVATIONS:
            options = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False}
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=k, k=N_TOP, **options))
    run = SAETrainerConfig(
        total_training_samples=N_RUN_STEPS * n,
        train_batch_size_samples=n,
        lr_end=0.0,  # asked for, though the default rate is constant
    )
    trainer = SAETrainer(run, sae, data_provider=iter(()))

    def step(x):
        trainer.step(x)
        trainer.n_training_steps += 1

    return sae, step


def dictionary_learning(method, d, k, n):
    """Return an autoencoder and the step of its trainer."""
    from dictionary_learning.trainers import StandardTrainer, TopKTrainer

    arguments = {
        "steps": N_RUN_STEPS,
        "activation_dim": d,
        "dict_size": k,
        "layer": 0,  # a label
        "lm_name": "none",  # another
        "device": "cpu",
    }
    trainer = StandardTrainer(**arguments) if method == "L1" else TopKTrainer(k=N_TOP, **arguments)
    numbers = itertools.count()
    return trainer.ae, lambda x: trainer.update(next(numbers), x)


def overcomplete(method, d, k, n):
    """Return an SAE and its step: training on one batch."""
    import matplotlib

    # For its pictures it asks, when imported, for a function that matplotlib 3.9 moved.
    matplotlib.cm.get_cmap = matplotlib.colormaps.get_cmap
    from overcomplete.sae import SAE, TopKSAE, train_sae
    from overcomplete.sae.losses import mse_l1

    def squared_error(x, x_hat, pre_codes, codes, dictionary):
        return (x - x_hat).square().mean()

    if method == "L1":
        sae, criterion = SAE(d, k), mse_l1
    else:
        sae, criterion = TopKSAE(d, k, top_k=N_TOP), squared_error
    optimizer = torch.optim.Adam(sae.parameters(), lr=5e-4)
    return sae, lambda x: train_sae(sae, [x], criterion, optimizer, nb_epochs=1, monitoring=0)


def sparsify(method, d, k, n):
    """Return a sparse coder and its step."""
    # Where Triton is installed it would be used, but it needs a GPU.
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from schedulefree import ScheduleFreeWrapper
    from sparsify import SparseCoder, SparseCoderConfig
    from sparsify.sign_sgd import SignSGD

    coder = SparseCoder(d, SparseCoderConfig(num_latents=k, k=N_TOP))
    learning_rate = 5e-3 / (k / 2**14) ** 0.5
    optimizer = ScheduleFreeWrapper(SignSGD(coder.parameters(), learning_rate), momentum=0.95)
    optimizer.train()
    fired, since_fired = torch.zeros(k, dtype=torch.bool), torch.zeros(k, dtype=torch.long)

    def step(x):
        coder.set_decoder_norm_to_unit_norm()
        out = coder(x, x, total_variance=(x - x.mean(0)).pow(2).sum())
        fired[out.latent_indices.flatten()] = True
        out.fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        since_fired.add_(len(x))
        since_fired[fired] = 0
        fired.zero_()

    return coder, step


class Peer(NamedTuple):
    """A library: its name on PyPI, what makes its model and step, and its methods."""

    distribution: str
    make: Callable
    methods: tuple


PEERS = {
    "SAELens": Peer("sae-lens", saelens, ("L1", "TopK", SPARSE_ACTIVATIONS)),
    "dictionary_learning": Peer("dictionary-learning", dictionary_learning, ("L1", "TopK")),
    "overcomplete": Peer("overcomplete", overcomplete, ("L1", "TopK")),
    "sparsify": Peer("eai-sparsify", sparsify, ("TopK",)),
}


def contenders(name, method, d, k, n):
    """Return the floor, a pass of this package and a pass of a peer, after a look at both."""
    X = torch.randn(n_steps(d, k, n) * n, d)
    ours = own_sae(PENALTIES[method], SingleLayer(), X, k, n)
    check_ours(ours)
    model, step = PEERS[name].make(method, d, k, n)
    batches = Gathered(X, n)

    def peer():
        for x in batches:
            step(x)

    check_peer(model, peer, n_steps(d, k, n))
    return {"floor": sae_floor(d, k, n), "ours": ours, "peer": peer}


def check_ours(one_pass):
    """Make sure that this package's passes train: errors are finite, and fall."""
    first, second = one_pass(), one_pass()
    assert math.isfinite(second["error"])
    assert second["error"] < first["error"]


def check_peer(model, one_pass, n_losses):
    """Make sure that a peer's pass trains: losses are finite, and every parameter changes."""
    losses, backward = [], torch.Tensor.backward

    def record(loss, *args, **kwargs):
        losses.append(loss.item())
        backward(loss, *args, **kwargs)

    before = [parameter.detach().clone() for parameter in model.parameters()]
    with mock.patch.object(torch.Tensor, "backward", record):
        one_pass()
    assert len(losses) == n_losses
    assert all(map(math.isfinite, losses))
    for old, new in zip(before, model.parameters(), strict=True):
        assert new.isfinite().all()
        assert not torch.equal(old, new)


def run_one(name, method, shape, repeats):
    """Time a row in this process, and write it as the last line."""
    torch.set_num_threads(1)
    step = Step(method, shape, SPARSE_SHAPES[shape], partial(contenders, name, method))
    with threadpool_limits(1):
        times = step.measure(repeats)
    version = metadata.version(PEERS[name].distribution)
    print(json.dumps({"peer": name, "version": version, "method": method, **times}))


def run(names, repeats):
    """Time every row of some peers, each in a process of its own."""
    for name in names:
        if not is_installed(name):
            print(f"{name}: skipped, {PEERS[name].distribution} is not installed", flush=True)
            continue
        for shape, method in itertools.product(SPARSE_SHAPES, PEERS[name].methods):
            job = ("--one", name, method, shape, "--repeats", repeats)
            row = apart("benchmarks speed_peers", *job)
            key = f"{name}, {method}, {row['n_features']} to {row['n_components']}"
            print(key, {side: round(r, 2) for side, r in row["ratios"].items()}, flush=True)
            save(RESULTS / "speed_peers.json", key, row)


def is_installed(name):
    try:
        metadata.version(PEERS[name].distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, only=PEERS)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(*arguments.one, arguments.repeats)
    else:
        run(arguments.only, arguments.repeats)
