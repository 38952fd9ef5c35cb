"""The evidence lower bound of a variational autoencoder."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from skvaeense.losses._base import Gradient, Loss, Terms
from skvaeense.networks._mean_field import MeanFieldAutoencoder
from skvaeense.priors import GatePosterior, SpikeSlab
from skvaeense.utils._validation import NON_NEGATIVE


class ELBO(Loss):
    """Negative evidence lower bound, times two, without its constant.

    For a sample x with expected squared error E and divergence KL, at the noise variance g::

        E / g + 2 beta KL

    With a linear decoder the expectation is exact. Otherwise it is taken at one draw of the noise.

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the divergence. Values other than 1 do not give a bound. Values above 1 open fewer
        latents [1]_.

    See Also
    --------
    skvaeense.models.VAE : Definition of the terms.

    Notes
    -----
    For `networks.MeanField` the gradient is derived by hand, which takes about half the time of
    autograd.

    References
    ----------
    .. [1] I. Higgins et al., "beta-VAE: learning basic visual concepts with a constrained
       variational framework", ICLR 2017.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.losses import ELBO
    >>> VAEenseTransformer(loss=ELBO(beta=4.0)).get_params()["loss__beta"]
    4.0
    """

    alias = "elbo"

    method = "elbo"
    _parameter_constraints = {"beta": [NON_NEGATIVE]}

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def terms(self, model: Any, x: torch.Tensor, *, generator: torch.Generator) -> Terms:
        """Return "loss", "error" and "kl" of a batch, and the statistics of the model."""
        posterior = model.posterior(x)
        bound = model.elbo(x, generator=generator, posterior=posterior)
        error, kl = (term.mean() for term in bound)
        loss = error / model.noise_variance + 2 * self.beta * kl
        terms = {"error": error, "kl": kl} | model.batch_statistics(x, posterior)
        return {"loss": loss} | terms

    def gradient(self, model: Any) -> Gradient:
        """Return the function that computes terms and gradients for training."""
        if type(self) is ELBO and GateELBOGradient.suits(model):
            return GateELBOGradient(model, self.beta)
        return super().gradient(model)

    def in_user_units(
        self, means: dict[str, float], *, n_features: int, scale: float
    ) -> dict[str, float]:
        """Return the negative bound in nats, and squared errors in squared units of X."""
        error, kl = means["error"] * scale**2, means["kl"]
        noise = means["noise_variance"] * scale**2
        loss = 0.5 * (error / noise + n_features * math.log(2 * math.pi * noise)) + kl
        return {"loss": loss, "error": error, "kl": kl, "noise_variance": noise}


class GateELBOGradient:
    """Compute the terms of `ELBO` and set their gradients, for gates inferred by `MeanField`.

    A batch has n samples x, with gate probabilities q, and means m and variances v where gates are
    open. The prior has means a, variances t and log-odds. The decoder has columns W and bias b, and
    the noise variance is g. With the code e, the residual r and the terms A of the divergence, the
    gradients are::

        e = q m,    r = e W' + b - x,    R = r W
        A = logit - log-odds + [v/t - 1 - log(v/t) + (m - a)^2 / t] / 2
        d logit = 2 q (1 - q) ([v + m^2 - 2 q m^2 + 2 m R] / 2g + beta A) / n
        d m     = 2 q ([(1 - q) m + R] / g + beta (m - a) / t) / n
        dW      = 2 r'e / (n g),    db = 2 sum r / (n g)

    and `look_gradients` of the network computes the gradients through the looks.

    Parameters
    ----------
    model : SpikeSlabVAE
        The model; `suits` must be true for it.

    beta : float
        Weight of the divergence.
    """

    def __init__(self, model: Any, beta: float) -> None:
        self.model = model
        self.beta = beta
        for parameter in model.network.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    @staticmethod
    def suits(model: Any) -> bool:
        """Return whether the formulas hold for a model."""
        return type(model.network) is MeanFieldAutoencoder and type(model.prior) is SpikeSlab

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> Terms:
        """Return the terms of a batch; nothing is drawn."""
        model, network = self.model, self.model.network
        weight, bias = network.decoder.weight, network.decoder.bias
        gates = model.gates(len(x))
        kept: list[Any] = []
        posterior = GatePosterior(*network.infer_gates(x, gates, kept))
        logit, mean, v, _ = posterior
        q = posterior.probability
        code = q * mean
        residual = torch.addmm(bias, code, weight.T).sub_(x)
        square = mean.square()
        spread = torch.addcmul(v + square, code, mean, value=-1)
        error = torch.linalg.vecdot(residual, residual).sum().add_((q * spread).sum()).div_(len(x))
        odds, t = gates.log_odds, gates.variance
        off = mean - gates.mean
        terms = logit + (0.5 * (v / t - 1 - torch.log(v / t)) - odds)
        terms.addcdiv_(off.square(), t, value=0.5)
        kl = (F.logsigmoid(-logit) - F.logsigmoid(-odds)).addcmul_(q, terms).sum().div_(len(x))
        noise = model.noise_variance.to(x)
        # Gradients without the factor 2 / n, which comes last.
        of_residual = residual @ weight
        mean_grad = torch.addcmul(of_residual, 1 - q, mean).div_(noise)
        mean_grad.addcdiv_(off, t, value=self.beta).mul_(q)
        logit_grad = spread.addcmul_(code, mean, value=-1).mul_(0.5).addcmul_(mean, of_residual)
        logit_grad.div_(noise).add_(terms, alpha=self.beta).mul_(q).mul_(1 - q)
        scale = 2 / len(x)
        power_grad, seen_grad, weight_grad, steps_grad, log_noise_grad = network.look_gradients(
            x, kept, logit_grad.mul_(scale), mean_grad.mul_(scale)
        )
        share = scale / float(noise)
        weight.grad.copy_(weight_grad.addmm_(residual.T, code, alpha=share))
        from_looks = 2 * power_grad @ (x - bias) + weight @ seen_grad.sum(dim=0)
        bias.grad.copy_(residual.sum(dim=0).mul_(share).sub_(from_looks))
        network.steps.grad.copy_(steps_grad)
        network.log_noise.grad.copy_(log_noise_grad)
        statistics = model.statistics(x, posterior, code, residual.neg_())
        loss = error / model.noise_variance + 2 * self.beta * kl
        return {"loss": loss, "error": error, "kl": kl} | statistics
