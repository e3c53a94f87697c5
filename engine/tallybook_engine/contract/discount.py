"""Discount: a percentage off what a level comes to, once that is above a threshold.

ALL takes the percentage of the whole amount, EXCESS of what lies above the threshold. The discount is rounded once,
half away from zero. It is the first of a level's modifiers, as OpenMeter applies it (percentage before maximum).
"""

from __future__ import annotations

from tallybook_engine.catalog.model import DiscountMode
from tallybook_engine.decimals import UNIT, ratio


def discount_of(amount: int, threshold: int, rate: int, mode: DiscountMode) -> int:
    """What is taken off an amount, at least 0; amounts in minor units, the rate of scale 12."""
    if amount <= max(threshold, 0):
        return 0
    return ratio((amount if mode is DiscountMode.ALL else amount - threshold) * rate, UNIT)
