"""Lets the scripts of this folder import those of the folder above."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent
sys.path.append(str(BENCHMARKS))
