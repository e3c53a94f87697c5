"""Volume: all units at the price of the tier that the quantity reaches, and that tier's flat fee.

One unit more can make the whole cheaper, so a marginal cost can be negative. streamOS STEPPED, Solvimon TOP_TIERED,
Lago and Stripe volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import Limb, Triple, add192, mul128
from tallybook_engine.pricing.line import LineKind, PriceLine
from tallybook_engine.pricing.tiers import OPEN_END, Tier, TierRow, tier_at, tier_index_at

if TYPE_CHECKING:
    from tallybook_engine.pricing.tables import PriceTables


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


@kernel
def volume_price(tables: "PriceTables", price_index: int, lo: Limb, hi: Limb) -> Triple:
    """Exact price (scale 24) of a quantity above 0."""
    row = tier_at(tables, price_index, lo, hi)
    cost_lo, cost_mid, cost_hi = mul128(lo, hi, tables.tier_unit_price[row, 0], tables.tier_unit_price[row, 1])
    return add192(
        cost_lo,
        cost_mid,
        cost_hi,
        tables.tier_amount[row, 0],
        tables.tier_amount[row, 1],
        tables.tier_amount[row, 2],
    )


def volume_lines(tiers: Sequence[Tier], first_number: int, quantity: int) -> list[PriceLine]:
    """The line of the tier that a quantity above 0 reaches; `first_number` is the first tier's number."""
    index = tier_index_at(tiers, quantity)
    tier = tiers[index]
    amount = quantity * tier.unit_price + tier.flat_fee * UNIT
    return [PriceLine(LineKind.TIER, first_number + index, quantity, tier.unit_price, tier.flat_fee, amount)]
