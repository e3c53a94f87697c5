"""The load that demand schemes look at: one channel over one period, as power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.local_time import DAY_US
from tallybook_engine.determinants.accumulate import Map
from tallybook_engine.determinants.configuration import ChannelClassifier, HolidayCalendar, Label, TimesliceGroup
from tallybook_engine.determinants.interval import Frame, channel_totals, frame, period_frame, taken_rows
from tallybook_engine.determinants.numbers import power_unit
from tallybook_engine.determinants.parts import Part, parts_of, together
from tallybook_engine.determinants.pmax import maximum_of, peaks_of
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import Readings, labels_between
from tallybook_engine.determinants.result import Peak


class Maximum(NamedTuple):
    """The largest interval of some time."""

    value: int
    """Power at scale 12."""
    peak: Peak


@dataclass(frozen=True, eq=False)
class LoadScan:
    """One pass over a load."""

    frame: Frame
    parts: list[list[Part]]
    """[cell][column]"""
    as_power: bool

    def part(self, cells: range, column: int | None = None) -> Part:
        """Some cells together; of the total, unless a column is named."""
        at = self.frame.total if column is None else column
        return together([self.parts[cell][at] for cell in cells], as_power=self.as_power)


@dataclass(frozen=True, eq=False)
class Load:
    """One channel's readings, and the period that is asked about."""

    channel: str
    readings: Readings
    classifier: ChannelClassifier
    quality: QualityTable
    zone: str
    start_us: int
    end_us: int
    spread: Map = map

    @property
    def is_energy(self) -> bool:
        """Whether values are energy, whose mean power counts; otherwise they are power already."""
        return power_unit(self.classifier.unit) is not None

    @property
    def unit(self) -> str:
        """Unit of its power."""
        return power_unit(self.classifier.unit) or self.classifier.unit

    def month_bounds(self) -> NDArray[np.int64]:
        """The period's bounds and the beginnings of local months inside, int64[p + 1]."""
        return period_frame(self.zone, self.start_us, self.end_us).cell_bounds

    def scan(
        self,
        bounds: NDArray[np.int64],
        group: TimesliceGroup | None = None,
        calendar: HolidayCalendar | None = None,
    ) -> LoadScan:
        """One pass over the cells between bounds and the slices of a group; maxima are those of power."""
        longest = self.readings.times.interval_us
        lead_us = max(DAY_US, int(longest.max(initial=1)) if isinstance(longest, np.ndarray) else longest)
        laid_out = frame(self.zone, bounds, group, calendar, lead_us)
        totals = channel_totals(
            laid_out,
            self.readings,
            self.classifier.label,
            self.quality,
            as_power=self.is_energy,
            spread=self.spread,
        )
        return LoadScan(laid_out, parts_of(totals, 0), self.is_energy)

    def maximum(self, part: Part) -> Maximum | None:
        """A part's largest interval; None where none has a value."""
        value = maximum_of(part, self.classifier, as_power=self.is_energy)
        if value is None:
            return None
        (peak,) = peaks_of(part, self.readings, self.classifier.label, self.quality)
        return Maximum(value, peak)

    def worst(self, part: Part) -> str | None:
        """A part's worst status."""
        return None if part.worst is None else self.quality.statuses[part.worst].name

    def intervals(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """(starts, lengths, first row) of the rows that the period takes, int64[n] microseconds."""
        times, label = self.readings.times, self.classifier.label
        first, last = taken_rows(times, label, self.start_us, self.end_us)
        labels = labels_between(times, first, last)
        lengths = np.empty(last - first, np.int64)
        lengths[:] = times.interval_us[first:last] if isinstance(times.interval_us, np.ndarray) else times.interval_us
        return (labels - lengths if label is Label.END else labels), lengths, first
