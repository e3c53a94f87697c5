"""A frame of text and numbers to the ledger's columns: judges every row as `pivot` does.

The same event gives the same columns here and there; only the field that a fault names differs, because the field is
a column of the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.decimals import QUANTITY_LIMIT, QUANTITY_SCALE, format_decimal
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.text import Bytes, Index, Interned, intern, interned, string_array
from tallybook_engine.kernels.wide import Limb, from_limbs, lt128, mul128, neg128, to_limbs
from tallybook_engine.ledger.columns import EventColumns, Names, PropertyColumn, ValueColumn
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.pivot import NAME_BYTES_MAX, PROPERTIES_MAX, SECONDS_END, VALUES_MAX, shown_text

MICROSECONDS = 1_000_000
"""In a second."""


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of n texts: either plain, or codes into k distinct or repeated texts."""

    name: str
    data: Bytes
    """UTF-8 of the texts."""
    starts: NDArray[np.int32]
    """[k] where each text begins in `data`."""
    lengths: NDArray[np.int32]
    """[k] bytes of each text; -1 where there is none."""
    codes: NDArray[np.int32] | None
    """[n] which of the k texts a row has, -1 for none; None: row i has text i, and n is k."""


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A column of n decimals."""

    name: str
    """Of the value."""
    numbers: NDArray[np.uint64]
    """[n, 2] (low, high) limbs, two's complement."""
    scale: int
    """Decimals, 0 to 12."""
    present: NDArray[np.bool_]
    """[n]"""


@dataclass(frozen=True, slots=True)
class EventFrame:
    """n events as they come. Where both columns of a pair are missing, every row lacks its name."""

    row_count: int
    customer_ids: TextColumn | None
    customer_references: TextColumn | None
    meter_ids: TextColumn | None
    meter_references: TextColumn | None
    references: TextColumn
    contract_ids: TextColumn | None
    times_us: NDArray[np.int64]
    time_given: NDArray[np.bool_]
    values: tuple[NumberColumn, ...]
    properties: tuple[TextColumn, ...]


def judge_frame(frame: EventFrame, seed: int) -> EventColumns:
    """Columns of a frame's rows. `seed` is a secret of the process."""
    judged = _Judged(frame.row_count)
    _judge_names(frame, judged)
    _judge_times(frame, judged)
    _judge_count(judged, [each.present for each in frame.values], VALUES_MAX, RowFault.TOO_MANY_VALUES, "value:")
    numbers = [_rescaled(each, judged) for each in frame.values]
    given = [_row_lengths(each) >= 0 for each in frame.properties]
    _judge_count(judged, given, PROPERTIES_MAX, RowFault.TOO_MANY_PROPERTIES, "property:")
    for each in frame.properties:
        judged.note(_row_lengths(each) > NAME_BYTES_MAX, RowFault.PROPERTY_TOO_LONG, f"property:{each.name}", each)
    sound = judged.faults == 0
    return EventColumns(
        row_count=frame.row_count,
        customers=_names(frame.customer_ids, frame.customer_references, sound, seed),
        meters=_names(frame.meter_ids, frame.meter_references, sound, seed),
        contracts=_names(frame.contract_ids, None, sound, seed),
        references=_references(frame.references, sound),
        times_us=np.where(frame.time_given & sound, frame.times_us, 0),
        time_given=frame.time_given,
        values=_value_columns(frame.values, numbers, sound),
        properties=_property_columns(frame.properties, sound, seed),
        faults=judged.faults,
        fault_fields=judged.fields,
    )


class _Judged:
    """The faults of the rows, noted in their order of precedence."""

    def __init__(self, row_count: int) -> None:
        self.faults = np.zeros(row_count, dtype=np.uint8)
        self.fields: dict[int, tuple[str, str]] = {}

    def note(self, rows: NDArray[np.bool_], fault: RowFault, field: str, column: TextColumn | None = None) -> None:
        """Gives the rows that are still sound this fault, showing the text of the column."""
        self.note_shown(rows, fault, field, lambda row: "" if column is None else _shown(column, row))

    def note_shown(self, rows: NDArray[np.bool_], fault: RowFault, field: str, shown: Callable[[int], str]) -> None:
        """The same with any text."""
        newly = rows & (self.faults == 0)
        if newly.any():
            self.faults[newly] = fault
            self.fields.update((row, (field, shown(row))) for row in np.flatnonzero(newly).tolist())


def _judge_names(frame: EventFrame, judged: _Judged) -> None:
    _judge_pair(judged, "customer", frame.customer_ids, frame.customer_references)
    _judge_pair(judged, "meter", frame.meter_ids, frame.meter_references)
    lengths = _row_lengths(frame.references)
    judged.note(lengths <= 0, RowFault.REFERENCE_EMPTY, "reference")
    judged.note(lengths > NAME_BYTES_MAX, RowFault.REFERENCE_TOO_LONG, "reference", frame.references)
    names = (frame.customer_ids, frame.customer_references, frame.meter_ids, frame.meter_references, frame.contract_ids)
    for column in names:
        if column is not None:
            judged.note(_row_lengths(column) > NAME_BYTES_MAX, RowFault.NAME_TOO_LONG, column.name, column)


def _judge_pair(judged: _Judged, what: str, ids: TextColumn | None, references: TextColumn | None) -> None:
    """One of an id and a reference must be given."""
    by_id, by_reference = (
        np.zeros(len(judged.faults), dtype=np.bool_) if column is None else _row_lengths(column) > 0
        for column in (ids, references)
    )
    missing = RowFault.CUSTOMER_MISSING if what == "customer" else RowFault.METER_MISSING
    ambiguous = RowFault.CUSTOMER_AMBIGUOUS if what == "customer" else RowFault.METER_AMBIGUOUS
    judged.note(~by_id & ~by_reference, missing, f"{what}_reference")
    judged.note(by_id & by_reference, ambiguous, f"{what}_id", ids)


def _judge_times(frame: EventFrame, judged: _Judged) -> None:
    outside = (frame.times_us < 0) | (frame.times_us >= SECONDS_END * MICROSECONDS)
    judged.note_shown(
        frame.time_given & outside,
        RowFault.TIME_OUT_OF_RANGE,
        "time",
        lambda row: f"{frame.times_us[row]} us since 1970",
    )


def _judge_count(
    judged: _Judged, present: list[NDArray[np.bool_]], count_max: int, fault: RowFault, field: str
) -> None:
    if len(present) > count_max:
        counts = np.zeros(len(judged.faults), dtype=np.int32)
        for column in present:
            counts += column
        judged.note_shown(counts > count_max, fault, field, lambda row: f"{counts[row]} of them")


def _rescaled(column: NumberColumn, judged: _Judged) -> NDArray[np.uint64]:
    """The column's numbers at scale 12; notes what leaves the limits."""
    numbers = np.zeros((len(column.present), 2), dtype=np.uint64)
    out_of_range = np.zeros(len(column.present), dtype=np.bool_)
    limit = to_limbs(QUANTITY_LIMIT // 10 ** (QUANTITY_SCALE - column.scale), 2)
    factor = np.uint64(10 ** (QUANTITY_SCALE - column.scale))
    _rescale(column.numbers, column.present, limit[0], limit[1], factor, numbers, out_of_range)

    def shown(row: int) -> str:
        return format_decimal(from_limbs(*column.numbers[row]), column.scale)

    judged.note_shown(out_of_range, RowFault.DECIMAL_OUT_OF_RANGE, f"value:{column.name}", shown)
    return numbers


@kernel
def _rescale(
    numbers: NDArray[np.uint64],
    present: NDArray[np.bool_],
    limit_low: Limb,
    limit_high: Limb,
    factor: Limb,
    rescaled: NDArray[np.uint64],
    out_of_range: NDArray[np.bool_],
) -> None:
    minus_low, minus_high = neg128(limit_low, limit_high)
    for row in range(len(present)):
        if present[row]:
            low, high = numbers[row, 0], numbers[row, 1]
            if lt128(minus_low, minus_high, low, high) and lt128(low, high, limit_low, limit_high):
                rescaled[row, 0], rescaled[row, 1], _ = mul128(low, high, factor, np.uint64(0))
            else:
                out_of_range[row] = True


def _value_columns(
    columns: tuple[NumberColumn, ...], numbers: list[NDArray[np.uint64]], sound: NDArray[np.bool_]
) -> tuple[ValueColumn, ...]:
    """By name, those that a sound row has."""
    made = [
        ValueColumn(column.name, scaled, column.present & sound)
        for column, scaled in zip(columns, numbers, strict=True)
    ]
    return tuple(sorted((each for each in made if each.present.any()), key=lambda each: each.name))


def _property_columns(
    columns: tuple[TextColumn, ...], sound: NDArray[np.bool_], seed: int
) -> tuple[PropertyColumn, ...]:
    """By name, those that a sound row has."""
    made = []
    for column in columns:
        codes, distinct = _distinct(column, sound, 0, seed)
        if len(distinct) > 0:
            made.append(PropertyColumn(column.name, codes, distinct))
    return tuple(sorted(made, key=lambda each: each.name))


def _names(ids: TextColumn | None, references: TextColumn | None, sound: NDArray[np.bool_], seed: int) -> Names:
    """Names of the sound rows, each of which has one of the two at most."""
    codes = np.full(len(sound), -1, dtype=np.int32)
    parts = [pa.array([], pa.string())]
    is_id: list[bool] = []
    for column, by_id in ((ids, True), (references, False)):
        if column is not None:
            mine, distinct = _distinct(column, sound, 1, seed)
            codes = np.where(mine >= 0, mine + np.int32(len(is_id)), codes)
            parts.append(distinct)
            is_id.extend([by_id] * len(distinct))
    return Names(codes, pa.concat_arrays(parts), np.array(is_id, dtype=np.bool_))


def _distinct(
    column: TextColumn, sound: NDArray[np.bool_], length_min: int, seed: int
) -> tuple[NDArray[np.int32], pa.StringArray]:
    """Code of each sound row whose text has at least `length_min` bytes, -1 for the others; and the distinct texts."""
    table = interned(len(column.lengths), seed)
    codes_of_rows = np.empty(len(sound), dtype=np.int32)
    codes, code_of_text = _NO_CODES, _NO_CODES
    if column.codes is not None:
        codes, code_of_text = column.codes, np.full(len(column.lengths), _UNMET, dtype=np.int32)
    _number(
        *(column.data, column.starts, column.lengths, codes, column.codes is not None),
        *(sound, length_min, code_of_text, table, codes_of_rows),
    )
    count = int(table.entry_count[0])
    return codes_of_rows, string_array(column.data, table.starts[:count], table.lengths[:count])


_NO_CODES = np.empty(0, dtype=np.int32)
_UNMET = -2
"""A text of a dictionary that no row had so far."""


@kernel
def _number(
    data: Bytes,
    starts: NDArray[np.int32],
    lengths: NDArray[np.int32],
    codes: NDArray[np.int32],
    coded: bool,
    sound: NDArray[np.bool_],
    length_min: Index,
    code_of_text: NDArray[np.int32],
    table: Interned,
    codes_of_rows: NDArray[np.int32],
) -> None:
    for row in range(len(sound)):
        text = np.int64(codes[row]) if coded else row
        if not sound[row] or text < 0 or lengths[text] < length_min:
            codes_of_rows[row] = -1
        elif not coded:
            codes_of_rows[row] = intern(table, data, np.int64(starts[text]), np.int64(lengths[text]), 0)
        else:
            if code_of_text[text] == _UNMET:
                code_of_text[text] = intern(table, data, np.int64(starts[text]), np.int64(lengths[text]), 0)
            codes_of_rows[row] = code_of_text[text]


def _references(column: TextColumn, sound: NDArray[np.bool_]) -> pa.StringArray:
    lengths = np.where(sound, _row_lengths(column), 0).astype(np.int32, copy=False)
    if column.codes is None:
        return string_array(column.data, column.starts, lengths)
    # Code -1, a row without a text, reads the 0 at the end: a dictionary may hold no text at all.
    return string_array(column.data, np.append(column.starts, np.int32(0))[column.codes], lengths)


def _row_lengths(column: TextColumn) -> NDArray[np.int32]:
    """[n] bytes of each row's text; -1 where it has none."""
    if column.codes is None:
        return column.lengths
    if len(column.lengths) == 0:
        return np.full(len(column.codes), -1, dtype=np.int32)
    return np.where(column.codes >= 0, column.lengths[np.maximum(column.codes, 0)], np.int32(-1))


def _shown(column: TextColumn, row: int) -> str:
    text = row if column.codes is None else int(column.codes[row])
    return shown_text(column.data, int(column.starts[text]), int(column.lengths[text]))
