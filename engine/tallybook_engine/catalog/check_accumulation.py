"""How many accumulation periods one billing period may hold.

A charge line adds up all accumulation periods that begin in its billing period, and opens with every one of them that
costs something without usage (`ledger/opening`). One event opens a line, so their number bounds what it may cost.
"""

from __future__ import annotations

from collections.abc import Mapping

from tallybook_engine.catalog import limits
from tallybook_engine.catalog.model import Frequency, PeriodUnit

_DAYS: Mapping[PeriodUnit, tuple[int, int]] = {
    PeriodUnit.DAY: (1, 1),
    PeriodUnit.WEEK: (7, 7),
    PeriodUnit.MONTH: (28, 31),
    PeriodUnit.YEAR: (365, 366),
}
"""Fewest and most days of each unit."""
_MONTHS: Mapping[PeriodUnit, int] = {PeriodUnit.MONTH: 1, PeriodUnit.YEAR: 12}
"""Units that are whole months."""


def accumulation_period_count_max(billing: Frequency, accumulation: Frequency) -> int:
    """Accumulation periods that begin within one billing period, at most: counted in months where both are, and
    otherwise by the most days that the one may have and the fewest of the other.
    """
    if billing.unit in _MONTHS and accumulation.unit in _MONTHS:
        whole, part = billing.interval * _MONTHS[billing.unit], accumulation.interval * _MONTHS[accumulation.unit]
    else:
        whole, part = billing.interval * _DAYS[billing.unit][1], accumulation.interval * _DAYS[accumulation.unit][0]
    return -(-whole // part)


def accumulation_fault(billing: Frequency, accumulation: Frequency) -> str:
    """What is wrong with an accumulation period of so many in a billing period; empty where nothing is."""
    count = accumulation_period_count_max(billing, accumulation)
    if count <= limits.ACCUMULATION_PERIODS_MAX:
        return ""
    return (
        f"{_text(accumulation)} comes {count:,} times in a billing period of {_text(billing)}, at most "
        f"{limits.ACCUMULATION_PERIODS_MAX:,} are possible: bill more often, or accumulate for longer"
    )


def _text(frequency: Frequency) -> str:
    return f"{frequency.interval} {frequency.unit.value}"
