"""Losses that training minimises: functions of a model and a batch that return named terms.

A new loss needs one class that derives from `Loss`, in one file, and its import here.
"""

from skvaeense.losses._base import Loss, Terms
from skvaeense.losses._elbo import ELBO
from skvaeense.losses._reconstruction import PenalizedReconstruction

__all__ = ["ELBO", "Loss", "PenalizedReconstruction", "Terms"]
