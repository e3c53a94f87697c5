"""Determinants as usage: what was computed of a datasource becomes events of the customer who pays for it.

A determinant is one event, whose reference says datasource, BILLING channel and period. So a period that is computed
again with the same value is a duplicate and posts nothing; with another value the earlier event is deleted and the
next generation of its reference is stored, in the same commit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.catalog.model import DETERMINANT_VALUE, DeterminantSource
from tallybook_engine.determinants.configuration import Datasource
from tallybook_engine.determinants.message import instant_text
from tallybook_engine.determinants.result import Determinant, Result
from tallybook_engine.kernels.wide import to_limbs
from tallybook_engine.ledger.columns import EventColumns, Names, PropertyColumn, ValueColumn
from tallybook_engine.ledger.delete import CustomerRecords, DeletePiece, find_event, stage_deletes, undo_deletes
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.outcomes import DeleteStatus, EventSelector, Status
from tallybook_engine.ledger.pivot import NAME_BYTES_MAX
from tallybook_engine.ledger.stage import FUTURE_LIMIT_US, EventPiece, Records, stage_events, undo_events
from tallybook_engine.ledger.state import State


@dataclass(frozen=True)
class Usage:
    """What a result means to the ledger."""

    customer_id: str
    columns: EventColumns
    """One row for each determinant that some product of the customer is made of, and that has a value."""
    withdrawn: tuple[str, ...]
    """References of such determinants that have no value (any more)."""


@dataclass(frozen=True)
class UsagePieces:
    """Usage, staged."""

    deletes: DeletePiece | None
    """Earlier events that others take the place of; it comes before these."""
    events: EventPiece


class UsageFault(ValueError):
    """A determinant that cannot be an event; nothing was staged."""


def usage_of(result: Result, source: Datasource, named: Mapping[str, DeterminantSource]) -> Usage | None:
    """The events of a result, by what the products of the datasource's customer are made of (meter id -> determinant).

    None where nothing of it is anybody's usage. Of a determinant that was answered by month, the months count;
    otherwise the whole period does.
    """
    if source.customer is None:
        return None
    counted = list(_counted(result, named))
    if not counted:
        return None
    present = [(name, each) for name, each in counted if each.value is not None]
    withdrawn = [determinant_reference(result.datasource, name, each) for name, each in counted if each.value is None]
    return Usage(source.customer, _columns(source, source.customer, present), tuple(withdrawn))


def _counted(result: Result, named: Mapping[str, DeterminantSource]) -> Iterator[tuple[str, Determinant]]:
    meters = {source: name for name, source in named.items()}
    sources = [DeterminantSource(each.classifier, each.kind, each.slice, each.demand) for each in result.determinants]
    by_month = {source for source, each in zip(sources, result.determinants, strict=True) if each.is_month}
    for source, each in zip(sources, result.determinants, strict=True):
        if source in meters and each.is_month == (source in by_month):
            yield meters[source], each


def determinant_reference(datasource_id: str, meter_id: str, determinant: Determinant) -> str:
    """The reference of a determinant's event: a JSON list of datasource, BILLING channel (without _MONTH, so that a
    month is the same event whichever way it was asked for), first instant and end; where it would be too long, a hash
    of that.
    """
    period = instant_text(determinant.start_us), instant_text(determinant.end_us)
    text = json.dumps([datasource_id, meter_id, *period], separators=(",", ":"))
    if len(text) <= NAME_BYTES_MAX:
        return text
    return f"determinant:{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


def event_time_us(determinant: Determinant) -> int:
    """The last microsecond of its period, which lies in the period that it is billed in."""
    return max(determinant.end_us - 1, determinant.start_us)


def _columns(source: Datasource, customer_id: str, determinants: Sequence[tuple[str, Determinant]]) -> EventColumns:
    count = len(determinants)
    meters = list(dict.fromkeys(name for name, _ in determinants))
    place = {name: index for index, name in enumerate(meters)}
    contracts = [] if source.contract_id is None else [source.contract_id]
    limbs = [to_limbs(each.value or 0, 2) for _, each in determinants]
    return EventColumns(
        row_count=count,
        customers=_names(np.zeros(count, np.int32), [customer_id], is_id=True),
        meters=_names(np.array([place[name] for name, _ in determinants], dtype=np.int32), meters, is_id=False),
        contracts=_names(np.full(count, len(contracts) - 1, dtype=np.int32), contracts, is_id=True),
        references=pa.array(
            [determinant_reference(source.id, name, each) for name, each in determinants], type=pa.string()
        ),
        times_us=np.array([event_time_us(each) for _, each in determinants], dtype=np.int64),
        time_given=np.ones(count, dtype=np.bool_),
        values=(
            ValueColumn(
                DETERMINANT_VALUE,
                np.array(limbs, dtype=np.uint64).reshape(count, 2),
                np.ones(count, dtype=np.bool_),
            ),
        ),
        properties=(PropertyColumn("datasource", np.zeros(count, np.int32), pa.array([source.id], type=pa.string())),),
        faults=np.zeros(count, dtype=np.uint8),
        fault_fields={},
    )


def _names(codes: NDArray[np.int32], names: Sequence[str], *, is_id: bool) -> Names:
    return Names(codes, pa.array(names, type=pa.string()), np.full(len(names), is_id, dtype=np.bool_))


def stage_usage(
    state: State,
    usage: Usage,
    receipt_time_us: int,
    sequence: int,
    records: CustomerRecords,
    with_deletes: Callable[[DeletePiece], Records],
    future_limit_us: int = FUTURE_LIMIT_US,
) -> UsagePieces:
    """Stages usage as the first rows of the commit `sequence`. Nothing may be on its way.

    `with_deletes` answers the records of the commit too, once the deletes are in it. Raises UsageFault, and what the
    records raise; nothing is staged then.
    """
    times_us = usage.columns.times_us
    if (times_us < 0).any():
        raise UsageFault("the period ends before 1970: no event can be of that time")
    events = stage_events(state, usage.columns, receipt_time_us, sequence, 0, records, future_limit_us)
    found = events.outcome
    selectors = [EventSelector(event_id=int(each)) for each in found.event_ids[found.status == Status.CONFLICT]]
    if not selectors and not usage.withdrawn and not (found.faults == RowFault.TIME_IN_FUTURE).any():
        return UsagePieces(None, events)
    undo_events(state, events)
    if (found.faults == RowFault.TIME_IN_FUTURE).any():
        raise UsageFault("the period ends further in the future than an event may lie (24 hours)")
    for reference in usage.withdrawn:
        selector = EventSelector(customer=usage.customer_id, customer_is_id=True, reference=reference)
        event = find_event(state, selector, records)
        if event is not None and not event.deleted:
            selectors.append(EventSelector(event_id=event.event_id))
    deletes = stage_deletes(state, selectors, receipt_time_us, sequence, 0, records)
    try:
        if any(each.status is not DeleteStatus.DELETED for each in deletes.outcomes):
            raise UsageFault("an event of an earlier calculation cannot be taken back within the limits of amounts")
        both = with_deletes(deletes)
        row_count = deletes.records.num_rows
        events = stage_events(state, usage.columns, receipt_time_us, sequence, row_count, both, future_limit_us)
    except BaseException:
        undo_deletes(state, deletes)
        raise
    return UsagePieces(deletes, events)
