"""Which billing period of a tree's root bills an instant of one of its levels.

What a level comes to in one of its periods belongs to the period of the level above that holds its last instant
(`contract/calendars`). This is the same for one instant, without laying the calendars out.
"""

from __future__ import annotations

from datetime import date

from tallybook_engine.calendar.billing_dates import BillingPeriod, billing_periods
from tallybook_engine.contract.tree import Level, Tree

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAY_US = 86_400_000_000


def root_period(tree: Tree, contract_path: tuple[str, ...], instant_us: int) -> tuple[int, int] | None:
    """[start, end) of the root's billing period in which an instant of a charge is billed; None: in none.

    `contract_path` leads down to the product contract. A charge of a level that the tree no longer has is of the
    nearest one above.
    """
    names = (name for name in reversed(contract_path[:-1]) if name in tree.numbers)
    number = tree.numbers[next(names, tree.root.id)]
    while True:
        level = tree.levels[number]
        period = _holding(level, instant_us)
        if period is None:
            return None
        if level.parent < 0:
            return period.start_us, period.end_us
        number, instant_us = level.parent, period.end_us - 1


def _holding(level: Level, instant_us: int) -> BillingPeriod | None:
    """The period of a level that holds an instant; the first one before all, the last one behind all."""
    day = date.fromordinal(_EPOCH_ORDINAL + instant_us // _DAY_US - 1)
    if level.end_date is not None:
        day = min(day, level.end_date)
    last = None
    contract = level.contract
    # A little earlier, so that behind all of them there is still the last one.
    for from_date in (day, contract.start_date):
        for period in billing_periods(
            level.frequency, contract.start_date, level.end_date, contract.time_zone, from_date, level.anchor
        ):
            last = period
            if instant_us < period.end_us:
                return period
        if last is not None:
            return last
    return None
