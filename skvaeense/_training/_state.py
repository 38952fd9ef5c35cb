"""Modules as structure and arrays: the form in which estimators are pickled.

Some readers of pickled objects, skops among them, make objects without calling their classes and
then set attributes. Tensors cannot be made so, and arrays can.
"""

import copy

import numpy as np
import torch
from torch import nn


def take_apart(module):
    """Return a copy of a module without its tensors, and these as arrays by their names."""
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    # The copy believes that it has each tensor already, as None.
    structure = copy.deepcopy(module, {id(tensor): None for tensor in tensors.values()})
    return structure, {name: t.detach().cpu().numpy() for name, t in tensors.items()}


def put_together(structure, arrays):
    """Give a module its tensors back."""
    for name, array in arrays.items():
        place, _, own_name = name.rpartition(".")
        owner, tensor = structure.get_submodule(place), torch.tensor(np.asarray(array))
        if own_name in owner._parameters:
            owner.register_parameter(own_name, nn.Parameter(tensor))
        else:
            owner.register_buffer(own_name, tensor)
    return structure
