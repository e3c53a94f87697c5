"""One whole Arrow IPC stream of the schema `events` (docs/arrow.md) to the ledger's columns.

The bytes are a stranger's. Before a value is looked at: the decompressed size is known to be within its limit, the
names and types of the columns are those of the schema, and Arrow has checked every offset, index and text.
"""

from __future__ import annotations

import struct
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.decimals import QUANTITY_SCALE
from tallybook_engine.ledger.columnar import EventFrame, NumberColumn, TextColumn, judge_frame
from tallybook_engine.ledger.columns import EventColumns
from tallybook_server import limits
from tallybook_server.codec.arrow_size import decompressed_sizes
from tallybook_server.codec.checks import check_event_count, check_names, message_seed
from tallybook_server.errors import ErrorCode, Fault

CUSTOMER_COLUMNS = ("customer_id", "customer_reference")
"""At least one of these."""
METER_COLUMNS = ("meter_id", "meter_reference")
"""At least one of these."""
TEXT_COLUMNS = (*CUSTOMER_COLUMNS, *METER_COLUMNS, "reference", "contract_id")
"""Columns of utf8 or of a dictionary of utf8."""
TIME_COLUMN = "time"
VALUE_PREFIX = "value:"
PROPERTY_PREFIX = "property:"

_READ_OPTIONS = pa.ipc.IpcReadOptions(ensure_alignment=pa.ipc.Alignment.DataTypeSpecific, use_threads=False)
_BROKEN = (pa.ArrowException, OSError, struct.error, ValueError, IndexError, OverflowError, MemoryError)
"""What Arrow and the reading of its headers raise for bytes that are no sound stream."""


def decode_events(stream: bytes | memoryview) -> EventColumns:
    """The events of a stream; at most 65,536, in one or more record batches."""
    try:
        _check_size(stream)
        reader = pa.ipc.open_stream(stream, options=_READ_OPTIONS)
        _check_schema(reader.schema)
        table = _read(reader)
    except _BROKEN as broken:
        found = str(broken).partition("\n")[0][:200] or type(broken).__name__
        message = f"The bytes are not one whole and sound Arrow IPC stream: {found}."
        raise Fault(ErrorCode.ARROW_MALFORMED, message) from None
    return judge_frame(_frame(table), message_seed())


def _check_size(stream: bytes | memoryview) -> None:
    total = 0
    for batch_count, size in enumerate(decompressed_sizes(stream), start=1):
        total += size
        if total > limits.ARROW_BYTES_MAX:
            raise Fault(
                ErrorCode.ARROW_TOO_LARGE,
                f"The stream is over {limits.ARROW_BYTES_MAX} bytes once decompressed: split it.",
            )
        if batch_count > limits.ARROW_BATCHES_MAX:
            raise Fault(
                ErrorCode.ARROW_TOO_LARGE,
                f"The stream has over {limits.ARROW_BATCHES_MAX} record batches and dictionaries: combine them.",
            )


def _check_schema(schema: pa.Schema) -> None:
    """Every column is one of the schema's, once, of its type; and none that every event needs is missing."""
    names = schema.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        _column_fault(ErrorCode.ARROW_COLUMN_UNKNOWN, twice, "there twice; each column once")
    for field in schema:
        _check_column(field)
    for choice in (CUSTOMER_COLUMNS, METER_COLUMNS, ("reference",)):
        if not set(choice) & set(names):
            _column_fault(ErrorCode.ARROW_COLUMN_MISSING, choice[-1], f"missing; give {' or '.join(choice)}")


def _column_fault(code: ErrorCode, column: str, found: str) -> NoReturn:
    raise Fault(code, f"Column {column!r} is {found}.", {"column": column[: limits.NAME_BYTES_MAX]})


def _check_column(field: pa.Field) -> None:
    name, kind = field.name, field.type
    value_or_property = name.startswith((VALUE_PREFIX, PROPERTY_PREFIX))
    if value_or_property:
        own_name = name.partition(":")[2]
        if not 1 <= len(own_name.encode()) <= limits.NAME_BYTES_MAX:
            _column_fault(ErrorCode.ARROW_COLUMN_UNKNOWN, name, "without a name of 1 to 255 bytes behind the colon")
    elif name not in (*TEXT_COLUMNS, TIME_COLUMN):
        known = ", ".join((*TEXT_COLUMNS, TIME_COLUMN, "value:<reference>", "property:<reference>"))
        _column_fault(ErrorCode.ARROW_COLUMN_UNKNOWN, name, f"not of the schema; its columns are {known}")
    mend = _mend(name, kind)
    if mend:
        _column_fault(ErrorCode.ARROW_COLUMN_TYPE, name, f"{kind}; {mend}")


def _mend(name: str, kind: pa.DataType) -> str:
    """How a column of a wrong type becomes right; empty where the type is right. A column of nulls is always right."""
    if pa.types.is_null(kind):
        return ""
    if name == TIME_COLUMN:
        right = pa.types.is_timestamp(kind) and kind.unit == "us" and kind.tz == "UTC"
        return "" if right else 'cast it to timestamp("us", tz="UTC")'
    if not name.startswith(VALUE_PREFIX):
        texts = kind.value_type if pa.types.is_dictionary(kind) else kind
        right = pa.types.is_string(texts) or pa.types.is_large_string(texts)
        return "" if right else "cast it to utf8 or to a dictionary of utf8"
    if pa.types.is_floating(kind):
        return f"floating-point numbers are not exact: cast it to decimal128(38, {QUANTITY_SCALE})"
    small_decimal = pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind) or pa.types.is_decimal128(kind)
    if pa.types.is_integer(kind) or (small_decimal and 0 <= kind.scale <= QUANTITY_SCALE):
        return ""
    return f"cast it to an integer or to a decimal128 of scale 0 to {QUANTITY_SCALE}"


def _read(reader: pa.RecordBatchStreamReader) -> pa.Table:
    """All batches as a table of one chunk a column, every one checked in full before it is used."""
    batches = []
    row_count = 0
    for batch in reader:
        row_count += batch.num_rows
        check_event_count(row_count, limits.EVENTS_IN_BATCH_MAX)
        batch.validate(full=True)
        batches.append(batch)
    table = pa.Table.from_batches(batches, reader.schema)
    return table if len(batches) == 1 else table.unify_dictionaries().combine_chunks()


def _frame(table: pa.Table) -> EventFrame:
    columns = {name: _array(table.column(name)) for name in table.column_names}
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


def _array(column: pa.ChunkedArray) -> pa.Array:
    """A column of one chunk, or of none, as an array that begins at the start of its buffers."""
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])
    return array if array.offset == 0 else pa.concat_arrays([array])


def _named(columns: dict[str, pa.Array], prefix: str) -> list[tuple[str, pa.Array]]:
    """The columns of a prefix that have anything in them, by the name behind the prefix."""
    return [
        (name.removeprefix(prefix), array)
        for name, array in columns.items()
        if name.startswith(prefix) and array.null_count < len(array)
    ]


def _present(array: pa.Array) -> NDArray[np.bool_]:
    if array.null_count == 0:
        return np.ones(len(array), dtype=np.bool_)
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)


def _fixed_width(array: pa.Array, dtype: Any, words: int = 1) -> NDArray[Any]:
    """The values as they lie in the array's buffer, those of nulls too."""
    return _elements(array.buffers()[1], dtype, len(array) * words)


def _elements(buffer: Any, dtype: Any, count: int) -> NDArray[Any]:
    """The first elements of a buffer, which may be longer than that, or missing where it is to hold none."""
    return np.frombuffer(buffer, dtype=dtype, count=count) if count else np.empty(0, dtype=dtype)


def _times(array: pa.Array | None, row_count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if array is None or pa.types.is_null(array.type):
        return np.zeros(row_count, dtype=np.int64), np.zeros(row_count, dtype=np.bool_)
    return _fixed_width(array, np.int64), _present(array)


def _number_column(name: str, array: pa.Array) -> NumberColumn:
    kind, scale = array.type, 0
    if pa.types.is_decimal(kind):
        scale = kind.scale
        wide = array if pa.types.is_decimal128(kind) else array.cast(pa.decimal128(kind.precision, scale))
        numbers = _fixed_width(wide, np.uint64, words=2).reshape(-1, 2)
    else:
        words = _fixed_width(array, kind.to_pandas_dtype())
        signed = words.astype(np.int64) if np.issubdtype(words.dtype, np.signedinteger) else words.astype(np.uint64)
        high = signed >> 63 if signed.dtype == np.int64 else np.zeros_like(signed)
        numbers = np.column_stack([signed.view(np.uint64), high.view(np.uint64)])
    return NumberColumn(name, numbers, scale, _present(array))


def _text_column(name: str, array: pa.Array) -> TextColumn:
    if pa.types.is_null(array.type):
        absent = np.full(len(array), -1, dtype=np.int32)
        return TextColumn(name, np.empty(0, dtype=np.uint8), np.zeros(len(array), dtype=np.int32), absent, None)
    if not pa.types.is_dictionary(array.type):
        return TextColumn(name, *_texts(array), codes=None)
    codes = _fixed_width(array.indices, array.type.index_type.to_pandas_dtype()).astype(np.int32, copy=False)
    if array.indices.null_count > 0:
        codes = np.where(_present(array.indices), codes, np.int32(-1))
    return TextColumn(name, *_texts(array.dictionary), codes=codes)


def _texts(array: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """(data, starts, lengths) of utf8 or large utf8; length -1 where there is none."""
    _, offsets_buffer, data_buffer = array.buffers()
    offset_type = np.int64 if pa.types.is_large_string(array.type) else np.int32
    offsets = _elements(offsets_buffer, offset_type, len(array) + 1 if len(array) else 0)
    # A stream is far below 2 GiB, so that its offsets fit 32 bits.
    starts = offsets[:-1].astype(np.int32, copy=False)
    lengths = np.diff(offsets).astype(np.int32, copy=False)
    if array.null_count > 0:
        lengths = np.where(_present(array), lengths, np.int32(-1))
    return _elements(data_buffer, np.uint8, data_buffer.size if data_buffer else 0), starts, lengths
