"""One line of an explained price."""

from dataclasses import dataclass
from enum import Enum


class LineKind(Enum):
    """Which rule made a line, in the order in which lines are listed."""

    INCLUDED = "INCLUDED"
    """Units that cost nothing because the plan includes them."""
    TIER = "TIER"
    """Units at a tier's price, and its flat fee. Per-unit prices are one tier."""
    PACKAGE = "PACKAGE"
    """Whole packages; the line's quantity counts packages."""
    MINIMUM = "MINIMUM"
    """What is missing to the plan's minimum."""
    CAP = "CAP"
    """What lies above the plan's cap, negative."""


@dataclass(frozen=True, slots=True)
class PriceLine:
    """Part of an exact price. The lines of a price sum to it exactly."""

    kind: LineKind
    tier: int
    """From 1 as the plan lists them; 0 where no tier of the plan is meant."""
    quantity: int
    """Scale 12."""
    unit_amount: int | None
    """Price of one unit (or package), scale 12; None where the line has no unit price."""
    flat_fee: int
    """Flat fee within the amount, scale 12."""
    amount: int
    """Exact, scale 24."""
