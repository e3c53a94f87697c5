"""Ratchet: billing demand looks back, and a high month is paid for in the months after it.

Billing demand of a month is the largest of: the month's own peak, where it counts in full; each peak of the months
looked back to and of the month itself, at the share of the month that the peak is of; and a minimum.

Source: NREL SAM, Utilityrate5, billing demand with lookback (ur_billing_demand_lookback_period,
ur_billing_demand_lookback_percentages: a percentage a month and whether its actual peak counts,
ur_billing_demand_minimum).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np

from tallybook_engine.calendar.local_time import local_times
from tallybook_engine.decimals import UNIT
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.looking_back import monthly_demands
from tallybook_engine.demand.scheme import Demand, Scheme, SchemeFault, at_least, not_negative
from tallybook_engine.determinants.numbers import rounded

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Ratchet(Scheme):
    """The month's peak, or a share of an earlier one."""

    lookback_month_count: int = 11
    """How many months before the month."""
    shares: tuple[int, ...] = (UNIT,)
    """What part of a peak counts when it is looked back to, scale 12: one for all, or one a month, from January."""
    counts_in_full: tuple[bool, ...] = (True,)
    """Whether a month's own peak counts as it is: one for all, or one a month, from January."""
    minimum: int = 0
    """Billing demand is at least this; scale 12."""

    def __post_init__(self) -> None:
        at_least(self.lookback_month_count, 0, "lookback_month_count")
        not_negative(self.minimum, "minimum")
        if len(self.shares) not in (1, 12) or len(self.counts_in_full) not in (1, 12):
            raise SchemeFault("shares and counts_in_full have one entry or twelve")
        for share in self.shares:
            not_negative(share, "shares")


def billing_demand(scheme: Ratchet, peaks: Sequence[int | None], month: int) -> int | None:
    """Billing demand of the last of some consecutive months.

    `peaks` are at scale 12, oldest first, the month's own last; None: not known. `month` is the month's number, 1 to
    12. Rounded half away from zero; None where no peak is known.
    """
    candidates: list[Fraction] = []
    for back, peak in enumerate(reversed(peaks[-(scheme.lookback_month_count + 1) :])):
        if peak is None:
            continue
        candidates.append(Fraction(peak * _of_month(scheme.shares, month - back), UNIT))
        if back == 0 and _of_month(scheme.counts_in_full, month):
            candidates.append(Fraction(peak))
    if not candidates:
        return None
    return rounded(max(*candidates, Fraction(scheme.minimum)))


def _of_month(entries: Sequence[Entry], month: int) -> Entry:
    return entries[(month - 1) % 12 % len(entries)]


def ratchet(scheme: Ratchet, load: Load, history: Sequence[int | None]) -> Iterator[Demand]:
    """One a local month of the period; `history` are the peaks of the months before it, oldest first."""

    def value_of(peaks: Sequence[int | None], start_us: int) -> int | None:
        month = int(local_times(load.zone, np.array([start_us])).month[0]) % 12 + 1
        return billing_demand(scheme, peaks, month)

    return monthly_demands(load, history, value_of)
