"""Fitted estimators for other programs.

A new format is one function in one file, and one line here.
"""

from skvaeense.export._onnx import to_onnx
from skvaeense.export._saelens import to_saelens

__all__ = ["to_onnx", "to_saelens"]
