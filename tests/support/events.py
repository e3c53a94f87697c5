"""Events as plain Python, their two encodings, and columns read back row by row."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tallybook.v1.ingest_pb2 import Event, EventRows
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.ledger.columns import EventColumns, Names
from tallybook_engine.ledger.faults import RowFault


@dataclass(frozen=True)
class PlainEvent:
    """One event; the pairs are (name, text)."""

    customer_id: str = ""
    customer_reference: str = "customer"
    meter_id: str = ""
    meter_reference: str = "meter"
    reference: str = "reference"
    contract_id: str = ""
    time: tuple[int, int] | None = None
    """Seconds and nanoseconds."""
    values: tuple[tuple[str, str], ...] = ()
    properties: tuple[tuple[str, str], ...] = ()


NAMES = ("customer_id", "customer_reference", "meter_id", "meter_reference", "reference", "contract_id")


def as_message(event: PlainEvent) -> Event:
    message = Event(**{name: getattr(event, name) for name in NAMES})
    if event.time is not None:
        message.time.SetInParent()
        message.time.seconds, message.time.nanos = event.time
    for reference, number in event.values:
        message.meter_values.add(reference=reference, number=number)
    for reference, value in event.properties:
        message.meter_properties.add(reference=reference, value=value)
    return message


def as_rows(events: list[PlainEvent]) -> bytes:
    """Serialised `EventRows`."""
    return EventRows(events=[as_message(event) for event in events]).SerializeToString()


def as_table(events: list[PlainEvent], dictionaries: bool = False, large: bool = False) -> pa.Table:
    """The Arrow schema `events`; numbers are decimals of scale 12, so what is finer or larger has no place here."""
    text = pa.large_string() if large else pa.string()

    def texts(column: list[str | None]) -> pa.Array:
        array = pa.array(column, text)
        return array.dictionary_encode() if dictionaries else array

    columns: dict[str, Any] = {name: texts([getattr(event, name) or None for event in events]) for name in NAMES}
    times = [None if event.time is None else event.time[0] * 10**6 + event.time[1] // 1000 for event in events]
    columns["time"] = pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    for name in sorted({name for event in events for name, _ in event.values}):
        numbers = [dict(event.values).get(name) for event in events]
        decimals = [None if number is None else Decimal(number) for number in numbers]
        columns[f"value:{name}"] = pa.array(decimals, pa.decimal128(38, 12))
    for name in sorted({name for event in events for name, _ in event.properties}):
        columns[f"property:{name}"] = texts([dict(event.properties).get(name) for event in events])
    return pa.table(columns)


def as_stream(table: pa.Table, compression: str | None = None, rows_in_batch: int | None = None) -> bytes:
    """One whole Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=rows_in_batch)
    return bytes(sink.getvalue())


def by_row(columns: EventColumns) -> list[dict[str, Any] | str]:
    """What columns say of each row: its faults by name, or all it holds."""
    return [_row(columns, row) for row in range(columns.row_count)]


def _row(columns: EventColumns, row: int) -> dict[str, Any] | str:
    if columns.faults[row]:
        return RowFault(int(columns.faults[row])).name
    return {
        "customer": _name(columns.customers, row),
        "meter": _name(columns.meters, row),
        "contract": _name(columns.contracts, row),
        "reference": columns.references[row].as_py(),
        "time_us": int(columns.times_us[row]) if columns.time_given[row] else None,
        "values": {each.name: from_limbs(*each.numbers[row]) for each in columns.values if each.present[row]},
        "properties": {
            each.name: each.values[int(each.codes[row])].as_py() for each in columns.properties if each.codes[row] >= 0
        },
    }


def _name(names: Names, row: int) -> tuple[str, bool] | None:
    code = int(names.codes[row])
    return None if code < 0 else (names.names[code].as_py(), bool(names.is_id[code]))
