"""A scheme and a load become demands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tallybook_engine.demand.coincident_peak import CoincidentPeak, coincident_peak
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.model import DemandScheme
from tallybook_engine.demand.monthly_peaks import MeanOfMonthlyPeaks, mean_of_monthly_peaks
from tallybook_engine.demand.ratchet import Ratchet, ratchet
from tallybook_engine.demand.reactive import ExcessReactive, PowerFactor, excess_reactive, power_factor
from tallybook_engine.demand.rolling import RollingDemand, rolling_demand
from tallybook_engine.demand.scheme import Demand
from tallybook_engine.demand.time_of_use import TimeOfUseDemand, time_of_use_demand
from tallybook_engine.demand.top_peaks import MeanOfTopPeaks, mean_of_top_peaks
from tallybook_engine.determinants.configuration import HolidayCalendar, TimesliceGroup


def demands_of(
    scheme: DemandScheme,
    load: Load,
    others: Mapping[str, Load],
    group: TimesliceGroup | None,
    calendar: HolidayCalendar | None,
    history: Sequence[int | None],
    split_by_month: bool,
) -> Iterator[Demand]:
    """What a scheme makes of a load's period.

    `others` are the scheme's other channels by name, `group` its timeslice group, `history` the peaks of the local
    months before the period, oldest first, scale 12. Schemes by month (top peaks, monthly peaks, ratchet) answer each
    month of the period whatever `split_by_month` says. Raises DoesNotFit.
    """
    match scheme:
        case RollingDemand():
            return rolling_demand(scheme, load, split_by_month)
        case CoincidentPeak():
            return coincident_peak(scheme, load, others.get(scheme.system_channel or ""))
        case Ratchet():
            return ratchet(scheme, load, history)
        case MeanOfTopPeaks():
            return mean_of_top_peaks(scheme, load)
        case MeanOfMonthlyPeaks():
            return mean_of_monthly_peaks(scheme, load, history)
        case TimeOfUseDemand():
            assert group is not None, "a request's timeslice group is looked for before"
            return time_of_use_demand(load, group, calendar, split_by_month)
        case ExcessReactive():
            return excess_reactive(scheme, load, others[scheme.reactive_channel], split_by_month)
        case PowerFactor():
            return power_factor(load, others[scheme.reactive_channel], split_by_month)
