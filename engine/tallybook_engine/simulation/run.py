"""A piece of a simulation: its product contracts under every catalogue, one after the other.

Rows are added up and lines priced once; under another catalogue, those of the product contracts that have other slots,
or other prices, under it. Pieces share nothing that changes, so that any number of threads may work on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.simulation.evaluation import Lines, price_slots, room_for_lines
from tallybook_engine.simulation.grouping import Slots, accumulate, room_for_slots
from tallybook_engine.simulation.plan import Piece, SimulationPlan, Terms
from tallybook_engine.simulation.sums import PlacedLines, place_lines, room_for_placed


class DoesNotFitError(ArithmeticError):
    """A quantity or an amount of a product contract would leave the limits under a catalogue."""

    def __init__(self, terms_number: int, product_contract_id: str) -> None:
        super().__init__(f'product contract "{product_contract_id}": a quantity or an amount would leave the limits')
        self.terms_number = terms_number
        self.product_contract_id = product_contract_id


@dataclass(frozen=True, slots=True)
class PieceLines:
    """The open charge lines of a piece under one catalogue; n of them, by subject, cell and billing period."""

    subject: NDArray[np.int32]
    cell: NDArray[np.int32]
    """Which cell of the plan, from 0."""
    billing: NDArray[np.int32]
    """Billing period, of the plan's calendars."""
    lines: Lines
    unfit_row_count: int
    """Rows that no rule of their matrix fits: they leave the charge alone."""


@dataclass(frozen=True)
class _Baseline:
    """A piece under the first catalogue."""

    slots: Slots
    lines: PlacedLines
    line_start: NDArray[np.int64]
    """[subjects + 1] where the lines of each begin."""


def run_piece(plan: SimulationPlan, piece: Piece, go_on: GoOn = unasked) -> list[PieceLines]:
    """The lines of a piece under each catalogue, in their order. `go_on` is called before each, and what it raises
    ends the work. Raises DoesNotFitError.
    """
    found: list[PieceLines] = []
    base: _Baseline | None = None
    for number, terms in enumerate(plan.terms):
        go_on()
        if base is None:
            own = np.arange(piece.first, piece.end, dtype=np.int32)
            slots = slots_of(plan, terms, piece)
            unfit = int(slots.unfit.sum())
        else:
            is_same = terms.has_same_lines[piece.first : piece.end]
            own = (np.flatnonzero(~is_same) + piece.first).astype(np.int32)
            if len(own) == 0:
                found.append(found[0])
                continue
            slots = _summed(plan, terms, piece, own, base.slots)
            unfit = int(base.slots.unfit[is_same].sum() + slots.unfit.sum())
        lines = _priced(plan, number, piece, own, slots, base)
        if base is None:
            starts = np.searchsorted(lines.subject, np.arange(piece.first, piece.end + 1))
            base = _Baseline(slots, lines, starts.astype(np.int64))
        before = found[-1] if found else None
        found.append(
            PieceLines(
                _same(lines.subject, None if before is None else before.subject),
                _same(lines.cell, None if before is None else before.cell),
                _same(lines.billing, None if before is None else before.billing),
                lines.lines,
                unfit,
            )
        )
    return found


def slots_of(plan: SimulationPlan, terms: Terms, piece: Piece) -> Slots:
    """What the slots of all subjects of a piece come to."""
    subjects = np.arange(piece.first, piece.end, dtype=np.int32)
    return _summed(plan, terms, piece, subjects, room_for_slots(np.zeros(1, dtype=np.int64)))


def _summed(plan: SimulationPlan, terms: Terms, piece: Piece, subjects: NDArray[np.int32], base: Slots) -> Slots:
    """What the slots of some subjects of a piece come to; `base` are those of all under the baseline, or none."""
    slots = room_for_slots(_starts(terms.layout.slot_start, subjects))
    is_same = terms.has_same_slots[subjects] if len(base.unfit) else np.zeros(len(subjects), dtype=np.bool_)
    accumulate(
        subjects,
        plan.grouped.start,
        terms.layout,
        plan.calendars.parts,
        plan.cells,
        terms.times_us,
        plan.quantities,
        plan.properties,
        np.where(is_same, subjects - piece.first, -1).astype(np.int64),
        base,
        slots,
    )
    return slots


def _priced(
    plan: SimulationPlan,
    number: int,
    piece: Piece,
    own: NDArray[np.int32],
    slots: Slots,
    base: _Baseline | None,
) -> PlacedLines:
    """The open lines of a piece; the subjects that are not in `own` have those of the baseline."""
    terms, parts = plan.terms[number], plan.calendars.parts
    line_start = _starts(terms.pricing.line_start, own)
    opened, lines = np.empty(int(line_start[-1]), dtype=np.bool_), room_for_lines(int(line_start[-1]))
    prices, taxes = plan.registry.prices.tables, plan.registry.taxes.tables
    unpriced = price_slots(own, terms.layout, parts, terms.pricing, prices, taxes, slots, line_start, opened, lines)
    if unpriced >= 0:
        raise DoesNotFitError(number, plan.subjects[unpriced])
    stretch = slice(piece.first, piece.end)
    first_billing = parts.billing[terms.layout.part_start[stretch]]
    billing_count = parts.billing[terms.layout.part_end[stretch] - 1] + 1 - first_billing
    number_of = np.full(piece.end - piece.first, -1, dtype=np.int64)
    number_of[own - piece.first] = np.arange(len(own))
    count = int(np.count_nonzero(opened))
    if base is None:
        base_start, base_lines = np.zeros(len(number_of) + 1, dtype=np.int64), room_for_placed(0)
    else:
        base_start, base_lines = base.line_start, base.lines
        count += int(np.diff(base_start)[number_of < 0].sum())
    placed = room_for_placed(count)
    place_lines(
        piece.first,
        number_of,
        line_start,
        first_billing,
        billing_count,
        opened,
        lines,
        base_start,
        base_lines,
        placed,
    )
    return placed


def _starts(starts: NDArray[np.int64], subjects: NDArray[np.int32]) -> NDArray[np.int64]:
    """[n + 1] where what each of some subjects has begins, behind one another; `starts` are of all subjects."""
    found = np.zeros(len(subjects) + 1, dtype=np.int64)
    np.cumsum(starts[subjects + 1] - starts[subjects], out=found[1:])
    return found


def _same(column: NDArray[np.int32], before: NDArray[np.int32] | None) -> NDArray[np.int32]:
    """The column; where it was the same before, that one, so that what is made of it need not be made again."""
    return before if before is not None and np.array_equal(column, before) else column
