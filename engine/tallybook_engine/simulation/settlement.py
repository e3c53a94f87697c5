"""What contract trees come to in a simulation: their charge lines, settled level by level as invoices are.

Only trees that have terms are settled; what the others come to is the sum of their lines. A tree is settled from its
billing period that holds its first usage to the one that its last charge line is billed in. What is kept of lines until
then are a few numbers each; trees of one form, under any catalogue, are compiled once, and settled thousands at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.model import Tax
from tallybook_engine.contract.calendars import InvoiceTooLargeError
from tallybook_engine.contract.compile import charge_place, history
from tallybook_engine.contract.forest import Forest, Planted, line_room, no_lines
from tallybook_engine.contract.form import Form, form_of
from tallybook_engine.contract.tables import CREDIT, FIXED_FEE, NONE, REVENUE_SHARE, LineColumns, MoveColumns
from tallybook_engine.contract.tree import Tree, tax_of_terms, tree_in
from tallybook_engine.decimals import DoesNotFit
from tallybook_engine.kernels.arrays import typed
from tallybook_engine.simulation.contracts import Codes
from tallybook_engine.simulation.plan import SimulationPlan, Terms
from tallybook_engine.simulation.run import PieceLines

LINES_IN_BATCH = 1 << 18
"""Lines of trees that are settled together, more only of a single tree."""
TREES_IN_BATCH = 1 << 12
"""Trees that are settled together."""


class TreeDoesNotFitError(ArithmeticError):
    """What a level of a tree comes to, or a tax of it, would leave the limits."""

    def __init__(self, contract_id: str) -> None:
        super().__init__(f'contract "{contract_id}": an amount would leave the limits')
        self.contract_id = contract_id


class TreeLines(NamedTuple):
    """Lines beside charge lines, tree by tree, each tree's in the order of its invoices."""

    tree: NDArray[np.int32]
    """Which tree it is of."""
    level: NDArray[np.int32]
    """Which level of it."""
    kind: NDArray[np.uint8]
    """As in `contract/tables`."""
    name: NDArray[np.int32]
    """Its id, counted in `Tree.term_ids`; NONE: it has none."""
    start_us: NDArray[np.int64]
    """What it is for."""
    end_us: NDArray[np.int64]
    amount: NDArray[np.int64]
    """As priced: it contains the tax where that is inclusive."""
    tax_amount: NDArray[np.int64]


@dataclass(frozen=True)
class SettledTrees:
    """n trees that were settled together."""

    trees: Sequence[Tree]
    excluding_tax: NDArray[np.uint64]
    """[n, 2] what the lines of each beside charge lines come to without tax."""
    tax: NDArray[np.uint64]
    """[n, 2] and their tax."""
    lines: TreeLines
    """Empty where lines are not wanted."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """Charge lines of trees that are settled, as columns."""

    tree: NDArray[np.int64]
    subject: NDArray[np.int32]
    billing: NDArray[np.int32]
    amount: NDArray[np.int64]


class Settlement:
    """The trees of a simulation that are settled, under each catalogue. Not for several threads at once."""

    def __init__(self, plan: SimulationPlan) -> None:
        self._plan = plan
        self._forest = Forest()
        self._planted: dict[tuple[int, int, int], Planted] = {}
        """By the number of a form and a stretch of time."""
        self._forms: Codes[Form] = Codes()
        self._trees: dict[tuple[int, str, Tax | None], tuple[Tree, int]] = {}
        """By the identity of a root contract, which the catalogues keep alive: its tree, and its form's number."""
        self._roots: list[list[str]] = []
        """By catalogue, the ids of the root contracts that are settled."""
        self._tree_of_subject: list[NDArray[np.int64]] = []
        self._kept: list[list[_Kept]] = [[] for _ in plan.terms]
        for terms in plan.terms:
            numbers: dict[str, int] = {}
            found = np.full(len(plan.subjects), NONE, dtype=np.int64)
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
            wanted = np.flatnonzero(tree != NONE)
            self._kept[number].append(
                _Kept(tree[wanted], found.subject[wanted], found.billing[wanted], found.lines.amount[wanted])
            )

    def settle(
        self, number: int, go_on: Callable[[], None] = lambda: None, with_lines: bool = True
    ) -> Iterator[SettledTrees]:
        """Settles the trees under a catalogue, some at a time, once all pieces are there. `go_on` is called all along,
        and what it raises ends the work.

        Raises TreeDoesNotFitError, and InvoiceTooLargeError.
        """
        roots = self._roots[number]
        if not roots:
            return
        frame = _Frame(self._plan, number, self._kept[number], self._tree_of_subject[number], len(roots))
        trees = list(self._trees_of(self._plan.terms[number], frame, roots, go_on))
        planted = self._plant(trees, frame, go_on)
        charges = self._placed(frame, [tree for tree, _ in trees], planted)
        first, shown, end = self._stretches(frame, planted)
        bounds = np.searchsorted(frame.tree, np.arange(len(roots) + 1))
        for low, high in _batches([each.compiled.line_count_max for each in planted]):
            go_on()
            room = sum(each.compiled.line_count_max for each in planted[low:high])
            made = line_room(room) if with_lines else no_lines()
            mine = slice(int(bounds[low]), int(bounds[high]))
            failed, excluding_tax, tax = self._forest.settle_trees(
                first[low:high],
                shown[low:high],
                end[low:high],
                MoveColumns._make(column[mine] for column in charges),
                bounds[low : high + 1] - bounds[low],
                made,
            )
            if failed != NONE:
                raise TreeDoesNotFitError(roots[low + failed])
            lines = LineColumns._make(column[: int(made.line_count[0])] for column in made.lines)
            yield SettledTrees([tree for tree, _ in trees[low:high]], excluding_tax, tax, self._lines(lines))

    def _trees_of(
        self, terms: Terms, frame: _Frame, roots: Sequence[str], go_on: Callable[[], None]
    ) -> Iterator[tuple[Tree, int]]:
        """Each tree, and the number of its form."""
        registry = self._plan.registry
        currencies = list(registry.currencies)
        taxes: dict[str, Tax | None] = {}
        contracts = terms.catalog.contracts
        for place, root in enumerate(roots):
            if place % TREES_IN_BATCH == 0:
                go_on()
            contract = contracts[root]
            if contract.customer not in taxes:
                taxes[contract.customer] = tax_of_terms(terms.catalog, contract)
            currency = currencies[registry.plans[terms.plan[frame.subject_of_tree[place]]].currency]
            key = id(contract), currency, taxes[contract.customer]
            if key not in self._trees:
                tree = tree_in(contract, currency, taxes[contract.customer])
                self._trees[key] = tree, self._forms.add(form_of(tree))
            yield self._trees[key]

    def _plant(self, trees: Sequence[tuple[Tree, int]], frame: _Frame, go_on: Callable[[], None]) -> list[Planted]:
        """Where each tree lies in the forest: trees of one form lie together, over the time of all of them."""
        stretches: dict[int, tuple[int, int]] = {}
        spans = list(zip(frame.first_us.tolist(), frame.until_us.tolist(), strict=True))
        for (_, form), (first_us, until_us) in zip(trees, spans, strict=True):
            low, high = stretches.get(form, (first_us, until_us))
            stretches[form] = min(low, first_us), max(high, until_us)
        found = []
        for place, (tree, form) in enumerate(trees):
            if place % TREES_IN_BATCH == 0:
                go_on()
            try:
                found.append(self._planted_at(tree, form, *stretches[form]))
            except InvoiceTooLargeError:
                found.append(self._planted_at(tree, form, *spans[place]))
            except DoesNotFit:
                raise TreeDoesNotFitError(tree.root.id) from None
        return found

    def _planted_at(self, tree: Tree, form: int, first_us: int, until_us: int) -> Planted:
        key = form, first_us, until_us
        if key not in self._planted:
            self._planted[key] = self._forest.add(tree, first_us, until_us)
        return self._planted[key]

    def _placed(self, frame: _Frame, trees: Sequence[Tree], planted: Sequence[Planted]) -> MoveColumns:
        """The charge lines where they lie."""
        level, item = frame.levels_and_items(trees, planted)
        place = self._forest.find_places(level[frame.subject], frame.end_us)
        items = item[frame.subject]
        items = np.where(items == NONE, NONE, self._forest.tables.places.item_start[place] + items)
        # All are taxed by the tax of their customer's country, which is the tree's.
        return typed(MoveColumns, place, np.zeros(len(place)), items, frame.amount)

    def _stretches(self, frame: _Frame, planted: Sequence[Planted]) -> tuple[NDArray[np.int32], ...]:
        """[trees] the first place that is settled of each, the first that is shown, and the end of both."""
        found = np.empty((len(planted), 3), dtype=np.int32)
        bounds: dict[int, tuple[NDArray[np.int64], ...]] = {}
        roots = self._forest.tables.places.root
        for place, each in enumerate(planted):
            if each.place_first not in bounds:
                periods = each.root_periods
                starts_us = np.array([period.start_us for period in periods], dtype=np.int64)
                ends_us = np.array([period.end_us for period in periods], dtype=np.int64)
                count = np.arange(each.root_first, each.root_end + 1)
                places = each.place_first + np.searchsorted(roots[each.place_first : each.place_end], count)
                bounds[each.place_first] = starts_us, ends_us, places
            starts_us, ends_us, places = bounds[each.place_first]
            shown = places[np.searchsorted(ends_us, frame.first_us[place], side="right")]
            end = places[np.searchsorted(starts_us, frame.until_us[place], side="left")]
            has_credits = history(each.tree, 0) is None
            found[place] = each.place_first if has_credits else shown, shown, end
        return tuple(np.ascontiguousarray(found.T))

    def _lines(self, made: LineColumns) -> TreeLines:
        """Lines with what they are for."""
        tables = self._forest.tables
        start_us, end_us = tables.places.start_us[made.place], tables.places.end_us[made.place]
        name = np.full(len(made.place), NONE, dtype=np.int32)
        for kind, names in (
            (FIXED_FEE, tables.fees.name),
            (REVENUE_SHARE, tables.shares.name),
            (CREDIT, tables.credits.name),
        ):
            rows = np.flatnonzero(made.kind == kind)
            name[rows] = names[made.number[rows]]
        fees = np.flatnonzero(made.kind == FIXED_FEE)
        start_us[fees], end_us[fees] = tables.fees.start_us[made.number[fees]], tables.fees.end_us[made.number[fees]]
        level = tables.places.level[made.place]
        return TreeLines(made.tree, level, made.kind, name, start_us, end_us, made.amount, made.tax_amount)


class _Frame:
    """The charge lines of all trees under a catalogue, tree by tree."""

    def __init__(
        self,
        plan: SimulationPlan,
        number: int,
        kept: Sequence[_Kept],
        tree_of_subject: NDArray[np.int64],
        tree_count: int,
    ) -> None:
        terms = plan.terms[number]
        columns = [np.concatenate([getattr(each, name) for each in kept]) for name in _Kept.__slots__]
        order = np.argsort(columns[0], kind="stable")
        self.tree, self.subject, billing, self.amount = (column[order] for column in columns)
        self.end_us = plan.calendars.billing_end_us[billing]
        self._paths = terms.table.paths
        self._rows = terms.row
        self._tree_of_subject = tree_of_subject
        self._settled = np.flatnonzero(tree_of_subject != NONE)
        """[m] subjects whose trees are settled."""
        mine = tree_of_subject[self._settled]
        self.first_us = np.full(tree_count, np.iinfo(np.int64).max)
        """[trees] first usage."""
        np.minimum.at(self.first_us, mine, terms.judged.first_us[self._settled])
        self.until_us = self.first_us + 1
        """[trees] end of the last charge line's billing period."""
        np.maximum.at(self.until_us, self.tree, self.end_us)
        self.subject_of_tree = np.zeros(tree_count, dtype=np.int64)
        """[trees] one of its subjects."""
        self.subject_of_tree[mine] = self._settled

    def levels_and_items(
        self, trees: Sequence[Tree], planted: Sequence[Planted]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """[subjects] level of each in the forest, and which item of the level's places it is."""
        level, item = (np.full(len(self._tree_of_subject), NONE, dtype=np.int32) for _ in range(2))
        for subject in self._settled.tolist():
            path, number = self._paths[self._rows[subject]], self._tree_of_subject[subject]
            tree, where = trees[number], planted[number]
            of = tree.numbers[path[-2]]
            level[subject] = where.level_first + of
            if where.compiled.charge_items:
                item[subject] = where.compiled.charge_items.get(charge_place(tree, of, path[-1]), NONE)
        return level, item


def _batches(line_counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """[first, end) of trees that are settled together."""
    first, count = 0, 0
    for place, more in enumerate(line_counts):
        if place > first and (count + more > LINES_IN_BATCH or place - first == TREES_IN_BATCH):
            yield first, place
            first, count = place, 0
        count += more
    yield first, len(line_counts)
