"""Helpers for all subpackages."""
