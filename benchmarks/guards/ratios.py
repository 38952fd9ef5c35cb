"""Time ratios of steps and transforms, one number for each, which asv tracks over commits.

make guards                                   measure the present commit
asv continuous --config benchmarks/asv.conf.json main~5 main
"""

import torch

# asv imports this folder as a top-level package, whose name is not `benchmarks.guards`.
from . import steps

REPEATS = 5
STEPS = {f"{step.name}, {step.sizes[0]} to {step.sizes[1]}": step for step in steps.steps()}
TRANSFORMS = (
    "VAEase, single layer",
    "VAEase, default network",
    "default",
    "SparseAutoencoder",
)


class Step:
    """A training step."""

    params = list(STEPS)
    param_names = ("step",)
    unit = "times its matrix products"
    timeout = 600

    def setup(self, name):
        """Use one thread."""
        torch.set_num_threads(1)

    def track_ratio(self, name):
        """Return the ratio of the time of the step to the time of its matrix products."""
        return STEPS[name].measure(REPEATS)["ratios"]["ours"]


class Transform:
    """The transform of samples."""

    params = (steps.TRANSFORM_SIZES, TRANSFORMS)
    param_names = ("features and components", "estimator")
    unit = "times PCA's"

    def setup(self, sizes, name):
        """Use one thread."""
        torch.set_num_threads(1)

    def track_ratio(self, sizes, name):
        """Return the ratio of the time of the transform to the time of PCA's transform."""
        return steps.transform_ratios(*sizes, REPEATS)[name]


class Import:
    """The import of estimators, which the package imports when they are first named."""

    def timeraw_import(self):
        """Return the code that asv times in a separate process."""
        return "from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer"
