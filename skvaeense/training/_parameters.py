"""The weights of a model in one flat tensor."""

import torch
from torch import nn


class FlatParameters:
    """Lay all parameters of a model, and their gradients, side by side in memory.

    The model's own tensors become views. One operation then covers all parameters: a step of the
    optimizer, or a mean over processes.

    Parameters
    ----------
    model : torch.nn.Module
        The model. Its parameters have one type and one device.

    Attributes
    ----------
    values : torch.nn.Parameter of shape (n_weights,)
        All weights, with all gradients as its `grad`.

    grads : torch.Tensor of shape (n_weights,)
        The gradients.
    """

    def __init__(self, model: nn.Module) -> None:
        parameters = list(model.parameters())
        self.sizes = [parameter.numel() for parameter in parameters]
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        self.values = nn.Parameter(flat)
        self.values.grad = self.grads = torch.zeros_like(flat)
        self.places = {id(parameter): i for i, parameter in enumerate(parameters)}
        for parameter in parameters:
            parameter.data = self.part(flat, parameter)
            parameter.grad = self.part(self.grads, parameter)

    def part(self, flat: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
        """Return the part of a flat tensor that belongs to a parameter, as a view of its shape."""
        return flat.split(self.sizes)[self.places[id(parameter)]].view(parameter.shape)


# Number of inputs of a layer beyond which its learning rate falls, and the power of the decrease.
FULL_RATE_INPUTS = 256
RATE_POWER = 1.5


def layer_rates(model: nn.Module) -> dict[nn.Parameter, float | torch.Tensor]:
    """Return factors on the learning rate of layers with many inputs.

    Adam moves every weight by about the learning rate, so the output of a unit moves by that rate
    times the sum of its inputs. Without smaller steps for layers with many inputs, training on wide
    data misses patterns. A power above 1 was steadier there than a power of 1.
    """
    # The weights of a convolution have the shape (n_out, n_in, height, width).
    n_inputs = {p: p.shape[1:].numel() for p in model.parameters()}
    return {
        p: (FULL_RATE_INPUTS / n) ** RATE_POWER for p, n in n_inputs.items() if n > FULL_RATE_INPUTS
    }
