"""The contract trees of a simulation, settled one by one as invoices are: what settling them all at once must equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallybook_engine.catalog.compile import cells_of, definition_of
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.contract.invoice import LINE_KINDS, Charge, Invoice, LineKind
from tallybook_engine.contract.root_period import root_period
from tallybook_engine.contract.settle import settle, settled_stretch
from tallybook_engine.contract.tables import NONE
from tallybook_engine.contract.tree import Tree, tree_of
from tallybook_engine.contract.unopened import UnopenedLine, costs_at_nothing, unopened_lines
from tallybook_engine.simulation.plan import SimulationPlan
from tallybook_engine.simulation.run import PieceLines
from tallybook_engine.simulation.settlement import BilledStretch, Settlement

Line = tuple[str, str, tuple[str, ...], str, int, int, int, int]
"""(root contract, kind, contract path, id, start, end, amount, tax)."""


def invoices_of(
    plan: SimulationPlan, pieces: Sequence[Sequence[PieceLines]], number: int, billed: BilledStretch | None = None
) -> list[Invoice]:
    """The invoices under a catalogue of all trees with terms, or with plans that cost something without usage: from
    their first usage or charge line to their last charge line, and all through what is billed whole.

    Of charge lines, those that nothing opened have a number (`InvoiceLine.charge`), and those of usage have none.
    """
    terms = plan.terms[number]
    catalog = terms.catalog
    used = [terms.table.paths[row][0] for row in terms.row.tolist()]
    asked = (
        [] if billed is None else [root.id for root in catalog.contracts.values() if _is_asked(root.customer, billed)]
    )
    found: list[Invoice] = []
    for root in dict.fromkeys(used + asked):
        tree = tree_of(catalog, catalog.contracts[root])
        charges = [
            (cell, charge)
            for lines in (piece[number] for piece in pieces)
            for cell, charge in _of(plan, number, lines, tree)
        ]
        firsts = [
            first_us
            for first_us, path in zip(terms.judged.first_us.tolist(), terms.contract_paths(), strict=True)
            if path[0] == root
        ]
        starts = [*firsts, *(each.end_us - 1 for _, each in charges)]
        places = [root_period(tree, each.contract_path, each.end_us - 1) for _, each in charges]
        ends = [*(each + 1 for each in sorted(starts)[:1]), *(place[1] for place in places if place)]
        if billed is not None and _is_asked(tree.root.customer, billed):
            starts.append(billed.start_us)
            ends.append(billed.end_us)
        stretch = min(starts), max(ends)
        opened = {(each.contract_path[-1], cell, each.start_us, each.end_us) for cell, each in charges}
        unopened = list(_unopened(catalog, tree, *settled_stretch(tree, *stretch), opened))
        if root in terms.table.with_terms or _may_be_due(catalog, tree):
            more = [
                Charge(
                    *(each.definition.contract_path, each.start_us, each.end_us, tree.currency),
                    *(each.amount, each.tax_amount, tree.tax),
                )
                for each in unopened
            ]
            numbers = [-1] * len(charges) + list(range(len(more)))
            invoices = settle(tree, [each for _, each in charges] + more, *stretch)
            found += (each.with_charges_at(numbers) for each in invoices)
    return found


def _is_asked(customer: str, billed: BilledStretch) -> bool:
    return billed.customers is None or customer in billed.customers


def _of(plan: SimulationPlan, number: int, lines: PieceLines, tree: Tree) -> Iterator[tuple[int, Charge]]:
    """(cell, charge line) of a tree's, in a piece."""
    paths, calendars = plan.terms[number].contract_paths(), plan.calendars
    for row, subject in enumerate(lines.subject.tolist()):
        if paths[subject][0] == tree.root.id:
            billing = lines.billing[row]
            yield (
                int(lines.cell[row]),
                Charge(
                    paths[subject],
                    int(calendars.billing_start_us[billing]),
                    int(calendars.billing_end_us[billing]),
                    tree.currency,
                    int(lines.lines.amount[row]),
                    int(lines.lines.tax[row]),
                    tree.tax,
                ),
            )


def _unopened(
    catalog: Catalog, tree: Tree, start_us: int, end_us: int, opened: set[tuple[str, int, int, int]]
) -> Iterator[UnopenedLine]:
    taxes = {each.country_code: each for each in catalog.taxes.values()}
    for path in tree.root.levels():
        for each in path[-1].product_contracts:
            definition = definition_of(catalog, taxes, path, each)
            for line in unopened_lines(definition, start_us, end_us, lambda *_: False):
                if (each.id, line.cell, line.start_us, line.end_us) not in opened:
                    yield line


def _may_be_due(catalog: Catalog, tree: Tree) -> bool:
    """Whether something of a tree may be due without usage."""
    plans = {each.plan for level in tree.levels for each in level.contract.product_contracts}
    return any(costs_at_nothing(cell.price) for name in plans for cell in cells_of(catalog.plans[name]))


def lines_beside(invoices: Sequence[Invoice]) -> list[Line]:
    """What invoices have beside charge lines."""
    return [
        (
            *(invoice.contract_id, line.kind.value, line.contract_path, line.id),
            *(line.start_us, line.end_us, line.amount, line.tax_amount),
        )
        for invoice in invoices
        for line in invoice.lines
        if line.kind is not LineKind.CHARGE
    ]


def lines_of_no_usage(invoices: Sequence[Invoice]) -> list[Line]:
    """The charge lines of invoices that nothing opened."""
    return [
        (
            *(invoice.contract_id, line.kind.value, line.contract_path, ""),
            *(line.start_us, line.end_us, line.amount, line.tax_amount),
        )
        for invoice in invoices
        for line in invoice.lines
        if line.charge >= 0
    ]


def unopened_lines_of(settlement: Settlement, number: int) -> Iterator[Line]:
    """The same of a settlement of all trees at once."""
    for found in settlement.settle(number):
        of = found.unopened
        amounts, taxes = of.amounts()
        columns = (of.tree, of.path, of.line, amounts, taxes)
        for tree, path, line, amount, tax in zip(*(column.tolist() for column in columns), strict=True):
            start_us, end_us = of.lines[line].start_us, of.lines[line].end_us
            yield found.trees.roots[tree].id, "CHARGE", of.paths[path], "", start_us, end_us, amount, tax


def settled_lines(settlement: Settlement, number: int) -> Iterator[Line]:
    """The same of a settlement of all trees at once."""
    for found in settlement.settle(number):
        for at, level, kind, name, *rest in zip(*(column.tolist() for column in found.lines), strict=True):
            of = found.trees.tree(at)
            term = "" if name == NONE else of.term_ids()[name]
            yield of.root.id, LINE_KINDS[kind].value, of.levels[level].path, term, *rest
