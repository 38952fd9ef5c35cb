"""Shapes and ranges in annotations, against which values from files are checked."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from skvaeense.utils._records import Record, check_fields


@dataclass(frozen=True, eq=False)
class Atoms(Record):
    """A record with every word that an annotation can have."""

    rows: Annotated[np.ndarray, "k d"]
    owners: Annotated[np.ndarray, "k int >=-1 <n"]
    points: Annotated[np.ndarray, "n d"]
    shares: Annotated[np.ndarray | None, "n >0 <=1"]
    pairs: Annotated[np.ndarray, "m 2"]
    radius: Annotated[float, ">0 inf"]
    part: Annotated[Any, "d"] = None
    names: list[str] | None = None
    kind: Literal["a", "b"] = "a"


class Part:
    """A part of three features."""

    n_features = 3


FIELDS = {
    "rows": np.zeros((2, 3)),
    "points": np.ones((4, 3)),
    "owners": np.array([-1, 3]),
    "shares": np.full(4, 0.25),
    "pairs": np.zeros((5, 2)),
    "radius": 1.0,
    "part": Part(),
}


def test_sizes_are_found():
    assert check_fields(Atoms, FIELDS) == {"k": 2, "d": 3, "n": 4, "m": 5, "2": 2}


@pytest.mark.parametrize(
    "changes", [{}, {"shares": None}, {"radius": np.inf}, {"names": ["a"]}, {"part": None}]
)
def test_what_fits_passes(changes):
    record = Atoms.from_arrays(FIELDS | changes)
    assert record.arrays().keys() >= FIELDS.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": np.ones((4, 2))}, r"points must be of shape \(4, 3\), not \(4, 2\)"),
        ({"pairs": np.ones((5, 3))}, r"pairs must be of shape \(5, 2\), not \(5, 3\)"),
        ({"rows": np.full((2, 3), np.nan)}, "rows must be finite"),
        ({"rows": np.zeros((2, 3), dtype=int)}, "rows must be finite"),
        ({"owners": np.array([0.0, 1.0])}, "owners must be integers"),
        ({"owners": np.array([0, 4])}, "owners must be below 4"),
        ({"owners": np.array([0, -2])}, "owners must be at least -1"),
        ({"shares": np.zeros(4)}, "shares must be above 0"),
        ({"shares": np.full(4, 2.0)}, "shares must be at most 1"),
        ({"radius": np.nan}, "radius must be above 0"),
        ({"radius": "1"}, "'radius' has the wrong type"),
        ({"rows": None}, "'rows' has the wrong type"),
        ({"names": [1]}, "'names' has the wrong type"),
        ({"kind": "c"}, "'kind' has the wrong type"),
        ({"part": np.ones(2)}, "part must be of shape"),
        ({"magic": 1}, "magic"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Atoms.from_arrays(FIELDS | changes)


def test_a_missing_field_is_refused():
    with pytest.raises(TypeError, match="rows"):
        Atoms.from_arrays({name: FIELDS[name] for name in FIELDS if name != "rows"})
