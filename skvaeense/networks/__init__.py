"""Specifications of encoders and decoders; `build` turns one into a torch module.

A new architecture is one class in one file that derives from `Network`, and one line here.
"""

from typing import Literal, TypeAlias

from skvaeense.networks._base import Network
from skvaeense.networks._conv import Conv
from skvaeense.networks._linear import Linear
from skvaeense.networks._matching_pursuit import MatchingPursuit
from skvaeense.networks._mean_field import MeanField
from skvaeense.networks._mlp import MLP
from skvaeense.networks._single_layer import SingleLayer
from skvaeense.networks._subspaces import Subspaces
from skvaeense.networks._unrolled import Unrolled
from skvaeense.utils._validation import resolve_alias

__all__ = [
    "MLP",
    "Conv",
    "Linear",
    "MatchingPursuit",
    "MeanField",
    "Network",
    "SingleLayer",
    "Subspaces",
    "Unrolled",
    "resolve_network",
]

NetworkName: TypeAlias = Literal["linear", "mlp", "single_layer", "unrolled"]
ALIASES: dict[str, type[Network]] = {
    "linear": Linear,
    "mlp": MLP,
    "single_layer": SingleLayer,
    "unrolled": Unrolled,
}


def resolve_network(network: NetworkName | Network) -> Network:
    """Return the network that an alias stands for, or the instance itself.

    Parameters
    ----------
    network : {"linear", "mlp", "single_layer", "unrolled"} or Network
        An alias, which means the defaults of its class, or a specification.

    Returns
    -------
    Network
        The specification.

    Raises
    ------
    ValueError
        If the alias is unknown, or a parameter of the network is out of its range.

    Examples
    --------
    >>> from skvaeense.networks import resolve_network
    >>> resolve_network("linear")
    Linear()
    """
    return resolve_alias("network", network, Network, ALIASES)
