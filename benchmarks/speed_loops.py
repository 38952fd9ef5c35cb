"""What training steps are timed against: their matrix products alone, and loops by hand.

`floor` and `passes` return functions without arguments: the products of one step, and the steps of
one pass over some batches.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from skvaeense.networks import Linear


def floor(module, batch_size):
    """Return the matrix products of a step, forward and backward, and nothing else.

    Each layer has one for its output, one for its weights' gradient, and, unless it sees the
    samples themselves, one for its input's gradient.
    """
    products = []
    for layer, sees_samples in _layers(module):
        n_out, n_in = layer.weight.shape
        x, weight = torch.randn(batch_size, n_in), torch.randn(n_out, n_in)
        y, grad = torch.empty(batch_size, n_out), torch.empty(n_out, n_in)
        products.append((x, weight.T, y))
        products.append((torch.randn(batch_size, n_out).T, x, grad))
        if not sees_samples:
            products.append((torch.randn(batch_size, n_out), weight, torch.empty(batch_size, n_in)))

    def step():
        for a, b, out in products:
            torch.mm(a, b, out=out)

    return step


def _layers(module):
    """Yield each linear layer, and whether it sees the samples themselves."""
    body = [layer for layer in module.body.modules() if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(body):
        yield layer, i == 0
    for head in module.heads:
        yield head, not body
    if module.skip is not None:
        yield module.skip, True
    for layer in module.decoder.modules():
        if isinstance(layer, nn.Linear):
            yield layer, False


def vae_loss(module):
    """Return the loss of a gated VAE, as its formulas read."""

    def loss(x):
        mean, opening = module.encode(x)
        log_variance = torch.log(torch.sigmoid(opening))
        deviation = torch.exp(log_variance / 2)
        z = mean + deviation * torch.randn_like(mean)
        error = ((x - module.decode((1 - deviation) * z)) ** 2).sum(dim=1)
        kl = (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1)
        return (error / 0.1 + kl).mean()

    return loss


def sae_loss(module, k=None):
    """Return the loss of a sparse autoencoder: top-k, or with a price on the sum if k is None."""
    (head,), decoder = module.heads, module.decoder

    def loss(x):
        code = F.linear(x - decoder.bias, head.weight, head.bias).relu()
        if k is not None:
            values, kept = code.topk(k, dim=1)
            code = torch.zeros_like(code).scatter(1, kept, values)
        error = ((x - decoder(code)) ** 2).sum(dim=1).mean()
        return error if k is not None else error + 0.1 * code.sum(dim=1).mean()

    return loss


def unit_norm(module):
    """Return what brings the columns of the decoder to norm 1 after a step."""

    def normalize():
        with torch.no_grad():
            module.decoder.weight /= module.decoder.weight.norm(dim=0)

    return normalize


def gathered(X, batch_size):
    """Return an iterable of batches, each gathered from shuffled samples."""

    class Batches:
        def __iter__(self):
            return (X[rows] for rows in torch.randperm(len(X)).split(batch_size))

    return Batches()


def collated(X, batch_size):
    """Return an iterable of batches, each put together from single samples as DataLoader does."""
    return DataLoader(TensorDataset(X), batch_size, shuffle=True, collate_fn=_collate)


def _collate(samples):
    return torch.stack([x for (x,) in samples])


def passes(loss, module, batches, after=lambda: None):
    """Return one pass over the batches by plain autograd."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)

    def one_pass():
        for x in batches:
            optimizer.zero_grad()
            loss(x).backward()
            optimizer.step()
            after()

    return one_pass


def paper_recipe(X, n_passes, seed):
    """Train as the paper's code does, and return what gives log variances of samples.

    The encoder has three hidden layers as wide as the samples, the decoder is linear, the noise
    variance is learned, and the second head is the log variance, at most 0. Adam's learning rate
    falls along cosines that start over after every tenth of the passes. Batches are put together
    sample by sample.
    """
    torch.manual_seed(seed)
    d, k, batch_size = X.shape[1], 20, 1024
    generator = torch.Generator().manual_seed(seed)
    module = Linear((d, d, d), skip=False).build(d, k, n_heads=2, generator=generator)
    log_noise = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.Adam([*module.parameters(), log_noise], lr=0.01)
    batches = collated(X, batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, max(1, n_passes // 10) * len(batches)
    )
    for _ in range(n_passes):
        for x in batches:
            mean, log_variance = module.encode(x)
            log_variance = log_variance.clamp(max=0)
            deviation = torch.exp(log_variance / 2)
            z = mean + deviation * torch.randn_like(mean)
            error = ((x - module.decode((1 - deviation) * z)) ** 2).sum(dim=1)
            kl = (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1)
            loss = (error / log_noise.exp() + d * log_noise + kl).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def log_variances(x):
        return module.encode(x)[1].clamp(max=0).numpy()

    return log_variances
