"""Serialised `EventRows` to spans of text, without an object an event (protobuf.dev/programming-guides/encoding).

One pass counts, one pass fills. Both follow the wire rules of proto3: fields in any order, the last of a repeated
scalar wins, repeated sub-messages merge, unknown fields are skipped, a field of the wrong wire type is unknown,
strings are UTF-8. Groups, which proto3 does not have, are refused. Only the shape of `EventRows` is known here; what
its fields mean is judged by `tallybook_engine.ledger.pivot`, which knows nothing of Protobuf. The tests hold this
reader against Protobuf's own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.text import Bytes, Index, byte_at, is_utf8
from tallybook_engine.ledger.pivot import (
    CONTRACT_ID,
    CUSTOMER_ID,
    CUSTOMER_REFERENCE,
    METER_ID,
    METER_REFERENCE,
    REFERENCE,
    TEXT_COUNT,
    EventSpans,
)

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
_BROKEN = -1
"""In the place of a position: the bytes end within a field, or are none."""
_VARINT_BYTES_MAX = 10
_TAG_END = 1 << 32
_LENGTH_END = 1 << 31

_EVENTS = 1
_TIME = 6
_VALUES = 8
_PROPERTIES = 9
_TEXT_OF_FIELD = np.array(
    [-1, CUSTOMER_ID, CUSTOMER_REFERENCE, METER_ID, METER_REFERENCE, REFERENCE, -1, CONTRACT_ID, -1, -1], dtype=np.int64
)
"""Field number of `Event` -> which text it is; -1: it is none."""
_FIELD_COUNT = len(_TEXT_OF_FIELD)
_NO_TEXT = -1


class BrokenMessage(ValueError):
    """The bytes are not a serialised message; the text says from where on."""


class Counts(NamedTuple):
    """What a message holds."""

    events: int
    values: int
    properties: int


def count_events(message: Bytes) -> Counts:
    """Counts what `EventRows` (or a message with the same field 1) holds; BrokenMessage where it is broken."""
    counts = np.zeros(3, dtype=np.int64)
    _check(_count(message, counts))
    return Counts(*counts.tolist())


def read_events(message: Bytes, counts: Counts) -> EventSpans:
    """The events as spans of `message`; `counts` is what `count_events` answered for it."""
    spans = EventSpans(
        data=message,
        texts=np.zeros((counts.events, TEXT_COUNT, 2), dtype=np.int32),
        seconds=np.zeros(counts.events, dtype=np.int64),
        nanoseconds=np.zeros(counts.events, dtype=np.int64),
        time_given=np.zeros(counts.events, dtype=np.bool_),
        value_starts=np.zeros(counts.events + 1, dtype=np.int32),
        values=np.zeros((counts.values, 4), dtype=np.int32),
        property_starts=np.zeros(counts.events + 1, dtype=np.int32),
        properties=np.zeros((counts.properties, 4), dtype=np.int32),
    )
    _check(_read(spans))
    return spans


def _check(broken_at: int) -> None:
    if broken_at >= 0:
        raise BrokenMessage(f"broken in the top-level field that begins at byte {broken_at}")


@inlined_kernel
def _varint(data: Bytes, position: Index, end: Index) -> tuple[Index, Index]:
    """A varint as int64 (two's complement), and the position behind it or _BROKEN."""
    if position < end and byte_at(data, position) < 0x80:
        return byte_at(data, position), position + 1
    return _long_varint(data, position, end)


@kernel
def _long_varint(data: Bytes, position: Index, end: Index) -> tuple[Index, Index]:
    value = 0
    shift = 0
    while position < end and shift < 7 * _VARINT_BYTES_MAX:
        byte = byte_at(data, position)
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    return 0, _BROKEN


@inlined_kernel
def _tag(data: Bytes, position: Index, end: Index) -> tuple[Index, Index, Index]:
    """Field number, wire type, and the position behind the tag or _BROKEN."""
    tag, position = _varint(data, position, end)
    if tag < 8 or tag >= _TAG_END:
        return 0, 0, _BROKEN
    return tag >> 3, tag & 7, position


@inlined_kernel
def _delimited(data: Bytes, position: Index, end: Index) -> tuple[Index, Index]:
    """Where the content of a length-delimited field begins and ends; the end is _BROKEN where it does not fit."""
    length, position = _varint(data, position, end)
    if position == _BROKEN or length < 0 or length >= _LENGTH_END or position + length > end:
        return 0, _BROKEN
    return position, position + length


@inlined_kernel
def _skip(data: Bytes, position: Index, end: Index, wire_type: Index) -> Index:
    """The position behind the content of an unknown field, or _BROKEN."""
    if wire_type == VARINT:
        _, position = _varint(data, position, end)
        return position
    if wire_type == DELIMITED:
        _, position = _delimited(data, position, end)
        return position
    if wire_type == FIXED64:
        position += 8
    elif wire_type == FIXED32:
        position += 4
    else:
        return _BROKEN
    return position if position <= end else _BROKEN


@kernel
def _count(data: Bytes, counts: NDArray[np.int64]) -> Index:
    """Counts events, values and properties. Answers the top-level field that is broken, or -1."""
    position, end = 0, len(data)
    while position < end:
        begun = position
        number, wire_type, position = _tag(data, position, end)
        if position == _BROKEN:
            return begun
        if number == _EVENTS and wire_type == DELIMITED:
            start, position = _delimited(data, position, end)
            counts[0] += 1
            if position == _BROKEN or not _count_in_event(data, start, position, counts):
                return begun
        else:
            position = _skip(data, position, end, wire_type)
            if position == _BROKEN:
                return begun
    return -1


@kernel
def _count_in_event(data: Bytes, position: Index, end: Index, counts: NDArray[np.int64]) -> bool:
    while position < end:
        number, wire_type, position = _tag(data, position, end)
        if position == _BROKEN:
            return False
        if wire_type == DELIMITED:
            counts[1] += number == _VALUES
            counts[2] += number == _PROPERTIES
        position = _skip(data, position, end, wire_type)
        if position == _BROKEN:
            return False
    return True


@kernel
def _read(spans: EventSpans) -> Index:
    """Fills the spans. Answers the top-level field that is broken, or -1."""
    data = spans.data
    position, end = 0, len(data)
    row = 0
    while position < end:
        begun = position
        number, wire_type, position = _tag(data, position, end)
        if number != _EVENTS or wire_type != DELIMITED:
            position = _skip(data, position, end, wire_type)
            continue
        start, position = _delimited(data, position, end)
        if not _read_event(spans, row, start, position):
            return begun
        row += 1
    return -1


@kernel
def _read_event(spans: EventSpans, row: Index, position: Index, end: Index) -> bool:
    data = spans.data
    value, property_ = np.int64(spans.value_starts[row]), np.int64(spans.property_starts[row])
    while position < end:
        number, wire_type, position = _tag(data, position, end)
        if wire_type != DELIMITED or number >= _FIELD_COUNT:
            position = _skip(data, position, end, wire_type)
            continue
        start, position = _delimited(data, position, end)
        text = _TEXT_OF_FIELD[number]
        if text != _NO_TEXT:
            if not is_utf8(data, start, position):
                return False
            spans.texts[row, text, 0] = start
            spans.texts[row, text, 1] = position - start
        elif number == _VALUES:
            if not _read_pair(data, start, position, spans.values[value]):
                return False
            value += 1
        elif number == _PROPERTIES:
            if not _read_pair(data, start, position, spans.properties[property_]):
                return False
            property_ += 1
        elif not _read_time(spans, row, start, position):
            return False
    spans.value_starts[row + 1] = value
    spans.property_starts[row + 1] = property_
    return True


@inlined_kernel
def _read_pair(data: Bytes, position: Index, end: Index, pair: NDArray[np.int32]) -> bool:
    """`MeterValue` or `MeterProperty`: text 1 and text 2."""
    while position < end:
        number, wire_type, position = _tag(data, position, end)
        if position == _BROKEN:
            return False
        if wire_type == DELIMITED and number <= 2:
            start, position = _delimited(data, position, end)
            if position == _BROKEN or not is_utf8(data, start, position):
                return False
            pair[2 * number - 2] = start
            pair[2 * number - 1] = position - start
        else:
            position = _skip(data, position, end, wire_type)
            if position == _BROKEN:
                return False
    return True


@inlined_kernel
def _read_time(spans: EventSpans, row: Index, position: Index, end: Index) -> bool:
    """`google.protobuf.Timestamp`: int64 seconds and int32 nanos."""
    spans.time_given[row] = True
    while position < end:
        number, wire_type, position = _tag(spans.data, position, end)
        if position == _BROKEN:
            return False
        if wire_type == VARINT and number <= 2:
            value, position = _varint(spans.data, position, end)
            if number == 1:
                spans.seconds[row] = value
            else:
                spans.nanoseconds[row] = np.int32(value)
        else:
            position = _skip(spans.data, position, end, wire_type)
        if position == _BROKEN:
            return False
    return True
