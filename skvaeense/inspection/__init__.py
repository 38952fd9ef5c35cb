"""Pictures of estimators and their codes, and the numbers behind them.

The displays follow scikit-learn's convention: `from_estimator`, and a second constructor that takes
the numbers, draw at once; `plot` draws again, on other axes or in another style. The displays need
matplotlib, and import it only to draw.

To add a display, derive a class from `Display` in a new file, and import it here.
"""

from skvaeense.inspection._activity import class_activity, sparsity_pattern
from skvaeense.inspection._dimensions import ActiveDimensionDisplay, DimensionReliabilityDisplay
from skvaeense.inspection._display import Display
from skvaeense.inspection._latent_ablation import latent_ablation
from skvaeense.inspection._latents import LatentDisplay
from skvaeense.inspection._loss_curve import LossCurveDisplay
from skvaeense.inspection._reconstruction_sparsity import (
    ReconstructionSparsityDisplay,
    reconstruction_sparsity_curve,
)
from skvaeense.inspection._score_comparison import ScoreComparisonDisplay, compare_scores
from skvaeense.utils._callbacks import show_progress

__all__ = [
    "ActiveDimensionDisplay",
    "DimensionReliabilityDisplay",
    "Display",
    "LatentDisplay",
    "LossCurveDisplay",
    "ReconstructionSparsityDisplay",
    "ScoreComparisonDisplay",
    "class_activity",
    "compare_scores",
    "latent_ablation",
    "reconstruction_sparsity_curve",
    "show_progress",
    "sparsity_pattern",
]
