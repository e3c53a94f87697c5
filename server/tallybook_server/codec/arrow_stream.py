"""One whole Arrow IPC stream of a schema of docs/arrow.md to a table that may be trusted.

The bytes are a stranger's. Before a value is looked at: the decompressed size is known to be within its limit, the
names and types of the columns are those of the schema, and Arrow has checked every offset, index and text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_server import limits
from tallybook_server.codec.arrow_size import decompressed_sizes
from tallybook_server.errors import ErrorCode, Fault

_READ_OPTIONS = pa.ipc.IpcReadOptions(ensure_alignment=pa.ipc.Alignment.DataTypeSpecific, use_threads=False)
_BROKEN = (pa.ArrowException, OSError, struct.error, ValueError, IndexError, OverflowError, MemoryError)
"""What Arrow and the reading of its headers raise for bytes that are no sound stream."""


def read_table(
    stream: bytes | memoryview, check_schema: Callable[[pa.Schema], None], check_row_count: Callable[[int], None]
) -> pa.Table:
    """All batches as a table of one chunk a column, every one checked in full before it is used.

    The checks raise Fault; the count of rows is checked as it grows.
    """
    try:
        _check_size(stream)
        reader = pa.ipc.open_stream(stream, options=_READ_OPTIONS)
        names = reader.schema.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            column_fault(ErrorCode.ARROW_COLUMN_UNKNOWN, twice, "there twice; each column once")
        check_schema(reader.schema)
        batches = []
        row_count = 0
        for batch in reader:
            row_count += batch.num_rows
            check_row_count(row_count)
            batch.validate(full=True)
            batches.append(batch)
        table = pa.Table.from_batches(batches, reader.schema)
        return table if len(batches) == 1 else table.unify_dictionaries().combine_chunks()
    except _BROKEN as broken:
        found = str(broken).partition("\n")[0][:200] or type(broken).__name__
        message = f"The bytes are not one whole and sound Arrow IPC stream: {found}."
        raise Fault(ErrorCode.ARROW_MALFORMED, message) from None


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


def column_fault(code: ErrorCode, column: str, found: str) -> NoReturn:
    """Raises a fault that names its column; `found` is to be read after "is"."""
    raise Fault(code, f"Column {column!r} is {found}.", {"column": column[: limits.NAME_BYTES_MAX]})


def text_mend(kind: pa.DataType) -> str:
    """How a column of text of a wrong type becomes right; empty where the type is right."""
    texts = kind.value_type if pa.types.is_dictionary(kind) else kind
    right = pa.types.is_string(texts) or pa.types.is_large_string(texts)
    return "" if right else "cast it to utf8 or to a dictionary of utf8"


def time_mend(kind: pa.DataType) -> str:
    """The same of a column of instants: one without a zone would be another instant elsewhere."""
    right = pa.types.is_timestamp(kind) and kind.unit == "us" and kind.tz == "UTC"
    return "" if right else 'cast it to timestamp("us", tz="UTC")'


def number_mend(kind: pa.DataType, decimals_max: int) -> str:
    """The same of a column of exact numbers."""
    if pa.types.is_floating(kind):
        return f"floating-point numbers are not exact: cast it to decimal128(38, {decimals_max})"
    small_decimal = pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind) or pa.types.is_decimal128(kind)
    if pa.types.is_integer(kind) or (small_decimal and 0 <= kind.scale <= decimals_max):
        return ""
    return f"cast it to an integer or to a decimal128 of scale 0 to {decimals_max}"


def array_of(column: pa.ChunkedArray) -> pa.Array:
    """A column of one chunk, or of none, as an array that begins at the start of its buffers."""
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])
    return array if array.offset == 0 else pa.concat_arrays([array])


def present(array: pa.Array) -> NDArray[np.bool_]:
    """bool[n] which values are not null."""
    if array.null_count == 0:
        return np.ones(len(array), dtype=np.bool_)
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)


def fixed_width(array: pa.Array, dtype: Any, words: int = 1) -> NDArray[Any]:
    """The values as they lie in the array's buffer, those of nulls too."""
    return elements(array.buffers()[1], dtype, len(array) * words)


def elements(buffer: Any, dtype: Any, count: int) -> NDArray[Any]:
    """The first elements of a buffer, which may be longer than that, or missing where it is to hold none."""
    return np.frombuffer(buffer, dtype=dtype, count=count) if count else np.empty(0, dtype=dtype)
