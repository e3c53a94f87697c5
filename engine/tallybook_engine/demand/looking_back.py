"""What schemes that look back have in common: a demand a local month, of its own peak and those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tallybook_engine.demand.load import Load
from tallybook_engine.demand.periods import months
from tallybook_engine.demand.scheme import Demand


def monthly_demands(
    load: Load, history: Sequence[int | None], value_of: Callable[[Sequence[int | None], int], int | None]
) -> Iterator[Demand]:
    """One a local month of the period; `history` are the peaks of the months before it, oldest first.

    `value_of` answers the demand of the last of some months, of their peaks (scale 12, oldest first, None: not known)
    and the month's first instant.
    """
    scan = load.scan(load.month_bounds())
    peaks = list(history)
    for cells, start_us, end_us, is_month in months(scan.frame.cell_bounds):
        part = scan.part(cells)
        maximum = load.maximum(part)
        peaks.append(None if maximum is None else maximum.value)
        yield Demand(
            start_us,
            end_us,
            is_month,
            value_of(peaks, start_us),
            load.unit,
            load.worst(part),
            part,
            () if maximum is None else (maximum.peak,),
        )
