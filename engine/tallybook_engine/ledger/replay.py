"""Stored records as event columns again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from tallybook_engine.ledger.columns import EventColumns, Names, PropertyColumn, ValueColumn
from tallybook_engine.ledger.segments import (
    PROPERTY_PREFIX,
    VALUE_PREFIX,
    Decoded,
    concatenated,
    limbs_of,
    numpy_of,
    one_chunk,
)

Place = tuple[Decoded, int]
"""A body and the position of a record in it."""


def chosen_records(chosen: Sequence[Place]) -> pa.Table:
    """The records at these places, in this order, as one table."""
    groups: dict[int, tuple[Decoded, list[int], list[int]]] = {}
    for index, (decoded, position) in enumerate(chosen):
        _, positions, indices = groups.setdefault(id(decoded), (decoded, [], []))
        positions.append(position)
        indices.append(index)
    table = concatenated(
        [decoded.tables.records.take(pa.array(positions)) for decoded, positions, _ in groups.values()]
    )
    order = np.argsort(np.concatenate([np.array(indices) for _, _, indices in groups.values()]))
    return one_chunk(table.take(pa.array(order)))


def following_records(chosen: Sequence[Place], columns: Mapping[str, Sequence[int] | int]) -> pa.Table:
    """Copies of the records at these places with other values in some columns of numbers: what comes after them."""
    table = chosen_records(chosen)
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        given = [values] * len(chosen) if isinstance(values, int) else values
        table = table.set_column(index, table.schema.field(index), pa.array(given, type=table.schema.types[index]))
    return table


def event_columns(records: pa.Table) -> EventColumns:
    """The events of a records table of one chunk. Times are the effective ones; names are references."""
    count = records.num_rows
    values, properties = [], []
    for name in records.schema.names:
        column = _array(records, name)
        if name.startswith(VALUE_PREFIX):
            present = column.is_valid().to_numpy(zero_copy_only=False)
            numbers = np.where(present[:, None], limbs_of(column, 2), np.uint64(0))
            values.append(ValueColumn(name[len(VALUE_PREFIX) :], numbers, present))
        elif name.startswith(PROPERTY_PREFIX):
            coded = _names(column)
            properties.append(PropertyColumn(name[len(PROPERTY_PREFIX) :], coded.codes, coded.names))
    return EventColumns(
        row_count=count,
        customers=_names(_array(records, "customer")),
        meters=_names(_array(records, "meter")),
        contracts=_names(_array(records, "contract")),
        references=_array(records, "reference"),
        times_us=numpy_of(_array(records, "time_us")),
        time_given=np.ones(count, dtype=np.bool_),
        values=tuple(values),
        properties=tuple(properties),
        faults=np.zeros(count, dtype=np.uint8),
        fault_fields={},
    )


def _array(records: pa.Table, name: str) -> pa.Array:
    column = records.column(name).combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _names(column: pa.DictionaryArray) -> Names:
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return Names(codes, column.dictionary, np.zeros(len(column.dictionary), dtype=np.bool_))
