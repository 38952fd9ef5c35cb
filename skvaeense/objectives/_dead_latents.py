"""Latents that no sample uses: finding them, and bringing them back."""

import math
from typing import Any

import torch
from torch import nn

from skvaeense._kernels import TopEntries

# A latent is dead once it was active for none of this many samples of the training.
DEAD_AFTER = 10_000
# Steps between two looks at which latents are dead: a look waits for the device.
LOOK_EVERY = 20
# Norm of a new encoder row, as a share of the mean of the living ones.
RESAMPLED_NORM = 0.2


class DeadLatents:
    """Count for how many samples each latent has been silent, and revive those that are dead.

    Parameters
    ----------
    n_components : int
        Number of latents.

    activation : torch.nn.Module
        Those of its parameters that have an entry for each latent go back to their present
        values where a latent is drawn anew.

    device : torch.device
        Where the counts are kept.
    """

    def __init__(self, n_components: int, activation: nn.Module, device: torch.device) -> None:
        self._first = {
            name: parameter.detach().clone()
            for name, parameter in activation.named_parameters()
            if parameter.ndim and len(parameter) == n_components
        }
        # The first starts anew for latents that are drawn anew, the second does not.
        self.silent_for = torch.zeros(n_components, dtype=torch.int64, device=device)
        self._inactive_for = self.silent_for.clone()
        # Which were dead at the last look.
        self.mask = torch.zeros(n_components, dtype=torch.bool, device=device)
        self.n_dead = 0
        self._n_looks = 0
        self._n_seen = 0

    def observe(self, fired: torch.Tensor, n_samples: int) -> None:
        """Take note of a batch of so many samples, by the mask of latents that any of them uses."""
        for count in (self.silent_for, self._inactive_for):
            count += n_samples
            count.masked_fill_(fired, 0)
        if self._n_looks % LOOK_EVERY == 0:
            self.mask = self.silent_for >= DEAD_AFTER
            self.n_dead = int(self.mask.sum())
        self._n_looks += 1
        self._n_seen += n_samples

    @property
    def latents(self) -> torch.Tensor:
        """Which latents were dead at the last look, as indices."""
        return torch.nonzero(self.mask).ravel()

    @property
    def fraction(self) -> float:
        """Fraction of latents silent for the last `DEAD_AFTER` samples, or all if fewer."""
        return float((self._inactive_for >= min(DEAD_AFTER, self._n_seen)).double().mean())

    def auxiliary_loss(
        self, module: Any, preactivation: torch.Tensor, residual: torch.Tensor, positive: bool
    ) -> torch.Tensor:
        """Return the error of the residual's reconstruction from dead latents alone.

        The pre-activations are those of the dead ones. As many of them as half the number of
        features are used for each sample, the largest. The loss is the fraction of the residual's
        mean square that is left.
        """
        residual = residual.detach()
        code = preactivation.relu() if positive else preactivation
        n_used = max(1, residual.shape[1] // 2)
        if n_used < self.n_dead:
            entries = TopEntries.largest(code, n_used, positive=positive)
            code = entries.dense(entries.of(code))
        left = residual - self._decode(module, code)
        return left.square().sum() / residual.square().sum().clamp_min(1e-30)

    def _decode(self, module: Any, code: torch.Tensor) -> torch.Tensor:
        """Return by how much codes of dead latents move the reconstruction."""
        if module.has_linear_decoder:
            return code @ module.decoder.weight[:, self.latents].T
        whole = code.new_zeros((len(code), len(self.silent_for)))
        whole = whole.index_copy(1, self.latents, code)
        return module.decode(whole) - module.decode(torch.zeros_like(whole[:1]))

    @torch.no_grad()
    def resample(
        self,
        module: Any,
        optimizer: torch.optim.Optimizer,
        x: torch.Tensor,
        residual: torch.Tensor,
        generator: torch.Generator,
    ) -> None:
        """Point dead latents at samples that are reconstructed badly, for a linear decoder.

        Samples are drawn with probability proportional to their squared error. The decoder's
        column becomes the sample's residual at norm 1, the encoder's row points at the sample's
        hidden features, the activation's parameters go back to their first values, and the
        optimizer's memory of them is cleared.
        """
        dead = torch.nonzero(self.silent_for >= DEAD_AFTER).ravel()
        error = residual.square().sum(dim=1)
        total = float(error.sum())
        if len(dead) == 0 or not 0 < total < math.inf:
            return  # Nothing to do, nothing to point at, or training has diverged.
        drawn = torch.multinomial(error, len(dead), replacement=True, generator=generator)
        head, decoder = module.heads[0], module.decoder
        decoder.weight[:, dead] = torch.nn.functional.normalize(residual[drawn], dim=1).T
        hidden = torch.nn.functional.normalize(module.hidden(x)[drawn], dim=1)
        alive = self.silent_for < DEAD_AFTER
        norm = head.weight[alive].norm(dim=1).mean() if bool(alive.any()) else 1.0
        head.weight[dead] = RESAMPLED_NORM * norm * hidden
        head.bias[dead] = 0
        changed = [head.weight, head.bias]
        if module.skip is not None:
            module.skip.weight[dead] = 0
            changed.append(module.skip.weight)
        for name, first in self._first.items():
            parameter = module.activation.get_parameter(name)
            parameter[dead] = first[dead]
            changed.append(parameter)
        for parameter in changed:
            _forget(optimizer, parameter, dead)
        _forget(optimizer, decoder.weight, (slice(None), dead))
        self.silent_for[dead] = 0


def _forget(optimizer: torch.optim.Optimizer, parameter: torch.Tensor, index: Any) -> None:
    """Clear what Adam remembers of some entries of a parameter."""
    state = optimizer.state.get(parameter, {})
    for name in ("exp_avg", "exp_avg_sq"):
        if name in state:
            state[name][index] = 0
