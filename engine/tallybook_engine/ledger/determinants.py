"""Determinants as usage: what was computed of a datasource becomes events of the customer who pays for it.

A determinant is one event, whose reference says datasource, BILLING channel and period. So a period that is computed
again with the same value is a duplicate and posts nothing; with another value the earlier event is deleted and the
next generation of its reference is stored, in the same commit. Time is never billed twice: what was billed of parts of
the period, or of the whole of it, is taken back, and what reaches beyond the period is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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


class Earlier(NamedTuple):
    """A determinant that was stored before, and may have become an event."""

    meter_id: str
    start_us: int
    end_us: int


@dataclass(frozen=True)
class Usage:
    """What a result means to the ledger."""

    customer_id: str
    datasource_id: str
    start_us: int
    end_us: int
    """The period that was asked for."""
    meter_ids: tuple[str, ...]
    """Meters of all determinants that count, with a value or without."""
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
    return Usage(
        source.customer,
        result.datasource,
        result.start_us,
        result.end_us,
        tuple(dict.fromkeys(name for name, _ in counted)),
        _columns(source, source.customer, present),
        tuple(
            determinant_reference(result.datasource, name, each.start_us, each.end_us)
            for name, each in counted
            if each.value is None
        ),
    )


def _counted(result: Result, named: Mapping[str, DeterminantSource]) -> Iterator[tuple[str, Determinant]]:
    meters = {source: name for name, source in named.items()}
    sources = [DeterminantSource(each.classifier, each.kind, each.slice, each.demand) for each in result.determinants]
    by_month = {source for source, each in zip(sources, result.determinants, strict=True) if each.is_month}
    for source, each in zip(sources, result.determinants, strict=True):
        if source in meters and each.is_month == (source in by_month):
            yield meters[source], each


def determinant_reference(datasource_id: str, meter_id: str, start_us: int, end_us: int) -> str:
    """The reference of a determinant's event: a JSON list of datasource, BILLING channel (without _MONTH, so that a
    month is the same event whichever way it was asked for), first instant and end; where it would be too long, a hash
    of that.
    """
    period = instant_text(start_us), instant_text(end_us)
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
            [determinant_reference(source.id, name, each.start_us, each.end_us) for name, each in determinants],
            type=pa.string(),
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
    earlier: Iterable[Earlier],
    receipt_time_us: int,
    sequence: int,
    records: CustomerRecords,
    with_deletes: Callable[[DeletePiece], Records],
    future_limit_us: int = FUTURE_LIMIT_US,
) -> UsagePieces:
    """Stages usage as the first rows of the commit `sequence`. Nothing may be on its way.

    `earlier` are the determinants of `usage.meter_ids` that were stored of the datasource before, as far as their
    periods meet that of the usage. `with_deletes` answers the records of the commit too, once the deletes are in it.
    Raises UsageFault, and what the records raise; nothing is staged then.
    """
    times_us = usage.columns.times_us
    if (times_us < 0).any():
        raise UsageFault("the period ends before 1970: no event can be of that time")
    _check_signs(usage)
    withdrawn = [
        event_id for each in usage.withdrawn if (event_id := _standing(state, usage, each, records)) is not None
    ]
    withdrawn += _overlapped(state, usage, earlier, records)
    events = stage_events(state, usage.columns, receipt_time_us, sequence, 0, records, future_limit_us)
    found = events.outcome
    selectors = [EventSelector(event_id=int(each)) for each in found.event_ids[found.status == Status.CONFLICT]]
    if not selectors and not withdrawn and not (found.faults == RowFault.TIME_IN_FUTURE).any():
        return UsagePieces(None, events)
    undo_events(state, events)
    if (found.faults == RowFault.TIME_IN_FUTURE).any():
        raise UsageFault("the period ends further in the future than an event may lie (24 hours)")
    selectors += [EventSelector(event_id=each) for each in withdrawn]
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


def _check_signs(usage: Usage) -> None:
    """A meter's quantities are not negative unless it says so, and a determinant's meter says nothing."""
    negative = np.flatnonzero(usage.columns.values[0].numbers[:, 1] >> np.uint64(63))
    if len(negative):
        name = usage.columns.meters.names[int(usage.columns.meters.codes[negative[0]])]
        raise UsageFault(f"{name} is negative, which no quantity that is billed may be: take it out of the request")


def _standing(state: State, usage: Usage, reference: str, records: CustomerRecords) -> int | None:
    """Id of the event that a reference has now."""
    selector = EventSelector(customer=usage.customer_id, customer_is_id=True, reference=reference)
    event = find_event(state, selector, records)
    return None if event is None or event.deleted else event.event_id


def _overlapped(state: State, usage: Usage, earlier: Iterable[Earlier], records: CustomerRecords) -> Iterator[int]:
    """Ids of events of other periods that this usage takes the place of. UsageFault where one reaches beyond."""
    known = {*usage.columns.references.to_pylist(), *usage.withdrawn}
    for each in dict.fromkeys(earlier):
        reference = determinant_reference(usage.datasource_id, *each)
        if reference in known:
            continue
        event_id = _standing(state, usage, reference, records)
        if event_id is None:
            continue
        if each.start_us < usage.start_us or each.end_us > usage.end_us:
            period = f"{instant_text(each.start_us)} to {instant_text(each.end_us)}"
            raise UsageFault(
                f"{each.meter_id} is billed of {period} already, which reaches beyond the period: ask for a period "
                f"that holds it, or delete its event, {reference}"
            )
        yield event_id
