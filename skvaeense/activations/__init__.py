"""Activations of a running model: samples for `fit`, and what a model does with reconstructions.

Any module of torch will do; nothing here knows of a library of language models.
"""

from skvaeense.activations._activations import Activations
from skvaeense.activations._replaced import LossRecovered, loss_recovered, replaced

__all__ = ["Activations", "LossRecovered", "loss_recovered", "replaced"]
