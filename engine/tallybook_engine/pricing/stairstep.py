"""Stairstep: one flat amount for the band in which the quantity lies, whatever the units in it.

Solvimon STAIR_STEP, Stripe volume tiers with only flat amounts, Kill Bill CAPACITY.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tallybook_engine.decimals import UNIT
from tallybook_engine.pricing.line import LineKind, PriceLine
from tallybook_engine.pricing.tiers import OPEN_END, Tier, TierRow, tier_index_at


@dataclass(frozen=True, slots=True)
class Stairstep:
    """Tiers in rising order, the last one open. Only their flat fees count."""

    tiers: tuple[Tier, ...]


def stairstep_rows(tiers: Sequence[Tier]) -> list[TierRow]:
    """`amount` is the band's flat amount; no unit has a price."""
    return [TierRow(OPEN_END if tier.up_to is None else tier.up_to, 0, 0, tier.flat_fee * UNIT) for tier in tiers]


def stairstep_lines(tiers: Sequence[Tier], first_number: int, quantity: int) -> list[PriceLine]:
    """The line of the band in which a quantity above 0 lies; `first_number` is the first tier's number."""
    index = tier_index_at(tiers, quantity)
    flat_fee = tiers[index].flat_fee
    return [PriceLine(LineKind.TIER, first_number + index, quantity, None, flat_fee, flat_fee * UNIT)]
