"""Readings on their way to the wire: a channel's NumPy columns, or a frame of the Arrow schema `readings`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook.v1 import determinants_pb2
from tallybook_client.frames import Frame, FrameError, as_table, exact_values, instants, ipc_stream, names
from tallybook_client.numbers import to_timestamp

NEEDED = ("channel", "time", "value", "quality")
"""Columns that every frame of readings has; `interval` is the one that it may have."""

_DELIMITED = 2


def channel_readings(
    channel: str,
    values: NDArray[np.int64],
    first_time: datetime,
    interval: timedelta,
    *,
    decimal_places: int = 0,
    statuses: Sequence[str] = ("measured",),
    quality_codes: NDArray[np.uint8] | None = None,
    unit: str = "",
) -> determinants_pb2.ChannelReadings:
    """Readings on a grid of times, none left out.

    `values` are whole numbers of the last decimal: 12345 with 3 decimal places is 12.345. `quality_codes` index
    `statuses`; without them every reading has the one status. No object is made for a reading.
    """
    message = determinants_pb2.ChannelReadings(
        channel=channel, unit=unit, decimal_places=decimal_places, statuses=statuses
    )
    message.regular_times.first_time.CopyFrom(to_timestamp(first_time))
    message.regular_times.interval.FromTimedelta(interval)
    if quality_codes is not None:
        message.quality_codes = np.ascontiguousarray(quality_codes, dtype=np.uint8).tobytes()
    column = np.ascontiguousarray(values, dtype="<i8").tobytes()
    number = message.DESCRIPTOR.fields_by_name["values"].number
    message.MergeFromString(bytes([number << 3 | _DELIMITED]) + _varint(len(column)) + column)
    return message


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def readings_stream(frame: Frame, *, with_datasource: bool = False) -> bytes:
    """The Arrow stream of a frame with the columns channel, time, value and quality, and interval where wanted; with
    the column datasource before them where readings are to be stored.

    FrameError names what is missing or of a wrong type, with the cast that mends it.
    """
    table = as_table(frame)
    needed = ("datasource", *NEEDED) if with_datasource else NEEDED
    for name in needed:
        if name not in table.column_names:
            raise FrameError(f"there is no column {name}; readings have {', '.join(needed)}, and may have interval")
    columns = {name: _column(table, name) for name in (*needed, "interval") if name in table.column_names}
    return ipc_stream(pa.RecordBatch.from_pydict(columns))


def _column(table: pa.Table, name: str) -> pa.Array:
    array = table.column(name).combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks or [pa.nulls(0, array.type)])
    if name == "time":
        return instants(array, name, naive_is_utc=False)
    if name == "value":
        return exact_values(array, name)
    if name == "interval":
        if not pa.types.is_duration(array.type) and not pa.types.is_null(array.type):
            raise FrameError(f"column interval is {array.type}, not a duration; cast it: pl.duration(minutes=15)")
        return array.cast(pa.duration("us"))
    text = names(array, name)
    return text if pa.types.is_dictionary(text.type) else text.dictionary_encode()
