"""Estimators for other programs."""
