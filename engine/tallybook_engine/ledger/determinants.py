"""Determinants as usage: what was computed of a datasource becomes events of the customer who pays for it.

A determinant is one event, whose reference says datasource, BILLING channel and period. So a period that is computed
again with the same value is a duplicate and posts nothing; with another value the earlier event is deleted and the
next generation of its reference is stored, in the same commit. Time is never billed twice: what was billed of parts of
the period, or of the whole of it, is taken back, also from a customer whom the datasource belonged to before, and what
reaches beyond the period is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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

    customer_id: str | None
    """None: nobody pays for the datasource (any more)."""
    datasource_id: str
    start_us: int
    end_us: int
    """The period that was asked for."""
    meter_ids: tuple[str, ...]
    """Meters of all determinants that count, with a value or without, and of those that the datasource has no more."""
    columns: EventColumns
    """One row for each determinant that some product of the customer is made of, and that has a value."""
    withdrawn: tuple[str, ...]
    """References of such determinants that have no value (any more)."""
    earlier_customers: tuple[str, ...]
    """Ids of customers whom the datasource belonged to before: what was billed to them of the period is taken back."""
    every_meter_id: tuple[str, ...]
    """Meters of all determinants of the result, and of all that products are made of, with whatever plans."""


@dataclass(frozen=True)
class UsagePieces:
    """Usage, staged."""

    deletes: DeletePiece | None
    """Earlier events that others take the place of; it comes before these."""
    events: EventPiece


class UsageFault(ValueError):
    """A determinant that cannot be an event; nothing was staged."""


def usage_of(
    result: Result,
    source: Datasource | None,
    named: Mapping[str, DeterminantSource],
    earlier_customers: tuple[str, ...] = (),
    known: Mapping[str, DeterminantSource] | None = None,
) -> Usage | None:
    """The events of a result, by what the products of the datasource's customer are made of (meter id -> determinant).

    `known` is what any product is made of. A datasource none of whose channels has a determinant's classifier (any
    more) has no such determinant: what was billed of it is taken back, as from customers before.

    None where nothing of it is or was anybody's usage. Of a determinant that was answered by month, the months count;
    otherwise the whole period does. What was only reported, and would have been cancelled, counts as no value.
    """
    customer_id = None if source is None else source.customer
    counted = [] if customer_id is None else list(_counted(result, named))
    known = {} if known is None else known
    classifiers = set() if source is None else {each.classifier for each in source.channels}
    gone = [name for name, each in known.items() if customer_id is not None and each.classifier not in classifiers]
    if not counted and not earlier_customers and not gone:
        return None
    present = [(name, each) for name, each in counted if each.value is not None and result.is_billable]
    return Usage(
        customer_id,
        result.datasource,
        result.start_us,
        result.end_us,
        tuple(dict.fromkeys([*(name for name, _ in counted), *gone])),
        _columns(result.datasource, customer_id, None if source is None else source.contract_id, present),
        tuple(
            determinant_reference(result.datasource, name, each.start_us, each.end_us)
            for name, each in counted
            if each.value is None or not result.is_billable
        ),
        earlier_customers,
        tuple(dict.fromkeys([*(_source_of(each).meter().id for each in result.determinants), *known])),
    )


def _counted(result: Result, named: Mapping[str, DeterminantSource]) -> Iterator[tuple[str, Determinant]]:
    meters = {source: name for name, source in named.items()}
    sources = [_source_of(each) for each in result.determinants]
    by_month = {source for source, each in zip(sources, result.determinants, strict=True) if each.is_month}
    for source, each in zip(sources, result.determinants, strict=True):
        if source in meters and each.is_month == (source in by_month):
            yield meters[source], each


def _source_of(determinant: Determinant) -> DeterminantSource:
    """What a product says that is made of a determinant."""
    return DeterminantSource(
        determinant.classifier,
        determinant.kind,
        determinant.slice,
        determinant.demand,
        determinant.timeslice_group,
        determinant.as_power,
    )


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


class DeterminantEvent(NamedTuple):
    """An event that a determinant became."""

    datasource_id: str
    meter_id: str
    reference: str
    time_us: int

    @property
    def end_bounds_us(self) -> tuple[int, int]:
        """[first, end) of where its period may end: an instant behind its time, or with it where it has no length."""
        return self.time_us, self.time_us + 2

    def is_of(self, start_us: int, end_us: int) -> bool:
        """Whether its period is this one."""
        return self.reference == determinant_reference(self.datasource_id, self.meter_id, start_us, end_us)


def determinant_events(records: pa.Table, is_determinants: Callable[[str], bool]) -> list[DeterminantEvent]:
    """Those of records of events whose meters are a determinant's."""
    if not records.num_rows:
        return []
    meters = records["meter"].to_pylist()
    is_wanted = {name: is_determinants(name) for name in set(meters)}
    rows = [row for row, name in enumerate(meters) if is_wanted[name]]
    if not rows:
        return []
    columns = ("property:datasource", "meter", "reference", "time_us")
    chosen = records.select(columns).take(rows).to_pydict()
    return [DeterminantEvent(*each) for each in zip(*(chosen[name] for name in columns), strict=True)]


def _columns(
    datasource_id: str,
    customer_id: str | None,
    contract_id: str | None,
    determinants: Sequence[tuple[str, Determinant]],
) -> EventColumns:
    count = len(determinants)
    meters = list(dict.fromkeys(name for name, _ in determinants))
    place = {name: index for index, name in enumerate(meters)}
    customers = [] if customer_id is None else [customer_id]
    contracts = [] if contract_id is None else [contract_id]
    limbs = [to_limbs(each.value or 0, 2) for _, each in determinants]
    return EventColumns(
        row_count=count,
        customers=_names(np.zeros(count, np.int32), customers, is_id=True),
        meters=_names(np.array([place[name] for name, _ in determinants], dtype=np.int32), meters, is_id=False),
        contracts=_names(np.full(count, len(contracts) - 1, dtype=np.int32), contracts, is_id=True),
        references=pa.array(
            [determinant_reference(datasource_id, name, each.start_us, each.end_us) for name, each in determinants],
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
        properties=(
            PropertyColumn("datasource", np.zeros(count, np.int32), pa.array([datasource_id], type=pa.string())),
        ),
        faults=np.zeros(count, dtype=np.uint8),
        fault_fields={},
        may_be_determinants=True,
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

    `earlier` are the determinants that were stored of the datasource before, of the meters that the usage names, as far
    as their periods meet that of the usage. `with_deletes` answers the records of the commit too, once the deletes are
    in it. Raises UsageFault, and what the records raise; nothing is staged then.
    """
    times_us = usage.columns.times_us
    if (times_us < 0).any():
        raise UsageFault("the period ends before 1970: no event can be of that time")
    _check_signs(usage)
    before = list(dict.fromkeys(earlier))
    withdrawn: list[int] = []
    if usage.customer_id is not None:
        standing = (_standing(state, usage.customer_id, each, records) for each in usage.withdrawn)
        withdrawn += [event_id for event_id in standing if event_id is not None]
        known = {*usage.columns.references.to_pylist(), *usage.withdrawn}
        own = [each for each in before if each.meter_id in usage.meter_ids]
        withdrawn += _billed(state, usage, usage.customer_id, own, known, records)
    for customer_id in usage.earlier_customers:
        withdrawn += _billed(state, usage, customer_id, before, frozenset(), records)
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


def _standing(state: State, customer_id: str, reference: str, records: CustomerRecords) -> int | None:
    """Id of the event that a customer's reference has now."""
    selector = EventSelector(customer=customer_id, customer_is_id=True, reference=reference)
    event = find_event(state, selector, records)
    return None if event is None or event.deleted else event.event_id


def _billed(
    state: State,
    usage: Usage,
    customer_id: str,
    earlier: Iterable[Earlier],
    known: Collection[str],
    records: CustomerRecords,
) -> Iterator[int]:
    """Ids of a customer's events that this usage takes the place of, save those of known references.

    UsageFault where one reaches beyond.
    """
    for each in earlier:
        reference = determinant_reference(usage.datasource_id, *each)
        if reference in known:
            continue
        event_id = _standing(state, customer_id, reference, records)
        if event_id is None:
            continue
        if each.start_us < usage.start_us or each.end_us > usage.end_us:
            period = f"{instant_text(each.start_us)} to {instant_text(each.end_us)}"
            raise UsageFault(
                f"{each.meter_id} is billed of {period} already, to {customer_id!r}, which reaches beyond the period: "
                f"ask for a period that holds it, or delete its event, {reference}"
            )
        yield event_id
