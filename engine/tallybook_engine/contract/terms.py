"""Terms: the stretches that a contract with an end runs for, the first one and those that it is renewed for.

A renewed contract runs for as long again: for as many months where its first term is whole months, the day clamped as a
billing period's is, and for as many days otherwise. Without renewal the first term is the only one (streamOS calls them
the terms of a contract, Solvimon its renewals).
"""

from __future__ import annotations

from datetime import date

from tallybook_engine.calendar.billing_dates import index_holding
from tallybook_engine.calendar.periods import boundary_date
from tallybook_engine.catalog.model import Basis, Contract, Frequency, PeriodUnit


def term_frequency(start: date, end: date) -> Frequency:
    """How long a term is whose first one is [start, end); its boundaries are counted from `start`."""
    months = (end.year - start.year) * 12 + end.month - start.month
    by_months = Frequency(Basis.CONTRACT, months, PeriodUnit.MONTH)
    if months > 0 and boundary_date(by_months, start, 1) == end:
        return by_months
    return Frequency(Basis.CONTRACT, (end - start).days, PeriodUnit.DAY)


def term_holding(contract: Contract, day: date) -> tuple[date, date] | None:
    """The term (first day, first day after) of a contract that holds one of its days; None: it has no end."""
    if contract.end_date is None:
        return None
    frequency = term_frequency(contract.start_date, contract.end_date)
    index = index_holding(frequency, contract.start_date, day)
    first, end = (boundary_date(frequency, contract.start_date, index + each) for each in (0, 1))
    return first, end
