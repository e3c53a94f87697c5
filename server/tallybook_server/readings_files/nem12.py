"""AEMO's NEM12: a record 300 a register and day with all its intervals, END-labelled, in the market's time.

Source: AEMO, "Meter Data File Format Specification NEM12 & NEM13", section 4. Record 200 names NMI, register, unit and
interval length; 300 holds a day; where its quality is V, records 400 say the quality of each range of intervals, and
where it is another one they may give reasons for it (section 4.5: A with reason codes 61, 79 or 89); 500 is a visit to
the meter, whose index read has no quality and is not taken as a reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_server.readings_files import mdff
from tallybook_server.readings_files.assemble import ChannelRows, read_file, skip_rows
from tallybook_server.readings_files.model import ChannelInfo, Format, ReadFile, ReadOptions, SkipReason, Source
from tallybook_server.readings_files.numbers import parse_spans
from tallybook_server.readings_files.statuses import StatusWords
from tallybook_server.readings_files.units import spelled

_MINUTES_A_DAY = 1_440
_MINUTE_US = 60_000_000
_INTERVAL_MINUTES_MAX = 60
_UNSAID = -2
"""In the place of a word's code: a record 400 has yet to say it."""
_COMMA, _FIRST_LETTER = ord(","), ord("A")


@dataclass
class _Day:
    """A record 300."""

    line: int
    date: str
    first_label_us: int
    length_us: int
    starts: NDArray[np.int64]
    """[n] where the bytes of each value begin."""
    ends: NDArray[np.int64]
    is_variable: bool
    """Of quality V."""
    word_codes: NDArray[np.int32]


@dataclass
class _Channel:
    info: ChannelInfo
    days: list[_Day] = field(default_factory=list)


def read(source: Source, options: ReadOptions) -> ReadFile:
    """Every register of every NMI. Raises ReadingsFileFault."""
    words = mdff.status_words(options)
    data = np.frombuffer(source.content, dtype=np.uint8)
    channels = _Parser(source, data, words).channels()
    rows = [_rows(source, each, data) for each in channels if each.days]
    return read_file(source, Format.NEM12, rows, words, options)


class _Parser:
    """Goes record by record; the values of a day stay where they are, as spans."""

    def __init__(self, source: Source, data: NDArray[np.uint8], words: StatusWords) -> None:
        self._source = source
        self._words = words
        # A comma behind the end, so that the start of a value that is missing there can be looked at.
        self._data = np.append(data, np.uint8(_COMMA))
        self._commas = np.flatnonzero(data == _COMMA)
        self._channels: dict[tuple[str, str, str], _Channel] = {}
        self._channel: _Channel | None = None
        self._minutes = 0
        self._day: _Day | None = None

    def channels(self) -> list[_Channel]:
        """In the order in which the file names them first."""
        for line, start, indicator, text in mdff.records(self._source, Format.NEM12.value):
            match indicator:
                case "200":
                    self._end_day()
                    self._details(line, text)
                case "300":
                    self._end_day()
                    self._intervals(line, start, text)
                case "400":
                    self._event(line, text)
                case "500":
                    self._visit(line, text)
                case _:
                    raise self._source.fault(line, f"a record {indicator!r}", "NEM12 has 200, 300, 400 and 500")
        self._end_day()
        return list(self._channels.values())

    def _details(self, line: int, text: str) -> None:
        fields = [each.strip() for each in text.split(",")]
        if len(fields) < 9:
            raise self._source.fault(line, f"a record 200 of {len(fields)} fields", "it has 10: send the file again")
        _, nmi, _, register, suffix, _, serial, unit, minutes = fields[:9]
        if not nmi or not suffix or not unit:
            raise self._source.fault(line, "a record 200 without NMI, suffix or unit", "fill them in")
        if not minutes.isascii() or not minutes.isdigit():
            raise self._source.fault(line, f"an interval length of {minutes!r}", "write minutes: 5, 15 or 30")
        self._minutes = int(minutes)
        if not 0 < self._minutes <= _INTERVAL_MINUTES_MAX or _MINUTES_A_DAY % self._minutes:
            raise self._source.fault(
                line, f"an interval length of {minutes} minutes", "the day is to be 5, 15 or 30 each"
            )
        info = ChannelInfo(
            nmi,
            suffix,
            spelled(unit),
            ChannelKind.INTERVAL,
            Label.END,
            register=register or None,
            direction=mdff.suffix_direction(suffix),
            meter_serial=serial or None,
        )
        self._channel = self._channels.setdefault((nmi, suffix, info.unit), _Channel(info))

    def _intervals(self, line: int, start: int, text: str) -> None:
        channel, count = self._channel, _MINUTES_A_DAY // max(1, self._minutes)
        if channel is None:
            raise self._source.fault(line, "a record 300 before any 200", "send the whole file again, in its order")
        date = text.split(",", 2)[1] if "," in text else ""
        midnight_us = mdff.date_us(date)
        if midnight_us is None:
            raise self._source.fault(line, f"an interval date of {date!r}", "write it as 20050401")
        # The bytes are as many as the characters: see `mdff.records`.
        first = int(np.searchsorted(self._commas, start))
        end = start + len(text)
        stops = np.append(self._commas[first : int(np.searchsorted(self._commas, end))], end)
        starts, ends = stops[1 : count + 1] + 1, stops[2 : count + 2]
        quality = (
            "" if len(stops) < count + 3 else text[stops[count + 1] + 1 - start : stops[count + 2] - start].strip()
        )
        looks_odd = len(ends) < count or quality[:1].isdigit() or (self._data[starts] >= _FIRST_LETTER).any()
        if looks_odd:
            self._check_count(line, text.split(",")[2:], count)
        is_variable = quality == mdff.VARIABLE
        codes = np.full(count, _UNSAID if is_variable else self._words.code(quality), dtype=np.int32)
        length_us = self._minutes * _MINUTE_US
        self._day = _Day(line, date, midnight_us + length_us, length_us, starts, ends, is_variable, codes)
        channel.days.append(self._day)

    def _check_count(self, line: int, fields: list[str], count: int) -> None:
        """The quality stands behind the last value: where it is found elsewhere, values are too few or too many."""
        found = 0
        while found < len(fields) and not mdff.is_quality(fields[found].strip()):
            found += 1
        if found == len(fields):
            # Without any quality, values end where nothing stands.
            found = next((index for index, each in enumerate(fields) if not each.strip()), len(fields))
        if found != count:
            what = f"{found} values where {self._minutes}-minute intervals need {count}"
            raise self._source.fault(line, what, "fetch the file again, or correct the record 200's interval length")

    def _event(self, line: int, text: str) -> None:
        day = self._day
        if day is None:
            raise self._source.fault(line, "a record 400 without a 300 before it", "send the whole file again")
        fields = [each.strip() for each in text.split(",")]
        first, last, quality = (*fields[1:4], "", "", "")[:3]
        count = len(day.word_codes)
        is_range = first.isascii() and last.isascii() and first.isdigit() and last.isdigit()
        if not is_range or not 1 <= int(first) <= int(last) <= count:
            raise self._source.fault(line, f"intervals {first!r} to {last!r}", f"name them from 1 to {count}")
        if quality == mdff.VARIABLE:
            raise self._source.fault(line, "a record 400 of quality V", "name the quality of the intervals")
        codes, code = day.word_codes[int(first) - 1 : int(last)], self._words.code(quality)
        if (codes != (_UNSAID if day.is_variable else code)).any():
            what = f"intervals {first} to {last} of {day.date} have a quality already"
            raise self._source.fault(line, what, "say V in the record 300, and each interval in one record 400")
        codes[:] = code

    def _visit(self, line: int, text: str) -> None:
        if self._day is None:
            raise self._source.fault(line, "a record 500 without a 300 before it", "send the whole file again")
        fields = text.split(",")
        if len(fields) > 4 and fields[4].strip():
            what = f"index read {fields[4].strip()} has no quality: it is no reading"
            self._source.remark(line, what, "send register reads as NEM13")

    def _end_day(self) -> None:
        """All intervals of a day of quality V have one."""
        day, self._day = self._day, None
        if day is not None and (day.word_codes == _UNSAID).any():
            index = int(np.argmax(day.word_codes == _UNSAID))
            what = f"quality V, but no record 400 says the quality of interval {index + 1} of {day.date}"
            raise self._source.fault(day.line, what, "fetch the file again")


def _rows(source: Source, channel: _Channel, data: NDArray[np.uint8]) -> ChannelRows:
    days = channel.days
    starts, ends = np.concatenate([day.starts for day in days]), np.concatenate([day.ends for day in days])
    counts = [len(day.starts) for day in days]
    lengths = np.repeat(np.array([day.length_us for day in days], dtype=np.int64), counts)
    firsts = np.repeat(np.array([day.first_label_us for day in days], dtype=np.int64), counts)
    places: NDArray[np.int64] = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])

    def text(row: int) -> str:
        return data[starts[row] : ends[row]].tobytes().decode("latin-1").strip()

    rows = ChannelRows(
        channel.info,
        firsts + places * lengths,
        lengths,
        parse_spans(data, starts, ends),
        np.concatenate([day.word_codes for day in days]),
        np.repeat(np.array([day.line for day in days], dtype=np.int64), counts),
        text,
    )
    negative = rows.numbers.mantissas < 0
    mend = "NEM12 has none: what flows back has a register of its own"
    skip_rows(source, rows, negative, SkipReason.NEGATIVE, "a value below 0", mend)
    return rows.only(~negative)
