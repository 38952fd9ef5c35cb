"""The demo, the paper's experiments and the timings, run by ``python -m benchmarks NAME``."""
