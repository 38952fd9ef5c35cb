"""Inputs that estimators refuse, and their errors. Tests run each row, and the user guide shows it.

In a message, ``…`` stands for the part that differs from case to case.
"""

from bad_inputs.answers import CODES, FITTED
from bad_inputs.parameters import NESTED, PARAMETERS, TOGETHER
from bad_inputs.samples import ELSEWHERE, SAMPLES, UNFITTED

TABLES = {
    "samples": SAMPLES,
    "elsewhere": ELSEWHERE,
    "unfitted": UNFITTED,
    "fitted": FITTED,
    "codes": CODES,
    "parameters": PARAMETERS,
    "nested": NESTED,
    "together": TOGETHER,
}
