"""Frames into batches of the Arrow schema `events` (docs/arrow.md).

A column map names where each column of the schema comes from: a column of the frame, a text with columns in braces
("{carrier}-{flight}"), or, among the constants, one text for every row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

Frame: TypeAlias = pl.DataFrame | pa.Table | pa.RecordBatch
"""Events as a person with frames holds them."""

NAMES = ("reference", "customer_reference", "customer_id", "meter_reference", "meter_id", "contract_id")
"""Text columns of the schema."""
TIME = "time"
VALUE = "value:"
PROPERTY = "property:"

_DECIMALS_MAX = 12
_FIELD = re.compile(r"\{([^{}]+)\}")


class FrameError(ValueError):
    """A frame that cannot become events; the message names the column and the cast that mends it."""


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Where each column of the schema `events` comes from."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the schema -> column of the frame, or a text with columns in braces."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Column of the schema -> the same text in every row."""
    naive_times_are_utc: bool = False
    """Read times without a zone as UTC; otherwise they are refused."""

    def __post_init__(self) -> None:
        for target in (*self.columns, *self.constants):
            if target not in NAMES and target != TIME and not target.startswith((VALUE, PROPERTY)):
                raise FrameError(
                    f"events have no column {target}; there are {', '.join((*NAMES, TIME))}, value:NAME, property:NAME"
                )
        for target in self.constants:
            if target in self.columns:
                raise FrameError(f"{target} is mapped to a column and to a constant")
            if target not in NAMES and not target.startswith(PROPERTY):
                raise FrameError(f"{target} cannot be a constant")


def event_batches(frame: Frame, column_map: ColumnMap, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The frame as batches of the schema, of at most `batch_rows` rows. Columns whose name is the schema's own need
    no mapping. FrameError names what is missing or of a wrong type.
    """
    table = as_table(frame)
    sources = _sources(table.column_names, column_map)
    for first_row in range(0, table.num_rows, batch_rows):
        yield _event_batch(table.slice(first_row, batch_rows), sources, column_map)


def as_table(frame: Frame) -> pa.Table:
    """The frame as an Arrow table, without copying its data."""
    if isinstance(frame, pl.DataFrame):
        return frame.to_arrow()
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    return frame


def ipc_stream(batch: pa.RecordBatch) -> bytes:
    """One whole Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return cast(bytes, sink.getvalue().to_pybytes())


def _sources(names: list[str], column_map: ColumnMap) -> dict[str, str]:
    """Column of the schema -> column or text of the frame; FrameError where one is missing."""
    own = {
        name: name
        for name in names
        if (name in NAMES or name == TIME or name.startswith((VALUE, PROPERTY))) and name not in column_map.constants
    }
    sources = {**own, **column_map.columns}
    for target, source in sources.items():
        for column in _columns_of(source):
            if column not in names:
                raise FrameError(f"{target}: there is no column {column}; there are {', '.join(names)}")
    given = set(sources) | set(column_map.constants)
    for choice in (("reference",), ("customer_reference", "customer_id"), ("meter_reference", "meter_id")):
        if not given.intersection(choice):
            raise FrameError(f"{' or '.join(choice)} is not mapped: every event needs one")
    return sources


def _columns_of(source: str) -> list[str]:
    return _FIELD.findall(source) or [source]


def _event_batch(table: pa.Table, sources: Mapping[str, str], column_map: ColumnMap) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {}
    for target, source in sources.items():
        columns[target] = _column(table, target, source, column_map)
    for target, text in column_map.constants.items():
        columns[target] = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), table.num_rows), [text])
    return pa.RecordBatch.from_pydict(columns)


def _column(table: pa.Table, target: str, source: str, column_map: ColumnMap) -> pa.Array:
    if _FIELD.search(source):
        return _filled(table, source)
    column = table.column(source)
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    if target == TIME:
        return instants(array, source, naive_is_utc=column_map.naive_times_are_utc)
    if target.startswith(VALUE):
        return exact_values(array, source)
    text = names(array, source)
    # References are all different; every other name repeats, and a dictionary is smaller and quicker to match.
    return text if target == "reference" or pa.types.is_dictionary(text.type) else text.dictionary_encode()


def names(array: pa.Array, source: str) -> pa.Array:
    """Names: utf8 or dictionary. Integers and dates are written out; anything else is refused."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), array.dictionary.cast(pa.string()))
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_date(kind)
        or pa.types.is_null(kind)
    ):
        return array.cast(pa.string())
    if pa.types.is_timestamp(kind):
        return _instant_text(array)
    raise FrameError(f"column {source} is {kind}, not text; cast it: pl.col({source!r}).cast(pl.String)")


def _instant_text(array: pa.Array) -> pa.Array:
    """Instants as ISO 8601 text, each with its six decimals of a second unless they are 0: a text depends on its
    instant alone, never on the other rows of its batch.
    """
    # Arrow keeps every instant in UTC, so dropping the zone shows the UTC time without a zone database.
    plain = array.cast(pa.timestamp(array.type.unit)).cast(pa.timestamp("us"), safe=False)
    # Arrow writes "2013-01-01 10:15:00", with the decimals of its unit.
    try:
        text = plain.cast(pa.timestamp("s")).cast(pa.string())
    except pa.ArrowInvalid:
        text = pc.replace_substring_regex(plain.cast(pa.string()), pattern=r"\.0+$", replacement="")
    text = pc.replace_substring(text, pattern=" ", replacement="T")
    return pc.binary_join_element_wise(text, "Z", "") if array.type.tz else text


def _filled(table: pa.Table, source: str) -> pa.Array:
    """A text with columns in braces, for every row; null where one of them is."""
    pieces: list[pa.Array | pa.Scalar] = []
    for position, piece in enumerate(_FIELD.split(source)):
        # re.split with a group alternates between the text and the names in braces.
        pieces.append(
            names(table.column(piece).combine_chunks(), piece) if position % 2 else pa.scalar(piece, pa.string())
        )
    pieces = [piece.dictionary_decode() if isinstance(piece, pa.DictionaryArray) else piece for piece in pieces]
    joined = pc.binary_join_element_wise(*pieces, pa.scalar("", pa.string()))
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def instants(array: pa.Array, source: str, *, naive_is_utc: bool) -> pa.Array:
    """Instants in UTC; FrameError for anything else, and for times without a zone unless they are UTC."""
    if pa.types.is_null(array.type):
        return array.cast(pa.timestamp("us", tz="UTC"))
    if not pa.types.is_timestamp(array.type):
        raise FrameError(
            f"column {source} is {array.type}, not an instant; cast it: pl.col({source!r}).str.to_datetime(...)"
        )
    if not array.type.tz and not naive_is_utc:
        raise FrameError(
            f"column {source} holds times without a zone; say which: pl.col({source!r}).dt.replace_time_zone('UTC')"
        )
    # Finer digits than the microsecond are cut, as the server does.
    plain = array.cast(pa.timestamp(array.type.unit)).cast(pa.timestamp("us"), safe=False)
    return plain.cast(pa.timestamp("us", tz="UTC"))


def exact_values(array: pa.Array, source: str) -> pa.Array:
    """Integers or decimals of at most 12 places; FrameError for anything else."""
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(pa.int64())
    if pa.types.is_integer(kind):
        return array
    if pa.types.is_decimal(kind) and kind.scale <= _DECIMALS_MAX:
        return array
    cast = f"pl.col({source!r}).cast(pl.Decimal(38, {_DECIMALS_MAX}))"
    if pa.types.is_floating(kind):
        raise FrameError(f"column {source} is {kind}: floating-point numbers are not exact; cast it: {cast}")
    raise FrameError(f"column {source} is {kind}, not an integer or a decimal of at most 12 places; cast it: {cast}")
