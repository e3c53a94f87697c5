"""Proration: what a part of a period costs of the whole, by local days, cumulatively rounded.

An amount up to a day is `amount x days / days of the whole period`, rounded half away from zero; a part is the amount
up to its end less the amount up to its start. So the parts of a period add up to the whole, wherever it is cut.
"""

from __future__ import annotations

from tallybook_engine.calendar.zones import local_date
from tallybook_engine.decimals import ratio


def prorated(amount: int, start_day: int, end_day: int, day_count: int) -> int:
    """The part of an amount (an integer) from one day to another, both counted from the whole period's start.

    `day_count` are the days of the whole period, above 0; `0 <= start_day <= end_day <= day_count`.
    """
    return ratio(amount * end_day, day_count) - ratio(amount * start_day, day_count)


def prorated_between(amount: int, zone_name: str, whole_us: tuple[int, int], part_us: tuple[int, int]) -> int:
    """The part of an amount from one instant to another of a whole period, by the local dates of the instants.

    `part_us` is clipped to the period; one that does not begin before it ends is no part of it.
    """
    start_us, end_us = max(part_us[0], whole_us[0]), min(part_us[1], whole_us[1])
    if end_us <= start_us:
        return 0
    first, start, end, last = (
        local_date(zone_name, each).toordinal() for each in (whole_us[0], start_us, end_us, whole_us[1])
    )
    return prorated(amount, start - first, end - first, last - first)
