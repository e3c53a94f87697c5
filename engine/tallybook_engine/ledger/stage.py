"""Staging events: columns in, outcomes and a piece of a commit out. Nothing is durable yet, and all can be undone.

References are looked up first: only unknown ones go on to matching and rating. What was staged but not yet appended
counts like what is stored, so that duplicates are found across batches that are still on their way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.catalog.compile import CompiledCatalog
from tallybook_engine.kernels.hash_set import remove_all
from tallybook_engine.ledger.columns import EventColumns, Names, PropertyColumn
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.net import post_net
from tallybook_engine.ledger.opening import Mark, OpeningDoesNotFit, close_after, mark, open_part, opens_with_value
from tallybook_engine.ledger.outcomes import Match, NetChanges, NetPostings, Postings, StageOutcome, Status
from tallybook_engine.ledger.references import (
    DELETED_BIT,
    MAXIMUM_ROWS,
    location,
    locations_of,
    look_up,
    sequence_and_row,
    stacked,
)
from tallybook_engine.ledger.segments import (
    PROPERTY_PREFIX,
    RECORD_FIELDS,
    TEXT_CODES,
    VALUE_PREFIX,
    Decoded,
    RecordKind,
    decimals,
    fixed_binary,
)
from tallybook_engine.ledger.state import Opening, State
from tallybook_engine.matching import MISSING_CAPACITY, BatchTable, Missing, Pairs, match_rows
from tallybook_engine.rating.postings import POSTING_LIMBS, PostingTable, post_rows, take_back

FUTURE_LIMIT_US = 24 * 3600 * 1_000_000
"""An event may lie this far after its receipt."""


class Records(Protocol):
    """Records that are stored, or staged before."""

    def decoded(self, sequence: int) -> Decoded:
        """The records of the commit `sequence`, perhaps among those of other commits."""


@dataclass(frozen=True)
class Resent:
    """A deleted reference that was sent again."""

    row: int
    location_before: int
    generation: int


@dataclass(frozen=True)
class EventPiece:
    """Events of one message, staged: all that storing or undoing them needs."""

    columns: EventColumns
    receipt_time_us: int
    row_offset: int
    """Row of the commit that is row 0 of the columns."""
    rows: NDArray[np.int64]
    """Rows that are stored."""
    customer_references: pa.StringArray
    """By customer code."""
    meter_references: pa.StringArray
    keys: NDArray[np.uint64]
    fingerprints: NDArray[np.uint64]
    claimed: NDArray[np.bool_]
    """[n] rows whose key was unknown before."""
    resent: tuple[Resent, ...]
    outcome: StageOutcome
    """Its postings are those of the stored rows only."""
    postings: Postings
    net: NetChanges
    openings: tuple[Opening, ...]
    open_before: Mark


@dataclass(frozen=True, slots=True)
class Resolved:
    """The names of a batch in the terms of the current catalogue."""

    batch: BatchTable
    customer_references: pa.StringArray
    meter_references: pa.StringArray
    numbers: NDArray[np.uint64]


def stage_events(
    state: State,
    columns: EventColumns,
    receipt_time_us: int,
    sequence: int,
    row_offset: int,
    records: Records,
    future_limit_us: int = FUTURE_LIMIT_US,
) -> EventPiece:
    """Stages n events as rows `row_offset` on of the commit `sequence`, in their order."""
    if row_offset + columns.row_count > MAXIMUM_ROWS:
        raise ValueError(f"a commit holds at most {MAXIMUM_ROWS} records")
    compiled = state.current
    times_us = np.where(columns.time_given, columns.times_us, receipt_time_us)
    faults, fault_fields = _checked(compiled, columns, receipt_time_us + future_limit_us)
    resolved = resolve(state, compiled, columns, times_us)
    keys = state.hasher.keys(columns.customers.codes, resolved.customer_references, columns.references)
    fingerprints = state.hasher.fingerprints(columns, resolved.meter_references)

    first = location(sequence, row_offset)
    known = _claim(state, keys, fingerprints, faults, columns.faults == 0, first, records)
    fault_fields = {row: found for row, found in fault_fields.items() if faults[row]}

    open_before = mark(state)
    match, postings, posting_starts, opening_rows = _rate(state, resolved, known.new, faults)
    known.status[known.new & (faults != 0)] = Status.UNPRICED
    _answer_as_stored(known, match, faults)
    openings = tuple(state.openings[open_before.parts :])
    net = post_net(state, postings, posting_starts, openings, opening_rows)
    outcome = StageOutcome(
        status=known.status,
        match=match,
        faults=faults,
        fault_fields=fault_fields,
        event_ids=known.event_ids,
        generations=known.generations,
        posting_starts=posting_starts,
        postings=postings,
        net=net.postings,
    )
    return EventPiece(
        columns=columns,
        receipt_time_us=receipt_time_us,
        row_offset=row_offset,
        rows=np.flatnonzero(known.new),
        customer_references=resolved.customer_references,
        meter_references=resolved.meter_references,
        keys=keys,
        fingerprints=fingerprints,
        claimed=known.claimed,
        resent=known.resent,
        outcome=outcome,
        postings=postings,
        net=net,
        openings=openings,
        open_before=open_before,
    )


def undo_events(state: State, piece: EventPiece) -> None:
    """Takes a staged piece back; pieces are undone in the reverse order of their staging. O(piece)."""
    state.net.take_back(state, piece.net)
    undo_postings(state, piece.postings)
    close_after(state, piece.open_before)
    _release(state, piece.keys, piece.claimed, piece.resent)


def undo_postings(state: State, postings: Postings) -> None:
    """Takes postings back from the lines and parts they moved."""
    take_back(
        0,
        len(postings.part),
        state.accounts.arrays,
        state.parts.arrays,
        state.lines.arrays,
        state.pools.prices.tables,
        PostingTable(*postings),
    )


def with_first_postings(outcome: StageOutcome, records: Records) -> StageOutcome:
    """The outcome with the postings that its duplicates made when they were first stored."""
    duplicates = np.flatnonzero(outcome.status == Status.DUPLICATE)
    if len(duplicates) == 0:
        return outcome
    count = len(outcome.status)
    pieces = [outcome.postings]
    starts, ends = outcome.posting_starts[:-1].copy(), outcome.posting_starts[1:].copy()
    at = len(outcome.postings.part)
    net = [outcome.net]
    for decoded, rows in _by_commit(outcome.event_ids, duplicates, records):
        begin, end = decoded.posting_ranges
        positions = decoded.positions(outcome.event_ids[rows])
        order = np.argsort(positions, kind="stable")
        chosen = ranges(begin[positions[order]], end[positions[order]])
        lengths = (end - begin)[positions[order]]
        starts[rows[order]] = at + np.cumsum(lengths) - lengths
        ends[rows[order]] = at + np.cumsum(lengths)
        at += len(chosen)
        pieces.append(Postings._make(column[chosen] for column in decoded.postings))
        if len(decoded.net.row):
            start, end = decoded.net_ranges(outcome.event_ids[rows])
            moved = NetPostings._make(column[ranges(start, end)] for column in decoded.net)
            net.append(moved._replace(row=np.repeat(rows, end - start)))
    everything = joined(pieces)
    in_row_order = ranges(starts, ends)
    posting_starts = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(ends - starts, out=posting_starts[1:])
    return replace(
        outcome,
        posting_starts=posting_starts,
        postings=Postings._make(column[in_row_order] for column in everything),
        net=_in_row_order(net),
    )


def _in_row_order(pieces: Sequence[NetPostings]) -> NetPostings:
    columns = [np.concatenate(columns) for columns in zip(*pieces, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return NetPostings._make(column[order] for column in columns)


def ranges(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of all half-open ranges, behind one another."""
    lengths = ends - starts
    total = int(lengths.sum())
    first = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return np.arange(total, dtype=np.int64) + first


def _by_commit(
    locations: NDArray[np.uint64], rows: NDArray[np.int64], records: Records
) -> list[tuple[Decoded, NDArray[np.int64]]]:
    """The rows grouped by the decoded commits that hold their locations."""
    sequences = (locations[rows] & np.uint64(DELETED_BIT - 1)) >> np.uint64(24)
    groups: dict[int, tuple[Decoded, list[NDArray[np.int64]]]] = {}
    for sequence in np.unique(sequences):
        decoded = records.decoded(int(sequence))
        groups.setdefault(id(decoded), (decoded, []))[1].append(rows[sequences == sequence])
    return [(decoded, np.concatenate(parts)) for decoded, parts in groups.values()]


# --- Checks that need the catalogue ---------------------------------------------------------------------------------


def _checked(
    compiled: CompiledCatalog, columns: EventColumns, latest_us: int
) -> tuple[NDArray[np.uint8], dict[int, tuple[str, str]]]:
    """The faults of the codec, and those that only the catalogue and the clock show; the first that holds counts."""
    faults, fields = columns.faults.copy(), dict(columns.fault_fields)
    meters = [compiled.meter(name, is_id) for name, is_id in _names(columns.meters.names, columns.meters.is_id)]

    def refuse(rows: NDArray[np.bool_], fault: RowFault, describe: Callable[[int], tuple[str, str]]) -> None:
        for row in np.flatnonzero(rows & (faults == 0)):
            faults[row] = fault
            fields[int(row)] = describe(int(row))

    late = columns.time_given & (columns.times_us > latest_us)
    if late.any():
        refuse(late, RowFault.TIME_IN_FUTURE, lambda row: ("time", str(columns.times_us[row])))
    codes = columns.meters.codes
    known = codes >= 0
    for column in columns.values:
        lacks = np.array([m is not None and column.name not in m.values for m in meters] + [False], dtype=np.bool_)
        if lacks.any():
            unknown = column.present & known & lacks[codes]
            refuse(unknown, RowFault.VALUE_UNKNOWN, _always("meter_values", column.name))
        refuses = np.array([m is not None and not m.allow_negative for m in meters] + [False], dtype=np.bool_)
        negative = column.numbers[:, 1] >> np.uint64(63) != 0
        if negative.any():
            refuse(
                negative & column.present & known & refuses[codes],
                RowFault.QUANTITY_NEGATIVE,
                _always("meter_values", column.name),
            )
    for carried in columns.properties:
        lacks = np.array([m is not None and carried.name not in m.properties for m in meters] + [False], dtype=np.bool_)
        if lacks.any():
            unknown = (carried.codes >= 0) & known & lacks[codes]
            refuse(unknown, RowFault.PROPERTY_UNKNOWN, _always("meter_properties", carried.name))
    if not columns.may_be_determinants:
        names = _names(columns.meters.names, columns.meters.is_id)
        reserved = np.array([compiled.is_of_determinants(*name) for name in names] + [False], dtype=np.bool_)
        if reserved.any():
            shown = {
                code: ("meter_id" if is_id else "meter_reference", name) for code, (name, is_id) in enumerate(names)
            }
            refuse(known & reserved[codes], RowFault.METER_OF_DETERMINANTS, lambda row: shown[int(codes[row])])
    return faults, fields


def _always(field: str, found: str) -> Callable[[int], tuple[str, str]]:
    """What a fault says that is the same in every row."""
    return lambda _row: (field, found)


def _names(names: pa.StringArray, is_id: NDArray[np.bool_]) -> list[tuple[str, bool]]:
    return list(zip(names.to_pylist(), is_id.tolist(), strict=True))


# --- Names ----------------------------------------------------------------------------------------------------------


def resolve(state: State, compiled: CompiledCatalog, columns: EventColumns, times_us: NDArray[np.int64]) -> Resolved:
    """The names and codes of a batch as the numbers that the catalogue gives them."""
    pools = state.pools
    count = columns.row_count
    value_column = np.full(len(pools.value_names), -1, dtype=np.int32)
    for index, column in enumerate(columns.values):
        if column.name in pools.value_names.index:
            value_column[pools.value_names.index[column.name]] = index
    property_column = np.full(len(pools.property_names), -1, dtype=np.int32)
    texts: list[NDArray[np.int32]] = []
    for index, property_ in enumerate(columns.properties):
        if property_.name in pools.property_names.index:
            property_column[pools.property_names.index[property_.name]] = index
        texts.append(_text_numbers(pools.texts.index, property_))
    batch = BatchTable(
        customer=_numbers(compiled.customer_by_id, compiled.customer_by_reference, columns.customers),
        meter=_numbers(compiled.meter_by_id, compiled.meter_by_reference, columns.meters),
        charge=np.array(
            [pools.charges.index.get(name, -2) for name in columns.contracts.names.to_pylist()], dtype=np.int32
        ),
        customer_code=columns.customers.codes,
        meter_code=columns.meters.codes,
        contract_code=columns.contracts.codes,
        time_us=times_us,
        value_column=value_column,
        present=stacked([column.present for column in columns.values], (0, count), np.bool_),
        property_column=property_column,
        property_text=stacked(texts, (0, count), np.int32),
    )
    return Resolved(
        batch=batch,
        customer_references=_references(columns.customers, pools.customer_references),
        meter_references=_references(columns.meters, pools.meter_references),
        numbers=stacked([column.numbers for column in columns.values], (0, count, 2), np.uint64),
    )


def _numbers(by_id: Mapping[str, int], by_reference: Mapping[str, int], names: Names) -> NDArray[np.int32]:
    """Number of each name; -1 where it is unknown."""
    texts = names.names.to_pylist()
    if not names.is_id.any():
        return np.fromiter(map(by_reference.get, texts, repeat(-1)), dtype=np.int32, count=len(texts))
    known = ((by_id if is_id else by_reference).get(text, -1) for text, is_id in zip(texts, names.is_id, strict=True))
    return np.fromiter(known, dtype=np.int32, count=len(texts))


def _text_numbers(index: dict[str, int], column: PropertyColumn) -> NDArray[np.int32]:
    """[n] number of each row's text where some condition names it; -1 otherwise."""
    # One more at the end: the code -1 of an absent property finds it.
    numbers = [*(index.get(text, -1) for text in column.values.to_pylist()), -1]
    return np.array(numbers, dtype=np.int32)[column.codes]


def _references(names: Names, references: Mapping[str, str]) -> pa.StringArray:
    """Ids turned into the references they stand for, for ever; an id never known stands for itself."""
    if not names.is_id.any():
        return names.names
    named = zip(names.names.to_pylist(), names.is_id, strict=True)
    return pa.array([references.get(text, text) if is_id else text for text, is_id in named], type=pa.string())


# --- References -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """What became of n rows by their references alone."""

    new: NDArray[np.bool_]
    """[n] rows to store; all others are judged."""
    claimed: NDArray[np.bool_]
    resent: tuple[Resent, ...]
    status: NDArray[np.uint8]
    event_ids: NDArray[np.uint64]
    generations: NDArray[np.int32]
    match: NDArray[np.uint8]
    """[n] what the stored event of a duplicate matched; 0 in all other rows."""
    earlier: NDArray[np.int64]
    """[n] the row of this message that a duplicate repeats; -1 in all other rows."""


def _claim(
    state: State,
    keys: NDArray[np.uint64],
    fingerprints: NDArray[np.uint64],
    faults: NDArray[np.uint8],
    sound: NDArray[np.bool_],
    first: int,
    records: Records,
) -> _Known:
    """Claims unknown references for their rows and judges the others, whose `faults` are brought up to date.

    `sound` rows have no fault in themselves: what they have, the catalogue or the clock found. Raises what `records`
    raises, and nothing is claimed then.
    """
    count = len(faults)
    state.references.reserve(count)
    before = np.zeros(count, dtype=np.uint64)
    state.references.count += look_up(
        state.references.keys, state.references.payloads, keys, faults == 0, np.uint64(first), before
    )
    claimed = (before == 0) & (faults == 0)
    _look_up_refused(state, keys, (faults != 0) & sound, first, before)
    resent: list[Resent] = []
    try:
        _resend(state, keys, before, first, records, resent)
        new = claimed.copy()
        new[[item.row for item in resent]] = True
        status = np.where(new, np.uint8(Status.STORED), np.uint8(Status.INVALID))
        generations = new.astype(np.int32)
        for item in resent:
            generations[item.row] = item.generation
        event_ids = np.where(new, np.uint64(first) + np.arange(count, dtype=np.uint64), np.uint64(0))
        match, earlier = np.zeros(count, dtype=np.uint8), np.full(count, -1, dtype=np.int64)
        known = _Known(new, claimed, tuple(resent), status, event_ids, generations, match, earlier)
        _judge_known(known, before, fingerprints, first, records, faults)
    except BaseException:
        _release(state, keys, claimed, resent)
        raise
    return known


def _release(state: State, keys: NDArray[np.uint64], claimed: NDArray[np.bool_], resent: Sequence[Resent]) -> None:
    """The reverse of `_claim`."""
    for item in reversed(resent):
        low, high = keys[item.row].tolist()
        state.references.put(low, high, item.location_before)
    state.references.count -= remove_all(state.references.keys, state.references.payloads, keys, claimed)


def _look_up_refused(
    state: State, keys: NDArray[np.uint64], refused: NDArray[np.bool_], first: int, before: NDArray[np.uint64]
) -> None:
    """Finds what is stored under the references of rows that only the present catalogue refuses.

    An event that was stored is a duplicate of itself, whatever the catalogue says of it by now.
    """
    rows = np.flatnonzero(refused)
    found = np.zeros(len(rows), dtype=np.uint64)
    locations_of(state.references.keys, state.references.payloads, keys[rows], found)
    # Deleted, or an earlier row of this message, which the same catalogue took.
    found[found >= np.uint64(first)] = 0
    before[rows] = found


def _resend(
    state: State,
    keys: NDArray[np.uint64],
    before: NDArray[np.uint64],
    first: int,
    records: Records,
    resent: list[Resent],
) -> None:
    """Claims deleted references for the rows that send them again, and adds these to `resent`.

    `before` of later rows is brought up to date.
    """
    for row in np.flatnonzero(before >= np.uint64(DELETED_BIT)):
        low, high = keys[row].tolist()
        known = state.references.get(low, high)
        if not known & DELETED_BIT:
            before[row] = known
            continue
        decoded = records.decoded(sequence_and_row(known)[0])
        position = decoded.positions(np.array([known & (DELETED_BIT - 1)], dtype=np.uint64))[0]
        generation = decoded.column("generation")[int(position)].as_py() + 1
        state.references.put(low, high, first + int(row))
        resent.append(Resent(int(row), known, generation))


def _judge_known(
    known: _Known,
    before: NDArray[np.uint64],
    fingerprints: NDArray[np.uint64],
    first: int,
    records: Records,
    faults: NDArray[np.uint8],
) -> None:
    """DUPLICATE or CONFLICT for every row whose reference was known; a refused one is no conflict."""
    rows = np.flatnonzero((before != 0) & ~known.new)
    if len(rows) == 0:
        return
    # An earlier row of this very message, or a record of another.
    here = before[rows] >= np.uint64(first)
    here &= before[rows] < np.uint64(first + len(before))
    same = np.zeros(len(before), dtype=np.bool_)
    stored_faults = np.zeros(len(before), dtype=np.uint8)
    local, others = rows[here], rows[~here]
    earlier = (before[local] - np.uint64(first)).astype(np.int64)
    same[local] = (fingerprints[local] == fingerprints[earlier]).all(axis=1)
    known.event_ids[local] = before[local]
    known.generations[local] = known.generations[earlier]
    known.earlier[local] = np.where(same[local], earlier, -1)
    for decoded, group in _by_commit(before, others, records):
        positions = decoded.positions(before[group])
        same[group] = (decoded.fingerprints[positions] == fingerprints[group]).all(axis=1)
        firsts = decoded.numbers("first")[positions]
        known.event_ids[group] = np.where(firsts == 0, before[group], firsts)
        known.generations[group] = decoded.numbers("generation")[positions]
        known.match[group] = np.where(same[group], decoded.numbers("match")[positions], 0)
        stored_faults[group] = decoded.numbers("fault")[positions]
    refused = rows[~same[rows] & (faults[rows] != 0)]
    known.event_ids[refused] = known.generations[refused] = 0
    judged = np.setdiff1d(rows, refused, assume_unique=True)
    known.status[judged] = np.where(same[judged], np.uint8(Status.DUPLICATE), np.uint8(Status.CONFLICT))
    faults[judged] = np.where(same[judged], stored_faults[judged], np.uint8(RowFault.REFERENCE_CONFLICT))


def _answer_as_stored(known: _Known, match: NDArray[np.uint8], faults: NDArray[np.uint8]) -> None:
    """Duplicates are answered what their stored event matched, and why it has no price where it has none."""
    stored = known.match != 0
    match[stored] = known.match[stored]
    repeated = np.flatnonzero(known.earlier >= 0)
    match[repeated] = match[known.earlier[repeated]]
    faults[repeated] = faults[known.earlier[repeated]]


# --- Matching and rating --------------------------------------------------------------------------------------------


def _rate(
    state: State, resolved: Resolved, new: NDArray[np.bool_], faults: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], Postings, NDArray[np.int64], list[int]]:
    """(match, postings, posting starts, row of each opening) of the new rows; rows that do not fit get a fault and no
    postings."""
    poster = _Poster(state, resolved.numbers, faults)
    opening_rows: list[int] = []
    match, pairs, pair_start = match_batch(state, resolved.batch, new, faults, poster.post, opening_rows)
    poster.post(pairs, pair_start, len(new))
    return match, *poster.made(), opening_rows


def post_pairs(
    state: State,
    pairs: Pairs,
    pair_start: NDArray[np.int64],
    numbers: NDArray[np.uint64],
    faults: NDArray[np.uint8],
) -> tuple[Postings, NDArray[np.int64]]:
    """(postings, posting starts) of rows with their pairs, in order."""
    poster = _Poster(state, numbers, faults)
    poster.post(pairs, pair_start, len(faults))
    return poster.made()


Post = Callable[[Pairs, NDArray[np.int64], int], None]
"""Posts the rows before a row that were not posted yet, by their pairs and pair starts."""


class _Poster:
    """Posts n rows in order, some at a time."""

    def __init__(self, state: State, numbers: NDArray[np.uint64], faults: NDArray[np.uint8]) -> None:
        self._state = state
        self._numbers = numbers
        self._faults = faults
        self._row = 0
        self._starts = np.zeros(len(faults) + 1, dtype=np.int64)
        self._postings = empty_postings(0)

    def post(self, pairs: Pairs, pair_start: NDArray[np.int64], end: int) -> None:
        """As `Post` says."""
        state = self._state
        needed = int(self._starts[self._row] + pair_start[end] - pair_start[self._row])
        while self._row < end:
            if needed > len(self._postings.part):
                self._postings = _roomier(self._postings, int(self._starts[self._row]), needed)
            self._row = post_rows(
                self._row,
                pairs,
                pair_start[: end + 1],
                self._numbers,
                state.accounts.arrays,
                state.parts.arrays,
                state.lines.arrays,
                state.pools.prices.tables,
                state.pools.taxes.tables,
                PostingTable(*self._postings),
                self._starts[: end + 1],
                self._faults,
            )
            needed = 2 * len(self._postings.part) + 64

    def made(self) -> tuple[Postings, NDArray[np.int64]]:
        """(postings, posting starts)."""
        count = int(self._starts[-1])
        return Postings._make(column[:count] for column in self._postings), self._starts


def _post_later(pairs: Pairs, pair_start: NDArray[np.int64], end: int) -> None:
    """For a caller that posts when all is open."""


def match_batch(
    state: State,
    batch: BatchTable,
    wanted: NDArray[np.bool_],
    faults: NDArray[np.uint8],
    post: Post = _post_later,
    opening_rows: list[int] | None = None,
) -> tuple[NDArray[np.uint8], Pairs, NDArray[np.int64]]:
    """(match, pairs, pair starts) of the wanted rows; opens what they fall into, and adds to `opening_rows` which row
    each opening is for.

    What is worth something without events moves its line when it opens, so the rows before are posted first: what a
    row costs must not depend on what else comes in its batch. A row whose line would not even fit without events gets
    a fault, and no pairs.
    """
    count = len(wanted)
    wanted = wanted.copy()
    starts = state.current.match.customer_start
    widest = int(np.diff(starts).max(initial=1))
    room = max(count, widest)
    reasons = np.full(count, np.uint8(Match.NOT_STORED))
    pair_start = np.zeros(count + 1, dtype=np.int64)
    pairs = Pairs(*(np.zeros(room, dtype=np.int32) for _ in Pairs._fields))
    capacity = max(MISSING_CAPACITY, widest)
    missing = Missing._make(np.zeros(capacity, dtype=dtype) for dtype in (np.int32, np.int32, np.int32, np.int64))
    row = posted = 0
    waiting: deque[int] = deque()
    state.reserve_charges()
    while True:
        limit = waiting[0] if waiting else count
        row, missing_count = match_rows(
            row,
            wanted[:limit],
            batch,
            state.current.match,
            state.pools.definition_table,
            state.pools.cell_table,
            state.pools.condition_table,
            state.newest_period,
            state.periods.arrays,
            state.cell_slots.arrays.account,
            state.accounts.arrays,
            state.parts.arrays,
            pairs,
            pair_start,
            reasons,
            missing,
        )
        if row == count:
            return reasons, pairs, pair_start
        if row == limit:
            post(pairs, pair_start, limit)
            posted = waiting.popleft()
        elif missing_count == 0:
            pairs = Pairs(*(np.concatenate([column, np.zeros_like(column)]) for column in pairs))
        costly: list[int] = []
        for index in range(missing_count):
            here = int(missing.row[index])
            what = (int(missing.definition[index]), int(missing.cell[index]), int(missing.time_us[index]))
            if here > posted and opens_with_value(state, *what):
                if here not in costly[-1:]:
                    costly.append(here)
                continue
            try:
                opened = open_part(state, *what, state.current.version)
                if opening_rows is not None:
                    opening_rows += [here] * len(opened)
            except OpeningDoesNotFit:
                wanted[here] = False
                reasons[here] = Match.MATCHED
                faults[here] = RowFault.AMOUNT_OVERFLOW
        # Rows are matched only up to those that wait already, so these come before them.
        waiting.extendleft(reversed(costly))


def empty_postings(capacity: int) -> Postings:
    """Posting columns with room for so many."""
    dtypes = (np.int32, np.int64, np.uint64, np.int64, np.uint64, np.uint64, np.bool_)
    columns: list[NDArray[Any]] = []
    for name, dtype in zip(Postings._fields, dtypes, strict=True):
        shape = (capacity, POSTING_LIMBS[name]) if name in POSTING_LIMBS else (capacity,)
        columns.append(np.empty(shape, dtype=dtype))
    return Postings._make(columns)


def joined(pieces: Sequence[Postings]) -> Postings:
    """Postings behind one another."""
    everything = [empty_postings(0), *pieces]
    return Postings._make(np.concatenate(columns) for columns in zip(*everything, strict=True))


def _roomier(postings: Postings, used: int, capacity: int) -> Postings:
    larger = empty_postings(capacity)
    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(postings, larger, strict=True)
    for old, new in pairs:
        new[:used] = old[:used]
    return larger


# --- Records --------------------------------------------------------------------------------------------------------


def event_records(piece: EventPiece) -> pa.Table:
    """The stored rows of a piece as a records table, in row order."""
    rows, columns, outcome = piece.rows, piece.columns, piece.outcome
    everything = len(rows) == columns.row_count
    chosen = pa.array(rows)

    def pick(array: NDArray[Any]) -> NDArray[Any]:
        return array if everything else array[rows]

    def coded(codes: NDArray[np.int32], names: pa.StringArray) -> pa.Array:
        picked = pick(codes)
        absent = picked < 0
        return pa.DictionaryArray.from_arrays(pa.array(picked, mask=absent if absent.any() else None), names)

    count = len(rows)
    posting_counts = np.diff(outcome.posting_starts)
    times_us = np.where(columns.time_given, columns.times_us, piece.receipt_time_us)
    arrays: list[pa.Array] = [
        pa.array(np.zeros(count, dtype=np.uint32)),
        pa.array((rows + piece.row_offset).astype(np.uint32)),
        pa.array(np.full(count, np.uint8(RecordKind.EVENT))),
        pa.array(pick(outcome.status)),
        pa.array(pick(outcome.match)),
        pa.array(pick(outcome.faults)),
        columns.references if everything else columns.references.take(chosen),
        coded(columns.customers.codes, piece.customer_references),
        coded(columns.meters.codes, piece.meter_references),
        coded(columns.contracts.codes, columns.contracts.names),
        pa.array(pick(times_us)),
        pa.array(pick(columns.time_given)),
        pa.array(np.full(count, piece.receipt_time_us, dtype=np.int64)),
        pa.array(pick(outcome.generations)),
        pa.array(np.zeros(count, dtype=np.uint64)),
        pa.array(pick(_previous(piece))),
        fixed_binary(pick(piece.fingerprints)),
        pa.array(pick(posting_counts).astype(np.uint32)),
    ]
    fields = list(RECORD_FIELDS)
    for value in sorted(columns.values, key=lambda column: column.name):
        arrays.append(decimals(pick(value.numbers), pick(value.present)))
        fields.append((VALUE_PREFIX + value.name, arrays[-1].type))
    for property_ in sorted(columns.properties, key=lambda column: column.name):
        arrays.append(coded(property_.codes, property_.values))
        fields.append((PROPERTY_PREFIX + property_.name, TEXT_CODES))
    return pa.table(arrays, schema=pa.schema(fields))


def _previous(piece: EventPiece) -> NDArray[np.uint64]:
    previous = np.zeros(piece.columns.row_count, dtype=np.uint64)
    for item in piece.resent:
        previous[item.row] = item.location_before & (DELETED_BIT - 1)
    return previous
