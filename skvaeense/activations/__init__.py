"""Activations of a running model: samples for `fit`, and runs of the model on reconstructions.

Any torch module works; nothing here depends on a library of language models.
"""

from skvaeense.activations._activations import Activations
from skvaeense.activations._replaced import LossRecovered as LossRecovered
from skvaeense.activations._replaced import loss_recovered, replaced

__all__ = ["Activations", "loss_recovered", "replaced"]
