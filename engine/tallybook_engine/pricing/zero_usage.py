"""Zero usage: what a plan with tiers costs when no unit is charged.

Nothing, unless the plan says `zero_usage`: then tier 1's flat fee is due from the start (Lago), not only from the
first unit (OpenMeter, Flexprice). Where FREE_FIRST_TIER puts a free tier in front, that one is the first.
"""

from collections.abc import Sequence

import numpy as np

from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels import inlined_kernel
from tallybook_engine.kernels.wide import Triple
from tallybook_engine.pricing.line import LineKind, PriceLine
from tallybook_engine.pricing.tiers import Tier


@inlined_kernel
def zero_usage_price(first_tier: np.void) -> Triple:
    """The first tier's flat fee, exact (scale 24)."""
    amount = first_tier["amount"]
    return amount[0], amount[1], amount[2]


def zero_usage_lines(tiers: Sequence[Tier], first_number: int) -> list[PriceLine]:
    """The line of the first tier's flat fee, if it has one; `first_number` is the first tier's number."""
    flat_fee = tiers[0].flat_fee
    return [PriceLine(LineKind.TIER, first_number, 0, None, flat_fee, flat_fee * UNIT)] if flat_fee else []
