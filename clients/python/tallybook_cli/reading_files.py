"""The readings that files hold of a billing request's channels, as one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import numpy as np
import polars as pl
import pyarrow as pa

from tallybook.v1 import determinants_pb2
from tallybook_cli.errors import CommandError
from tallybook_server import offline_determinants as offline
from tallybook_server.readings_files.model import ReadFile, ReadingsFileFault, ReadOptions, Report
from tallybook_server.readings_files.read import is_first_use, read_readings

FIRST_USE = "the first file that is read on a machine compiles the readers of numbers, which takes some seconds"
SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "channel": pl.String,
        "time": pl.Datetime("us", "UTC"),
        "value": pl.Decimal(38, 12),
        "quality": pl.String,
        "interval": pl.Duration("us"),
    }
)
"""Columns of a frame of readings."""


def readings_of(
    request: determinants_pb2.CalculateDeterminantsRequest,
    files: Sequence[str],
    default_status: str | None,
    time_zone: str | None,
) -> tuple[pl.DataFrame, list[Report]]:
    """The readings of files, each written FILE or CHANNEL=FILE, and what became of their rows.

    The columns are channel, time, value, quality and interval, which is null for a register; rows are in order of
    channel and time. What CSV and Parquet files leave unsaid of a channel, its classifier says. CommandError names what
    cannot be read.
    """
    if not request.configuration.datasources:
        raise CommandError("readings in files need the datasource's configuration: in the request, or --catalog FILE")
    asked, datasource = offline.asked_channels(request), offline.datasource_of(request)
    configuration = offline.configuration_of(request)
    frames: list[pl.DataFrame] = []
    reports: list[Report] = []
    for text in files:
        channel, separator, name = text.partition("=")
        path = Path(name if separator else text)
        if not path.is_file():
            raise CommandError(f"{path}: there is no such file")
        own = channel if separator else (asked[0] if len(asked) == 1 else None)
        options = ReadOptions(
            quality=configuration.quality,
            default_status=default_status,
            time_zone=time_zone,
            datasource=datasource,
            channel=own,
            names_needed=True,
            channel_defaults=offline.channel_defaults(configuration),
        )
        file = read_file(path, options)
        frames += map(_frame_of, offline.columns_of(file, datasource, configuration, channel if separator else ""))
        reports.append(file.report)
    return pl.concat([pl.DataFrame(schema=dict(SCHEMA)), *frames]).sort("channel", "time", maintain_order=True), reports


def read_file(path: Path, options: ReadOptions) -> ReadFile:
    """A file, and what became of its rows. CommandError says why it cannot be read."""
    if is_first_use():
        click.echo(FIRST_USE, err=True)
    try:
        return read_readings(path, options)
    except ReadingsFileFault as fault:
        raise CommandError(str(fault)) from None


def _frame_of(columns: offline.FileColumns) -> pl.DataFrame:
    limbs = np.stack([columns.values, columns.values >> 63], axis=1)
    exact = pa.Decimal128Array.from_buffers(
        pa.decimal128(38, columns.decimal_places), len(limbs), [None, pa.py_buffer(np.ascontiguousarray(limbs))]
    )
    intervals_us = [None] * len(limbs) if columns.intervals_us is None else columns.intervals_us
    return pl.DataFrame(
        {
            "channel": [columns.channel] * len(limbs),
            "time": pl.Series(columns.times_us).cast(pl.Datetime("us", "UTC")),
            "value": pl.Series(exact).cast(SCHEMA["value"]),
            "quality": columns.statuses,
            "interval": pl.Series(intervals_us, dtype=pl.Int64).cast(pl.Duration("us")),
        },
        schema=dict(SCHEMA),
    )
