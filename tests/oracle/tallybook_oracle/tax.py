"""Tax of one rounded charge line."""

from fractions import Fraction

from tallybook_oracle.numbers import rounded
from tallybook_oracle.rounding import MINOR_LIMIT


def tax_minor_units(amount_minor: int, rate: Fraction, inclusive: bool) -> int | None:
    """The tax of a line in minor units, a half away from zero; None if it does not fit.

    Exclusive: on top of the line. Inclusive: the part of the line that is tax.
    """
    tax = amount_minor * rate / (1 + rate) if inclusive else amount_minor * rate
    minor = rounded(tax, 0, "HALF_AWAY_FROM_ZERO")
    return int(minor) if abs(minor) < MINOR_LIMIT else None
