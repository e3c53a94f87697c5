"""Rows of text to columns: judges every row, makes names distinct, and turns ragged values into a column a name.

The rows come as spans of one array of bytes, whatever they were decoded from. A row that is wrong keeps its place
with a `RowFault`: the lowest of the codes that hold (their order of precedence), its first occurrence in the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.decimals import parse_span
from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.text import Bytes, Index, Interned, intern, intern_like, interned, string_array
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
"""Nanoseconds of a second."""
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

Faults = NDArray[np.uint8]
"""[n] `RowFault` of each row; 0: sound."""
Found = NDArray[np.int64]
"""[n, 3] fault, field, index within the field; the fault 0: sound."""

# Kernels take the plain numbers of the faults.
_CUSTOMER_MISSING = RowFault.CUSTOMER_MISSING.value
_CUSTOMER_AMBIGUOUS = RowFault.CUSTOMER_AMBIGUOUS.value
_METER_MISSING = RowFault.METER_MISSING.value
_METER_AMBIGUOUS = RowFault.METER_AMBIGUOUS.value
_REFERENCE_EMPTY = RowFault.REFERENCE_EMPTY.value
_REFERENCE_TOO_LONG = RowFault.REFERENCE_TOO_LONG.value
_NAME_TOO_LONG = RowFault.NAME_TOO_LONG.value
_TIME_OUT_OF_RANGE = RowFault.TIME_OUT_OF_RANGE.value
_VALUE_NAME_EMPTY = RowFault.VALUE_NAME_EMPTY.value
_VALUE_REPEATED = RowFault.VALUE_REPEATED.value
_TOO_MANY_VALUES = RowFault.TOO_MANY_VALUES.value
_DECIMAL_EMPTY = RowFault.DECIMAL_EMPTY.value
_PROPERTY_NAME_EMPTY = RowFault.PROPERTY_NAME_EMPTY.value
_PROPERTY_REPEATED = RowFault.PROPERTY_REPEATED.value
_TOO_MANY_PROPERTIES = RowFault.TOO_MANY_PROPERTIES.value
_PROPERTY_TOO_LONG = RowFault.PROPERTY_TOO_LONG.value

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


def pivot(spans: EventSpans, seed: int, check_size: CheckSize) -> EventColumns:
    """Columns of the rows. `seed` is a secret of the process."""
    row_count = len(spans.seconds)
    found = np.zeros((row_count, 3), dtype=np.int64)
    times_us = np.zeros(row_count, dtype=np.int64)
    _judge_rows(spans.texts, spans.seconds, spans.nanoseconds, spans.time_given, times_us, found)
    values, numbers = _read_values(spans, seed, found)
    properties = _read_properties(spans, seed, found)
    faults = found[:, 0].astype(np.uint8)
    return EventColumns(
        row_count=row_count,
        customers=_names(spans, CUSTOMER_ID, faults, seed),
        meters=_names(spans, METER_ID, faults, seed),
        contracts=_names(spans, CONTRACT_ID, faults, seed),
        references=_references(spans, faults),
        times_us=times_us,
        time_given=spans.time_given,
        values=_value_columns(spans, values, numbers, faults, check_size),
        properties=_property_columns(spans, properties, faults, check_size),
        faults=faults,
        fault_fields={int(row): _shown(spans, found, int(row)) for row in np.flatnonzero(faults)},
    )


# --- Judging: each pass notes what it can see -----------------------------------------------------------------------


@inlined_kernel
def _note(found: Found, row: Index, fault: Index, field: Index, index: Index) -> None:
    """Keeps the fault of a row that goes before the others."""
    if found[row, 0] == 0 or fault < found[row, 0]:
        found[row, 0] = fault
        found[row, 1] = field
        found[row, 2] = index


@kernel
def _judge_rows(
    texts: NDArray[np.int32],
    seconds: NDArray[np.int64],
    nanoseconds: NDArray[np.int64],
    time_given: NDArray[np.bool_],
    times_us: NDArray[np.int64],
    found: Found,
) -> None:
    """Names and times; fills `times_us` of the rows whose time is fine."""
    for row in range(len(seconds)):
        _judge_choice(texts, row, CUSTOMER_ID, found, _CUSTOMER_MISSING, _CUSTOMER_AMBIGUOUS)
        _judge_choice(texts, row, METER_ID, found, _METER_MISSING, _METER_AMBIGUOUS)
        if texts[row, REFERENCE, 1] == 0:
            _note(found, row, _REFERENCE_EMPTY, REFERENCE, 0)
        for field in range(TEXT_COUNT):
            if texts[row, field, 1] > NAME_BYTES_MAX:
                _note(found, row, _REFERENCE_TOO_LONG if field == REFERENCE else _NAME_TOO_LONG, field, 0)
        if time_given[row]:
            if 0 <= seconds[row] < SECONDS_END and 0 <= nanoseconds[row] < NANOSECONDS_END:
                times_us[row] = seconds[row] * 1_000_000 + nanoseconds[row] // 1_000
            else:
                _note(found, row, _TIME_OUT_OF_RANGE, _TIME, 0)


@inlined_kernel
def _judge_choice(
    texts: NDArray[np.int32], row: Index, field: Index, found: Found, missing: Index, ambiguous: Index
) -> None:
    """One of an id (at `field`) and a reference (behind it) must be given."""
    by_id, by_reference = texts[row, field, 1] > 0, texts[row, field + 1, 1] > 0
    if not by_id and not by_reference:
        _note(found, row, missing, field + 1, 0)
    elif by_id and by_reference:
        _note(found, row, ambiguous, field, 0)


class _PairNames(NamedTuple):
    """The names of ragged values or properties."""

    table: Interned
    entries: NDArray[np.int32]
    """[m] entry of the table for each pair; -1 where the name is at fault."""


def _read_values(spans: EventSpans, seed: int, found: Found) -> tuple[_PairNames, NDArray[np.uint64]]:
    """Names and numbers ([m, 2], scale 12) of all values."""
    names = _read_names(
        *(spans.data, spans.value_starts, spans.values, seed, found, _VALUE_NAME, VALUES_MAX),
        *(_TOO_MANY_VALUES, _VALUE_NAME_EMPTY, _VALUE_REPEATED),
    )
    numbers = np.empty((len(spans.values), 2), dtype=np.uint64)
    _judge_numbers(spans.data, spans.value_starts, spans.values, numbers, found)
    return names, numbers


def _read_names(
    data: Bytes,
    starts: NDArray[np.int32],
    pairs: NDArray[np.int32],
    seed: int,
    found: Found,
    field: int,
    count_max: int,
    too_many: int,
    empty: int,
    repeated: int,
) -> _PairNames:
    table = interned(len(pairs), seed)
    entries, last_row = np.empty(len(pairs), dtype=np.int32), np.zeros(len(pairs), dtype=np.int32)
    _judge_names(
        *(data, starts, pairs, table, entries, last_row, found), *(field, count_max, too_many, empty, repeated)
    )
    return _PairNames(table, entries)


@kernel
def _judge_names(
    data: Bytes,
    starts: NDArray[np.int32],
    pairs: NDArray[np.int32],
    table: Interned,
    entries: NDArray[np.int32],
    last_row: NDArray[np.int32],
    found: Found,
    field: Index,
    count_max: Index,
    too_many: Index,
    empty: Index,
    repeated: Index,
) -> None:
    """`last_row` [m], 0 at first, is 1 + the last row that had the name of each entry."""
    before: Index = 0
    for row in range(len(found)):
        first, end = np.int64(starts[row]), np.int64(starts[row + 1])
        if end - first > count_max:
            _note(found, row, too_many, field, count_max)
        for at in range(first, end):
            start, length = np.int64(pairs[at, 0]), np.int64(pairs[at, 1])
            # The name in the same place of the row before, where that row has one.
            guess = np.int64(entries[at - first + before]) if at - first + before < first else -1
            entries[at] = -1
            if length == 0:
                _note(found, row, empty, field, at - first)
            elif length > NAME_BYTES_MAX:
                _note(found, row, _NAME_TOO_LONG, field, at - first)
            else:
                entry = intern_like(table, data, start, length, 0, guess)
                if last_row[entry] == row + 1:
                    _note(found, row, repeated, field, at - first)
                last_row[entry] = row + 1
                entries[at] = entry
        before = first


@kernel
def _judge_numbers(
    data: Bytes,
    starts: NDArray[np.int32],
    pairs: NDArray[np.int32],
    numbers: NDArray[np.uint64],
    found: Found,
) -> None:
    for row in range(len(found)):
        first = np.int64(starts[row])
        for at in range(first, np.int64(starts[row + 1])):
            start = int(pairs[at, 2])
            fault, low, high = parse_span(data, start, start + int(pairs[at, 3]))
            if fault != 0:
                # The codes of decimals stand in the same order as the faults of rows.
                _note(found, row, _DECIMAL_EMPTY - 1 + np.int64(fault), _VALUE_NUMBER, at - first)
            numbers[at, 0] = low
            numbers[at, 1] = high


class _Properties(NamedTuple):
    """Ragged properties, read."""

    names: _PairNames
    codes: NDArray[np.int32]
    """[p] code of each value within the column of its name."""
    values: Interned
    """The distinct values of all columns, tagged with the entry of the name."""


def _read_properties(spans: EventSpans, seed: int, found: Found) -> _Properties:
    """Names and values of all properties."""
    count = len(spans.properties)
    names = _read_names(
        *(spans.data, spans.property_starts, spans.properties, seed, found, _PROPERTY_NAME, PROPERTIES_MAX),
        *(_TOO_MANY_PROPERTIES, _PROPERTY_NAME_EMPTY, _PROPERTY_REPEATED),
    )
    values, codes = interned(count, seed), np.empty(count, dtype=np.int32)
    code_of_value, value_counts = np.empty(count, dtype=np.int32), np.zeros(count, dtype=np.int32)
    starts, pairs = spans.property_starts, spans.properties
    _judge_properties(spans.data, starts, pairs, names.entries, values, code_of_value, value_counts, codes, found)
    return _Properties(names, codes, values)


@kernel
def _judge_properties(
    data: Bytes,
    starts: NDArray[np.int32],
    pairs: NDArray[np.int32],
    names: NDArray[np.int32],
    values: Interned,
    code_of_value: NDArray[np.int32],
    value_counts: NDArray[np.int32],
    codes: NDArray[np.int32],
    found: Found,
) -> None:
    """`code_of_value` [p] belongs to the entries of `values`, `value_counts` [p], 0 at first, to those of the names."""
    for row in range(len(found)):
        first = np.int64(starts[row])
        for at in range(first, np.int64(starts[row + 1])):
            start, length, name = np.int64(pairs[at, 2]), np.int64(pairs[at, 3]), np.int64(names[at])
            if length > NAME_BYTES_MAX:
                _note(found, row, _PROPERTY_TOO_LONG, _PROPERTY_VALUE, at - first)
            elif name >= 0:
                known = values.entry_count[0]
                entry = intern(values, data, start, length, name)
                if entry == known:
                    code_of_value[entry] = value_counts[name]
                    value_counts[name] += 1
                codes[at] = code_of_value[entry]


# --- Columns of the rows that are sound -----------------------------------------------------------------------------


def _names(spans: EventSpans, field: int, faults: Faults, seed: int) -> Names:
    codes = np.full(len(faults), -1, dtype=np.int32)
    if field == CONTRACT_ID and not spans.texts[:, CONTRACT_ID, 1].any():
        return Names(codes, _NO_NAMES, np.empty(0, dtype=np.bool_))
    table = interned(len(faults), seed)
    _code_names(spans.data, spans.texts, field, faults, table, codes)
    count = int(table.entry_count[0])
    names = string_array(spans.data, table.starts[:count], table.lengths[:count])
    return Names(codes, names, table.tags[:count].astype(np.bool_))


@kernel
def _code_names(
    data: Bytes,
    texts: NDArray[np.int32],
    field: Index,
    faults: Faults,
    table: Interned,
    codes: NDArray[np.int32],
) -> None:
    """Entry of the id at `field` (tag 1) or else, but for contracts, of the reference behind it (tag 0).

    `codes` [n] is -1 at first, and stays so where a row has none.
    """
    for row in range(len(faults)):
        is_id = 1 if field == CONTRACT_ID or texts[row, field, 1] > 0 else 0
        given = field + 1 - is_id
        start, length = np.int64(texts[row, given, 0]), np.int64(texts[row, given, 1])
        if faults[row] == 0 and length > 0:
            guess = np.int64(codes[row - 1]) if row > 0 else -1
            if guess >= 0 and table.tags[guess] != is_id:
                guess = -1
            codes[row] = intern_like(table, data, start, length, is_id, guess)


_NO_NAMES = pa.array([], pa.string())


def _references(spans: EventSpans, faults: Faults) -> pa.StringArray:
    lengths = np.where(faults == 0, spans.texts[:, REFERENCE, 1], np.int32(0))
    return string_array(spans.data, spans.texts[:, REFERENCE, 0], lengths)


def _value_columns(
    spans: EventSpans, names: _PairNames, numbers: NDArray[np.uint64], faults: Faults, check_size: CheckSize
) -> tuple[ValueColumn, ...]:
    columns, count = _columns_in_use(names, spans.value_starts, faults, check_size)
    spread = np.zeros((count, len(faults), 2), dtype=np.uint64)
    present = np.zeros((count, len(faults)), dtype=np.bool_)
    _spread_values(spans.value_starts, names.entries, numbers, faults, columns, spread, present)
    texts = _texts(spans.data, names.table)
    made = [
        ValueColumn(texts[entry], spread[column], present[column])
        for entry, column in enumerate(columns.tolist())
        if column >= 0
    ]
    return tuple(sorted(made, key=lambda column: column.name))


def _property_columns(
    spans: EventSpans, properties: _Properties, faults: Faults, check_size: CheckSize
) -> tuple[PropertyColumn, ...]:
    columns, count = _columns_in_use(properties.names, spans.property_starts, faults, check_size)
    spread = np.full((count, len(faults)), -1, dtype=np.int32)
    _spread_codes(spans.property_starts, properties.names.entries, properties.codes, faults, columns, spread)
    texts = _texts(spans.data, properties.names.table)
    values = properties.values
    value_count = int(values.entry_count[0])
    tags, starts, lengths = values.tags[:value_count], values.starts[:value_count], values.lengths[:value_count]
    made = [
        PropertyColumn(
            texts[entry], spread[column], string_array(spans.data, starts[tags == entry], lengths[tags == entry])
        )
        for entry, column in enumerate(columns.tolist())
        if column >= 0
    ]
    return tuple(sorted(made, key=lambda column: column.name))


def _columns_in_use(
    names: _PairNames, starts: NDArray[np.int32], faults: Faults, check_size: CheckSize
) -> tuple[NDArray[np.int32], int]:
    """Column of each name that a sound row has, -1 for the others; and how many columns there are."""
    columns = np.full(int(names.table.entry_count[0]), -1, dtype=np.int32)
    count = _number_columns(names.entries, starts, faults, columns)
    check_size(count, len(faults))
    return columns, count


@kernel
def _number_columns(
    entries: NDArray[np.int32], starts: NDArray[np.int32], faults: Faults, columns: NDArray[np.int32]
) -> Index:
    count = 0
    for row in range(len(faults)):
        if faults[row] == 0:
            for at in range(np.int64(starts[row]), np.int64(starts[row + 1])):
                if columns[entries[at]] < 0:
                    columns[entries[at]] = count
                    count += 1
    return count


@kernel
def _spread_values(
    starts: NDArray[np.int32],
    entries: NDArray[np.int32],
    numbers: NDArray[np.uint64],
    faults: Faults,
    columns: NDArray[np.int32],
    spread: NDArray[np.uint64],
    present: NDArray[np.bool_],
) -> None:
    for row in range(len(faults)):
        if faults[row] == 0:
            for at in range(np.int64(starts[row]), np.int64(starts[row + 1])):
                column = columns[entries[at]]
                spread[column, row, 0] = numbers[at, 0]
                spread[column, row, 1] = numbers[at, 1]
                present[column, row] = True


@kernel
def _spread_codes(
    starts: NDArray[np.int32],
    entries: NDArray[np.int32],
    codes: NDArray[np.int32],
    faults: Faults,
    columns: NDArray[np.int32],
    spread: NDArray[np.int32],
) -> None:
    for row in range(len(faults)):
        if faults[row] == 0:
            for at in range(np.int64(starts[row]), np.int64(starts[row + 1])):
                spread[columns[entries[at]], row] = codes[at]


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
