"""A row a reading: what CSV and Parquet have in common. docs/readings.md has the columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.offsets import FIRST_YEAR, LAST_YEAR
from tallybook_engine.decimals import format_decimal
from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_server.readings_files.assemble import ChannelRows, read_file, skip_rows
from tallybook_server.readings_files.model import (
    ChannelInfo,
    Direction,
    Format,
    ReadFile,
    ReadOptions,
    SkipReason,
    Source,
)
from tallybook_server.readings_files.moments import Moments, local_instants
from tallybook_server.readings_files.numbers import Numbers
from tallybook_server.readings_files.statuses import StatusWords
from tallybook_server.readings_files.units import spelled

TIMES = MappingProxyType({"time": None, "start": Label.BEGIN, "end": Label.END})
"""The one column of times, and which end of the interval its name says."""
TEXTS = (
    "datasource",
    "channel",
    "register",
    "quality",
    "unit",
    "kind",
    "label",
    "direction",
    "interval_seconds",
)
"""Columns that may be left out."""
_GROUPING = ("datasource", "channel", "register")
"""Rows alike in these are one channel, in which only quality and interval_seconds may differ from row to row."""
_INTERVAL_SECONDS_MAX = 366 * 86_400
_FIRST_US, _END_US = (
    (datetime(year, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    for year in (FIRST_YEAR + 1, LAST_YEAR)
)
"""Times lie in years whose zones have a table, whatever their zone."""


@dataclass(frozen=True)
class Coded:
    """A column of few distinct texts."""

    codes: NDArray[np.int32]
    """int32[n] positions in `words`."""
    words: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A file's columns, n rows."""

    time_column: str
    """Which of `TIMES`."""
    moments: Moments
    moment_text: Callable[[int], str]
    numbers: Numbers
    value_text: Callable[[int], str]
    texts: Mapping[str, Coded]
    """Of `TEXTS`, those that the file has."""
    lines: NDArray[np.int64]


def column_names(source: Source, names: list[str], options: ReadOptions) -> dict[str, int]:
    """Positions of the columns that are known, by our name for them. Names are read without regard to case."""
    for ours in options.columns:
        if ours not in (*TIMES, "value", *TEXTS):
            raise source.fault(None, f"no column is called {ours!r} here", "name one of docs/readings.md")
    theirs = {ours: options.columns.get(ours, ours).strip().lower() for ours in (*TIMES, "value", *TEXTS)}
    stripped = [name.strip().lower() for name in names]
    found: dict[str, int] = {}
    for ours, wanted in theirs.items():
        if stripped.count(wanted) > 1:
            raise source.fault(1, f"the column {wanted!r} stands twice", "leave one")
        if wanted in stripped:
            found[ours] = stripped.index(wanted)
    said = ", ".join(names) or "none"
    if sum(ours in found for ours in TIMES) != 1:
        raise source.fault(1, f"not one column of times among {said}", "name it start, end or time")
    if "value" not in found:
        raise source.fault(1, f"no column of values among {said}", "name it value, or say which one it is")
    ignored = [name for index, name in enumerate(names) if index not in found.values()]
    if ignored:
        source.remark(1, f"columns that are not read: {', '.join(ignored)}")
    return found


def read_table(source: Source, read_format: Format, table: Table, options: ReadOptions) -> ReadFile:
    """Channels of a file of rows. Raises ReadingsFileFault."""
    words = StatusWords(options, {})
    channels = [
        rows for positions in _groups(table) if (rows := _channel(source, table, positions, words, options)) is not None
    ]
    return read_file(source, read_format, channels, words, options)


def _groups(table: Table) -> list[NDArray[np.int64]]:
    """Positions of each channel's rows, channels in order of first mention, rows in the file's order."""
    keys = np.zeros(len(table.lines), dtype=np.int64)
    for name in _GROUPING:
        if name in table.texts:
            column = table.texts[name]
            keys = keys * len(column.words) + column.codes
    if not len(keys) or (keys == keys[0]).all():
        return [np.arange(len(keys), dtype=np.int64)] if len(keys) else []
    _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable").astype(np.int64)
    pieces = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    return [pieces[group] for group in np.argsort(firsts, kind="stable")]


def _channel(
    source: Source, table: Table, positions: NDArray[np.int64], words: StatusWords, options: ReadOptions
) -> ChannelRows | None:
    info = _info(source, table, positions, options)
    quality = table.texts.get("quality")
    if quality is None:
        codes = np.full(len(positions), words.code(""), dtype=np.int32)
    else:
        numbered = np.array([words.code(word.strip()) for word in quality.words], dtype=np.int32)
        codes = numbered[quality.codes[positions]]
    rows = ChannelRows(
        info,
        table.moments.times_us[positions],
        np.ones(len(positions), dtype=np.int64),
        table.numbers.at(positions),
        codes,
        table.lines[positions],
        lambda row: table.value_text(int(positions[row])),
    )
    moments = table.moments.at(positions)
    kept, instants = _instants(source, table, positions, rows, moments, options)
    lengths = _written_lengths(source, table, positions, rows) if info.kind is ChannelKind.INTERVAL else None
    rows = ChannelRows(
        rows.info,
        instants,
        rows.lengths_us if lengths is None else lengths,
        rows.numbers,
        rows.word_codes,
        rows.lines,
        rows.text,
    ).only(kept)
    if not len(rows.labels_us):
        return None
    if info.kind is ChannelKind.INTERVAL and lengths is None:
        length = options.defaults_of(info.channel).interval_us or _shortest_step(source, rows)
        rows.lengths_us[:] = length
    return rows


def _info(source: Source, table: Table, positions: NDArray[np.int64], options: ReadOptions) -> ChannelInfo:
    def said(name: str) -> str:
        column = table.texts.get(name)
        if column is None:
            return ""
        codes = column.codes[positions]
        differs = codes != codes[0]
        if differs.any():
            row = int(positions[int(np.argmax(differs))])
            what = f"{name} {column.words[column.codes[row]]!r} after {column.words[codes[0]]!r} in one channel"
            raise source.fault(int(table.lines[row]), what, "give each channel a name of its own, or one of them")
        return column.words[codes[0]].strip()

    line = int(table.lines[positions[0]])
    datasource, channel = said("datasource") or options.datasource or "", said("channel") or options.channel or ""
    for what, name in (("datasource", datasource), ("channel", channel)):
        if options.names_needed and not name:
            raise source.fault(line, f"of which {what} is it?", f"name it, or add a column {what}")
    defaults = options.defaults_of(channel)

    def one_of(name: str, enum: type[Label | ChannelKind | Direction]) -> Label | ChannelKind | Direction | None:
        word = said(name).upper()
        if not word:
            return None
        if word not in enum.__members__:
            raise source.fault(line, f"a {name} of {word!r}", "write one of " + ", ".join(enum.__members__))
        return enum[word]

    kind = one_of("kind", ChannelKind) or defaults.kind or ChannelKind.INTERVAL
    label = one_of("label", Label) or TIMES[table.time_column] or defaults.label
    if label is None:
        if kind is ChannelKind.INTERVAL:
            what = "nothing says which end of the interval a time names"
            raise source.fault(line, what, "name the column start or end, or give a label")
        label = Label.END
    direction = one_of("direction", Direction)
    assert isinstance(kind, ChannelKind)
    assert isinstance(label, Label)
    assert direction is None or isinstance(direction, Direction)
    return ChannelInfo(
        datasource,
        channel,
        spelled(said("unit") or defaults.unit or ""),
        kind,
        label,
        register=said("register") or None,
        direction=direction,
    )


def _instants(
    source: Source,
    table: Table,
    positions: NDArray[np.int64],
    rows: ChannelRows,
    moments: Moments,
    options: ReadOptions,
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which rows have an instant, and it."""
    is_wrong = moments.is_wrong | (moments.times_us < _FIRST_US) | (moments.times_us >= _END_US)
    for row in np.flatnonzero(is_wrong).tolist():
        what = f"{rows.info.name}: its time {table.moment_text(int(positions[row]))!r} is none"
        source.skip(int(rows.lines[row]), 1, SkipReason.TIME_MALFORMED, what, "write it as 2025-01-31T23:45:00+01:00")
    kept, instants = ~is_wrong, moments.times_us.copy()
    naive = np.flatnonzero(moments.is_naive & kept)
    if not len(naive):
        return kept, instants
    if options.time_zone is None:
        text = table.moment_text(int(positions[naive[0]]))
        what = f"its time {text!r} has no offset from UTC"
        raise source.fault(int(rows.lines[naive[0]]), what, "write one, or name the time zone that the file is in")
    walls = moments.times_us[naive]
    local = local_instants(options.time_zone, walls)
    instants[naive] = local.first_us
    kept[naive] = ~local.is_skipped
    skipped = np.zeros(len(kept), dtype=np.bool_)
    skipped[naive] = local.is_skipped
    what, mend = f"a time that clocks in {options.time_zone} jump over", "write times with offsets"
    skip_rows(source, rows, skipped, SkipReason.TIME_SKIPPED, what, mend)
    # A wall time that clocks show twice is two instants if the channel has it twice, and nobody knows which if once.
    is_twice = (local.first_us != local.second_us) & ~local.is_skipped
    seen: dict[int, list[int]] = {}
    for row, wall in zip(naive[is_twice].tolist(), walls[is_twice].tolist(), strict=True):
        seen.setdefault(wall, []).append(row)
    seconds = dict(zip(naive.tolist(), local.second_us.tolist(), strict=True)) if seen else {}
    unclear = np.zeros(len(kept), dtype=np.bool_)
    for twice in seen.values():
        unclear[twice[0]] = len(twice) == 1
        for later in twice[1:]:
            instants[later] = seconds[later]
    what = f"a time that clocks in {options.time_zone} show twice and the file has once"
    skip_rows(source, rows, unclear, SkipReason.TIME_AMBIGUOUS, what, mend)
    return kept & ~unclear, instants


def _written_lengths(
    source: Source, table: Table, positions: NDArray[np.int64], rows: ChannelRows
) -> NDArray[np.int64] | None:
    column = table.texts.get("interval_seconds")
    if column is None:
        return None
    lengths = np.array([_length_us(word) for word in column.words], dtype=np.int64)[column.codes[positions]]
    wrong = lengths <= 0
    if wrong.any():
        row = int(np.argmax(wrong))
        text = column.words[column.codes[positions[row]]]
        what = f"an interval of {text!r} seconds"
        raise source.fault(int(rows.lines[row]), what, f"write seconds above 0, at most {_INTERVAL_SECONDS_MAX}")
    return lengths


def _length_us(text: str) -> int:
    """0 for what is no length."""
    try:
        seconds = Decimal(text.strip())
    except InvalidOperation:
        return 0
    if not seconds.is_finite() or not 0 < seconds <= _INTERVAL_SECONDS_MAX:
        return 0
    length = seconds.scaleb(6)
    return int(length) if length == int(length) else 0


def _shortest_step(source: Source, rows: ChannelRows) -> int:
    """The length of intervals that nothing says: the shortest step, if all are multiples of it."""
    labels = np.unique(rows.labels_us)
    steps = np.diff(labels)
    line, name = int(rows.lines[0]), rows.info.name
    mend = "give the length of an interval, or a column interval_seconds"
    if not len(steps):
        raise source.fault(line, f"{name} has one time only, which says no interval length", mend)
    shortest = int(steps.min())
    if (steps % shortest != 0).any():
        raise source.fault(line, f"the times of {name} are no multiples of their shortest step", mend)
    source.remark(None, f"{name}: intervals of {format_decimal(shortest, 6)} seconds, by its shortest step")
    return shortest
