"""The autoencoder whose codes a penalty or a constraint makes sparse."""

import copy
import math
from typing import Any, Self

import torch
from torch import nn

from skvaeense.models._base import Model, arguments, as_number, check_shapes
from skvaeense.networks._base import Network, linear_layer, normalize_columns
from skvaeense.penalties import Coding, Penalty
from skvaeense.penalties._base import Cut
from skvaeense.utils._kept import SHARES, Budget, budgets, set_share
from skvaeense.utils._rows import block_rows
from skvaeense.utils._torch import evaluating


class SparseCoder(Model):
    """An autoencoder with an activation that turns pre-activations into sparse codes.

    Parameters
    ----------
    network : Network
        Specification of encoder and decoder.

    n_features : int
        Number of features of a sample.

    n_components : int
        Number of latents.

    penalty : Penalty
        Penalty or constraint that makes codes sparse; it builds the activation.

    positive : bool, default=True
        Whether codes are not negative.

    generator : torch.Generator or None, default=None
        The source of the random weights; None if they will be loaded.

    n_targets : int or None, default=None
        Number of features of a target that codes are decoded to, as in a transcoder. None means
        that codes are decoded to the samples.

    skip_connection : bool, default=False
        Whether a linear map of the sample is added to the decoded code; only with a target.

    Attributes
    ----------
    skip : torch.nn.Linear or None
        The skip connection, without a bias, if there is one.

    activation : torch.nn.Module
        The map from pre-activations to codes.

    alpha : torch.Tensor without dimensions
        Coefficient of the penalty.

    dead_latents : torch.Tensor of int64 or None
        Indices of the latents that no recent training sample used; None while none is known.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.models import SparseCoder
    >>> from skvaeense.networks import SingleLayer
    >>> from skvaeense.penalties import TopK
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = SparseCoder(SingleLayer(), 5, 8, penalty=TopK(2), generator=generator)
    >>> int((model.code(torch.ones(1, 5)) != 0).sum()) <= 2
    True
    """

    alpha: torch.Tensor

    def __init__(
        self,
        network: Network,
        n_features: int,
        n_components: int,
        *,
        penalty: Penalty,
        positive: bool = True,
        generator: torch.Generator | None = None,
        n_targets: int | None = None,
        skip_connection: bool = False,
    ) -> None:
        super().__init__(arguments(locals()), n_heads=1, generator=generator)
        self.dead_latents: torch.Tensor | None = None
        self.penalty = penalty
        self.activation: Any = penalty.build(n_components, unit=self.unit, positive=positive)
        self.register_buffer("alpha", as_number(penalty.alpha or 0.0))
        self.skip: nn.Linear | None = None
        if skip_connection:
            if n_targets is None:
                raise ValueError(
                    "skip_connection=True needs a target, as in fit(X, Y). Without a target, its "
                    "linear map would reconstruct all samples without a code."
                )
            # At first, the skip connection explains nothing of the target.
            self.skip = linear_layer(n_features, n_targets, generator, bias=False)
            nn.init.zeros_(self.skip.weight)

    @property
    def unit(self) -> float:
        """Unit of codes: the root mean square norm of the samples, or of their target."""
        return math.sqrt(self.n_targets or self.n_features)

    def split(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the samples and their target in rows of training.

        Parameters
        ----------
        rows : torch.Tensor of shape (n_samples, n_features + n_targets)
            Centred and scaled samples, followed by their target, if there is one.

        Returns
        -------
        x : torch.Tensor of shape (n_samples, n_features)
            The samples.

        target : torch.Tensor of shape (n_samples, n_targets) or (n_samples, n_features)
            The target, minus the output of the skip connection; the samples, if there is no target.
        """
        if self.n_targets is None:
            return rows, rows
        x, target = rows[:, : self.n_features], rows[:, self.n_features :]
        return x, target if self.skip is None else target - self.skip(x)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of samples, or of their target.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features) or (n_samples, n_targets)
            The decoded codes, plus the output of the skip connection.
        """
        decoded = self.decode(self.code(x))
        return decoded if self.skip is None else decoded + self.skip(x)

    def _check_shapes(self, x: torch.Tensor) -> None:
        super()._check_shapes(x)
        values = self.preactivation(x)
        check_shapes(self.penalty, "forward", self.activation, values, values)

    def preactivation(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the encoder.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Pre-activations.
        """
        (preactivation,) = self.network.encode(x)
        return preactivation

    def coding(self, x: torch.Tensor) -> Coding:
        """Return the pre-activations and codes of samples.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        Coding
            Pre-activations and codes, with the activation.
        """
        preactivation = self.preactivation(x)
        code = self.activation(preactivation)
        return Coding(self.activation, preactivation, code, self.unit)

    def code(self, x: torch.Tensor) -> torch.Tensor:
        """Return the codes of samples.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Codes, exactly 0 where a latent is not active. Outside training, they are refined if the
            network has a method `refine`.
        """
        code: torch.Tensor = self.activation(self.preactivation(x))
        can_refine = not self.training and hasattr(self.network, "refine")
        return self.network.refine(x, code) if can_refine else code

    def _calibrate(self, x: torch.Tensor, n_new: int) -> None:
        if self.length is not None:
            # One block of rows must do, as there are many lengths.
            for share in SHARES[1:]:
                set_share(self, share)
                self._calibrate_length(x[: block_rows(self.n_components)])
            set_share(self, 1.0)
        self._calibrate_length(x)

    def _calibrate_length(self, x: torch.Tensor) -> None:
        """Calibrate network and activation for codes of the current length."""
        super()._calibrate(x, len(x))
        self.penalty.calibrate(self.activation, self.preactivation(x))

    @torch.no_grad()
    def normalize(self) -> None:
        """Give the columns of a linear decoder norm 1.

        If there is one layer each way, their norms move to the encoder.
        """
        decoder: Any = self.linear_decoder
        encoder: Any = getattr(self.network, "encoder", None)
        weight = decoder.weight
        norms = weight.norm(dim=0)
        normalize_columns(weight)
        is_layer = isinstance(encoder, nn.Linear) and encoder.out_features == self.n_components
        if is_layer and not torch.allclose(norms, torch.ones_like(norms)):
            norms = norms.where(norms > 0, 1.0)
            encoder.weight *= norms[:, None]
            encoder.bias.data *= norms
            if isinstance(self.activation, Cut):
                self.activation.rescale(norms)

    def meet(self, x: torch.Tensor, length: float | None) -> None:
        """Let samples have a given number of active latents on average after training.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples, not used in training.

        length : float or None
            Mean number of active latents; None leaves codes as training left them. Constraints, and
            activations without a `meet` of their own, keep their number.
        """
        if hasattr(self.activation, "meet"):
            with evaluating(self):
                self.activation.meet(self.preactivation(x), length)

    @property
    def length(self) -> float | None:
        """The number of active latents, if the penalty sets it."""
        return self.activation.k if isinstance(self.activation, Budget) else None

    def shortened(self, length: float) -> Self:
        """Return a model with the same weights whose codes have fewer active latents.

        Parameters
        ----------
        length : float
            Mean number of active latents, at most this model's `length` and at least 1/256 of it.

        Returns
        -------
        SparseCoder
            A model that shares all tensors with this one, and takes no memory for them.
        """
        whole = [module for module in self.modules() if not budgets(module)]
        shared = [*self.parameters(), *self.buffers(), *whole]
        model = copy.deepcopy(self, {id(part): part for part in shared})
        set_share(model, length / (self.length or length))
        return model
