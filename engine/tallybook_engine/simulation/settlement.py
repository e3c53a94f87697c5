"""What contract trees come to in a simulation: their charge lines, settled level by level as invoices are.

Only trees are settled that have terms, or whose plans cost something without usage; what the others come to is the sum
of their lines. A tree with usage is settled from its billing period that holds its first usage, or that its first
charge line is billed in, to the one that its last charge line is billed in; trees without any, and further periods,
where a stretch of time is asked to be billed whole.
What is kept of lines until then are a few numbers each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.compile import Definition, cells_of, definition_of
from tallybook_engine.catalog.model import Catalog, Contract, Tax
from tallybook_engine.contract.invoice import Charge, Invoice, InvoiceLine, LineKind
from tallybook_engine.contract.settle import settle, settled_stretch
from tallybook_engine.contract.tree import Tree, tree_of
from tallybook_engine.contract.unopened import UnopenedLine, costs_at_nothing, unopened_lines
from tallybook_engine.simulation.plan import SimulationPlan
from tallybook_engine.simulation.run import PieceLines


@dataclass(frozen=True, slots=True)
class BilledStretch:
    """A stretch of time that is billed whole, usage or not."""

    start_us: int
    end_us: int
    customers: Set[str] | None = None
    """Ids of whose trees; None: of all."""


@dataclass(frozen=True)
class SettledTree:
    """What a tree comes to beside the charge lines of its usage."""

    invoices: Sequence[Invoice] = ()
    """In them, `InvoiceLine.charge` counts `unopened`; a charge line of usage has -1, as what is no charge line."""
    unopened: Sequence[UnopenedLine] = ()


def is_beside_usage(line: InvoiceLine) -> bool:
    """Whether a line of a settled tree is none of the charge lines of its usage."""
    return line.kind is not LineKind.CHARGE or line.charge >= 0


@dataclass(frozen=True, slots=True)
class _Kept:
    """Charge lines of trees that are settled, as columns."""

    tree: NDArray[np.int64]
    subject: NDArray[np.int32]
    cell: NDArray[np.int32]
    billing: NDArray[np.int32]
    amount: NDArray[np.int64]
    tax: NDArray[np.int64]


@dataclass
class _Settled:
    """What is settled under one catalogue."""

    dear: Set[str]
    """Ids of the plans that cost something without usage."""
    taxes: dict[str, Tax]
    """By country code."""
    roots: dict[str, int] = field(default_factory=dict)
    """Id of each root contract that is settled -> its number."""
    tree_of_subject: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    kept: list[_Kept] = field(default_factory=list)


class Settlement:
    """The trees of a simulation that are settled, under each catalogue. Not for several threads at once."""

    def __init__(self, plan: SimulationPlan, billed: BilledStretch | None = None) -> None:
        self._plan = plan
        self._billed = billed
        self._settled: list[_Settled] = []
        for terms in plan.terms:
            catalog, with_terms = terms.catalog, terms.table.with_terms
            settled = _Settled(_dear(catalog), {each.country_code: each for each in catalog.taxes.values()})
            looked_at: dict[str, bool] = {}
            found = np.full(len(plan.subjects), -1, dtype=np.int64)
            for subject, row in enumerate(terms.row.tolist()) if with_terms or settled.dear else ():
                root = terms.table.paths[row][0]
                if root not in looked_at:
                    looked_at[root] = root in with_terms or _has_dear(catalog.contracts[root], settled.dear)
                if looked_at[root]:
                    found[subject] = settled.roots.setdefault(root, len(settled.roots))
            for root, contract in catalog.contracts.items():
                is_asked = billed is not None and (billed.customers is None or contract.customer in billed.customers)
                if is_asked and (root in with_terms or _has_dear(contract, settled.dear)):
                    settled.roots.setdefault(root, len(settled.roots))
            settled.tree_of_subject = found
            self._settled.append(settled)

    def payers(self) -> Iterable[tuple[str, str]]:
        """(customer id, currency) of everyone who has a tree that is settled under some catalogue."""
        found: dict[tuple[str, str], None] = {}
        for terms, settled in zip(self._plan.terms, self._settled, strict=True):
            for root in settled.roots:
                contract = terms.catalog.contracts[root]
                currency = tree_of(terms.catalog, contract).currency
                if currency:
                    found[contract.customer, currency] = None
        return found

    def add(self, pieces: Sequence[PieceLines]) -> None:
        """Keeps a piece's lines of trees that are settled, under every catalogue."""
        for settled, found in zip(self._settled, pieces, strict=True):
            if not settled.roots:
                continue
            tree = settled.tree_of_subject[found.subject]
            wanted = np.flatnonzero(tree >= 0)
            settled.kept.append(
                _Kept(
                    tree[wanted],
                    found.subject[wanted],
                    found.cell[wanted],
                    found.billing[wanted],
                    found.lines.amount[wanted],
                    found.lines.tax[wanted],
                )
            )

    def trees(self, number: int) -> Iterator[SettledTree]:
        """Each tree under a catalogue, settled, once all pieces are there.

        Raises as `settle` does, as the tree comes.
        """
        settled, terms = self._settled[number], self._plan.terms[number]
        roots = list(settled.roots)
        if not roots:
            return
        columns = [
            np.concatenate([np.empty(0, dtype=np.int64), *(getattr(each, name) for each in settled.kept)])
            for name in _Kept.__slots__
        ]
        order = np.argsort(columns[0], kind="stable")
        tree, subject, cell, billing, amount, tax = (column[order].astype(np.int64) for column in columns)
        bounds = np.searchsorted(tree, np.arange(len(roots) + 1)).tolist()
        never = np.iinfo(np.int64).max
        first_us = np.full(len(roots), never)
        of_subject = settled.tree_of_subject
        has_usage = np.flatnonzero(of_subject >= 0)
        np.minimum.at(first_us, of_subject[has_usage], terms.judged.first_us[has_usage])
        paths, calendars = terms.contract_paths(), self._plan.calendars
        for place, root in enumerate(roots):
            lines = slice(bounds[place], bounds[place + 1])
            made = tree_of(terms.catalog, terms.catalog.contracts[root])
            charges, places = [], set()
            for of, in_cell, start_us, end_us, priced, taxed in zip(
                subject[lines].tolist(),
                cell[lines].tolist(),
                calendars.billing_start_us[billing[lines]].tolist(),
                calendars.billing_end_us[billing[lines]].tolist(),
                amount[lines].tolist(),
                tax[lines].tolist(),
                strict=True,
            ):
                charges.append(Charge(paths[of], start_us, end_us, made.currency, priced, taxed, made.tax))
                places.add((paths[of][-1], in_cell, start_us, end_us))
            # What is due at quantity 0 may be of a period before the first usage.
            start_us = min([int(first_us[place]), *(each.end_us - 1 for each in charges)])
            end_us = max((each.end_us for each in charges), default=start_us + 1 if start_us != never else -never)
            if self._billed is not None:
                start_us, end_us = min(start_us, self._billed.start_us), max(end_us, self._billed.end_us)
            if start_us < end_us and made.currency:
                yield self._settle(settled, terms.catalog, made, charges, places, start_us, end_us)
            else:
                yield SettledTree()

    def _settle(
        self,
        settled: _Settled,
        catalog: Catalog,
        tree: Tree,
        charges: list[Charge],
        places: set[tuple[str, int, int, int]],
        start_us: int,
        end_us: int,
    ) -> SettledTree:
        unopened: list[UnopenedLine] = []
        stretch = settled_stretch(tree, start_us, end_us)
        for definition in _definitions(settled, catalog, tree.root) if settled.dear else ():

            def is_open(cell: int, start_us: int, end_us: int, definition: Definition = definition) -> bool:
                return (definition.product_contract_id, cell, start_us, end_us) in places

            unopened += unopened_lines(definition, *stretch, is_open)
        all_of_them = charges + [
            Charge(
                each.definition.contract_path,
                each.start_us,
                each.end_us,
                tree.currency,
                each.amount,
                each.tax_amount,
                each.definition.tax,
            )
            for each in unopened
        ]
        counted = [-1] * len(charges) + list(range(len(unopened)))
        invoices = [each.with_charges_at(counted) for each in settle(tree, all_of_them, start_us, end_us)]
        return SettledTree(invoices, unopened)

    def roots(self, number: int) -> Sequence[str]:
        """Ids of the root contracts whose trees are settled under a catalogue, in the order of `trees`."""
        return list(self._settled[number].roots)


def _dear(catalog: Catalog) -> Set[str]:
    return {
        name for name, plan in catalog.plans.items() if any(costs_at_nothing(each.price) for each in cells_of(plan))
    }


def _has_dear(root: Contract, dear: Set[str]) -> bool:
    if not dear:
        return False
    return any(each.plan in dear for path in root.levels() for each in path[-1].product_contracts)


def _definitions(settled: _Settled, catalog: Catalog, root: Contract) -> Iterator[Definition]:
    """Those of a tree whose plans cost something without usage."""
    for path in root.levels():
        for each in path[-1].product_contracts:
            if each.plan in settled.dear:
                yield definition_of(catalog, settled.taxes, path, each)
