"""What contract trees come to in a simulation: their charge lines, settled level by level as invoices are.

Only trees that have terms are settled; what the others come to is the sum of their lines. A tree is settled from its
billing period that holds its first usage to the one that its last charge line is billed in. What is kept of lines until
then are a few numbers each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.contract.invoice import Charge, Invoice
from tallybook_engine.contract.settle import settle
from tallybook_engine.contract.tree import Tree, tree_of
from tallybook_engine.simulation.plan import SimulationPlan
from tallybook_engine.simulation.run import PieceLines


@dataclass(frozen=True, slots=True)
class _Kept:
    """Charge lines of trees that are settled, as columns."""

    tree: NDArray[np.int64]
    subject: NDArray[np.int32]
    billing: NDArray[np.int32]
    amount: NDArray[np.int64]
    tax: NDArray[np.int64]


class Settlement:
    """The trees of a simulation that are settled, under each catalogue. Not for several threads at once."""

    def __init__(self, plan: SimulationPlan, go_on: GoOn = unasked) -> None:
        """`go_on` is asked before each catalogue."""
        self._plan = plan
        self._roots: list[list[str]] = []
        """By catalogue, the ids of the root contracts that are settled."""
        self._tree_of_subject: list[NDArray[np.int64]] = []
        self._kept: list[list[_Kept]] = [[] for _ in plan.terms]
        for terms in plan.terms:
            go_on()
            numbers: dict[str, int] = {}
            found = np.full(len(plan.subjects), -1, dtype=np.int64)
            with_terms, paths = terms.table.with_terms, terms.table.paths
            for subject, row in enumerate(terms.row.tolist()) if with_terms else ():
                root = paths[row][0]
                if root in with_terms:
                    found[subject] = numbers.setdefault(root, len(numbers))
            self._roots.append(list(numbers))
            self._tree_of_subject.append(found)

    def add(self, pieces: Sequence[PieceLines]) -> None:
        """Keeps a piece's lines of trees that are settled, under every catalogue."""
        for number, found in enumerate(pieces):
            if not self._roots[number]:
                continue
            tree = self._tree_of_subject[number][found.subject]
            wanted = np.flatnonzero(tree >= 0)
            self._kept[number].append(
                _Kept(
                    tree[wanted],
                    found.subject[wanted],
                    found.billing[wanted],
                    found.lines.amount[wanted],
                    found.lines.tax[wanted],
                )
            )

    def invoices(self, number: int) -> Iterator[list[Invoice]]:
        """The invoices of each tree under a catalogue, once all pieces are there.

        Raises as `settle` does, as the tree comes.
        """
        roots, terms = self._roots[number], self._plan.terms[number]
        if not roots:
            return
        kept = self._kept[number]
        columns = [np.concatenate([getattr(each, name) for each in kept]) for name in _Kept.__slots__]
        order = np.argsort(columns[0], kind="stable")
        tree, subject, billing, amount, tax = (column[order] for column in columns)
        bounds = np.searchsorted(tree, np.arange(len(roots) + 1)).tolist()
        first_us = np.full(len(roots), np.iinfo(np.int64).max)
        of_subject = self._tree_of_subject[number]
        settled = np.flatnonzero(of_subject >= 0)
        np.minimum.at(first_us, of_subject[settled], terms.judged.first_us[settled])
        paths, calendars = terms.contract_paths(), self._plan.calendars
        for place, root in enumerate(roots):
            lines = slice(bounds[place], bounds[place + 1])
            made = tree_of(terms.catalog, terms.catalog.contracts[root])
            charges = [
                Charge(paths[of], start_us, end_us, made.currency, priced, taxed, made.tax)
                for of, start_us, end_us, priced, taxed in zip(
                    subject[lines].tolist(),
                    calendars.billing_start_us[billing[lines]].tolist(),
                    calendars.billing_end_us[billing[lines]].tolist(),
                    amount[lines].tolist(),
                    tax[lines].tolist(),
                    strict=True,
                )
            ]
            yield _settled(made, charges, int(first_us[place]))

    def roots(self, number: int) -> Sequence[str]:
        """Ids of the root contracts whose trees are settled under a catalogue, in the order of their invoices."""
        return self._roots[number]


def _settled(tree: Tree, charges: Sequence[Charge], first_us: int) -> list[Invoice]:
    last_us = max((each.end_us for each in charges), default=first_us + 1)
    return settle(tree, charges, first_us, last_us)
