"""Credits: money that a level begins with pays what it comes to, earliest expiry first.

A credit pays in every billing period that has a day of it. What a period leaves of it, the next one finds; what is left
when it expires is lost. Credits of one expiry are used in the order of their start, then of the catalogue (Lago's
wallets: in the order of their creation). They come last: a true-up is paid by them too, as OpenMeter does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from tallybook_engine.catalog.model import Contract
from tallybook_engine.kernels import kernel


@dataclass(frozen=True, slots=True)
class Balance:
    """A credit that a level begins with."""

    id: str
    start_date: date
    end_date: date
    """First day after; the last of the calendar where it does not expire."""


def balances(contract: Contract) -> list[Balance]:
    """A level's credits, in the order in which they pay."""
    found = [
        Balance(each.id, each.start_date or contract.start_date, each.end_date or date.max) for each in contract.credits
    ]
    return sorted(found, key=lambda each: (each.end_date, each.start_date))


@kernel
def paid_by(
    left: np.int64,
    credit_start_day: np.int32,
    credit_end_day: np.int32,
    amount: np.int64,
    start_day: np.int32,
    end_day: np.int32,
) -> np.int64:
    """What the rest of a credit gives to an amount of a billing period; minor units, days by number, ends exclusive.

    An amount of 0 or below needs nothing.
    """
    if credit_start_day >= end_day or start_day >= credit_end_day:
        return np.int64(0)
    return max(min(left, amount), np.int64(0))
