"""NetLaw: a variational autoencoder that gradients have trained, in units of the samples."""

import copy
import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch

from skvaeense.explanations._laws import Codes
from skvaeense.mixture._density import Shared
from skvaeense.models._vae import VAE
from skvaeense.priors import Posterior
from skvaeense.samples._scaling import Scaling
from skvaeense.thresholds import Latents, ThresholdRule
from skvaeense.utils._torch import make_generator
from skvaeense.utils._typing import DoubleArray


@dataclass(frozen=True, eq=False)
class NetLaw(Shared):  # numpydoc ignore=PR02
    """Codes of a module, and its bound of the density.

    Parameters
    ----------
    module : VAE
        The module, for centred and scaled samples.

    scaling : Scaling
        Centre and scale of the samples.

    threshold : ThresholdRule
        The rule that decides which latents are active.

    hard : bool
        Whether codes are hard if the caller does not say.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skvaeense.models import NetLaw, VAE
    >>> from skvaeense.networks import Linear
    >>> from skvaeense.samples._scaling import Scaling
    >>> from skvaeense.thresholds import FixedVariance
    >>> module = VAE(Linear((16,)), 5, 3, generator=torch.Generator().manual_seed(0))
    >>> law = NetLaw(module, Scaling(np.zeros(5), 1.0), FixedVariance())
    >>> law.encode(np.ones((4, 5), dtype=np.float32)).values.shape
    torch.Size([4, 3])
    """

    module: VAE
    scaling: Scaling
    threshold: ThresholdRule
    hard: bool = False

    name = "net"
    table = None
    points = None

    @property
    def n_components(self) -> int:
        """Number of latents."""
        return self.module.n_components

    @property
    def noise_variance(self) -> float:
        """Noise variance in squared units of the samples."""
        return float(self.module.noise_variance) * self.scaling.scale**2

    def placed(self, dtype: torch.dtype, device: Any) -> Self:
        """Return the law with its module in a precision and on a device."""
        parameter = next(self.module.parameters())
        if parameter.dtype == dtype and parameter.device.type == torch.device(device).type:
            return self
        return replace(self, module=copy.deepcopy(self.module).to(device=device, dtype=dtype))

    def _scaled(self, X: Any) -> torch.Tensor:
        like = next(self.module.parameters())
        return self.scaling.apply(X, dtype=like.dtype, device=like.device)

    @torch.no_grad()
    def infer(self, X: Any) -> Posterior:
        """Return the posterior of the latents."""
        return self.module.posterior(self._scaled(X))

    def _active(self, posterior: Posterior, code: torch.Tensor) -> torch.Tensor:
        latents = Latents(
            log_variance=posterior.log_variance.cpu().numpy(),
            code=code.cpu().numpy(),
            code_scale=self.module.code_scale().cpu().double().numpy() * self.scaling.scale,
            noise_variance=self.noise_variance,
        )
        return torch.as_tensor(self.threshold.active(latents), device=code.device)

    @torch.no_grad()
    def soft_code(self, X: Any) -> torch.Tensor:
        """Return codes alone, without asking the rule which latents are active."""
        return self.module.code(self.infer(X))

    @torch.no_grad()
    def encode(self, X: Any, *, hard: bool | None = None) -> Codes:
        """Return the codes of samples.

        Parameters
        ----------
        X : ndarray or torch.Tensor of shape (n_samples, n_features)
            Samples.

        hard : bool or None, default=None
            Whether codes of latents that are not active are exactly 0; None means as by default.

        Returns
        -------
        Codes
            Codes and active latents, as tensors.
        """
        posterior = self.infer(X)
        code = self.module.code(posterior)
        active = self._active(posterior, code)
        is_hard = self.hard if hard is None else hard
        # The product keeps codes that are not finite; adding 0 turns a negative 0 into 0.
        return Codes(code * active + 0.0 if is_hard else code, active)

    @torch.no_grad()
    def decode(self, codes: Any) -> torch.Tensor:
        """Return the samples that codes decode to.

        Parameters
        ----------
        codes : ndarray or torch.Tensor of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features)
            Samples, in double precision.
        """
        # A copy, because torch warns about read-only arrays.
        codes = codes if isinstance(codes, torch.Tensor) else torch.tensor(codes)
        given = codes.to(next(self.module.parameters()))
        return self.scaling.undo(self.module.decode(given))

    @torch.no_grad()
    def posterior(self, X: Any) -> tuple[Any, Any, Any]:
        """Return openness, and means and standard deviations of latents before the gate."""
        found = self.infer(X)
        return found.openness, found.mean, found.std

    @torch.no_grad()
    def log_prob(self, X: Any) -> torch.Tensor:
        """Return the evidence lower bound of samples, in nats, in units of the samples.

        With a gate the encoder chooses how far latents open, which costs nothing in the bound. It
        can therefore exceed the log-density of any normalised model.
        """
        return self.module.bound(self._scaled(X)) - X.shape[1] * math.log(self.scaling.scale)

    def sample(self, n_samples: int, rng: np.random.RandomState) -> DoubleArray:
        """Draw samples: latents from the prior, behind gates of random training samples."""
        codes = self.module.sample(n_samples, make_generator(int(rng.randint(2**31 - 1))))
        with torch.no_grad():
            drawn: DoubleArray = self.decode(codes).cpu().double().numpy()
        return drawn + math.sqrt(self.noise_variance) * rng.standard_normal(drawn.shape)

    def in_units(self, center: DoubleArray, scale: float) -> Self:
        """Return the law of samples before they were centred and divided by a scale."""
        mean = center + scale * self.scaling.mean
        return replace(
            self, scaling=replace(self.scaling, mean=mean, scale=scale * self.scaling.scale)
        )

    def arrays(self) -> dict[str, Any]:
        """Return the tensors of the module, with centre and scale."""
        state = {k: v.detach().cpu().numpy() for k, v in self.module.state_dict().items()}
        return state | {"center": self.scaling.mean, "scale": self.scaling.scale}
