"""The ratios of steps and transforms, one number each, for asv to follow from commit to commit.

make guards                                   measure the present commit
asv continuous --config benchmarks/asv.conf.json main~5 main
"""

import torch

# asv imports this folder as a package of its own, whose name is not `benchmarks.guards`.
from . import steps

REPEATS = 5
STEPS = {f"{step.name}, {step.sizes[0]} to {step.sizes[1]}": step for step in steps.steps()}
TRANSFORMS = ("single layer", "default network", "SparseAutoencoder")


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
        """Return its time over that of its matrix products."""
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
        """Return its time over that of PCA's."""
        return steps.transform_ratios(*sizes, REPEATS)[name]


class Import:
    """The import of the package."""

    def timeraw_import(self):
        """Return what another process runs."""
        return "import skvaeense"
