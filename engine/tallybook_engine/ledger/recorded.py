"""Recorded usage: the events that survive at a sequence, as columns, at the instants that they are rated by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.calendar.periods import period_at
from tallybook_engine.catalog.compile import Definition
from tallybook_engine.ledger.columns import EventColumns, Names, PropertyColumn, ValueColumn
from tallybook_engine.ledger.references import location
from tallybook_engine.ledger.segments import (
    PROPERTY_PREFIX,
    VALUE_PREFIX,
    Decoded,
    RecordKind,
    limbs_of,
    numpy_of,
    one_chunk,
)

EVENT_ID = "event_id"
KEPT = ("reference", "customer", "meter", "contract", "time_us")
"""Columns of a record that say what was recorded, beside its values and properties."""

Spans = Mapping[str, tuple[int, int]]
"""Customer's reference -> the stretch of time [start, end) that is wanted of it, microseconds."""


class TooManyEventsError(ValueError):
    """More events than may be looked at."""


@dataclass(frozen=True)
class RecordedEvents:
    """n events in the order of their storing."""

    table: pa.Table
    """KEPT, `event_id`, and a column for each value and property that any of them has."""

    @property
    def row_count(self) -> int:
        """n"""
        return int(self.table.num_rows)

    @cached_property
    def times_us(self) -> NDArray[np.int64]:
        """[n] the instant that each is rated by."""
        return numpy_of(self.column("time_us"))

    def column(self, name: str) -> pa.Array:
        """A column as one array."""
        column = self.table.column(name)
        if column.num_chunks == 0:
            return pa.array([], column.type)
        # One at a time, as they are asked for: of many events not all columns are wanted.
        whole = column.unify_dictionaries().combine_chunks() if column.num_chunks > 1 else column.chunk(0)
        return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole

    def codes(self, name: str) -> tuple[NDArray[np.int32], pa.StringArray]:
        """([n] code of each row's text, -1 where it has none; the texts) of a column."""
        column = self.column(name)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        return codes, column.dictionary

    def value(self, name: str) -> tuple[NDArray[np.uint64], NDArray[np.bool_]] | None:
        """([n, 2] a value at scale 12, 0 where a row does not have it; [n] whether it has it); None: no row has it."""
        if VALUE_PREFIX + name not in self.table.column_names:
            return None
        column = self.column(VALUE_PREFIX + name)
        present = column.is_valid().to_numpy(zero_copy_only=False)
        return np.where(present[:, None], limbs_of(column, 2), np.uint64(0)), present

    def names(self, prefix: str) -> list[str]:
        """Names of the values, or of the properties, that any of them has."""
        return [name.removeprefix(prefix) for name in self.table.column_names if name.startswith(prefix)]

    def batches(self, row_count: int) -> Iterator[EventColumns]:
        """The events as they are sent, so many at a time; each carries the instant that it is rated by."""
        table = one_chunk(self.table)
        for start in range(0, self.row_count, row_count):
            yield RecordedEvents(one_chunk(table.slice(start, row_count)))._as_sent()

    def _as_sent(self) -> EventColumns:
        values = [(name, self.value(name)) for name in self.names(VALUE_PREFIX)]
        return EventColumns(
            row_count=self.row_count,
            customers=self._names("customer", is_id=False),
            meters=self._names("meter", is_id=False),
            contracts=self._names("contract", is_id=True),
            references=self.column("reference"),
            times_us=self.times_us,
            time_given=np.ones(self.row_count, dtype=np.bool_),
            values=tuple(ValueColumn(name, *found) for name, found in values if found is not None),
            properties=tuple(
                PropertyColumn(name, *self.codes(PROPERTY_PREFIX + name)) for name in self.names(PROPERTY_PREFIX)
            ),
            faults=np.zeros(self.row_count, dtype=np.uint8),
            fault_fields={},
            may_be_determinants=True,
        )

    def _names(self, column: str, *, is_id: bool) -> Names:
        codes, names = self.codes(column)
        return Names(codes, names, np.full(len(names), is_id, dtype=np.bool_))


def surviving_events(
    segments: Iterable[Decoded], sequence: int, spans: Spans, count_max: int, go_on: GoOn = unasked
) -> RecordedEvents:
    """The events of the spans that are stored up to a sequence and not deleted by then, from every segment, in order,
    that may hold one of them or its delete. `go_on` is asked at each. Raises TooManyEventsError.
    """
    end = np.uint64(location(sequence + 1, 0))
    found, deleted, count = [], [np.empty(0, dtype=np.uint64)], 0
    for decoded in segments:
        go_on()
        kinds, known = decoded.numbers("kind"), decoded.locations < end
        deleted.append(decoded.numbers("first")[known & (kinds == RecordKind.DELETE)])
        keep = known & (kinds == RecordKind.EVENT) & _within(decoded, spans)
        count += int(keep.sum())
        if count > count_max:
            raise TooManyEventsError(f"more than {count_max:,} events")
        if keep.any():
            found.append(_kept(decoded, keep))
    if not found:
        return RecordedEvents(_NOTHING)
    gone = np.unique(np.concatenate(deleted))
    for number, table in enumerate(found):
        go_on()
        found[number] = _surviving(table, gone)
    return RecordedEvents(pa.concat_tables(found, promote_options="default"))


def _within(decoded: Decoded, spans: Spans) -> NDArray[np.bool_]:
    customers = decoded.column("customer")
    # The last one stands for rows without a customer.
    bounds = [spans.get(name, (0, 0)) for name in customers.dictionary.to_pylist()] + [(0, 0)]
    limits = np.array(bounds, dtype=np.int64)[customers.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    times_us = decoded.numbers("time_us")
    within: NDArray[np.bool_] = (times_us >= limits[:, 0]) & (times_us < limits[:, 1])
    return within


def _kept(decoded: Decoded, keep: NDArray[np.bool_]) -> pa.Table:
    records = decoded.tables.records
    measured = [name for name in records.column_names if name.startswith((VALUE_PREFIX, PROPERTY_PREFIX))]
    table = records.select([*KEPT, *measured]).append_column(EVENT_ID, pa.array(decoded.locations))
    return table.filter(pa.array(keep))


def _surviving(table: pa.Table, deleted: NDArray[np.uint64]) -> pa.Table:
    """The events of one segment that are not deleted, in the order of their storing."""
    ids = table.column(EVENT_ID).to_numpy()
    order = np.argsort(ids, kind="stable")
    return table.take(pa.array(order[~np.isin(ids[order], deleted)]))


_NOTHING = pa.table(
    {
        **{name: pa.array([], pa.dictionary(pa.int32(), pa.string())) for name in ("customer", "meter", "contract")},
        "reference": pa.array([], pa.string()),
        "time_us": pa.array([], pa.int64()),
        EVENT_ID: pa.array([], pa.uint64()),
    }
)


def whole_periods(definitions: Iterable[Definition], start_us: int, end_us: int) -> tuple[int, int]:
    """The span, widened to the first and the last instant of every accumulation period that it touches."""
    first_us, last_us = start_us, end_us
    for each in definitions:
        from_us, to_us = max(start_us, each.start_us), min(end_us, each.end_us)
        if from_us < to_us:
            periods = [
                period_at(each.accumulation_frequency, each.accumulation_anchor(), each.time_zone, instant_us)
                for instant_us in (from_us, to_us - 1)
            ]
            first_us = min(first_us, max(periods[0][0], each.start_us))
            last_us = max(last_us, min(periods[1][1], each.end_us))
    return first_us, last_us
