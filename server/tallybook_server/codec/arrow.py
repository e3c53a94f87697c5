"""One whole Arrow IPC stream of the schema `events` (docs/arrow.md) to the ledger's columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.decimals import QUANTITY_SCALE
from tallybook_engine.ledger.columnar import EventFrame, NumberColumn, TextColumn, judge_frame
from tallybook_engine.ledger.columns import EventColumns
from tallybook_server import limits
from tallybook_server.codec.arrow_stream import (
    array_of,
    column_fault,
    elements,
    fixed_width,
    number_mend,
    present,
    read_table,
    text_mend,
    time_mend,
)
from tallybook_server.codec.checks import check_event_count, check_names, message_seed
from tallybook_server.errors import ErrorCode

CUSTOMER_COLUMNS = ("customer_id", "customer_reference")
"""At least one of these."""
METER_COLUMNS = ("meter_id", "meter_reference")
"""At least one of these."""
TEXT_COLUMNS = (*CUSTOMER_COLUMNS, *METER_COLUMNS, "reference", "contract_id")
"""Columns of utf8 or of a dictionary of utf8."""
TIME_COLUMN = "time"
VALUE_PREFIX = "value:"
PROPERTY_PREFIX = "property:"


def decode_events(stream: bytes | memoryview) -> EventColumns:
    """The events of a stream; at most 65,536, in one or more record batches."""
    return judge_frame(_frame(read_table(stream, _check_schema, _check_row_count)), message_seed())


def _check_row_count(row_count: int) -> None:
    check_event_count(row_count, limits.EVENTS_IN_BATCH_MAX)


def _check_schema(schema: pa.Schema) -> None:
    """Every column is one of the schema's, once, of its type; and none that every event needs is missing."""
    for field in schema:
        _check_column(field)
    for choice in (CUSTOMER_COLUMNS, METER_COLUMNS, ("reference",)):
        if not set(choice) & set(schema.names):
            column_fault(ErrorCode.ARROW_COLUMN_MISSING, choice[-1], f"missing; give {' or '.join(choice)}")


def _check_column(field: pa.Field) -> None:
    name, kind = field.name, field.type
    value_or_property = name.startswith((VALUE_PREFIX, PROPERTY_PREFIX))
    if value_or_property:
        own_name = name.partition(":")[2]
        if not 1 <= len(own_name.encode()) <= limits.NAME_BYTES_MAX:
            column_fault(ErrorCode.ARROW_COLUMN_UNKNOWN, name, "without a name of 1 to 255 bytes behind the colon")
    elif name not in (*TEXT_COLUMNS, TIME_COLUMN):
        known = ", ".join((*TEXT_COLUMNS, TIME_COLUMN, "value:<reference>", "property:<reference>"))
        column_fault(ErrorCode.ARROW_COLUMN_UNKNOWN, name, f"not of the schema; its columns are {known}")
    mend = _mend(name, kind)
    if mend:
        column_fault(ErrorCode.ARROW_COLUMN_TYPE, name, f"{kind}; {mend}")


def _mend(name: str, kind: pa.DataType) -> str:
    """How a column of a wrong type becomes right; empty where the type is right. A column of nulls is always right."""
    if pa.types.is_null(kind):
        return ""
    if name == TIME_COLUMN:
        return time_mend(kind)
    return number_mend(kind, QUANTITY_SCALE) if name.startswith(VALUE_PREFIX) else text_mend(kind)


def _frame(table: pa.Table) -> EventFrame:
    columns = {name: array_of(table.column(name)) for name in table.column_names}
    values = _named(columns, VALUE_PREFIX)
    properties = _named(columns, PROPERTY_PREFIX)
    for named in (values, properties):
        check_names(len(named), table.num_rows)
    texts = {name: _text_column(name, columns[name]) for name in TEXT_COLUMNS if name in columns}
    times_us, time_given = _times(columns.get(TIME_COLUMN), table.num_rows)
    return EventFrame(
        row_count=table.num_rows,
        customer_ids=texts.get("customer_id"),
        customer_references=texts.get("customer_reference"),
        meter_ids=texts.get("meter_id"),
        meter_references=texts.get("meter_reference"),
        references=texts["reference"],
        contract_ids=texts.get("contract_id"),
        times_us=times_us,
        time_given=time_given,
        values=tuple(_number_column(name, array) for name, array in values),
        properties=tuple(_text_column(name, array) for name, array in properties),
    )


def _named(columns: dict[str, pa.Array], prefix: str) -> list[tuple[str, pa.Array]]:
    """The columns of a prefix that have anything in them, by the name behind the prefix."""
    return [
        (name.removeprefix(prefix), array)
        for name, array in columns.items()
        if name.startswith(prefix) and array.null_count < len(array)
    ]


def _times(array: pa.Array | None, row_count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if array is None or pa.types.is_null(array.type):
        return np.zeros(row_count, dtype=np.int64), np.zeros(row_count, dtype=np.bool_)
    return fixed_width(array, np.int64), present(array)


def _number_column(name: str, array: pa.Array) -> NumberColumn:
    kind, scale = array.type, 0
    if pa.types.is_decimal(kind):
        scale = kind.scale
        wide = array if pa.types.is_decimal128(kind) else array.cast(pa.decimal128(kind.precision, scale))
        numbers = fixed_width(wide, np.uint64, words=2).reshape(-1, 2)
    else:
        words = fixed_width(array, kind.to_pandas_dtype())
        signed = words.astype(np.int64) if np.issubdtype(words.dtype, np.signedinteger) else words.astype(np.uint64)
        high = signed >> 63 if signed.dtype == np.int64 else np.zeros_like(signed)
        numbers = np.column_stack([signed.view(np.uint64), high.view(np.uint64)])
    return NumberColumn(name, numbers, scale, present(array))


def _text_column(name: str, array: pa.Array) -> TextColumn:
    if pa.types.is_null(array.type):
        absent = np.full(len(array), -1, dtype=np.int32)
        return TextColumn(name, np.empty(0, dtype=np.uint8), np.zeros(len(array), dtype=np.int32), absent, None)
    if not pa.types.is_dictionary(array.type):
        return TextColumn(name, *_texts(array), codes=None)
    codes = fixed_width(array.indices, array.type.index_type.to_pandas_dtype()).astype(np.int32, copy=False)
    if array.indices.null_count > 0:
        codes = np.where(present(array.indices), codes, np.int32(-1))
    return TextColumn(name, *_texts(array.dictionary), codes=codes)


def _texts(array: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """(data, starts, lengths) of utf8 or large utf8; length -1 where there is none."""
    _, offsets_buffer, data_buffer = array.buffers()
    offset_type = np.int64 if pa.types.is_large_string(array.type) else np.int32
    offsets = elements(offsets_buffer, offset_type, len(array) + 1 if len(array) else 0)
    # A stream is far below 2 GiB, so that its offsets fit 32 bits.
    starts = offsets[:-1].astype(np.int32, copy=False)
    lengths = np.diff(offsets).astype(np.int32, copy=False)
    if array.null_count > 0:
        lengths = np.where(present(array), lengths, np.int32(-1))
    return elements(data_buffer, np.uint8, data_buffer.size if data_buffer else 0), starts, lengths
