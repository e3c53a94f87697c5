"""Readings written as files, in the columns that the readers know."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from tallybook_engine.decimals import format_decimal
from tallybook_engine.determinants.configuration import ChannelKind
from tallybook_server.readings_files.model import ChannelReadings

COLUMNS = (
    "datasource",
    "channel",
    "register",
    "unit",
    "kind",
    "label",
    "direction",
    "interval_seconds",
    "time",
    "value",
    "quality",
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rows_of(channels: Iterable[ChannelReadings]) -> list[dict[str, str]]:
    """A row a reading, as texts."""
    return [_row(channel, row) for channel in channels for row in range(channel.readings.times.count)]


def _row(channel: ChannelReadings, row: int) -> dict[str, str]:
    info, readings = channel.info, channel.readings
    is_register = info.kind is ChannelKind.REGISTER
    return {
        "datasource": info.datasource,
        "channel": info.channel,
        "register": info.register or "",
        "unit": info.unit,
        "kind": info.kind.name,
        "label": info.label.name,
        "direction": info.direction.name if info.direction else "",
        "interval_seconds": "" if is_register else format_decimal(readings.length_us(row), 6),
        "time": _moment(readings.label(row)).isoformat(),
        "value": format_decimal(int(readings.values[row]), channel.decimal_places),
        "quality": channel.words[channel.word_codes[row]],
    }


def write_csv(path: Path, rows: Iterable[dict[str, str]], delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict[str, str]], decimal_places: int) -> None:
    """Times as instants, values as decimals, the rest as dictionaries of texts."""
    columns = {name: pa.array([row[name] for row in rows]).dictionary_encode() for name in COLUMNS}
    times = [datetime.fromisoformat(row["time"]) for row in rows]
    columns["time"] = pa.array(times, pa.timestamp("us", "UTC"))
    columns["value"] = pa.array([Decimal(row["value"]) for row in rows], pa.decimal128(38, decimal_places))
    pa.parquet.write_table(pa.table(columns), path)


def _moment(label_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=label_us)
