"""The ledger as plain values: its lines as the oracle names them, all of its state to compare, a journal's postings."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.ledger.outcomes import Postings
from tallybook_engine.ledger.segments import RecordKind
from tallybook_engine.ledger.state import State
from tallybook_oracle.ledger import LineKey, LineValue
from tallybook_server.folding import open_book
from tallybook_server.journal.interface import Journal
from tallybook_server.records import JournalRecords

StateView = Mapping[str, Any]
"""All that a ledger knows, by what it is; two ledgers that are alike have equal views."""
AMOUNT_UNIT = UNIT * UNIT


def amount_of(limbs: Any) -> Fraction:
    """An exact amount of three limbs."""
    return Fraction(from_limbs(*limbs), AMOUNT_UNIT)


def line_key(state: State, line: int) -> LineKey:
    """A line as the oracle names it."""
    origin = state.line_origins[line]
    definition = state.pools.definitions[origin.definition]
    return LineKey(
        definition.product_contract_id,
        definition.cells[origin.cell].id,
        origin.period_start_us,
        origin.period_end_us,
        definition.currency,
        "HALF_EVEN" if definition.half_even else "HALF_AWAY_FROM_ZERO",
        None if definition.tax is None else Fraction(definition.tax.rate, UNIT),
        definition.tax_inclusive,
    )


def lines_of(state: State) -> dict[LineKey, LineValue]:
    """Every line of a ledger, as its postings have made it."""
    lines = state.lines.rows()
    found = {
        line_key(state, line): LineValue(amount_of(lines.exact[line]), int(lines.amount[line]), int(lines.tax[line]))
        for line in range(len(state.lines))
    }
    assert len(found) == len(state.lines), "two lines are one"
    return found


def moves_of(state: State, postings: Postings, start: int, end: int) -> dict[LineKey, LineValue]:
    """What postings [start, end) move, by line."""
    moves: dict[LineKey, LineValue] = defaultdict(lambda: LineValue(Fraction(0), 0, 0))
    for at in range(start, end):
        key = line_key(state, int(state.parts.arrays.line[postings.part[at]]))
        moves[key] = LineValue(
            moves[key].exact + amount_of(postings.exact[at]),
            moves[key].amount + int(postings.amount[at]),
            moves[key].tax + int(postings.tax[at]),
        )
    return {key: move for key, move in moves.items() if move != (0, 0, 0)}


def journal_lines(journal: Journal, state: State) -> dict[LineKey, LineValue]:
    """Every line as the sum of what the journal holds for it: the OPEN amounts, and the postings behind them.

    `state` only names the lines.
    """
    records = JournalRecords(journal, state.hasher)
    line_of_part: dict[int, int] = {}
    sums: dict[int, LineValue] = defaultdict(lambda: LineValue(Fraction(0), 0, 0))

    def add(line: int, exact: Fraction, amount: int, tax: int) -> None:
        sums[line] = LineValue(sums[line].exact + exact, sums[line].amount + amount, sums[line].tax + tax)

    for decoded in records.segments():
        for opening in decoded.tables.openings.to_pylist():
            if opening["part"] >= 0:
                line_of_part[opening["part"]] = opening["line"]
                exact = Fraction(int.from_bytes(opening["exact"], "little", signed=True), AMOUNT_UNIT)
                add(opening["line"], exact, opening["amount"], opening["tax"])
        begin, end = decoded.posting_ranges
        kinds = decoded.column("kind").to_pylist()
        for position, kind in enumerate(kinds):
            for at in range(int(begin[position]), int(end[position])) if kind != RecordKind.RERATE else ():
                made = decoded.postings
                add(
                    line_of_part[int(made.part[at])],
                    amount_of(made.exact[at]),
                    int(made.amount[at]),
                    int(made.tax[at]),
                )
    return {line_key(state, line): value for line, value in sums.items()}


def view_of(state: State) -> StateView:
    """All that a ledger knows but the time of its last batch, with names in the place of the pools' numbers."""
    definitions, prices = state.pools.definitions, state.pools.prices
    charges = list(state.pools.charges.index)
    periods, accounts = state.periods.rows(), state.accounts.rows()
    parts, lines = state.parts.rows(), state.lines.rows()
    return {
        "sequence": state.sequence,
        "version": state.current.version,
        "periods": [
            (definitions[definition], *rest)
            for definition, *rest in zip(*(column.tolist() for column in periods), strict=True)
        ],
        "newest periods": {
            charges[charge]: int(period)
            for charge, period in enumerate(state.newest_period[: len(charges)])
            if period >= 0
        },
        "whole periods": state.whole,
        "stretches": state.continues,
        "splits": {
            charges[charge]: [(each.version, each.from_us, definitions[each.definition]) for each in found]
            for charge, found in state.splits.items()
        },
        "slots": state.cell_slots.rows().account.tolist(),
        "accounts": [
            (period, cell, prices[price], *rest)
            for period, cell, price, *rest in zip(*(column.tolist() for column in accounts), strict=True)
        ],
        "parts": list(zip(*(column.tolist() for column in parts), strict=True)),
        "lines": [
            (line_key(state, line), lines.exact[line].tolist(), lines.amount[line], lines.tax[line])
            for line in range(len(state.lines))
        ],
        "origins": [
            (definitions[origin.definition], origin.cell, origin.period_start_us, origin.period_end_us, origin.version)
            for origin in state.line_origins
        ],
        "identities": list(state.line_by_identity.values()),
        "openings": [_opening(opening, charges) for opening in state.openings],
        "retirements": [(before, _opening(opening, charges)) for before, opening in state.retirements],
        "lines of customers": {name: lines for name, lines in state.lines_of_customer.items() if lines},
        "parts of lines": state.parts_of_line,
        "net lines": [
            (*dataclasses.astuple(each), *state.net.value(number)) for number, each in enumerate(state.net.lines)
        ],
        "reference count": state.references.count,
        "references": {
            (int(low), int(high)): int(location)
            for (low, high), location in zip(state.references.keys, state.references.payloads, strict=True)
            if location
        },
    }


def _opening(opening: Any, charges: list[str]) -> tuple[Any, ...]:
    return charges[opening.charge], *(getattr(opening, name) for name in opening.__slots__ if name != "charge")


def fold_view(journal: Journal, *, from_snapshot: bool) -> StateView:
    """What a fresh fold of a journal knows."""
    return view_of(open_book(journal, from_snapshot=from_snapshot).state)


def difference(mine: StateView, theirs: StateView) -> list[str]:
    """Where two views differ, shortly."""
    found = []
    for name in mine:
        if mine[name] != theirs[name]:
            found.append(f"{name}: {_first_difference(mine[name], theirs[name])}")
    return found


def _first_difference(mine: Any, theirs: Any) -> str:
    if isinstance(mine, list) and isinstance(theirs, list):
        for index, (one, other) in enumerate(zip(mine, theirs, strict=False)):
            if one != other:
                return f"[{index}] {one} != {other}"
        return f"{len(mine)} of them, {len(theirs)} of them"
    if isinstance(mine, dict) and isinstance(theirs, dict):
        keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
        return f"[{keys[0]}] {mine.get(keys[0])} != {theirs.get(keys[0])}"
    return f"{mine} != {theirs}"
