"""Commits as Arrow tables and as bytes: what the journal keeps.

A body is five Arrow IPC streams without their schema messages (records, postings, openings, net postings, net pins),
each behind its length. Records are sorted by partition, then by sequence and row. `row` numbers a record within its
commit, for ever; postings stand in the order in which they were made, and each record says how many are its own; net
postings name the record that caused them. Columns of values and properties differ between commits, so the records'
schema is kept once in the journal and named by each segment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_engine.ledger.outcomes import NetPin, NetPostings, Postings
from tallybook_engine.ledger.references import ROW_BITS
from tallybook_engine.ledger.state import Opening

FORMAT_VERSION = 2
RATING_VERSION = 1
VALUE_PREFIX = "value:"
PROPERTY_PREFIX = "property:"
TEXT_CODES = pa.dictionary(pa.int32(), pa.string())
NUMBER = pa.decimal128(38, 12)
COMPRESSED_BYTES_MIN = 16_384
"""A smaller table is kept as it is: to set a compressor up costs more than writing it, and merges compress it later."""
_LENGTHS = struct.Struct("<QQQQQ")
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class RecordKind(IntEnum):
    """What a record says happened."""

    EVENT = 1
    """An event was stored."""
    DELETE = 2
    """An event was deleted."""
    RERATE = 3
    """An event was matched again; its postings say where it counts since, and move nothing."""
    LINES = 4
    """Lines of a customer were rated again; it has postings but is no event."""


RECORD_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("sequence_offset", pa.uint32()),
    ("row", pa.uint32()),
    ("kind", pa.uint8()),
    ("status", pa.uint8()),
    ("match", pa.uint8()),
    ("fault", pa.uint8()),
    ("reference", pa.string()),
    ("customer", TEXT_CODES),
    ("meter", TEXT_CODES),
    ("contract", TEXT_CODES),
    ("time_us", pa.int64()),
    ("time_given", pa.bool_()),
    ("receipt_time_us", pa.int64()),
    ("generation", pa.int32()),
    ("first", pa.uint64()),
    ("previous", pa.uint64()),
    ("fingerprint", pa.binary(16)),
    ("posting_count", pa.uint32()),
)
"""`first` is the event id, 0 in the event's own first record; `previous` the location of what the record supersedes, 0
for a reference's first. Columns of every records table; `value:<name>` and `property:<name>` columns follow."""

POSTINGS_SCHEMA = pa.schema(
    [
        ("part", pa.int32()),
        ("amount", pa.int64()),
        ("exact", pa.binary(24)),
        ("tax", pa.int64()),
        ("quantity_before", NUMBER),
        ("quantity_after", NUMBER),
        ("carried", pa.bool_()),
    ]
)
OPENINGS_SCHEMA = pa.schema(
    [
        ("sequence_offset", pa.uint32()),
        ("part", pa.int32()),
        ("line", pa.int32()),
        ("account", pa.int32()),
        ("period", pa.int32()),
        ("charge", pa.string()),
        ("cell", pa.int32()),
        ("version", pa.int64()),
        ("period_start_us", pa.int64()),
        ("period_end_us", pa.int64()),
        ("billing_start_us", pa.int64()),
        ("billing_end_us", pa.int64()),
        ("amount", pa.int64()),
        ("exact", pa.binary(24)),
        ("tax", pa.int64()),
    ]
)
NET_SCHEMA = pa.schema(
    [
        ("sequence_offset", pa.uint32()),
        ("row", pa.uint32()),
        ("cause", pa.uint8()),
        ("net_line", pa.int32()),
        ("amount", pa.int64()),
        ("tax", pa.int64()),
    ]
)
NET_PINS_SCHEMA = pa.schema(
    [
        ("sequence_offset", pa.uint32()),
        ("row", pa.uint32()),
        ("net_line", pa.int32()),
        ("version", pa.int64()),
        ("contract_id", pa.string()),
        ("start_us", pa.int64()),
        ("end_us", pa.int64()),
    ]
)


def fixed_binary(limbs: NDArray[np.uint64]) -> pa.FixedSizeBinaryArray:
    """[n, k] limbs as binary(8 k); shares the memory."""
    contiguous = np.ascontiguousarray(limbs)
    width = 8 * contiguous.shape[1]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(contiguous), [None, pa.py_buffer(contiguous)])


def decimals(limbs: NDArray[np.uint64], present: NDArray[np.bool_] | None = None) -> pa.Decimal128Array:
    """[n, 2] limbs of scale 12 as decimal128(38, 12), null where not present; shares the memory."""
    contiguous = np.ascontiguousarray(limbs)
    valid = None if present is None else pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Decimal128Array.from_buffers(NUMBER, len(contiguous), [valid, pa.py_buffer(contiguous)])


def limbs_of(column: pa.Array, count: int) -> NDArray[np.uint64]:
    """The reverse of `fixed_binary` and `decimals`: [n, count], a view."""
    if len(column) == 0:
        return np.zeros((0, count), dtype=np.uint64)
    data = np.frombuffer(column.buffers()[1], dtype=np.uint64)
    return data[column.offset * count : (column.offset + len(column)) * count].reshape(-1, count)


def numpy_of(column: pa.Array) -> NDArray[Any]:
    """A numeric or boolean column without nulls."""
    return column.to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class Tables:
    """One commit, or a merged run of commits, as Arrow tables of one chunk each."""

    records: pa.Table
    postings: pa.Table
    openings: pa.Table
    net: pa.Table
    net_pins: pa.Table


NOTHING = Tables(
    pa.schema(list(RECORD_FIELDS)).empty_table(),
    POSTINGS_SCHEMA.empty_table(),
    OPENINGS_SCHEMA.empty_table(),
    NET_SCHEMA.empty_table(),
    NET_PINS_SCHEMA.empty_table(),
)
"""Of a commit without a record."""


def encode(tables: Tables) -> tuple[bytes, bytes]:
    """(schema of the records, body)."""
    schema, records = _encode_table(tables.records)
    _, postings = _encode_table(tables.postings)
    _, openings = _encode_table(tables.openings)
    _, net = _encode_table(tables.net)
    _, net_pins = _encode_table(tables.net_pins)
    streams = records, postings, openings, net, net_pins
    return schema, b"".join((_LENGTHS.pack(*map(len, streams)), *streams))


def decode(schema: bytes, body: bytes) -> Tables:
    """The reverse of `encode`."""
    streams, at = [], _LENGTHS.size
    for length in _LENGTHS.unpack_from(body):
        streams.append(body[at : at + length])
        at += length
    assert at == len(body)
    records, postings, openings, net, net_pins = streams
    return Tables(
        _decode_table(schema, records),
        _decode_table(_schema_message(POSTINGS_SCHEMA), postings),
        _decode_table(_schema_message(OPENINGS_SCHEMA), openings),
        _decode_table(_schema_message(NET_SCHEMA), net) if net else _NO_NET,
        _decode_table(_schema_message(NET_PINS_SCHEMA), net_pins) if net_pins else _NO_NET_PINS,
    )


def _encode_table(table: pa.Table) -> tuple[bytes, bytes | memoryview]:
    schema = _schema_message(table.schema)
    if table.num_rows == 0:
        return schema, b""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4" if table.nbytes >= COMPRESSED_BYTES_MIN else None)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    stream = sink.getvalue()
    return schema, memoryview(stream)[len(schema) : len(stream) - len(_END_OF_STREAM)]


@lru_cache(maxsize=64)
def _schema_message(schema: pa.Schema) -> bytes:
    return schema.serialize().to_pybytes()


def _decode_table(schema: bytes, messages: bytes) -> pa.Table:
    stream = b"".join((schema, messages, _END_OF_STREAM))
    return pa.ipc.open_stream(pa.py_buffer(stream)).read_all().combine_chunks()


def posting_table(postings: Postings) -> pa.Table:
    """Postings as Arrow; shares the memory."""
    return pa.table(
        [
            pa.array(postings.part),
            pa.array(postings.amount),
            fixed_binary(postings.exact),
            pa.array(postings.tax),
            decimals(postings.quantity_before),
            decimals(postings.quantity_after),
            pa.array(postings.carried),
        ],
        schema=POSTINGS_SCHEMA,
    )


def postings_of(table: pa.Table) -> Postings:
    """The reverse of `posting_table`."""
    columns = [table.column(name).combine_chunks() for name in POSTINGS_SCHEMA.names]
    columns = [column.chunk(0) if isinstance(column, pa.ChunkedArray) else column for column in columns]
    part, amount, exact, tax, before, after, carried = columns
    return Postings(
        numpy_of(part),
        numpy_of(amount),
        limbs_of(exact, 3),
        numpy_of(tax),
        limbs_of(before, 2),
        limbs_of(after, 2),
        numpy_of(carried),
    )


def opening_table(openings: Sequence[Opening], charge_names: Sequence[str]) -> pa.Table:
    """Openings as Arrow."""
    if not openings:
        return _NO_OPENINGS
    names = OPENINGS_SCHEMA.names[1:]
    columns: list[list[object]] = [[0] * len(openings), *([getattr(o, name) for o in openings] for name in names)]
    columns[OPENINGS_SCHEMA.get_field_index("charge")] = [charge_names[o.charge] for o in openings]
    columns[OPENINGS_SCHEMA.get_field_index("exact")] = [
        b"".join(int(limb).to_bytes(8, "little") for limb in to_limbs(o.exact, 3)) for o in openings
    ]
    return pa.table(
        [pa.array(c, type=f.type) for c, f in zip(columns, OPENINGS_SCHEMA, strict=True)], schema=OPENINGS_SCHEMA
    )


_NO_OPENINGS = OPENINGS_SCHEMA.empty_table()


def openings_of(table: pa.Table, charge_numbers: dict[str, int]) -> list[Opening]:
    """The reverse of `opening_table`."""
    openings = []
    for row in table.drop_columns("sequence_offset").to_pylist():
        row["charge"] = charge_numbers[row["charge"]]
        row["exact"] = from_limbs(*np.frombuffer(row["exact"], dtype=np.uint64))
        openings.append(Opening(**row))
    return openings


def net_table(pieces: Sequence[tuple[int, NetPostings]]) -> pa.Table:
    """Net postings of pieces as Arrow, each behind the row that its rows count from."""
    moved = [(offset, net) for offset, net in pieces if len(net.row)]
    if not moved:
        return _NO_NET
    row = np.concatenate([net.row + offset for offset, net in moved]).astype(np.uint32)
    columns = [np.concatenate(columns) for columns in zip(*(net[1:] for _, net in moved), strict=True)]
    arrays = [pa.array(column) for column in (np.zeros(len(row), dtype=np.uint32), row, *columns)]
    return pa.table(arrays, schema=NET_SCHEMA)


def net_of(table: pa.Table) -> NetPostings:
    """The reverse of `net_table`."""
    row, *columns = (numpy_of(table.column(name)) for name in NET_SCHEMA.names[1:])
    return NetPostings(row.astype(np.int64), *columns)


def net_pin_table(pieces: Iterable[tuple[int, Sequence[NetPin]]]) -> pa.Table:
    """Net pins of pieces as Arrow, each behind the row that its rows count from."""
    rows = [(0, *pin._replace(row=pin.row + offset)) for offset, pins in pieces for pin in pins]
    if not rows:
        return _NO_NET_PINS
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, NET_PINS_SCHEMA, strict=True)]
    return pa.table(arrays, schema=NET_PINS_SCHEMA)


def net_pins_of(table: pa.Table) -> list[NetPin]:
    """The reverse of `net_pin_table`."""
    columns = (table.column(name).to_pylist() for name in NET_PINS_SCHEMA.names[1:])
    return [NetPin(*row) for row in zip(*columns, strict=True)]


_NO_NET = NET_SCHEMA.empty_table()
_NO_NET_PINS = NET_PINS_SCHEMA.empty_table()


class Decoded:
    """Tables with the look-ups that the ledger needs; `first_sequence` is that of `sequence_offset` 0."""

    def __init__(self, first_sequence: int, tables: Tables) -> None:
        self.first_sequence = first_sequence
        self.tables = tables
        self._columns: dict[str, pa.Array] = {}
        self._numbers: dict[str, NDArray[Any]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is no record."""
        return self.tables.records.num_rows == 0

    def column(self, name: str) -> pa.Array:
        """A records column as one array."""
        if name not in self._columns:
            column = self.tables.records.column(name).combine_chunks()
            self._columns[name] = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        return self._columns[name]

    def numbers(self, name: str) -> NDArray[Any]:
        """[n] a records column of numbers."""
        if name not in self._numbers:
            self._numbers[name] = numpy_of(self.column(name))
        return self._numbers[name]

    @cached_property
    def locations(self) -> NDArray[np.uint64]:
        """[n] `sequence << 24 | row` of each record, in the order of the body."""
        sequences = np.uint64(self.first_sequence) + self.numbers("sequence_offset").astype(np.uint64)
        return (sequences << np.uint64(ROW_BITS)) | self.numbers("row").astype(np.uint64)

    def within(self, positions: NDArray[np.int64], first: int, last: int) -> NDArray[np.bool_]:
        """[m] whether the records at m positions are of the sequences from `first` to `last`."""
        sequences = self.locations[positions] >> np.uint64(ROW_BITS)
        return (sequences >= np.uint64(first)) & (sequences <= np.uint64(last))

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.argsort(self.locations, kind="stable")

    @cached_property
    def _sorted_locations(self) -> NDArray[np.uint64]:
        return self.locations[self._order]

    def positions(self, locations: NDArray[np.uint64]) -> NDArray[np.int64]:
        """[m] where in the body the records of m locations stand. They must all be there."""
        found = np.searchsorted(self._sorted_locations, locations)
        assert np.array_equal(self._sorted_locations[found], locations)
        return self._order[found]

    def position(self, location: int) -> int | None:
        """Where the record of one location stands; None where there is none."""
        at = int(np.searchsorted(self._sorted_locations, np.uint64(location)))
        if at == len(self._sorted_locations) or self._sorted_locations[at] != location:
            return None
        return int(self._order[at])

    @cached_property
    def fingerprints(self) -> NDArray[np.uint64]:
        """[n, 2]."""
        return limbs_of(self.column("fingerprint"), 2)

    @cached_property
    def postings(self) -> Postings:
        """All postings, in the order in which they were made."""
        return postings_of(self.tables.postings)

    @cached_property
    def posting_ranges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """([n] start, [n] end) of each record's postings, in the order of the body."""
        counts = self.numbers("posting_count").astype(np.int64)
        ends = np.empty(len(counts), dtype=np.int64)
        ends[self._order] = np.cumsum(counts[self._order])
        return ends - counts, ends

    @cached_property
    def net(self) -> NetPostings:
        """Moves of net lines, in the order in which they were made."""
        return net_of(self.tables.net)

    @cached_property
    def net_pins(self) -> list[NetPin]:
        """Openings and pins of net lines, in the order in which they were made."""
        return net_pins_of(self.tables.net_pins)

    @cached_property
    def _net_locations(self) -> NDArray[np.uint64]:
        """[m] location of the record that caused each net posting, ascending."""
        sequences = np.uint64(self.first_sequence) + numpy_of(self.tables.net.column("sequence_offset")).astype(
            np.uint64
        )
        return (sequences << np.uint64(ROW_BITS)) | self.net.row.astype(np.uint64)

    def net_ranges(self, locations: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """([k] start, [k] end) of the net postings that the records of k locations caused."""
        start = np.searchsorted(self._net_locations, locations, side="left")
        return start, np.searchsorted(self._net_locations, locations, side="right")

    def net_of(self, location: int) -> NetPostings:
        """Moves of net lines that the record of a location caused."""
        (start,), (end,) = self.net_ranges(np.array([location], dtype=np.uint64))
        return NetPostings._make(column[start:end] for column in self.net)

    def behind(self, sequence: int) -> Decoded:
        """What came after a sequence."""
        if self.first_sequence > sequence:
            return self
        kept = self.locations >= np.uint64((sequence + 1) << ROW_BITS)
        earlier_postings = int(self.numbers("posting_count")[~kept].sum())
        offsets = numpy_of(self.tables.openings.column("sequence_offset").combine_chunks()).astype(np.int64)
        return Decoded(
            self.first_sequence,
            Tables(
                one_chunk(self.tables.records.filter(pa.array(kept))),
                self.tables.postings.slice(earlier_postings),
                self.tables.openings.filter(pa.array(offsets > sequence - self.first_sequence)),
                self.tables.net.filter(pc.field("sequence_offset") > sequence - self.first_sequence),
                self.tables.net_pins.filter(pc.field("sequence_offset") > sequence - self.first_sequence),
            ),
        )

    def order(self) -> NDArray[np.int64]:
        """[n] positions in the body in the order of (sequence, row)."""
        return self._order


def merge(
    runs: Sequence[tuple[int, Tables]], partitions: Sequence[NDArray[np.int32]]
) -> tuple[Tables, NDArray[np.int32]]:
    """Several runs, oldest first with their first sequences, as one; rows and sequences unchanged.

    `partitions` has each record's partition. Answers the tables and each record's partition in the new order.
    """
    first = runs[0][0]
    records = [_shifted(tables.records, sequence - first) for sequence, tables in runs]
    openings = [_shifted(tables.openings, sequence - first) for sequence, tables in runs]
    net = [_shifted(tables.net, sequence - first) for sequence, tables in runs]
    net_pins = [_shifted(tables.net_pins, sequence - first) for sequence, tables in runs]
    all_partitions = np.concatenate(partitions)
    order = np.argsort(all_partitions, kind="stable")
    merged = concatenated(records).take(pa.array(order))
    return (
        Tables(
            one_chunk(merged),
            one_chunk(pa.concat_tables([tables.postings for _, tables in runs])),
            one_chunk(pa.concat_tables(openings)),
            one_chunk(pa.concat_tables(net)),
            one_chunk(pa.concat_tables(net_pins)),
        ),
        all_partitions[order],
    )


def _shifted(table: pa.Table, by: int) -> pa.Table:
    """The table with its sequence offsets, its first column, moved on."""
    offsets = numpy_of(table.column("sequence_offset").combine_chunks()) + np.uint32(by)
    return table.set_column(0, "sequence_offset", pa.array(offsets, type=pa.uint32()))


def concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """Records tables behind one another; value and property columns that one lacks are null there."""
    if len(tables) == 1:
        return tables[0]
    return pa.concat_tables(tables, promote_options="default").unify_dictionaries()


def one_chunk(table: pa.Table) -> pa.Table:
    """The table in one chunk, so that it is one record batch."""
    if table.num_rows and all(column.num_chunks == 1 for column in table.itercolumns()):
        return table
    return table.unify_dictionaries().combine_chunks()
