"""Displays of estimators and their codes, and comparisons of densities.

As in scikit-learn, `from_estimator` draws at once. The constructor takes the numbers of a display,
and `plot` draws them, on given axes or on new ones. Artists are attributes, for changes of style.
The displays need matplotlib, and import it only to draw.

To add a display, derive a class from `Display` in a new file, and import it here.
"""

from skvaeense.inspection._displays import (
    ActiveDimensionDisplay,
    Display,
    LatentDisplay,
    LossCurveDisplay,
    ReconstructionSparsityDisplay,
    reconstruction_sparsity_curve,
)
from skvaeense.inspection._score_comparison import ScoreComparisonDisplay, compare_scores

__all__ = [
    "ActiveDimensionDisplay",
    "Display",
    "LatentDisplay",
    "LossCurveDisplay",
    "ReconstructionSparsityDisplay",
    "ScoreComparisonDisplay",
    "compare_scores",
    "reconstruction_sparsity_curve",
]
