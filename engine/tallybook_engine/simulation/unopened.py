"""Charge lines that nothing opened (`contract/unopened`), of the trees of a simulation.

Product contracts of one plan, calendar and dates, in trees that lie at one place of the forest, have the same of them:
they are made once, and counted for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking
from tallybook_engine.catalog.compile import Definition, cells_of, definition_of
from tallybook_engine.catalog.model import Catalog, Contract, Plan, Tax
from tallybook_engine.contract.calendars import charged_stretch
from tallybook_engine.contract.unopened import UnopenedLine, costs_at_nothing, unopened_lines
from tallybook_engine.ledger.stage import ranges
from tallybook_engine.simulation.placing import PlacedCharges, PlacedTrees, TreeDoesNotFitError, moves_at
from tallybook_engine.simulation.plan import Terms
from tallybook_engine.simulation.trees import Trees

_LARGEST = 2**63 - 1


class DuePlans:
    """Which plans cost something without usage; each is looked at once, under however many catalogues."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Plan, bool]] = {}
        """By identity of the plan, which is kept alive."""

    def rows(self, terms: Terms) -> NDArray[np.int64]:
        """The product contracts of a catalogue that have such plans, as rows of its table, tree by tree."""
        table, plans = terms.table, terms.catalog.plans
        is_due = np.array([name in plans and self._is_due(plans[name]) for name in table.plans], dtype=np.bool_)
        if not is_due.any():
            return np.empty(0, dtype=np.int64)
        rows = np.fromiter(table.rows.values(), dtype=np.int64, count=len(table.rows))
        return rows[is_due[table.plan[rows]]]

    def _is_due(self, plan: Plan) -> bool:
        if id(plan) not in self._seen:
            self._seen[id(plan)] = plan, any(costs_at_nothing(each.price) for each in cells_of(plan))
        return self._seen[id(plan)][1]


class DueCharges(NamedTuple):
    """Product contracts that cost something without usage, tree by tree."""

    row: NDArray[np.int64]
    """Of the catalogue's table."""
    tree: NDArray[np.int64]
    """Which of the trees that are settled."""


class LineKeys(NamedTuple):
    """What tells charge lines of a catalogue apart."""

    row: NDArray[np.int64]
    """Their product contract's, of the catalogue's table."""
    cell: NDArray[np.int64]
    end_us: NDArray[np.int64]
    """Of the billing period."""


class UnopenedCharges(NamedTuple):
    """Charge lines that nothing opened, tree by tree; n of them."""

    tree: NDArray[np.int32]
    """[n] which tree it is of."""
    path: NDArray[np.int64]
    """[n] which of the paths is its product contract's."""
    line: NDArray[np.int64]
    """[n] which of the lines says what it is worth; that line's own definition is one of those that are alike."""
    paths: Sequence[tuple[str, ...]]
    lines: Sequence[UnopenedLine]

    def amounts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """([n] as priced, [n] their tax), minor units."""
        amount, tax = np.array([(each.amount, each.tax_amount) for each in self.lines], np.int64).reshape(-1, 2).T
        return amount[self.line], tax[self.line]


class UnopenedPool:
    """Those of the trees under one catalogue."""

    def __init__(self, terms: Terms, due: DueCharges, trees: Trees, placed: PlacedTrees, go_on: GoOn) -> None:
        """`go_on` is asked now and again. Raises TreeDoesNotFitError."""
        self._placed = placed
        self._due = due
        self._paths = terms.table.paths
        self._level, self._item = placed.levels_and_items(
            self._paths[row][-1] for row in asking(due.row.tolist(), go_on)
        )
        self._lines: list[UnopenedLine] = []
        starts = [0]
        firsts, self._alike = _alike(terms, due, placed)
        taxes = {each.country_code: each for each in terms.catalog.taxes.values()}
        for at in asking(firsts.tolist(), go_on):
            path, tree = self._paths[due.row[at]], int(due.tree[at])
            definition = _definition(terms.catalog, taxes, trees.roots[tree], path)
            stretch = charged_stretch(placed.plants[placed.plant[tree]].compiled.calendars)
            self._lines += unopened_lines(definition, *stretch, lambda *_: False, go_on)
            starts.append(len(self._lines))
            if any(abs(each.amount) > _LARGEST for each in self._lines[starts[-2] :]):
                raise TreeDoesNotFitError(path[0])
        self._start = np.array(starts)
        columns = [(each.cell, each.end_us, each.amount) for each in self._lines]
        self._cell, self._end_us, self._amount = np.array(columns, dtype=np.int64).reshape(-1, 3).T

    def charges(self, low: int, high: int, opened: LineKeys) -> PlacedUnopened:
        """Those of the trees [low, high), where these are settled, but for the lines that usage opened."""
        forest, (first, _, end) = self._placed.forest, self._placed.stretches
        due = np.arange(*np.searchsorted(self._due.tree, (low, high)))
        starts, ends = self._start[self._alike[due]], self._start[self._alike[due] + 1]
        line, due = ranges(starts, ends), np.repeat(due, ends - starts)
        tree, place = self._due.tree[due], forest.find_places(self._level[due], self._end_us[line])
        wanted = (first[tree] <= place) & (place < end[tree])
        wanted &= ~_is_among(LineKeys(self._due.row[due], self._cell[line], self._end_us[line]), opened)
        line, due, tree, place = line[wanted], due[wanted], tree[wanted], place[wanted]
        moves = moves_at(forest, place, self._item[due], self._amount[line])
        return PlacedUnopened(PlacedCharges(tree - low, moves), self._due.row[due], line, self._paths, self._lines)


class PlacedUnopened(NamedTuple):
    """Charge lines that nothing opened, and where they lie."""

    placed: PlacedCharges
    row: NDArray[np.int64]
    line: NDArray[np.int64]
    paths: Sequence[tuple[str, ...]]
    """By row."""
    lines: Sequence[UnopenedLine]

    def shown(self, first: NDArray[np.int32]) -> UnopenedCharges:
        """Those from the place `first` of each tree on ([trees])."""
        tree = self.placed.tree
        wanted = np.flatnonzero(self.placed.moves.place >= first[tree])
        rows, path = np.unique(self.row[wanted], return_inverse=True)
        numbers, line = np.unique(self.line[wanted], return_inverse=True)
        return UnopenedCharges(
            tree[wanted].astype(np.int32),
            path,
            line,
            [self.paths[row] for row in rows.tolist()],
            [self.lines[number] for number in numbers.tolist()],
        )


def _alike(terms: Terms, due: DueCharges, placed: PlacedTrees) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """([m] one product contract of each kind, [n] which kind each is of)."""
    table, row = terms.table, due.row
    # Trees at one place of the forest have one form, and with that one tax.
    where = placed.plant[due.tree]
    keys = np.column_stack([table.plan[row], table.calendar[row], table.start_us[row], table.end_us[row], where])
    _, firsts, alike = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return firsts, alike.ravel()


def _definition(catalog: Catalog, taxes: dict[str, Tax], root: Contract, path: Sequence[str]) -> Definition:
    contracts = [root]
    for name in path[1:-1]:
        contracts.append(next(each for each in contracts[-1].sub_contracts if each.id == name))
    product_contract = next(each for each in contracts[-1].product_contracts if each.id == path[-1])
    return definition_of(catalog, taxes, tuple(contracts), product_contract)


def _is_among(mine: LineKeys, others: LineKeys) -> NDArray[np.bool_]:
    """[n] whether each of n lines is one of others."""
    count = len(mine.row)
    if not count:
        return np.zeros(0, dtype=np.bool_)
    code = np.zeros(count + len(others.row), dtype=np.int64)
    for one, other in zip(mine, others, strict=True):
        values, column = np.unique(np.concatenate([one, other]), return_inverse=True)
        code = code * len(values) + column
    return np.isin(code[:count], code[count:])
