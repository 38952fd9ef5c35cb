"""Latents divided among processes: the costs, and a prototype with the result of one process.

    python -m benchmarks latent_shards costs
    python -m benchmarks latent_shards shards [--steps 20]

`costs` is a calculation for a dictionary of m latents of d features, trained by Adam in single
precision with B samples in a step. It gives the bytes of weights, gradients and moments, and of the
codes that a step has in memory. It gives the floating-point operations of 100 million and of a
billion samples, by the five dense products of a step, and the hours that these take at given rates.
For two processes it gives the bytes that each sends in a step: all gradients if samples are
divided; reconstructions and candidates for the threshold if latents are.

`shards` trains one layer of batch-top-k in one process, and in two processes with half of the
latents each, connected by gloo. The rows of the encoder and the columns of the decoder are tensors
of torch.distributed, and so are pre-activations. Reconstructions are sums over the processes. The
threshold is computed from all latents: each process offers its largest entries. All see the same
batches, and the largest difference of their weights is saved.
"""

import json
import os
import socket
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from benchmarks.common import make_parser, run_task, save

N_FEATURES, BATCH = 768, 4096
LATENTS = (4608, 16_384, 65_536, 262_144)
SAMPLES = (100_000_000, 1_000_000_000)
# Floating-point operations a second that a product reaches: one thread of a CPU, and an H100 at
# 40 % of its dense rate in bfloat16.
RATES = {"a CPU thread, 50 GFLOPS": 5e10, "an H100, 400 TFLOPS": 4e14}
K, N_SMALL, D_SMALL, B_SMALL = 8, 256, 48, 128
FLOAT = 4


def costs(n_latents, n_features=N_FEATURES, batch_size=BATCH, k=32):
    """Return what a dictionary takes."""
    n_weights = 2 * n_latents * n_features + n_latents + n_features
    operations = 10 * n_latents * n_features
    row = {
        "latents": n_latents,
        "weights, gradients, moments (GB)": 4 * FLOAT * n_weights / 1e9,
        "pre-activations and their gradient (GB)": 2 * FLOAT * batch_size * n_latents / 1e9,
        "sent, samples shared out (MB)": FLOAT * n_weights / 1e6,
        "sent, latents shared out (MB)": FLOAT * batch_size * (n_features + k) / 1e6,
    }
    for n in SAMPLES:
        for name, rate in RATES.items():
            row[f"hours of {n / 1e6:.0f}M samples, {name}"] = n * operations / rate / 3600
    return row


def run_costs(arguments):
    """Calculate what dictionaries take."""
    rows = [costs(n_latents) for n_latents in LATENTS]
    for row in rows:
        print(json.dumps(row))
    save(arguments.out, "costs", {"n_features": N_FEATURES, "batch_size": BATCH, "rows": rows})


# --- the prototype ------------------------------------------------------------------------------


def first_weights():
    """Return the encoder, its bias, the decoder and its bias."""
    generator = torch.Generator().manual_seed(0)
    decoder = F.normalize(torch.randn(D_SMALL, N_SMALL, generator=generator), dim=0)
    return [0.3 * decoder.T.clone(), torch.zeros(N_SMALL), decoder, torch.zeros(D_SMALL)]


def batches(n_steps):
    """Yield samples: sums of a few directions."""
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn(2 * N_SMALL, D_SMALL, generator=generator)
    for _ in range(n_steps):
        active = torch.rand(B_SMALL, 2 * N_SMALL, generator=generator) < K / (2 * N_SMALL)
        yield active * torch.rand(active.shape, generator=generator) @ directions


def threshold_of(h, gather):
    """Return the least of the K B largest positive entries of all latents."""
    n_kept = K * B_SMALL
    offered = h.detach().flatten().topk(min(n_kept, h.numel())).values
    return gather(offered).topk(n_kept).values[-1].clamp_min(0)


def train(weights, n_steps, gather, to_local, together):
    """Train weights, which may be sharded, and return them."""
    weights = [w.requires_grad_() for w in weights]
    optimizer = torch.optim.Adam(weights, lr=0.003)
    encoder, bias, decoder, offset = weights
    for x in batches(n_steps):
        seen = together(x)
        h = seen @ encoder.T + bias
        cut = threshold_of(to_local(h), gather)
        code = torch.where(h > cut, h, torch.zeros_like(h))
        loss = (seen - (code @ decoder.T + offset)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [w.detach() for w in weights]


def run_process(rank, n_processes, n_steps, port, path):
    """Train with the latents of one process, and write all of them."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=n_processes)
    mesh = init_device_mesh("cpu", (n_processes,))

    def gather(values):
        parts = [torch.empty_like(values) for _ in range(n_processes)]
        dist.all_gather(parts, values)
        return torch.cat(parts)

    places = [Shard(0), Shard(0), Shard(1), Replicate()]
    weights = [
        distribute_tensor(w, mesh, [p]) for w, p in zip(first_weights(), places, strict=True)
    ]
    trained = train(
        weights,
        n_steps,
        gather,
        to_local=lambda h: h.to_local(),
        together=lambda x: DTensor.from_local(x, mesh, [Replicate()]),
    )
    whole = [w.full_tensor() for w in trained]
    if rank == 0:
        torch.save({"weights": whole, "own": [w.to_local().numel() for w in trained]}, path)
    dist.destroy_process_group()


def run_shards(arguments):
    """Train in one process and in two, and note how far their weights are apart."""
    alone = train(
        first_weights(),
        arguments.steps,
        gather=lambda values: values,
        to_local=lambda h: h,
        together=lambda x: x,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pt"
        mp.spawn(run_process, (2, arguments.steps, port, path), nprocs=2)
        found = torch.load(path)
    difference = max(
        float((a - b).abs().max()) for a, b in zip(alone, found["weights"], strict=True)
    )
    moved = max(float((a - b).abs().max()) for a, b in zip(alone, first_weights(), strict=True))
    result = {
        "steps": arguments.steps,
        "latents": N_SMALL,
        "largest_difference": difference,
        "largest_change": moved,
        "share_of_weights": sum(found["own"]) / sum(w.numel() for w in alone),
    }
    print(json.dumps(result))
    save(arguments.out, "shards", result)


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, out="latent_shards.json")
    parser.add_argument("--steps", type=int, default=20)
    run_task(parser, run_costs, run_shards)
