"""Rating a customer's stored events again under the current catalogue.

Events that matched nothing, or did not fit, are matched again. With `move_pins`, the customer's periods whose product
contract means something else by now are retired: their lines go down to nothing, and all events in the range are
matched again. A line that moves gets one RERATE posting; an event that counts elsewhere since gets a RERATE record that
says where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.currencies import minor_digits
from tallybook_engine.kernels.wide import from_limbs, to_limbs
from tallybook_engine.ledger.delete import CustomerRecords, surviving
from tallybook_engine.ledger.net import joined_net, move_net_pins, post_net
from tallybook_engine.ledger.opening import (
    Mark,
    OpeningDoesNotFit,
    close_after,
    mark,
    open_whole_again,
    price_at,
    retire_period,
    revive_period,
)
from tallybook_engine.ledger.outcomes import UNPINNED, Cause, Match, NetChanges, Postings, Status
from tallybook_engine.ledger.references import MAXIMUM_ROWS, location
from tallybook_engine.ledger.replay import Place, chosen_records, event_columns, following_records
from tallybook_engine.ledger.segments import RECORD_FIELDS, Decoded, RecordKind, concatenated
from tallybook_engine.ledger.stage import (
    Resolved,
    empty_postings,
    joined,
    match_batch,
    post_pairs,
    ranges,
    resolve,
    undo_postings,
)
from tallybook_engine.ledger.state import Opening, State
from tallybook_engine.matching import Pairs
from tallybook_engine.rating.postings import FITS, PostingTable, repriced, set_base


class DoesNotFit(Exception):
    """A customer's lines would leave the limits under the current catalogue; nothing of it was staged."""


@dataclass(frozen=True)
class ReprocessPiece:
    """One customer rated again, staged."""

    records: pa.Table
    postings: Postings
    """Those of the RERATE records, which move nothing, and then those that move lines."""
    moving_from: int
    net: NetChanges
    row_offset: int
    """Row that those of `net` count from."""
    openings: tuple[Opening, ...]
    open_before: Mark
    retired: tuple[tuple[int, list[tuple[int, int]]], ...]
    keys_before: tuple[tuple[int, int, int], ...]
    event_count_rated: int
    line_count_moved: int
    amounts: tuple[tuple[str, int, int, int], ...]
    """(currency, minor digits, amount without tax, tax), minor units, of each line that moved."""
    adjustments: tuple[tuple[str, int, int, int], ...]
    """The same of each move of a net line."""


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
    gone = np.array([account for _, accounts in retired for account, _ in accounts], dtype=np.int32)
    down = empty_postings(0)
    try:
        down = _bring_down(state, gone)
        _open_whole_again(state, gone)
        chosen = _chosen(state, customer_id, start_us, end_us, move_pins, gone, records)
        if row_offset + len(chosen.places) >= MAXIMUM_ROWS:
            raise ValueError(f"a commit holds at most {MAXIMUM_ROWS} records")
        again = _rate_again(state, chosen)
    except BaseException:
        _undo(state, down, open_before, retired)
        raise
    changed = np.flatnonzero(again.changed)
    standing, standing_counts = _standing(chosen, again, changed)
    moves = _one_posting_a_line(state, joined([down, again.postings]))
    retirements = [opening for _, opening in state.retirements[len(state.retirements) - len(retired) :]]
    openings = tuple(retirements + state.openings[open_before.parts :])
    tables: list[pa.Table] = []
    keys_before: list[tuple[int, int, int]] = []
    if len(changed):
        table = _rerate_records(chosen, again, changed, standing_counts, receipt_time_us, row_offset)
        tables.append(table)
        keys_before = _move_locations(state, table, sequence)
    net = _post_net(
        state, customer_id, start_us, end_us, move_pins, moves, state.openings[open_before.parts :], len(changed)
    )
    if len(moves.part) or openings or net.pins or len(net.postings.row):
        reference = state.pools.customer_references[customer_id]
        tables.append(_lines_record(reference, receipt_time_us, row_offset + len(changed), len(moves.part)))
    amounts = _line_moves(state, customer_id, before)
    return ReprocessPiece(
        records=concatenated(tables) if tables else pa.table({}),
        postings=joined([standing, moves]),
        moving_from=len(standing.part),
        net=net,
        row_offset=row_offset,
        openings=openings,
        open_before=open_before,
        retired=tuple(retired),
        keys_before=tuple(keys_before),
        event_count_rated=int((again.fresh_counts > 0).sum()),
        line_count_moved=len(amounts),
        amounts=tuple(amounts),
        adjustments=tuple(_adjustments(state, net)),
    )


def undo_reprocess(state: State, piece: ReprocessPiece) -> None:
    """Takes a staged reprocess back."""
    state.net.take_back(state, piece.net)
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
    """Retires the periods in the range whose product contract means something else now, or is gone.

    All stretches of a split period go where one of them does.
    """
    linked = [period for period in sorted(set(_periods_of(state, customer_id))) if _is_linked(state, period)]
    stale = set()
    for period in linked:
        periods = state.periods.arrays
        definition = int(periods.definition[period])
        charge = int(state.pools.definition_table.charge[definition])
        in_range = periods.end_us[period] > start_us and periods.start_us[period] < end_us
        if in_range and state.current.current_definitions.get(charge) != definition:
            stale.add(_first_stretch(state, period))
    return [(period, retire_period(state, period)) for period in linked if _first_stretch(state, period) in stale]


def _first_stretch(state: State, period: int) -> int:
    while period in state.continues:
        period = state.continues[period]
    return period


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


@dataclass(frozen=True, slots=True)
class _Chosen:
    """n events to match again, and the parts they count in so far."""

    places: list[Place]
    locations: NDArray[np.uint64]
    status: NDArray[np.uint8]
    match: NDArray[np.uint8]
    kept_row: NDArray[np.int64]
    """[k] event of each part that it stays in, ascending."""
    kept_part: NDArray[np.int32]
    lost: NDArray[np.bool_]
    """[n] whether the event counted in a part that was retired."""


def _chosen(
    state: State,
    customer_id: str,
    start_us: int,
    end_us: int,
    move_pins: bool,
    gone: NDArray[np.int32],
    records: CustomerRecords,
) -> _Chosen:
    """What the range names: unrated events; with `move_pins` all, and those of the accounts that are gone."""
    places: list[Place] = []
    pieces: list[tuple[NDArray[np.generic], ...]] = []
    for decoded, positions in surviving(state, state.pools.customer_references[customer_id], records):
        status, match = decoded.numbers("status")[positions], decoded.numbers("match")[positions]
        times_us = decoded.numbers("time_us")[positions]
        counting = (status == Status.STORED) & (match == Match.MATCHED)
        row, part = _own_parts(decoded, positions, counting)
        is_gone = np.isin(state.parts.arrays.account[part], gone)
        lost = np.bincount(row[is_gone], minlength=len(positions)) > 0
        in_range = (times_us >= start_us) & (times_us < end_us)
        wanted = lost | (in_range & (move_pins | ~counting))
        number = np.cumsum(wanted) - 1 + len(places)
        kept = wanted[row] & ~is_gone
        pieces.append(
            (
                decoded.locations[positions[wanted]],
                status[wanted],
                match[wanted],
                number[row[kept]],
                part[kept],
                lost[wanted],
            )
        )
        places += [(decoded, int(position)) for position in positions[wanted]]
    empty = (np.uint64, np.uint8, np.uint8, np.int64, np.int32, np.bool_)
    columns = [
        np.concatenate([np.zeros(0, dtype=dtype), *(piece[index] for piece in pieces)])
        for index, dtype in enumerate(empty)
    ]
    return _Chosen(places, *columns)


def _own_parts(
    decoded: Decoded, positions: NDArray[np.int64], counting: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(index into positions, part) of each part in which the counting ones of some records count."""
    rows = np.flatnonzero(counting)
    begin, end = decoded.posting_ranges
    at = ranges(begin[positions[rows]], end[positions[rows]])
    row = np.repeat(rows, (end - begin)[positions[rows]])
    own = ~decoded.postings.carried[at]
    return row[own], decoded.postings.part[at][own]


def _bring_down(state: State, accounts: NDArray[np.int32]) -> Postings:
    """Postings that bring retired accounts, which are priced at nothing by now, down to no events."""
    parts = [part for account in sorted(accounts.tolist()) for part in _chain(state, account)]
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
        if fault != FITS:
            # What is left of the line may not fit without the part.
            undo_postings(state, Postings._make(column[:at] for column in made))
            raise DoesNotFit(f"line {int(state.parts.arrays.line[part]) + 1}")
    return Postings._make(made)


def _open_whole_again(state: State, gone: NDArray[np.int32]) -> None:
    """Opens under the current version what lines that stay open have lost with retired accounts."""
    lines = {int(state.parts.arrays.line[part]) for account in gone.tolist() for part in _chain(state, account)}
    try:
        open_whole_again(state, sorted(lines))
    except OpeningDoesNotFit as error:
        raise DoesNotFit(str(error)) from error


def _chain(state: State, account: int) -> list[int]:
    """The parts of an account in the order of time."""
    chain, part = [], int(state.accounts.arrays.last_part[account])
    while part >= 0 and state.parts.arrays.account[part] == account:
        chain.append(part)
        part = int(state.parts.arrays.earlier[part])
    return chain[::-1]


@dataclass(frozen=True, slots=True)
class _Again:
    """n events matched and rated again."""

    status: NDArray[np.uint8]
    match: NDArray[np.uint8]
    faults: NDArray[np.uint8]
    postings: Postings
    posting_starts: NDArray[np.int64]
    fresh_counts: NDArray[np.int64]
    """[n] parts that each event counts in now and did not before."""
    changed: NDArray[np.bool_]
    """[n] whether anything of the event is other than its last record says."""


def _rate_again(state: State, chosen: _Chosen) -> _Again:
    """Matches the chosen events anew and posts them to the parts that they are not in already."""
    count = len(chosen.places)
    if count == 0:
        nothing = np.zeros(0, dtype=np.uint8)
        none = np.zeros(0, dtype=np.int64)
        return _Again(nothing, nothing, nothing, empty_postings(0), np.zeros(1, dtype=np.int64), none, nothing > 0)
    columns = event_columns(chosen_records(chosen.places))
    resolved: Resolved = resolve(state, state.current, columns, columns.times_us)
    faults = np.zeros(count, dtype=np.uint8)
    match, pairs, pair_start = match_batch(state, resolved.batch, np.ones(count, dtype=np.bool_), faults)
    made = int(pair_start[-1])
    pairs = Pairs._make(column[:made] for column in pairs)
    rows = np.repeat(np.arange(count), np.diff(pair_start))
    fresh = ~np.isin(_pair_keys(rows, pairs.part), _pair_keys(chosen.kept_row, chosen.kept_part))
    starts = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows[fresh], minlength=count), out=starts[1:])
    postings, posting_starts = post_pairs(
        state, Pairs._make(column[fresh] for column in pairs), starts, resolved.numbers, faults
    )
    unfit_and_kept = np.isin(np.flatnonzero(faults), chosen.kept_row)
    if unfit_and_kept.any():
        undo_postings(state, postings)
        unfit = columns.references[int(np.flatnonzero(faults)[unfit_and_kept][0])].as_py()
        raise DoesNotFit(f"event {unfit!r}")
    status = np.where(faults == 0, np.uint8(Status.STORED), np.uint8(Status.UNPRICED))
    fresh_counts = np.where(faults == 0, np.diff(starts), 0)
    changed = chosen.lost | (fresh_counts > 0) | (status != chosen.status) | (match != chosen.match)
    return _Again(status, match, faults, postings, posting_starts, fresh_counts, changed)


def _pair_keys(rows: NDArray[np.int64], parts: NDArray[np.int32]) -> NDArray[np.int64]:
    return (rows.astype(np.int64) << 32) | parts


# --- Records --------------------------------------------------------------------------------------------------------


def _standing(chosen: _Chosen, again: _Again, changed: NDArray[np.int64]) -> tuple[Postings, NDArray[np.int64]]:
    """(the parts in which the changed events count since, as postings that move nothing; how many each event has)."""
    own = ~again.postings.carried
    posted_row = np.repeat(np.arange(len(chosen.places)), np.diff(again.posting_starts))[own]
    row = np.concatenate([chosen.kept_row, posted_row])
    part = np.concatenate([chosen.kept_part, again.postings.part[own]])
    wanted = np.isin(row, changed)
    row, part = row[wanted], part[wanted]
    standing = empty_postings(len(row))
    for column in standing:
        column[...] = 0
    standing.part[:] = part[np.argsort(row, kind="stable")]
    return standing, np.bincount(row, minlength=len(chosen.places))[changed]


def _rerate_records(
    chosen: _Chosen,
    again: _Again,
    changed: NDArray[np.int64],
    posting_counts: NDArray[np.int64],
    receipt_time_us: int,
    row_offset: int,
) -> pa.Table:
    places = [chosen.places[index] for index in changed]
    firsts = [
        int(decoded.numbers("first")[position]) or int(decoded.locations[position]) for decoded, position in places
    ]
    return following_records(
        places,
        {
            "sequence_offset": 0,
            "row": list(range(row_offset, row_offset + len(changed))),
            "kind": int(RecordKind.RERATE),
            "status": again.status[changed].tolist(),
            "match": again.match[changed].tolist(),
            "fault": again.faults[changed].tolist(),
            "receipt_time_us": receipt_time_us,
            "first": firsts,
            "previous": chosen.locations[changed].tolist(),
            "posting_count": posting_counts.tolist(),
        },
    )


def _move_locations(state: State, rerated: pa.Table, sequence: int) -> list[tuple[int, int, int]]:
    """Points the keys at their new records; answers (key low, key high, location before) of each."""
    customers = rerated.column("customer").chunk(0)
    keys = state.hasher.keys(
        customers.indices.to_numpy().astype(np.int32), customers.dictionary, rerated.column("reference").chunk(0)
    )
    moved = []
    rows, previous = rerated.column("row").to_pylist(), rerated.column("previous").to_pylist()
    for key, row, before in zip(keys.tolist(), rows, previous, strict=True):
        moved.append((key[0], key[1], before))
        state.references.put(key[0], key[1], location(sequence, row))
    return moved


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


def _post_net(
    state: State,
    customer_id: str,
    start_us: int,
    end_us: int,
    move_pins: bool,
    moves: Postings,
    openings: Sequence[Opening],
    row: int,
) -> NetChanges:
    """What a reprocess, which moved and opened all this, does to net lines."""
    net = post_net(state, moves, np.array([0, len(moves.part)]), openings, [0] * len(openings), Cause.RERATE)
    net = net._replace(pins=tuple(pin._replace(row=row) for pin in net.pins), postings=net.postings.caused_by(row))
    return joined_net([net, move_net_pins(state, customer_id, start_us, end_us, row)]) if move_pins else net


def _adjustments(state: State, net: NetChanges) -> Iterator[tuple[str, int, int, int]]:
    before = {pin.net_line: version for pin, version in zip(net.pins, net.pins_before, strict=True) if version >= 0}
    moved = net.postings
    for number, amount, tax in zip(moved.net_line.tolist(), moved.amount.tolist(), moved.tax.tolist(), strict=True):
        line = state.net.lines[number]
        versions = {line.version, before.get(number, line.version)} - {UNPINNED}
        trees = [state.net.tree(state, version, line.contract_id) for version in versions]
        currency = next((tree.currency for tree in trees if tree is not None), None)
        if currency is not None:
            yield currency, minor_digits(currency), amount, tax


def _price_of(state: State, account: int, part: int) -> int:
    return price_at(state, account, from_limbs(*state.parts.arrays.quantity[part]))
