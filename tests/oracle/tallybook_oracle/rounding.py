"""A charge line's amount in the currency's smallest unit."""

from fractions import Fraction

from tallybook_oracle.numbers import rounded

MINOR_LIMIT = 2**63


def minor_units(amount: Fraction, minor_digits: int, mode: str) -> int | None:
    """The exact amount rounded once, in minor units; None if it does not fit 63 bits and a sign."""
    minor = rounded(amount, minor_digits, mode) * 10**minor_digits
    return int(minor) if abs(minor) < MINOR_LIMIT else None
