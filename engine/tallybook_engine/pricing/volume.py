"""Volume: all units at the price of the tier that the quantity reaches, and that tier's flat fee.

One unit more can make the whole cheaper, so a marginal cost can be negative. streamOS STEPPED, Solvimon TOP_TIERED,
Lago and Stripe volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tallybook_engine.decimals import UNIT
from tallybook_engine.pricing.line import LineKind, PriceLine
from tallybook_engine.pricing.tiers import OPEN_END, Tier, TierRow, tier_index_at


@dataclass(frozen=True, slots=True)
class Volume:
    """Tiers in rising order, the last one open."""

    tiers: tuple[Tier, ...]


def volume_rows(tiers: Sequence[Tier]) -> list[TierRow]:
    """`start` is 0, for all units are charged; `amount` is the tier's flat fee."""
    return [
        TierRow(OPEN_END if tier.up_to is None else tier.up_to, 0, tier.unit_price, tier.flat_fee * UNIT)
        for tier in tiers
    ]


def volume_lines(tiers: Sequence[Tier], first_number: int, quantity: int) -> list[PriceLine]:
    """The line of the tier that a quantity above 0 reaches; `first_number` is the first tier's number."""
    index = tier_index_at(tiers, quantity)
    tier = tiers[index]
    amount = quantity * tier.unit_price + tier.flat_fee * UNIT
    return [PriceLine(LineKind.TIER, first_number + index, quantity, tier.unit_price, tier.flat_fee, amount)]
