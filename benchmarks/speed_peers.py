"""Time of training steps of other libraries, beside steps of SparseAutoencoder.

    python -m benchmarks speed_peers [--repeats 9] [--only PEER ...]

A peer that is not installed is skipped; `pip install sae-lens dictionary-learning overcomplete
eai-sparsify` installs all of them. The samples are a tensor in memory. Every peer runs its own
training code, with its defaults except for the sizes. Batches are gathered from shuffled samples.
A step of each peer is:

* SAELens: `SAETrainer.step`. It does a forward pass of the training SAE, finds which latents fired,
  clips the norm of the gradients, and takes a step of Adam. The price of L1 and the choice of the
  top latents use codes multiplied by the norms of the decoder's rows. With "sparse activations",
  which are off by default, codes are sparse tensors and the norms are left out, since on CPUs
  PyTorch lacks the gradient of this product;
* dictionary_learning: `update` of a trainer. `StandardTrainer` removes the component parallel to
  the decoder's columns from their gradient, takes a step of Adam, and scales the columns to norm 1.
  `TopKTrainer` also counts the samples since each latent fired, and clips the norm of the
  gradients;
* overcomplete: `train_sae` with Adam, and without its reports (`monitoring=0`). It scales atoms to
  norm 1 whenever they are read, finds which latents fired, and clips the norm of the gradients. The
  loss is its `mse_l1`, and for TopK the squared error of its README;
* sparsify: a copy of the step of its `Trainer`, which only runs with a language model. The step
  scales the decoder's rows to norm 1, removes the component parallel to them from their gradient,
  takes a step of the default optimizer (signs of gradients, with schedule-free averages), and
  counts the samples since each latent fired. Codes are decoded by its code for machines without
  Triton.

If a loss has a term for dead latents, this term starts after many more steps than are taken here.

Importing a peer can patch PyTorch, so every row is timed in a separate process, in turn with the
matrix products alone (the floor) and with this package, in CPU seconds on one thread. Medians are
saved.
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
from skvaeense.nets.networks import SingleLayer
from skvaeense.nets.penalties import L1, TopK

SPARSE_ACTIVATIONS = "TopK, sparse activations"
PENALTIES = {"L1": L1(), "TopK": TopK(N_TOP), SPARSE_ACTIVATIONS: TopK(N_TOP)}
# Number of steps that schedules are set up for. Only the first few steps are taken.
N_RUN_STEPS = 100_000


def saelens(method, d, k, n):
    """Return a training SAE of SAELens and a function for its training step."""
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
        lr_end=0.0,  # required, although the default rate is constant
    )
    trainer = SAETrainer(run, sae, data_provider=iter(()))

    def step(x):
        trainer.step(x)
        trainer.n_training_steps += 1

    return sae, step


def dictionary_learning(method, d, k, n):
    """Return an autoencoder of dictionary_learning and a function for its training step."""
    from dictionary_learning.trainers import StandardTrainer, TopKTrainer

    arguments = {
        "steps": N_RUN_STEPS,
        "activation_dim": d,
        "dict_size": k,
        "layer": 0,  # a label
        "lm_name": "none",  # a label
        "device": "cpu",
    }
    trainer = StandardTrainer(**arguments) if method == "L1" else TopKTrainer(k=N_TOP, **arguments)
    numbers = itertools.count()
    return trainer.ae, lambda x: trainer.update(next(numbers), x)


def overcomplete(method, d, k, n):
    """Return an SAE of overcomplete and a function for its training step on one batch."""
    import matplotlib

    # The import of overcomplete needs a function that matplotlib 3.9 moved.
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
    """Return a sparse coder of sparsify and a function for its training step."""
    # sparsify uses Triton if it is installed, but Triton needs a GPU.
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
    """A library: its name on PyPI, the function that makes its model and step, and its methods."""

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
    """Check passes of this package and of a peer, and return both with the floor."""
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
    """Check that a pass of this package trains: errors are finite, and fall."""
    first, second = one_pass(), one_pass()
    assert math.isfinite(second["error"])
    assert second["error"] < first["error"]


def check_peer(model, one_pass, n_losses):
    """Check that a pass of a peer trains: losses are finite, and every parameter changes."""
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
    """Time a row in this process, and print it as the last line."""
    torch.set_num_threads(1)
    step = Step(method, shape, SPARSE_SHAPES[shape], partial(contenders, name, method))
    with threadpool_limits(1):
        times = step.measure(repeats)
    version = metadata.version(PEERS[name].distribution)
    print(json.dumps({"peer": name, "version": version, "method": method, **times}))


def run(names, repeats):
    """Time every row of the named peers, each in a separate process."""
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
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, only=PEERS)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(*arguments.one, arguments.repeats)
    else:
        run(arguments.only, arguments.repeats)
