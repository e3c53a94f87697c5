"""What is configured about meters: datasources, channel classifiers, timeslice groups, holiday calendars.

The words are Energyworx's. Values are frozen, and one that makes no sense by itself cannot be made; what they say of
each other is checked where they are put together, in `catalog/check_metering`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import cached_property

from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.readings import MAX_DECIMAL_PLACES, MAX_INTERVAL_US

MINUTES_A_DAY = 1_440
DAY_US = 86_400_000_000
MAX_TIMESLICES = 62
"""Output channels of one timeslice group."""
MAX_WINDOWS = 1_000
"""Windows of a timeslice group."""
MAX_CHANNELS = 256
"""Channels of a datasource."""
MAX_HOLIDAYS = 10_000
"""Dates of a holiday calendar."""
MAX_READING_TYPES = 64
"""Reading types of a channel classifier."""
MAX_REGISTER_TOLERANCE_DAYS = 31
"""Days that a register's reading may lie from a period's bounds."""
UNCOVERED = "UNCOVERED"
"""The slice of intervals that no other claims. No slice of a group may be named so."""


READING_TYPE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){17}", re.ASCII)
"""A CIM reading type (IEC 61968-9, annex C): 18 numbers with dots between."""

Found = Iterable[tuple[str, str]]
"""(field, what is wrong with it) of everything that is wrong."""


class ConfigurationFault(ValueError):
    """An object that makes no sense by itself: every field that is wrong, as the contract names it."""

    def __init__(self, name: str, faults: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{name}: {field} {message}" for field, message in faults))
        self.faults = faults


def refuse(name: str, found: Found) -> None:
    """ConfigurationFault where anything was found."""
    faults = tuple(found)
    if faults:
        raise ConfigurationFault(name, faults)


def repeated(path: str, names: Iterable[str], field: str = "") -> Found:
    """A fault for each name that stood before."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield f"{path}[{index}]{field}", f'"{name}" is there twice'
        seen.add(name)


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
class ReadingType:
    """What a CIM GetMeterReadings request asks of a channel by naming a reading type."""

    ref: str
    """18 numbers: "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"."""
    kind: Kind
    """INTERVAL, TIMESLICE, PMAX or REGISTER."""
    timeslice_group: str | None = None
    """Id of the group, for TIMESLICE."""
    as_power: bool = False
    """For PMAX of energy: the maximum is that of mean power."""


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

    reading_types: tuple[ReadingType, ...] = ()
    """What CIM requests call it."""

    def __post_init__(self) -> None:
        refuse(self.id, self._faults())

    def _faults(self) -> Found:
        if not 0 <= self.decimal_places <= MAX_DECIMAL_PLACES:
            yield "decimal_places", f"are 0 to {MAX_DECIMAL_PLACES}, not {self.decimal_places}"
        if self.interval_us is not None and not 0 < self.interval_us <= MAX_INTERVAL_US:
            yield "interval", f"a length is above 0 and at most {MAX_INTERVAL_US // DAY_US} days"
        if self.dial_digits is not None and not 1 <= self.dial_digits <= 15:
            yield "dial_digits", f"a register has 1 to 15 dial digits, not {self.dial_digits}"
        if len(self.reading_types) > MAX_READING_TYPES:
            yield "reading_types", f"has {len(self.reading_types)} entries; at most {MAX_READING_TYPES}"
        for index, each in enumerate(self.reading_types):
            here = f"reading_types[{index}]"
            if not READING_TYPE.fullmatch(each.ref):
                yield f"{here}.ref", f'"{each.ref[:40]}" is not 18 numbers with dots between'
            if (each.kind is Kind.REGISTER) != (self.kind is ChannelKind.REGISTER):
                yield f"{here}.kind", f"{each.kind.value} is not asked of {self.kind.value} channels"
            if (each.kind is Kind.TIMESLICE) != (each.timeslice_group is not None):
                yield f"{here}.timeslice_group", "TIMESLICE has one, and no other kind"
            if each.as_power and each.kind is not Kind.PMAX:
                yield f"{here}.as_power", "only PMAX is answered as power"


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
        refuse(self.channel, self._faults())

    def _faults(self) -> Found:
        if not 0 <= self.start_minute < MINUTES_A_DAY:
            yield "start_time_of_day", "a window lies within 00:00 and 24:00"
        if not 0 < self.end_minute <= MINUTES_A_DAY:
            yield "end_time_of_day", "a window lies within 00:00 and 24:00"
        if self.start_minute == self.end_minute < MINUTES_A_DAY:
            yield "end_time_of_day", "a window is not empty; the whole day is 00:00 to 24:00"
        if any(not 1 <= month <= 12 for month in self.months):
            yield "months", "months are 1 to 12"
        if len(set(self.months)) < len(self.months):
            yield "months", "names a month twice"

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
        refuse(self.id, self._faults())

    def _faults(self) -> Found:
        if len(self.intervals) > MAX_WINDOWS:
            yield "intervals", f"has {len(self.intervals)} entries; at most {MAX_WINDOWS}"
        for index, interval in enumerate(self.intervals):
            if interval.channel == UNCOVERED:
                yield f"intervals[{index}].slice", f"{UNCOVERED} is what no slice claims, and no slice's name"
        count = len(self.channels())
        if not 0 < count <= MAX_TIMESLICES:
            yield "intervals", f"a group has 1 to {MAX_TIMESLICES} slices, not {count}"

    def channels(self) -> tuple[str, ...]:
        """Names of the slices, in order of first mention."""
        return tuple(dict.fromkeys(interval.channel for interval in self.intervals))

    @cached_property
    def _hash(self) -> int:
        return hash((self.id, self.intervals))

    def __hash__(self) -> int:
        # Of a thousand windows, and asked for wherever the calendar that they make is remembered.
        return self._hash


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

    def __post_init__(self) -> None:
        refuse(self.id, self._faults())

    def _faults(self) -> Found:
        if len(self.dates) > MAX_HOLIDAYS:
            yield "dates", f"has {len(self.dates)} entries; at most {MAX_HOLIDAYS}"
        if self.valid_from is not None and self.valid_to is not None and self.valid_from >= self.valid_to:
            yield "valid_to_date", "is not after valid_from_date"

    @cached_property
    def _hash(self) -> int:
        return hash((self.id, self.version, self.dates, self.valid_from, self.valid_to))

    def __hash__(self) -> int:
        # As a timeslice group's.
        return self._hash


@dataclass(frozen=True)
class Channel:
    """One series of readings of a datasource."""

    name: str
    """Unique at its datasource."""
    classifier: str
    """Id of its classifier."""


@dataclass(frozen=True)
class Datasource:
    """A meter that readings come from."""

    id: str
    channels: tuple[Channel, ...] = ()
    holiday_calendar: str | None = None
    """Id of its holiday calendar: its tag."""
    quality_table: str | None = None
    """Id of its quality table; None: the default one."""
    register_tolerance_us: int = 0
    """How far from a period's bounds a register's reading may lie; the nearest counts, the earlier of two."""
    customer: str | None = None
    """Id of the customer who pays for what it measures; None: its determinants are nobody's usage."""
    contract_id: str | None = None
    """Id of the product contract that its determinants count under; None: of all that match."""
    time_zone: str | None = None
    """IANA name, for requests that name none."""

    def __post_init__(self) -> None:
        refuse(self.id, self._faults())

    def _faults(self) -> Found:
        if len(self.channels) > MAX_CHANNELS:
            yield "channels", f"has {len(self.channels)} entries; at most {MAX_CHANNELS}"
        yield from repeated("channels", (each.name for each in self.channels), ".name")
        if not 0 <= self.register_tolerance_us <= MAX_REGISTER_TOLERANCE_DAYS * DAY_US:
            yield "register_tolerance", f"is not from 0 to {MAX_REGISTER_TOLERANCE_DAYS} days"
        if self.contract_id is not None and self.customer is None:
            yield "contract_id", "needs a customer, whose contract it is of"
