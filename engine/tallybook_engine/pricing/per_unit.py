"""Per-unit: every unit at one price.

streamOS FLAT, Solvimon FLAT, Lago standard, Stripe per_unit.
"""

from dataclasses import dataclass

from tallybook_engine.pricing.line import LineKind, PriceLine
from tallybook_engine.pricing.tiers import OPEN_END, TierRow


@dataclass(frozen=True, slots=True)
class PerUnit:
    """Price of one unit, scale 12."""

    unit_price: int


def per_unit_rows(model: PerUnit) -> list[TierRow]:
    """One open tier without a flat fee."""
    return [TierRow(OPEN_END, 0, model.unit_price, 0)]


def per_unit_lines(model: PerUnit, quantity: int) -> list[PriceLine]:
    """One line, tier 1."""
    return [PriceLine(LineKind.TIER, 1, quantity, model.unit_price, 0, quantity * model.unit_price)]
