"""The billing periods of every level of a tree, and which period of the level above each belongs to.

Levels may be billed at different times, each at its own boundaries. What a level comes to in one of its periods belongs
to the period of the level above that holds its last instant: a year ends in one month, and three months in one quarter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.calendar.billing_dates import BillingPeriod, billing_periods
from tallybook_engine.calendar.local_time import date_of
from tallybook_engine.catalog.compile import FOREVER_US
from tallybook_engine.contract.holding import holding
from tallybook_engine.contract.tree import Level, Tree

LEVEL_PERIODS_MAX = 262_144
"""Billing periods of all levels of a tree that are settled together."""

_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1).toordinal()


class InvoiceTooLargeError(ValueError):
    """More billing periods would be settled together than is possible."""

    def __init__(self, contract_id: str) -> None:
        super().__init__(
            f'contract "{contract_id}": more than {LEVEL_PERIODS_MAX:,} billing periods of its levels would be settled '
            "together; with credits, these are all from its start on"
        )


@dataclass(frozen=True)
class LevelPeriods:
    """The billing periods of a level that are settled, one after the other."""

    periods: Sequence[BillingPeriod]
    parents: Sequence[int]
    """Of each, which period of the level above it belongs to; of the root, its own place."""
    is_from_start: bool
    """Whether the first one is the level's first."""
    is_to_end: bool
    """Whether the last one is the level's last."""

    @cached_property
    def starts_us(self) -> NDArray[np.int64]:
        """[periods] when each starts."""
        return np.array([each.start_us for each in self.periods], dtype=np.int64)

    @cached_property
    def days(self) -> NDArray[np.int64]:
        """[periods, 4] first day of each and the one behind its last, since 1970-01-01, and when it starts and ends."""
        found = [
            (each.start_date.toordinal() - _EPOCH, each.end_date.toordinal() - _EPOCH, each.start_us, each.end_us)
            for each in self.periods
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 4)

    @property
    def end_us(self) -> int:
        """When the last one ends; 0 where there is none."""
        return self.periods[-1].end_us if self.periods else 0

    def holding(self, instant_us: int) -> int:
        """The period that holds an instant, NONE where it is not settled (`contract/holding`)."""
        count = len(self.periods)
        return holding(self.starts_us, 0, count, self.end_us, self.is_from_start, self.is_to_end, instant_us)


def level_periods(tree: Tree, first_us: int | None, until_us: int, go_on: GoOn = unasked) -> list[LevelPeriods]:
    """By level, the periods that belong to those of the root that touch [first_us, until_us); None: from its start on.

    Raises InvoiceTooLargeError.
    """
    found: list[LevelPeriods] = []
    count = 0
    for level in asking(tree.levels, go_on):
        same = _same(tree, level, found)
        if same is not None:
            count += len(same.periods)
            if count > LEVEL_PERIODS_MAX:
                raise InvoiceTooLargeError(tree.root.id)
            found.append(same)
            continue
        periods: list[BillingPeriod] = []
        parents: list[int] = []
        above = found[level.parent] if level.parent >= 0 else None
        if above is None or above.periods:
            for period in asking(_periods(level, _from_date(above, first_us)), go_on):
                if above is None:
                    at = len(periods) if first_us is None or period.end_us > first_us else -1
                    is_behind = period.start_us >= until_us
                else:
                    at = above.holding(period.end_us - 1)
                    is_behind = at < 0 and period.end_us > above.periods[0].start_us
                if is_behind:
                    break
                if at >= 0:
                    periods.append(period)
                    parents.append(at)
                    if count + len(periods) > LEVEL_PERIODS_MAX:
                        raise InvoiceTooLargeError(tree.root.id)
        count += len(periods)
        found.append(
            LevelPeriods(
                periods,
                parents,
                bool(periods) and periods[0].start_date == level.contract.start_date,
                bool(periods) and periods[-1].end_date == level.end_date,
            )
        )
    return found


def charged_stretch(calendars: Sequence[LevelPeriods]) -> tuple[int, int]:
    """[start, end): the billing periods whose charge lines belong to these periods. Empty where there are none.

    Where these are the contract's first or last, so is everything before or behind: lines may be of a version under
    which it began earlier or ended later.
    """
    periods = [each for calendar in calendars for each in calendar.periods]
    if not periods:
        return 0, 0
    start_us = -FOREVER_US if calendars[0].is_from_start else min(each.start_us for each in periods)
    return start_us, FOREVER_US if calendars[0].is_to_end else max(each.end_us for each in periods)


def _same(tree: Tree, level: Level, found: Sequence[LevelPeriods]) -> LevelPeriods | None:
    """The periods of a level that is billed as the one above it is; None where it is billed otherwise."""
    if level.parent < 0:
        return None
    above = tree.levels[level.parent]
    if _calendar(level) != _calendar(above):
        return None
    calendar = found[level.parent]
    if above.parent < 0 or _calendar(above) == _calendar(tree.levels[above.parent]):
        return calendar
    return replace(calendar, parents=range(len(calendar.periods)))


def _calendar(level: Level) -> tuple[object, ...]:
    """What levels have in common that have the same billing periods."""
    contract = level.contract
    return level.frequency, level.anchor, contract.start_date, level.end_date, contract.time_zone


def _from_date(above: LevelPeriods | None, first_us: int | None) -> date | None:
    """A date at which to begin looking; zones differ by less than two days."""
    if above is not None:
        return None if above.is_from_start else above.periods[0].start_date - timedelta(days=2)
    return None if first_us is None else date_of(first_us // _DAY_US - 1)


def _periods(level: Level, from_date: date | None) -> Iterator[BillingPeriod]:
    contract = level.contract
    return billing_periods(
        level.frequency, contract.start_date, level.end_date, contract.time_zone, from_date, level.anchor
    )
