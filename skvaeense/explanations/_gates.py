"""Gates with a prior over a linear decoder, and mean-field inference of the gates that are open."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

# Looks at a sample: enough in a fit, whose next visit looks again, and for new samples.
FIT_LOOKS, NEW_LOOKS = 5, 11
# Looks in which a temperature falls from the highest to 1, in a fit and for new samples.
FIT_FALL, NEW_FALL, HEAT = 15, 32, 8.0
# Largest number of latents that are inferred at once, as if the others were right. More latents at
# once can be open together for the same residual, and then close together.
BLOCK = 16
# Gates that are open with less than this probability count as closed.
LEAST_OPEN = 1 / 64
# The parameters of gates and slabs.
SLABS = "probability", "mean", "variance"


class GatePosterior(NamedTuple):
    """The posterior of latents behind gates, independent for each latent.

    Attributes
    ----------
    gate_logit : torch.Tensor of shape (n_samples, n_components)
        Logits of the probabilities that gates are open. Note the sign: the logits of a
        `priors.Posterior` are large where a latent is closed.

    mean : torch.Tensor of shape (n_samples, n_components)
        Means of the latents, if their gates are open.

    variance : torch.Tensor that broadcasts to (n_samples, n_components)
        Variances of the latents, if their gates are open.

    seen : torch.Tensor of shape (n_samples, n_components)
        Inner products of the decoder columns and the centred samples.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.explanations import GatePosterior
    >>> zeros = torch.zeros(2, 3)
    >>> GatePosterior(zeros, zeros, torch.ones(3), zeros).probability[0, 0]
    tensor(0.5000)
    """

    gate_logit: Tensor
    mean: Tensor
    variance: Tensor
    seen: Tensor

    @property
    def probability(self) -> Tensor:
        """The probabilities that gates are open."""
        return torch.sigmoid(self.gate_logit)

    @property
    def is_open(self) -> Tensor:
        """Whether gates are more probably open than closed."""
        return self.gate_logit > 0


class Gates(NamedTuple):
    """A linear decoder, the prior of the latents behind gates, and the noise variance.

    A sample is ``x = bias + sum_j s_j z_j w_j + noise``. Gate j is open, s_j = 1, with probability
    p_j. An open latent is drawn from N(m_j, t_j), the slab.

    Attributes
    ----------
    weight : torch.Tensor of shape (n_components, n_features)
        Decoder columns w_j as rows, of norm 1.

    bias : torch.Tensor of shape (n_features,)
        The sample whose gates are all closed.

    probability, mean, variance : torch.Tensor of shape (n_components,)
        Prior p, m and t of each latent.

    noise_variance : torch.Tensor without dimensions
        Variance of the noise in each feature.

    price : torch.Tensor without dimensions
        Amount by which the log-odds of all gates are lowered.

    positive : bool
        Whether gates of latents that would be negative stay closed.

    Examples
    --------
    A sample in the direction of the first of two columns:

    >>> import torch
    >>> from skvaeense.explanations import Gates
    >>> one, numbers = torch.ones(2), (torch.tensor(0.1), torch.tensor(0.0))
    >>> gates = Gates(torch.eye(2), 0 * one, 0.5 * one, 0 * one, one, *numbers)
    >>> gates.infer(torch.tensor([[2.0, 0.0]]), 5).is_open
    tensor([[ True, False]])
    """

    weight: Annotated[Tensor, "k d"]
    bias: Annotated[Tensor, "d"]
    probability: Annotated[Tensor, "k >0 <1"]
    mean: Annotated[Tensor, "k"]
    variance: Annotated[Tensor, "k >0"]
    noise_variance: Annotated[Tensor, ">0"]
    price: Annotated[Tensor, ""]
    positive: bool = False

    @property
    def log_odds(self) -> Tensor:
        """The logits of the probabilities that gates are open, minus the price."""
        return torch.logit(self.probability) - self.price

    def _each(self, change: Callable[[Tensor], Tensor], *names: str) -> "Gates":
        """Return the gates with the same change to several tensors."""
        changed: Any = {name: change(getattr(self, name)) for name in names}
        return self._replace(**changed)

    def at(self, latents: Tensor) -> "Gates":
        """Return the gates of some latents.

        Parameters
        ----------
        latents : torch.Tensor of int or bool
            Indices of the latents, or a mask.

        Returns
        -------
        Gates
            The gates.
        """
        return self._each(lambda values: values[latents], "weight", *SLABS)

    def to(self, like: Tensor) -> "Gates":
        """Return the gates with the type and device of a tensor; the noise variance stays.

        Parameters
        ----------
        like : torch.Tensor
            The tensor.

        Returns
        -------
        Gates
            The gates.
        """
        return self._each(lambda values: values.to(like), "weight", "bias", "price", *SLABS)

    def with_price(self, price: float) -> "Gates":
        """Return the gates with another price, the same for all samples."""
        return self._replace(price=self.weight.new_tensor(price))

    def with_noise(self, noise_variance: float) -> "Gates":
        """Return the gates with another noise variance, in double precision."""
        return self._replace(noise_variance=torch.tensor(noise_variance, dtype=torch.float64))

    def in_units(self, center: Any, scale: float) -> "Gates":
        """Return the gates of samples before they were centred and divided by a scale.

        Parameters
        ----------
        center : array-like of shape (n_features,) or float
            Centre of the samples.

        scale : float
            Scale of the samples.

        Returns
        -------
        Gates
            The gates.
        """
        center = torch.as_tensor(center).to(self.bias)
        return self._replace(
            bias=center + scale * self.bias,
            mean=scale * self.mean,
            variance=scale**2 * self.variance,
            noise_variance=scale**2 * self.noise_variance,
        )

    def decode(self, posterior: GatePosterior) -> Tensor:
        """Return the reconstructions of open latents.

        Parameters
        ----------
        posterior : GatePosterior
            Posterior of some samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features)
            The reconstructions.
        """
        return self.bias + (posterior.mean * posterior.is_open) @ self.weight

    def code(self, posterior: GatePosterior) -> Tensor:
        """Return the codes with the least residual, exactly 0 where a gate is closed.

        Parameters
        ----------
        posterior : GatePosterior
            Posterior of some samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            The codes.
        """
        weight, is_open = self.weight.to(posterior.mean).T, posterior.is_open
        given = posterior.mean, is_open, posterior.seen, weight, FIT_LOOKS
        # Adding 0 turns a negative 0 into 0.
        return restricted_code(*given, positive=self.positive) + 0.0

    def anneal(self, x: Tensor, n_falling: int, last: float = 1.0) -> GatePosterior:
        """Return the posterior of gates and latents, by annealed mean-field inference.

        In a look, logits are divided by a temperature. While it is high, all gates are a little
        open, and decide together. Columns that are alike are in different blocks.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Samples.

        n_falling : int
            Number of looks in which the temperature would fall to 1.

        last : float, default=1.0
            The temperature at which it stays.

        Returns
        -------
        GatePosterior
            The posterior at the last temperature.
        """
        n_falling = round(n_falling * (1 - math.log(last, HEAT)))
        heats = *np.geomspace(HEAT, last, n_falling, endpoint=False), *[last] * FIT_LOOKS
        order = apart(self.weight, self._block)
        found = self.at(order).infer(x, len(heats), heats)
        back = order.argsort()
        return GatePosterior(*(values[..., back] for values in found))

    @property
    def _block(self) -> int:
        """Number of latents that are inferred at once."""
        return min(BLOCK, max(self.weight.shape[1] // 4, 4))

    def infer(self, x: Tensor, n_looks: int, heats: Sequence[float] = ()) -> GatePosterior:
        """Return the posterior of gates and latents, by mean-field inference [1]_.

        Each look goes through the latents in blocks. Given the code e of all other latents, latent
        j has the residual ``u = w_j' (x - bias - sum_{i != j} e_i w_i)``, and with noise g::

            mean = (u / g + m / t) / (1 / g + 1 / t)
            logit = log p/(1 - p) - price
                    - [m^2 / t + log t - mean^2 (1 / g + 1 / t) + log(1 / g + 1 / t)] / 2
            e = sigmoid(logit) * mean

        All gates are closed at first. Until the last look, the mean squared residual of the sample
        counts as noise if it is larger than g, so that only clear gates open.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Samples.

        n_looks : int
            Number of looks.

        heats : sequence of float, default=()
            Temperatures of the looks, as in `anneal`; then the noise is always g.

        Returns
        -------
        GatePosterior
            The posterior. Gates that are open with a probability below 1/64 count as closed.

        References
        ----------
        .. [1] M. K. Titsias and M. Lazaro-Gredilla, "Spike and slab variational inference for
           multi-task and multiple kernel learning", NIPS 2011.
        """
        # Longer than most functions: blocks of latents are updated in place, within the caches.
        weight, d = self.weight, self.weight.shape[1]
        # Latents are rows here, so that a block of them is contiguous.
        noise, left = self.noise_variance.to(x), (x - self.bias).T.contiguous()
        seen = weight @ left
        gram = overlap(weight.T)
        gram = None if gram is None else gram - torch.diag(gram.diagonal())
        precision, shift = 1 / self.variance[:, None], (self.mean / self.variance)[:, None]
        constant = (torch.logit(self.probability) - 0.5 * self.variance.log())[:, None]
        constant = constant - 0.5 * self.mean[:, None] * shift - self.price.to(x)
        power = torch.linalg.vecdot(left, left, dim=0)
        code, mean, logit = torch.zeros_like(seen), torch.empty_like(seen), torch.empty_like(seen)
        of_latents = code, mean, logit, shift, seen, weight if gram is None else gram
        size = self._block
        blocks = list(zip(*(values.split(size) for values in of_latents), strict=True))
        paces = [1.0] * len(blocks)
        if heats:
            # Without the noise of residuals, columns of a block that are alike would overshoot.
            norms = [torch.linalg.matrix_norm(own, 2) for own in weight.split(size)]
            paces = [min(1.5 / float(norm) ** 2, 1.0) for norm in norms]
        for look in range(n_looks):
            r = 1 / noise[None]
            if look < n_looks - 1 and not heats:
                if not look:
                    unexplained = power
                elif gram is None:
                    unexplained = torch.linalg.vecdot(left, left, dim=0)
                else:
                    explained = 2 * seen - torch.addmm(code, gram, code)
                    unexplained = power - torch.linalg.vecdot(code, explained, dim=0)
                r = 1 / (unexplained / d).clamp_min(noise)
            if not (look and heats):
                # The parts that do not depend on codes.
                total = precision + r
                base = constant - 0.5 * total.log()
                fixed = list(zip(total.split(size), base.split(size), paces, strict=True))
            for (own, its_mean, its_logit, its_shift, its_seen, row), (
                its_total,
                its_base,
                pace,
            ) in zip(blocks, fixed, strict=True):
                if gram is None:
                    u = torch.addmm(own, row, left)
                else:
                    u = torch.addmm(its_seen, row, code, alpha=-1)
                pull = torch.addcmul(its_shift, u, r)
                torch.div(pull, its_total, out=its_mean)
                torch.addcmul(its_base, pull, its_mean, value=0.5, out=its_logit)
                if heats:
                    its_logit.div_(heats[look])
                new = torch.threshold(torch.sigmoid(its_logit), LEAST_OPEN, 0.0).mul_(its_mean)
                if self.positive:
                    new.clamp_min_(0.0)
                if pace < 1:
                    new = torch.lerp(own, new, pace)
                if gram is None:
                    left.addmm_(row.T, own - new)
                own.copy_(new)
        if self.positive:
            logit = torch.where(mean > 0, logit, -logit.abs())
        noise = self.noise_variance.to(self.variance)
        variance = self.variance * noise / (self.variance + noise)
        return GatePosterior(logit.T, mean.T, variance, seen.T)


def apart(weight: Tensor, size: int) -> Tensor:
    """Return an order of columns in which those that are alike are in different blocks.

    Columns that are most like others come first, each to the block that it overlaps least.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_components, n_features)
        Columns, as rows.

    size : int
        Number of columns of a block; only the last one is smaller.

    Returns
    -------
    torch.Tensor of int of shape (n_components,)
        The order.
    """
    likeness = (weight @ weight.T).square().cpu().numpy()
    k = len(likeness)
    blocks = np.arange(k) // size
    room, taken = np.bincount(blocks), np.zeros((blocks[-1] + 1, k))
    for j in likeness.sum(axis=0).argsort()[::-1]:
        b = np.where(room > 0, taken[:, j], np.inf).argmin()
        blocks[j], room[b] = b, room[b] - 1
        taken[b] += likeness[j]
    return torch.from_numpy(blocks.argsort(kind="stable")).to(weight.device)


def restricted_code(
    code: Tensor, is_open: Tensor, seen: Tensor, weight: Tensor, n_steps: int, *, positive: bool
) -> Tensor:
    """Return codes with the same open latents and smaller residuals.

    The residual is smallest where ``W_S'W_S e = seen_S`` for the open latents S of a sample.
    Conjugate gradient steps never increase it; each costs about as much as a look of an encoder. No
    step follows a difference of columns that is rounding alone: columns are learned in single
    precision.

    Parameters
    ----------
    code : torch.Tensor of shape (n_samples, n_components)
        Initial codes.

    is_open : torch.Tensor of bool of shape (n_samples, n_components)
        Mask of the open latents.

    seen : torch.Tensor of shape (n_samples, n_components)
        Inner products of the columns and the centred samples.

    weight : torch.Tensor of shape (n_features, n_components)
        Decoder columns W.

    n_steps : int
        Number of steps.

    positive : bool
        Whether entries that would not be positive keep their initial values.

    Returns
    -------
    torch.Tensor of shape (n_samples, n_components)
        The codes, exactly 0 where a latent is not open.
    """
    mask = is_open.to(code)
    gram = overlap(weight)
    # Exported models can hold constants in single precision.
    least, rounding = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).eps
    unit = 1 / weight.square().sum(dim=0).clamp_min(least)

    def system(e: Tensor) -> Tensor:
        product = e @ gram if gram is not None else (e @ weight.T) @ weight
        return product * mask

    # A negative number times 0 would be a negative 0.
    first = code = code.masked_fill(~is_open, 0.0)
    left = seen * mask - system(code)
    direction = unit * left
    size = torch.linalg.vecdot(left, direction)
    for _ in range(n_steps):
        image = system(direction)
        moved = torch.linalg.vecdot(direction, image)
        known = moved > rounding * torch.linalg.vecdot(direction, direction / unit)
        length = known * size / moved.clamp_min(least)
        code = torch.addcmul(code, length[:, None], direction)
        left = torch.addcmul(left, length[:, None], image, value=-1)
        last, size = size, torch.linalg.vecdot(left, unit * left)
        share = size / last.clamp_min(least)
        direction = torch.addcmul(unit * left, share[:, None], direction)
    return torch.where(code > 0, code, first) if positive else code


def overlap(weight: Tensor) -> Tensor | None:
    """Return the inner products of columns, if there are at most two columns for each feature.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_features, n_components)
        Columns.

    Returns
    -------
    torch.Tensor of shape (n_components, n_components) or None
        The inner products; None if two products with the columns are less work.
    """
    return weight.T @ weight if weight.shape[1] <= 2 * weight.shape[0] else None
