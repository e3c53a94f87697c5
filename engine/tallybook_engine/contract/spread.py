"""Spreading an amount over parts by their weights, by largest remainder: the parts add up to it exactly.

Each part gets its share cut to the minor unit; what is left goes, a unit each, to the largest remainders, of equal ones
to the first (Hare's method, as votes become seats).
"""

from __future__ import annotations

from collections.abc import Sequence


def spread(amount: int, weights: Sequence[int]) -> list[int]:
    """An amount in parts, one a weight, of its sign. Weights are at least 0, and one is above."""
    total = sum(weights)
    shares = [divmod(abs(amount) * weight, total) for weight in weights]
    parts = [share for share, _ in shares]
    by_remainder = sorted(range(len(weights)), key=lambda index: -shares[index][1])
    for index in by_remainder[: abs(amount) - sum(parts)]:
        parts[index] += 1
    return parts if amount >= 0 else [-part for part in parts]
