"""What training minimises: functions of a model and a batch that return named terms.

A new loss is one class in one file that derives from `Loss`, and one line here.
"""

from typing import Literal, TypeAlias

from skvaeense.losses._base import Loss, Terms
from skvaeense.losses._denoising import DenoisingScoreMatching
from skvaeense.losses._elbo import ELBO
from skvaeense.losses._reconstruction import PenalizedReconstruction
from skvaeense.utils._validation import resolve_alias

__all__ = [
    "ELBO",
    "DenoisingScoreMatching",
    "Loss",
    "PenalizedReconstruction",
    "Terms",
    "resolve_loss",
]

LossName: TypeAlias = Literal["elbo", "penalized_reconstruction"]
ALIASES: dict[str, type[Loss]] = {
    "elbo": ELBO,
    "penalized_reconstruction": PenalizedReconstruction,
}


def resolve_loss(loss: LossName | Loss) -> Loss:
    """Return the loss that an alias stands for, or the instance itself.

    Parameters
    ----------
    loss : {"elbo", "penalized_reconstruction"} or Loss
        An alias, which means the defaults of its class, or a loss.

    Returns
    -------
    Loss
        The loss.

    Raises
    ------
    ValueError
        If the alias is unknown, or a parameter of the loss is out of its range.

    Examples
    --------
    >>> from skvaeense.losses import resolve_loss
    >>> resolve_loss("elbo")
    ELBO()
    """
    return resolve_alias("loss", loss, Loss, ALIASES)
