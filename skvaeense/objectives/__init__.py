"""What training minimises.

A new objective is one class in one file that derives from `Objective`, and one line here.
"""

from skvaeense.objectives._base import BatchLoss, Objective
from skvaeense.objectives._denoising import DenoisingScoreMatching
from skvaeense.objectives._elbo import ELBO, ELBOTerms
from skvaeense.objectives._noise import NoiseVariance
from skvaeense.objectives._penalised import PenalisedReconstruction
from skvaeense.objectives._price import Price

__all__ = [
    "ELBO",
    "BatchLoss",
    "DenoisingScoreMatching",
    "ELBOTerms",
    "NoiseVariance",
    "Objective",
    "PenalisedReconstruction",
    "Price",
]
