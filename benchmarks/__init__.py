"""The demo, the paper's experiments and the timings: ``python -m benchmarks NAME``."""
