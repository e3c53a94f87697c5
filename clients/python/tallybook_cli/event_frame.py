"""Stored events as a frame: fixed columns, then one for each value and each property that occurs."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import polars as pl

import tallybook_client as tb

_INSTANT = pl.Datetime("us", "UTC")
_NUMBER = pl.Decimal(38, 12)


def events_frame(events: Iterable[tb.StoredEvent]) -> pl.DataFrame:
    """One row an event, in order; columns `value:NAME` (Decimal) and `property:NAME` are null where absent."""
    fixed: list[tuple[object, ...]] = []
    values: dict[str, dict[int, Decimal]] = {}
    properties: dict[str, dict[int, str]] = {}
    for row, stored in enumerate(events):
        event = stored.event
        fixed.append(
            (
                stored.event_id,
                event.reference,
                stored.generation,
                event.customer_reference or event.customer_id,
                event.meter_reference or event.meter_id,
                stored.effective_time,
                event.contract_id or None,
                stored.status.value,
                stored.match.value,
                stored.deleted,
                stored.sequence,
                stored.receipt_time,
            )
        )
        for value in event.meter_values:
            values.setdefault(value.reference, {})[row] = Decimal(value.number)
        for each in event.meter_properties:
            properties.setdefault(each.reference, {})[row] = each.value
    frame = pl.DataFrame(fixed, schema=_SCHEMA, orient="row")
    return frame.with_columns(
        *(_column(f"value:{name}", cells, len(fixed), _NUMBER) for name, cells in sorted(values.items())),
        *(_column(f"property:{name}", cells, len(fixed), pl.String()) for name, cells in sorted(properties.items())),
    )


_SCHEMA = pl.Schema(
    {
        "event_id": pl.String(),
        "reference": pl.String(),
        "generation": pl.Int32(),
        "customer_reference": pl.String(),
        "meter_reference": pl.String(),
        "time": _INSTANT,
        "contract_id": pl.String(),
        "status": pl.String(),
        "match": pl.String(),
        "deleted": pl.Boolean(),
        "sequence": pl.Int64(),
        "receipt_time": _INSTANT,
    }
)


def _column(name: str, cells: dict[int, Decimal] | dict[int, str], row_count: int, kind: pl.DataType) -> pl.Series:
    return pl.Series(name, [cells.get(row) for row in range(row_count)], kind)
