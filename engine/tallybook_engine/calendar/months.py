"""Local months and days of a period: half-open, from the first instant of one local date to that of another."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.periods import anchor_date, boundaries
from tallybook_engine.catalog.model import Basis, Frequency, PeriodUnit


def month_bounds(zone: str, start_us: int, end_us: int) -> NDArray[np.int64]:
    """The period's own bounds and every beginning of a local month between them.

    Strictly ascending int64[m + 1] microseconds since the epoch; the first and last months may be partial. Raises as
    `periods.period_at` does, and ValueError for an empty period.
    """
    return _bounds(PeriodUnit.MONTH, zone, start_us, end_us)


def day_bounds(zone: str, start_us: int, end_us: int) -> NDArray[np.int64]:
    """The period's own bounds and every beginning of a local date between them, as `month_bounds`."""
    return _bounds(PeriodUnit.DAY, zone, start_us, end_us)


def _bounds(unit: PeriodUnit, zone: str, start_us: int, end_us: int) -> NDArray[np.int64]:
    if end_us <= start_us:
        raise ValueError(f"the period {start_us} .. {end_us} is empty")
    frequency = Frequency(Basis.CALENDAR, 1, unit)
    whole = boundaries(frequency, anchor_date(frequency, date(1970, 1, 1)), zone, start_us, end_us - 1)
    whole[0], whole[-1] = start_us, end_us
    return whole
