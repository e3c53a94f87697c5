"""Deleting events: they leave every line they moved, and their references may be sent again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_engine.ledger.explain import explain_postings
from tallybook_engine.ledger.outcomes import Cause, DeleteOutcome, DeleteStatus, EventSelector, Match, Postings, Status
from tallybook_engine.ledger.references import DELETED_BIT, location, sequence_and_row
from tallybook_engine.ledger.segments import VALUE_PREFIX, Decoded, RecordKind, limbs_of
from tallybook_engine.ledger.stage import Records, empty_postings, undo_postings
from tallybook_engine.ledger.state import State
from tallybook_engine.rating.postings import FITS, PostingTable, chain_length, move_part, repriced, set_base

DELETED_STATUS = np.uint8(Status.STORED)


class CustomerRecords(Records, Protocol):
    """Records that can also be read by customer."""

    def of_customer(self, reference: str) -> Iterator[tuple[Decoded, NDArray[np.int64]]]:
        """Every commit with records of a customer, oldest first, and where they stand in its body."""


@dataclass(frozen=True)
class DeletePiece:
    """Deletes of one message, staged."""

    records: pa.Table
    postings: Postings
    keys_before: tuple[tuple[int, int, int], ...]
    """(key low, key high, location before) of each deleted event, in order."""
    outcomes: tuple[DeleteOutcome, ...]


def stage_deletes(
    state: State,
    selectors: Sequence[EventSelector],
    receipt_time_us: int,
    sequence: int,
    row_offset: int,
    records: CustomerRecords,
) -> DeletePiece:
    """Stages deletes in order. Every earlier commit must be readable by `records`: nothing may be on its way."""
    tables: list[pa.Table] = []
    made: list[Postings] = []
    keys_before: list[tuple[int, int, int]] = []
    outcomes: list[DeleteOutcome] = []
    deleted_here: dict[int, tuple[int, int]] = {}
    for selector in selectors:
        row = row_offset + len(tables)
        outcome, postings, record, key = _delete(
            state, selector, receipt_time_us, location(sequence, row), records, deleted_here
        )
        if outcome.status is DeleteStatus.ALREADY_DELETED and outcome.event_id in deleted_here:
            index, _ = deleted_here[outcome.event_id]
            outcome = DeleteOutcome(
                outcome.status, outcome.event_id, outcome.generation, outcomes[index].postings, outcome.fault
            )
        if record is not None and postings is not None and key is not None:
            deleted_here[outcome.event_id] = (len(outcomes), row)
            tables.append(record)
            made.append(postings)
            keys_before.append(key)
        outcomes.append(outcome)
    if not tables:
        return DeletePiece(pa.table({}), empty_postings(0), (), tuple(outcomes))
    everything = Postings._make(np.concatenate(columns) for columns in zip(*made, strict=True))
    table = pa.concat_tables(tables, promote_options="default")
    return DeletePiece(table, everything, tuple(keys_before), tuple(outcomes))


def undo_deletes(state: State, piece: DeletePiece) -> None:
    """Takes staged deletes back."""
    undo_postings(state, piece.postings)
    for low, high, before in reversed(piece.keys_before):
        state.references.put(low, high, before)


_Deleted = tuple[DeleteOutcome, Postings | None, pa.Table | None, tuple[int, int, int] | None]


def _delete(
    state: State,
    selector: EventSelector,
    receipt_time_us: int,
    tombstone: int,
    records: CustomerRecords,
    deleted_here: dict[int, tuple[int, int]],
) -> _Deleted:
    if selector.fault:
        return _nothing(DeleteStatus.INVALID, 0, 0, selector.fault)
    found = find_event(state, selector, records)
    if found is None:
        return _nothing(DeleteStatus.NOT_FOUND, selector.event_id or 0, selector.generation or 0)
    if found.event_id in deleted_here:
        return _nothing(DeleteStatus.ALREADY_DELETED, found.event_id, found.generation)
    if found.deleted:
        begin, end = found.decoded.posting_ranges
        explained = explain_postings(
            state, found.decoded.postings, int(begin[found.position]), int(end[found.position]), Cause.DELETE
        )
        return (
            DeleteOutcome(DeleteStatus.ALREADY_DELETED, found.event_id, found.generation, tuple(explained), 0),
            None,
            None,
            None,
        )
    postings, fault = _withdraw(state, found, records)
    if postings is None:
        return _nothing(DeleteStatus.INVALID, found.event_id, found.generation, fault)
    record = found.decoded.tables.records.slice(found.position, 1)
    record = changed(
        record,
        sequence_offset=0,
        row=sequence_and_row(tombstone)[1],
        kind=int(RecordKind.DELETE),
        receipt_time_us=receipt_time_us,
        first=found.event_id,
        previous=found.location,
        posting_count=len(postings.part),
    )
    state.references.put(*found.key, tombstone | DELETED_BIT)
    explained = explain_postings(state, postings, 0, len(postings.part), Cause.DELETE)
    outcome = DeleteOutcome(DeleteStatus.DELETED, found.event_id, found.generation, tuple(explained), 0)
    return outcome, postings, record, (*found.key, found.location)


def _nothing(status: DeleteStatus, event_id: int, generation: int, fault: int = 0) -> _Deleted:
    return DeleteOutcome(status, event_id, generation, (), fault), None, None, None


def changed(record: pa.Table, **values: int) -> pa.Table:
    """A record with other values in some number columns."""
    for name, value in values.items():
        index = record.schema.get_field_index(name)
        record = record.set_column(
            index, record.schema.field(index), pa.array([value], type=record.schema.types[index])
        )
    return record


# --- Finding an event -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """An event's latest record."""

    key: tuple[int, int]
    event_id: int
    generation: int
    location: int
    """Of the record, without the deleted bit."""
    deleted: bool
    decoded: Decoded
    position: int


def find_event(state: State, selector: EventSelector, records: Records) -> Found | None:
    """The latest record of the generation that a selector names (the latest generation where it names none)."""
    key = _key_of_id(state, selector.event_id, records) if selector.event_id is not None else _key(state, selector)
    latest = state.references.get(*key) if key is not None else 0
    if key is None or latest == 0:
        return None
    wanted_id, wanted_generation = selector.event_id, selector.generation
    at = latest & (DELETED_BIT - 1)
    while at:
        found = _record(key, at, records)
        if wanted_id is not None:
            fits = found.event_id == wanted_id
        else:
            fits = wanted_generation is None or found.generation == wanted_generation
        if fits:
            return found
        at = int(found.decoded.column("previous")[found.position].as_py())
    return None


def _record(key: tuple[int, int], at: int, records: Records) -> Found:
    decoded = records.decoded(sequence_and_row(at)[0])
    position = int(decoded.positions(np.array([at], dtype=np.uint64))[0])
    first = int(decoded.column("first")[position].as_py())
    return Found(
        key=key,
        event_id=first or at,
        generation=int(decoded.column("generation")[position].as_py()),
        location=at,
        deleted=decoded.column("kind")[position].as_py() == RecordKind.DELETE,
        decoded=decoded,
        position=position,
    )


def history(found: Found, records: Records) -> list[Found]:
    """The records of an event, oldest first."""
    chain = [found]
    while chain[-1].location != found.event_id:
        at = int(chain[-1].decoded.column("previous")[chain[-1].position].as_py())
        chain.append(_record(found.key, at, records))
    return chain[::-1]


def _key(state: State, selector: EventSelector) -> tuple[int, int] | None:
    if selector.customer is None or selector.reference is None:
        return None
    customer = selector.customer
    if selector.customer_is_id:
        customer = state.pools.customer_references.get(customer, customer)
    return _hashed(state, customer, selector.reference)


def _hashed(state: State, customer: str, reference: str) -> tuple[int, int]:
    keys = state.hasher.keys(
        np.zeros(1, dtype=np.int32), pa.array([customer], type=pa.string()), pa.array([reference], type=pa.string())
    )
    return int(keys[0, 0]), int(keys[0, 1])


def _key_of_id(state: State, event_id: int, records: Records) -> tuple[int, int] | None:
    sequence, _ = sequence_and_row(event_id)
    if event_id & DELETED_BIT or not 0 < sequence <= state.sequence:
        return None
    decoded = records.decoded(sequence)
    if event_id not in decoded.locations:
        return None
    position = int(decoded.positions(np.array([event_id], dtype=np.uint64))[0])
    if decoded.column("kind")[position].as_py() != RecordKind.EVENT:
        return None
    return _hashed(state, decoded.column("customer")[position].as_py(), decoded.column("reference")[position].as_py())


# --- Taking an event out of its lines -------------------------------------------------------------------------------


def _withdraw(state: State, found: Found, records: CustomerRecords) -> tuple[Postings | None, int]:
    """The postings that take an event out; None and the fault where the lines would leave the limits without it."""
    parts = own_parts(found.decoded, found.position)
    limit = sum(chain_length(state.parts.arrays, part) for part in parts)
    made = PostingTable(*empty_postings(limit))
    at = 0
    for part in parts:
        definition = state.definition_of_part(part)
        value = member_value(definition.aggregation, definition.value, found.decoded, found.position)
        if definition.aggregation is Aggregation.MAX:
            fault, at = _lower_maximum(state, part, found, records, made, at)
        else:
            fault, at = move_part(
                part,
                -1,
                *to_limbs(value, 2),
                state.accounts.arrays,
                state.parts.arrays,
                state.lines.arrays,
                state.pools.prices.tables,
                state.pools.taxes.tables,
                made,
                at,
            )
        if fault != FITS:
            undo_postings(state, Postings._make(column[:at] for column in made))
            return None, int(fault)
    return Postings._make(column[:at] for column in made), 0


def own_parts(decoded: Decoded, position: int) -> list[int]:
    """The parts in which a record's event counts."""
    if decoded.column("status")[position].as_py() != Status.STORED:
        return []
    if decoded.column("match")[position].as_py() != Match.MATCHED:
        return []
    begin, end = decoded.posting_ranges
    chosen = slice(int(begin[position]), int(end[position]))
    return [int(part) for part in decoded.postings.part[chosen][~decoded.postings.carried[chosen]]]


def member_value(aggregation: Aggregation, value: str | None, decoded: Decoded, position: int) -> int:
    """What a record's event contributes, scale 12."""
    if aggregation is Aggregation.COUNT or value is None:
        return 10**12
    return from_limbs(*limbs_of(decoded.column(VALUE_PREFIX + value), 2)[position])


def _lower_maximum(
    state: State, part: int, found: Found, records: CustomerRecords, made: PostingTable, at: int
) -> tuple[np.uint8, int]:
    """Sets the parts of a maximum from `part` on to what the other events come to."""
    account = int(state.parts.arrays.account[part])
    maxima = surviving_maxima(state, account, found, records)
    running = NO_EVENT
    earlier = int(state.parts.arrays.earlier[part])
    if earlier >= 0:
        running = from_limbs(*state.parts.arrays.quantity[earlier])
    carried = False
    while part >= 0:
        running = max(running, maxima.get(part, NO_EVENT))
        fault, low, middle, high = repriced(
            part,
            *to_limbs(running, 2),
            state.accounts.arrays,
            state.parts.arrays,
            state.lines.arrays,
            state.pools.prices.tables,
            state.pools.taxes.tables,
            made,
            at,
            carried,
        )
        if fault != FITS:
            return fault, at
        at += 1
        part = int(state.parts.arrays.later[part])
        if part >= 0:
            set_base(state.parts.arrays, part, low, middle, high)
            carried = True
    return FITS, at


def surviving_maxima(state: State, account: int, without: Found, records: CustomerRecords) -> dict[int, int]:
    """Largest value in each part of an account, over the events that are in it and are not `without`."""
    customer = without.decoded.column("customer")[without.position].as_py()
    maxima: dict[int, int] = {}
    for decoded, position in surviving(state, customer, records):
        if int(decoded.locations[position]) == without.location:
            continue
        for part in own_parts(decoded, position):
            if int(state.parts.arrays.account[part]) == account:
                definition = state.definition_of_part(part)
                value = member_value(definition.aggregation, definition.value, decoded, position)
                maxima[part] = max(maxima.get(part, NO_EVENT), value)
    return maxima


def surviving(state: State, customer: str, records: CustomerRecords) -> Iterator[tuple[Decoded, int]]:
    """The latest record of every event of a customer that is not deleted, in the order of their storing."""
    for decoded, positions in records.of_customer(customer):
        ordered = positions[np.argsort(decoded.locations[positions], kind="stable")]
        references = decoded.column("reference").take(pa.array(ordered))
        keys = state.hasher.keys(
            np.zeros(len(ordered), dtype=np.int32), pa.array([customer], type=pa.string()), references
        )
        for key, position in zip(keys.tolist(), ordered.tolist(), strict=True):
            if state.references.get(*key) == int(decoded.locations[position]):
                yield decoded, position
