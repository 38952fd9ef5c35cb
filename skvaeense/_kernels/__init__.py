"""The arithmetic of a training step, where plain autograd would be slow.

Each file has one function with its own gradient. On a CPU what lies between two matrix products
costs less for its arithmetic than for new memory and the trips to it. So it is done tile by tile,
each small enough to stay in the cache from one operation to the next, and results go to a
Workspace, which has the same memory at every step. Each function says which formula it stands for;
tests compare it with that.
"""

from skvaeense._kernels._activity import count_active
from skvaeense._kernels._draw_code import draw_code
from skvaeense._kernels._priced_relu import EntryPrice, priced_relu
from skvaeense._kernels._squared_error import squared_error
from skvaeense._kernels._top import TopEntries, decode_entries, encode_top
from skvaeense._kernels._workspace import Workspace

__all__ = [
    "EntryPrice",
    "TopEntries",
    "Workspace",
    "count_active",
    "decode_entries",
    "draw_code",
    "encode_top",
    "priced_relu",
    "squared_error",
]
