"""Rows of text to columns: judges every row, makes names distinct, and turns ragged values into a column a name.

The rows come as spans of one array of bytes, whatever they were decoded from. A row that is wrong keeps its place
with a `RowFault`: the lowest of the codes that hold (their order of precedence), its first occurrence in the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.decimals import parse_span
from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.text import Bytes, Index, Interned, intern, interned, string_array
from tallybook_engine.ledger.columns import EventColumns, Names, PropertyColumn, ValueColumn
from tallybook_engine.ledger.faults import RowFault

NAME_BYTES_MAX = 255
"""UTF-8 bytes of a reference, an id, a name, or the value of a property."""
VALUES_MAX = 64
"""Values of one event."""
PROPERTIES_MAX = 64
"""Properties of one event."""
SECONDS_END = 253_402_300_800
"""First second that is out of range: 10000-01-01 UTC."""
NANOSECONDS_END = 1_000_000_000
TEXT_SHOWN_MAX = 64
"""Characters of a faulty text that are kept to be shown."""

CUSTOMER_ID, CUSTOMER_REFERENCE, METER_ID, METER_REFERENCE, REFERENCE, CONTRACT_ID = range(6)
TEXT_COUNT = 6
_TIME, _VALUE_NAME, _VALUE_NUMBER, _PROPERTY_NAME, _PROPERTY_VALUE = range(TEXT_COUNT, TEXT_COUNT + 5)
_FIELDS = (
    *("customer_id", "customer_reference", "meter_id", "meter_reference", "reference", "contract_id", "time"),
    *("meter_values[{}].reference", "meter_values[{}].number"),
    *("meter_properties[{}].reference", "meter_properties[{}].value"),
)


CheckSize = Callable[[int, int], None]
"""Told the number of distinct names and of rows before their columns are made; raises where they would be too large."""


class EventSpans(NamedTuple):
    """n events as spans of `data`; every span is (start, length), length 0 where a text is absent or empty."""

    data: Bytes
    texts: NDArray[np.int32]
    """[n, 6, 2] by the constants of this module."""
    seconds: NDArray[np.int64]
    """[n] of the time since the epoch."""
    nanoseconds: NDArray[np.int64]
    """[n] besides the seconds."""
    time_given: NDArray[np.bool_]
    """[n]"""
    value_starts: NDArray[np.int32]
    """[n + 1] values of row i are [value_starts[i], value_starts[i + 1])."""
    values: NDArray[np.int32]
    """[m, 4] span of the name, span of the number."""
    property_starts: NDArray[np.int32]
    """[n + 1]"""
    properties: NDArray[np.int32]
    """[p, 4] span of the name, span of the value."""


class _Judged(NamedTuple):
    """What the first pass makes of the rows."""

    found: NDArray[np.int64]
    """[n, 3] fault, field, index within the field."""
    customers: NDArray[np.int32]
    """[n] entry of the table; -1: none."""
    meters: NDArray[np.int32]
    contracts: NDArray[np.int32]
    times_us: NDArray[np.int64]
    reference_lengths: NDArray[np.int32]
    value_names: NDArray[np.int32]
    """[m] entry of the table of names."""
    numbers: NDArray[np.uint64]
    """[m, 2] scale 12."""
    property_names: NDArray[np.int32]
    """[p] entry of the table of names."""
    property_values: NDArray[np.int32]
    """[p] code within the column of the name."""


class _Tables(NamedTuple):
    """Distinct texts of a message."""

    customers: Interned
    """Tag 1: an id; 0: a reference. So for meters."""
    meters: Interned
    contracts: Interned
    value_names: Interned
    property_names: Interned
    property_values: Interned
    """Tagged with the entry of the name."""
    code_of_value: NDArray[np.int32]
    """[entries of property_values] code within the column of the name."""
    value_counts: NDArray[np.int32]
    """[entries of property_names] distinct values of the column."""
    last_row_of_value: NDArray[np.int32]
    """[entries of value_names] 1 + the last row that has the value."""
    last_row_of_property: NDArray[np.int32]


def pivot(spans: EventSpans, seed: int, check_size: CheckSize) -> EventColumns:
    """Columns of the rows. `seed` is a secret of the process."""
    row_count = len(spans.seconds)
    tables = _tables(spans, seed)
    judged = _judged(spans)
    _judge(spans, tables, judged)
    faults = judged.found[:, 0].astype(np.uint8)
    return EventColumns(
        row_count=row_count,
        customers=_names(spans.data, tables.customers, judged.customers),
        meters=_names(spans.data, tables.meters, judged.meters),
        contracts=_names(spans.data, tables.contracts, judged.contracts),
        references=string_array(spans.data, spans.texts[:, REFERENCE, 0], judged.reference_lengths),
        times_us=judged.times_us,
        time_given=spans.time_given,
        values=_value_columns(spans, tables.value_names, judged, faults, check_size),
        properties=_property_columns(spans, tables, judged, faults, check_size),
        faults=faults,
        fault_fields={int(row): _shown(spans, judged.found, int(row)) for row in np.flatnonzero(faults)},
    )


def _tables(spans: EventSpans, seed: int) -> _Tables:
    row_count, value_count, property_count = len(spans.seconds), len(spans.values), len(spans.properties)
    return _Tables(
        customers=interned(row_count, seed),
        meters=interned(row_count, seed),
        contracts=interned(row_count, seed),
        value_names=interned(value_count, seed),
        property_names=interned(property_count, seed),
        property_values=interned(property_count, seed),
        code_of_value=np.empty(property_count, dtype=np.int32),
        value_counts=np.zeros(property_count, dtype=np.int32),
        last_row_of_value=np.zeros(value_count, dtype=np.int32),
        last_row_of_property=np.zeros(property_count, dtype=np.int32),
    )


def _judged(spans: EventSpans) -> _Judged:
    row_count, value_count, property_count = len(spans.seconds), len(spans.values), len(spans.properties)
    return _Judged(
        found=np.zeros((row_count, 3), dtype=np.int64),
        customers=np.empty(row_count, dtype=np.int32),
        meters=np.empty(row_count, dtype=np.int32),
        contracts=np.empty(row_count, dtype=np.int32),
        times_us=np.zeros(row_count, dtype=np.int64),
        reference_lengths=np.empty(row_count, dtype=np.int32),
        value_names=np.empty(value_count, dtype=np.int32),
        numbers=np.empty((value_count, 2), dtype=np.uint64),
        property_names=np.empty(property_count, dtype=np.int32),
        property_values=np.empty(property_count, dtype=np.int32),
    )


@kernel
def _judge(spans: EventSpans, tables: _Tables, judged: _Judged) -> None:
    """Fills `judged` and the tables."""
    for row in range(len(spans.seconds)):
        found = judged.found[row]
        texts = spans.texts[row]
        _judge_texts(texts, found)
        _judge_time(spans, row, judged.times_us, found)
        _judge_values(spans, row, tables, judged, found)
        _judge_properties(spans, row, tables, judged, found)
        if found[0] != 0:
            judged.customers[row] = judged.meters[row] = judged.contracts[row] = -1
            judged.reference_lengths[row] = 0
            continue
        judged.customers[row] = _name_of(spans.data, texts, CUSTOMER_ID, tables.customers)
        judged.meters[row] = _name_of(spans.data, texts, METER_ID, tables.meters)
        judged.contracts[row] = -1
        if texts[CONTRACT_ID, 1] > 0:
            judged.contracts[row] = intern(
                tables.contracts, spans.data, np.int64(texts[CONTRACT_ID, 0]), np.int64(texts[CONTRACT_ID, 1]), 1
            )
        judged.reference_lengths[row] = texts[REFERENCE, 1]


@inlined_kernel
def _note(found: NDArray[np.int64], fault: Index, field: Index, index: Index) -> None:
    """Keeps the fault of a row that goes before the others."""
    if found[0] == 0 or fault < found[0]:
        found[0] = fault
        found[1] = field
        found[2] = index


@inlined_kernel
def _judge_texts(texts: NDArray[np.int32], found: NDArray[np.int64]) -> None:
    _judge_pair(texts, CUSTOMER_ID, found, RowFault.CUSTOMER_MISSING.value, RowFault.CUSTOMER_AMBIGUOUS.value)
    _judge_pair(texts, METER_ID, found, RowFault.METER_MISSING.value, RowFault.METER_AMBIGUOUS.value)
    if texts[REFERENCE, 1] == 0:
        _note(found, RowFault.REFERENCE_EMPTY.value, REFERENCE, 0)
    elif texts[REFERENCE, 1] > NAME_BYTES_MAX:
        _note(found, RowFault.REFERENCE_TOO_LONG.value, REFERENCE, 0)
    for field in (CUSTOMER_ID, CUSTOMER_REFERENCE, METER_ID, METER_REFERENCE, CONTRACT_ID):
        if texts[field, 1] > NAME_BYTES_MAX:
            _note(found, RowFault.NAME_TOO_LONG.value, field, 0)


@inlined_kernel
def _judge_pair(
    texts: NDArray[np.int32], field: Index, found: NDArray[np.int64], missing: Index, ambiguous: Index
) -> None:
    """One of an id (at `field`) and a reference (behind it) must be given."""
    if texts[field, 1] == 0 and texts[field + 1, 1] == 0:
        _note(found, missing, field + 1, 0)
    elif texts[field, 1] > 0 and texts[field + 1, 1] > 0:
        _note(found, ambiguous, field, 0)


@inlined_kernel
def _judge_time(spans: EventSpans, row: Index, times_us: NDArray[np.int64], found: NDArray[np.int64]) -> None:
    if not spans.time_given[row]:
        return
    seconds, nanoseconds = spans.seconds[row], spans.nanoseconds[row]
    if seconds < 0 or seconds >= SECONDS_END or nanoseconds < 0 or nanoseconds >= NANOSECONDS_END:
        _note(found, RowFault.TIME_OUT_OF_RANGE.value, _TIME, 0)
    else:
        times_us[row] = seconds * 1_000_000 + nanoseconds // 1_000


@kernel
def _judge_values(spans: EventSpans, row: Index, tables: _Tables, judged: _Judged, found: NDArray[np.int64]) -> None:
    first, end = np.int64(spans.value_starts[row]), np.int64(spans.value_starts[row + 1])
    if end - first > VALUES_MAX:
        _note(found, RowFault.TOO_MANY_VALUES.value, _VALUE_NAME, VALUES_MAX)
    for at in range(first, end):
        span = spans.values[at]
        if span[1] == 0:
            _note(found, RowFault.VALUE_NAME_EMPTY.value, _VALUE_NAME, at - first)
        elif span[1] > NAME_BYTES_MAX:
            _note(found, RowFault.NAME_TOO_LONG.value, _VALUE_NAME, at - first)
        else:
            name = intern(tables.value_names, spans.data, np.int64(span[0]), np.int64(span[1]), 0)
            if tables.last_row_of_value[name] == row + 1:
                _note(found, RowFault.VALUE_REPEATED.value, _VALUE_NAME, at - first)
            tables.last_row_of_value[name] = row + 1
            judged.value_names[at] = name
        start = int(span[2])
        fault, low, high = parse_span(spans.data, start, start + int(span[3]))
        if fault != 0:
            _note(found, RowFault.DECIMAL_EMPTY.value + fault - 1, _VALUE_NUMBER, at - first)
        judged.numbers[at, 0] = low
        judged.numbers[at, 1] = high


@kernel
def _judge_properties(
    spans: EventSpans, row: Index, tables: _Tables, judged: _Judged, found: NDArray[np.int64]
) -> None:
    first, end = np.int64(spans.property_starts[row]), np.int64(spans.property_starts[row + 1])
    if end - first > PROPERTIES_MAX:
        _note(found, RowFault.TOO_MANY_PROPERTIES.value, _PROPERTY_NAME, PROPERTIES_MAX)
    for at in range(first, end):
        span = spans.properties[at]
        if span[3] > NAME_BYTES_MAX:
            _note(found, RowFault.PROPERTY_TOO_LONG.value, _PROPERTY_VALUE, at - first)
        if span[1] == 0:
            _note(found, RowFault.PROPERTY_NAME_EMPTY.value, _PROPERTY_NAME, at - first)
        elif span[1] > NAME_BYTES_MAX:
            _note(found, RowFault.NAME_TOO_LONG.value, _PROPERTY_NAME, at - first)
        else:
            name = intern(tables.property_names, spans.data, np.int64(span[0]), np.int64(span[1]), 0)
            if tables.last_row_of_property[name] == row + 1:
                _note(found, RowFault.PROPERTY_REPEATED.value, _PROPERTY_NAME, at - first)
            tables.last_row_of_property[name] = row + 1
            judged.property_names[at] = name
            judged.property_values[at] = _code_of_value(spans.data, span, name, tables)


@inlined_kernel
def _code_of_value(data: Bytes, span: NDArray[np.int32], name: Index, tables: _Tables) -> Index:
    """Code of a property's value within the column of its name."""
    known = tables.property_values.entry_count[0]
    entry = intern(tables.property_values, data, np.int64(span[2]), np.int64(span[3]), name)
    if entry == known:
        tables.code_of_value[entry] = tables.value_counts[name]
        tables.value_counts[name] += 1
    return np.int64(tables.code_of_value[entry])


@inlined_kernel
def _name_of(data: Bytes, texts: NDArray[np.int32], field: Index, table: Interned) -> Index:
    """Entry of the one that is given of an id (at `field`, tag 1) and a reference (behind it, tag 0)."""
    is_id = 1 if texts[field, 1] > 0 else 0
    given = field + 1 - is_id
    return intern(table, data, np.int64(texts[given, 0]), np.int64(texts[given, 1]), is_id)


def _value_columns(
    spans: EventSpans, names: Interned, judged: _Judged, faults: NDArray[np.uint8], check_size: CheckSize
) -> tuple[ValueColumn, ...]:
    row_count = len(faults)
    columns, count = _columns_in_use(names, judged.value_names, spans.value_starts, faults, check_size)
    numbers = np.zeros((count, row_count, 2), dtype=np.uint64)
    present = np.zeros((count, row_count), dtype=np.bool_)
    _spread_values(spans.value_starts, judged.value_names, judged.numbers, faults, columns, numbers, present)
    texts = _texts(spans.data, names)
    named = [
        ValueColumn(texts[entry], numbers[column], present[column])
        for entry, column in enumerate(columns.tolist())
        if column >= 0
    ]
    return tuple(sorted(named, key=lambda column: column.name))


def _property_columns(
    spans: EventSpans, tables: _Tables, judged: _Judged, faults: NDArray[np.uint8], check_size: CheckSize
) -> tuple[PropertyColumn, ...]:
    row_count = len(faults)
    names, values = tables.property_names, tables.property_values
    columns, count = _columns_in_use(names, judged.property_names, spans.property_starts, faults, check_size)
    codes = np.full((count, row_count), -1, dtype=np.int32)
    _spread_codes(spans.property_starts, judged.property_names, judged.property_values, faults, columns, codes)
    texts = _texts(spans.data, names)
    value_count = int(values.entry_count[0])
    tags = values.tags[:value_count]
    named = []
    for entry, column in enumerate(columns.tolist()):
        if column >= 0:
            mine = tags == entry
            distinct = string_array(spans.data, values.starts[:value_count][mine], values.lengths[:value_count][mine])
            named.append(PropertyColumn(texts[entry], codes[column], distinct))
    return tuple(sorted(named, key=lambda column: column.name))


def _columns_in_use(
    names: Interned,
    name_of: NDArray[np.int32],
    starts: NDArray[np.int32],
    faults: NDArray[np.uint8],
    check_size: CheckSize,
) -> tuple[NDArray[np.int32], int]:
    """Column of each name that a sound row has, -1 for the others; and how many columns there are."""
    columns = np.full(int(names.entry_count[0]), -1, dtype=np.int32)
    count = _number_columns(name_of, starts, faults, columns)
    check_size(count, len(faults))
    return columns, count


@kernel
def _number_columns(
    name_of: NDArray[np.int32], starts: NDArray[np.int32], faults: NDArray[np.uint8], columns: NDArray[np.int32]
) -> Index:
    count = 0
    for row in range(len(faults)):
        if faults[row] == 0:
            for at in range(np.int64(starts[row]), np.int64(starts[row + 1])):
                if columns[name_of[at]] < 0:
                    columns[name_of[at]] = count
                    count += 1
    return count


@kernel
def _spread_values(
    starts: NDArray[np.int32],
    name_of: NDArray[np.int32],
    numbers: NDArray[np.uint64],
    faults: NDArray[np.uint8],
    columns: NDArray[np.int32],
    spread: NDArray[np.uint64],
    present: NDArray[np.bool_],
) -> None:
    for row in range(len(faults)):
        if faults[row] == 0:
            for at in range(np.int64(starts[row]), np.int64(starts[row + 1])):
                column = columns[name_of[at]]
                spread[column, row, 0] = numbers[at, 0]
                spread[column, row, 1] = numbers[at, 1]
                present[column, row] = True


@kernel
def _spread_codes(
    starts: NDArray[np.int32],
    name_of: NDArray[np.int32],
    codes: NDArray[np.int32],
    faults: NDArray[np.uint8],
    columns: NDArray[np.int32],
    spread: NDArray[np.int32],
) -> None:
    for row in range(len(faults)):
        if faults[row] == 0:
            for at in range(np.int64(starts[row]), np.int64(starts[row + 1])):
                spread[columns[name_of[at]], row] = codes[at]


def _names(data: Bytes, table: Interned, codes: NDArray[np.int32]) -> Names:
    count = int(table.entry_count[0])
    names = string_array(data, table.starts[:count], table.lengths[:count])
    return Names(codes, names, table.tags[:count].astype(np.bool_))


def _texts(data: Bytes, table: Interned) -> list[str]:
    count = int(table.entry_count[0])
    spans = zip(table.starts[:count].tolist(), table.lengths[:count].tolist(), strict=True)
    return [data[start : start + length].tobytes().decode() for start, length in spans]


def _shown(spans: EventSpans, found: NDArray[np.int64], row: int) -> tuple[str, str]:
    """The field at fault of a row, and the beginning of the text found there."""
    _, field, index = found[row].tolist()
    name = _FIELDS[field].format(index)
    if field == _TIME:
        return name, f"{spans.seconds[row]} s and {spans.nanoseconds[row]} ns since 1970"
    if field < TEXT_COUNT:
        start, length = spans.texts[row, field].tolist()
    elif field in (_VALUE_NAME, _VALUE_NUMBER):
        start, length = _span_of(spans.values[spans.value_starts[row] + index], field == _VALUE_NUMBER)
    else:
        start, length = _span_of(spans.properties[spans.property_starts[row] + index], field == _PROPERTY_VALUE)
    return name, shown_text(spans.data, start, length)


def shown_text(data: Bytes, start: int, length: int) -> str:
    """The beginning of a text, to be shown."""
    # Four bytes are the longest character, so that cutting the bytes first never costs a shown one.
    return data[start : start + min(length, 4 * TEXT_SHOWN_MAX)].tobytes().decode(errors="ignore")[:TEXT_SHOWN_MAX]


def _span_of(pair: NDArray[np.int32], second: bool) -> tuple[int, int]:
    start, length = pair[2:].tolist() if second else pair[:2].tolist()
    return start, length
