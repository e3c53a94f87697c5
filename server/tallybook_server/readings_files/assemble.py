"""Rows of one channel, however they were written, as readings: statuses, one scale, order, each timestamp once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.decimals import DecimalFaultCode
from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_engine.determinants.readings import MAX_DECIMAL_PLACES, ListedTimes, Readings, RegularTimes, Times
from tallybook_server.readings_files import units
from tallybook_server.readings_files.model import (
    ChannelInfo,
    ChannelReadings,
    Duplicates,
    Format,
    ReadFile,
    ReadOptions,
    SkipReason,
    Source,
)
from tallybook_server.readings_files.numbers import SAID, Numbers
from tallybook_server.readings_files.statuses import NO_WORD, StatusWords

Rows = NDArray[np.bool_]
_DIGITS_MAX = 18
_REASONS = {
    DecimalFaultCode.EMPTY: SkipReason.NO_VALUE,
    DecimalFaultCode.MALFORMED: SkipReason.VALUE_MALFORMED,
    DecimalFaultCode.TOO_MANY_DECIMALS: SkipReason.TOO_MANY_DECIMALS,
    DecimalFaultCode.OUT_OF_RANGE: SkipReason.OUT_OF_RANGE,
}


@dataclass(frozen=True)
class ChannelRows:
    """Rows of one channel in the file's order, n of them."""

    info: ChannelInfo
    labels_us: NDArray[np.int64]
    lengths_us: NDArray[np.int64]
    """Of the intervals; 1 for a register's reads."""
    numbers: Numbers
    word_codes: NDArray[np.int32]
    """Of `StatusWords`; `NO_WORD` where the file says none."""
    lines: NDArray[np.int64]
    text: Callable[[int], str]
    """A row's value as written, for reports."""
    power_of_ten: int = 0
    """Values are as written, times ten to this."""

    def only(self, rows: Rows | NDArray[np.int64]) -> ChannelRows:
        """Some of the rows."""
        if rows.dtype == np.bool_ and rows.all():
            return self
        positions: NDArray[np.int64] = np.arange(len(self.lines), dtype=np.int64)[rows]
        text = self.text
        return replace(
            self,
            labels_us=self.labels_us[positions],
            lengths_us=self.lengths_us[positions],
            numbers=self.numbers.at(positions),
            word_codes=self.word_codes[positions],
            lines=self.lines[positions],
            text=lambda row: text(int(positions[row])),
        )


def read_file(
    source: Source, read_format: Format, channels: list[ChannelRows], words: StatusWords, options: ReadOptions
) -> ReadFile:
    """All channels of a file. Raises ReadingsFileFault."""
    found = [assembled for rows in channels if (assembled := _assemble(source, rows, words, options)) is not None]
    read_count = sum(each.readings.times.count for each in found)
    return ReadFile(tuple(found), source.report(read_format, read_count))


def _assemble(source: Source, rows: ChannelRows, words: StatusWords, options: ReadOptions) -> ChannelReadings | None:
    rows, statuses = _with_status(source, rows, words, options)
    rows = _with_value(source, rows, ~options.quality.has_value()[statuses])
    rows, places = _scaled(source, rows, options)
    if not len(rows.labels_us):
        return None
    rows = _in_order(source, rows, options)
    if rows.info.kind is ChannelKind.INTERVAL:
        _refuse_overlaps(source, rows)
    readings = Readings(_times(rows), rows.numbers.mantissas, statuses[rows.word_codes + 1])
    return ChannelReadings(rows.info, places, readings, ("", *words.words), (rows.word_codes + 1).astype(np.int32))


def _with_status(
    source: Source, rows: ChannelRows, words: StatusWords, options: ReadOptions
) -> tuple[ChannelRows, NDArray[np.uint8]]:
    """Rows whose status is known, and uint8[1 + words] the status of none and of each word."""
    default = None if options.default_status is None else words.status_code(options.default_status)
    if options.default_status is not None and default is None:
        names = ", ".join(status.name for status in options.quality.statuses)
        raise source.fault(None, f"the default status {options.default_status!r} is unknown", f"name one of {names}")
    codes = [default, *(words.status_code(word) for word in words.words)]
    is_known = np.array([code is not None for code in codes], dtype=np.bool_)[rows.word_codes + 1]
    for code in np.unique(rows.word_codes[~is_known]):
        if code == NO_WORD:
            reason, what, mend = SkipReason.NO_STATUS, "no status", "write one, or give a default status"
        else:
            reason = SkipReason.UNKNOWN_STATUS
            what = f"unknown status {words.words[code]!r}"
            mend = "correct it, or say which status of the quality table it means"
        skip_rows(source, rows, ~is_known & (rows.word_codes == code), reason, what, mend)
    return rows.only(is_known), np.array([code or 0 for code in codes], dtype=np.uint8)


def _with_value(source: Source, rows: ChannelRows, has_no_value: Rows) -> ChannelRows:
    """Rows with a value, which is 0 where the status has none: whatever stands in its place is ignored then."""
    numbers = rows.numbers.zeroed(has_no_value[rows.word_codes + 1])
    rows = replace(rows, numbers=numbers)
    for row in np.flatnonzero(numbers.faults).tolist():
        code = DecimalFaultCode(int(numbers.faults[row]))
        what, mend = SAID[code]
        _skip_row(source, rows, row, _REASONS[code], what.format(text=rows.text(row), places=MAX_DECIMAL_PLACES), mend)
    return rows.only(numbers.faults == 0)


def _scaled(source: Source, rows: ChannelRows, options: ReadOptions) -> tuple[ChannelRows, int]:
    """Rows in the wanted unit, whose mantissas all have the channel's decimals, and how many these are."""
    unit, shift = rows.info.unit, None if options.unit is None else units.shift(rows.info.unit, options.unit)
    if shift is not None:
        unit = units.spelled(options.unit or "")
    elif options.unit is not None:
        source.remark(None, f"{rows.info.name} is in {unit or 'no unit'}, which is not converted to {options.unit}")
    power = rows.power_of_ten + (shift or 0)
    mantissas = rows.numbers.mantissas
    places = rows.numbers.places.astype(np.int64) - power
    needed = min(max(0, int(places.max(initial=0))), MAX_DECIMAL_PLACES)
    scale = needed if options.decimal_places is None else options.decimal_places
    lift = scale - places
    factor, divisor = (10 ** np.clip(each, 0, _DIGITS_MAX) for each in (lift, -lift))
    is_exact = (mantissas % divisor == 0) & (lift >= -_DIGITS_MAX) | (mantissas == 0)
    fits = (np.abs(mantissas) < 10**_DIGITS_MAX // factor) & (lift <= _DIGITS_MAX) | (mantissas == 0)
    for row in np.flatnonzero(~is_exact).tolist():
        what = f"its value {rows.text(row)!r} has more than {scale} decimals{f' in {unit}' if power else ''}"
        _skip_row(
            source,
            rows,
            row,
            SkipReason.TOO_MANY_DECIMALS,
            what,
            "allow for more decimals, or round it where it is made",
        )
    for row in np.flatnonzero(is_exact & ~fits).tolist():
        what = f"its value {rows.text(row)!r} does not fit with {scale} decimals{f' in {unit}' if power else ''}"
        _skip_row(source, rows, row, SkipReason.OUT_OF_RANGE, what, "ask for fewer decimals or a larger unit")
    scaled = rows.numbers._replace(mantissas=mantissas // divisor * factor)
    rows = replace(rows, info=replace(rows.info, unit=unit), numbers=scaled)
    return rows.only(is_exact & fits), scale


def _in_order(source: Source, rows: ChannelRows, options: ReadOptions) -> ChannelRows:
    """Rows by time, one a timestamp."""
    steps = np.diff(rows.labels_us)
    if (steps > 0).all():
        return rows
    order = np.argsort(rows.labels_us, kind="stable")
    rows = rows.only(order)
    repeats = np.diff(rows.labels_us) == 0
    if not repeats.any():
        return rows
    keeps_first = options.duplicates is Duplicates.KEEP_FIRST
    drops = np.concatenate([[False], repeats] if keeps_first else [repeats, [False]])
    kept = "first" if keeps_first else "last"
    what = f"a timestamp that the file has twice; the {kept} one is kept"
    skip_rows(source, rows, drops, SkipReason.DUPLICATE, what, "send each once")
    return rows.only(~drops)


def _refuse_overlaps(source: Source, rows: ChannelRows) -> None:
    is_end = rows.info.label is Label.END
    starts = rows.labels_us - rows.lengths_us if is_end else rows.labels_us
    overlaps = starts[:-1] + rows.lengths_us[:-1] > starts[1:]
    if overlaps.any():
        row = int(np.argmax(overlaps))
        what = f"{rows.info.name}: its interval overlaps the one of line {rows.lines[row]}"
        mend = "send intervals of one channel that follow each other; check the interval length and the label"
        raise source.fault(int(rows.lines[row + 1]), what, mend)


def _times(rows: ChannelRows) -> Times:
    labels, lengths = rows.labels_us, rows.lengths_us
    length = int(lengths[0])
    if (lengths != length).any():
        return ListedTimes(labels, lengths)
    if rows.info.kind is ChannelKind.INTERVAL and (np.diff(labels) == length).all():
        return RegularTimes(int(labels[0]), length, len(labels))
    return ListedTimes(labels, length)


def skip_rows(source: Source, rows: ChannelRows, which: Rows, reason: SkipReason, what: str, mend: str) -> None:
    """Notes rows that are left out for one reason, one note a line of the file."""
    lines, counts = np.unique(rows.lines[which], return_counts=True)
    for line, count in zip(lines.tolist(), counts.tolist(), strict=True):
        source.skip(line, count, reason, f"{rows.info.name}: {what}", mend)


def _skip_row(source: Source, rows: ChannelRows, row: int, reason: SkipReason, what: str, mend: str) -> None:
    source.skip(int(rows.lines[row]), 1, reason, f"{rows.info.name}: {what}", mend)
