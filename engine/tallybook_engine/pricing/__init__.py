"""Prices: one model a file, and what stands around it."""
