"""Deleting events: they leave every line they moved, and their references may be sent again."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_engine.ledger.explain import explain_postings
from tallybook_engine.ledger.net import joined_net, post_net
from tallybook_engine.ledger.outcomes import (
    Cause,
    DeleteOutcome,
    DeleteStatus,
    EventSelector,
    Explained,
    Match,
    NetChanges,
    NetPostings,
    Postings,
    Status,
)
from tallybook_engine.ledger.references import DELETED_BIT, location, locations_of, sequence_and_row
from tallybook_engine.ledger.replay import following_records
from tallybook_engine.ledger.segments import VALUE_PREFIX, Decoded, RecordKind, limbs_of
from tallybook_engine.ledger.stage import Records, empty_postings, joined, ranges, undo_postings
from tallybook_engine.ledger.state import State
from tallybook_engine.rating.postings import (
    AMOUNT_OVERFLOW,
    FITS,
    PostingTable,
    chain_length,
    move_part,
    rebase_after,
    repriced,
    set_base,
)


class CustomerRecords(Records, Protocol):
    """Records that can also be read by customer."""

    def of_customer(self, reference: str) -> Iterator[tuple[Decoded, NDArray[np.int64]]]:
        """Every commit with records of a customer, oldest first, and where they stand in its body."""


@dataclass(frozen=True)
class DeletePiece:
    """Deletes of one message, staged."""

    records: pa.Table
    postings: Postings
    net: NetChanges
    """By deleted event, counted from 0."""
    row_offset: int
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
    batch = _Batch(state, records, location(sequence, row_offset))
    try:
        outcomes = tuple(batch.delete(selector) for selector in selectors)
    except BaseException:
        batch.undo()
        raise
    columns: dict[str, Sequence[int] | int] = {
        "sequence_offset": 0,
        "row": [row_offset + index for index in range(len(batch.deleted))],
        "kind": int(RecordKind.DELETE),
        "receipt_time_us": receipt_time_us,
        "first": [found.event_id for found in batch.deleted],
        "previous": [found.location for found in batch.deleted],
        "posting_count": [len(postings.part) for postings in batch.postings],
    }
    places = [(found.decoded, found.position) for found in batch.deleted]
    return DeletePiece(
        records=following_records(places, columns) if places else pa.table({}),
        postings=joined(batch.postings),
        net=joined_net(batch.net),
        row_offset=row_offset,
        keys_before=batch.keys_before(),
        outcomes=outcomes,
    )


def undo_deletes(state: State, piece: DeletePiece) -> None:
    """Takes staged deletes back."""
    _undo(state, piece.postings, piece.net, piece.keys_before)


def _undo(state: State, postings: Postings, net: NetChanges, keys_before: Sequence[tuple[int, int, int]]) -> None:
    state.net.take_back(state, net)
    undo_postings(state, postings)
    for low, high, before in reversed(keys_before):
        state.references.put(low, high, before)


class _Batch:
    """Deletes of one message: what they deleted so far is not readable as records yet."""

    def __init__(self, state: State, records: CustomerRecords, first_tombstone: int) -> None:
        self._state = state
        self._records = records
        self._first_tombstone = first_tombstone
        self._outcome_of_key: dict[tuple[int, int], DeleteOutcome] = {}
        self._survivors = _Survivors(state, records)
        self.deleted: list[Found] = []
        self.postings: list[Postings] = []
        self.net: list[NetChanges] = []

    def delete(self, selector: EventSelector) -> DeleteOutcome:
        """Stages one delete."""
        if selector.fault:
            return _nothing(DeleteStatus.INVALID, 0, 0, selector.fault)
        key = key_of(self._state, selector, self._records, self._state.sequence)
        here = self._outcome_of_key.get(key) if key is not None else None
        if here is not None and _names(selector, here):
            return DeleteOutcome(DeleteStatus.ALREADY_DELETED, here.event_id, here.generation, here.postings, 0)
        latest = self._latest(key, here)
        found = found_from(key, latest, selector, self._records) if key is not None else None
        if found is None:
            return _nothing(DeleteStatus.NOT_FOUND, selector.event_id or 0, selector.generation or 0)
        if found.deleted:
            explained = self._explained(found.decoded.postings, found)
            return DeleteOutcome(DeleteStatus.ALREADY_DELETED, found.event_id, found.generation, explained, 0)
        postings, fault = _withdraw(self._state, found, self._survivors)
        if postings is None:
            return _nothing(DeleteStatus.INVALID, found.event_id, found.generation, fault)
        net = self._post_net(postings)
        tombstone = self._first_tombstone + len(self.deleted)
        self.deleted.append(found)
        self.postings.append(postings)
        self._state.references.put(*found.key, tombstone | DELETED_BIT)
        explained = tuple(explain_postings(self._state, postings, 0, len(postings.part), Cause.DELETE, net))
        outcome = DeleteOutcome(DeleteStatus.DELETED, found.event_id, found.generation, explained, 0)
        self._outcome_of_key[found.key] = outcome
        return outcome

    def _post_net(self, postings: Postings) -> NetPostings:
        """Posts to net lines what deleting the next event moves."""
        starts = np.array([0, len(postings.part)])
        net = post_net(self._state, postings, starts, (), (), Cause.DELETE)
        self.net.append(net._replace(postings=net.postings.caused_by(len(self.deleted))))
        return net.postings

    def keys_before(self) -> tuple[tuple[int, int, int], ...]:
        """(key low, key high, location before) of each deleted event, in order."""
        return tuple((*found.key, found.location) for found in self.deleted)

    def undo(self) -> None:
        """Takes back what was deleted so far."""
        _undo(self._state, joined(self.postings), joined_net(self.net), self.keys_before())

    def _latest(self, key: tuple[int, int] | None, here: DeleteOutcome | None) -> int:
        """Location of a key's latest readable record; 0: none."""
        if key is None:
            return 0
        if here is not None:
            return next(found.location for found in self.deleted if found.key == key)
        return self._state.references.get(*key)

    def _explained(self, postings: Postings, found: Found) -> tuple[Explained, ...]:
        begin, end = found.decoded.posting_ranges
        start, stop = int(begin[found.position]), int(end[found.position])
        net = found.decoded.net_of(found.location)
        return tuple(explain_postings(self._state, postings, start, stop, Cause.DELETE, net))


def _names(selector: EventSelector, outcome: DeleteOutcome) -> bool:
    if selector.event_id is not None:
        return selector.event_id == outcome.event_id
    return selector.generation in (None, outcome.generation)


def _nothing(status: DeleteStatus, event_id: int, generation: int, fault: int = 0) -> DeleteOutcome:
    return DeleteOutcome(status, event_id, generation, (), fault)


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
    key = key_of(state, selector, records, state.sequence)
    return None if key is None else found_from(key, state.references.get(*key), selector, records)


def key_of(state: State, selector: EventSelector, records: Records, last_sequence: int) -> tuple[int, int] | None:
    """The key of what a selector names; None where it names nothing that could be, up to a sequence that is readable.

    For any thread.
    """
    if selector.event_id is not None:
        return _key_of_id(state, selector.event_id, records, last_sequence)
    return _key(state, selector)


def found_from(key: tuple[int, int], latest: int, selector: EventSelector, records: Records) -> Found | None:
    """What a selector names, looked for from a key's location backwards."""
    at = latest & (DELETED_BIT - 1)
    while at:
        found = _record(key, at, records)
        if selector.event_id is not None:
            fits = found.event_id == selector.event_id
        else:
            fits = selector.generation is None or found.generation == selector.generation
        if fits:
            return found
        at = int(found.decoded.numbers("previous")[found.position])
    return None


def _record(key: tuple[int, int], at: int, records: Records) -> Found:
    decoded = records.decoded(sequence_and_row(at)[0])
    position = decoded.position(at)
    assert position is not None
    return Found(
        key=key,
        event_id=int(decoded.numbers("first")[position]) or at,
        generation=int(decoded.numbers("generation")[position]),
        location=at,
        deleted=decoded.numbers("kind")[position] == RecordKind.DELETE,
        decoded=decoded,
        position=position,
    )


def history(found: Found, records: Records) -> list[Found]:
    """The records of an event, oldest first."""
    chain = [found]
    while chain[-1].location != found.event_id:
        at = int(chain[-1].decoded.numbers("previous")[chain[-1].position])
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


def _key_of_id(state: State, event_id: int, records: Records, last_sequence: int) -> tuple[int, int] | None:
    sequence, _ = sequence_and_row(event_id)
    if event_id & DELETED_BIT or not 0 < sequence <= last_sequence:
        return None
    decoded = records.decoded(sequence)
    position = decoded.position(event_id)
    if position is None or decoded.numbers("kind")[position] != RecordKind.EVENT:
        return None
    return _hashed(state, decoded.column("customer")[position].as_py(), decoded.column("reference")[position].as_py())


# --- Taking an event out of its lines -------------------------------------------------------------------------------


class _Survivors:
    """Values of the events that count in accounts of maxima, read once an account and kept while a call deletes."""

    def __init__(self, state: State, records: CustomerRecords) -> None:
        self._state = state
        self._records = records
        self._accounts: dict[int, dict[int, list[int]]] = {}
        """Account -> part -> values in ascending order, scale 12."""

    def read(self, account: int, customer: str) -> None:
        """Reads a customer's history, if it was not read for this account before."""
        if account not in self._accounts:
            self._accounts[account] = surviving_values(self._state, account, customer, self._records)

    def remove(self, part: int, value: int) -> None:
        """One event less, where its account was read."""
        values = self._of_part(part)
        if values is not None:
            del values[bisect_left(values, value)]

    def put_back(self, part: int, value: int) -> None:
        """The reverse of `remove`."""
        values = self._of_part(part)
        if values is not None:
            insort(values, value)

    def maxima(self, part: int) -> dict[int, int]:
        """Largest value in each part of the accounts from a part's on, which were read before."""
        accounts = _accounts_from(self._state, part)
        of_parts = (each for account in accounts for each in self._accounts[account].items())
        return {each: values[-1] for each, values in of_parts if values}

    def _of_part(self, part: int) -> list[int] | None:
        by_part = self._accounts.get(int(self._state.parts.arrays.account[part]))
        return None if by_part is None else by_part[part]


def _withdraw(state: State, found: Found, survivors: _Survivors) -> tuple[Postings | None, int]:
    """The postings that take an event out; None and the fault where the lines would leave the limits without it."""
    values: dict[int, int] = {}
    for part in own_parts(found.decoded, found.position):
        definition = state.definition_of_part(part)
        values[part] = member_value(definition.aggregation, definition.value, found.decoded, found.position)
    maxima = {part for part in values if state.definition_of_part(part).aggregation is Aggregation.MAX}
    lowering = {part for part in maxima if _may_lower(state, part, values[part])}
    # Records are read before anything moves: reading may fail.
    for part in lowering:
        customer = found.decoded.column("customer")[found.position].as_py()
        for account in _accounts_from(state, part):
            survivors.read(account, customer)
    for part in maxima:
        survivors.remove(part, values[part])
    limit = sum(chain_length(state.parts.arrays, part) for part in values)
    made = PostingTable(*empty_postings(limit))
    at = 0
    for part, value in values.items():
        if part in maxima:
            left = survivors.maxima(part) if part in lowering else None
            fault, at = _lower_maximum(state, part, left, made, at)
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
            for each in maxima:
                survivors.put_back(each, values[each])
            return None, int(fault)
    return Postings._make(column[:at] for column in made), 0


def _accounts_from(state: State, part: int) -> list[int]:
    """The account of a part, and those that go on from it where its accumulation period was split."""
    accounts: dict[int, None] = {}
    while part >= 0:
        accounts[int(state.parts.arrays.account[part])] = None
        part = int(state.parts.arrays.later[part])
    return list(accounts)


def _may_lower(state: State, part: int, value: int) -> bool:
    """Whether a maximum may fall without an event of this value: nothing else is known to be as large.

    A part has run as far as the parts before it at least.
    """
    parts = state.parts.arrays
    earlier = int(parts.earlier[part])
    if earlier >= 0 and value <= from_limbs(*parts.quantity[earlier]):
        return False
    return value >= from_limbs(*parts.quantity[part])


def own_parts(decoded: Decoded, position: int) -> list[int]:
    """The parts in which a record's event counts."""
    if decoded.numbers("status")[position] != Status.STORED or decoded.numbers("match")[position] != Match.MATCHED:
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
    state: State, part: int, maxima: Mapping[int, int] | None, made: PostingTable, at: int
) -> tuple[np.uint8, int]:
    """Sets the parts of a maximum from `part` on to what the other events come to, whose `maxima` are by part.

    None: to what they are already.
    """
    running = NO_EVENT
    earlier = int(state.parts.arrays.earlier[part])
    if earlier >= 0:
        running = from_limbs(*state.parts.arrays.quantity[earlier])
    carried = False
    while part >= 0:
        left = from_limbs(*state.parts.arrays.quantity[part]) if maxima is None else maxima.get(part, NO_EVENT)
        running = max(running, left)
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
        later = int(state.parts.arrays.later[part])
        if later >= 0:
            if state.parts.arrays.account[later] == state.parts.arrays.account[part]:
                set_base(state.parts.arrays, later, *map(np.uint64, (low, middle, high)))
            elif not rebase_after(part, state.accounts.arrays, state.parts.arrays, state.pools.prices.tables):
                return AMOUNT_OVERFLOW, at
            carried = True
        part = later
    return FITS, at


def surviving_values(state: State, account: int, customer: str, records: CustomerRecords) -> dict[int, list[int]]:
    """The values of the customer's events in each part of an account, ascending."""
    by_part: dict[int, list[int]] = defaultdict(list)
    for decoded, positions in surviving(state, customer, records):
        counting = positions[decoded.numbers("status")[positions] == Status.STORED]
        begin, end = decoded.posting_ranges
        at = ranges(begin[counting], end[counting])
        places = np.repeat(counting, (end - begin)[counting])
        inside = ~decoded.postings.carried[at]
        inside &= state.parts.arrays.account[decoded.postings.part[at]] == account
        for part, position in zip(decoded.postings.part[at][inside].tolist(), places[inside].tolist(), strict=True):
            definition = state.definition_of_part(part)
            by_part[part].append(member_value(definition.aggregation, definition.value, decoded, position))
    for values in by_part.values():
        values.sort()
    return by_part


def surviving(state: State, customer: str, records: CustomerRecords) -> Iterator[tuple[Decoded, NDArray[np.int64]]]:
    """Where the latest records of a customer's events stand that are not deleted, in the order of their storing."""
    for decoded, positions in records.of_customer(customer):
        ordered = positions[np.argsort(decoded.locations[positions], kind="stable")]
        references = decoded.column("reference").take(pa.array(ordered))
        keys = state.hasher.keys(
            np.zeros(len(ordered), dtype=np.int32), pa.array([customer], type=pa.string()), references
        )
        latest = np.zeros(len(ordered), dtype=np.uint64)
        locations_of(state.references.keys, state.references.payloads, keys, latest)
        yield decoded, ordered[latest == decoded.locations[ordered]]
