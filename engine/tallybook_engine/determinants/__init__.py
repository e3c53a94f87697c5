"""Billing determinants of energy meters."""
