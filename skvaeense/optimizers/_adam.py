"""Adam."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch.optim.adamw import adamw

from skvaeense.optimizers._base import Optimizer
from skvaeense.utils._validation import FRACTION, NON_NEGATIVE, POSITIVE


@dataclass(eq=False, repr=False)
class Adam(Optimizer):  # numpydoc ignore=PR02
    """Steps of about the learning rate for each weight, whatever the size of its gradient [1]_.

    Parameters
    ----------
    beta1 : float, default=0.9
        Decay of the running mean of gradients, for each step, in [0, 1).

    beta2 : float, default=0.999
        Decay of the running mean of their squares, in [0, 1).

    eps : float, default=1e-8
        Added to the root of the running mean of squares.

    weight_decay : float, default=0.0
        Share of each weight that a step subtracts, times the learning rate (decoupled, as in
        AdamW).

    See Also
    --------
    SGD : Steps proportional to the gradient.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.optimizers import Adam
    >>> SparseAutoencoder(optimizer=Adam(beta1=0.0)).get_params()["optimizer__beta1"]
    0.0
    """

    alias = "adam"
    is_scale_free = True

    _parameter_constraints = {
        "beta1": [FRACTION],
        "beta2": [FRACTION],
        "eps": [POSITIVE],
        "weight_decay": [NON_NEGATIVE],
    }

    beta1: float = 0.9
    beta2: float = 0.999
    _: KW_ONLY
    eps: float = 1e-8
    weight_decay: float = 0.0

    def build(self, parameters: list[torch.nn.Parameter]) -> "FusedAdam":
        """Return the optimizer of some parameters."""
        return FusedAdam(parameters, self.get_params())


class FusedAdam:
    """The part of torch.optim.AdamW that a trainer needs, by the same fused torch function.

    The first optimizer that derives from torch.optim.Optimizer in a process loads torch._dynamo,
    which takes longer than the default fit of a small table.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], options: dict[str, Any]) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": parameters, "lr": 1e-3}]
        self.options = options | {"fused": True, "amsgrad": False, "maximize": False}
        self.state = {
            parameter: {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter.detach()),
                "exp_avg_sq": torch.zeros_like(parameter.detach()),
            }
            for parameter in parameters
        }

    @torch.no_grad()
    def step(self) -> None:
        """Take a step."""
        options = self.options | {"lr": self.param_groups[0]["lr"]}
        for parameter, memory in self.state.items():
            if parameter.grad is not None:
                moments: Any = [memory["exp_avg"]], [memory["exp_avg_sq"]], [], [memory["step"]]
                adamw([parameter], [parameter.grad], *moments, **options)

    def state_dict(self) -> dict[str, Any]:
        """Return the moments, by the index of the parameter."""
        return {"state": dict(enumerate(self.state.values()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore moments of the same shapes; without any, start from zero."""
        for i, memory in enumerate(self.state.values()):
            for name, own in memory.items():
                own.copy_(state["state"][i][name]) if i in state["state"] else own.zero_()
