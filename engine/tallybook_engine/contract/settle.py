"""Settling: from the charge lines of a contract tree to the invoices of its root, level by level from the leaves up.

What levels come to, and the lines beside charge lines, are `contract/settling`'s to say; here they become invoices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import numpy as np

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.catalog.model import Tax
from tallybook_engine.contract.calendars import charged_stretch, level_periods
from tallybook_engine.contract.compile import history, tax_order
from tallybook_engine.contract.forest import Forest, Planted, line_room
from tallybook_engine.contract.invoice import LINE_KINDS, Charge, Invoice, InvoiceLevel, InvoiceLine, LineKind, TaxTotal
from tallybook_engine.contract.tables import NEVER, NONE, LineColumns, MoveColumns
from tallybook_engine.contract.tree import Tree
from tallybook_engine.decimals import DoesNotFit
from tallybook_engine.kernels.arrays import typed

_EPOCH = date(1970, 1, 1)


def settled_stretch(tree: Tree, first_us: int, until_us: int, go_on: GoOn = unasked) -> tuple[int, int]:
    """[start, end): the billing periods whose charge lines `settle` looks at (`charged_stretch`)."""
    return charged_stretch(level_periods(tree, history(tree, first_us), until_us, go_on))


def settle(tree: Tree, charges: Sequence[Charge], first_us: int, until_us: int, go_on: GoOn = unasked) -> list[Invoice]:
    """The invoices of the root's billing periods that touch [first_us, until_us), first to last.

    `charges` are the lines of the tree, in any order; those of other periods are left alone. They are in the tree's
    currency. Where the tree has credits, they are those from its start on, because earlier periods use them up. Raises
    InvoiceTooLargeError, and DoesNotFit where what a level comes to, a line or a tax is not below 2^63 minor units.
    """
    forest = Forest()
    planted = forest.add(
        tree, first_us, until_us, {each.tax for each in charges}, {each.contract_path for each in charges}, go_on
    )
    settling = _Settling(forest, planted, charges, go_on)
    settling.settle()
    return [each for each in asking(settling.invoices(), go_on) if each.end_us > first_us]


class _Settling:
    """One tree while it is settled."""

    def __init__(self, forest: Forest, planted: Planted, charges: Sequence[Charge], go_on: GoOn) -> None:
        self._forest = forest
        self._planted = planted
        self._tree = planted.tree
        self._charges = charges
        self._go_on = go_on
        levels = [self._tree.level_of(each.contract_path) for each in asking(charges, go_on)]
        self._places = forest.find_places(
            np.array(levels, dtype=np.int32), np.array([each.end_us for each in charges], dtype=np.int64)
        )
        self._own: list[list[InvoiceLine]] = [[] for _ in range(planted.place_end)]
        """By place, its lines."""

    def settle(self) -> None:
        """Settles all places."""
        forest, planted = self._forest, self._planted
        wanted = np.flatnonzero(self._places != NONE).tolist()
        places = self._places.tolist()
        numbers = planted.compiled.tax_numbers
        rows = [
            (
                places[at],
                numbers[self._charges[at].tax],
                forest.item_of(planted, self._charges[at].contract_path, places[at]),
                self._charges[at].amount,
            )
            for at in asking(wanted, self._go_on)
        ]
        made = line_room(planted.compiled.line_count_max)
        first, end = (np.array([place], dtype=np.int32) for place in (planted.place_first, planted.place_end))
        row_start = np.array([0, len(rows)], dtype=np.int64)
        self._go_on()
        failed, _, _ = forest.settle_trees(first, first, end, _moves(rows), row_start, made)
        if failed != NONE:
            raise DoesNotFit("what a level comes to, a line of it or a tax is not below 2^63 minor units")
        self._add_charges(wanted)
        self._add_made(LineColumns._make(column[: made.line_count[0]] for column in made.lines))

    def _add_charges(self, wanted: Sequence[int]) -> None:
        """Adds charge lines, by contract path."""
        ordered = sorted(wanted, key=lambda number: self._charges[number].contract_path)
        for number in asking(ordered, self._go_on):
            charge, place = self._charges[number], int(self._places[number])
            self._own[place].append(
                InvoiceLine(
                    LineKind.CHARGE,
                    charge.contract_path,
                    charge.contract_path[-1],
                    charge.start_us,
                    charge.end_us,
                    charge.amount,
                    charge.tax_amount,
                    charge.tax,
                    self._due_date(place),
                    number,
                )
            )

    def _add_made(self, made: LineColumns) -> None:
        """Adds the other lines, which come in their order."""
        compiled, tables = self._planted.compiled, self._forest.tables
        ids = self._tree.term_ids()
        terms = timedelta(days=self._tree.root.payment_term_days)
        rows = zip(*(column.tolist() for column in made), strict=True)
        for _, place, code, number, tax, amount, tax_amount in asking(rows, self._go_on):
            kind = LINE_KINDS[code]
            start_us, end_us = int(tables.places.start_us[place]), int(tables.places.end_us[place])
            due_date = self._due_date(place)
            if kind is LineKind.FIXED_FEE:
                start_us, end_us = int(tables.fees.start_us[number]), int(tables.fees.end_us[number])
                if tables.fees.issue_day[number] != NEVER:
                    due_date = _EPOCH + timedelta(days=int(tables.fees.issue_day[number])) + terms
            named = {
                LineKind.FIXED_FEE: tables.fees.name,
                LineKind.REVENUE_SHARE: tables.shares.name,
                LineKind.CREDIT: tables.credits.name,
            }
            self._own[place].append(
                InvoiceLine(
                    kind,
                    self._tree.levels[self._level(place)].path,
                    ids[int(named[kind][number])] if kind in named else "",
                    start_us,
                    end_us,
                    amount,
                    tax_amount,
                    compiled.taxes[tax],
                    due_date,
                )
            )

    def _level(self, place: int) -> int:
        return int(self._forest.tables.places.level[place])

    def _due_date(self, place: int) -> date:
        root = int(self._forest.tables.places.root[place]) - self._planted.root_first
        return self._planted.root_periods[root].end_date + timedelta(days=self._tree.root.payment_term_days)

    def invoices(self) -> Iterator[Invoice]:
        """One a period of the root."""
        tree, root = self._tree, self._tree.root
        terms = timedelta(days=root.payment_term_days)
        places, state = self._forest.tables.places, self._forest.state.places
        lines: list[list[InvoiceLine]] = [[] for _ in self._planted.root_periods]
        levels: list[list[InvoiceLevel]] = [[] for _ in self._planted.root_periods]
        come_to_something = {NONE}
        for place in asking(range(self._planted.place_first, self._planted.place_end), self._go_on):
            at = int(places.root[place]) - self._planted.root_first
            lines[at] += self._own[place]
            if self._own[place] or place in come_to_something:
                come_to_something.add(int(places.parent[place]))
                columns = places.start_us, places.end_us, state.subtotal, state.total
                levels[at].append(
                    InvoiceLevel(tree.levels[self._level(place)].path, *(int(column[place]) for column in columns))
                )
        for at, dates in enumerate(self._planted.root_periods):
            yield Invoice(
                root.id,
                root.customer,
                tree.currency,
                dates.start_date,
                dates.end_date,
                dates.start_us,
                dates.end_us,
                dates.end_date,
                dates.end_date + terms,
                tuple(lines[at]),
                tuple(levels[at]),
                _tax_totals(lines[at]),
            )


def _moves(rows: Sequence[tuple[int, int, int, int]]) -> MoveColumns:
    return typed(MoveColumns, *np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def _tax_totals(lines: Sequence[InvoiceLine]) -> tuple[TaxTotal, ...]:
    bases: dict[Tax | None, int] = {}
    taxes: dict[Tax | None, int] = {}
    for line in lines:
        bases[line.tax] = bases.get(line.tax, 0) + line.amount_excluding_tax
        taxes[line.tax] = taxes.get(line.tax, 0) + line.tax_amount
    return tuple(TaxTotal(tax, bases[tax], taxes[tax]) for tax in sorted(bases, key=tax_order))
