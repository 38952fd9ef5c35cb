"""Estimators in files that hold data and no code.

`_files` reads and writes files, and keeps running fits in them. `_coder` describes values as JSON
and named arrays, by one table of their kinds, and lists the classes that a file can name.

A new penalty, network or estimator needs nothing here. Another class whose objects a fit holds
derives from `Kept`, or from `Record`, which checks what is read. A new attribute needs a default in
its class, so that older files still load.
"""

from skvaeense.persistence._files import Checkpoint, load, save

__all__ = ["Checkpoint", "load", "save"]
