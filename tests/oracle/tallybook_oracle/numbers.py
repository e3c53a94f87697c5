"""Numbers of the oracle: fractions, read from text and rounded by the book.

A number that "does not fit" is an answer here, not an accident: `fits` says so, and callers answer None.
"""

from fractions import Fraction
from math import ceil, floor

LIMIT = Fraction(10**15)
"""Every quantity and every amount is below this in size."""


def number(text: str) -> Fraction:
    """A decimal such as "-12.50" or "1e-3" as a fraction."""
    return Fraction(text)


def fits(value: Fraction) -> bool:
    """Whether a quantity or an amount is within the limits."""
    return abs(value) < LIMIT


def rounded(value: Fraction, decimals: int, mode: str) -> Fraction:
    """Rounds to so many decimals (negative: to tens, hundreds, ...).

    `mode` is UP (ceiling), DOWN (floor), HALF_AWAY_FROM_ZERO or HALF_EVEN.
    """
    steps = value * Fraction(10) ** decimals
    return Fraction(_whole(steps, mode)) / Fraction(10) ** decimals


def _whole(steps: Fraction, mode: str) -> int:
    if mode == "UP":
        return ceil(steps)
    if mode == "DOWN":
        return floor(steps)
    below = floor(steps)
    rest = steps - below
    if rest != Fraction(1, 2):
        return below + (rest > Fraction(1, 2))
    if mode == "HALF_EVEN":
        return below if below % 2 == 0 else below + 1
    if mode == "HALF_AWAY_FROM_ZERO":
        return below if steps < 0 else below + 1
    raise ValueError(f"no rounding is called {mode}")
