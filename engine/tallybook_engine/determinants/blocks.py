"""Readings as bytes: what the journal keeps of one delivery of one channel, a block a stretch of 32 days.

A column is its smallest value and, in as few bytes as its largest takes, what each value has above it; a column whose
values are all alike takes no more. So a month of a quarter-hourly meter on a grid is two bytes a reading. A block names
its unit, its decimals and its statuses in words, what its values are and which end of an interval its timestamps name:
what the catalogue says of them may change, what was delivered does not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.local_time import DAY_US
from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_engine.determinants.packing import (
    ONE_STATUS,
    RUN_END_BYTES,
    STATUS_EACH,
    STATUS_RUNS,
    Narrowed,
    PackedColumns,
    are_of_one_status,
    narrowed,
    unpack,
    widen,
)
from tallybook_engine.determinants.readings import (
    ListedTimes,
    Readings,
    RegularTimes,
    Times,
    label_of,
    labels_between,
)

FORMAT_VERSION = 2
BUCKET_US = 32 * DAY_US
"""Blocks are cut where timestamps pass a multiple of this since the epoch."""

_HEADER = struct.Struct("<BBBBBBBBHIIqqqq")
_HEADER_COLUMNS = np.dtype(
    [
        *((name, "<u1") for name in ("version", "kind", "label", "decimal_places")),
        *((name, "<u1") for name in ("value_width", "label_width", "length_width", "code_kind")),
        ("unit_bytes", "<u2"),
        *((name, "<u4") for name in ("names_bytes", "count")),
        *((name, "<i8") for name in ("value_base", "first_label", "label_base", "length_base")),
    ]
)
"""The same, of many blocks at once."""
_KINDS = (ChannelKind.INTERVAL, ChannelKind.REGISTER)
_LABELS = (Label.BEGIN, Label.END)
"""By the numbers that stand for them in a block, for ever."""
_WORDS_BYTES = struct.Struct("<HI")
_WORDS_BYTES_AT = 8
"""Where a header says how long unit and statuses are."""
_COUNT = struct.Struct("<I")
_COUNT_AT = _WORDS_BYTES_AT + _WORDS_BYTES.size
_LENGTH = struct.Struct("<H")
_RUN_BYTES = RUN_END_BYTES + 1
"""Of a run of one status: where it ends, and which."""


@dataclass(frozen=True)
class Delivered:
    """Readings as they were delivered, with what is needed to understand them later."""

    readings: Readings
    """Codes of quality index `statuses`."""
    statuses: tuple[str, ...]
    unit: str
    decimal_places: int
    kind: ChannelKind
    label: Label


class EncodedBlock(NamedTuple):
    """A block as it is stored."""

    bucket: int
    reading_count: int
    body: bytes


class PackedBlock(NamedTuple):
    """A block that is read as far as its timestamps."""

    times: Times
    statuses: tuple[str, ...]
    unit: str
    decimal_places: int
    kind: ChannelKind
    label: Label
    data: NDArray[np.uint8]
    columns: PackedColumns

    def unpack(self, first: int, values: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
        """Fills columns with its rows from `first` on; codes index `statuses`."""
        unpack(self.data, self.columns, first, values, codes)

    def delivered(self) -> Delivered:
        """What was delivered in it."""
        values, codes = np.empty(self.times.count, np.int64), np.empty(self.times.count, np.uint8)
        self.unpack(0, values, codes)
        readings = Readings(self.times, values, codes)
        return Delivered(readings, self.statuses, self.unit, self.decimal_places, self.kind, self.label)


def bucket_of(label_us: int) -> int:
    """The bucket of a timestamp."""
    return label_us // BUCKET_US


def bucket_count(times: Times) -> int:
    """How many blocks readings make."""
    return len(_stretches(times))


def encode_blocks(deliveries: Sequence[Delivered]) -> Iterator[list[EncodedBlock]]:
    """The blocks of each delivery, in order of time.

    Columns of all deliveries are packed together: give so many that they stay in the processor's cache.
    """
    stretches = [_stretches(each.readings.times) for each in deliveries]
    bounds = np.cumsum([0, *(end - first for some in stretches for _, first, end in some)], dtype=np.int64)
    values = _end_to_end([each.readings.values for each in deliveries], np.int64)
    codes = _end_to_end([each.readings.quality for each in deliveries], np.uint8)
    columns = zip(narrowed(values, bounds), are_of_one_status(codes, bounds), strict=True)
    for delivered, some in zip(deliveries, stretches, strict=True):
        words = _words(delivered.unit, delivered.statuses)
        yield [
            _encoded(delivered, words, bucket, first, end, *column)
            for (bucket, first, end), column in zip(some, columns, strict=False)
        ]


def _end_to_end(columns: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    """Columns as one. NumPy would give the interpreter lock away for each of them."""
    if len(columns) == 1:
        return columns[0]
    return np.frombuffer(bytearray().join([np.ascontiguousarray(each).data for each in columns]), dtype)


def _encoded(
    delivered: Delivered, words: _Words, bucket: int, first: int, end: int, values: Narrowed, is_of_one_status: bool
) -> EncodedBlock:
    """The block of the rows from `first` to before `end`."""
    readings = delivered.readings
    times = readings.times
    if isinstance(times, RegularTimes):
        first_label = label_of(times, first)
        labels = lengths = Narrowed(times.interval_us, 0, b"")
    else:
        first_label, labels, lengths = _time_columns(times, first, end)
    of_rows = readings.quality[first:end]
    code_kind, codes = (ONE_STATUS, of_rows[:1].tobytes()) if is_of_one_status else _codes(of_rows)
    header = _HEADER.pack(
        FORMAT_VERSION,
        _KINDS.index(delivered.kind),
        _LABELS.index(delivered.label),
        delivered.decimal_places,
        values.width,
        labels.width,
        lengths.width,
        code_kind,
        words.unit_bytes,
        words.names_bytes,
        end - first,
        values.base,
        first_label,
        labels.base,
        lengths.base,
    )
    body = b"".join((header, words.encoded, values.packed, labels.packed, lengths.packed, codes))
    return EncodedBlock(bucket, end - first, body)


def decode_block(body: bytes) -> Delivered:
    """The reverse of `encode_blocks`. ValueError as `open_block` has it."""
    return open_block(body).delivered()


def open_block(body: bytes) -> PackedBlock:
    """A block whose values are still packed. ValueError for bytes that are no whole block of this format."""
    if not body or body[0] != FORMAT_VERSION:
        raise ValueError(f"a block of format {body[0] if body else 'none'}, and this program reads {FORMAT_VERSION}")
    if len(body) < _HEADER.size:
        raise ValueError("a block of another length than its header says")
    (
        _,
        kind,
        label,
        decimal_places,
        value_width,
        label_width,
        length_width,
        code_kind,
        unit_bytes,
        names_bytes,
        count,
        value_base,
        first_label,
        label_base,
        length_base,
    ) = _HEADER.unpack_from(body)
    if kind >= len(_KINDS) or label >= len(_LABELS):
        raise ValueError(f"a block of kind {kind} and label {label}, which there are not")
    at = _HEADER.size + unit_bytes + names_bytes
    unit, statuses = _read_words(body[_HEADER.size : at], unit_bytes)
    labels_at = at + value_width * count
    lengths_at = labels_at + label_width * (count - 1)
    codes_at = lengths_at + length_width * count
    # Kernels look at no bounds.
    if codes_at + _codes_length(body, codes_at, code_kind, count) != len(body):
        raise ValueError("a block of another length than its header says")
    data = np.frombuffer(body, np.uint8)
    times: Times
    if label_width == 0 and length_width == 0 and (label_base == length_base or count == 1):
        times = RegularTimes(first_label, length_base, count)
    else:
        labels = np.empty(count, np.int64)
        labels[0] = first_label
        np.cumsum(_widened(data, labels_at, label_width, count - 1, label_base), out=labels[1:])
        labels[1:] += first_label
        lengths = length_base if length_width == 0 else _widened(data, lengths_at, length_width, count, length_base)
        times = ListedTimes(labels, lengths)
    columns = PackedColumns(at, value_width, value_base, codes_at, code_kind)
    return PackedBlock(times, statuses, unit, decimal_places, _KINDS[kind], _LABELS[label], data, columns)


class GridBlocks(NamedTuple):
    """Many blocks that are read as far as their timestamps: n of them, end to end, their columns int64[n]."""

    is_grid: NDArray[np.bool_]
    """Whether a block is whole and of this format, and its timestamps lie on a grid. Of another one, the columns say
    nothing."""
    first_us: NDArray[np.int64]
    interval_us: NDArray[np.int64]
    row_count: NDArray[np.int64]
    data: NDArray[np.uint8]
    columns: PackedColumns
    """Each of them int64[n], within all of `data`."""


def open_grids(bodies: Sequence[bytes]) -> GridBlocks:
    """Blocks whose values are still packed, without an object for each."""
    byte_count = np.fromiter(map(len, bodies), np.int64, len(bodies))
    start = np.cumsum(byte_count) - byte_count
    empty = bytes(_HEADER.size)
    heads = b"".join([body[: _HEADER.size] if len(body) >= _HEADER.size else empty for body in bodies])
    header = np.frombuffer(heads, _HEADER_COLUMNS)

    def column(name: str) -> NDArray[np.int64]:
        return header[name].astype(np.int64)

    count, interval_us, code_kind = column("count"), column("length_base"), column("code_kind")
    values_at = _HEADER.size + column("unit_bytes") + column("names_bytes")
    codes_at = values_at + column("value_width") * count
    codes_bytes = np.where(code_kind == ONE_STATUS, 1, count)
    for index in np.flatnonzero(code_kind > STATUS_EACH).tolist():
        codes_bytes[index] = _codes_length(bodies[index], int(codes_at[index]), STATUS_RUNS, int(count[index]))
    is_grid = (header["version"] == FORMAT_VERSION) & (codes_at + codes_bytes == byte_count) & (count > 0)
    is_grid &= (header["label_width"] == 0) & (header["length_width"] == 0) & (interval_us > 0)
    is_grid &= (header["label_base"] == interval_us) | (count == 1)
    columns = PackedColumns(start + values_at, column("value_width"), column("value_base"), start + codes_at, code_kind)
    data = np.frombuffer(b"".join(bodies), np.uint8)
    return GridBlocks(is_grid, column("first_label"), interval_us, count, data, columns)


def reading_count_of(body: bytes) -> int:
    """How many readings a block says that it has; none where it is too short to be one."""
    count: int = _COUNT.unpack_from(body, _COUNT_AT)[0] if len(body) >= _HEADER.size else 0
    return count


def meaning_of(body: bytes) -> bytes:
    """The bytes of a block that say what its readings are, whatever their times and values: equal ones mean the same.

    Kind, label, decimals, unit and statuses, of a block that has them.
    """
    unit_bytes, names_bytes = _WORDS_BYTES.unpack_from(body, _WORDS_BYTES_AT)
    words_end = _HEADER.size + unit_bytes + names_bytes
    return body[1:4] + body[_WORDS_BYTES_AT : _WORDS_BYTES_AT + _WORDS_BYTES.size] + body[_HEADER.size : words_end]


_Stretches = Sequence[tuple[int, int, int]]
"""(bucket, first row, end row) of each block."""


def _stretches(times: Times) -> _Stretches:
    if times.count == 0:
        return ()
    return _grid_stretches(times) if isinstance(times, RegularTimes) else _labels_stretches(times.labels_us)


@lru_cache(maxsize=256)
def _grid_stretches(times: RegularTimes) -> _Stretches:
    # Many meters have the same grid.
    first, last = bucket_of(times.first_us), bucket_of(label_of(times, times.count - 1))
    if last - first >= times.count:
        return _labels_stretches(labels_between(times, 0, times.count))
    edges = [-((times.first_us - edge * BUCKET_US) // times.interval_us) for edge in range(first + 1, last + 1)]
    rows = pairwise((0, *edges, times.count))
    return tuple(
        (bucket, begin, end) for bucket, (begin, end) in zip(range(first, last + 1), rows, strict=True) if begin < end
    )


def _labels_stretches(labels: NDArray[np.int64]) -> _Stretches:
    of_row = labels // BUCKET_US
    edges = (np.flatnonzero(np.diff(of_row)) + 1).tolist()
    begins = [0, *edges]
    return tuple(zip(of_row[begins].tolist(), begins, [*edges, len(labels)], strict=True))


def _time_columns(times: ListedTimes, first: int, end: int) -> tuple[int, Narrowed, Narrowed]:
    """First timestamp, the steps that follow, and lengths."""
    labels, lengths = times.labels_us[first:end], times.interval_us
    narrowed_lengths = _alone(lengths[first:end]) if isinstance(lengths, np.ndarray) else Narrowed(lengths, 0, b"")
    return int(labels[0]), _alone(np.diff(labels)), narrowed_lengths


def _alone(column: NDArray[np.int64]) -> Narrowed:
    [piece] = narrowed(column, np.array([0, len(column)], np.int64))
    return piece


def _widened(data: NDArray[np.uint8], at: int, width: int, count: int, base: int) -> NDArray[np.int64]:
    column = np.empty(count, np.int64)
    widen(data, at, width, base, column)
    return column


def _codes(codes: NDArray[np.uint8]) -> tuple[int, bytes]:
    """Codes of several statuses."""
    ends = np.append(np.flatnonzero(codes[1:] != codes[:-1]) + 1, len(codes))
    if len(ends) * _RUN_BYTES >= len(codes):
        return STATUS_EACH, codes.tobytes()
    head = np.array([len(ends)], "<u4").tobytes()
    return STATUS_RUNS, head + ends.astype("<u4").tobytes() + codes[ends - 1].tobytes()


def _codes_length(body: bytes, at: int, kind: int, count: int) -> int:
    if kind == ONE_STATUS:
        return 1
    if kind == STATUS_EACH:
        return count
    run_count = int.from_bytes(body[at : at + RUN_END_BYTES], "little")
    return RUN_END_BYTES + _RUN_BYTES * run_count


class _Words(NamedTuple):
    """Unit and statuses as a block has them."""

    encoded: bytes
    unit_bytes: int
    names_bytes: int


@lru_cache(maxsize=1_024)
def _words(unit: str, statuses: tuple[str, ...]) -> _Words:
    names = b"".join(_LENGTH.pack(len(name)) + name for name in (status.encode() for status in statuses))
    return _Words(unit.encode() + names, len(unit.encode()), len(names))


@lru_cache(maxsize=1_024)
def _read_words(encoded: bytes, unit_bytes: int) -> tuple[str, tuple[str, ...]]:
    """Unit and statuses: the same objects for all blocks of the same ones."""
    names = []
    at = unit_bytes
    while at < len(encoded):
        (length,) = _LENGTH.unpack_from(encoded, at)
        at += _LENGTH.size
        names.append(encoded[at : at + length].decode())
        at += length
    return encoded[:unit_bytes].decode(), tuple(names)
