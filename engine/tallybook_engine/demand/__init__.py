"""Demand: what a bill charges for power rather than energy, one scheme a file."""
