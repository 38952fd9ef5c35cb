"""Optimizers: what moves the weights by their gradients.

A new optimizer is one class in one file that derives from `Optimizer`, and one line here.
"""

from typing import Literal, TypeAlias

from skvaeense.optimizers._adam import Adam
from skvaeense.optimizers._base import Optimizer
from skvaeense.optimizers._sgd import SGD
from skvaeense.utils._validation import resolve_alias

__all__ = ["SGD", "Adam", "Optimizer", "resolve_optimizer"]

OptimizerName: TypeAlias = Literal["adam", "sgd"]
ALIASES: dict[str, type[Optimizer]] = {"adam": Adam, "sgd": SGD}


def resolve_optimizer(optimizer: OptimizerName | Optimizer) -> Optimizer:
    """Return the optimizer that an alias stands for, or the instance itself.

    Parameters
    ----------
    optimizer : {"adam", "sgd"} or Optimizer
        An alias, which means the defaults of its class, or a specification.

    Returns
    -------
    Optimizer
        The specification.

    Raises
    ------
    ValueError
        If the alias is unknown, or a parameter of the optimizer is out of its range.

    Examples
    --------
    >>> from skvaeense.optimizers import resolve_optimizer
    >>> resolve_optimizer("adam")
    Adam()
    """
    return resolve_alias("optimizer", optimizer, Optimizer, ALIASES)
