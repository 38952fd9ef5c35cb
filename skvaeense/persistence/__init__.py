"""Estimators in files that hold data and no code.

`_saving` puts the parts together. `_coder` describes values as JSON and named arrays, and objects
by one table of their kinds; it lists the classes that a file can name. `_checks` checks that the
parts of a file fit together, and `_files` reads and writes files. `_checkpoint` keeps running fits
in such files.

To save a new kind of object, add a row to the table in `_coder`. A new attribute needs nothing
here; give it a default in its class, so that older files still load.
"""

from skvaeense.persistence._checkpoint import Checkpoint
from skvaeense.persistence._saving import load, save

__all__ = ["Checkpoint", "load", "save"]
