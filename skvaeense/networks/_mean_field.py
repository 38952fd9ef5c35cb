"""An encoder that infers which gates are open: unrolled mean-field inference."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from skvaeense.networks._base import Autoencoder, Network
from skvaeense.networks._layers import (
    MAX_GRADIENT_NORM,
    POSITIVE_CODE,
    dictionary_layer,
    normalize_columns,
)
from skvaeense.networks._restricted import overlap
from skvaeense.networks._unrolled import FIRST_GAIN, FIRST_STEP, principal_columns, set_first_steps
from skvaeense.utils._typing import Auto
from skvaeense.utils._validation import AT_LEAST_ONE


class MeanField(Network):
    """Linear decoder, and an encoder that infers each gate from the residual of the other latents.

    This network is for ``prior="spike_slab"``: latent j is open with probability p_j, and an open
    latent is drawn from N(m_j, t_j). An encoder of one layer decides on each gate alone. This
    encoder looks several times. Each look computes the residual of the code e. The residual gives
    the probability that a gate is open and the mean of the open latent, as if the rest of the code
    were right. This is mean-field inference [1]_, unrolled, with learned steps and noise [2]_.

    With the columns of the decoder, of norm 1, in A, noise variance g, and ``c = A' (x - b)``::

        e = 0
        repeated:  u = e + step * (c - A'A e)
                   n = exp(l) * (g + |x - b - A e|^2 / d) / 2,   in the last look exp(l) * g
                   mean = (u t + m n) / (t + n)
                   logit = log p/(1 - p) + log(n / (n + t)) / 2 + (u^2/n - (u - m)^2/(n + t)) / 2
                   e = sigmoid(logit) * mean

    where step and l have an entry for each look and latent. As long as the residual is large, noise
    counts as larger, and only clear gates open.

    Parameters
    ----------
    n_looks : int, default=4
        Number of looks. More looks account better for the other latents, and take longer.

    positive : "auto" or bool, default="auto"
        Whether negative u count as 0. "auto" means the estimator's `positive_code`, and False
        without an estimator.

    See Also
    --------
    Unrolled : Codes of sparse autoencoders, with a fixed mean length and without probabilities.
    skvaeense.priors.SpikeSlab : The prior.

    Notes
    -----
    Columns and first steps are set as in `Unrolled`, for the same reasons. The gradient is derived
    by hand.

    References
    ----------
    .. [1] M. K. Titsias and M. Lazaro-Gredilla, "Spike and slab variational inference for
       multi-task and multiple kernel learning", NIPS 2011.
    .. [2] K. Gregor and Y. LeCun, "Learning fast approximations of sparse coding", ICML 2010.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.networks import MeanField
    >>> X = load_digits().data[:500]
    >>> vaeense = VAEenseTransformer(
    ...     32, prior="spike_slab", network=MeanField(n_looks=2), max_iter=20, random_state=0
    ... )
    >>> vaeense.fit_transform(X).shape
    (500, 32)
    """

    has_linear_decoder = infers_gates = True

    _parameter_constraints = {"n_looks": [AT_LEAST_ONE], "positive": POSITIVE_CODE}

    def __init__(self, n_looks: int = 4, *, positive: Auto | bool = "auto") -> None:
        self.n_looks = n_looks
        self.positive = positive

    def build(
        self, n_features: int, n_components: int, *, n_heads: int, generator: torch.Generator | None
    ) -> nn.Module:
        """Make the module with random weights."""
        if n_heads != 2:
            raise ValueError(
                "MeanField infers gates, which need a prior; use network='unrolled' for a sparse "
                "autoencoder."
            )
        decoder = dictionary_layer(n_components, n_features, generator)
        return MeanFieldAutoencoder(decoder, int(self.n_looks), positive=self.positive is True)


class MeanFieldAutoencoder(Autoencoder):
    """A linear decoder with columns of norm 1, and looks that use it to infer gates.

    Parameters
    ----------
    decoder : torch.nn.Linear
        Map from codes to samples.

    n_looks : int
        Number of looks.

    positive : bool
        Whether negative u count as 0.
    """

    # Gradients through the looks explode at times.
    max_gradient_norm = MAX_GRADIENT_NORM

    def __init__(self, decoder: nn.Linear, n_looks: int, *, positive: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.positive = positive
        n_latents = decoder.in_features
        self.steps = nn.Parameter(torch.full((n_looks, n_latents), FIRST_STEP))
        self.log_noise = nn.Parameter(torch.zeros(n_looks, n_latents))
        with torch.no_grad():
            self.steps[0] = FIRST_GAIN

    def infer_gates(
        self, x: torch.Tensor, gates: Any, kept: list[Any] | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return gate logits, means and variances of open latents, and products with columns.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        gates : skvaeense.priors.GatePrior
            Prior of the latents, and the noise variance.

        kept : list or None, default=None
            Takes the intermediate results of each look that `look_gradients` needs.

        Returns
        -------
        tuple of torch.Tensor
            Tensors of shape (n_samples, n_components), and variances of shape (n_components,).
        """
        weight, steps, centred = self.decoder.weight, self.steps, x - self.decoder.bias
        noise, posterior_of = gates.noise_variance.to(x), gates.update()
        d = len(weight)
        seen = centred @ weight
        gram = overlap(weight)
        power = torch.linalg.vecdot(centred, centred)
        inverse = torch.exp(-self.log_noise)
        code = torch.zeros_like(seen)
        for t, step in enumerate(steps):
            if t == 0:
                left, u, unexplained = seen, step * seen, power
            else:
                left = seen - (code @ gram if gram is not None else (code @ weight.T) @ weight)
                u = torch.addcmul(code, step, left)
                unexplained = (power - torch.linalg.vecdot(code, seen + left)).clamp_min_(0.0)
            if self.positive:
                u = u.clamp_min_(0.0) if t else u.relu()
            is_last = t == len(steps) - 1
            level = noise.expand_as(power) if is_last else 0.5 * (noise + unexplained / d)
            r = inverse[t] / level[:, None]
            p, mean, logit = posterior_of(u, r)
            q = torch.sigmoid(logit)
            if kept is not None:
                kept.append((left, u, level, unexplained, r, p, mean, q, code, gram))
            code = q * mean
        return logit, mean, gates.open_variance, seen

    def look_gradients(
        self, x: torch.Tensor, kept: list[Any], logit_grad: torch.Tensor, mean_grad: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the gradients of samples, columns, steps and noise factors.

        With the precisions ``R = exp(-l) / n`` of u and i = 1 / t of the slab, ``h = m / t``,
        ``P = R + i``, ``y = u R + h``, a look is ``mean = y / P``, ``q = sigmoid(logit)``, ::

            logit = log p/(1 - p) - m h / 2 - log(t) / 2 + (y mean - log P) / 2

        so that for gradients D of the logit and M of the mean::

            dy = D mean + M / P,   dP = - D / 2P - mean (dy - D mean / 2),
            dR = dP + u dy,        du = R dy,        dl = - sum R dR

        Residuals are computed with ``A'A`` if that is the smaller product.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            The samples.

        kept : list
            Intermediate results that `infer_gates` has kept.

        logit_grad, mean_grad : torch.Tensor of shape (n_samples, n_components)
            Gradients of the logits and means that `infer_gates` has returned.

        Returns
        -------
        tuple of torch.Tensor
            Gradients of the squared norms of centred samples, shape (n_samples,), of their products
            with columns, of weight, steps and log_noise.
        """
        weight, steps = self.decoder.weight, self.steps
        # In the first look, residuals are the samples themselves.
        seen = kept[0][0]
        d, last = len(weight), len(steps) - 1
        step_grad, log_noise_grad = torch.empty_like(steps), torch.empty_like(steps)
        seen_grad, weight_grad = torch.zeros_like(seen), torch.zeros_like(weight)
        gram_grad = torch.zeros_like(weight[:0] if kept[0][-1] is None else kept[0][-1])
        power_grad = torch.zeros_like(seen[:, 0])
        code_grad = seen_grad  # The last look has no code after it.
        for t in range(last, -1, -1):
            left, u, level, unexplained, r, p, mean, q, code, gram = kept[t]
            if t < last:
                mean_grad = code_grad * q
                logit_grad = code_grad.mul_(mean).mul_(q).mul_(1 - q)
            half = logit_grad * mean
            y_grad = torch.addcdiv(half, mean_grad, p)
            half.mul_(0.5)
            r_grad = torch.addcmul(y_grad * u, mean, half.sub_(y_grad))
            r_grad.addcdiv_(logit_grad, p, value=-0.5).mul_(r)
            log_noise_grad[t] = -r_grad.sum(dim=0)
            u_grad = y_grad.mul_(r)
            if self.positive:
                u_grad.mul_(u > 0)
            step_grad[t] = torch.linalg.vecdot(u_grad, left, dim=0)
            left_grad = u_grad * steps[t]
            if t < last:
                # Gradient through |x - b - A e|^2, unless rounding has brought it to 0.
                share = r_grad.sum(dim=1).div_(level).mul_(-0.5 / d).mul_(unexplained > 0)
                power_grad += share
            if t == 0:
                seen_grad += left_grad
                break
            if t < last:
                share = share[:, None]
                u_grad.addcmul_(share, seen + left, value=-1)
                left_grad.addcmul_(share, code, value=-1)
                seen_grad.addcmul_(share, code, value=-1)
            seen_grad += left_grad
            if gram is not None:
                code_grad = u_grad.addmm_(left_grad, gram, alpha=-1)
                gram_grad.addmm_(code.T, left_grad, alpha=-1)
            else:
                of_left = left_grad @ weight.T
                code_grad = u_grad.addmm_(of_left, weight, alpha=-1)
                weight_grad.addmm_(of_left.T, code, alpha=-1)
                weight_grad.addmm_((code @ weight.T).T, left_grad, alpha=-1)
        weight_grad.addmm_((x - self.decoder.bias).T, seen_grad)
        if gram is not None:
            weight_grad.addmm_(weight, gram_grad + gram_grad.T)
        return power_grad, seen_grad, weight_grad, step_grad, log_noise_grad

    @torch.no_grad()
    def initialize(self, x: torch.Tensor, share: float) -> None:
        """Point the columns of the decoder at principal directions, and set first steps.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        share : float
            Share of the gates that are open at first.
        """
        self.decoder.weight.copy_(principal_columns(self.decoder.weight, x))
        self.set_steps(x, share)

    @torch.no_grad()
    def set_steps(self, x: torch.Tensor, share: float) -> None:
        """Set the steps to suit samples whose codes have a given share of open gates.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        share : float
            Share of the gates that are open.
        """
        weight = self.decoder.weight
        n_active = share * weight.shape[1]
        set_first_steps(self.steps, x.to(weight) @ weight, weight, n_active, self.positive)

    @torch.no_grad()
    def begin_anew(self, latents: torch.Tensor, columns: torch.Tensor) -> tuple[nn.Parameter, ...]:
        """Give latents new columns, and the steps and noise of a typical latent.

        Parameters
        ----------
        latents : torch.Tensor of int
            Indices of the latents.

        columns : torch.Tensor of shape (n_features, n_latents)
            New columns, of any norm.

        Returns
        -------
        tuple of torch.nn.Parameter
            The parameters that have changed: matrices with a column for each latent.
        """
        weight: Any = self.decoder.weight
        weight[:, latents] = F.normalize(columns, dim=0)
        for parameter in (self.steps, self.log_noise):
            parameter[:, latents] = parameter.median(dim=1, keepdim=True).values
        return weight, self.steps, self.log_noise

    def normalize(self) -> None:
        """Bring the columns back to norm 1."""
        normalize_columns(self.decoder.weight)
