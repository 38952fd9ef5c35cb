"""Manifolds of known dimension that only benchmarks measure."""
