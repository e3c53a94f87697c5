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

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.local_time import DAY_US
from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_engine.determinants.packing import (
    ONE_STATUS,
    RUN_END_BYTES,
    STATUS_EACH,
    STATUS_RUNS,
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
)

FORMAT_VERSION = 2
BUCKET_US = 32 * DAY_US
"""Blocks are cut where timestamps pass a multiple of this since the epoch."""

_HEADER = struct.Struct("<BBBBBBBBHIIqqqq")
_KINDS = (ChannelKind.INTERVAL, ChannelKind.REGISTER)
_LABELS = (Label.BEGIN, Label.END)
"""By the numbers that stand for them in a block, for ever."""
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


def bucket_of(label_us: int) -> int:
    """The bucket of a timestamp."""
    return label_us // BUCKET_US


def bucket_count(times: Times) -> int:
    """How many blocks readings make."""
    if times.count == 0:
        return 0
    first, last = bucket_of(label_of(times, 0)), bucket_of(label_of(times, times.count - 1))
    if isinstance(times, RegularTimes):
        return min(last - first + 1, times.count)
    if first == last:
        return 1
    return 1 + int(np.count_nonzero(np.diff(times.labels_us // BUCKET_US)))


def encode_blocks(delivered: Delivered) -> Iterator[tuple[int, int, bytes]]:
    """(bucket, number of readings, body) of each block of a delivery, in order of time."""
    readings = delivered.readings
    times = readings.times
    status_names = _names(delivered.statuses)
    unit = delivered.unit.encode()
    for bucket, first, end in _stretches(times):
        first_label, label_base, label_width, labels = _label_column(times, first, end)
        length_base, length_width, lengths = _length_column(times, first, end)
        value_base, value_width, values = narrowed(readings.values[first:end])
        code_kind, codes = _codes(readings.quality[first:end])
        header = _HEADER.pack(
            FORMAT_VERSION,
            _KINDS.index(delivered.kind),
            _LABELS.index(delivered.label),
            delivered.decimal_places,
            value_width,
            label_width,
            length_width,
            code_kind,
            len(unit),
            len(status_names),
            end - first,
            value_base,
            first_label,
            label_base,
            length_base,
        )
        yield bucket, end - first, b"".join((header, unit, status_names, values, labels, lengths, codes))


def decode_block(body: bytes) -> Delivered:
    """The reverse of `encode_blocks`. ValueError for bytes that are no block."""
    if body[:1] != bytes([FORMAT_VERSION]):
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
    at = _HEADER.size
    unit = body[at : at + unit_bytes].decode()
    at += unit_bytes
    statuses = _read_names(body[at : at + names_bytes])
    at += names_bytes
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
    values, codes = np.empty(count, np.int64), np.empty(count, np.uint8)
    unpack(data, at, value_width, value_base, codes_at, code_kind, values, codes)
    return Delivered(Readings(times, values, codes), statuses, unit, decimal_places, _KINDS[kind], _LABELS[label])


def _stretches(times: Times) -> Iterator[tuple[int, int, int]]:
    """(bucket, first row, end row) of each stretch."""
    if times.count == 0:
        return
    first, last = bucket_of(label_of(times, 0)), bucket_of(label_of(times, times.count - 1))
    if first == last:
        yield first, 0, times.count
        return
    if isinstance(times, RegularTimes) and last - first < times.count:
        # Mostly one or two: quicker one by one than as an array.
        edges = [-((times.first_us - edge * BUCKET_US) // times.interval_us) for edge in range(first + 1, last + 1)]
        buckets = list(range(first, last + 1))
    else:
        labels = _all_labels(times)
        of_row = labels // BUCKET_US
        edges = (np.flatnonzero(np.diff(of_row)) + 1).tolist()
        buckets = [first, *of_row[edges].tolist()]
    bounds = [0, *edges, times.count]
    for bucket, begin, end in zip(buckets, bounds[:-1], bounds[1:], strict=True):
        if begin < end:
            yield bucket, begin, end


def _all_labels(times: Times) -> NDArray[np.int64]:
    if isinstance(times, RegularTimes):
        return times.first_us + np.arange(times.count, dtype=np.int64) * times.interval_us
    return times.labels_us


def _label_column(times: Times, first: int, end: int) -> tuple[int, int, int, bytes]:
    """(first timestamp, smallest step, width, steps above it)."""
    if isinstance(times, RegularTimes):
        return label_of(times, first), times.interval_us, 0, b""
    labels = times.labels_us[first:end]
    return (int(labels[0]), *narrowed(np.diff(labels)))


def _length_column(times: Times, first: int, end: int) -> tuple[int, int, bytes]:
    if isinstance(times.interval_us, np.ndarray):
        return narrowed(times.interval_us[first:end])
    return times.interval_us, 0, b""


def _widened(data: NDArray[np.uint8], at: int, width: int, count: int, base: int) -> NDArray[np.int64]:
    column = np.empty(count, np.int64)
    widen(data, at, width, base, column)
    return column


def _codes(codes: NDArray[np.uint8]) -> tuple[int, bytes]:
    first = codes[:1].tobytes()
    # Memory against memory: a comparison, and no array made of it.
    if codes.tobytes() == first * len(codes):
        return ONE_STATUS, first
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


@lru_cache(maxsize=1_024)
def _names(statuses: Sequence[str]) -> bytes:
    encoded = [name.encode() for name in statuses]
    return b"".join(_LENGTH.pack(len(name)) + name for name in encoded)


@lru_cache(maxsize=1_024)
def _read_names(encoded: bytes) -> tuple[str, ...]:
    names = []
    at = 0
    while at < len(encoded):
        (length,) = _LENGTH.unpack_from(encoded, at)
        at += _LENGTH.size
        names.append(encoded[at : at + length].decode())
        at += length
    return tuple(names)
