"""Readings out of files, as frames of the columns channel, time, value and quality.

NEM12, NEM13 and Green Button are read by the server's parsers, which tell what was skipped and why. CSV cells are read
as text and turned into exact numbers and instants here; Parquet columns must be exact already.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tallybook_cli.errors import CommandError
from tallybook_server.offline_determinants import FileColumns
from tallybook_server.readings_files.model import Format, ReadFile, ReadingsFileFault, ReadOptions
from tallybook_server.readings_files.read import format_of
from tallybook_server.readings_files.read import read_readings as read_file

METER_FORMATS = (Format.NEM12, Format.NEM13, Format.GREEN_BUTTON)
DECIMALS_MAX = 12
NUMBER = pl.Decimal(38, DECIMALS_MAX)
_DECIMAL = re.compile(r"-?0*[0-9]{1,15}(\.[0-9]{1,12}0*)?")
_COLUMNS = ("channel", "time", "value", "quality")


def read_meter_file(path: Path, options: ReadOptions) -> ReadFile | None:
    """What NEM12, NEM13 or Green Button says; None: another format. CommandError says what is wrong."""
    try:
        return read_file(path, options) if format_of(path) in METER_FORMATS else None
    except ReadingsFileFault as fault:
        raise CommandError(str(fault)) from None


def frame_of(columns: FileColumns) -> pl.DataFrame:
    """A channel of a meter's file; with the column interval, which is null for a register."""
    limbs = np.stack([columns.values, columns.values >> 63], axis=1)
    exact = pa.Decimal128Array.from_buffers(
        pa.decimal128(38, columns.decimal_places), len(limbs), [None, pa.py_buffer(np.ascontiguousarray(limbs))]
    )
    intervals_us = [None] * len(limbs) if columns.intervals_us is None else columns.intervals_us
    return pl.DataFrame(
        {
            "channel": [columns.channel] * len(limbs),
            "time": pl.Series(columns.times_us).cast(pl.Datetime("us", "UTC")),
            "value": pl.Series(exact).cast(NUMBER),
            "quality": columns.statuses,
            "interval": pl.Series(intervals_us, dtype=pl.Int64).cast(pl.Duration("us")),
        },
        schema_overrides={"channel": pl.String, "quality": pl.String},
    )


def read_readings(path: Path, channel: str, quality: str | None, *, naive_is_utc: bool) -> pl.DataFrame:
    """The readings of a CSV or Parquet file, in order of channel and time.

    `channel` is that of a file without such a column. `quality` is that of a file without such a column; None: there
    must be one. CommandError names the line or the column that cannot be read.
    """
    match path.suffix.lower():
        case ".csv":
            frame = _read_csv(path, naive_is_utc)
        case ".parquet":
            frame = _read_parquet(path, naive_is_utc)
        case _:
            raise CommandError(f"{path}: readings are in NEM12, NEM13, Green Button, .csv or .parquet files")
    if "quality" not in frame.columns and quality is None:
        raise CommandError(f"{path}: there is no column quality; say what all readings are, as in --quality measured")
    for name, text in (("channel", channel), ("quality", quality)):
        if name not in frame.columns:
            frame = frame.with_columns(pl.lit(text).alias(name))
    return frame.select(_COLUMNS).sort("channel", "time", maintain_order=True)


def _read_csv(path: Path, naive_is_utc: bool) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        header = reader.fieldnames or ()
        try:
            _check_header(path, header)
            columns = {name: [] for name in _COLUMNS if name in header}
            for row in _rows(path, reader):
                for name, values in columns.items():
                    values.append(_cell(path, reader.line_num, name, row[name], naive_is_utc))
        except csv.Error as error:
            raise CommandError(f"{path}:{reader.line_num}: not CSV: {error}") from None
        except UnicodeDecodeError as error:
            raise CommandError(f"{path}: not UTF-8 text: {error}") from None
    types: dict[str, Any] = {
        "channel": pl.String,
        "time": pl.Datetime("us", "UTC"),
        "value": NUMBER,
        "quality": pl.String,
    }
    return pl.DataFrame(columns, schema={name: types.get(name, pl.String) for name in columns})


def _check_header(path: Path, header: Any) -> None:
    for name in ("time", "value"):
        if name not in header:
            raise CommandError(f"{path}: there is no column {name}; there are {', '.join(header) or 'none'}")


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[Mapping[str, str]]:
    for row in reader:
        if None in row or None in row.values():
            raise CommandError(f"{path}:{reader.line_num}: not as many cells as the header has")
        yield row


def _cell(path: Path, line: int, name: str, text: str, naive_is_utc: bool) -> Any:
    text = text.strip()
    try:
        match name:
            case "value":
                return _decimal(text) if text else None
            case "time":
                instant = datetime.fromisoformat(text)
                if instant.tzinfo is None and not naive_is_utc:
                    raise CommandError(f"{path}:{line}: {text!r} has no time zone; add one, or give --utc")
                return (instant.replace(tzinfo=instant.tzinfo or UTC)).astimezone(UTC)
            case _:
                return text or None
    except ValueError:
        raise CommandError(f"{path}:{line}: column {name}: {text!r} cannot be read") from None


def _decimal(text: str) -> Decimal:
    """A number of at most 12 decimals, below 10^15; ValueError for anything else, NaN too."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError(text)
    return Decimal(text)


def _read_parquet(path: Path, naive_is_utc: bool) -> pl.DataFrame:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise CommandError(f"{path}: not a Parquet file: {error}") from None
    _check_header(path, table.column_names)
    frame = pl.DataFrame(table)
    value, time = frame.schema["value"], frame.schema["time"]
    if not (value.is_integer() or (isinstance(value, pl.Decimal) and value.scale <= DECIMALS_MAX)):
        cast = f"pl.col('value').cast({NUMBER})"
        raise CommandError(
            f"{path}: column value is {value}, not an integer or a decimal of at most 12 places; cast it: {cast}"
        )
    if not isinstance(time, pl.Datetime):
        raise CommandError(f"{path}: column time is {time}, not an instant")
    if time.time_zone is None and not naive_is_utc:
        raise CommandError(f"{path}: column time has no time zone; add one, or give --utc")
    instants = pl.col("time").dt.replace_time_zone("UTC") if time.time_zone is None else pl.col("time")
    return frame.with_columns(
        pl.col("value").cast(NUMBER), instants.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    )
