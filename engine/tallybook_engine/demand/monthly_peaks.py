"""Mean of the last monthly peaks, each at least a floor.

A month's peak is its largest interval (15 minutes in Flanders). Of the last twelve months those that are known count;
the month itself is one of them.

Source: Flanders, VREG, capaciteitstarief: the mean of the last twelve month peaks, each at least 2.5 kW.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tallybook_engine.decimals import UNIT
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.looking_back import monthly_demands
from tallybook_engine.demand.scheme import Demand, Scheme, at_least, not_negative
from tallybook_engine.determinants.numbers import quotient


@dataclass(frozen=True)
class MeanOfMonthlyPeaks(Scheme):
    """The mean of the peaks of the last months."""

    month_count: int = 12
    """How many months, the month itself included."""
    floor: int = 0
    """A month's peak is at least this; scale 12."""

    def __post_init__(self) -> None:
        at_least(self.month_count, 1, "month_count")
        not_negative(self.floor, "floor")


def mean_of_peaks(scheme: MeanOfMonthlyPeaks, peaks: Sequence[int | None]) -> int | None:
    """The mean of the last of some monthly peaks (scale 12, oldest first), rounded once; None where none is known."""
    known = [max(peak, scheme.floor) for peak in peaks[-scheme.month_count :] if peak is not None]
    return quotient(sum(known), len(known) * UNIT) if known else None


def mean_of_monthly_peaks(scheme: MeanOfMonthlyPeaks, load: Load, history: Sequence[int | None]) -> Iterator[Demand]:
    """One a local month of the period; `history` are the peaks of the months before it, oldest first."""
    return monthly_demands(load, history, lambda peaks, _: mean_of_peaks(scheme, peaks))
