"""Rating a customer's stored events again under the current catalogue.

Events that matched nothing, or did not fit, are matched again. With `move_pins`, the customer's periods whose product
contract means something else by now are retired: their lines go down to nothing, and all events in the range are
matched again. A line that moves gets one RERATE posting; an event that counts elsewhere since gets a RERATE record that
says where.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_engine.ledger.delete import CustomerRecords, changed, own_parts, surviving
from tallybook_engine.ledger.opening import Mark, close_after, mark, price_at, retire_period, revive_period
from tallybook_engine.ledger.outcomes import Match, Postings, Status
from tallybook_engine.ledger.references import MAXIMUM_ROWS, location
from tallybook_engine.ledger.replay import chosen_records, event_columns
from tallybook_engine.ledger.segments import RECORD_FIELDS, Decoded, RecordKind
from tallybook_engine.ledger.stage import (
    Resolved,
    empty_postings,
    joined,
    match_batch,
    post_pairs,
    resolve,
    undo_postings,
)
from tallybook_engine.ledger.state import Opening, State
from tallybook_engine.matching import Pairs
from tallybook_engine.rating.postings import FITS, PostingTable, repriced, set_base

Chosen = tuple[Decoded, int]


class DoesNotFit(Exception):
    """A customer's lines would leave the limits under the current catalogue; nothing of it was staged."""


@dataclass(frozen=True)
class ReprocessPiece:
    """One customer rated again, staged."""

    records: pa.Table
    postings: Postings
    """Those of the RERATE records, which move nothing, and then those that move lines."""
    moving_from: int
    openings: tuple[Opening, ...]
    open_before: Mark
    retired: tuple[tuple[int, list[tuple[int, int]]], ...]
    keys_before: tuple[tuple[int, int, int], ...]
    event_count_rated: int
    line_count_moved: int
    amounts: tuple[tuple[str, int, int, int], ...]
    """(currency, minor digits, amount without tax, tax), minor units, of each line that moved."""


def stage_reprocess(
    state: State,
    customer_id: str,
    start_us: int,
    end_us: int,
    move_pins: bool,
    receipt_time_us: int,
    sequence: int,
    row_offset: int,
    records: CustomerRecords,
) -> ReprocessPiece:
    """Stages the reprocess of one customer over events and periods that touch [start_us, end_us).

    Every earlier commit must be readable by `records`: nothing may be on its way. Raises DoesNotFit.
    """
    open_before = mark(state)
    before = {line: _line_values(state, line) for line in state.lines_of_customer.get(customer_id, [])}
    retired = _retire(state, customer_id, start_us, end_us) if move_pins else []
    gone = {account for _, accounts in retired for account, _ in accounts}
    down = _bring_down(state, gone)
    try:
        chosen = _chosen(state, customer_id, start_us, end_us, move_pins, gone, records)
        kept = [[part for part in own_parts(*one) if state.parts.arrays.account[part] not in gone] for one in chosen]
        status, match, faults, postings, starts = _rate_again(state, chosen, kept)
    except DoesNotFit:
        _undo(state, down, open_before, retired)
        raise
    tables: list[pa.Table] = []
    memberships: list[Postings] = []
    keys_before: list[tuple[int, int, int]] = []
    for index, (decoded, position) in enumerate(chosen):
        own = _own(postings, int(starts[index]), int(starts[index + 1]))
        if len(own.part) == 0 and len(kept[index]) == len(own_parts(decoded, position)):
            continue
        row = row_offset + len(tables)
        membership = joined([_standing(kept[index]), own])
        known = int(decoded.locations[position])
        tables.append(
            changed(
                decoded.tables.records.slice(position, 1),
                sequence_offset=0,
                row=row,
                kind=int(RecordKind.RERATE),
                status=int(status[index]),
                match=int(match[index]),
                fault=int(faults[index]),
                receipt_time_us=receipt_time_us,
                first=int(decoded.column("first")[position].as_py()) or known,
                previous=known,
                posting_count=len(membership.part),
            )
        )
        memberships.append(membership)
        key = _key(state, decoded, position)
        keys_before.append((*key, known))
        state.references.put(*key, location(sequence, row))
    if row_offset + len(tables) >= MAXIMUM_ROWS:
        raise ValueError(f"a commit holds at most {MAXIMUM_ROWS} records")
    moves = _one_posting_a_line(state, joined([down, postings]))
    retirements = [opening for _, opening in state.retirements[len(state.retirements) - len(retired) :]]
    openings = tuple(retirements + state.openings[open_before.parts :])
    rated = len(tables)
    if len(moves.part) or openings:
        reference = state.pools.customer_references[customer_id]
        tables.append(_lines_record(reference, receipt_time_us, row_offset + len(tables), len(moves.part)))
    amounts = _line_moves(state, customer_id, before)
    standing = joined(memberships)
    return ReprocessPiece(
        records=pa.concat_tables(tables, promote_options="default") if tables else pa.table({}),
        postings=joined([standing, moves]),
        moving_from=len(standing.part),
        openings=openings,
        open_before=open_before,
        retired=tuple(retired),
        keys_before=tuple(keys_before),
        event_count_rated=rated,
        line_count_moved=len(amounts),
        amounts=tuple(amounts),
    )


def undo_reprocess(state: State, piece: ReprocessPiece) -> None:
    """Takes a staged reprocess back."""
    for low, high, before in reversed(piece.keys_before):
        state.references.put(low, high, before)
    moves = Postings._make(column[piece.moving_from :] for column in piece.postings)
    _undo(state, moves, piece.open_before, list(piece.retired))


def _undo(state: State, moves: Postings, open_before: Mark, retired: list[tuple[int, list[tuple[int, int]]]]) -> None:
    undo_postings(state, moves)
    close_after(state, open_before)
    for period, accounts in reversed(retired):
        revive_period(state, period, accounts)
    _rebase(state, [account for _, accounts in retired for account, _ in accounts])


def _rebase(state: State, accounts: list[int]) -> None:
    """Sets the bases of the accounts' parts anew: the prices they stand on are back."""
    for account in accounts:
        for part in _chain(state, account):
            earlier = int(state.parts.arrays.earlier[part])
            exact = 0 if earlier < 0 else _price_of(state, account, earlier)
            state.parts.arrays.base[part] = to_limbs(exact, 3)


# --- What is rated again --------------------------------------------------------------------------------------------


def _retire(state: State, customer_id: str, start_us: int, end_us: int) -> list[tuple[int, list[tuple[int, int]]]]:
    """Retires the periods in the range whose product contract means something else now, or is gone."""
    found = []
    for period in sorted({int(p) for p in _periods_of(state, customer_id)}):
        periods = state.periods.arrays
        definition = int(periods.definition[period])
        charge = int(state.pools.definition_table.charge[definition])
        in_range = periods.end_us[period] > start_us and periods.start_us[period] < end_us
        if in_range and state.current.current_definitions.get(charge) != definition and _is_linked(state, period):
            found.append((period, retire_period(state, period)))
    return found


def _periods_of(state: State, customer_id: str) -> list[int]:
    accounts = [
        state.parts.arrays.account[part]
        for line in state.lines_of_customer.get(customer_id, [])
        for part in state.parts_of_line[line]
    ]
    return [int(state.accounts.arrays.period[account]) for account in accounts]


def _is_linked(state: State, period: int) -> bool:
    """Whether a period is still in its charge's list, and was not retired before."""
    charge = int(state.pools.definition_table.charge[state.periods.arrays.definition[period]])
    at = int(state.newest_period[charge])
    while at >= 0 and at != period:
        at = int(state.periods.arrays.earlier[at])
    return at == period


def _chosen(
    state: State,
    customer_id: str,
    start_us: int,
    end_us: int,
    move_pins: bool,
    gone: set[int],
    records: CustomerRecords,
) -> list[Chosen]:
    chosen = []
    for decoded, position in surviving(state, state.pools.customer_references[customer_id], records):
        in_range = start_us <= decoded.column("time_us")[position].as_py() < end_us
        unrated = (
            decoded.column("status")[position].as_py() == Status.UNPRICED
            or decoded.column("match")[position].as_py() != Match.MATCHED
        )
        retired = any(int(state.parts.arrays.account[part]) in gone for part in own_parts(decoded, position))
        if retired or (in_range and (unrated or move_pins)):
            chosen.append((decoded, position))
    return chosen


def _bring_down(state: State, accounts: set[int]) -> Postings:
    """Postings that bring retired accounts, which are priced at nothing by now, down to no events."""
    parts = [part for account in sorted(accounts) for part in _chain(state, account)]
    made = PostingTable(*empty_postings(len(parts)))
    for at, part in enumerate(parts):
        empty = NO_EVENT if state.definition_of_part(part).aggregation is Aggregation.MAX else 0
        set_base(state.parts.arrays, part, *to_limbs(0, 3))
        fault, *_ = repriced(
            part,
            *to_limbs(empty, 2),
            state.accounts.arrays,
            state.parts.arrays,
            state.lines.arrays,
            state.pools.prices.tables,
            state.pools.taxes.tables,
            made,
            at,
            False,
        )
        assert fault == FITS
    return Postings._make(made)


def _chain(state: State, account: int) -> list[int]:
    """The parts of an account in the order of time."""
    chain, part = [], int(state.accounts.arrays.last_part[account])
    while part >= 0:
        chain.append(part)
        part = int(state.parts.arrays.earlier[part])
    return chain[::-1]


def _rate_again(
    state: State, chosen: list[Chosen], kept: list[list[int]]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], Postings, NDArray[np.int64]]:
    """(status, match, faults, postings, posting starts) of the chosen events, without the parts they are in already."""
    count = len(chosen)
    if count == 0:
        nothing = np.zeros(0, dtype=np.uint8)
        return nothing, nothing, nothing, empty_postings(0), np.zeros(1, dtype=np.int64)
    columns = event_columns(chosen_records(chosen))
    resolved: Resolved = resolve(state, state.current, columns, columns.times_us)
    faults = np.zeros(count, dtype=np.uint8)
    match, pairs, pair_start = match_batch(state, resolved.batch, np.ones(count, dtype=np.bool_), faults)
    rows = np.repeat(np.arange(count), np.diff(pair_start))
    fresh = np.array([part not in kept[row] for row, part in zip(rows, pairs.part, strict=False)], dtype=np.bool_)
    used = Pairs(*(column[: len(rows)][fresh] for column in pairs))
    starts = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows[fresh], minlength=count), out=starts[1:])
    postings, posting_starts = post_pairs(state, used, starts, resolved.numbers, faults)
    status = np.where(faults == 0, np.uint8(Status.STORED), np.uint8(Status.UNPRICED))
    for row in np.flatnonzero(faults):
        if kept[row]:
            undo_postings(state, postings)
            raise DoesNotFit(columns.references[int(row)].as_py())
    return status, match, faults, postings, posting_starts


# --- Records --------------------------------------------------------------------------------------------------------


def _own(postings: Postings, start: int, end: int) -> Postings:
    """The parts an event counts in since, as postings that move nothing."""
    chosen = np.arange(start, end)[~postings.carried[start:end]]
    return _standing([int(part) for part in postings.part[chosen]])


def _standing(parts: list[int]) -> Postings:
    standing = empty_postings(len(parts))
    for column in standing:
        column[...] = 0
    standing.part[:] = parts
    return standing


def _one_posting_a_line(state: State, postings: Postings) -> Postings:
    """The same moves with each line's money in the last of its postings; quantities and exact amounts stay."""
    lines = state.parts.arrays.line[postings.part]
    amount, tax = np.zeros_like(postings.amount), np.zeros_like(postings.tax)
    _, backwards = np.unique(lines[::-1], return_index=True)
    for at in len(lines) - 1 - backwards:
        amount[at] = postings.amount[lines == lines[at]].sum()
        tax[at] = postings.tax[lines == lines[at]].sum()
    return postings._replace(amount=amount, tax=tax)


def _lines_record(customer_reference: str, receipt_time_us: int, row: int, posting_count: int) -> pa.Table:
    values: dict[str, object] = {
        "sequence_offset": 0,
        "row": row,
        "kind": int(RecordKind.LINES),
        "status": int(Status.STORED),
        "match": int(Match.MATCHED),
        "fault": 0,
        "reference": "",
        "customer": customer_reference,
        "meter": None,
        "contract": None,
        "time_us": receipt_time_us,
        "time_given": False,
        "receipt_time_us": receipt_time_us,
        "generation": 0,
        "first": 0,
        "previous": 0,
        "fingerprint": bytes(16),
        "posting_count": posting_count,
    }
    return pa.table({name: pa.array([values[name]], type=type_) for name, type_ in RECORD_FIELDS})


def _key(state: State, decoded: Decoded, position: int) -> tuple[int, int]:
    keys = state.hasher.keys(
        np.zeros(1, dtype=np.int32),
        pa.array([decoded.column("customer")[position].as_py()], type=pa.string()),
        pa.array([decoded.column("reference")[position].as_py()], type=pa.string()),
    )
    return int(keys[0, 0]), int(keys[0, 1])


# --- What moved -----------------------------------------------------------------------------------------------------


def _line_values(state: State, line: int) -> tuple[int, int]:
    lines = state.lines.arrays
    return int(lines.amount[line]), int(lines.tax[line])


def _line_moves(state: State, customer_id: str, before: dict[int, tuple[int, int]]) -> list[tuple[str, int, int, int]]:
    moves = []
    for line in state.lines_of_customer.get(customer_id, []):
        amount_before, tax_before = before.get(line, (0, 0))
        amount, tax = _line_values(state, line)
        if (amount, tax) == (amount_before, tax_before):
            continue
        definition = state.pools.definitions[state.line_origins[line].definition]
        moved, moved_tax = amount - amount_before, tax - tax_before
        if definition.tax_inclusive:
            moved -= moved_tax
        moves.append((definition.currency, definition.minor_digits, moved, moved_tax))
    return moves


def _price_of(state: State, account: int, part: int) -> int:
    return price_at(state, account, from_limbs(*state.parts.arrays.quantity[part]))
