"""Methods that say how many dimensions there are around a sample.

Those that derive from `AutoencoderMethod` ask an autoencoder, those that derive from `ScoreMethod`
a learned score. A new method is one class in one file, and one line here. Only the methods that
ask a score need torch.
"""

from typing import Any, Literal, TypeAlias, TypeVar

from skvaeense.dimension._base import AutoencoderMethod
from skvaeense.dimension._component_rank import ComponentRank
from skvaeense.dimension._consensus import Consensus
from skvaeense.dimension._count import Count
from skvaeense.dimension._flipd import FLIPD
from skvaeense.dimension._neighbors import Neighbors
from skvaeense.dimension._normal_bundle import NormalBundle
from skvaeense.dimension._score import ScoreMethod
from skvaeense.utils._validation import resolve_alias

__all__ = [
    "FLIPD",
    "AutoencoderMethod",
    "ComponentRank",
    "Consensus",
    "Count",
    "Neighbors",
    "NormalBundle",
    "ScoreMethod",
    "resolve_method",
]

AutoencoderMethodName: TypeAlias = Literal["auto", "component_rank", "count", "neighbors"]
ScoreMethodName: TypeAlias = Literal["flipd", "normal_bundle"]
ALIASES: dict[type, dict[str, type[Any]]] = {
    AutoencoderMethod: {
        "auto": Consensus,
        "component_rank": ComponentRank,
        "count": Count,
        "neighbors": Neighbors,
    },
    ScoreMethod: {"flipd": FLIPD, "normal_bundle": NormalBundle},
}
Kind = TypeVar("Kind", bound=AutoencoderMethod | ScoreMethod)


def resolve_method(method: str | Kind, kind: type[Kind]) -> Kind:
    """Return the method that an alias stands for, or the instance itself.

    Parameters
    ----------
    method : str, AutoencoderMethod or ScoreMethod
        An alias, which means the defaults of its class, or a method. The aliases are "auto",
        "component_rank", "count" and "neighbors", or "flipd" and "normal_bundle".

    kind : {AutoencoderMethod, ScoreMethod}
        What the method asks.

    Returns
    -------
    AutoencoderMethod or ScoreMethod
        The method.

    Raises
    ------
    ValueError
        If the alias is unknown, or a parameter of the method is out of its range.

    Examples
    --------
    >>> from skvaeense.dimension import AutoencoderMethod, resolve_method
    >>> resolve_method("auto", AutoencoderMethod)
    Consensus()
    """
    return resolve_alias("method", method, kind, ALIASES[kind])
