"""What is configured about meters: channel classifiers, timeslice groups, holiday calendars.

The words are Energyworx's. Values are frozen; what they say of each other is checked where they are put together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum

from tallybook_engine.determinants.readings import MAX_DECIMAL_PLACES

MINUTES_A_DAY = 1_440
MAX_TIMESLICES = 62
"""Output channels of one timeslice group."""
UNCOVERED = "UNCOVERED"
"""The slice of intervals that no other claims. No slice of a group may be named so."""


class Label(Enum):
    """Which end of its interval a timestamp names."""

    BEGIN = "BEGIN"
    END = "END"


class ChannelKind(Enum):
    """What a channel's values are."""

    INTERVAL = "INTERVAL"
    """What happened in each interval: energy, or mean power."""
    REGISTER = "REGISTER"
    """What a counter showed at an instant."""


@dataclass(frozen=True)
class ChannelClassifier:
    """What the channels of one sort have in common."""

    id: str
    unit: str
    """Of the values: "kWh", "kW", "kvarh"."""
    decimal_places: int
    """Decimals that values are stored with, 0 to 12."""
    label: Label = Label.END
    kind: ChannelKind = ChannelKind.INTERVAL
    interval_us: int | None = None
    """Length of an interval where it is always the same; without it, and without readings, none are expected."""
    dial_digits: int | None = None
    """Digits before the point at which a register rolls over to 0. None: it never does, and a difference below 0 is
    answered as it is."""

    def __post_init__(self) -> None:
        if not 0 <= self.decimal_places <= MAX_DECIMAL_PLACES:
            raise ValueError(f"{self.id}: decimal places are 0 to {MAX_DECIMAL_PLACES}, not {self.decimal_places}")
        if self.interval_us is not None and self.interval_us <= 0:
            raise ValueError(f"{self.id}: an interval's length is above 0")
        if self.dial_digits is not None and not 1 <= self.dial_digits <= 15:
            raise ValueError(f"{self.id}: a register has 1 to 15 dial digits, not {self.dial_digits}")


class Days(Enum):
    """Template of a timeslice: on which local dates it applies. On a holiday, only DAILY and HOLIDAYS do."""

    DAILY = "DAILY"
    """Every date, holidays too."""
    WEEKDAYS = "WEEKDAYS"
    """Monday to Friday."""
    WEEKEND = "WEEKEND"
    """Saturday and Sunday."""
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"
    HOLIDAYS = "HOLIDAYS"
    """The dates of the datasource's holiday calendar."""


@dataclass(frozen=True)
class TimesliceInterval:
    """A window of local wall time on some dates; the intervals that START in it go to an output channel."""

    channel: str
    """Name of the slice: the output channel."""
    days: Days
    start_minute: int
    """Minutes since local midnight, 0 to 1439."""
    end_minute: int
    """First minute after, 1 to 1440. Below `start_minute`, the window is two of the same date: to its end, and from
    its beginning."""
    is_dst: bool | None = None
    """Only in daylight saving time, or only outside of it. None: always."""
    months: tuple[int, ...] = ()
    """Only in these months, 1 to 12; empty: always. Beyond Energyworx, for tariffs by season."""

    def __post_init__(self) -> None:
        if not (0 <= self.start_minute < MINUTES_A_DAY and 0 < self.end_minute <= MINUTES_A_DAY):
            raise ValueError(f"{self.channel}: a window lies within 00:00 and 24:00")
        if self.start_minute == self.end_minute:
            raise ValueError(f"{self.channel}: a window is not empty; the whole day is 00:00 to 24:00")
        if any(not 1 <= month <= 12 for month in self.months):
            raise ValueError(f"{self.channel}: months are 1 to 12")

    def windows(self) -> tuple[tuple[int, int], ...]:
        """Half-open windows of the day, in minutes."""
        if self.start_minute < self.end_minute:
            return ((self.start_minute, self.end_minute),)
        return ((0, self.end_minute), (self.start_minute, MINUTES_A_DAY))


@dataclass(frozen=True)
class TimesliceGroup:
    """Slices of a tariff. They may overlap: each gets the interval. What none claims is UNCOVERED."""

    id: str
    intervals: tuple[TimesliceInterval, ...]

    def __post_init__(self) -> None:
        names = self.channels()
        if UNCOVERED in names:
            raise ValueError(f"{self.id}: {UNCOVERED} is what no slice claims, and no slice's name")
        if not 0 < len(names) <= MAX_TIMESLICES:
            raise ValueError(f"{self.id}: a group has 1 to {MAX_TIMESLICES} slices, not {len(names)}")

    def channels(self) -> tuple[str, ...]:
        """Names of the slices, in order of first mention."""
        return tuple(dict.fromkeys(interval.channel for interval in self.intervals))


@dataclass(frozen=True)
class HolidayCalendar:
    """Holidays as dates: a tag of a datasource."""

    id: str
    version: int
    dates: frozenset[date]
    valid_from: date | None = None
    """First date that the calendar speaks of; None: every date before too."""
    valid_to: date | None = None
    """First date that it no longer speaks of; None: every date after too."""
