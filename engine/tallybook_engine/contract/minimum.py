"""Minimum: a level comes to at least so much in a billing period; the true-up is a line of its own, after the cap.

The amount is of rounded lines, so that the true-up is what the shown lines lack (Flexprice and Lago do the same).
"""

from __future__ import annotations


def true_up(amount: int, minimum: int) -> int:
    """What an amount lacks, at least 0; minor units."""
    return max(minimum - amount, 0)
