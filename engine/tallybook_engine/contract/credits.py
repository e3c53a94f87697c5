"""Credits: money that a level begins with pays what it comes to, earliest expiry first.

A credit pays in every billing period that has a day of it. What a period leaves of it, the next one finds; what is left
when it expires is lost. Credits of one expiry are used in the order of their start, then of the catalogue (Lago's
wallets: in the order of their creation). They come last: a true-up is paid by them too, as OpenMeter does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(slots=True)
class Balance:
    """What is left of a credit, minor units."""

    id: str
    start_date: date
    end_date: date
    """First day after; the last of the calendar where it does not expire."""
    left: int


def in_order(balances: Sequence[Balance]) -> list[Balance]:
    """Balances in the order in which they pay."""
    return sorted(balances, key=lambda each: (each.end_date, each.start_date))


def pay(balances: Sequence[Balance], amount: int, start_date: date, end_date: date) -> list[tuple[Balance, int]]:
    """Pays an amount of the billing period [start_date, end_date); what each balance, which it changes, gave to it.

    `balances` are in order. An amount of 0 or below needs none.
    """
    paid = []
    for balance in balances:
        used = min(balance.left, amount)
        if used > 0 and balance.start_date < end_date and start_date < balance.end_date:
            balance.left -= used
            amount -= used
            paid.append((balance, used))
    return paid
