"""A network that predicts noise, and two estimates of the dimension of each sample from it.

Near a manifold of dimension d in D features, the best prediction finds the noise in D - d
directions, and nothing of the noise along the manifold. "normal_bundle" counts these directions
from the predictions around a sample (J. Stanczuk et al., "Diffusion models encode the intrinsic
dimension of data manifolds", ICML 2024, with bounds 0 and 1 added to the spectrum, the mean
prediction subtracted, and regular perturbations). "flipd" takes the slope of the logarithm of the
noisy density (H. Kamkari et al., "A geometric view of data complexity", NeurIPS 2024), for a
process that adds noise and does not shrink samples.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# Number of sines and of cosines that encode the noise level; batch size.
N_WAVES, BATCH_SIZE = 8, 256
# Noise level at which dimensions are estimated, as a share of the standard deviation of samples in
# a direction in which they vary, and the levels of the training, as multiples of it.
LEVEL, TRAINED_LEVELS = 0.15, (2 / 3, 8 / 3)
LAYERS, N_STEPS, RATE = [256, 256], 3000, 3e-3
# Number of random vectors that estimate a trace, and number of rows that the network sees at once.
N_PROBES, N_ROWS = 64, 20_000


class Denoiser(nn.Module):
    """Predict the noise e in z = x + t e, from z and the noise level t.

    With samples x of unit variance, ``c = 1 / (1 + t^2)`` and a network F::

        e(z, t) = t c z - sqrt(c) F(sqrt(c) z, t)

    The first term is the best prediction for Gaussian samples. Each hidden unit of F is a product
    ``silu(a) b`` of two linear functions of its inputs; a is multiplied by a function of the level.
    """

    def __init__(self, n_features, layers, levels):
        super().__init__()
        widths = [n_features, *layers]
        self.levels = levels
        self.hidden = nn.ModuleList(nn.Linear(a, 2 * b) for a, b in pairwise(widths))
        self.gains = nn.ModuleList(nn.Linear(2 * N_WAVES, width) for width in layers)
        self.output = nn.Linear(widths[-1], n_features)

    def forward(self, z, level):
        low, high = map(math.log, self.levels)
        # The slowest wave has a quarter period over the range of levels, so all levels differ.
        angles = torch.arange(1, N_WAVES + 1) * math.pi / 2 * (level.log() - low) / (high - low)
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        c = 1 / (1 + level**2)
        hidden = c.sqrt() * z
        for layer, gain in zip(self.hidden, self.gains, strict=True):
            gate, content = layer(hidden).chunk(2, dim=-1)
            hidden = F.silu(gate * (1 + gain(waves))) * content
        return level * c * z - c.sqrt() * self.output(hidden)


def learn_noise(samples, layers, levels, *, n_steps, rate, seed):
    """Train a module by denoising score matching to predict the noise in noisy samples."""
    torch.manual_seed(seed)
    module = Denoiser(samples.shape[1], layers, levels)
    optimizer = torch.optim.Adam(module.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, n_steps, pct_start=0.1, cycle_momentum=False
    )
    low, high = map(math.log, levels)
    for _ in range(n_steps):
        x = samples[torch.randint(len(samples), (BATCH_SIZE,))]
        noise, level = torch.randn_like(x), torch.exp(low + (high - low) * torch.rand(len(x), 1))
        loss = (noise - module(x + level * noise, level)).square().sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return module


def normal_bundle(noise, x, level):
    """Return how many singular values of the predictions around samples are below the largest gap.

    Samples are moved to the corners of a regular simplex, whose mean is 0 and whose covariance is
    that of noise.
    """
    n_corners = x.shape[1] + 1
    normal = torch.randn((n_corners, n_corners), generator=torch.Generator().manual_seed(0))
    # The rows of an orthonormal basis of the space orthogonal to the ones are the corners.
    normal[:, 0] = 1.0
    corners = math.sqrt(n_corners) * torch.linalg.qr(normal.double()).Q[:, 1:].to(x)
    predicted = noise((x[:, None] + level * corners).flatten(0, 1)).reshape(-1, *corners.shape)
    predicted = predicted - predicted.mean(dim=1, keepdim=True)
    values = torch.linalg.eigvalsh(predicted.mT @ predicted / n_corners).clamp(0, 1).sqrt()
    bounds = values.new_tensor([0.0, 1.0]).expand(len(x), 2)
    spectrum = torch.cat([bounds[:, :1], values, bounds[:, 1:]], dim=1)
    return spectrum.diff(dim=1).argmax(dim=1)


def flipd(noise, x, level):
    """Return ``D - t tr grad noise(x) + |noise(x)|^2``, with the noise level t."""
    n_features = x.shape[1]
    vectors = torch.eye(n_features).to(x)
    if n_features > N_PROBES:
        signs = torch.randint(2, (N_PROBES, n_features), generator=torch.Generator().manual_seed(0))
        vectors = (2 * signs.to(x) - 1) / math.sqrt(N_PROBES)
    predicted, pull_back = torch.func.vjp(noise, x)
    (rows,) = torch.func.vmap(pull_back)(vectors[:, None].expand(-1, *x.shape))
    trace = torch.einsum("knd,kd->n", rows, vectors)
    return n_features - level * trace + predicted.square().sum(dim=1)


METHODS = {"normal_bundle": normal_bundle, "flipd": flipd}


class DiffusionDimension:
    """Estimate the dimension of each sample, seen or unseen, with a network that predicts noise."""

    def __init__(self, method="normal_bundle", *, random_state):
        self.method = method
        self.random_state = random_state

    def fit(self, X):
        self.mean_ = X.mean(axis=0)
        self.scale_ = np.sqrt(np.square(X - self.mean_).mean())
        x = (X - self.mean_) / self.scale_
        eigenvalues = np.square(np.linalg.svd(x, compute_uv=False)) / len(x)
        self.level_ = LEVEL * math.sqrt(np.square(eigenvalues).sum() / eigenvalues.sum())
        self.module_ = learn_noise(
            torch.from_numpy(x).float(),
            LAYERS,
            tuple(share * self.level_ for share in TRAINED_LEVELS),
            n_steps=N_STEPS,
            rate=RATE,
            seed=self.random_state,
        ).double()
        return self

    @torch.no_grad()
    def predict(self, X):
        level = torch.full((1, 1), self.level_, dtype=torch.float64)
        x = torch.from_numpy((X - self.mean_) / self.scale_)
        dimension = [
            METHODS[self.method](lambda z: self.module_(z, level), some, self.level_)
            for some in x.split(max(N_ROWS // (X.shape[1] + 1), 1))
        ]
        return torch.cat(dimension).double().clamp(0, X.shape[1]).numpy()
