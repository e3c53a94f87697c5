"""Graduated: each slice of the quantity at its own tier's price, and the flat fee of every tier entered, once.

A tier is entered above the previous tier's `up_to`. streamOS RAMPED, Solvimon TIERED (progressive), Lago and Stripe
graduated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tallybook_engine.decimals import UNIT
from tallybook_engine.pricing.line import LineKind, PriceLine
from tallybook_engine.pricing.tiers import OPEN_END, Tier, TierRow, tier_index_at


@dataclass(frozen=True, slots=True)
class Graduated:
    """Tiers in rising order, the last one open."""

    tiers: tuple[Tier, ...]


def graduated_rows(tiers: Sequence[Tier]) -> list[TierRow]:
    """`start` is the previous bound; `amount` is what all lower tiers cost in full, and this tier's flat fee.

    So a price takes one multiplication, however many tiers lie below.
    """
    rows = []
    start = 0
    amount_below = 0
    for tier in tiers:
        amount = amount_below + tier.flat_fee * UNIT
        up_to = OPEN_END if tier.up_to is None else tier.up_to
        rows.append(TierRow(up_to, start, tier.unit_price, amount))
        amount_below = amount + (up_to - start) * tier.unit_price
        start = up_to
    return rows


def graduated_lines(tiers: Sequence[Tier], first_number: int, quantity: int) -> list[PriceLine]:
    """A line for every tier entered by a quantity above 0; `first_number` is the first tier's number."""
    lines = []
    start = 0
    for index, tier in enumerate(tiers[: tier_index_at(tiers, quantity) + 1]):
        part = (quantity if tier.up_to is None else min(quantity, tier.up_to)) - start
        amount = part * tier.unit_price + tier.flat_fee * UNIT
        lines.append(PriceLine(LineKind.TIER, first_number + index, part, tier.unit_price, tier.flat_fee, amount))
        start += part
    return lines
