"""What makes the codes of a sparse autoencoder sparse: a price, a constraint, or both.

A new penalty is one class in one file that derives from `Penalty`, and one line here.
"""

from typing import Literal, TypeAlias

from skvaeense.penalties._base import Coding, Penalty
from skvaeense.penalties._batch_topk import BatchTopK
from skvaeense.penalties._gated import Gated
from skvaeense.penalties._jump_relu import JumpReLU
from skvaeense.penalties._l1 import L1
from skvaeense.penalties._log import Log
from skvaeense.penalties._matryoshka import Matryoshka
from skvaeense.penalties._topk import TopK
from skvaeense.utils._validation import resolve_alias

__all__ = [
    "L1",
    "BatchTopK",
    "Coding",
    "Gated",
    "JumpReLU",
    "Log",
    "Matryoshka",
    "Penalty",
    "TopK",
    "resolve_penalty",
]

PenaltyName: TypeAlias = Literal[
    "batch_topk", "gated", "jump_relu", "l1", "log", "matryoshka", "topk"
]
ALIASES: dict[str, type[Penalty]] = {
    "batch_topk": BatchTopK,
    "gated": Gated,
    "jump_relu": JumpReLU,
    "l1": L1,
    "log": Log,
    "matryoshka": Matryoshka,
    "topk": TopK,
}


def resolve_penalty(penalty: PenaltyName | Penalty) -> Penalty:
    """Return the penalty that an alias stands for, or the instance itself.

    Parameters
    ----------
    penalty : {"batch_topk", "gated", "jump_relu", "l1", "log", "matryoshka", "topk"} or Penalty
        An alias, which means the defaults of its class, or a penalty.

    Returns
    -------
    Penalty
        The penalty.

    Raises
    ------
    ValueError
        If the alias is unknown, or a parameter of the penalty is out of its range.

    Examples
    --------
    >>> from skvaeense.penalties import resolve_penalty
    >>> resolve_penalty("topk")
    TopK()
    """
    return resolve_alias("penalty", penalty, Penalty, ALIASES)
