"""A piece of a simulation: its product contracts under every catalogue, one after the other.

Rows are added up once, and again only under a catalogue that lays its slots out otherwise. Pieces share nothing that
changes, so that any number of threads may work on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.simulation.evaluation import Lines, empty_lines, price_slots
from tallybook_engine.simulation.grouping import Layout, accumulate
from tallybook_engine.simulation.plan import Piece, SimulationPlan, Terms
from tallybook_engine.simulation.sums import place_lines


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


def run_piece(plan: SimulationPlan, piece: Piece, go_on: GoOn = unasked) -> list[PieceLines]:
    """The lines of a piece under each catalogue, in their order. `go_on` is called before each, and what it raises
    ends the work. Raises DoesNotFitError.
    """
    found: list[PieceLines] = []
    before: Terms | None = None
    quantity, seen = np.empty((0, 2), dtype=np.uint64), np.empty(0, dtype=np.bool_)
    unfit = 0
    prices, taxes = plan.registry.prices.tables, plan.registry.taxes.tables
    for number, terms in enumerate(plan.terms):
        go_on()
        layout = terms.layout
        if before is None or not _same_slots(before, terms, piece):
            quantity, seen, unfit = slots_of(plan, terms, piece)
        before = terms
        line_start = terms.pricing.line_start
        lines = empty_lines(int(line_start[piece.end] - line_start[piece.first]))
        unpriced = price_slots(
            piece.first,
            piece.end,
            layout,
            plan.calendars.parts,
            terms.pricing,
            prices,
            taxes,
            quantity,
            seen,
            lines,
        )
        if unpriced >= 0:
            raise DoesNotFitError(number, plan.subjects[unpriced])
        found.append(_opened(plan, terms, piece, lines, unfit, found[-1] if found else None))
    return found


def slots_of(plan: SimulationPlan, terms: Terms, piece: Piece) -> tuple[NDArray[np.uint64], NDArray[np.bool_], int]:
    """([slots, 2] what each slot of a piece comes to, scale 12; [slots] whether any row falls into it; rows that no
    rule of their matrix fits)."""
    layout = terms.layout
    slot_count = int(layout.slot_start[piece.end] - layout.slot_start[piece.first])
    quantity, seen = np.empty((slot_count, 2), dtype=np.uint64), np.empty(slot_count, dtype=np.bool_)
    unfit = accumulate(
        piece.first,
        piece.end,
        plan.grouped.start,
        layout,
        plan.calendars.parts,
        plan.cells,
        terms.times_us,
        plan.quantities,
        plan.properties,
        quantity,
        seen,
    )
    return quantity, seen, unfit


def _same_slots(one: Terms, other: Terms, piece: Piece) -> bool:
    """Whether rows fall into the same slots under two catalogues."""
    stretch = slice(piece.first, piece.end)

    def same(name: str) -> bool:
        return np.array_equal(getattr(one.layout, name)[stretch], getattr(other.layout, name)[stretch])

    # Equal windows have equal slots: as many parts, times the cells of the same sets.
    columns = [name for name in Layout._fields if name not in ("slot_start", "start_us")]
    return one.times_us is other.times_us and all(map(same, columns))


def _opened(
    plan: SimulationPlan, terms: Terms, piece: Piece, lines: Lines, unfit: int, before: PieceLines | None
) -> PieceLines:
    billing_of = plan.calendars.parts.billing
    first_billing = billing_of[terms.layout.part_start[piece.first : piece.end]]
    billing_count = billing_of[terms.layout.part_end[piece.first : piece.end] - 1] + 1 - first_billing
    opened = np.flatnonzero(lines.opened)
    subject, cell, billing = (np.empty(len(opened), dtype=np.int32) for _ in range(3))
    place_lines(
        piece.first,
        piece.end,
        terms.pricing.line_start,
        first_billing,
        billing_count,
        lines.opened,
        subject,
        cell,
        billing,
    )
    return PieceLines(
        _same(subject, None if before is None else before.subject),
        _same(cell, None if before is None else before.cell),
        _same(billing, None if before is None else before.billing),
        # Often all of them are open. Rows of several limbs are taken, for an index gathers them one by one.
        lines if len(opened) == len(lines.opened) else Lines._make(np.take(each, opened, axis=0) for each in lines),
        unfit,
    )


def _same(column: NDArray[np.int32], before: NDArray[np.int32] | None) -> NDArray[np.int32]:
    """The column; where it was the same before, that one, so that what is made of it need not be made again."""
    return before if before is not None and np.array_equal(column, before) else column
