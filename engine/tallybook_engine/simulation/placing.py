"""Where the trees of a simulation and their charge lines lie among those that are settled (`contract/forest`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking
from tallybook_engine.contract.calendars import InvoiceTooLargeError
from tallybook_engine.contract.forest import Forest, Planted, TreeValues
from tallybook_engine.contract.tables import NONE, MoveColumns
from tallybook_engine.contract.values import amount_columns, values_of
from tallybook_engine.kernels.arrays import typed
from tallybook_engine.simulation.trees import Trees

Integers = NDArray[np.int64]


class TreeDoesNotFitError(ArithmeticError):
    """What a level of a tree comes to, a charge line or a tax of it, would leave the limits."""

    def __init__(self, contract_id: str) -> None:
        super().__init__(f'contract "{contract_id}": an amount would leave the limits')
        self.contract_id = contract_id


class PlacedCharges(NamedTuple):
    """Charge lines, tree by tree, and where they lie."""

    tree: NDArray[np.int64]
    moves: MoveColumns

    def with_others(self, others: PlacedCharges) -> PlacedCharges:
        """These and others, tree by tree."""
        if not len(others.tree):
            return self
        tree = np.concatenate([self.tree, others.tree])
        order = np.argsort(tree, kind="stable")
        columns = [np.concatenate([one, other])[order] for one, other in zip(self.moves, others.moves, strict=True)]
        return PlacedCharges(tree[order], MoveColumns._make(columns))


class Stretches(NamedTuple):
    """[trees] places of each, as `contract/settling` reads them."""

    first: NDArray[np.int32]
    """The first that is settled."""
    shown: NDArray[np.int32]
    """The first whose lines are shown."""
    end: NDArray[np.int32]
    """The end of both."""

    def of(self, first: int, end: int) -> Stretches:
        """Those of the trees [first, end)."""
        return Stretches(*(column[first:end] for column in self))


class Plants:
    """The forms of a simulation's trees in a forest, each over the time of all its trees."""

    def __init__(self, forest: Forest) -> None:
        self.forest = forest
        self._numbers: dict[tuple[object, int, int], int] = {}
        """By form and stretch of time."""
        self._planted: list[Planted] = []

    def place(self, trees: Trees, first_us: Integers, until_us: Integers, go_on: GoOn) -> PlacedTrees:
        """Places trees, each with a stretch of time that is to be settled; compiles forms that are new.

        `go_on` is asked before each form. Raises InvoiceTooLargeError, and TreeDoesNotFitError.
        """
        _, firsts, form = np.unique(trees.forms, return_index=True, return_inverse=True)
        low, high = np.full(len(firsts), 2**63 - 1), np.full(len(firsts), -(2**63))
        np.minimum.at(low, form, first_us)
        np.maximum.at(high, form, until_us)
        of_form = np.full(len(firsts), NONE, dtype=np.int64)
        for at, of in asking(zip(firsts.tolist(), range(len(firsts)), strict=True), go_on):
            try:
                of_form[of] = self._add(trees, at, int(low[of]), int(high[of]), go_on)
            except InvoiceTooLargeError:
                # One by one, for each alone may be small enough.
                continue
        plant = of_form[form]
        for at in asking(np.flatnonzero(plant == NONE).tolist(), go_on):
            plant[at] = self._add(trees, at, int(first_us[at]), int(until_us[at]), go_on)
        return PlacedTrees(self.forest, trees, self._planted, plant, first_us, until_us)

    def _add(self, trees: Trees, at: int, first_us: int, until_us: int, go_on: GoOn) -> int:
        """The number of a tree's form over a stretch of time."""
        form = trees.pool.form[trees.number[at]], trees.taxes[at]
        key = form, first_us, until_us
        number = self._numbers.get(key)
        if number is None:
            self._planted.append(self.forest.add_form(form, trees.tree(at), first_us, until_us, go_on))
            number = self._numbers[key] = len(self._planted) - 1
        return number


class PlacedTrees:
    """n trees under one catalogue, and where they lie."""

    def __init__(
        self,
        forest: Forest,
        trees: Trees,
        planted: Sequence[Planted],
        plant: Integers,
        first_us: Integers,
        until_us: Integers,
    ) -> None:
        """`plant` says which of `planted` each is. Raises TreeDoesNotFitError."""
        self.forest = forest
        self._trees = trees
        used, self.plant = np.unique(plant, return_inverse=True)
        self.plants: list[Planted] = [planted[each] for each in used.tolist()]
        """Those that trees are of; `plant` counts them."""
        order = np.argsort(self.plant, kind="stable")
        self._members = np.split(order, np.searchsorted(self.plant[order], np.arange(1, len(used))))
        self.line_count_max = np.array([each.compiled.line_count_max for each in self.plants], np.int64)[self.plant]
        """[n] lines beside charge lines, at most."""
        self.stretches = self._stretches(first_us, until_us)
        self.values = self._values()
        charges = [each.compiled.charges for each in self.plants]
        counts = np.array([len(each.level) for each in charges], dtype=np.int64)
        self._first_charge = np.cumsum(counts) - counts
        self._level, self._item = (np.concatenate(columns) for columns in zip(*charges, strict=True))
        self._level += np.repeat(np.array([each.level_first for each in self.plants]), counts).astype(np.int32)

    def _stretches(self, first_us: Integers, until_us: Integers) -> Stretches:
        found = np.empty((3, len(self.plant)), dtype=np.int32)
        for planted, mine in zip(self.plants, self._members, strict=True):
            bounds = planted.compiled.root_bounds
            places = planted.place_first + bounds.first_place
            shown = places[np.searchsorted(bounds.end_us, first_us[mine], side="right")]
            end = places[np.searchsorted(bounds.start_us, until_us[mine], side="left")]
            found[0, mine] = planted.place_first if planted.compiled.has_credits else shown
            found[1, mine], found[2, mine] = shown, end
        return Stretches(*found)

    def _values(self) -> TreeValues:
        pieces, first = [np.empty(0, dtype=np.int64)], np.empty(len(self.plant), dtype=np.int64)
        is_fit = np.ones(len(self.plant), dtype=np.bool_)
        count = 0
        for planted, mine in zip(self.plants, self._members, strict=True):
            amounts = amount_columns(self._trees.amounts(mine))
            values, is_fit[mine] = values_of(planted.compiled.values, amounts, self._trees.minor_unit[mine])
            first[mine] = count + values.shape[1] * np.arange(len(mine))
            count += values.size
            pieces.append(values.ravel())
        if not is_fit.all():
            raise TreeDoesNotFitError(self._trees.roots[int(np.argmin(is_fit))].id)
        return TreeValues(np.concatenate(pieces), first)

    def levels_and_items(self, charges: Iterable[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """([n] level in the forest of each of n product contracts, [n] which item of the level's places it is, NONE
        where no revenue share is of it).
        """
        of_trees = self._trees.charges
        row = np.array([of_trees.rows[each] for each in charges], dtype=np.int64)
        at = self._first_charge[self.plant[of_trees.tree[row]]] + of_trees.number[row]
        return self._level[at], self._item[at]

    def level_first(self) -> Integers:
        """[n] root of each, of the forest's levels."""
        return np.array([each.level_first for each in self.plants], dtype=np.int64)[self.plant]


def moves_at(
    forest: Forest, place: NDArray[np.int32], item: NDArray[np.int32], amount: NDArray[np.int64]
) -> MoveColumns:
    """Charge lines in their places, each with its item of its level's places."""
    items = np.where(item == NONE, NONE, forest.tables.places.item_start[place] + item)
    # All are taxed by the tax of their customer's country, which is the tree's.
    return typed(MoveColumns, place, np.zeros(len(place)), items, amount)
