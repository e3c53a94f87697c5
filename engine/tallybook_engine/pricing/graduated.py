"""Graduated: each slice of the quantity at its own tier's price, and the flat fee of every tier entered, once.

A tier is entered above the previous tier's `up_to`. streamOS RAMPED, Solvimon TIERED (progressive), Lago and Stripe
graduated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import Limb, Triple, add192, mul128, sub128
from tallybook_engine.pricing.line import LineKind, PriceLine
from tallybook_engine.pricing.tiers import OPEN_END, Tier, TierRow, tier_at, tier_index_at

if TYPE_CHECKING:
    from tallybook_engine.pricing.tables import PriceTables


@dataclass(frozen=True, slots=True)
class Graduated:
    """Tiers in rising order, the last one open."""

    tiers: tuple[Tier, ...]


def graduated_rows(tiers: Sequence[Tier]) -> list[TierRow]:
    """`start` is the previous bound; `amount` is what all lower tiers cost in full, and this tier's flat fee.

    So a price needs one multiplication, however many tiers lie below.
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


@kernel
def graduated_price(tables: "PriceTables", price_index: int, lo: Limb, hi: Limb) -> Triple:
    """Exact price (scale 24) of a quantity above 0."""
    row = tier_at(tables, price_index, lo, hi)
    slice_lo, slice_hi = sub128(lo, hi, tables.tier_start[row, 0], tables.tier_start[row, 1])
    cost_lo, cost_mid, cost_hi = mul128(
        slice_lo, slice_hi, tables.tier_unit_price[row, 0], tables.tier_unit_price[row, 1]
    )
    return add192(
        cost_lo,
        cost_mid,
        cost_hi,
        tables.tier_amount[row, 0],
        tables.tier_amount[row, 1],
        tables.tier_amount[row, 2],
    )


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
