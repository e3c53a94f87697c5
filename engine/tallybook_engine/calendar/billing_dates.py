"""The billing periods of a contract, one after the other, and what of each the contract's dates leave.

Which periods there are is `periods`' to say; streamOS shows the same under billing dates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from tallybook_engine.calendar.periods import anchor_date, boundary_date
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.model import Frequency


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """One period: whole, as its frequency has it, and clipped to the contract."""

    whole_start_date: date
    whole_end_date: date
    """First day after."""
    start_date: date
    end_date: date
    """First day after."""
    start_us: int
    """First instant of `start_date`, microseconds since the epoch."""
    end_us: int
    """First instant of `end_date`."""

    @property
    def day_count(self) -> int:
        """Local dates that are billed."""
        return (self.end_date - self.start_date).days

    @property
    def whole_day_count(self) -> int:
        """Local dates of the whole period."""
        return (self.whole_end_date - self.whole_start_date).days

    @property
    def part(self) -> tuple[int, int, int] | None:
        """(first day, day behind the last, days of the whole period) that are billed (`calendar/proration`); None: all
        of them.
        """
        if self.start_date == self.whole_start_date and self.end_date == self.whole_end_date:
            return None
        first_day = (self.start_date - self.whole_start_date).days
        return first_day, first_day + self.day_count, self.whole_day_count


def billing_periods(
    frequency: Frequency,
    start: date,
    end: date | None,
    zone: str,
    from_date: date | None = None,
    contract_start: date | None = None,
) -> Iterator[BillingPeriod]:
    """The billing periods of a contract of [start, end), from the one that holds `from_date` on; without end where
    `end` is None, until the calendar's own.

    `contract_start` anchors the periods, where that is another day than `start`, and not after it. Periods without an
    instant, whose dates the zone skipped, are left out. Raises UnknownZone.
    """
    anchor = anchor_date(frequency, contract_start or start)
    index = index_holding(frequency, anchor, max(start, from_date or start))
    whole_start = boundary_date(frequency, anchor, index)
    while end is None or whole_start < end:
        index += 1
        whole_end = boundary_date(frequency, anchor, index)
        if whole_end <= whole_start:
            return
        first, last = max(whole_start, start), whole_end if end is None else min(whole_end, end)
        start_us, end_us = midnight(zone, first), midnight(zone, last)
        if start_us < end_us:
            yield BillingPeriod(whole_start, whole_end, first, last, start_us, end_us)
        whole_start = whole_end


def index_holding(frequency: Frequency, anchor: date, day: date) -> int:
    """The largest k whose boundary is not after a day that is not before the anchor."""
    low, high = 0, 1
    while boundary_date(frequency, anchor, high) <= day:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if boundary_date(frequency, anchor, middle) <= day:
            low = middle
        else:
            high = middle
    return low
