"""Estimators in files that hold data and no code.

`_saving` puts the parts together, and keeps running fits. `_coder` describes values as JSON and
named arrays, by one table of their kinds, and lists the classes that a file can name. `_files`
reads and writes files.

A new penalty, network or estimator needs nothing here. Other classes whose objects a fit holds
derive from `Record`, which checks what is read. A new attribute needs a default in its class, so
that older files still load.
"""

from skvaeense.persistence._saving import Checkpoint, load, save

__all__ = ["Checkpoint", "load", "save"]
