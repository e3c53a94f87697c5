"""Included quantity: units that a plan gives away, in one of two readings that differ under volume prices.

SUBTRACT_FIRST takes the included units off the quantity, and the tiers see only the rest (OpenMeter's usage discount,
Lago's free units). FREE_FIRST_TIER puts them before the tiers as a tier of their own that costs nothing, and every
bound moves up by it (Autumn's allowance); so under volume, where the tier reached prices *all* units, the included
units are paid too once they are exceeded. Prices without tiers know only the first reading.

By switch, an accumulation period that its product contract has only a part of gives away as much as its days say
(`calendar/proration`); the price of such a period is one of its own, with a smaller quantity in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from tallybook_engine.kernels import inlined_kernel
from tallybook_engine.kernels.wide import ZERO, Limb, Pair, is_negative, sub128
from tallybook_engine.pricing.tiers import Tier


class IncludedMode(Enum):
    """How included units meet the tiers."""

    SUBTRACT_FIRST = "SUBTRACT_FIRST"
    FREE_FIRST_TIER = "FREE_FIRST_TIER"


@dataclass(frozen=True, slots=True)
class IncludedQuantity:
    """Units (after conversion) that cost nothing, scale 12."""

    quantity: int
    mode: IncludedMode = IncludedMode.SUBTRACT_FIRST
    prorate: bool = False
    """Whether an accumulation period that is not whole includes as much as its days say."""


def with_free_first_tier(tiers: Sequence[Tier], included: int) -> tuple[Tier, ...]:
    """The tiers behind a free one of `included` units."""
    moved = (
        Tier(None if tier.up_to is None else tier.up_to + included, tier.unit_price, tier.flat_fee) for tier in tiers
    )
    return (Tier(included, 0, 0), *moved)


@inlined_kernel
def subtract_included(row: np.void, lo: Limb, hi: Limb) -> Pair:
    """max(quantity - included, 0)."""
    included = row["included"]
    lo, hi = sub128(lo, hi, included[0], included[1])
    if is_negative(hi):
        return ZERO, ZERO
    return lo, hi
