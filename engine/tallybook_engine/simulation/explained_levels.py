"""The levels above a charge line of a simulation, explained: what each comes to, and by which of its terms.

The tree is settled as invoices are (`contract/settle`), from its charge lines under one catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tallybook_engine.catalog.model import Contract, FeeTiming
from tallybook_engine.contract.invoice import Charge, Invoice, InvoiceLevel, InvoiceLine, LineKind
from tallybook_engine.contract.settle import settle
from tallybook_engine.contract.tree import Tree, tree_of
from tallybook_engine.simulation.plan import SimulationPlan, Terms
from tallybook_engine.simulation.run import PieceLines


@dataclass(frozen=True, slots=True)
class ExplainedLevel:
    """A level above a charge line, in the billing period that bills the line."""

    level: InvoiceLevel
    lines: tuple[InvoiceLine, ...]
    """What it has beside charge lines and what lies below it: fees and shares, then its modifiers in their order."""


def explain_levels(
    plan: SimulationPlan, terms: Terms, pieces: Sequence[PieceLines], subject: int, end_us: int
) -> list[ExplainedLevel]:
    """The levels above the line of a subject whose billing period ends at `end_us`, from its contract up to the root.

    `pieces` are all lines under these terms. Raises as `settle` does.
    """
    paths = terms.contract_paths()
    path = paths[subject][:-1]
    tree = tree_of(terms.catalog, terms.catalog.contracts[path[0]])
    members = [number for number, each in enumerate(paths) if each[0] == path[0]]
    charges = [each for found in pieces for each in _charges(plan, found, members, paths, tree)]
    first_us = int(terms.judged.first_us[members].min())
    invoices = settle(tree, charges, first_us, max(each.end_us for each in charges))
    levels = []
    instant_us = end_us - 1
    for depth in range(len(path), 0, -1):
        level = next(each for each in _levels(invoices, path[:depth]) if each.start_us <= instant_us < each.end_us)
        contract = tree.levels[tree.numbers[path[depth - 1]]].contract
        levels.append(ExplainedLevel(level, tuple(_lines(invoices, level, contract))))
        # A period belongs to that of the level above which holds its last instant.
        instant_us = level.end_us - 1
    return levels


def _charges(
    plan: SimulationPlan, found: PieceLines, members: Sequence[int], paths: Sequence[tuple[str, ...]], tree: Tree
) -> Iterator[Charge]:
    """The charge lines of a tree in a piece."""
    starts_us, ends_us = plan.calendars.billing_start_us, plan.calendars.billing_end_us
    for row in np.flatnonzero(np.isin(found.subject, members)).tolist():
        billing = int(found.billing[row])
        yield Charge(
            paths[int(found.subject[row])],
            int(starts_us[billing]),
            int(ends_us[billing]),
            tree.currency,
            int(found.lines.amount[row]),
            int(found.lines.tax[row]),
            tree.tax,
        )


def _levels(invoices: Sequence[Invoice], path: tuple[str, ...]) -> Iterator[InvoiceLevel]:
    return (level for invoice in invoices for level in invoice.levels if level.contract_path == path)


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
