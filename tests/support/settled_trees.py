"""The contract trees of a simulation, settled one by one as invoices are: what settling them all at once must equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallybook_engine.contract.invoice import LINE_KINDS, Charge, Invoice, LineKind
from tallybook_engine.contract.settle import settle
from tallybook_engine.contract.tables import NONE
from tallybook_engine.contract.tree import tree_of
from tallybook_engine.simulation.plan import SimulationPlan
from tallybook_engine.simulation.run import PieceLines
from tallybook_engine.simulation.settlement import Settlement

Line = tuple[str, str, tuple[str, ...], str, int, int, int, int]
"""(root contract, kind, contract path, id, start, end, amount, tax)."""


def invoices_of(plan: SimulationPlan, pieces: Sequence[Sequence[PieceLines]], number: int) -> list[Invoice]:
    """The invoices of all trees with terms under a catalogue, from their first usage to their last charge line."""
    terms, calendars = plan.terms[number], plan.calendars
    roots = dict.fromkeys(
        root for row in terms.row.tolist() if (root := terms.table.paths[row][0]) in terms.table.with_terms
    )
    found: list[Invoice] = []
    for root in roots:
        tree = tree_of(terms.catalog, terms.catalog.contracts[root])
        mine = [subject for subject, path in enumerate(terms.contract_paths()) if path[0] == root]
        charges = [
            Charge(
                terms.contract_paths()[subject],
                int(calendars.billing_start_us[billing]),
                int(calendars.billing_end_us[billing]),
                tree.currency,
                amount,
                tax,
                tree.tax,
            )
            for lines in (piece[number] for piece in pieces)
            for subject, billing, amount, tax in zip(
                lines.subject.tolist(),
                lines.billing.tolist(),
                lines.lines.amount.tolist(),
                lines.lines.tax.tolist(),
                strict=True,
            )
            if subject in mine
        ]
        first_us = min(int(terms.judged.first_us[subject]) for subject in mine)
        found += settle(tree, charges, first_us, max((each.end_us for each in charges), default=first_us + 1))
    return found


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


def settled_lines(settlement: Settlement, number: int) -> Iterator[Line]:
    """The same of a settlement of all trees at once."""
    for found in settlement.settle(number):
        for tree, level, kind, name, *rest in zip(*(column.tolist() for column in found.lines), strict=True):
            of = found.trees[tree]
            term = "" if name == NONE else of.term_ids()[name]
            yield of.root.id, LINE_KINDS[kind].value, of.levels[level].path, term, *rest
