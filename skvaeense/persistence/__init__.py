"""Estimators in files that hold data and no code.

`_saving` puts the parts together. `_coder` describes values as JSON and named arrays, with one
codec for each kind of value, and lists the classes that a file can name. `_checks` checks that the
parts of a file fit together, and `_files` reads and writes files. `_checkpoint` keeps running fits
in such files.

To save a new kind of value, write a codec in `_coder`, and add it to the list at the end of the
file. A new attribute needs nothing here; give it a default in its class, so that older files still
load.
"""

from skvaeense.persistence._checkpoint import Checkpoint
from skvaeense.persistence._saving import load, save

__all__ = ["Checkpoint", "load", "save"]
