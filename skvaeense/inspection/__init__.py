"""Pictures of estimators and their codes, and the numbers behind them.

The displays follow scikit-learn's convention: `from_estimator`, and a second constructor that takes
the numbers, draw at once; `plot` draws again, on other axes or in another style. The displays need
matplotlib, and import it only to draw.

To add a display, derive a class from `Display` in a new file, and import it here.
"""

from skvaeense.inspection._active_dimension import ActiveDimensionDisplay
from skvaeense.inspection._base import Display
from skvaeense.inspection._class_activity import ClassActivityDisplay, class_activity
from skvaeense.inspection._dictionary_stability import dictionary_stability
from skvaeense.inspection._dimension_reliability import DimensionReliabilityDisplay
from skvaeense.inspection._dimension_scale import DimensionScaleDisplay
from skvaeense.inspection._feature_absorption import feature_absorption
from skvaeense.inspection._feature_density import FeatureDensityDisplay
from skvaeense.inspection._latent_ablation import latent_ablation
from skvaeense.inspection._latents import LatentDisplay
from skvaeense.inspection._loss_curve import LossCurveDisplay
from skvaeense.inspection._reconstruction_sparsity import (
    ReconstructionSparsityDisplay,
    reconstruction_sparsity_curve,
)
from skvaeense.inspection._score_comparison import ScoreComparisonDisplay, compare_scores
from skvaeense.inspection._sparsity_pattern import SparsityPatternDisplay
from skvaeense.inspection._top_activating import top_activating
from skvaeense.utils._callbacks import show_progress

__all__ = [
    "ActiveDimensionDisplay",
    "ClassActivityDisplay",
    "DimensionReliabilityDisplay",
    "DimensionScaleDisplay",
    "Display",
    "FeatureDensityDisplay",
    "LatentDisplay",
    "LossCurveDisplay",
    "ReconstructionSparsityDisplay",
    "ScoreComparisonDisplay",
    "SparsityPatternDisplay",
    "class_activity",
    "compare_scores",
    "dictionary_stability",
    "feature_absorption",
    "latent_ablation",
    "reconstruction_sparsity_curve",
    "show_progress",
    "top_activating",
]
