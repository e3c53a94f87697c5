"""The contract tree of a charge line of a simulation, explained: what each level above the line comes to, and by which
of its terms.

The tree is settled as invoices are (`contract/settle`), from its charge lines under one catalogue, those that nothing
opened too. Tests hold it and `settlement`, which settles all trees at once, together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.catalog.compile import definition_of
from tallybook_engine.catalog.model import Contract, FeeTiming
from tallybook_engine.contract.invoice import Charge, Invoice, InvoiceLevel, InvoiceLine, LineKind
from tallybook_engine.contract.settle import settle, settled_stretch
from tallybook_engine.contract.tree import Tree, tree_of
from tallybook_engine.contract.unopened import UnopenedLine, unopened_lines
from tallybook_engine.simulation.grouping import NEVER_US
from tallybook_engine.simulation.plan import SimulationPlan, Terms
from tallybook_engine.simulation.run import PieceLines
from tallybook_engine.simulation.settlement import BilledStretch, billed_until


@dataclass(frozen=True, slots=True)
class ExplainedLevel:
    """A level above a charge line, in the billing period that bills the line."""

    level: InvoiceLevel
    lines: tuple[InvoiceLine, ...]
    """What it has beside charge lines and what lies below it: fees and shares, then its modifiers in their order."""


@dataclass(frozen=True)
class ExplainedTree:
    """A contract tree of a simulation."""

    tree: Tree
    invoices: Sequence[Invoice]
    """Of its root's billing periods that the simulation bills."""
    unopened: Sequence[UnopenedLine]
    """The charge lines in them that nothing opened."""

    def levels(self, contract_path: Sequence[str], end_us: int) -> list[ExplainedLevel]:
        """The levels above a charge line whose billing period ends at `end_us`, from its contract up to the root."""
        levels = []
        instant_us = end_us - 1
        for depth in range(len(contract_path) - 1, 0, -1):
            path = tuple(contract_path[:depth])
            level = _holding(_levels(self.invoices, path), instant_us)
            contract = self.tree.levels[self.tree.numbers[path[-1]]].contract
            levels.append(ExplainedLevel(level, tuple(_lines(self.invoices, level, contract))))
            # A period belongs to that of the level above which holds its last instant.
            instant_us = level.end_us - 1
        return levels


def explain_tree(
    plan: SimulationPlan,
    terms: Terms,
    pieces: Sequence[PieceLines],
    root_id: str,
    billed: BilledStretch | None,
    go_on: GoOn = unasked,
) -> ExplainedTree:
    """A root contract's tree. `pieces` are all lines under these terms, `billed` is billed whole where it is asked for
    the tree's customer. Raises as `settle` does.
    """
    tree = tree_of(terms.catalog, terms.catalog.contracts[root_id])
    paths = terms.contract_paths()
    members = [number for number, each in enumerate(paths) if each[0] == root_id]
    charges, opened = [], set()
    for found in pieces:
        for subject, cell, charge in asking(_charges(plan, found, members, paths, tree), go_on):
            charges.append(charge)
            opened.add((paths[subject][-1], cell, charge.start_us, charge.end_us))
    first_us = min([NEVER_US, *terms.judged.first_us[members].tolist(), *(each.end_us - 1 for each in charges)])
    ends_us: dict[tuple[str, ...], int] = {}
    for each in charges:
        ends_us[each.contract_path] = max(each.end_us, ends_us.get(each.contract_path, each.end_us))
    until_us = max(
        [
            -NEVER_US if first_us == NEVER_US else first_us + 1,
            *(billed_until(tree, path, end_us) for path, end_us in ends_us.items()),
        ]
    )
    if billed is not None and (billed.customers is None or tree.root.customer in billed.customers):
        first_us, until_us = min(first_us, billed.start_us), max(until_us, billed.end_us)
    if first_us >= until_us:
        return ExplainedTree(tree, (), ())
    due = _unopened(terms, tree, opened, settled_stretch(tree, first_us, until_us, go_on), go_on)
    invoices = settle(tree, charges + [_as_charge(each) for each in due], first_us, until_us, go_on)
    billed_numbers = {line.charge for invoice in invoices for line in invoice.lines}
    return ExplainedTree(
        tree, invoices, [each for number, each in enumerate(due, len(charges)) if number in billed_numbers]
    )


def _charges(
    plan: SimulationPlan, found: PieceLines, members: Sequence[int], paths: Sequence[tuple[str, ...]], tree: Tree
) -> Iterator[tuple[int, int, Charge]]:
    """Subject, cell and charge line, of those of a tree in a piece."""
    starts_us, ends_us = plan.calendars.billing_start_us, plan.calendars.billing_end_us
    for row in np.flatnonzero(np.isin(found.subject, members)).tolist():
        subject, billing = int(found.subject[row]), int(found.billing[row])
        charge = Charge(
            paths[subject],
            int(starts_us[billing]),
            int(ends_us[billing]),
            tree.currency,
            int(found.lines.amount[row]),
            int(found.lines.tax[row]),
            tree.tax,
        )
        yield subject, int(found.cell[row]), charge


def _unopened(
    terms: Terms, tree: Tree, opened: set[tuple[str, int, int, int]], stretch: tuple[int, int], go_on: GoOn
) -> list[UnopenedLine]:
    taxes = {each.country_code: each for each in terms.catalog.taxes.values()}
    found: list[UnopenedLine] = []
    for path in asking(tree.root.levels(), go_on):
        for each in path[-1].product_contracts:

            def is_open(cell: int, start_us: int, end_us: int, name: str = each.id) -> bool:
                return (name, cell, start_us, end_us) in opened

            found += unopened_lines(definition_of(terms.catalog, taxes, path, each), *stretch, is_open, go_on)
    return found


def _as_charge(line: UnopenedLine) -> Charge:
    of = line.definition
    return Charge(of.contract_path, line.start_us, line.end_us, of.currency, line.amount, line.tax_amount, of.tax)


def _levels(invoices: Sequence[Invoice], path: tuple[str, ...]) -> Iterator[InvoiceLevel]:
    return (level for invoice in invoices for level in invoice.levels if level.contract_path == path)


def _holding(levels: Iterable[InvoiceLevel], instant_us: int) -> InvoiceLevel:
    """The billing period of a level that holds an instant; the last one holds what lies behind its end too, where a
    charge line reaches over the end of its contract (`contract/holding`).
    """
    begun = [each for each in levels if each.start_us <= instant_us]
    return max(begun, key=lambda each: each.start_us)


def _lines(invoices: Sequence[Invoice], level: InvoiceLevel, contract: Contract) -> Iterator[InvoiceLine]:
    """The lines of a level's billing period that are no charge lines."""
    from_start = {each.id for each in contract.fixed_fees if each.once or each.timing is FeeTiming.IN_ADVANCE}
    for invoice in invoices:
        for line in invoice.lines:
            if line.contract_path == level.contract_path and line.kind is not LineKind.CHARGE:
                in_advance = line.kind is LineKind.FIXED_FEE and line.id in from_start
                billed_us = line.start_us if in_advance else line.end_us - 1
                if level.start_us <= billed_us < level.end_us:
                    yield line
