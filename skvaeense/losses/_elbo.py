"""The evidence lower bound of a variational autoencoder."""

import math
from typing import Any

import torch

from skvaeense.losses._base import Loss, Terms
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
        """Return "loss", "error" and "kl" of a batch."""
        posterior = model.posterior(x)
        bound = model.elbo(x, generator=generator, posterior=posterior)
        error, kl = (term.mean() for term in bound)
        loss = error / model.noise_variance + 2 * self.beta * kl
        return {"loss": loss, "error": error, "kl": kl}

    def in_user_units(
        self, means: dict[str, float], *, n_features: int, scale: float
    ) -> dict[str, float]:
        """Return the negative bound in nats, and squared errors in squared units of X."""
        error, kl = means["error"] * scale**2, means["kl"]
        noise = means["noise_variance"] * scale**2
        loss = 0.5 * (error / noise + n_features * math.log(2 * math.pi * noise)) + kl
        return {"loss": loss, "error": error, "kl": kl, "noise_variance": noise}
