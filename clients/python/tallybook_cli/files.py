"""Parquet, CSV and NDJSON files as batches of events.

CSV cells and JSON fields are read as text and turned into exact numbers and instants here: no reader is allowed to
make a float of them. A row whose text is neither is reported with its line and left out; the others go on.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

import tallybook_client as tb
from tallybook_cli.errors import CommandError
from tallybook_cli.event_json import EventFault, event_of

_DECIMAL = pa.decimal128(27, 12)
_CHECKED_ROWS = 65_536
_WELL_FORMED = r"^-?[0-9]+(\.[0-9]+)?$"
DECIMAL_FITS = r"^-?0*[0-9]{1,15}(\.[0-9]{1,12}0*)?$"
"""A decimal text that is exact in 12 decimals, below 10^15."""


class FileFormat(StrEnum):
    """Formats of a file of events."""

    PARQUET = "parquet"
    CSV = "csv"
    NDJSON = "ndjson"


_SUFFIXES = {
    ".parquet": FileFormat.PARQUET,
    ".csv": FileFormat.CSV,
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
    ".json": FileFormat.NDJSON,
}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not an event."""

    line: int
    """Line of the file for text, row from 1 for Parquet."""
    reason: str
    text: str


@dataclass(slots=True)
class EventFile:
    """A file of events: its batches, and what was learnt on the way."""

    path: Path
    row_count: int | None
    """Rows of the whole file, where it says so; for the progress bar."""
    batches: Iterator[tb.Batch]
    lines: list[NDArray[np.int64]] = field(default_factory=list)
    """Line of each row, one array a batch that was taken."""
    bad_rows: list[BadRow] = field(default_factory=list)

    def line_of(self, row: int) -> int:
        """The line of a row that was sent."""
        for lines in self.lines:
            if row < len(lines):
                return int(lines[row])
            row -= len(lines)
        raise IndexError(row)


def format_of(path: Path) -> FileFormat:
    """The format by the file's suffix."""
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise CommandError(f"{path}: what format is this? give --format parquet, csv or ndjson") from None


def open_events(path: Path, file_format: FileFormat, column_map: tb.ColumnMap, batch_rows: int) -> EventFile:
    """The events of a file. CommandError where it cannot be read as what it is said to be."""
    row_count = None
    if file_format is FileFormat.PARQUET:
        try:
            row_count = pq.ParquetFile(path).metadata.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise CommandError(f"{path}: not a Parquet file: {error}") from None
    events = EventFile(path, row_count, iter(()))
    if file_format is FileFormat.PARQUET:
        events.batches = _frames(events, _parquet_tables(path, batch_rows), column_map, batch_rows)
    elif file_format is FileFormat.CSV:
        events.batches = _frames(events, _csv_tables(path, batch_rows), column_map, batch_rows)
    elif column_map.columns or column_map.constants:
        events.batches = _frames(events, _json_tables(path, batch_rows), column_map, batch_rows)
    else:
        events.batches = _json_events(events, path, batch_rows)
    return events


Tables = Iterator[tuple[NDArray[np.int64], pa.Table]]
"""(line of each row, rows)."""


def _frames(events: EventFile, tables: Tables, column_map: tb.ColumnMap, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Tables as batches of the schema `events`, texts made exact, bad rows left out."""
    for all_lines, table in tables:
        exact, lines = _exact(events, table, all_lines, column_map)
        try:
            for batch in tb.event_batches(exact, column_map, batch_rows):
                events.lines.append(lines)
                yield batch
        except tb.FrameError as error:
            raise CommandError(f"{events.path}: {error}") from None


def _parquet_tables(path: Path, batch_rows: int) -> Tables:
    first_row = 1
    for batch in pq.ParquetFile(path).iter_batches(batch_rows):
        yield np.arange(first_row, first_row + batch.num_rows), pa.Table.from_batches([batch])
        first_row += batch.num_rows


def _csv_tables(path: Path, batch_rows: int) -> Tables:
    """Every cell as text; an empty cell is absent. Lines are counted as records: the header is line 1."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, None)
            if not header:
                raise CommandError(f"{path}: there is no header line")
            first_line = 2
            while rows := list(itertools.islice(reader, batch_rows)):
                for offset, row in enumerate(rows):
                    if len(row) != len(header):
                        raise CommandError(
                            f"{path}:{first_line + offset}: {len(row)} cells where the header has {len(header)}"
                        )
                columns = [[cell or None for cell in column] for column in zip(*rows, strict=True)]
                arrays = [pa.array(column, pa.string()) for column in columns]
                yield np.arange(first_line, first_line + len(rows)), pa.Table.from_arrays(arrays, names=header)
                first_line += len(rows)
        except csv.Error as error:
            raise CommandError(f"{path}:{reader.line_num}: not CSV: {error}") from None
        except UnicodeDecodeError as error:
            raise CommandError(f"{path}: not UTF-8 text: {error}") from None


def check_csv(path: Path) -> None:
    """CommandError that names the first line of a CSV file that is none."""
    for _ in _csv_tables(path, _CHECKED_ROWS):
        pass


def _json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object); numbers are kept as text."""
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                document = json.loads(text, parse_float=str, parse_int=str)
            except json.JSONDecodeError as error:
                raise CommandError(f"{path}:{line}: not one JSON object a line: {error.msg}") from None
            if not isinstance(document, dict):
                raise CommandError(f"{path}:{line}: not a JSON object")
            yield line, document


def _json_tables(path: Path, batch_rows: int) -> Tables:
    """Flat objects, one a line, as columns of text."""
    objects = _json_objects(path)
    while rows := list(itertools.islice(objects, batch_rows)):
        names = dict.fromkeys(name for _, row in rows for name in row)
        for line, row in rows:
            nested = next((name for name, value in row.items() if isinstance(value, dict | list | bool)), None)
            if nested is not None:
                raise CommandError(f"{path}:{line}: field {nested} is neither text nor a number")
        columns = {name: pa.array([row.get(name) for _, row in rows], pa.string()) for name in names}
        yield np.array([line for line, _ in rows], dtype=np.int64), pa.table(columns)


def _json_events(events: EventFile, path: Path, batch_rows: int) -> Iterator[list[tb.AnyEvent]]:
    """Events in the contract's own JSON, one a line."""
    objects = _json_objects(path)
    while rows := list(itertools.islice(objects, batch_rows)):
        batch: list[tb.AnyEvent] = []
        lines: list[int] = []
        for line, document in rows:
            try:
                batch.append(event_of(document))
                lines.append(line)
            except EventFault as fault:
                events.bad_rows.append(BadRow(line, "EVENT_MALFORMED", str(fault)))
        events.lines.append(np.array(lines, dtype=np.int64))
        yield batch


def _exact(
    events: EventFile, table: pa.Table, lines: NDArray[np.int64], column_map: tb.ColumnMap
) -> tuple[pa.Table, NDArray[np.int64]]:
    """The table with texts that stand for numbers and instants made so; rows where that fails are reported and left
    out.
    """
    bad = np.zeros(table.num_rows, dtype=np.bool_)
    sources = {name: name for name in table.column_names} | dict(column_map.columns)
    for target, source in sources.items():
        if source not in table.column_names or not pa.types.is_string(table.schema.field(source).type):
            continue
        read: Callable[..., pa.Array] | None = None
        if target.startswith("value:"):
            read = _decimals
        elif target == "time":
            read = _instants
        if read is None:
            continue
        texts = table.column(source).combine_chunks()
        column = read(events, source, texts, lines, bad, column_map.naive_times_are_utc)
        table = table.set_column(table.column_names.index(source), source, column)
    if not bad.any():
        return table, lines
    return table.filter(pa.array(~bad)), lines[~bad]


def _decimals(
    events: EventFile,
    source: str,
    texts: pa.Array,
    lines: NDArray[np.int64],
    bad: NDArray[np.bool_],
    _naive_times_are_utc: bool,
) -> pa.Array:
    """Decimal texts as decimals of 12 places, without rounding."""
    fits = pc.fill_null(pc.match_substring_regex(texts, DECIMAL_FITS), True).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(~fits):
        text = texts[row].as_py()
        events.bad_rows.append(BadRow(int(lines[row]), _decimal_reason(text), f"column {source}: {text!r}"))
        bad[row] = True
    sound = pc.if_else(pa.array(fits), texts, pa.scalar(None, pa.string()))
    # Zeros beyond the twelfth decimal say nothing, and the cast would refuse them.
    return pc.cast(pc.replace_substring_regex(sound, r"(\.[0-9]{12})0+$", r"\1"), _DECIMAL)


def _decimal_reason(text: str) -> str:
    """The server's word for a decimal text that does not fit."""
    if not pc.match_substring_regex(pa.scalar(text), _WELL_FORMED).as_py():
        return "DECIMAL_MALFORMED"
    whole, _, fraction = text.lstrip("-").partition(".")
    if len(whole.lstrip("0")) > _DECIMAL.precision - _DECIMAL.scale:
        return "DECIMAL_OUT_OF_RANGE"
    return "DECIMAL_TOO_FINE" if fraction.rstrip("0")[_DECIMAL.scale :] else "DECIMAL_MALFORMED"


def _instants(
    events: EventFile,
    source: str,
    texts: pa.Array,
    lines: NDArray[np.int64],
    bad: NDArray[np.bool_],
    naive_times_are_utc: bool,
) -> pa.Array:
    """ISO 8601 texts as instants."""
    instants: list[datetime | None] = []
    for row, text in enumerate(texts.to_pylist()):
        try:
            instant = datetime.fromisoformat(text) if text is not None else None
        except ValueError:
            events.bad_rows.append(BadRow(int(lines[row]), "TIME_MALFORMED", f"column {source}: {text!r}"))
            bad[row], instant = True, None
        if instant is not None and instant.tzinfo is None and not naive_times_are_utc:
            raise CommandError(
                f"{events.path}:{lines[row]}: column {source}: {text!r} has no time zone; add one, or give --utc"
            )
        instants.append(instant)
    if naive_times_are_utc:
        return pa.array(instants, pa.timestamp("us"))
    return pa.array(instants, pa.timestamp("us", tz="UTC"))
