"""The trees behind open net lines, kept settled while their charge lines move.

This is a cache: all that it holds follows from net lines and charge lines, and what it lacks is planted from them when
it is needed (`contract/forest`). While a root contract's trees are planted, each of its charge lines counts in them
with the amount that it has; whoever moves a line moves it here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.contract.calendars import InvoiceTooLargeError
from tallybook_engine.contract.forest import Forest, Planted, no_lines
from tallybook_engine.contract.settling import settle_moves
from tallybook_engine.contract.tables import NONE, MoveColumns, NetDifferences
from tallybook_engine.contract.tree import Tree
from tallybook_engine.decimals import DoesNotFit
from tallybook_engine.kernels.growing import GrowingTable
from tallybook_engine.ledger.outcomes import LineMoves

if TYPE_CHECKING:
    from tallybook_engine.ledger.state import State

PLACES_MAX = 4_194_304
"""So many billing periods of levels are kept; beyond, all trees are planted anew as they are needed."""

AmountOf = Callable[[int], int]
"""Charge line -> amount as priced, minor units."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A tree under one version of the catalogue, and which of its root's billing periods are to be settled."""

    tree: Tree
    first_us: int
    until_us: int
    net_lines: dict[int, int]
    """First instant of a billing period -> its net line."""


class NetMoves(NamedTuple):
    """m changes of what net lines come to, ascending by key."""

    key: NDArray[np.int64]
    """[m] of the moves of charge lines that they come of."""
    net_line: NDArray[np.int32]
    amount: NDArray[np.int64]
    """[m] without tax, minor units."""
    tax: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, int]]) -> NetMoves:
        """Those of some rows."""
        key, net_line, amount, tax = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(
            np.array(key, dtype=np.int64),
            np.array(net_line, dtype=np.int32),
            np.array(amount, dtype=np.int64),
            np.array(tax, dtype=np.int64),
        )


class _Slots(NamedTuple):
    """Where charge lines count in trees."""

    tree: NDArray[np.int32]
    """Number of the tree, of all that were planted."""
    place: NDArray[np.int32]
    tax: NDArray[np.int32]
    item: NDArray[np.int32]


class _Periods(NamedTuple):
    """Billing periods of roots in the forest."""

    net_line: NDArray[np.int32]
    """NONE: it is no net line."""


@dataclass(slots=True)
class _Grown:
    """A planted tree."""

    number: int
    tree: Tree
    planted: Planted
    roots: dict[int, int]
    """First instant of a billing period of the root -> its number in the forest."""
    shared: frozenset[str]
    """Ids of what revenue shares are of."""


class NetTrees:
    """Planted trees of root contracts."""

    def __init__(self) -> None:
        self._forest = Forest()
        self._of_root: dict[str, list[_Grown]] = {}
        self._place_count = 0
        self._roots: list[str] = []
        """By number of a tree, its root contract."""
        self._slots = GrowingTable(_Slots)
        self._layers: list[NDArray[np.int32]] = []
        """[k][line] slot of a charge line in the k-th tree of its root; NONE: it counts nowhere in that."""
        self._periods = GrowingTable(_Periods)
        self._period_of: dict[int, int] = {}
        """Net line -> its billing period in the forest."""

    def __contains__(self, root: str) -> bool:
        return root in self._of_root

    @property
    def is_full(self) -> bool:
        """Whether there are so many that it is time to begin anew."""
        return self._place_count > PLACES_MAX

    def drop(self, root: str) -> None:
        """Forgets a root contract's trees."""
        for grown in self._of_root.pop(root, ()):
            for period in grown.roots.values():
                self._period_of.pop(int(self._periods.arrays.net_line[period]), None)
                self._periods.arrays.net_line[period] = NONE

    def plant(
        self, state: State, root: str, stretches: Sequence[Stretch], lines: Sequence[int], amount_of: AmountOf
    ) -> bool:
        """Plants a root contract's trees with its charge lines as they stand; False where they cannot be settled."""
        self.drop(root)
        try:
            trees = [self._grow(state, root, each, lines) for each in stretches]
        except (InvoiceTooLargeError, DoesNotFit):
            return False
        self._of_root[root] = trees
        for line in lines:
            self.forget_line(line)
            self._find_place(state, trees, line)
        moves = LineMoves(
            np.zeros(len(lines), dtype=np.int64),
            np.array(lines, dtype=np.int32),
            np.array([amount_of(line) for line in lines], dtype=np.int64),
        )
        if not all(self._forest.settle_all(grown.planted) for grown in trees) or self.move(moves)[1]:
            self.drop(root)
            return False
        for grown, stretch in zip(trees, stretches, strict=True):
            for start_us, net_line in stretch.net_lines.items():
                self._attach(grown, start_us, net_line)
        return True

    def _grow(self, state: State, root: str, stretch: Stretch, lines: Iterable[int]) -> _Grown:
        tree = stretch.tree
        definitions = [state.pools.definitions[state.line_origins[line].definition] for line in lines]
        of_currency = [each for each in definitions if each.currency == tree.currency]
        planted = self._forest.add(
            tree,
            stretch.first_us,
            stretch.until_us,
            taxes=tuple(dict.fromkeys(each.tax for each in of_currency)),
            charges=tuple(dict.fromkeys(each.contract_path for each in of_currency)),
        )
        self._roots.append(root)
        self._place_count = planted.place_end
        roots = {period.start_us: planted.root_first + at for at, period in enumerate(planted.root_periods)}
        self._periods.extend(_Periods(np.full(len(roots), NONE, dtype=np.int32)))
        shares = (share for level in tree.levels for share in level.contract.revenue_shares)
        shared = frozenset(name for share in shares for name in share.charges)
        return _Grown(len(self._roots) - 1, tree, planted, roots, shared)

    def _attach(self, grown: _Grown, start_us: int, net_line: int) -> bool:
        period = grown.roots.get(start_us)
        if period is None:
            return False
        self._periods.arrays.net_line[period] = net_line
        self._period_of[net_line] = period
        return True

    def attach(self, root: str, tree: Tree, start_us: int, net_line: int) -> None:
        """Notes a net line that opened; where its period is not planted, the root's trees are forgotten."""
        grown = next((each for each in self._of_root.get(root, ()) if each.tree is tree), None)
        if grown is None or not self._attach(grown, start_us, net_line):
            self.drop(root)

    def detach(self, net_line: int) -> None:
        """Forgets a net line that is closed again."""
        period = self._period_of.pop(net_line, None)
        if period is not None:
            self._periods.arrays.net_line[period] = NONE

    def find_place(self, state: State, root: str, line: int) -> None:
        """Finds where a charge line that opened counts; where that is not known, the root's trees are forgotten."""
        trees = self._of_root.get(root)
        if trees is not None and not self._find_place(state, trees, line):
            self.drop(root)

    def _find_place(self, state: State, trees: Sequence[_Grown], line: int) -> bool:
        origin = state.line_origins[line]
        definition = state.pools.definitions[origin.definition]
        self._reserve(line, len(trees))
        for layer, grown in zip(self._layers, trees, strict=False):
            if layer[line] != NONE or definition.currency != grown.tree.currency:
                continue
            planted = grown.planted
            place = self._forest.place_of(planted, definition.contract_path, origin.period_end_us)
            if place == NONE:
                continue
            taxes = planted.compiled.tax_numbers
            item = self._forest.item_of(planted, definition.contract_path, place)
            if definition.tax not in taxes or (item == NONE and definition.contract_path[-1] in grown.shared):
                return False
            layer[line] = self._slots.append(grown.number, place, taxes[definition.tax], item)
        return True

    def _reserve(self, line: int, layer_count: int) -> None:
        """Makes room for a line in so many layers."""
        room = len(self._layers[0]) if self._layers else 0
        if line >= room:
            room = max(2 * line, 16)
            self._layers = [_longer(layer, room) for layer in self._layers]
        for number in range(layer_count):
            if number == len(self._layers):
                self._layers.append(np.full(room, NONE, dtype=np.int32))

    def forget_line(self, line: int) -> None:
        """Forgets where a charge line counts."""
        for layer in self._layers:
            # A slice, for there may be no room for the line yet.
            layer[line : line + 1] = NONE

    def value(self, net_line: int) -> tuple[int, int]:
        """(amount without tax, tax) that a net line comes to; nothing where its tree is not planted."""
        period = self._period_of.get(net_line)
        return (0, 0) if period is None else self._forest.adjustment(period)

    def move(self, moves: LineMoves) -> tuple[NetMoves, set[str]]:
        """Moves charge lines whose roots are all planted, those of one key together.

        Answers what that changes, and the roots whose trees left what can be settled: of these nothing is answered, and
        they are planted no longer.
        """
        key, slot, amount = self._counting(moves)
        slots = self._slots.arrays
        tree = slots.tree[slot]
        order = np.lexsort((tree, key))
        key, slot, amount, tree = key[order], slot[order], amount[order], tree[order]
        begins = np.ones(len(key), dtype=np.bool_)
        begins[1:] = (key[1:] != key[:-1]) | (tree[1:] != tree[:-1])
        first = np.flatnonzero(begins)
        columns = MoveColumns(slots.place[slot], slots.tax[slot], slots.item[slot], amount)
        fits, changed = self._settle(columns, np.append(first, len(key)))
        net_line = self._periods.arrays.net_line[changed.root]
        kept = net_line != NONE
        unfit = {self._roots[number] for number in np.unique(tree[first[~fits]]).tolist()}
        if unfit:
            numbers = [grown.number for root in unfit for grown in self._of_root[root]]
            kept &= ~np.isin(tree[first[changed.group]], numbers)
            for root in unfit:
                self.drop(root)
        return (
            NetMoves(key[first[changed.group[kept]]], net_line[kept], changed.excluding_tax[kept], changed.tax[kept]),
            unfit,
        )

    def _settle(self, moves: MoveColumns, group_start: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NetDifferences]:
        """(whether each group of moves fits, what they change)."""
        count = len(group_start) - 1
        fits = np.ones(count, dtype=np.bool_)
        pieces: list[NetDifferences] = []
        group, room = 0, 4 * count
        while group < count:
            made = _differences(room)
            forest = self._forest
            group, written = settle_moves(
                forest.tables, forest.state, forest.taxes, no_lines(), moves, group_start, group, fits, made
            )
            pieces.append(NetDifferences._make(column[:written] for column in made))
            # A group that had no room for what it may change has twice as much next.
            room *= 2
        everything = zip(_differences(0), *pieces, strict=True)
        return fits, NetDifferences._make(np.concatenate(columns) for columns in everything)

    def _counting(self, moves: LineMoves) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """(key, slot, amount) of moves in each tree in which they count."""
        found = []
        for layer in self._layers:
            slot = layer[moves.line]
            counts = slot != NONE
            found.append((moves.key[counts], slot[counts], moves.amount[counts]))
        nothing = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64))
        key, slot, amount = (np.concatenate(columns) for columns in zip(nothing, *found, strict=True))
        return key, slot, amount


def _differences(room: int) -> NetDifferences:
    return NetDifferences(
        np.empty(room, dtype=np.int32),
        np.empty(room, dtype=np.int32),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
    )


def _longer(layer: NDArray[np.int32], room: int) -> NDArray[np.int32]:
    longer = np.full(room, NONE, dtype=np.int32)
    longer[: len(layer)] = layer
    return longer
