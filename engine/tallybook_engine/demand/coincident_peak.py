"""Coincident peak: a load's power while the system had its peaks.

The system's peaks are either published instants, or found in a channel of the system's load: its N largest intervals,
each so many local days from the others (1: on different days), chosen from the largest down, the earlier of equals.
The load's mean over the peaks counts; a peak at which the load has no value is left out.

Source: PJM, Manual 18 (5CP, five days); ERCOT, 4CP; National Grid ESO, Triads (three half-hours at least ten clear
days apart).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.local_time import local_times
from tallybook_engine.decimals import UNIT
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.scheme import Demand, Scheme, SchemeFault, Window, at_least
from tallybook_engine.demand.windows import NO_WINDOW, windows_of
from tallybook_engine.determinants.numbers import HOUR_US, quotient
from tallybook_engine.kernels import kernel


@dataclass(frozen=True)
class CoincidentPeak(Scheme):
    """The mean power at the system's peaks; of a whole period."""

    system_channel: str | None = None
    """Channel of the system's load; or `peak_starts_us`, never both."""
    peak_starts_us: tuple[int, ...] = ()
    """Published beginnings of the peaks, microseconds since the epoch."""
    count: int = 1
    """How many peaks of the system's load."""
    days_apart: int = 1
    """Least difference of the peaks' local dates: 0 any, 1 different days, 11 ten clear days between."""
    block_us: int = HOUR_US
    """Length of a peak, of the system's load and of the load; a multiple of the interval's of both."""

    def __post_init__(self) -> None:
        at_least(self.count, 1, "count")
        at_least(self.days_apart, 0, "days_apart")
        at_least(self.block_us, 1, "block_us")
        if (self.system_channel is None) == (not self.peak_starts_us):
            raise SchemeFault("a coincident peak has a system channel or the beginnings of peaks, one of them")

    def other_channels(self) -> tuple[str, ...]:
        return () if self.system_channel is None else (self.system_channel,)

    def window(self) -> Window:
        return Window("coincident_peak.block", self.block_us)


def coincident_peak(scheme: CoincidentPeak, load: Load, system: Load | None) -> Iterator[Demand]:
    """One, of the whole period."""
    starts = system_peaks(scheme, system) if system is not None else sorted(set(scheme.peak_starts_us))
    starts = [start for start in starts if load.start_us <= start < max(load.end_us, load.start_us + 1)]
    windows = windows_of(load, scheme.block_us)
    rows = np.searchsorted(windows.starts_us, np.array(starts, dtype=np.int64)).tolist()
    found = [
        row
        for start, row in zip(starts, rows, strict=True)
        if row < len(windows.starts_us) and windows.starts_us[row] == start and windows.end_row[row] != NO_WINDOW
    ]
    value = quotient(sum(windows.power(row) for row in found), len(found) * UNIT) if found else None
    bounds = np.array([load.start_us, load.end_us], dtype=np.int64)
    part = load.scan(bounds).part(range(1))
    peaks = tuple(windows.peak(row, 1) for row in found)
    yield Demand(load.start_us, load.end_us, False, value, load.unit, load.worst(part), part, peaks)


def system_peaks(scheme: CoincidentPeak, system: Load) -> list[int]:
    """Beginnings of the system's peaks in its period, microseconds since the epoch, in order of time."""
    windows = windows_of(system, scheme.block_us)
    filled = np.flatnonzero(windows.end_row != NO_WINDOW)
    if not len(filled):
        return []
    ranked = windows.ranking(filled)
    for extreme in (ranked[0], ranked[-1]):
        windows.power(extreme)  # Where any does not fit, one of these does not.
    days = local_times(system.zone, windows.starts_us).day
    days = days - days.min()
    chosen = np.empty(min(scheme.count, len(filled)), np.int64)
    overlapped, near = np.zeros(len(days), np.bool_), np.zeros(int(days.max()) + 1, np.bool_)
    count = _choose(ranked, windows.starts_us, days, scheme.block_us, scheme.days_apart, overlapped, near, chosen)
    return sorted(windows.starts_us[chosen[:count]].tolist())


@kernel
def _choose(
    ranked: NDArray[np.int64],
    starts: NDArray[np.int64],
    days: NDArray[np.int64],
    block_us: int,
    days_apart: int,
    is_overlapped: NDArray[np.bool_],
    is_near: NDArray[np.bool_],
    chosen: NDArray[np.int64],
) -> int:
    """Takes windows in their rank that overlap none that was taken and are so many days from each: how many."""
    count = 0
    for window in ranked:
        if count == len(chosen):
            break
        day = days[window]
        if is_overlapped[window] or is_near[day]:
            continue
        chosen[count] = window
        count += 1
        for other in range(window, -1, -1):
            if starts[window] - starts[other] >= block_us:
                break
            is_overlapped[other] = True
        for other in range(window + 1, len(starts)):
            if starts[other] - starts[window] >= block_us:
                break
            is_overlapped[other] = True
        for other_day in range(max(0, day - days_apart + 1), min(len(is_near), day + days_apart)):
            is_near[other_day] = True
    return count
