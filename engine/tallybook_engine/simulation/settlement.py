"""What contract trees come to in a simulation: their charge lines, settled level by level as invoices are.

Only trees are settled that have terms, or whose plans cost something without usage; what the others come to is the sum
of their lines. A tree with usage is settled from its billing period that holds its first usage, or that its first
charge line is billed in, to the one that its last charge line is billed in; trees without any, and further periods,
where a stretch of time is asked to be billed whole. What is kept of lines until then are a few numbers each; trees of
one form, under any catalogue, are compiled once, and settled thousands at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.contract.forest import Forest, line_room, no_lines
from tallybook_engine.contract.root_period import root_period
from tallybook_engine.contract.tables import CREDIT, FIXED_FEE, NONE, REVENUE_SHARE, LineColumns, MoveColumns
from tallybook_engine.contract.tree import Level, Tree, currency_of
from tallybook_engine.kernels.arrays import typed
from tallybook_engine.simulation.grouping import NEVER_US
from tallybook_engine.simulation.placing import PlacedCharges, PlacedTrees, Plants, TreeDoesNotFitError, moves_at
from tallybook_engine.simulation.plan import SimulationPlan, Terms
from tallybook_engine.simulation.run import PieceLines
from tallybook_engine.simulation.trees import TreePool, Trees, trees_of
from tallybook_engine.simulation.unopened import DueCharges, DuePlans, LineKeys, UnopenedCharges, UnopenedPool

LINES_IN_BATCH = 1 << 18
"""Lines of trees that are settled together, more only of a single tree."""
TREES_IN_BATCH = 1 << 12
"""Trees that are settled together."""


@dataclass(frozen=True, slots=True)
class BilledStretch:
    """A stretch of time that is billed whole, with usage or without."""

    start_us: int
    end_us: int
    customers: Set[str] | None = None
    """Ids of whose trees; None: of all."""


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

    trees: Trees
    excluding_tax: NDArray[np.uint64]
    """[n, 2] what the lines of each beside charge lines come to without tax."""
    tax: NDArray[np.uint64]
    """[n, 2] and their tax."""
    lines: TreeLines
    """Empty where lines are not wanted."""
    unopened: UnopenedCharges
    """Charge lines that nothing opened, wanted or not: no piece has them."""


class _Kept(NamedTuple):
    """Charge lines of trees that are settled, as columns."""

    tree: NDArray[np.int64]
    subject: NDArray[np.int32]
    cell: NDArray[np.int32]
    billing: NDArray[np.int32]
    amount: NDArray[np.int64]


_NOTHING_KEPT = typed(_Kept, *[np.empty(0)] * 5)


@dataclass
class _Settled:
    """What is settled under one catalogue."""

    roots: list[str]
    """Ids of the root contracts."""
    used_count: int
    """How many of them have usage; these come first."""
    tree_of_subject: NDArray[np.int64]
    """[subjects] which of them it is of, or NONE."""
    due: DueCharges
    kept: list[_Kept] = field(default_factory=list)


class Settlement:
    """The trees of a simulation that are settled, under each catalogue. Not for several threads at once."""

    def __init__(self, plan: SimulationPlan, billed: BilledStretch | None = None, go_on: GoOn = unasked) -> None:
        """`billed` is billed whole; `go_on` is asked before each catalogue, and now and again."""
        self._plan = plan
        self._billed = billed
        self._forest = Forest()
        self._plants = Plants(self._forest)
        self._pool = TreePool()
        due_plans = DuePlans()
        self._settled: list[_Settled] = []
        """By catalogue."""
        for terms in plan.terms:
            go_on()
            self._settled.append(_settled(plan, terms, due_plans, billed, go_on))

    def payers(self) -> Iterator[tuple[str, str]]:
        """(customer id, currency) of every tree that is settled and has no usage."""
        for terms, settled in zip(self._plan.terms, self._settled, strict=True):
            for root in settled.roots[settled.used_count :]:
                contract = terms.catalog.contracts[root]
                yield contract.customer, currency_of(terms.catalog, contract)

    def add(self, pieces: Sequence[PieceLines]) -> None:
        """Keeps a piece's lines of trees that are settled, under every catalogue."""
        for settled, found in zip(self._settled, pieces, strict=True):
            if not settled.roots:
                continue
            tree = settled.tree_of_subject[found.subject]
            wanted = np.flatnonzero(tree != NONE)
            settled.kept.append(
                _Kept(
                    tree[wanted],
                    found.subject[wanted],
                    found.cell[wanted],
                    found.billing[wanted],
                    found.lines.amount[wanted],
                )
            )

    def settle(self, number: int, go_on: GoOn = unasked, with_lines: bool = True) -> Iterator[SettledTrees]:
        """Settles the trees under a catalogue, some at a time, once all pieces are there. `go_on` is called all along,
        and what it raises ends the work.

        Raises TreeDoesNotFitError, and InvoiceTooLargeError.
        """
        settled, terms = self._settled[number], self._plan.terms[number]
        roots = settled.roots
        if not roots:
            return
        trees = trees_of(self._pool, terms.catalog, roots, go_on)
        frame = _Frame(self._plan, terms, settled, trees, self._billed)
        placed = self._plants.place(trees, frame.first_us, frame.until_us, go_on)
        charges = self._placed(frame, placed)
        unopened = UnopenedPool(terms, settled.due, trees, placed, go_on)
        bounds = np.searchsorted(frame.tree, np.arange(len(roots) + 1))
        for low, high in _batches(placed.line_count_max):
            go_on()
            mine = slice(int(bounds[low]), int(bounds[high]))
            used = PlacedCharges(frame.tree[mine] - low, MoveColumns._make(column[mine] for column in charges))
            due = unopened.charges(low, high, frame.opened(mine))
            both = used.with_others(due.placed)
            made = line_room(int(placed.line_count_max[low:high].sum())) if with_lines else no_lines()
            failed, excluding_tax, tax = self._forest.settle_trees(
                *placed.stretches.of(low, high),
                both.moves,
                np.searchsorted(both.tree, np.arange(high - low + 1)),
                made,
                placed.values.of(low, high),
            )
            if failed != NONE:
                raise TreeDoesNotFitError(roots[low + failed])
            lines = LineColumns._make(column[: int(made.line_count[0])] for column in made.lines)
            shown = due.shown(placed.stretches.shown[low:high])
            yield SettledTrees(trees.stretch(low, high), excluding_tax, tax, self._lines(lines), shown)

    def _placed(self, frame: _Frame, placed: PlacedTrees) -> MoveColumns:
        """The charge lines where they lie."""
        level, item = frame.levels_and_items(self._plan.subjects, placed)
        place = self._forest.find_places(level[frame.subject], frame.end_us)
        return moves_at(self._forest, place, item[frame.subject], frame.amount)

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
        terms: Terms,
        settled: _Settled,
        trees: Trees,
        billed: BilledStretch | None,
    ) -> None:
        kept = [_NOTHING_KEPT, *settled.kept]
        columns = [np.concatenate([getattr(each, name) for each in kept]) for name in _Kept._fields]
        order = np.argsort(columns[0], kind="stable")
        self.tree, self.subject, self._cell, billing, self.amount = (column[order] for column in columns)
        self.end_us = plan.calendars.billing_end_us[billing]
        self._rows = terms.row
        self._used = np.flatnonzero(settled.tree_of_subject != NONE)
        """[m] subjects whose trees are settled."""
        self.first_us = np.full(len(settled.roots), NEVER_US)
        """[trees] first usage, or the last instant of a billing period before it that has a charge line."""
        np.minimum.at(self.first_us, settled.tree_of_subject[self._used], terms.judged.first_us[self._used])
        np.minimum.at(self.first_us, self.tree, self.end_us - 1)
        self.until_us = np.where(self.first_us == NEVER_US, -NEVER_US, self.first_us + 1)
        """[trees] end of the billing period that the last charge line is billed in; in most trees its own is within."""
        ends_us = self._billed_until(terms, settled.tree_of_subject, trees)
        np.maximum.at(self.until_us, settled.tree_of_subject[self._used], ends_us[self._used])
        if billed is not None:
            self.first_us = np.minimum(self.first_us, billed.start_us)
            self.until_us = np.maximum(self.until_us, billed.end_us)

    def _billed_until(self, terms: Terms, tree: NDArray[np.int64], trees: Trees) -> NDArray[np.int64]:
        """[subjects] `billed_until` of the last charge line of each; `tree` [subjects] is which one it is of."""
        found = np.full(len(tree), -NEVER_US)
        np.maximum.at(found, self.subject, self.end_us)
        # Where lines are billed follows from the form.
        _, firsts, form = np.unique(trees.forms, return_index=True, return_inverse=True)
        elsewhere = np.array([_bills_elsewhere(trees.tree(at)) for at in firsts.tolist()], dtype=np.bool_)[form]
        for subject in self._used[elsewhere[tree[self._used]]].tolist():
            if found[subject] > -NEVER_US:
                path = terms.table.paths[self._rows[subject]]
                found[subject] = billed_until(trees.tree(int(tree[subject])), path, int(found[subject]))
        return found

    def opened(self, lines: slice) -> LineKeys:
        """What some of the lines are of."""
        return LineKeys(self._rows[self.subject[lines]], self._cell[lines], self.end_us[lines])

    def levels_and_items(self, subjects: Sequence[str], placed: PlacedTrees) -> NDArray[np.int32]:
        """[2, subjects] level of each in the forest, and which item of the level's places it is."""
        found = np.full((2, len(subjects)), NONE, dtype=np.int32)
        found[:, self._used] = placed.levels_and_items([subjects[at] for at in self._used.tolist()])
        return found


def billed_until(tree: Tree, contract_path: tuple[str, ...], end_us: int) -> int:
    """Where the billing period of a tree's root ends that bills a charge line, whose own ends at `end_us`."""
    place = root_period(tree, contract_path, end_us - 1)
    return end_us if place is None else place[1]


def _bills_elsewhere(tree: Tree) -> bool:
    """Whether a charge line may be billed in another period of the root than the one that holds its last instant:
    a level between has other periods, or its own level ends before.
    """
    root = tree.levels[0]
    return any(
        level.end_date != root.end_date or (level.parent > 0 and not _is_billed_alike(tree.levels[level.parent], root))
        for level in tree.levels
    )


def _is_billed_alike(level: Level, root: Level) -> bool:
    mine, others = ((each.frequency, each.anchor, each.contract.time_zone) for each in (level, root))
    return mine == others


def _settled(
    plan: SimulationPlan, terms: Terms, due_plans: DuePlans, billed: BilledStretch | None, go_on: GoOn
) -> _Settled:
    """What is settled under a catalogue."""
    table, contracts = terms.table, terms.catalog.contracts
    due = due_plans.rows(terms)
    root_of_due = [table.paths[row][0] for row in due.tolist()]
    wanted = {*table.with_terms, *root_of_due}
    numbers: dict[str, int] = {}
    tree_of_subject = np.full(len(plan.subjects), NONE, dtype=np.int64)
    for subject, row in enumerate(terms.row.tolist()) if wanted else ():
        root = table.paths[row][0]
        if root in wanted:
            tree_of_subject[subject] = numbers.setdefault(root, len(numbers))
    used_count = len(numbers)
    if billed is not None and wanted:
        for root, contract in asking(contracts.items(), go_on):
            if root in wanted and (billed.customers is None or contract.customer in billed.customers):
                numbers.setdefault(root, len(numbers))
    tree_of_due = np.array([numbers.get(root, NONE) for root in root_of_due], dtype=np.int64)
    order = np.argsort(tree_of_due, kind="stable")
    order = order[tree_of_due[order] != NONE]
    return _Settled(list(numbers), used_count, tree_of_subject, DueCharges(due[order], tree_of_due[order]))


def _batches(line_counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """[first, end) of trees that are settled together; `line_counts` says how many lines each has at most."""
    ends = np.cumsum(line_counts)
    first = 0
    while first < len(ends):
        before = ends[first] - line_counts[first]
        end = int(np.searchsorted(ends, before + LINES_IN_BATCH, side="right"))
        end = min(max(end, first + 1), first + TREES_IN_BATCH)
        yield first, end
        first = end
