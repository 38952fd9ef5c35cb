"""Export of fitted estimators to other programs, and import from them.

To add a format, write one function in a new file, and import it here.
"""

from skvaeense.export._from_saelens import from_saelens
from skvaeense.export._saelens import to_saelens

__all__ = ["from_saelens", "to_saelens"]
