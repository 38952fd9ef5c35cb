"""Losses that training minimises: functions of a model and a batch that return named terms.

A new loss needs one class that derives from `Loss`, and its import here.
"""

from skvaeense.losses._losses import ELBO, Loss, PenalizedReconstruction
from skvaeense.losses._losses import Terms as Terms

__all__ = ["ELBO", "Loss", "PenalizedReconstruction"]
