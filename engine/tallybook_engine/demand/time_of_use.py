"""Demand by time-of-use window: the largest interval of each slice of a timeslice group.

Slices may overlap; what none claims is UNCOVERED. Slices are judged on the interval's START, as energy is.

Source: NREL SAM, Utilityrate5, "demand charges by time-of-use period" (ur_dc_sched_weekday, ur_dc_tou_mat).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tallybook_engine.demand.load import Load
from tallybook_engine.demand.periods import whole_and_months
from tallybook_engine.demand.scheme import Demand, Scheme
from tallybook_engine.determinants.configuration import HolidayCalendar, TimesliceGroup


@dataclass(frozen=True)
class TimeOfUseDemand(Scheme):
    """The largest interval of each slice."""

    timeslice_group: str
    """Id of the group."""

    def timeslice_group_id(self) -> str | None:
        return self.timeslice_group


def time_of_use_demand(
    load: Load, group: TimesliceGroup, calendar: HolidayCalendar | None, split_by_month: bool
) -> Iterator[Demand]:
    """One a slice: of the period, and of each of its months where they are asked for."""
    scan = load.scan(load.month_bounds(), group, calendar)
    for column in range(scan.frame.total):
        for cells, start, end, is_month in whole_and_months(scan.frame.cell_bounds, split_by_month):
            part = scan.part(cells, column)
            maximum = load.maximum(part)
            yield Demand(
                start,
                end,
                is_month,
                None if maximum is None else maximum.value,
                load.unit,
                load.worst(part),
                part,
                () if maximum is None else (maximum.peak,),
                scan.frame.columns[column],
            )
