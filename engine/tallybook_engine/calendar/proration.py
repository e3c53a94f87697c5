"""Proration: what a part of a period costs of the whole, by local days, cumulatively rounded.

An amount up to a day is `amount x days / days of the whole period`, rounded half away from zero; a part is the amount
up to its end less the amount up to its start. So the parts of a period add up to the whole, wherever it is cut.
"""

from __future__ import annotations

from tallybook_engine.decimals import ratio


def prorated(amount: int, start_day: int, end_day: int, day_count: int) -> int:
    """The part of an amount (minor units) from one day to another, both counted from the whole period's start.

    `day_count` are the days of the whole period, above 0; `0 <= start_day <= end_day <= day_count`.
    """
    return ratio(amount * end_day, day_count) - ratio(amount * start_day, day_count)
