"""What a file of readings says: channels with their readings, and a report of what was read, skipped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_engine.determinants.quality import DEFAULT_QUALITY, QualityTable
from tallybook_engine.determinants.readings import MAX_DECIMAL_PLACES, Readings, labels_between

FILE_BYTES_MAX = 1 << 30
"""Bytes of one file, unpacked."""
SENTENCE_CHARACTERS_MAX = 300
"""Characters of what is said of a fault; a damaged file may have values of any length."""
REPORT_LINES_MAX = 1_000
"""Lines that a report keeps; those behind them are counted."""


class Format(Enum):
    """How a file of readings is laid out."""

    NEM12 = "NEM12"
    """AEMO's intervals (Meter Data File Format Specification NEM12 & NEM13)."""
    NEM13 = "NEM13"
    """AEMO's accumulated register reads, of the same specification."""
    GREEN_BUTTON = "GREEN_BUTTON"
    """NAESB REQ.21, the Energy Services Provider Interface, as XML."""
    CSV = "CSV"
    """A row a reading."""
    PARQUET = "PARQUET"
    """A row a reading."""


class Direction(Enum):
    """Which way the measured quantity flows."""

    DELIVERED = "DELIVERED"
    """From the network to the customer."""
    RECEIVED = "RECEIVED"
    """From the customer to the network."""
    NET = "NET"
    """Delivered less received."""


class Duplicates(Enum):
    """Which row counts of those of one channel that have the same timestamp."""

    KEEP_LAST = "KEEP_LAST"
    """The last of the file, as the last delivery wins."""
    KEEP_FIRST = "KEEP_FIRST"


@dataclass(frozen=True)
class ChannelDefaults:
    """What is known of a channel of a CSV or Parquet file whose columns do not say it."""

    unit: str | None = None
    kind: ChannelKind | None = None
    label: Label | None = None
    """Which end of the interval its times name, if neither a column nor the column's name says so."""
    interval_us: int | None = None
    """Length of each interval. None: the shortest step of the channel, of which all its steps must be multiples."""

    def __post_init__(self) -> None:
        if self.interval_us is not None and self.interval_us <= 0:
            raise ValueError("an interval's length is above 0")

    @classmethod
    def of_words(cls, kind: str | None, label: str | None, interval_us: int | None) -> ChannelDefaults:
        """From the names of a kind and a label."""
        return cls(None, ChannelKind[kind] if kind else None, Label[label] if label else None, interval_us)


@dataclass(frozen=True)
class ReadOptions:
    """What a file may leave unsaid, and how its words are to be read."""

    format: Format | None = None
    """None: recognised by its content."""
    quality: QualityTable = DEFAULT_QUALITY
    """The statuses that readings are given."""
    statuses: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Status of the table by the file's own word; goes before what the table and the format say of the word."""
    default_status: str | None = None
    """The word read where a file says none. Without it such a reading is skipped, and the report says so."""
    decimal_places: int | None = None
    """Decimals that values are stored with, 0 to 12; finer ones are skipped. None: as many as the channel's need."""
    unit: str | None = None
    """Values are converted to it where it differs by a power of ten: kWh from Wh; what measures something else stays
    as it is. Also the unit of a CSV or Parquet file that names none."""
    duplicates: Duplicates = Duplicates.KEEP_LAST
    time_zone: str | None = None
    """IANA zone of times that are written without an offset. Only CSV and Parquet may have such."""
    datasource: str | None = None
    """Of a CSV or Parquet file without such a column."""
    channel: str | None = None
    """Of a CSV or Parquet file without such a column."""
    names_needed: bool = False
    """Refuse a CSV or Parquet file where nothing names the channel or the datasource."""
    defaults: ChannelDefaults = ChannelDefaults()
    """Of every channel of a CSV or Parquet file. Without a kind it is INTERVAL."""
    channel_defaults: Mapping[str, ChannelDefaults] = field(default_factory=lambda: MappingProxyType({}))
    """Of channels by name; go before `defaults`."""
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The file's own name of a column, by ours (docs/readings.md): {"value": "consumption"}."""

    def __post_init__(self) -> None:
        if self.decimal_places is not None and not 0 <= self.decimal_places <= MAX_DECIMAL_PLACES:
            raise ValueError(f"decimal places are 0 to {MAX_DECIMAL_PLACES}, not {self.decimal_places}")

    def defaults_of(self, channel: str) -> ChannelDefaults:
        """What is known of a channel: of its own name first, then of all."""
        own, of_all = self.channel_defaults.get(channel, ChannelDefaults()), self.defaults
        return ChannelDefaults(
            own.unit or of_all.unit or self.unit,
            own.kind or of_all.kind,
            own.label or of_all.label,
            own.interval_us or of_all.interval_us,
        )


@dataclass(frozen=True)
class LocalTimeParameters:
    """The customer's local time as an ESPI file describes it. Readings are UTC all the same."""

    offset_seconds: int
    """East of UTC, without daylight saving."""
    dst_offset_seconds: int
    """Added while daylight saving time holds."""
    dst_start_rule: str
    """Hexadecimal, as in the file."""
    dst_end_rule: str


@dataclass(frozen=True)
class ChannelInfo:
    """What all readings of a channel have in common."""

    datasource: str
    """The meter or connection point: a NMI, an ESPI usage point."""
    channel: str
    """A NMI suffix, an ESPI meter reading."""
    unit: str
    kind: ChannelKind
    label: Label
    """A register's says nothing: its reads are at instants."""
    register: str | None = None
    """Id of the meter's register, where the file names one."""
    direction: Direction | None = None
    meter_serial: str | None = None
    dial_digits: int | None = None
    """Digits before the point with which all of a register's reads are written, where they are written alike: what to
    declare if it is to roll over."""
    local_time: LocalTimeParameters | None = None

    @property
    def name(self) -> str:
        """For people: "NMI111/E1"."""
        return "/".join(part for part in (self.datasource, self.channel) if part) or "the channel"


@dataclass(frozen=True)
class ChannelReadings:
    """A channel of a file."""

    info: ChannelInfo
    decimal_places: int
    """Of the values."""
    readings: Readings
    """UTC instants, scaled values, codes of the quality table; in order of time, each timestamp once."""
    words: tuple[str, ...]
    """The file's own status words; "" is none."""
    word_codes: NDArray[np.int32] = field(repr=False)
    """int32[n] each reading's own word."""

    @property
    def labels_us(self) -> NDArray[np.int64]:
        """int64[n] timestamps, microseconds of UTC."""
        return labels_between(self.readings.times, 0, self.readings.times.count)

    @property
    def lengths_us(self) -> int | NDArray[np.int64] | None:
        """Length of every interval, or of each, int64[n]; None of a register."""
        return None if self.info.kind is ChannelKind.REGISTER else self.readings.times.interval_us


class SkipReason(Enum):
    """Why a reading was left out."""

    ROW_MALFORMED = "ROW_MALFORMED"
    """Not as many columns as the header has."""
    TIME_MALFORMED = "TIME_MALFORMED"
    """No time, or one beyond the calendar."""
    TIME_SKIPPED = "TIME_SKIPPED"
    """A wall time that clocks jump over."""
    TIME_AMBIGUOUS = "TIME_AMBIGUOUS"
    """A wall time that clocks show twice and the channel has once."""
    NO_LENGTH = "NO_LENGTH"
    """An interval without a length above 0."""
    DUPLICATE = "DUPLICATE"
    """A timestamp that the channel has twice; one of them was kept."""
    NO_STATUS = "NO_STATUS"
    """No status, and no default for it."""
    UNKNOWN_STATUS = "UNKNOWN_STATUS"
    """A word that nothing explains."""
    NO_VALUE = "NO_VALUE"
    """No value, though its status says that there is one."""
    VALUE_MALFORMED = "VALUE_MALFORMED"
    """A value that is no decimal."""
    TOO_MANY_DECIMALS = "TOO_MANY_DECIMALS"
    """More decimals than are kept."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """A value that does not fit."""
    NEGATIVE = "NEGATIVE"
    """A value below 0 in a format that has none."""
    NOT_BILLABLE = "NOT_BILLABLE"
    """Neither intervals nor reads of a register."""


@dataclass(frozen=True)
class ReportLine:
    """Something that a person should know about a file."""

    line: int | None
    """Of the file, from 1 on; of Parquet, the row. None: of the file as a whole."""
    what: str
    mend: str
    """What to do about it; "" where nothing need be done."""
    skipped_count: int
    """Readings that were skipped for it; 0 for a remark."""
    reason: SkipReason | None = None
    """Why they were; None of a remark."""

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}: "
        skipped = f" ({self.skipped_count} skipped)" if self.skipped_count else ""
        return f"{place}{self.what}{skipped}" + (f"; {self.mend}" if self.mend else "")


@dataclass(frozen=True)
class Report:
    """What became of a file's rows: readings of CSV and Parquet, interval values of NEM12, register reads of NEM13."""

    file: str
    format: Format
    read_count: int
    """Readings that were taken."""
    skipped_count: int
    skipped_counts: Mapping[SkipReason, int]
    """By reason, the most frequent first."""
    lines: tuple[ReportLine, ...]
    """By line, at most `REPORT_LINES_MAX`."""
    unlisted_count: int
    """Lines beyond those."""


@dataclass(frozen=True)
class ReadFile:
    """A file that was read."""

    channels: tuple[ChannelReadings, ...]
    """In the order in which the file names them first. One of which every reading was skipped is left out."""
    report: Report


class ReadingsFileFault(ValueError):
    """A file that cannot be read as a whole: names the file, the line, what is wrong and how to mend it."""

    def __init__(self, file: str, line: int | None, what: str, mend: str) -> None:
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {what}; {mend}")
        self.file = file
        self.line = line
        self.what = what
        self.mend = mend


class Source:
    """A file's name and content, and what is noted while it is read."""

    def __init__(self, file: str, content: bytes) -> None:
        self.file = file
        self.content = content
        self.lines: list[ReportLine] = []

    def fault(self, line: int | None, what: str, mend: str) -> ReadingsFileFault:
        """What ends the reading of this file."""
        return ReadingsFileFault(self.file, line, _shortened(what), mend)

    def skip(self, line: int | None, count: int, reason: SkipReason, what: str, mend: str) -> None:
        """Notes readings that are left out."""
        self.lines.append(ReportLine(line, _shortened(what), mend, count, reason))

    def remark(self, line: int | None, what: str, mend: str = "") -> None:
        """Notes what is read all the same."""
        self.lines.append(ReportLine(line, _shortened(what), mend, 0))

    def report(self, read_format: Format, read_count: int) -> Report:
        """Of the whole file, once it is read."""
        lines = sorted(self.lines, key=lambda each: each.line or 0)
        skipped: Counter[SkipReason] = Counter()
        for each in lines:
            if each.reason is not None:
                skipped[each.reason] += each.skipped_count
        return Report(
            self.file,
            read_format,
            read_count,
            skipped.total(),
            MappingProxyType(dict(skipped.most_common())),
            tuple(lines[:REPORT_LINES_MAX]),
            max(0, len(lines) - REPORT_LINES_MAX),
        )


def _shortened(what: str) -> str:
    return what if len(what) <= SENTENCE_CHARACTERS_MAX else what[: SENTENCE_CHARACTERS_MAX - 1] + "…"
