"""Tiers: bands of quantity ``(previous up_to, up_to]``, the last one open.

streamOS writes the same bands as ``[0, 100], [101, 200], ...``; bounds here are decimals, so 100.5 lies in the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import Limb, lt128

if TYPE_CHECKING:
    from tallybook_engine.pricing.tables import PriceTables

OPEN_END = (1 << 127) - 1
"""`up_to` of an open tier in the tables: no quantity reaches it."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A band of quantity and its prices, scale 12."""

    up_to: int | None
    """The last quantity that lies in this tier; None in the last tier, which has no end."""
    unit_price: int = 0
    """Price of one unit."""
    flat_fee: int = 0
    """Due once where the tier is entered (graduated) or reached (volume, stairstep)."""


class TierRow(NamedTuple):
    """A tier as the tables hold it; each model says what its `start` and `amount` mean."""

    up_to: int
    start: int
    unit_price: int
    amount: int


def check_tiers(tiers: Sequence[Tier]) -> None:
    """ValueError unless the bounds rise from above 0 and only the last tier is open."""
    bounds = [tier.up_to for tier in tiers]
    if not bounds or bounds[-1] is not None or None in bounds[:-1]:
        raise ValueError("the last tier, and no other, is open")
    closed = [0, *(bound for bound in bounds if bound is not None)]
    if any(upper <= lower for lower, upper in pairwise(closed)):
        raise ValueError("tier bounds do not rise")


def tier_index_at(tiers: Sequence[Tier], quantity: int) -> int:
    """Index of the tier in which a quantity (scale 12, not negative) lies; 0 lies in the first."""
    return next(index for index, tier in enumerate(tiers) if tier.up_to is None or quantity <= tier.up_to)


@kernel
def tier_at(tables: "PriceTables", price_index: int, lo: Limb, hi: Limb) -> int:
    """Row of the price's tier in which a quantity (not negative) lies; 0 lies in the first."""
    low = tables.first_tier[price_index]
    high = tables.end_tier[price_index] - 1
    while low < high:
        middle = (low + high) >> 1
        if lt128(tables.tier_up_to[middle, 0], tables.tier_up_to[middle, 1], lo, hi):
            low = middle + 1
        else:
            high = middle
    return low
