"""Periods of a frequency: boundary k is the anchor plus k intervals, counted from the anchor.

Counting from the anchor (and not from the boundary before) keeps a contract of 31 January on the last days of its
months: 31 January, 28 February, 31 March. Periods are half-open and are not clipped to the contract's dates.

The anchor is the contract's start (CONTRACT), floored to the unit for CALENDAR; streamOS documents the same two
billing types under billing dates.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar import zones
from tallybook_engine.catalog.model import Basis, Frequency, PeriodUnit

FIRST_DATE = date(1, 1, 3)
"""Earliest boundary: room for any zone's offset before it."""
LAST_DATE = date(9999, 12, 30)
"""Latest boundary: room for any zone's offset after it."""

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAY_US = 86_400_000_000


def anchor_date(frequency: Frequency, contract_start: date) -> date:
    """Boundary 0 of a frequency in a contract that starts on a date."""
    if frequency.basis is Basis.CONTRACT:
        return contract_start
    match frequency.unit:
        case PeriodUnit.DAY:
            return contract_start
        case PeriodUnit.WEEK:
            return contract_start - timedelta(days=contract_start.weekday())
        case PeriodUnit.MONTH:
            return contract_start.replace(day=1)
        case PeriodUnit.YEAR:
            return contract_start.replace(month=1, day=1)


def boundary_date(frequency: Frequency, anchor: date, index: int) -> date:
    """Local date of boundary `index` (which may be negative), held between FIRST_DATE and LAST_DATE."""
    count = index * frequency.interval
    match frequency.unit:
        case PeriodUnit.DAY:
            return _from_ordinal(anchor.toordinal() + count)
        case PeriodUnit.WEEK:
            return _from_ordinal(anchor.toordinal() + 7 * count)
        case PeriodUnit.MONTH:
            return _add_months(anchor, count)
        case PeriodUnit.YEAR:
            return _add_months(anchor, 12 * count)


def _from_ordinal(ordinal: int) -> date:
    return date.fromordinal(min(max(ordinal, FIRST_DATE.toordinal()), LAST_DATE.toordinal()))


def _add_months(anchor: date, months: int) -> date:
    year, month_index = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    if year < 1:
        return FIRST_DATE
    if year > 9999:
        return LAST_DATE
    day = min(anchor.day, monthrange(year, month_index + 1)[1])
    return min(max(date(year, month_index + 1, day), FIRST_DATE), LAST_DATE)


def boundary(frequency: Frequency, anchor: date, zone: str, index: int) -> int:
    """Instant of boundary `index`, in microseconds since the epoch: the first instant of its local date."""
    return zones.midnight(zone, boundary_date(frequency, anchor, index))


def period_at(frequency: Frequency, anchor: date, zone: str, instant_us: int) -> tuple[int, int]:
    """The period that holds an instant: (start, end) in microseconds since the epoch, start <= instant < end.

    `anchor` is `anchor_date(frequency, contract start)`; `zone` an IANA name. Never empty: where a zone skips a
    whole date, the period that would be empty holds no instant. Raises ValueError for an instant before FIRST_DATE
    or from LAST_DATE on, and UnknownZone.
    """
    _, start, end = _period_index(frequency, anchor, zone, instant_us)
    return start, end


class RecentPeriods:
    """`period_at` with a memory: what opens next mostly opens in the period that the last one of its kind opened in."""

    def __init__(self) -> None:
        self._last: dict[tuple[Frequency, date, str], tuple[int, int]] = {}

    def at(self, frequency: Frequency, contract_start: date, zone: str, instant_us: int) -> tuple[int, int]:
        """The period that holds an instant, in a contract that starts on a date."""
        calendar = (frequency, contract_start, zone)
        known = self._last.get(calendar)
        if known is None or not known[0] <= instant_us < known[1]:
            known = period_at(frequency, anchor_date(frequency, contract_start), zone, instant_us)
            self._last[calendar] = known
        return known


def boundaries(frequency: Frequency, anchor: date, zone: str, first_us: int, last_us: int) -> NDArray[np.int64]:
    """Every boundary from the start of the period of `first_us` to the end of the period of `last_us`.

    Strictly ascending int64 microseconds since the epoch, at least two, so that `searchsorted(instants, "right") - 1`
    places a whole column of instants. Raises as `period_at` does, and ValueError where `last_us` < `first_us`.
    """
    if last_us < first_us:
        raise ValueError(f"the last instant {last_us} lies before the first {first_us}")
    index, start, end = _period_index(frequency, anchor, zone, first_us)
    found = [start, end]
    while found[-1] <= last_us:
        index += 1
        following = boundary(frequency, anchor, zone, index + 1)
        if following > found[-1]:
            found.append(following)
    return np.array(found, dtype=np.int64)


def _period_index(frequency: Frequency, anchor: date, zone: str, instant_us: int) -> tuple[int, int, int]:
    """(k, boundary k, boundary k + 1) around an instant, from a guess that is at most a few periods off."""
    if not zones.midnight(zone, FIRST_DATE) <= instant_us < zones.midnight(zone, LAST_DATE):
        raise ValueError(f"instant {instant_us} is outside {FIRST_DATE}..{LAST_DATE}")
    index = _index_near(frequency, anchor, date.fromordinal(_EPOCH_ORDINAL + instant_us // _DAY_US))
    while instant_us < (start := boundary(frequency, anchor, zone, index)):
        index -= 1
    while (end := boundary(frequency, anchor, zone, index + 1)) <= instant_us:
        index, start = index + 1, end
    return index, start, end


def _index_near(frequency: Frequency, anchor: date, day: date) -> int:
    match frequency.unit:
        case PeriodUnit.DAY:
            return (day.toordinal() - anchor.toordinal()) // frequency.interval
        case PeriodUnit.WEEK:
            return (day.toordinal() - anchor.toordinal()) // (7 * frequency.interval)
        case PeriodUnit.MONTH:
            return ((day.year - anchor.year) * 12 + day.month - anchor.month) // frequency.interval
        case PeriodUnit.YEAR:
            return (day.year - anchor.year) // frequency.interval
