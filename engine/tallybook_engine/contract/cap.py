"""Cap: a level comes to at most so much in a billing period; what is over it is taken off, after the discount."""

from __future__ import annotations


def overage(amount: int, cap: int) -> int:
    """What is taken off an amount, at least 0; minor units."""
    return max(amount - cap, 0)
