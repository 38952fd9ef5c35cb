"""The interface between the trainer and a loss."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from skvaeense.utils._validation import Specification

Terms: TypeAlias = dict[str, torch.Tensor]
Gradient: TypeAlias = Callable[[torch.Tensor, torch.Generator], Terms]


class Loss(Specification):
    """A function of a model and a batch that returns named terms.

    To add a loss, derive from this class and write `terms`. A loss holds parameters, but no state.

    See Also
    --------
    ELBO : The loss of variational autoencoders.
    PenalizedReconstruction : The loss of sparse autoencoders.

    Examples
    --------
    A variational autoencoder whose divergence counts four times:

    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.losses import Loss
    >>> class BetaELBO(Loss):
    ...     def terms(self, model, x, *, generator):
    ...         error, kl = (term.mean() for term in model.elbo(x, generator=generator))
    ...         loss = error / model.noise_variance + 2 * 4 * kl
    ...         return {"loss": loss, "error": error, "kl": kl}
    >>> VAEenseTransformer(loss=BetaELBO()).get_params()["loss"]
    BetaELBO()
    """

    # Name of the method that a model must have; None if any model will do.
    method: str | None = None

    @abstractmethod
    def terms(self, model: Any, x: torch.Tensor, *, generator: torch.Generator) -> Terms:
        """Return the terms of a batch.

        Parameters
        ----------
        model : Model
            The model, in training mode.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        generator : torch.Generator
            The source of noise.

        Returns
        -------
        dict of torch.Tensor
            "loss", without dimensions, is minimised. The history records it and all other terms
            without dimensions, as means over each epoch. For a VAE, "error" is the mean squared
            error of a sample, which the noise variance follows. For a sparse coder, "active_share"
            of shape (n_components,) is the share of the samples for which each latent is active;
            without it, dead latents are not counted, and no target for active latents is met.
        """

    def gradient(self, model: Any) -> Gradient:
        """Return the function that computes terms and gradients for training.

        By default it uses autograd. Override this method to compute gradients faster.

        Parameters
        ----------
        model : Model
            The model that is trained. The function sets the `grad` of each of its parameters.

        Returns
        -------
        callable
            Maps a batch and a generator to the detached terms.
        """

        def compute(x: torch.Tensor, generator: torch.Generator) -> Terms:
            model.zero_grad(set_to_none=False)
            terms = self.terms(model, x, generator=generator)
            terms["loss"].backward()
            return {name: term.detach() for name, term in terms.items()}

        return compute

    def in_user_units(
        self, means: dict[str, float], *, n_features: int, scale: float
    ) -> dict[str, float]:
        """Return the values that the history records for an epoch.

        Parameters
        ----------
        means : dict of float
            Means of the terms over the epoch in units of the scaled samples, and the numbers that
            changed during training: "noise_variance" or "alpha".

        n_features : int
            Number of features of a sample.

        scale : float
            Root mean square of the centred training samples, in the user's units.

        Returns
        -------
        dict of float
            The values in the user's units; by default unchanged.
        """
        return means
